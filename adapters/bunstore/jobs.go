package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type jobRow struct {
	bun.BaseModel `bun:"table:jobs,alias:j"`

	ID           key[id.JobKind]       `bun:"id,pk"`
	ClusterID    key[id.ClusterKind]   `bun:"cluster_id"`
	OperationID  key[id.OperationKind] `bun:"operation_id"`
	Type         string                `bun:"type"`
	Status       string                `bun:"status"`
	AttemptCount int                   `bun:"attempt_count"`
	PublishedAt  *moment               `bun:"published_at"`
	NotBefore    moment                `bun:"not_before"`
	LeasedUntil  *moment               `bun:"leased_until"`
	WorkerID     string                `bun:"worker_id"`
	LastError    string                `bun:"last_error"`
	Trace        string                `bun:"trace"`
	StartedAt    *moment               `bun:"started_at"`
	FinishedAt   *moment               `bun:"finished_at"`
	CreatedAt    moment                `bun:"created_at"`
	UpdatedAt    moment                `bun:"updated_at"`
}

func toJobRow(j store.Job) *jobRow {
	return &jobRow{
		ID: keyOf(j.ID), ClusterID: keyOf(j.ClusterID), OperationID: keyOf(j.OperationID), Type: j.Type, Status: j.Status,
		AttemptCount: j.AttemptCount, PublishedAt: maybeAt(j.PublishedAt), NotBefore: at(j.NotBefore),
		LeasedUntil: maybeAt(j.LeasedUntil), WorkerID: j.WorkerID, LastError: j.LastError, Trace: j.Trace,
		StartedAt: maybeAt(j.StartedAt), FinishedAt: maybeAt(j.FinishedAt), CreatedAt: at(j.CreatedAt), UpdatedAt: at(j.UpdatedAt),
	}
}

func (r jobRow) record() store.Job {
	return store.Job{
		ID: r.ID.ID, ClusterID: r.ClusterID.ID, OperationID: r.OperationID.ID, Type: r.Type, Status: r.Status,
		AttemptCount: r.AttemptCount, PublishedAt: r.PublishedAt.maybe(), NotBefore: r.NotBefore.time(),
		LeasedUntil: r.LeasedUntil.maybe(), WorkerID: r.WorkerID, LastError: r.LastError, Trace: r.Trace,
		StartedAt: r.StartedAt.maybe(), FinishedAt: r.FinishedAt.maybe(), CreatedAt: r.CreatedAt.time(), UpdatedAt: r.UpdatedAt.time(),
	}
}

type jobs struct{ *unit }

// oneRunningKey lets a cluster have one running job.
const oneRunningKey = "jobs_one_running_key"

func noJob() error { return notFound("job", "There is no such job.") }

func leaseLost() error {
	return fault.Conflict.New("lease_lost", "The job is not this worker's any more.")
}

func (s jobs) Insert(ctx context.Context, rec store.Job) error {
	return s.taken(s.insert(ctx, toJobRow(rec)), "", nil)
}

func (s jobs) Get(ctx context.Context, i id.Job) (store.Job, error) {
	return one[jobRow](ctx, s.unit, noJob, func(q *bun.SelectQuery) { q.Where("j.id = ?", i.String()) })
}

// due is what a job must be to be worked on at ?0.
const due = `(j.status = 'pending' AND j.not_before <= ?0 OR j.status = 'running' AND (j.leased_until IS NULL OR j.leased_until <= ?0))`

// claimable is what a job must be to be claimed at ?0: due, or abandoned by its
// worker; and no other job of its cluster is older or being worked on.
const claimable = due + `
	AND NOT EXISTS (SELECT 1 FROM jobs AS o WHERE o.cluster_id = j.cluster_id AND o.status IN ('pending', 'running') AND o.id <> j.id
		AND (o.id < j.id OR o.status = 'running' AND o.leased_until > ?0))`

// Claim looks and then writes. Two who look at once pass by the job that the
// other has locked. What one has committed since the other began to look, that
// one sees when it writes, because the condition is checked again; and what is
// not even committed by then makes it run into jobs_one_running_key, so that
// its transaction starts over.
func (s jobs) Claim(ctx context.Context, worker string, now, until time.Time) (store.Job, bool, error) {
	if err := s.claims(worker); err != nil {
		return store.Job{}, false, err
	}
	return s.search(ctx, "", worker, now, until)
}

// ofCluster is what the job of the cluster ?3 must be to be claimed at ?0, unless one
// was abandoned.
const ofCluster = "j.id = (SELECT q.id FROM jobs AS q WHERE q.cluster_id = ?3 AND q.status IN ('pending', 'running') ORDER BY q.id LIMIT 1)" +
	" AND " + due + " AND NOT EXISTS (SELECT 1 FROM jobs AS r WHERE r.cluster_id = ?3 AND r.status = 'running' AND r.id <> j.id)"

// ClaimOf writes at once, in one statement, which is enough unless a job of the
// cluster has been abandoned or has nothing to be claimed. Before the cluster's
// oldest there is none, and beside another that runs there is no way.
func (s jobs) ClaimOf(ctx context.Context, c id.Cluster, worker string, now, until time.Time) (store.Job, bool, error) {
	if err := s.claims(worker); err != nil {
		return store.Job{}, false, err
	}
	j, ok, err := s.mark(ctx, worker, now, until, ofCluster, c.String())
	if ok || err != nil {
		return j, ok, err
	}
	return s.searchOf(ctx, c, worker, now, until)
}

func (s jobs) searchOf(ctx context.Context, c id.Cluster, worker string, now, until time.Time) (store.Job, bool, error) {
	return s.search(ctx, "j.cluster_id = ?1 AND ", worker, now, until, c.String())
}

func (s jobs) claims(worker string) error {
	if err := s.writes(); err != nil {
		return err
	}
	return plain(worker)
}

// search claims the oldest of the jobs that narrow leaves.
func (s jobs) search(ctx context.Context, narrow, worker string, now, until time.Time, args ...any) (store.Job, bool, error) {
	for {
		var candidate jobRow
		err := s.db.NewRaw("SELECT "+columns[jobRow](s.unit)+" FROM jobs AS j WHERE "+narrow+claimable+" ORDER BY j.id LIMIT 1"+s.engine.sql().skipLocked,
			append([]any{at(now)}, args...)...).Scan(ctx, &candidate)
		if noRows(err) {
			return store.Job{}, false, nil
		}
		if err != nil {
			return store.Job{}, false, err
		}
		j, ok, err := s.take(ctx, candidate, worker, now, until)
		if err != nil || ok {
			return j, ok, err
		}
	}
}

func (s jobs) take(ctx context.Context, c jobRow, worker string, now, until time.Time) (store.Job, bool, error) {
	// A job whose lease ran out while an older one was not yet known of would
	// otherwise still be running, and its worker could renew it.
	_, err := s.exec(ctx, "UPDATE jobs SET status = 'pending', worker_id = '', leased_until = NULL, updated_at = ?0"+
		" WHERE cluster_id = ?1 AND id <> ?2 AND status = 'running' AND (leased_until IS NULL OR leased_until <= ?0)", at(now), c.ClusterID, c.ID)
	if err != nil {
		return store.Job{}, false, err
	}
	return s.mark(ctx, worker, now, until, "j.id = ?3 AND "+claimable, c.ID)
}

// marking makes the job running that which leaves, at ?0, for the worker ?1 until ?2.
func marking(which string) string {
	return "UPDATE jobs AS j SET status = 'running', worker_id = ?1, leased_until = ?2, attempt_count = attempt_count + 1," +
		" started_at = COALESCE(started_at, CASE WHEN created_at > ?0 THEN created_at ELSE ?0 END), updated_at = ?0 WHERE " + which
}

// mark makes the job running that which leaves.
func (s jobs) mark(ctx context.Context, worker string, now, until time.Time, which string, arg any) (store.Job, bool, error) {
	var r jobRow
	err := s.hot(marking(which)+" RETURNING "+columns[jobRow](s.unit), at(now), worker, at(until), arg).Scan(ctx, &r)
	if noRows(err) {
		return store.Job{}, false, nil
	}
	return r.record(), err == nil, err
}

func (s jobs) NextAt(ctx context.Context, now time.Time) (time.Time, bool, error) {
	if err := s.reads(); err != nil {
		return time.Time{}, false, err
	}
	var next *moment
	err := s.db.NewRaw("SELECT min(CASE WHEN status = 'pending' THEN not_before ELSE leased_until END) FROM jobs"+
		" WHERE status = 'pending' AND not_before > ?0 OR status = 'running' AND leased_until > ?0", at(now)).Scan(ctx, &next)
	if err != nil || next == nil {
		return time.Time{}, false, err
	}
	return next.time(), true, nil
}

func (s jobs) Renew(ctx context.Context, i id.Job, worker string, until time.Time) error {
	if err := plain(worker); err != nil {
		return err
	}
	n, err := s.exec(ctx, "UPDATE jobs SET leased_until = ? WHERE id = ? AND status = 'running' AND worker_id = ?", at(until), i.String(), worker)
	if err == nil && n == 0 {
		return leaseLost()
	}
	return err
}

// settling keeps a published_at that was set after the job was claimed.
var settling = written{"published_at": "COALESCE(published_at, ?)"} //nolint:gochecknoglobals // a constant

// held is the condition that a worker holds the job.
const held = " AND j.status = 'running' AND j.worker_id = ?"

func (s jobs) Settle(ctx context.Context, rec store.Job, worker string) error {
	if err := plain(worker); err != nil {
		return err
	}
	n, err := s.change(ctx, toJobRow(rec), settling, held, worker)
	if err == nil && n == 0 {
		return leaseLost()
	}
	return err
}

func (s jobs) MarkPublished(ctx context.Context, t time.Time, ids ...id.Job) error {
	if len(ids) == 0 {
		return s.writes()
	}
	_, err := s.exec(ctx, "UPDATE jobs SET published_at = ? WHERE id IN (?) AND published_at IS NULL", at(t), bun.List(texts(ids)))
	return err
}

func (s jobs) ReleaseWorker(ctx context.Context, worker string, now time.Time) (int, error) {
	if err := plain(worker); err != nil {
		return 0, err
	}
	return s.exec(ctx, "UPDATE jobs SET status = 'pending', worker_id = '', leased_until = NULL, not_before = ?0, updated_at = ?0"+
		" WHERE status = 'running' AND worker_id = ?1", at(now), worker)
}

func (s jobs) List(ctx context.Context, f store.JobFilter, q page.Query) (page.Of[store.Job], error) {
	if err := plain(f.Status); err != nil {
		return page.Of[store.Job]{}, err
	}
	newest := q.Before == ""
	return list[jobRow](ctx, s.unit, q, func(j store.Job) string { return j.ID.String() }, func(q *bun.SelectQuery) {
		value := asItIs
		if newest && !f.ClusterID.IsZero() { // a worker asks for it after every job
			value = s.prepared(q)
		}
		if f.Status != "" {
			q.Where("j.status = ?", value(f.Status))
		}
		if !f.ClusterID.IsZero() {
			q.Where("j.cluster_id = ?", value(f.ClusterID.String()))
		}
	})
}
