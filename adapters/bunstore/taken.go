package bunstore

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// A worker takes and concludes a job with a statement each where the database
// knows how to write to several tables at once: every question costs both sides
// more than its answer.

// takenRow is a job and what belongs to it. The cluster is there even if it has been deleted.
type takenRow struct {
	Job       jobRow       `bun:"embed:job__"`
	Operation operationRow `bun:"embed:operation__"`
	Cluster   clusterRow   `bun:"embed:cluster__"`
}

func (r takenRow) record() store.Taken {
	t := store.Taken{Job: r.Job.record(), Operation: r.Operation.record()}
	if r.Cluster.DeletedAt == nil {
		c := r.Cluster.record()
		t.Cluster = &c
	}
	return t
}

func (s jobs) Take(ctx context.Context, c id.Cluster, worker, status string, now, until time.Time) (store.Taken, bool, error) {
	if err := errors.Join(s.claims(worker), plain(status)); err != nil {
		return store.Taken{}, false, err
	}
	if !s.engine.sql().writesMany {
		return s.follow(ctx, status, now)(s.ClaimOf(ctx, c, worker, now, until))
	}
	t, ok, err := s.takeAtOnce(ctx, c, worker, status, now, until)
	if ok || err != nil {
		return t, ok, err
	}
	return s.follow(ctx, status, now)(s.searchOf(ctx, c, worker, now, until))
}

// takeAtOnce finds what ClaimOf finds at first.
func (s jobs) takeAtOnce(ctx context.Context, c id.Cluster, worker, status string, now, until time.Time) (store.Taken, bool, error) {
	var r takenRow
	err := s.hot("WITH job AS ("+marking(ofCluster)+" RETURNING "+columnsOf[jobRow](s.unit, "j", "")+"),"+
		" operation AS (UPDATE operations AS o SET "+starting("?4", "?0")+" FROM job WHERE o.id = job.operation_id RETURNING "+columnsOf[operationRow](s.unit, "o", "")+")"+
		" SELECT "+columnsOf[jobRow](s.unit, "job", "job__")+", "+columnsOf[operationRow](s.unit, "operation", "operation__")+", "+columnsOf[clusterRow](s.unit, "c", "cluster__")+
		" FROM job LEFT JOIN operation ON TRUE LEFT JOIN clusters AS c ON c.id = job.cluster_id", at(now), worker, at(until), c.String(), status).Scan(ctx, &r)
	if noRows(err) {
		return store.Taken{}, false, nil
	}
	if err != nil {
		return store.Taken{}, false, err
	}
	return r.record(), true, nil
}

// follow goes on from a claim.
func (s jobs) follow(ctx context.Context, status string, now time.Time) func(store.Job, bool, error) (store.Taken, bool, error) {
	return func(j store.Job, ok bool, err error) (store.Taken, bool, error) {
		if err != nil || !ok {
			return store.Taken{}, false, err
		}
		o, err := operations{s.unit}.Begin(ctx, j.OperationID, status, now)
		if err != nil {
			return store.Taken{}, false, err
		}
		c, err := clusters{s.unit}.Get(ctx, store.Everyone(), j.ClusterID)
		switch {
		case errors.Is(err, fault.NotFound):
			return store.Taken{Job: j, Operation: o}, true, nil
		case err != nil:
			return store.Taken{}, false, err
		}
		return store.Taken{Job: j, Operation: o, Cluster: &c}, true, nil
	}
}

func (s jobs) Conclude(ctx context.Context, c store.Conclusion, worker string) error {
	if s.engine.sql().writesMany {
		return s.concludeAtOnce(ctx, c, worker)
	}
	if err := s.Settle(ctx, c.Job, worker); err != nil {
		return err
	}
	if err := (operations{s.unit}).Update(ctx, c.Operation); err != nil {
		return err
	}
	if err := (clusters{s.unit}).Update(ctx, &c.Cluster); err != nil {
		return err
	}
	return audit{s.unit}.Append(ctx, c.Event)
}

// concludeAtOnce has the job written first, so that nobody waits for who holds
// it while they hold what belongs to it.
func (s jobs) concludeAtOnce(ctx context.Context, c store.Conclusion, worker string) error {
	if err := s.claims(worker); err != nil {
		return err
	}
	job, operation, cluster, event := toJobRow(c.Job), toOperationRow(c.Operation), toClusterRow(c.Cluster), toAuditRow(c.Event)
	for _, row := range []any{job, operation, cluster, &event} {
		if err := legible(row); err != nil {
			return err
		}
	}
	cluster.Version++
	const after = " AND EXISTS (SELECT 1 FROM settled)"
	settle, args := s.replacement(reflect.ValueOf(job).Elem(), settling)
	args = append(args, worker)
	tell, values := s.replacement(reflect.ValueOf(operation).Elem(), nil)
	args = append(args, values...)
	update, values := s.replacement(reflect.ValueOf(cluster).Elem(), updating)
	args = append(append(args, values...), c.Cluster.Version)
	note, values := s.insertion(reflect.ValueOf(event))
	args = append(args, values...)
	var settled, told, changed int
	err := s.hot("WITH settled AS ("+settle+held+" RETURNING 1), told AS ("+tell+after+" RETURNING 1),"+
		" changed AS ("+update+sameVersion+after+" RETURNING 1), noted AS ("+note+")"+
		" SELECT (SELECT count(*) FROM settled), (SELECT count(*) FROM told), (SELECT count(*) FROM changed)", args...).Scan(ctx, &settled, &told, &changed)
	switch {
	case err != nil:
		return s.taken(err, nameKey, nameTaken)
	case settled == 0:
		return leaseLost()
	case told == 0:
		return noOperation()
	case changed == 0:
		return stale()
	}
	return nil
}
