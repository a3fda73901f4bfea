package memstore

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type operations struct{ u *unit }

func noOperation() error { return notFound("operation", "There is no such operation.") }

func (s operations) Insert(ctx context.Context, rec store.Operation) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if _, taken := s.u.operations.get(rec.ID); taken {
		return exists()
	}
	s.u.operations.put(s.u, rec.ID, rec)
	return nil
}

func (s operations) Get(ctx context.Context, i id.Operation) (store.Operation, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Operation{}, err
	}
	o, ok := s.u.operations.get(i)
	if !ok {
		return store.Operation{}, noOperation()
	}
	return o, nil
}

func (s operations) Update(ctx context.Context, rec store.Operation) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if _, ok := s.u.operations.get(rec.ID); !ok {
		return noOperation()
	}
	s.u.operations.put(s.u, rec.ID, rec)
	return nil
}

func (s operations) Begin(ctx context.Context, i id.Operation, status string, at time.Time) (store.Operation, error) {
	if err := s.u.writes(ctx); err != nil {
		return store.Operation{}, err
	}
	if err := plain(status); err != nil {
		return store.Operation{}, err
	}
	o, ok := s.u.operations.get(i)
	if !ok {
		return store.Operation{}, noOperation()
	}
	at = at.UTC().Truncate(time.Millisecond)
	o.Status, o.UpdatedAt = status, at
	if o.StartedAt == nil {
		o.StartedAt = later(at, o.CreatedAt)
	}
	s.u.operations.put(s.u, i, o)
	return detached(o), nil
}

func (s operations) List(ctx context.Context, c id.Cluster, q page.Query) (page.Of[store.Operation], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.Operation]{}, err
	}
	return newest(maps.Values(s.u.operations.rows), q, func(o store.Operation) string { return o.ID.String() },
		func(o store.Operation) bool { return o.ClusterID == c })
}

type jobs struct{ u *unit }

func jobID(j store.Job) string { return j.ID.String() }

func noJob() error { return notFound("job", "There is no such job.") }

func (s jobs) Insert(ctx context.Context, rec store.Job) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if _, taken := s.u.jobs.get(rec.ID); taken {
		return exists()
	}
	s.u.jobs.put(s.u, rec.ID, rec)
	return nil
}

func (s jobs) Get(ctx context.Context, i id.Job) (store.Job, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Job{}, err
	}
	j, ok := s.u.jobs.get(i)
	if !ok {
		return store.Job{}, noJob()
	}
	return j, nil
}

func unfinished(j store.Job) bool {
	return j.Status == store.JobPending || j.Status == store.JobRunning
}

// leased reports whether a worker may still be at work on j.
func leased(j store.Job, now time.Time) bool {
	return j.Status == store.JobRunning && j.LeasedUntil != nil && j.LeasedUntil.After(now)
}

func (s jobs) Claim(ctx context.Context, worker string, now, until time.Time) (store.Job, bool, error) {
	return s.claim(ctx, worker, now, until, unfinished)
}

func (s jobs) ClaimOf(ctx context.Context, c id.Cluster, worker string, now, until time.Time) (store.Job, bool, error) {
	return s.claim(ctx, worker, now, until, func(j store.Job) bool { return j.ClusterID == c && unfinished(j) })
}

func (s jobs) Take(ctx context.Context, c id.Cluster, worker, status string, now, until time.Time) (t store.Taken, ok bool, err error) {
	if t.Job, ok, err = s.ClaimOf(ctx, c, worker, now, until); err != nil || !ok {
		return store.Taken{}, false, err
	}
	if t.Operation, err = (operations{s.u}).Begin(ctx, t.Job.OperationID, status, now); err != nil {
		return store.Taken{}, false, err
	}
	found, err := clusters{s.u}.Get(ctx, store.Everyone(), c)
	if err == nil {
		t.Cluster = &found
	}
	if err != nil && !errors.Is(err, fault.NotFound) {
		return store.Taken{}, false, err
	}
	return t, true, nil
}

func (s jobs) claim(ctx context.Context, worker string, now, until time.Time, among func(store.Job) bool) (store.Job, bool, error) {
	if err := s.u.writes(ctx); err != nil {
		return store.Job{}, false, err
	}
	if err := plain(worker); err != nil {
		return store.Job{}, false, err
	}
	now, until = now.UTC().Truncate(time.Millisecond), until.UTC().Truncate(time.Millisecond)
	queue := s.u.jobs.sorted(jobID, among)
	j, ok := claimable(queue, now)
	if !ok {
		return store.Job{}, false, nil
	}
	s.expel(queue, j, now)
	j.Status, j.WorkerID, j.LeasedUntil, j.UpdatedAt = store.JobRunning, worker, &until, now
	j.AttemptCount++
	if j.StartedAt == nil {
		j.StartedAt = later(now, j.CreatedAt)
	}
	s.u.jobs.put(s.u, j.ID, j)
	return detached(j), true, nil
}

func later(a, b time.Time) *time.Time {
	if b.After(a) {
		return &b
	}
	return &a
}

// claimable returns the oldest job that leads its cluster's queue, is due, and
// has no job of its cluster running beside it.
func claimable(queue []store.Job, now time.Time) (store.Job, bool) {
	busy := map[id.Cluster]bool{}
	for _, j := range queue {
		if leased(j, now) {
			busy[j.ClusterID] = true
		}
	}
	for _, j := range queue {
		if busy[j.ClusterID] {
			continue
		}
		if j.Status == store.JobRunning || !j.NotBefore.After(now) {
			return j, true
		}
		busy[j.ClusterID] = true // an older job goes first
	}
	return store.Job{}, false
}

// expel makes the other jobs of next's cluster whose lease has run out pending:
// left as they are, their workers could still renew them.
func (s jobs) expel(queue []store.Job, next store.Job, now time.Time) {
	for _, j := range queue {
		if j.ClusterID == next.ClusterID && j.ID != next.ID && j.Status == store.JobRunning {
			j.Status, j.WorkerID, j.LeasedUntil, j.UpdatedAt = store.JobPending, "", nil, now
			s.u.jobs.put(s.u, j.ID, j)
		}
	}
}

func (s jobs) NextAt(ctx context.Context, now time.Time) (next time.Time, ok bool, err error) {
	if err := s.u.reads(ctx); err != nil {
		return time.Time{}, false, err
	}
	for _, j := range s.u.jobs.rows {
		at := j.NotBefore
		if leased(j, now) {
			at = *j.LeasedUntil
		} else if j.Status != store.JobPending {
			continue
		}
		if at.After(now) && (!ok || at.Before(next)) {
			next, ok = at, true
		}
	}
	return next, ok, nil
}

// held returns a running job of worker's.
func (s jobs) held(i id.Job, worker string) (store.Job, error) {
	j, ok := s.u.jobs.get(i)
	if !ok || j.Status != store.JobRunning || j.WorkerID != worker {
		return store.Job{}, fault.Conflict.New("lease_lost", "The job is not this worker's any more.")
	}
	return j, nil
}

func (s jobs) Renew(ctx context.Context, i id.Job, worker string, until time.Time) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	j, err := s.held(i, worker)
	if err != nil {
		return err
	}
	until = until.UTC().Truncate(time.Millisecond)
	j.LeasedUntil = &until
	s.u.jobs.put(s.u, i, j)
	return nil
}

func (s jobs) Settle(ctx context.Context, rec store.Job, worker string) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	have, err := s.held(rec.ID, worker)
	if err != nil {
		return err
	}
	if have.PublishedAt != nil {
		rec.PublishedAt = have.PublishedAt // the relay may have set it since the claim
	}
	s.u.jobs.put(s.u, rec.ID, rec)
	return nil
}

func (s jobs) Conclude(ctx context.Context, c store.Conclusion, worker string) error {
	if err := s.Settle(ctx, c.Job, worker); err != nil {
		return err
	}
	if err := (operations{s.u}).Update(ctx, c.Operation); err != nil {
		return err
	}
	if err := (clusters{s.u}).Update(ctx, &c.Cluster); err != nil {
		return err
	}
	return audit{s.u}.Append(ctx, c.Event)
}

func (s jobs) MarkPublished(ctx context.Context, at time.Time, ids ...id.Job) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	at = at.UTC().Truncate(time.Millisecond)
	for _, i := range ids {
		if j, ok := s.u.jobs.get(i); ok && j.PublishedAt == nil {
			j.PublishedAt = &at
			s.u.jobs.put(s.u, i, j)
		}
	}
	return nil
}

func (s jobs) ReleaseWorker(ctx context.Context, worker string, now time.Time) (n int, err error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	now = now.UTC().Truncate(time.Millisecond)
	for _, j := range s.u.jobs.sorted(jobID, func(j store.Job) bool { return j.Status == store.JobRunning && j.WorkerID == worker }) {
		j.Status, j.WorkerID, j.LeasedUntil, j.NotBefore, j.UpdatedAt = store.JobPending, "", nil, now, now
		s.u.jobs.put(s.u, j.ID, j)
		n++
	}
	return n, nil
}

func (s jobs) List(ctx context.Context, f store.JobFilter, q page.Query) (page.Of[store.Job], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.Job]{}, err
	}
	if err := plain(f.Status); err != nil {
		return page.Of[store.Job]{}, err
	}
	return newest(maps.Values(s.u.jobs.rows), q, jobID, func(j store.Job) bool {
		return (f.Status == "" || j.Status == f.Status) && (f.ClusterID.IsZero() || j.ClusterID == f.ClusterID)
	})
}
