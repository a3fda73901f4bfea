// Package reconcile brings the world to what is wanted: it takes jobs from the
// store, one at a time for each cluster, and works on a cluster until its
// control plane is what the cluster's record asks for, or is gone.
//
// A job says that there is something to do, not what: the worker looks at the
// record as it is now. So a job may be repeated, interrupted or late.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Deps are what a Worker cannot work without.
type Deps struct {
	Store       store.Store
	Provisioner provision.Provisioner
	Log         *slog.Logger
	Now         func() time.Time
	Random      id.Random
	Jobs        *bell.Bell // rung when there may be a job
	Settled     func()     // called when a cluster has become ready or gone; does not block

	Name        string        // of this worker; no other living one has it
	Lease       time.Duration // how long a job is safe from others without news from its worker
	MaxAttempts int           // after passing errors
	Deadline    time.Duration // for one attempt
}

// Worker works on one job at a time.
type Worker struct {
	deps    Deps
	journal journal.Journal
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Worker, error) {
	if d.Store == nil || d.Provisioner == nil || d.Log == nil || d.Now == nil || d.Random == nil || d.Jobs == nil || d.Settled == nil ||
		d.Name == "" || d.Lease <= 0 || d.MaxAttempts <= 0 || d.Deadline <= 0 {
		return nil, errors.New("reconcile: every field of Deps must be set")
	}
	return &Worker{deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}}, nil
}

// Heard is a bus.Handler: a message tells that there may be a job.
func (w *Worker) Heard(context.Context, bus.Message) error {
	w.deps.Jobs.Ring()
	return nil
}

// idle is how long a job whose message was lost may wait.
const idle = 5 * time.Second

// Run works until ctx ends. What it was working on is then pending again.
func (w *Worker) Run(ctx context.Context) {
	ctx = actor.With(ctx, actor.Process())
	w.releaseOwn(ctx)
	for ctx.Err() == nil {
		rung := w.deps.Jobs.C()
		worked, err := w.Once(ctx)
		if err != nil && ctx.Err() == nil {
			w.deps.Log.ErrorContext(ctx, "job not settled", "worker", w.deps.Name, "err", err)
			bell.Wait(ctx, nil, time.Second)
			continue
		}
		if !worked {
			bell.Wait(ctx, rung, w.untilNext(ctx))
		}
	}
}

// releaseOwn frees what an earlier life of this worker held.
func (w *Worker) releaseOwn(ctx context.Context) {
	err := w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Jobs().ReleaseWorker(ctx, w.deps.Name, w.deps.Now())
		return err
	})
	if err != nil {
		w.deps.Log.ErrorContext(ctx, "jobs of an earlier life not released", "worker", w.deps.Name, "err", err)
	}
}

func (w *Worker) untilNext(ctx context.Context) time.Duration {
	wait := idle
	err := w.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		now := w.deps.Now()
		at, ok, err := tx.Jobs().NextAt(ctx, now)
		if ok {
			wait = min(idle, max(at.Sub(now), 10*time.Millisecond))
		}
		return err
	})
	if err != nil && ctx.Err() == nil {
		w.deps.Log.ErrorContext(ctx, "next job not known", "err", err)
	}
	return wait
}

// Once takes one job and works on it, and reports whether there was one.
func (w *Worker) Once(ctx context.Context) (worked bool, err error) {
	var job store.Job
	err = w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		now := w.deps.Now()
		job, worked, err = tx.Jobs().Claim(ctx, w.deps.Name, now, now.Add(w.deps.Lease))
		if err == nil && !worked {
			job, worked, err = w.claimStranded(ctx, tx, now)
		}
		return err
	})
	if err != nil || !worked {
		return false, err
	}
	result := w.attempt(ctx, job)
	return true, w.settle(ctx, job, result)
}

// claimStranded takes a job that is to wait for longer than any job ever is: the
// clock has gone back since that was written, and nobody shall wait it out.
func (w *Worker) claimStranded(ctx context.Context, tx store.Tx, now time.Time) (j store.Job, ok bool, err error) {
	at, some, err := tx.Jobs().NextAt(ctx, now)
	if err != nil || !some || at.Sub(now) <= 2*max(maxBackoff, w.deps.Lease) {
		return j, false, err
	}
	return tx.Jobs().Claim(ctx, w.deps.Name, at, now.Add(w.deps.Lease))
}

// attempt works on a job while it keeps the job's lease alive.
func (w *Worker) attempt(ctx context.Context, job store.Job) error {
	if job.AttemptCount > w.deps.MaxAttempts { // only attempts that nobody settled lead here
		return permanent(reason("Every attempt was cut off before it ended."))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.deps.Deadline, errLate)
	defer cancel()
	ctx, lose := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.keep(ctx, job, lose)
	}()
	err := w.work(ctx, job)
	lose(nil)
	<-done
	if cause := context.Cause(ctx); err != nil && (errors.Is(cause, errLate) || errors.Is(cause, errLost)) {
		return errors.Join(cause, err)
	}
	return err
}

var (
	errLate = errors.New("the attempt has passed its deadline")
	errLost = errors.New("another worker has taken the job over")
)

// keep renews the lease until ctx ends, and ends the attempt when it is lost or
// when so long passed without renewal that others may have it.
func (w *Worker) keep(ctx context.Context, job store.Job, lose context.CancelCauseFunc) {
	lease := w.deps.Lease
	renewed := w.deps.Now()
	for pause := lease / 3; bell.Wait(ctx, nil, pause); {
		now := w.deps.Now()
		err := w.renew(ctx, job, now)
		if err == nil {
			renewed, pause = now, lease/3
			continue
		}
		if fault.CodeOf(err) == "lease_lost" || w.deps.Now().Sub(renewed) >= lease*3/4 {
			lose(errLost)
			return
		}
		pause = lease / 12
		if ctx.Err() == nil {
			w.deps.Log.WarnContext(ctx, "lease not renewed; trying again", "job", job.ID.String(), "err", err)
		}
	}
}

func (w *Worker) renew(ctx context.Context, job store.Job, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, w.deps.Lease/6) // so that a store that hangs does not hide that time passes
	defer cancel()
	return w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.Jobs().Renew(ctx, job.ID, w.deps.Name, now.Add(w.deps.Lease))
	})
}

// work looks at what is wanted of the job's cluster now and does it.
func (w *Worker) work(ctx context.Context, job store.Job) error {
	c, err := w.begin(ctx, job)
	if errors.Is(err, fault.NotFound) {
		return nil // an earlier job has finished the cluster off
	}
	if err != nil {
		return err
	}
	deleting := c.Status() == clusters.Deleting
	switch {
	case deleting && job.Type != string(clusters.Delete):
		return errSuperseded
	case deleting:
		return w.remove(ctx, job, c)
	case job.Type == string(clusters.Delete):
		return permanent(reason("The cluster is not being deleted any more."))
	}
	return w.bring(ctx, job, c)
}

// begin marks the operation as running and reads the cluster.
func (w *Worker) begin(ctx context.Context, job store.Job) (c clusters.Cluster, err error) {
	err = w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Clusters().Get(ctx, store.Everyone(), job.ClusterID)
		if err != nil {
			return err
		}
		c = clusters.Of(rec)
		return editOperation(ctx, tx, job.OperationID, func(o *store.Operation) {
			now := w.deps.Now()
			o.Status, o.UpdatedAt = string(clusters.Running), now
			if o.StartedAt == nil {
				o.StartedAt = &now
			}
		})
	})
	return c, err
}

func editOperation(ctx context.Context, tx store.Tx, i id.Operation, edit func(*store.Operation)) error {
	o, err := tx.Operations().Get(ctx, i)
	if err != nil {
		return fmt.Errorf("read operation: %w", err)
	}
	edit(&o)
	return tx.Operations().Update(ctx, o)
}

// stage shows people where a job is. It is written when it changes.
func (w *Worker) stage(ctx context.Context, job store.Job, s provision.Stage) error {
	return w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return editOperation(ctx, tx, job.OperationID, func(o *store.Operation) { o.Stage, o.UpdatedAt = string(s), w.deps.Now() })
	})
}

func (w *Worker) remove(ctx context.Context, job store.Job, c clusters.Cluster) error {
	if err := w.stage(ctx, job, provision.Deleting); err != nil {
		return err
	}
	return w.deps.Provisioner.Destroy(ctx, c.ID())
}

// lookAgain is how long a change of mind may go unnoticed by a running job.
const lookAgain = time.Second

// bring applies what is wanted and waits until the world is there. When people
// change their mind meanwhile, it follows.
func (w *Worker) bring(ctx context.Context, job store.Job, c clusters.Cluster) error {
	var seen provision.Observed
	err := w.pursue(ctx, job, c, &seen)
	if err != nil {
		return errors.Join(err, late(ctx, seen))
	}
	return nil
}

func (w *Worker) pursue(ctx context.Context, job store.Job, c clusters.Cluster, seen *provision.Observed) error {
	for applied := int64(-1); ; {
		if want := c.Record().Generation; want != applied {
			if err := w.deps.Provisioner.Apply(ctx, c.Want()); err != nil {
				return err
			}
			applied = want
		}
		shown := seen.Stage
		arrived, err := w.look(ctx, c, seen)
		if arrived || err != nil {
			return err
		}
		if seen.Stage != shown {
			if err := w.stage(ctx, job, seen.Stage); err != nil {
				return err
			}
		}
		if err := w.await(ctx, c.ID(), *seen); err != nil {
			return err
		}
		if c, err = w.reread(ctx, c.ID()); err != nil {
			return err
		}
		if c.Status() == clusters.Deleting {
			return errSuperseded
		}
	}
}

// look observes the control plane once and reports whether it has arrived.
func (w *Worker) look(ctx context.Context, c clusters.Cluster, seen *provision.Observed) (arrived bool, err error) {
	if *seen, err = w.deps.Provisioner.Observe(ctx, c.ID()); err != nil {
		return false, err
	}
	switch seen.Phase {
	case provision.Ready:
		return true, w.arrive(ctx, c.ID(), c.Record().Generation, *seen)
	case provision.Failed:
		return false, permanent(reason(seen.Reason))
	case provision.Absent, provision.Removing:
		return false, fault.Unavailable.New("control_plane_gone", "The control plane went away while it was being made.")
	case provision.Pending:
	}
	return false, nil
}

// late says in words where a control plane was when its time ran out.
func late(ctx context.Context, seen provision.Observed) error {
	if !errors.Is(context.Cause(ctx), errLate) {
		return nil
	}
	return reason(fmt.Sprintf("The control plane did not get ready in time. It was at the stage %s.", seen.Stage))
}

// reason is a failure that has been put into a sentence for people.
type reason string

func (r reason) Error() string { return string(r) }

const errSuperseded = reason("The cluster is being deleted: a later request has taken the place of this one.")

// await waits for news of the control plane, but not for longer than a change
// of mind may go unnoticed.
func (w *Worker) await(ctx context.Context, c id.Cluster, seen provision.Observed) error {
	short, cancel := context.WithTimeout(ctx, lookAgain)
	defer cancel()
	news, err := w.deps.Provisioner.Await(short, c, seen)
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		return nil
	}
	if err == nil && news == seen { // it may return early: not every time at once
		bell.Wait(short, nil, lookAgain/5)
	}
	return err
}

func (w *Worker) reread(ctx context.Context, i id.Cluster) (c clusters.Cluster, err error) {
	err = w.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Clusters().Get(ctx, store.Everyone(), i)
		c = clusters.Of(rec)
		return err
	})
	return c, err
}

func (w *Worker) arrive(ctx context.Context, i id.Cluster, generation int64, seen provision.Observed) error {
	return w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), i)
		if err != nil {
			return err
		}
		c := clusters.Of(rec)
		c.Arrive(generation, seen, w.deps.Now())
		rec = c.Record()
		return tx.Clusters().Update(ctx, &rec)
	})
}
