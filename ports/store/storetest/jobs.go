package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

func operationSubject() subject[store.Operation] {
	return subject[store.Operation]{
		name:   "Operation",
		sample: func(w *world) store.Operation { return w.newOperation(w.cluster(w.user())) },
		insert: func(ctx context.Context, tx store.Tx, o store.Operation) error { return tx.Operations().Insert(ctx, o) },
		get: func(ctx context.Context, tx store.Tx, o store.Operation) (store.Operation, error) {
			return tx.Operations().Get(ctx, o.ID)
		},
		update: func(ctx context.Context, tx store.Tx, o store.Operation) error { return tx.Operations().Update(ctx, o) },
	}
}

var operations = checks{
	"OperationThatNeverWasIsMissing": func(w *world) {
		o := w.newOperation(w.cluster(w.user()))
		w.tx(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Operations().Get(ctx, o.ID)
			w.missing(err, "operation")
			w.missing(tx.Operations().Update(ctx, o), "operation")
			return nil
		})
	},
	"OperationBeginsOnce": func(w *world) {
		o := w.newOperation(w.cluster(w.user()))
		o.StartedAt, o.CreatedAt = nil, start
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Operations().Insert(ctx, o) })
		want := o
		for _, now := range []time.Time{start, after(time.Minute)} {
			want.Status, want.UpdatedAt, want.StartedAt = "running", now, &start
			w.tx(func(ctx context.Context, tx store.Tx) error {
				got, err := tx.Operations().Begin(ctx, o.ID, "running", now)
				same(w, got, want)
				_, none := tx.Operations().Begin(ctx, newID[id.OperationKind](w), "running", now)
				w.missing(none, "operation")
				return err
			})
			w.read(func(ctx context.Context, tx store.Tx) error {
				got, err := tx.Operations().Get(ctx, o.ID)
				same(w, got, want)
				return err
			})
		}
	},
	"NothingStartsBeforeItWasMade": func(w *world) {
		c := w.cluster(w.user())
		o := w.newOperation(c)
		j := w.newJob(o)
		o.StartedAt, j.StartedAt, j.Status, j.NotBefore = nil, nil, store.JobPending, start
		o.CreatedAt, j.CreatedAt = after(time.Second), after(time.Second) // by a clock that is ahead
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.Operations().Insert(ctx, o), tx.Jobs().Insert(ctx, j))
		})
		w.tx(func(ctx context.Context, tx store.Tx) error {
			begun, err := tx.Operations().Begin(ctx, o.ID, "running", start)
			claimed, ok, failed := tx.Jobs().Claim(ctx, "w", start, after(time.Minute))
			if begun.StartedAt == nil || !begun.StartedAt.Equal(o.CreatedAt) || !ok || claimed.StartedAt == nil || !claimed.StartedAt.Equal(j.CreatedAt) {
				w.Errorf("begun at %v and %v, made at %v", begun.StartedAt, claimed.StartedAt, o.CreatedAt)
			}
			return errors.Join(err, failed)
		})
	},
	"OperationListIsOfOneCluster": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		var want []string
		for range 5 {
			want = append([]string{w.operation(c).ID.String()}, want...)
			w.operation(other)
		}
		listed(w, "operations", func(o store.Operation) string { return o.ID.String() }, want,
			func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.Operation], error) {
				return tx.Operations().List(ctx, c.ID, q)
			})
	},
}

func jobSubject() subject[store.Job] {
	return subject[store.Job]{
		name: "Job",
		sample: func(w *world) store.Job {
			o := w.operation(w.cluster(w.user()))
			return finish(w, store.Job{ID: newID[id.JobKind](w), ClusterID: o.ClusterID, OperationID: o.ID, Status: "succeeded"}, nil)
		},
		insert: func(ctx context.Context, tx store.Tx, j store.Job) error { return tx.Jobs().Insert(ctx, j) },
		get: func(ctx context.Context, tx store.Tx, j store.Job) (store.Job, error) {
			return tx.Jobs().Get(ctx, j.ID)
		},
	}
}

func (w *world) getJob(i id.Job) (j store.Job) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) (err error) {
		j, err = tx.Jobs().Get(ctx, i)
		return err
	})
	return j
}

// term is for how long checks lease jobs.
const term = time.Minute

// claim takes a job for worker, at a time.
func (w *world) claim(worker string, now time.Time) (j store.Job, ok bool) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) (err error) {
		j, ok, err = tx.Jobs().Claim(ctx, worker, now, now.Add(term))
		return err
	})
	return j, ok
}

// claimOf takes a job of a cluster for worker, at a time.
func (w *world) claimOf(c store.Cluster, worker string, now time.Time) (j store.Job, ok bool) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) (err error) {
		j, ok, err = tx.Jobs().ClaimOf(ctx, c.ID, worker, now, now.Add(term))
		return err
	})
	return j, ok
}

// claims checks which job a worker gets.
func (w *world) claims(worker string, now time.Time, want store.Job) store.Job {
	w.Helper()
	j, ok := w.claim(worker, now)
	if !ok || j.ID != want.ID {
		w.Fatalf("%s at %s got %v, %s; want %s", worker, now, ok, j.ID, want.ID)
	}
	return j
}

func (w *world) claimsNothing(worker string, now time.Time) {
	w.Helper()
	if j, ok := w.claim(worker, now); ok {
		w.Fatalf("%s at %s got %s; want nothing", worker, now, j.ID)
	}
}

func (w *world) settle(j store.Job, status, worker string) error {
	j.Status, j.LeasedUntil, j.WorkerID = status, nil, ""
	return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Settle(ctx, j, worker) })
}

func (w *world) renew(j store.Job, worker string, until time.Time) error {
	return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Renew(ctx, j.ID, worker, until) })
}

func (w *world) leaseLost(err error) {
	w.Helper()
	w.conflict(err, "lease_lost")
}

var jobs = checks{
	"JobThatNeverWasIsMissing": func(w *world) {
		w.read(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Jobs().Get(ctx, newID[id.JobKind](w))
			w.missing(err, "job")
			return nil
		})
	},
	"ClaimTakesTheOldestThatIsDue": func(w *world) {
		u := w.user()
		w.claimsNothing("w", start)
		later := w.job(w.cluster(u), func(j *store.Job) { j.NotBefore = after(time.Hour) })
		w.job(w.cluster(u), func(j *store.Job) { j.Status = "succeeded" })
		a, b := w.job(w.cluster(u)), w.job(w.cluster(u), func(j *store.Job) { j.NotBefore = after(-time.Hour) })
		w.claims("w", start, a)
		w.claims("w", start, b)
		w.claimsNothing("w", start)
		w.claimsNothing("w", after(term-time.Millisecond))
		w.claims("v", later.NotBefore, later)
		w.claims("v", later.NotBefore, a) // abandoned by then
		w.claims("v", later.NotBefore, b)
		w.claimsNothing("v", later.NotBefore)
	},
	"ClaimMakesItRunning": func(w *world) {
		want := w.job(w.cluster(w.user()))
		now := after(time.Second)
		got := w.claims("worker 🙂", now, want)
		want.Status, want.WorkerID, want.LeasedUntil = store.JobRunning, "worker 🙂", new(now.Add(term))
		want.AttemptCount, want.StartedAt, want.UpdatedAt = 1, &now, now
		same(w, got, want)
		same(w, w.getJob(want.ID), want)
	},
	"AnAbandonedJobIsTakenOver": func(w *world) {
		want := w.job(w.cluster(w.user()))
		w.claims("a", start, want)
		w.claimsNothing("b", after(term-time.Millisecond))
		got := w.claims("b", after(term), want)
		is(w, "AttemptCount", got.AttemptCount, 2)
		is(w, "StartedAt", *got.StartedAt, start)
		is(w, "WorkerID", got.WorkerID, "b")
		is(w, "LeasedUntil", *got.LeasedUntil, after(2*term))
		w.leaseLost(w.renew(got, "a", after(time.Hour)))
		w.leaseLost(w.settle(got, "succeeded", "a"))
		w.must(w.settle(got, "succeeded", "b"))
	},
	"AnAbandonedJobIsDueWhateverItsTime": func(w *world) {
		j := w.job(w.cluster(w.user()), func(j *store.Job) {
			j.Status, j.WorkerID, j.LeasedUntil, j.NotBefore = store.JobRunning, "a", new(start), after(time.Hour)
		})
		w.claimsNothing("b", after(-time.Millisecond))
		w.claims("b", start, j)
	},
	"AnOlderJobGoesFirst": func(w *world) {
		u := w.user()
		c := w.cluster(u)
		first := w.job(c, func(j *store.Job) { j.NotBefore = after(time.Minute) })
		second := w.job(c)
		other := w.job(w.cluster(u))
		w.claims("w", start, other) // second waits for first, although it is due
		w.claimsNothing("w", start)
		got := w.claims("w", first.NotBefore, first)
		w.must(w.settle(got, "failed", "w"))
		w.claims("w", first.NotBefore, second)
	},
	"NoTwoJobsOfOneCluster": func(w *world) {
		c := w.cluster(w.user())
		second := w.unstored(c)
		first := w.job(c)
		got := w.claims("a", start, first)
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Insert(ctx, second) }) // older, but late
		w.claimsNothing("b", start)
		w.must(w.settle(got, store.JobPending, "a"))
		w.claims("b", start, second)
		w.claimsNothing("a", start)
	},
	"ALapsedJobCannotComeBackBesideAnother": func(w *world) {
		c := w.cluster(w.user())
		older := w.unstored(c)
		lapsed := w.claims("a", start, w.job(c))
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Insert(ctx, older) })
		now := after(term)
		got := w.claims("b", now, older)
		w.leaseLost(w.renew(lapsed, "a", now.Add(term)))
		w.leaseLost(w.settle(lapsed, "succeeded", "a"))
		w.must(w.settle(got, "succeeded", "b"))
		w.claims("b", now, lapsed)
	},
	"ClaimOfIsClaimForOneCluster": func(w *world) {
		u := w.user()
		c, other := w.cluster(u), w.cluster(u)
		older := w.job(other)
		first := w.job(c, func(j *store.Job) { j.NotBefore = after(time.Minute) })
		w.job(c)
		claims := func(c store.Cluster, worker string, now time.Time, want *store.Job) {
			w.Helper()
			j, ok := w.claimOf(c, worker, now)
			if ok != (want != nil) || ok && j.ID != want.ID {
				w.Fatalf("%s at %s got %v, %s; want %v", worker, now, ok, j.ID, want)
			}
		}
		claims(c, "a", start, nil) // an older one of the cluster goes first
		claims(c, "a", first.NotBefore, &first)
		claims(c, "b", first.NotBefore, nil)
		got := w.getJob(first.ID)
		want := first
		want.Status, want.WorkerID, want.LeasedUntil = store.JobRunning, "a", new(first.NotBefore.Add(term))
		want.AttemptCount, want.StartedAt, want.UpdatedAt = 1, &first.NotBefore, first.NotBefore
		same(w, got, want)
		claims(c, "b", first.NotBefore.Add(term), &first) // abandoned
		w.leaseLost(w.renew(first, "a", after(time.Hour)))
		claims(other, "b", start, &older)
		claims(store.Cluster{ID: newID[id.ClusterKind](w)}, "b", start, nil)
		w.must(w.settle(w.getJob(first.ID), "succeeded", "b"))
		if j, ok := w.claimOf(c, "a", start); !ok || j.ID == first.ID {
			w.Errorf("the next of the cluster: %v, %+v", ok, j)
		}
	},
	"ClaimOfExpelsALapsedJob": func(w *world) {
		c := w.cluster(w.user())
		older := w.unstored(c)
		lapsed := w.claims("a", start, w.job(c))
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Insert(ctx, older) })
		if _, ok := w.claimOf(c, "b", start); ok {
			w.Error("claimed beside a living lease")
		}
		now := after(term)
		if j, ok := w.claimOf(c, "b", now); !ok || j.ID != older.ID {
			w.Fatalf("got %v, %s; want %s", ok, j.ID, older.ID)
		}
		w.leaseLost(w.renew(lapsed, "a", now.Add(term)))
	},
	"TakeClaimsBeginsAndReads": func(w *world) {
		c := w.cluster(w.user())
		o := w.newOperation(c)
		o.StartedAt, o.CreatedAt = nil, start
		j := w.newJob(o)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.Operations().Insert(ctx, o), tx.Jobs().Insert(ctx, j))
		})
		now := after(time.Second)
		got, ok := w.take(c, now)
		j.Status, j.WorkerID, j.LeasedUntil, j.AttemptCount, j.StartedAt, j.UpdatedAt = store.JobRunning, "a", new(now.Add(term)), j.AttemptCount+1, &now, now
		o.Status, o.StartedAt, o.UpdatedAt = "at work", &now, now
		is(w, "taken", ok, true)
		same(w, got, store.Taken{Job: j, Operation: o, Cluster: &c})
		same(w, w.getJob(j.ID), j)
		w.read(func(ctx context.Context, tx store.Tx) error {
			stored, err := tx.Operations().Get(ctx, o.ID)
			same(w, stored, o)
			return err
		})
		if t, ok := w.take(c, now); ok {
			w.Errorf("taken twice: %+v", t)
		}
		if t, ok := w.take(c, now.Add(term)); !ok || t.Job.AttemptCount != j.AttemptCount+1 || !t.Operation.StartedAt.Equal(now) {
			w.Errorf("abandoned: %v, %+v", ok, t)
		}
	},
	"TakeExpelsALapsedJob": func(w *world) {
		c := w.cluster(w.user())
		older := w.unstored(c)
		lapsed := w.claims("w", start, w.job(c))
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Insert(ctx, older) })
		if t, ok := w.take(c, start); ok {
			w.Errorf("taken beside a living lease: %+v", t)
		}
		now := after(term)
		if t, ok := w.take(c, now); !ok || t.Job.ID != older.ID || t.Operation.ID != older.OperationID || t.Cluster == nil {
			w.Fatalf("got %v, %+v; want %s", ok, t, older.ID)
		}
		w.leaseLost(w.renew(lapsed, "w", now.Add(term)))
	},
	"TakeSeesNoDeletedCluster": func(w *world) {
		c := w.cluster(w.user())
		j := w.job(c)
		c.DeletedAt = &start
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Update(ctx, &c) })
		if t, ok := w.take(c, start); !ok || t.Job.ID != j.ID || t.Cluster != nil {
			w.Errorf("%v, %+v", ok, t)
		}
	},
	"ConcludeWritesAll": func(w *world) {
		c := w.cluster(w.user())
		w.job(c)
		taken, _ := w.take(c, start)
		end := w.conclusion(taken)
		before := end.Cluster.Version
		w.must(w.conclude(end, "a"))
		same(w, w.getJob(end.Job.ID), end.Job)
		w.read(func(ctx context.Context, tx store.Tx) error {
			o, err := tx.Operations().Get(ctx, end.Operation.ID)
			same(w, o, end.Operation)
			got, err2 := tx.Clusters().Get(ctx, store.Everyone(), c.ID)
			is(w, "version", got.Version, before+1)
			got.Version = before
			same(w, got, end.Cluster)
			events, err3 := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{Limit: 1})
			is(w, "events", len(events.Items), 1)
			same(w, events.Items[0], end.Event)
			return errors.Join(err, err2, err3)
		})
		w.leaseLost(w.conclude(w.conclusion(taken), "a"))
	},
	"ConcludeWritesAllOrNothing": func(w *world) {
		c := w.cluster(w.user())
		w.job(c)
		taken, _ := w.take(c, start)
		old, lost := w.conclusion(taken), w.conclusion(taken)
		old.Cluster.Version--
		lost.Operation.ID = newID[id.OperationKind](w)
		w.leaseLost(w.conclude(w.conclusion(taken), "b"))
		w.conflict(w.conclude(old, "a"), "stale_version")
		w.missing(w.conclude(lost, "a"), "operation")
		illegible := w.conclusion(taken)
		illegible.Event.Message = "\x00"
		if err := w.conclude(illegible, "a"); !errors.Is(err, fault.Invalid) {
			w.Errorf("a NUL: %v", err)
		}
		same(w, w.getJob(taken.Job.ID), taken.Job)
		w.read(func(ctx context.Context, tx store.Tx) error {
			o, err := tx.Operations().Get(ctx, taken.Operation.ID)
			same(w, o, taken.Operation)
			got, err2 := tx.Clusters().Get(ctx, store.Everyone(), c.ID)
			same(w, got, *taken.Cluster)
			events, err3 := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{Limit: 1})
			is(w, "events", len(events.Items), 0)
			return errors.Join(err, err2, err3)
		})
		w.must(w.conclude(w.conclusion(taken), "a"))
	},
	"ConcludeKeepsWhenItWasPublished": func(w *world) {
		c := w.cluster(w.user())
		w.job(c)
		taken, _ := w.take(c, start)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return tx.Jobs().MarkPublished(ctx, after(time.Second), taken.Job.ID)
		})
		w.must(w.conclude(w.conclusion(taken), "a"))
		is(w, "PublishedAt", *w.getJob(taken.Job.ID).PublishedAt, after(time.Second))
	},
	"NextAtIsTheEarliestFutureTime": func(w *world) {
		u := w.user()
		w.nextAt(start, nil)
		w.job(w.cluster(u), func(j *store.Job) { j.Status, j.NotBefore = "failed", after(time.Second) })
		due := w.job(w.cluster(u))
		w.nextAt(start, nil) // it can be claimed now
		w.job(w.cluster(u), func(j *store.Job) { j.NotBefore = after(3 * time.Minute) })
		w.nextAt(start, new(after(3*time.Minute)))
		w.claims("w", start, due)
		w.nextAt(start, new(after(term)))
		w.nextAt(after(term), new(after(3*time.Minute)))
		w.nextAt(after(3*time.Minute), nil)
	},
	"RenewMovesTheLease": func(w *world) {
		j := w.claims("a", start, w.job(w.cluster(w.user())))
		w.must(w.renew(j, "a", after(3*term)))
		w.claimsNothing("b", after(2*term))
		is(w, "LeasedUntil", *w.getJob(j.ID).LeasedUntil, after(3*term))
		w.leaseLost(w.renew(j, "b", after(4*term)))
		w.leaseLost(w.renew(store.Job{ID: newID[id.JobKind](w)}, "a", after(4*term)))
		w.must(w.settle(j, "succeeded", "a"))
		w.leaseLost(w.renew(j, "a", after(4*term)))
		is(w, "LeasedUntil", w.getJob(j.ID).LeasedUntil, nil)
	},
	"SettleReplacesARunningJob": func(w *world) {
		j := w.claims("a", start, w.job(w.cluster(w.user())))
		done := finish(w, store.Job{ID: j.ID, ClusterID: j.ClusterID, OperationID: j.OperationID, Status: "failed", WorkerID: "a"}, nil)
		settle := func(worker string) error {
			return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Settle(ctx, done, worker) })
		}
		w.leaseLost(settle("b"))
		same(w, w.getJob(j.ID), j)
		w.must(settle("a"))
		same(w, w.getJob(j.ID), done)
		w.leaseLost(settle("a"))
		w.leaseLost(w.renew(j, "a", after(term)))
	},
	"SettleKeepsWhenItWasPublished": func(w *world) {
		j := w.claims("a", start, w.job(w.cluster(w.user())))
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return tx.Jobs().MarkPublished(ctx, after(time.Second), j.ID)
		})
		w.must(w.settle(j, "succeeded", "a")) // read before it was published
		is(w, "PublishedAt", *w.getJob(j.ID).PublishedAt, after(time.Second))
	},
	"JobIsPublishedOnce": func(w *world) {
		c := w.cluster(w.user())
		a, b := w.job(c), w.job(c)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Jobs().MarkPublished(ctx, start))
			w.must(tx.Jobs().MarkPublished(ctx, start, a.ID))
			return tx.Jobs().MarkPublished(ctx, after(time.Hour), a.ID, b.ID, newID[id.JobKind](w))
		})
		is(w, "first", *w.getJob(a.ID).PublishedAt, start)
		is(w, "second", *w.getJob(b.ID).PublishedAt, after(time.Hour))
	},
	"ReleasedJobsAreDueAtOnce": func(w *world) {
		u := w.user()
		a := w.claims("a", start, w.job(w.cluster(u)))
		b := w.claims("b", start, w.job(w.cluster(u)))
		now := after(time.Second)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.Jobs().ReleaseWorker(ctx, "a", now)
			is(w, "released", n, 1)
			w.must(err)
			n, err = tx.Jobs().ReleaseWorker(ctx, "a", now)
			is(w, "released again", n, 0)
			return err
		})
		a.Status, a.WorkerID, a.LeasedUntil, a.NotBefore, a.UpdatedAt = store.JobPending, "", nil, now, now
		same(w, w.getJob(a.ID), a)
		same(w, w.getJob(b.ID), b)
		got := w.claims("c", now, a)
		is(w, "AttemptCount", got.AttemptCount, 2)
	},
	"JobFilters": func(w *world) {
		u := w.user()
		c := w.cluster(u)
		a, b := w.job(c), w.job(c, func(j *store.Job) { j.Status = "failed" })
		d := w.job(w.cluster(u))
		for name, ask := range map[string]struct {
			filter store.JobFilter
			want   []string
		}{
			"all":         {store.JobFilter{}, []string{d.ID.String(), b.ID.String(), a.ID.String()}},
			"cluster":     {store.JobFilter{ClusterID: c.ID}, []string{b.ID.String(), a.ID.String()}},
			"pending":     {store.JobFilter{Status: store.JobPending}, []string{d.ID.String(), a.ID.String()}},
			"both":        {store.JobFilter{Status: "failed", ClusterID: c.ID}, []string{b.ID.String()}},
			"no such":     {store.JobFilter{Status: "lost"}, nil},
			"not cluster": {store.JobFilter{ClusterID: newID[id.ClusterKind](w)}, nil},
		} {
			listed(w, name, func(j store.Job) string { return j.ID.String() }, ask.want,
				func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.Job], error) {
					return tx.Jobs().List(ctx, ask.filter, q)
				})
		}
	},
}

// take takes a job of a cluster for the worker a, at a time.
func (w *world) take(c store.Cluster, now time.Time) (t store.Taken, ok bool) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) (err error) {
		t, ok, err = tx.Jobs().Take(ctx, c.ID, "a", "at work", now, now.Add(term))
		return err
	})
	return t, ok
}

// conclusion is how a job ended that was taken, with everything changed that may be.
func (w *world) conclusion(t store.Taken) store.Conclusion {
	w.Helper()
	at := after(time.Hour)
	c := store.Conclusion{Job: t.Job, Operation: t.Operation, Cluster: *t.Cluster}
	c.Job.Status, c.Job.LeasedUntil, c.Job.WorkerID, c.Job.LastError, c.Job.FinishedAt, c.Job.UpdatedAt = "succeeded", nil, "", "it's \\ ?", &at, at
	c.Operation.Status, c.Operation.Stage, c.Operation.FinishedAt, c.Operation.UpdatedAt = "succeeded", "done", &at, at
	c.Cluster.Status, c.Cluster.FormerHosts, c.Cluster.LastObservedAt, c.Cluster.UpdatedAt = "ready", []string{"a.example", "b.example"}, &at, at
	c.Event = store.AuditEvent{
		ID: newID[id.AuditKind](w), OccurredAt: at, ActorType: "process", ResourceType: "cluster", ResourceID: c.Cluster.ID.String(), Action: "create_succeeded",
		Result: "success", Message: "Finished $1 ? 'it'.", ClusterID: c.Cluster.ID, ClusterName: c.Cluster.Name,
	}
	return c
}

func (w *world) conclude(c store.Conclusion, worker string) error {
	return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Conclude(ctx, c, worker) })
}

// unstored makes a job that is older than those made after it, and late.
func (w *world) unstored(c store.Cluster) store.Job {
	w.Helper()
	return w.newJob(w.operation(c))
}

func (w *world) nextAt(now time.Time, want *time.Time) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) error {
		got, ok, err := tx.Jobs().NextAt(ctx, now)
		if ok != (want != nil) || ok && (!got.Equal(*want) || got.Location() != time.UTC) {
			w.Errorf("next at %s: got %s, %v; want %v", now, got, ok, want)
		}
		return err
	})
}

// claims are checks of many workers at once.
var claims = checks{
	"ClaimIsExclusive": func(w *world) {
		const n = 12
		u := w.user()
		for range n {
			w.job(w.cluster(u))
		}
		var mu sync.Mutex
		holders := map[id.Job]int{}
		for _, err := range atOnce(8, func(i int) error {
			for {
				var j store.Job
				var ok bool
				err := w.try(func(ctx context.Context, tx store.Tx) (err error) {
					j, ok, err = tx.Jobs().Claim(ctx, fmt.Sprint("worker ", i), start, after(term))
					return err
				})
				if err != nil || !ok {
					return err
				}
				mu.Lock()
				holders[j.ID]++
				mu.Unlock()
			}
		}) {
			w.must(err)
		}
		is(w, "jobs claimed", len(holders), n)
		for i, times := range holders {
			is(w, "holders of "+i.String(), times, 1)
		}
	},
	"TakeIsExclusive": func(w *world) {
		c := w.cluster(w.user())
		w.job(c)
		w.job(c)
		var mu sync.Mutex
		var holders []store.Taken
		for _, err := range atOnce(8, func(i int) error {
			var t store.Taken
			var ok bool
			err := w.try(func(ctx context.Context, tx store.Tx) (err error) {
				t, ok, err = tx.Jobs().Take(ctx, c.ID, fmt.Sprint("worker ", i), "running", start, after(term))
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if ok && err == nil {
				holders = append(holders, t)
			}
			return err
		}) {
			w.must(err)
		}
		is(w, "holders", len(holders), 1)
		same(w, w.getJob(holders[0].Job.ID), holders[0].Job)
	},
	"WorkersTakeTurnsOnACluster": func(w *world) {
		const clusters, each = 3, 4
		u := w.user()
		order := map[id.Cluster][]id.Job{}
		for range clusters {
			c := w.cluster(u)
			for range each {
				order[c.ID] = append(order[c.ID], w.job(c).ID)
			}
		}
		ledger := newLedger(clusters * each)
		for _, err := range atOnce(6, func(i int) error { return ledger.work(w, fmt.Sprint("worker ", i)) }) {
			w.must(err)
		}
		for c, want := range order {
			if got := ledger.order[c]; !slices.Equal(got, want) {
				w.Errorf("cluster %s: worked on in order %v, want %v", c, got, want)
			}
		}
		for _, complaint := range ledger.complaints {
			w.Error(complaint)
		}
	},
	"ClaimIsExclusiveWhileUncommitted": func(w *world) {
		w.needsTwo()
		c := w.cluster(w.user())
		first := w.job(c)
		w.job(c)
		var second store.Job
		var got bool
		var wait func() error
		w.tx(func(ctx context.Context, tx store.Tx) error {
			j, ok, err := tx.Jobs().Claim(ctx, "a", start, after(term))
			is(w, "a claims", ok && j.ID == first.ID, true)
			_, wait = w.meanwhile(func(ctx context.Context, tx store.Tx) (err error) {
				second, got, err = tx.Jobs().Claim(ctx, "b", start, after(term))
				return err
			})
			return err
		})
		w.must(wait())
		if got {
			w.Errorf("b got %s while a had %s of the same cluster", second.ID, first.ID)
		}
	},
	"ClaimIsExclusiveWhenAnOlderJobArrives": func(w *world) {
		w.needsTwo()
		c := w.cluster(w.user())
		older, younger := w.unstored(c), w.job(c)
		var second store.Job
		var got bool
		var wait func() error
		w.tx(func(ctx context.Context, tx store.Tx) error {
			j, ok, err := tx.Jobs().Claim(ctx, "a", start, after(term))
			is(w, "a claims", ok && j.ID == younger.ID, true)
			w.must(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Insert(ctx, older) }))
			_, wait = w.meanwhile(func(ctx context.Context, tx store.Tx) (err error) {
				second, got, err = tx.Jobs().Claim(ctx, "b", start, after(term))
				return err
			})
			return err
		})
		w.must(wait())
		if got {
			w.Errorf("b got %s while a had %s of the same cluster", second.ID, younger.ID)
		}
		w.must(w.settle(w.getJob(younger.ID), "succeeded", "a"))
		w.claims("b", start, older)
	},
	"ClaimOfWaitsForWhoWritesToTheJob": func(w *world) {
		w.needsTwo()
		j := w.job(w.cluster(w.user()))
		var got store.Job
		var ok bool
		var wait func() error
		w.tx(func(ctx context.Context, tx store.Tx) error { // as the relay does, whose message is heard already
			err := tx.Jobs().MarkPublished(ctx, start, j.ID)
			_, wait = w.meanwhile(func(ctx context.Context, tx store.Tx) (err error) {
				got, ok, err = tx.Jobs().ClaimOf(ctx, j.ClusterID, "b", start, after(term))
				return err
			})
			return err
		})
		w.must(wait())
		if !ok || got.ID != j.ID || got.PublishedAt == nil {
			w.Errorf("got %v, %+v", ok, got)
		}
	},
	"ClaimOfIsExclusive": func(w *world) {
		c := w.cluster(w.user())
		w.job(c)
		w.job(c)
		for _, err := range atOnce(8, func(i int) error {
			return w.try(func(ctx context.Context, tx store.Tx) error {
				_, _, err := tx.Jobs().ClaimOf(ctx, c.ID, fmt.Sprint("worker ", i), start, after(term))
				return err
			})
		}) {
			w.must(err)
		}
		running := 0
		w.read(func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Jobs().List(ctx, store.JobFilter{ClusterID: c.ID, Status: store.JobRunning}, page.Query{})
			running = len(all.Items)
			for _, j := range all.Items {
				is(w, "attempts", j.AttemptCount, 1)
			}
			return err
		})
		is(w, "running", running, 1)
	},
	"ARolledBackClaimIsNone": func(w *world) {
		j := w.job(w.cluster(w.user()))
		_ = w.try(func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.Jobs().Claim(ctx, "a", start, after(term))
			w.must(err)
			return context.Canceled
		})
		same(w, w.getJob(j.ID), j)
		w.claims("b", start, j)
	},
	"TokenIsClaimedByOneMachine": func(w *world) {
		t := w.token(w.cluster(w.user()))
		w.oneWins(atOnce(8, func(i int) error {
			mine := t
			mine.ClaimedNodeName = fmt.Sprint("node-", i)
			return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Tokens().Update(ctx, &mine) })
		}), "stale_version")
	},
}

// ledger is what workers write down of their work.
type ledger struct {
	mu         sync.Mutex
	left       int
	busy       map[id.Cluster]string
	order      map[id.Cluster][]id.Job
	complaints []string
}

func newLedger(jobs int) *ledger {
	return &ledger{left: jobs, busy: map[id.Cluster]string{}, order: map[id.Cluster][]id.Job{}}
}

// work claims and settles until all jobs are done.
func (l *ledger) work(w *world, worker string) error {
	for deadline := time.Now().Add(patience); l.more(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: jobs are left that nobody gets", worker)
		}
		var j store.Job
		var ok bool
		err := w.try(func(ctx context.Context, tx store.Tx) (err error) {
			j, ok, err = tx.Jobs().Claim(ctx, worker, start, after(term))
			return err
		})
		if err != nil {
			return err
		}
		if !ok {
			time.Sleep(time.Millisecond)
			continue
		}
		l.begin(j, worker)
		time.Sleep(time.Millisecond)
		l.end(j)
		if err := w.settle(j, "succeeded", worker); err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) more() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left > 0
}

func (l *ledger) begin(j store.Job, worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other := l.busy[j.ClusterID]; other != "" {
		l.complaints = append(l.complaints, fmt.Sprintf("%s works on cluster %s beside %s", worker, j.ClusterID, other))
	}
	l.busy[j.ClusterID] = worker
	l.order[j.ClusterID] = append(l.order[j.ClusterID], j.ID)
}

func (l *ledger) end(j store.Job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.busy, j.ClusterID)
	l.left--
}
