package reconcile

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// permanent marks an error that trying again would not mend.
func permanent(err error) error { return permanentError{err} }

type permanentError struct{ error }

func (p permanentError) Unwrap() error { return p.error }

// settle writes down how an attempt ended: in the job, the operation, the
// cluster and the audit stream, all at once. It reports how the
// attempt ended; one whose job is another worker's by then was lost.
func (w *Worker) settle(ctx context.Context, t task, result error) (Outcome, error) {
	if errors.Is(result, errLost) {
		return Lost, nil // the job is another worker's to settle
	}
	stopped := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	end := w.judge(t.job, result, stopped)
	err := w.conclude(ctx, t, end)
	if unwritable(err) {
		// What was found cannot be kept: that is what became of this attempt.
		result, t.arrival = errors.Join(err, result), nil
		end = w.judge(t.job, result, stopped)
		err = w.conclude(ctx, t, end)
	}
	if unwritable(err) { // not even that: the job alone, or it would be tried for ever
		w.deps.Log.ErrorContext(ctx, "the end of a job is written on the job alone", "job", t.job.ID.String(), "err", err)
		err = w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
			return tx.Jobs().Settle(ctx, end.job(t.job), t.job.WorkerID)
		})
	}
	if fault.CodeOf(err) == "lease_lost" {
		return Lost, nil
	}
	if result != nil && !stopped {
		w.deps.Log.WarnContext(ctx, "job attempt failed", "job", t.job.ID.String(), "cluster", t.job.ClusterID.String(),
			"type", t.job.Type, "attempt", t.job.AttemptCount, "again", end.progress == clusters.Pending, "err", result)
	}
	if err != nil {
		return Unsettled, err
	}
	return end.outcome(), nil
}

// unwritable tells records that the store does not take, or that are broken, from
// a store that is away or a job that is another worker's by now.
func unwritable(err error) bool {
	return err != nil && fault.CodeOf(err) != "lease_lost" && !errors.Is(err, fault.Unavailable) &&
		!errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// ending is how an attempt ended, and what that means for the job.
type ending struct {
	progress   clusters.Progress
	message    string // for people; empty on success
	notBefore  time.Time
	at         time.Time
	superseded bool
	stopped    bool // by the end of the process
	uncounted  bool // the attempt does not count against the job
}

func (e ending) outcome() Outcome {
	switch {
	case e.progress == clusters.Succeeded:
		return Succeeded
	case e.superseded:
		return Superseded
	case e.progress == clusters.Failed:
		return Failed
	case e.stopped:
		return Interrupted
	}
	return Retried
}

func (e ending) job(j store.Job) store.Job {
	j.Status, j.LastError, j.UpdatedAt = string(e.progress), e.message, e.at
	j.LeasedUntil, j.WorkerID = nil, ""
	if e.uncounted {
		j.AttemptCount--
	}
	if e.progress == clusters.Pending {
		j.NotBefore = e.notBefore
	} else {
		j.FinishedAt = &e.at
	}
	return j
}

func (w *Worker) judge(job store.Job, result error, stopped bool) ending {
	now := w.deps.Clock.Now()
	e := ending{progress: clusters.Succeeded, at: now, notBefore: now}
	if began := job.StartedAt; began != nil && began.After(now) { // by a clock that is ahead
		e.at = *began
	}
	if result == nil {
		return e
	}
	e.message = explain(result)
	_, hopeless := errors.AsType[permanentError](result)
	switch {
	case errors.Is(result, errSuperseded):
		e.progress, e.superseded = clusters.Failed, true
	case stopped: // by the process that ends, not by a fault of the job
		e.progress, e.message, e.stopped, e.uncounted = clusters.Pending, "", true, true
	case errors.Is(result, provision.ErrAway): // nobody has found anything wrong with the cluster
		e.progress, e.uncounted, e.notBefore = clusters.Pending, true, now.Add(w.backoff(max(job.AttemptCount, whileAway)))
	case hopeless, errors.Is(result, fault.Invalid), job.AttemptCount >= w.deps.MaxAttempts,
		errors.Is(result, errLate) && !errors.Is(result, errUnasked) && job.Type != string(clusters.Delete): // a removal goes on, and is looked at again
		e.progress = clusters.Failed
	default:
		e.progress, e.notBefore = clusters.Pending, now.Add(w.backoff(job.AttemptCount))
	}
	return e
}

// whileAway is how many attempts a job has to its name, for the back-off, while
// the backend cannot be reached: such attempts are not counted.
const whileAway = 4

// explain puts an error into words that may be shown. The text of an error that
// nobody has a name for is for the log only: it may hold anything.
func explain(err error) string { return text.Clip(sentence(err), maxMessage) }

const maxMessage = 1000 // a chart's or a tenant's complaint may be any size

func sentence(err error) string {
	if r, ok := errors.AsType[reason](err); ok {
		return string(r)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Msg
	}
	if errors.Is(err, errLate) {
		return "It did not end in time."
	}
	return "Something went wrong on our side. The server's log has the details."
}

// maxBackoff is the longest that a job waits for its next attempt.
const maxBackoff = time.Minute

// backoff doubles from one second to a minute, and is spread by half.
func (w *Worker) backoff(attempt int) time.Duration {
	d := min(time.Second<<min(max(attempt, 1)-1, 6), maxBackoff)
	r := w.deps.Random()
	spread := time.Duration(binary.BigEndian.Uint16(r[:2])) * (d / 2) >> 16 // 16 bits: more would overflow
	return d/2 + spread
}

// conclude writes an ending. The job comes first: who no longer holds it writes
// nothing.
func (w *Worker) conclude(ctx context.Context, t task, e ending) error {
	if c, ok := w.conclusion(ctx, t, e); ok {
		err := w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := tx.Jobs().Conclude(ctx, c, t.job.WorkerID); err != nil {
				return err
			}
			return w.changed(ctx, tx, t.cluster.Record(), c.Cluster)
		})
		if fault.CodeOf(err) != "stale_version" {
			return err
		}
	}
	return w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := tx.Jobs().Settle(ctx, e.job(t.job), t.job.WorkerID); err != nil {
			return err
		}
		if err := w.tell(ctx, tx, t, e); err != nil {
			return err
		}
		if e.progress == clusters.Pending {
			return w.say(ctx, tx, t, e)
		}
		rec, err := w.mark(ctx, tx, t, e)
		if errors.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return w.journal.Write(ctx, tx, concluding(t.job, rec, e))
	})
}

// conclusion is what nearly always is to be written of a job that has ended: its
// cluster is still as it was when the job looked at it. Not so of a removal: who
// writes the cluster's nodes locks the cluster, does not raise its version, and
// may have written one that is not seen yet.
func (w *Worker) conclusion(ctx context.Context, t task, e ending) (c store.Conclusion, ok bool) {
	if !t.begun || t.gone || e.progress == clusters.Pending || t.job.Type == string(clusters.Delete) {
		return c, false
	}
	rec := t.cluster.Record()
	after, changed := t.leaves(rec, e)
	who, err := actor.From(ctx)
	if !changed || err != nil {
		return c, false
	}
	return store.Conclusion{
		Job: e.job(t.job), Operation: e.operation(t.operation), Cluster: after, Event: w.journal.Entry(who, concluding(t.job, rec, e)),
	}, true
}

// said is what the job has had its cluster tell people.
func (t task) said() string {
	if t.begun {
		return t.operation.ErrorMessage
	}
	return t.job.LastError
}

// say has the cluster tell people why its job was not done with the last attempt
// while it waits for the next, and no more once the job goes on.
func (w *Worker) say(ctx context.Context, tx store.Tx, t task, e ending) error {
	if e.message == "" && t.said() == "" {
		return nil
	}
	rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), t.job.ClusterID)
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c := clusters.Of(rec)
	var news bool
	if e.message != "" {
		news = concerns(t.job, c) && c.Hold(e.message, e.at)
	} else {
		news = c.GoOn(t.said(), e.at)
	}
	if !news {
		return nil
	}
	rec = c.Record()
	return tx.Clusters().Update(ctx, &rec)
}

// mark writes the end of a job on its cluster, as that is now.
func (w *Worker) mark(ctx context.Context, tx store.Tx, t task, e ending) (store.Cluster, error) {
	rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), t.job.ClusterID)
	if err != nil {
		return rec, err
	}
	after, changed := t.leaves(rec, e)
	if !changed {
		return rec, nil
	}
	if after.DeletedAt != nil {
		if _, err := tx.Nodes().DeleteOfCluster(ctx, rec.ID); err != nil {
			return rec, err
		}
	}
	if err := tx.Clusters().Update(ctx, &after); err != nil {
		return rec, err
	}
	return rec, w.changed(ctx, tx, rec, after)
}

// changed tells whoever wants to know what has become of a cluster.
func (w *Worker) changed(ctx context.Context, tx store.Tx, before, after store.Cluster) error {
	if w.deps.Changed == nil {
		return nil
	}
	return w.deps.Changed(ctx, tx, before, after)
}

// tell has the operation say what holds.
func (w *Worker) tell(ctx context.Context, tx store.Tx, t task, e ending) error {
	o := t.operation
	if !t.begun {
		var err error
		if o, err = tx.Operations().Get(ctx, t.job.OperationID); err != nil {
			return err
		}
	}
	return tx.Operations().Update(ctx, e.operation(o))
}

// operation is what the ending makes of the job's operation: one that waits for
// its next attempt is queued, and says why it was not done with the last; one
// that failed stays at the stage at which it did.
func (e ending) operation(o store.Operation) store.Operation {
	o.Status, o.ErrorMessage, o.UpdatedAt = string(e.progress), e.message, e.at
	switch e.progress {
	case clusters.Pending:
		o.Stage = string(provision.Queued)
	case clusters.Succeeded:
		o.Stage, o.FinishedAt = string(provision.Done), &e.at
	case clusters.Failed, clusters.Running:
		o.FinishedAt = &e.at
	}
	return o
}

// leaves is what the end of the job makes of its cluster, if anything.
func (t task) leaves(rec store.Cluster, e ending) (after store.Cluster, changed bool) {
	c := clusters.Of(rec)
	switch {
	case e.progress == clusters.Failed && !e.superseded && concerns(t.job, c):
		c.Fail(e.message, e.at)
	case e.progress == clusters.Succeeded && t.arrival != nil:
		c.Arrive(t.arrival.generation, t.arrival.seen, e.at)
	case e.progress == clusters.Succeeded && t.job.Type == string(clusters.Delete) && c.Status() == clusters.Deleting:
		c.Vanish(e.at)
	default:
		return rec, false
	}
	return c.Record(), true
}

// concerns reports whether job is what its cluster waits for. A change that
// fails after somebody asked to delete the cluster must not undo that wish.
func concerns(job store.Job, c clusters.Cluster) bool {
	return (job.Type == string(clusters.Delete)) == (c.Status() == clusters.Deleting)
}

func concluding(job store.Job, c store.Cluster, e ending) journal.Event {
	verb := map[string][2]string{
		string(clusters.Create): {"create_succeeded", "create_failed"},
		string(clusters.Update): {"settings_updated", "settings_update_failed"},
		string(clusters.Delete): {"delete_succeeded", "delete_failed"},
	}[job.Type]
	ev := journal.Event{
		Resource: "cluster", Action: verb[0], ResourceID: c.ID.String(), ClusterID: c.ID, ClusterName: c.Name,
		Message: "Finished: " + job.Type + " of the cluster " + c.Name + ".",
	}
	if e.progress == clusters.Failed {
		ev.Action, ev.Result = verb[1], journal.Failure
		ev.Message = "Failed: " + job.Type + " of the cluster " + c.Name + ". " + e.message
	}
	return ev
}
