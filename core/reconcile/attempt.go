package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/outage"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// attempt works on a job while it keeps the job's lease alive.
func (w *Worker) attempt(ctx context.Context, t *task) error {
	if t.job.AttemptCount > w.deps.MaxAttempts { // only attempts that nobody settled lead here
		return permanent(reason("Every attempt was cut off before it ended."))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.deps.Deadline, errLate)
	defer cancel()
	ctx, lose := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.keep(ctx, t.job, lose)
	}()
	err := w.guarded(ctx, t)
	lose(nil)
	<-done
	if cause := context.Cause(ctx); err != nil && (errors.Is(cause, errLate) || errors.Is(cause, errLost)) {
		return errors.Join(cause, err)
	}
	return err
}

// guarded turns a panic into an error, which is counted: a job that nobody can
// work on must not take its worker, and everybody's jobs, with it.
func (w *Worker) guarded(ctx context.Context, t *task) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the attempt panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return w.work(ctx, t)
}

var (
	errLate = errors.New("the attempt has passed its deadline")
	errLost = errors.New("another worker has taken the job over")
)

// keep renews the lease until ctx ends, and ends the attempt when it is lost or
// when so long passed without renewal that others may have it.
func (w *Worker) keep(ctx context.Context, job store.Job, lose context.CancelCauseFunc) {
	lease := w.deps.Lease
	renewed := w.deps.Clock.Now()
	trouble := outage.New(w.deps.Log.With("job", job.ID.String()), w.deps.Clock.Now)
	for pause := lease / 3; bell.Wait(ctx, nil, pause); {
		now := w.deps.Clock.Now()
		err := w.renew(ctx, job, now)
		if err == nil {
			renewed, pause = now, lease/3
			trouble.Works(ctx, "the lease is renewed again")
			continue
		}
		if fault.CodeOf(err) == "lease_lost" || w.deps.Clock.Now().Sub(renewed) >= lease*3/4 {
			lose(errLost)
			return
		}
		pause = lease / 12
		if ctx.Err() == nil {
			trouble.Failed(ctx, slog.LevelWarn, "lease not renewed; trying again", err)
		}
	}
}

func (w *Worker) renew(ctx context.Context, job store.Job, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, w.deps.Lease/6) // so that a store that hangs does not hide that time passes
	defer cancel()
	return w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.Jobs().Renew(ctx, job.ID, job.WorkerID, now.Add(w.deps.Lease))
	})
}

// work looks at what is wanted of the task's cluster and does it.
func (w *Worker) work(ctx context.Context, t *task) error {
	if !t.begun {
		err := w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return w.begin(ctx, tx, t) })
		if err != nil {
			return err
		}
	}
	if t.gone {
		return nil
	}
	deleting := t.cluster.Status() == clusters.Deleting
	switch clusters.OperationType(t.job.Type) {
	case clusters.Delete:
		if !deleting {
			return permanent(reason("The cluster is not being deleted any more."))
		}
		return w.remove(ctx, t)
	case clusters.Create, clusters.Update:
		if deleting {
			return errSuperseded
		}
		return w.bring(ctx, t)
	}
	return permanent(reason("This server does not know what to do for a job of this type. Is it of an older version than the others?"))
}

// stage shows people where a job is. It is written when it changes, and by who
// holds the job.
func (w *Worker) stage(ctx context.Context, t *task, s provision.Stage) error {
	if t.operation.Stage == string(s) {
		return nil
	}
	now, told := w.deps.Clock.Now(), t.operation
	told.Stage, told.UpdatedAt = string(s), now
	err := w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := tx.Jobs().Renew(ctx, t.job.ID, t.job.WorkerID, now.Add(w.deps.Lease)); err != nil {
			return err
		}
		return tx.Operations().Update(ctx, told)
	})
	if err == nil { // what was not written is tried again
		t.operation = told
	}
	return err
}

func (w *Worker) remove(ctx context.Context, t *task) error {
	if err := w.stage(ctx, t, provision.Deleting); err != nil {
		return err
	}
	return w.deps.Provisioner.Destroy(ctx, t.cluster.ID())
}

// lookAgain is how long a change of mind may go unnoticed by a running job.
const lookAgain = time.Second

// bring applies what is wanted and waits until the world is there. When people
// change their mind meanwhile, it follows.
func (w *Worker) bring(ctx context.Context, t *task) error {
	var seen provision.Observed
	err := w.pursue(ctx, t, &seen)
	if err != nil {
		return errors.Join(err, late(ctx, seen))
	}
	return nil
}

func (w *Worker) pursue(ctx context.Context, t *task, seen *provision.Observed) error {
	for applied := int64(-1); ; {
		if want := t.cluster.Record().Generation; want != applied {
			if err := w.apply(ctx, t); err != nil {
				return err
			}
			applied = want
		}
		arrived, err := w.look(ctx, t, seen)
		if arrived || err != nil {
			return err
		}
		if err := w.show(ctx, t, *seen); err != nil {
			return err
		}
		if err := w.await(ctx, t.cluster.ID(), *seen); err != nil {
			return err
		}
		if t.cluster, err = w.reread(ctx, t.cluster.ID()); err != nil {
			return err
		}
		if t.cluster.Status() == clusters.Deleting {
			return errSuperseded
		}
	}
}

// apply tells meanwhile how far it is: what a provisioner does before it returns
// may take a while.
func (w *Worker) apply(ctx context.Context, t *task) error {
	during, stop := context.WithCancel(ctx)
	var telling sync.WaitGroup
	defer telling.Wait()
	defer stop()
	telling.Go(func() { w.narrate(during, t) })
	err := w.deps.Provisioner.Apply(ctx, t.cluster.Want())
	if err == nil || !errors.Is(context.Cause(ctx), errLate) {
		return err
	}
	if f, ok := errors.AsType[*fault.Error](err); ok { // it knows better
		return errors.Join(reason(f.Msg), errUnasked, err)
	}
	return errors.Join(errUnasked, err)
}

// errUnasked is an attempt whose time ran out before the control plane was asked
// for: it may have waited for the others' turns for most of it, which says
// nothing about this one.
const errUnasked = reason("The control plane could not be asked for in time. The platform may be busy with others.")

// narrate writes the stage until ctx ends. Nothing depends on it.
func (w *Worker) narrate(ctx context.Context, t *task) {
	defer func() {
		if p := recover(); p != nil {
			w.deps.Log.ErrorContext(ctx, "looking at a control plane panicked", "job", t.job.ID.String(), "err", p)
		}
	}()
	trouble := outage.New(w.deps.Log.With("job", t.job.ID.String()), w.deps.Clock.Now)
	for bell.Wait(ctx, nil, lookAgain) {
		seen, err := w.deps.Provisioner.Observe(ctx, t.cluster.ID())
		if err == nil && seen.Phase == provision.Pending {
			err = w.stage(ctx, t, seen.Stage)
		}
		switch {
		case err == nil:
			trouble.Works(ctx, "the stage of a job is known again")
		case ctx.Err() == nil:
			trouble.Failed(ctx, slog.LevelWarn, "the stage of a job is not known", err)
		}
	}
}

// look observes the control plane once and reports whether it has arrived.
func (w *Worker) look(ctx context.Context, t *task, seen *provision.Observed) (arrived bool, err error) {
	found, err := w.deps.Provisioner.Observe(ctx, t.cluster.ID())
	if err != nil {
		return false, err // what was seen before is the last that is known
	}
	*seen = found
	switch seen.Phase {
	case provision.Ready:
		t.arrival = &arrival{t.cluster.Record().Generation, *seen}
		return true, nil
	case provision.Failed:
		return false, permanent(reason(seen.Reason))
	case provision.Absent, provision.Removing:
		return false, fault.Unavailable.New("control_plane_gone", "The control plane went away while it was being made.")
	case provision.Pending:
	}
	return false, nil
}

// late says in words where a control plane was when its time ran out, and what it
// was waiting for.
func late(ctx context.Context, seen provision.Observed) error {
	if !errors.Is(context.Cause(ctx), errLate) {
		return nil
	}
	return reason(strings.TrimSpace(fmt.Sprintf("The control plane did not get ready in time. It was at the stage %s. %s", seen.Stage, seen.Waiting)))
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
