// Package reconcile brings the world to what is wanted: it takes jobs from the
// store, one at a time for each cluster, and works on a cluster until its
// control plane is what the cluster's record asks for, or is gone.
//
// A job says that there is something to do, not what: the worker looks at the
// record as it is now. So a job may be repeated, interrupted or late.
package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/clock"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/outage"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Deps are what a Worker cannot work without.
type Deps struct {
	Store       store.Store
	Provisioner provision.Provisioner
	Log         *slog.Logger
	Clock       *clock.Clock // leases are counted by it
	Random      id.Random
	Jobs        *bell.Bell // rung when there may be a job that no message tells of
	Settled     func()     // called when a cluster has become ready or gone; does not block

	Name        string        // of this worker; no other living one has it
	Concurrency int           // jobs at once
	Lease       time.Duration // how long a job is safe from others without news from its worker
	MaxAttempts int           // after passing errors
	Deadline    time.Duration // for one attempt

	// Observe is told of every attempt that begins, and what it returns of how it
	// ended; the attempt is made in the context that it returns. Nil: nobody is.
	Observe func(ctx context.Context, job store.Job) (context.Context, func(Outcome))
	// Changed is called in the transaction that writes what has become of a
	// cluster. Nil: nobody is told.
	Changed func(ctx context.Context, tx store.Tx, before, after store.Cluster) error
}

// Outcome is how an attempt ended, in a word.
type Outcome string

const (
	Succeeded   Outcome = "succeeded"
	Failed      Outcome = "failed"      // for good
	Superseded  Outcome = "superseded"  // by a deletion
	Retried     Outcome = "retried"     // after a passing error
	Interrupted Outcome = "interrupted" // by the end of the process
	Lost        Outcome = "lost"        // another worker has the job
	Unsettled   Outcome = "unsettled"   // it could not be written down
)

// over reports whether the job has ended with the attempt.
func (o Outcome) over() bool { return o == Succeeded || o == Failed || o == Superseded }

// Worker works on a number of jobs at once, each with a hand of its own.
type Worker struct {
	deps    Deps
	journal journal.Journal
	orders  chan order // taken by hands that have nothing to do
	spare   chan order // likewise, if there is nothing in orders
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Worker, error) {
	if d.Store == nil || d.Provisioner == nil || d.Log == nil || d.Clock == nil || d.Random == nil || d.Jobs == nil || d.Settled == nil ||
		d.Name == "" || d.Concurrency <= 0 || d.Lease <= 0 || d.MaxAttempts <= 0 || d.Deadline <= 0 {
		return nil, errors.New("reconcile: every field of Deps must be set")
	}
	return &Worker{deps: d, journal: journal.Journal{Now: d.Clock.Now, Random: d.Random}, orders: make(chan order), spare: make(chan order)}, nil
}

// order asks a hand to take a job: that of a cluster, or the oldest of all.
type order struct {
	cluster id.Cluster
	answer  chan answer
}

// answer says whether a job was taken.
type answer struct {
	taken bool
	err   error
}

// give waits for a hand that is free, and for it to have taken a job of a cluster.
func (w *Worker) give(ctx context.Context, cluster id.Cluster) (taken bool, err error) {
	o := order{cluster, make(chan answer, 1)}
	select {
	case w.orders <- o:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	a := <-o.answer
	return a.taken, a.err
}

// giveAny waits for a hand that is free, and for it to have taken the oldest job of
// all. What messages tell of goes first for a while: that job is easier to find,
// and the oldest one's message is most likely among them, and would be for nothing.
func (w *Worker) giveAny(ctx context.Context) (taken bool, err error) {
	o := order{answer: make(chan answer, 1)}
	patience := time.NewTimer(idle)
	defer patience.Stop()
	var orders chan<- order
	for given := false; !given; {
		select {
		case w.spare <- o:
			given = true
		case orders <- o:
			given = true
		case <-patience.C:
			orders = w.orders
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	a := <-o.answer
	return a.taken, a.err
}

const (
	// holdPause and holdTries are how a message is kept while the store is away.
	holdPause = time.Second
	holdTries = 30
)

// Heard is a bus.Handler. It returns when a job of the cluster that the message
// tells of has been taken here, or cannot be taken by anyone at the moment: a
// message that no hand is free for stays with the broker. What it tells of may
// take long, and is not waited for.
func (w *Worker) Heard(ctx context.Context, m bus.Message) error {
	var notice clusters.JobNotice
	if err := json.Unmarshal(m.Body, &notice); err != nil || notice.ClusterID.IsZero() {
		w.deps.Log.ErrorContext(ctx, "message about a job not understood; the job is found without it", "message", m.ID, "err", err)
		return nil
	}
	for try := 1; ; try++ {
		_, err := w.give(ctx, notice.ClusterID)
		if err == nil || try == holdTries || !bell.Wait(ctx, nil, holdPause) {
			return err
		}
	}
}

// Run works until ctx ends. What it was working on is then pending again.
func (w *Worker) Run(ctx context.Context) {
	ctx = actor.With(ctx, actor.Process())
	if !w.deps.Clock.Await(ctx) {
		return
	}
	var running sync.WaitGroup
	defer running.Wait()
	for i := range w.deps.Concurrency {
		running.Go(func() { w.hand(ctx, w.deps.Name+"/"+strconv.Itoa(i)) })
	}
	w.lookOut(ctx)
}

const (
	// idle is how long a job may wait whose message was lost, or is with a process
	// that has no hand free for it.
	idle       = 2 * time.Second
	afterError = time.Second
)

// lookOut finds the jobs that no message tells of: those that wait for their
// next attempt or for another job of their cluster, those whose worker died,
// those whose message was lost. It waits while no hand is free.
func (w *Worker) lookOut(ctx context.Context) {
	looking, waiting := outage.New(w.deps.Log, w.deps.Clock.Now), outage.New(w.deps.Log, w.deps.Clock.Now)
	for ctx.Err() == nil {
		rung := w.deps.Jobs.C()
		taken, err := w.giveAny(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			looking.Failed(ctx, slog.LevelError, "jobs not looked for; trying again", err, "worker", w.deps.Name)
			bell.Wait(ctx, nil, afterError)
			continue
		}
		looking.Works(ctx, "jobs are looked for again", "worker", w.deps.Name)
		if !taken {
			bell.Wait(ctx, rung, w.untilNext(ctx, waiting))
		}
	}
}

func (w *Worker) untilNext(ctx context.Context, trouble *outage.Teller) time.Duration {
	wait := idle
	err := w.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		now := w.deps.Clock.Now()
		at, ok, err := tx.Jobs().NextAt(ctx, now)
		if ok {
			wait = min(idle, max(at.Sub(now), 10*time.Millisecond))
		}
		return err
	})
	switch {
	case err == nil:
		trouble.Works(ctx, "the next job is known again")
	case ctx.Err() == nil:
		trouble.Failed(ctx, slog.LevelError, "next job not known", err)
	}
	return wait
}

// hand takes jobs under a name of its own until ctx ends.
func (w *Worker) hand(ctx context.Context, name string) {
	w.releaseOwn(ctx, name)
	for {
		o, ok := w.next(ctx)
		if !ok {
			return
		}
		t, taken, err := w.take(ctx, o.cluster, name)
		o.answer <- answer{taken, err}
		if taken {
			w.carryOut(ctx, t)
		}
	}
}

// next returns what a hand is to do, and false when ctx has ended.
func (w *Worker) next(ctx context.Context) (o order, ok bool) {
	if ctx.Err() != nil {
		return o, false
	}
	select {
	case o = <-w.orders:
		return o, true
	default:
	}
	select {
	case o = <-w.orders:
		return o, true
	case o = <-w.spare:
		return o, true
	case <-ctx.Done():
		return o, false
	}
}

// releaseOwn frees what an earlier life of this hand held.
func (w *Worker) releaseOwn(ctx context.Context, name string) {
	err := w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Jobs().ReleaseWorker(ctx, name, w.deps.Clock.Now())
		return err
	})
	if err != nil && ctx.Err() == nil {
		w.deps.Log.ErrorContext(ctx, "jobs of an earlier life not released", "worker", name, "err", err)
	}
}

// task is a job that this worker holds, and what it found when it took it.
type task struct {
	job       store.Job
	operation store.Operation
	cluster   clusters.Cluster
	gone      bool // an earlier job has finished the cluster off
	begun     bool // operation and cluster are known
	arrival   *arrival
	waiting   waiting
}

// arrival is a control plane that is as it was wanted.
type arrival struct {
	generation int64
	seen       provision.Observed
}

// take claims a job and begins it. A job whose records cannot be read is claimed
// nevertheless: its attempts are counted, so that they come to an end.
func (w *Worker) take(ctx context.Context, of id.Cluster, name string) (t task, taken bool, err error) {
	err = w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if !of.IsZero() {
			t, taken, err = w.claimAndBegin(ctx, tx, of, name)
			return err
		}
		if t, taken, err = w.claim(ctx, tx, of, name); err != nil || !taken {
			return err
		}
		return w.begin(ctx, tx, &t)
	})
	if err == nil || errors.Is(err, fault.Unavailable) || ctx.Err() != nil {
		return t, taken && err == nil, err
	}
	unbegun := err
	err = w.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		t, taken, err = w.claim(ctx, tx, of, name)
		return err
	})
	if err == nil && taken {
		w.deps.Log.ErrorContext(ctx, "job not begun", "job", t.job.ID.String(), "err", unbegun)
	}
	return t, taken && err == nil, err
}

// claimAndBegin takes a cluster's job with all that it needs, in one question.
func (w *Worker) claimAndBegin(ctx context.Context, tx store.Tx, of id.Cluster, name string) (t task, ok bool, err error) {
	now := w.deps.Clock.Now()
	found, ok, err := tx.Jobs().Take(ctx, of, name, string(clusters.Running), now, now.Add(w.deps.Lease))
	if err != nil || !ok {
		return t, false, err
	}
	t = task{job: found.Job, operation: found.Operation, gone: found.Cluster == nil, begun: true}
	if !t.gone {
		t.cluster = clusters.Of(*found.Cluster)
	}
	return t, true, nil
}

func (w *Worker) claim(ctx context.Context, tx store.Tx, of id.Cluster, name string) (t task, ok bool, err error) {
	now := w.deps.Clock.Now()
	until := now.Add(w.deps.Lease)
	if of.IsZero() {
		t.job, ok, err = tx.Jobs().Claim(ctx, name, now, until)
		if err == nil && !ok {
			t.job, ok, err = w.claimStranded(ctx, tx, name, now)
		}
		return t, ok, err
	}
	t.job, ok, err = tx.Jobs().ClaimOf(ctx, of, name, now, until)
	return t, ok, err
}

// claimStranded takes a job that is to wait for its next attempt for longer than
// any job ever is: the clock has gone back since that was written, and nobody
// shall wait it out. A job that runs is left alone however long its lease is:
// its worker may have been given longer ones than this.
func (w *Worker) claimStranded(ctx context.Context, tx store.Tx, name string, now time.Time) (j store.Job, ok bool, err error) {
	absurd := now.Add(2 * maxBackoff)
	if at, some, err := tx.Jobs().NextAt(ctx, now); err != nil || !some || at.Before(absurd) {
		return j, false, err
	}
	waiting, err := tx.Jobs().List(ctx, store.JobFilter{Status: store.JobPending}, page.Query{Limit: strandedBatch})
	if err != nil {
		return j, false, err
	}
	for _, p := range waiting.Items {
		if p.NotBefore.Before(absurd) {
			continue
		}
		running, err := tx.Jobs().List(ctx, store.JobFilter{Status: store.JobRunning, ClusterID: p.ClusterID}, page.Query{Limit: 1})
		if err != nil {
			return j, false, err
		}
		if len(running.Items) > 0 {
			continue
		}
		j, ok, err = tx.Jobs().ClaimOf(ctx, p.ClusterID, name, p.NotBefore, now.Add(w.deps.Lease))
		if err == nil && ok && (j.ID != p.ID || j.AttemptCount != p.AttemptCount+1) {
			return j, false, errTakenMeanwhile // and what has been written here is undone
		}
		if ok || err != nil {
			return j, ok, err
		}
	}
	return j, false, nil
}

// strandedBatch bounds one look for stranded jobs.
const strandedBatch = 100

var errTakenMeanwhile = fault.Unavailable.New("job_taken", "Another worker has taken the job meanwhile.")

// begin reads what is wanted of the task's cluster now, and has its operation
// say that somebody works on it.
func (w *Worker) begin(ctx context.Context, tx store.Tx, t *task) error {
	rec, err := tx.Clusters().Get(ctx, store.Everyone(), t.job.ClusterID)
	t.cluster, t.gone = clusters.Of(rec), errors.Is(err, fault.NotFound)
	if err != nil && !t.gone {
		return fmt.Errorf("read cluster: %w", err)
	}
	if t.operation, err = tx.Operations().Begin(ctx, t.job.OperationID, string(clusters.Running), w.deps.Clock.Now()); err != nil {
		return fmt.Errorf("begin operation: %w", err)
	}
	t.begun = true
	return nil
}

// carryOut works on a task and writes down how that ended.
func (w *Worker) carryOut(ctx context.Context, t task) {
	ctx, told := w.observe(ctx, t.job)
	result := w.attempt(ctx, &t)
	outcome, err := w.settle(ctx, t, result)
	told(outcome)
	if err != nil {
		w.deps.Log.ErrorContext(ctx, "job not settled; it is taken up again when its lease has run out", "job", t.job.ID.String(), "worker", t.job.WorkerID, "err", err)
		bell.Wait(ctx, nil, afterError)
		return
	}
	if !outcome.over() {
		w.deps.Jobs.Ring() // it is to be looked at again, and nobody else knows when
		return
	}
	w.deps.Settled()
	if w.moreOf(ctx, t.job.ClusterID) {
		w.deps.Jobs.Ring()
	}
}

func (w *Worker) observe(ctx context.Context, job store.Job) (context.Context, func(Outcome)) {
	if w.deps.Observe == nil {
		return ctx, func(Outcome) {}
	}
	return w.deps.Observe(ctx, job)
}

// moreOf reports whether a cluster has another job, whose message may have come
// while this one was in its way. It is asked after the end of this one could be
// seen by all: what comes later finds its way free.
func (w *Worker) moreOf(ctx context.Context, c id.Cluster) (more bool) {
	err := w.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		newest, err := tx.Jobs().List(ctx, store.JobFilter{ClusterID: c}, page.Query{Limit: 1})
		more = len(newest.Items) > 0 && newest.Items[0].FinishedAt == nil
		return err
	})
	return more || err != nil
}
