package reconcile_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestAWorkerIsNotMadeWithoutWhatItNeeds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for name, drop := range map[string]func(*reconcile.Deps){
			"Store": func(d *reconcile.Deps) { d.Store = nil }, "Provisioner": func(d *reconcile.Deps) { d.Provisioner = nil },
			"Log": func(d *reconcile.Deps) { d.Log = nil }, "Clock": func(d *reconcile.Deps) { d.Clock = nil }, "Random": func(d *reconcile.Deps) { d.Random = nil },
			"Jobs": func(d *reconcile.Deps) { d.Jobs = nil }, "Settled": func(d *reconcile.Deps) { d.Settled = nil }, "Name": func(d *reconcile.Deps) { d.Name = "" },
			"Concurrency": func(d *reconcile.Deps) { d.Concurrency = 0 }, "Lease": func(d *reconcile.Deps) { d.Lease = 0 }, "MaxAttempts": func(d *reconcile.Deps) { d.MaxAttempts = 0 }, "Deadline": func(d *reconcile.Deps) { d.Deadline = 0 },
		} {
			d := w.deps("w")
			drop(&d)
			if _, err := reconcile.New(d); err == nil {
				t.Errorf("made without %s", name)
			}
		}
	})
}

func TestAClusterThatIsAskedForBecomesReadyStageByStage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 4 * time.Second})
		c := w.create(t, "demo")
		w.run(t, "w")
		var stages []string
		until(t, "ready", 10*time.Second, func() bool {
			_, ops := w.work(t)
			if s := ops[0].Status + "/" + ops[0].Stage; !slices.Contains(stages, s) {
				stages = append(stages, s)
			}
			return w.status(t, c) == clusters.Ready && w.settled.Load() == 1
		})
		if got := strings.Join(stages, " "); got != "running/starting_control_plane running/waiting_control_plane succeeded/done" {
			t.Errorf("stages %s", got)
		}
		got, err := w.Get(w.ctx, c)
		if err != nil || got.APIEndpoint == "" || got.ObservedGeneration != 1 || got.KubeconfigAvailableAt == nil || got.ConnectionStatus != "kubeconfig_pending" {
			t.Errorf("got %+v, %v", got, err)
		}
		jobs, ops := w.work(t)
		if j := jobs[0]; j.Status != "succeeded" || j.AttemptCount != 1 || j.LastError != "" || j.FinishedAt == nil || j.LeasedUntil != nil || j.WorkerID != "" {
			t.Errorf("job %+v", j)
		}
		if o := ops[0]; o.StartedAt == nil || o.FinishedAt == nil || o.ErrorMessage != "" {
			t.Errorf("operation %+v", o)
		}
		if ev := w.events(t); !slices.Equal(ev, []string{"create_requested success by user", "create_succeeded success by system"}) {
			t.Errorf("events %v", ev)
		}
	})
}

func TestAPassingErrorIsToldAndTriedAgainEverMoreSlowly(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var tries []time.Time
		flaky := hooked{Provisioner: w.planes, apply: func(context.Context, provision.Want) error {
			if tries = append(tries, time.Now()); len(tries) <= 5 {
				return fault.Unavailable.New("host_busy", "The host does not answer.")
			}
			return nil
		}}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = flaky })
		until(t, "failed once", time.Second, func() bool { return len(tries) == 1 })
		jobs, ops := w.work(t)
		if jobs[0].Status != "pending" || jobs[0].LastError != "The host does not answer." || ops[0].Status != "pending" || ops[0].Stage != "queued" || ops[0].ErrorMessage != "The host does not answer." {
			t.Errorf("after the first: %+v, %+v", jobs[0], ops[0])
		}
		if w.status(t, c) != clusters.Provisioning {
			t.Errorf("the cluster is %s already", w.status(t, c))
		}
		w.untilStatus(t, c, clusters.Ready, time.Hour)
		for i := 1; i < len(tries); i++ {
			most := time.Second << (i - 1)
			if gap := tries[i].Sub(tries[i-1]); gap < most/2-time.Millisecond || gap > most+20*time.Millisecond {
				t.Errorf("the pause before try %d was %v", i+1, gap)
			}
		}
		jobs, ops = w.work(t)
		if jobs[0].AttemptCount != 6 || jobs[0].LastError != "" || ops[0].ErrorMessage != "" {
			t.Errorf("in the end: %+v, %+v", jobs[0], ops[0])
		}
	})
}

func TestAnErrorThatStaysEndsTheJobAfterTheLastAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{ApplyError: fmt.Errorf("helm: password=hunter2: %w", errors.New("refused"))})
		c := w.create(t, "demo")
		w.run(t, "w")
		w.untilStatus(t, c, clusters.Error, time.Hour)
		jobs, ops := w.work(t)
		if jobs[0].Status != "failed" || jobs[0].AttemptCount != attempts || ops[0].Status != "failed" || ops[0].ErrorMessage == "" {
			t.Errorf("%+v, %+v", jobs[0], ops[0])
		}
		if dump := coretest.Dump(w.store); strings.Contains(dump, "hunter2") || strings.Contains(dump, "refused") {
			t.Error("the text of an unknown error is shown to people")
		}
		if !strings.Contains(w.log.String(), "refused") {
			t.Error("the log does not say what happened")
		}
	})
}

func TestABackendThatIsAwayIsWaitedForHoweverLong(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		away := time.Now().Add(20 * time.Minute)
		var tries atomic.Int64
		absent := hooked{Provisioner: w.planes, apply: func(context.Context, provision.Want) error {
			if tries.Add(1); time.Now().Before(away) {
				return fault.Unavailable.New("host_unreachable", "The host does not answer.").Because(provision.ErrAway)
			}
			return nil
		}}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = absent })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		jobs, ops := w.work(t)
		if jobs[0].Status != "pending" || jobs[0].LastError != "The host does not answer." || ops[0].ErrorMessage != "The host does not answer." {
			t.Errorf("after ten minutes: %+v, %+v", jobs[0], ops[0])
		}
		if n := tries.Load(); n > 200 {
			t.Errorf("it was tried %d times within ten minutes", n)
		}
		if got, _ := w.Get(w.ctx, c); got.LastErrorMessage != "The host does not answer." || got.Status != string(clusters.Provisioning) {
			t.Errorf("the cluster says %q, %s", got.LastErrorMessage, got.Status)
		}
		w.untilStatus(t, c, clusters.Ready, time.Hour)
		if jobs, _ = w.work(t); jobs[0].AttemptCount != 1 {
			t.Errorf("%d attempts were counted", jobs[0].AttemptCount)
		}
	})
}

// TestAClusterSaysNoMoreThatTheBackendIsAwayOnceItsJobGoesOn: long before it is
// ready, or after an error that is another one.
func TestAClusterSaysNoMoreThatTheBackendIsAwayOnceItsJobGoesOn(t *testing.T) {
	for name, next := range map[string]error{"goes on": nil, "another error": fault.Unavailable.New("host_busy", "The host is busy.")} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.planes.PlayAll(memprovision.Script{Takes: 5 * time.Minute})
				result := fault.Unavailable.New("host_unreachable", "The host does not answer.").Because(provision.ErrAway)
				var away atomic.Bool
				away.Store(true)
				back := hooked{Provisioner: w.planes, apply: func(context.Context, provision.Want) error {
					if away.Load() {
						return result
					}
					return next
				}}
				c := w.create(t, "demo")
				w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = back })
				says := func() string { got, _ := w.Get(w.ctx, c); return got.LastErrorMessage }
				until(t, "told", time.Second, func() bool { return says() == "The host does not answer." })
				away.Store(false)
				until(t, "taken back", 2*time.Minute, func() bool { return says() == "" })
				if s := w.status(t, c); s != clusters.Provisioning {
					t.Errorf("it is %s", s)
				}
			})
		})
	}
}

func TestAPermanentFailureIsToldAtOnceAndAnUpdateTriesAgain(t *testing.T) {
	for name, script := range map[string]memprovision.Script{
		"will not arrive": {Fails: "The image does not exist.", Takes: time.Second},
		"cannot arrive":   {ApplyError: fault.Invalid.New("bad_want", "The image does not exist.")},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.planes.PlayAll(script)
				c := w.create(t, "demo")
				w.run(t, "w")
				w.untilStatus(t, c, clusters.Error, 3*time.Second)
				got, _ := w.Get(w.ctx, c)
				jobs, _ := w.work(t)
				if got.LastErrorMessage != "The image does not exist." || got.ConnectionStatus != "error" || jobs[0].AttemptCount != 1 || jobs[0].LastError != "The image does not exist." {
					t.Errorf("%+v, %+v", got, jobs[0])
				}
				if ev := w.events(t); ev[len(ev)-1] != "create_failed failure by system" {
					t.Errorf("events %v", ev)
				}
				w.planes.PlayAll(memprovision.Script{})
				if _, err := w.Update(w.ctx, c, clusters.Settings{}); err != nil {
					t.Fatal(err)
				}
				w.untilStatus(t, c, clusters.Ready, 3*time.Second)
				if got, _ := w.Get(w.ctx, c); got.LastErrorMessage != "" || got.ConnectionStatus != "kubeconfig_pending" || got.ObservedGeneration != 2 {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

func TestAPlaneThatIsNeverReadyIsGivenUpWithWordsAtTheDeadline(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Never: true})
		c := w.create(t, "demo")
		w.run(t, "w")
		if took := w.untilStatus(t, c, clusters.Error, time.Hour); took < deadline || took > deadline+time.Second {
			t.Errorf("it took %v", took)
		}
		got, _ := w.Get(w.ctx, c)
		if got.LastErrorMessage != "The control plane did not get ready in time. It was at the stage starting_control_plane." {
			t.Errorf("it says %q", got.LastErrorMessage)
		}
	})
}

func TestAnApplyThatHangsIsGivenUpAfterTheLastAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		hangs := hooked{Provisioner: w.planes, apply: func(ctx context.Context, _ provision.Want) error { <-ctx.Done(); return ctx.Err() }}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = hangs })
		w.untilStatus(t, c, clusters.Error, attempts*(deadline+time.Minute))
		if got, _ := w.Get(w.ctx, c); !strings.Contains(got.LastErrorMessage, "in time") {
			t.Errorf("it says %q", got.LastErrorMessage)
		}
		if jobs, _ := w.work(t); jobs[0].AttemptCount != attempts {
			t.Errorf("%d attempts were made", jobs[0].AttemptCount)
		}
	})
}

// TestWhoWaitedTooLongForATurnIsNotGivenUp: the first attempt's time ran out
// before its control plane was asked for.
func TestWhoWaitedTooLongForATurnIsNotGivenUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var waited atomic.Bool
		queue := hooked{Provisioner: w.planes, apply: func(ctx context.Context, _ provision.Want) error {
			if waited.CompareAndSwap(false, true) {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = queue })
		w.untilStatus(t, c, clusters.Ready, deadline+time.Minute)
		if jobs, _ := w.work(t); jobs[0].AttemptCount != 2 {
			t.Errorf("%d attempts were counted", jobs[0].AttemptCount)
		}
	})
}

func TestDeletingDuringCreationTakesItsPlace(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Never: true})
		c := w.create(t, "demo")
		w.run(t, "w")
		time.Sleep(3 * time.Second)
		if _, err := w.Delete(w.ctx, c); err != nil {
			t.Fatal(err)
		}
		w.untilStatus(t, c, clusters.Deleted, 3*time.Second)
		synctest.Wait()
		jobs, ops := w.work(t)
		if jobs[0].Status != "failed" || !strings.Contains(ops[0].ErrorMessage, "being deleted") || jobs[1].Status != "succeeded" || ops[1].Stage != "done" || len(w.planes.Clusters()) != 0 {
			t.Errorf("%+v, %+v", jobs, ops)
		}
		if ev := w.events(t); !slices.Equal(ev[2:], []string{"create_failed failure by system", "delete_succeeded success by system"}) {
			t.Errorf("events %v", ev)
		}
		w.planes.PlayAll(memprovision.Script{})
		w.untilStatus(t, w.create(t, "demo"), clusters.Ready, time.Second)
	})
}

// TestAFailureDoesNotUndoTheWishToDelete: the failed job comes first, and the
// delete job behind it must still find a cluster that is to be deleted.
func TestAFailureDoesNotUndoTheWishToDelete(t *testing.T) {
	for name, result := range map[string]error{
		"permanent": fault.Invalid.New("bad_want", "That cannot be."), "passing": fault.Unavailable.New("host_busy", "The host does not answer."),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				var c id.Cluster
				once := sync.OnceFunc(func() {
					if _, err := w.Delete(w.ctx, c); err != nil {
						t.Error(err)
					}
				})
				fails := hooked{Provisioner: w.planes, apply: func(context.Context, provision.Want) error { once(); return result }}
				c = w.create(t, "demo")
				w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner, d.MaxAttempts = fails, 1 })
				w.untilStatus(t, c, clusters.Deleted, 10*time.Second)
			})
		})
	}
}

// setBack is a store whose clock goes back by an hour.
type setBack struct {
	store.Store
	back *atomic.Bool
}

func (s setBack) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.Store.View(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, setBackTx{tx, s.back}) })
}

type setBackTx struct {
	store.Tx
	back *atomic.Bool
}

func (tx setBackTx) Now(ctx context.Context) (time.Time, error) {
	at, err := tx.Tx.Now(ctx)
	if tx.back.Load() {
		at = at.Add(-time.Hour)
	}
	return at, err
}

func TestAClockThatGoesBackStrandsNoJob(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var failed, back atomic.Bool
		fails := hooked{Provisioner: w.planes, apply: func(context.Context, provision.Want) error {
			if failed.CompareAndSwap(false, true) {
				return fault.Unavailable.New("host_busy", "The host does not answer.")
			}
			return nil
		}}
		shared := w.clock(setBack{w.store, &back})
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner, d.Clock = fails, shared })
		synctest.Wait()
		if !failed.Load() {
			t.Fatal("the first attempt has not been made")
		}
		back.Store(true) // while the job waits for its second attempt
		if err := shared.Set(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.untilStatus(t, c, clusters.Ready, time.Minute)
	})
}

func TestAChangeOfMindDuringCreationIsFollowed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 5 * time.Second})
		c := w.create(t, "demo")
		w.run(t, "w")
		time.Sleep(2 * time.Second)
		if _, err := w.Update(w.ctx, c, clusters.Settings{ControlPlaneHost: new("k8s.example.org")}); err != nil {
			t.Fatal(err)
		}
		if took := until(t, "applied", 2*time.Second, func() bool { return len(w.planes.Applied()) == 2 }); took > time.Second+50*time.Millisecond {
			t.Errorf("it took %v to notice", took)
		}
		until(t, "all done", 20*time.Second, func() bool { return w.settled.Load() == 2 })
		got, _ := w.Get(w.ctx, c)
		jobs, _ := w.work(t)
		if got.Status != "ready" || got.ObservedGeneration != 2 || !strings.Contains(got.APIEndpoint, "k8s.example.org") || jobs[0].Status != "succeeded" || jobs[1].Status != "succeeded" {
			t.Errorf("%+v, %+v", got, jobs)
		}
		if ev := w.events(t); !slices.Equal(ev[2:], []string{"create_succeeded success by system", "settings_updated success by system"}) {
			t.Errorf("events %v", ev)
		}
	})
}

func TestOneClusterHasOneWorkerAtATimeAndTwoClustersTwo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		busy, most, crossed := map[id.Cluster]int{}, 0, false
		watching := hooked{Provisioner: w.planes, apply: func(_ context.Context, want provision.Want) error {
			mu.Lock()
			busy[want.ID]++
			crossed = crossed || busy[want.ID] > 1
			most = max(most, len(busy))
			mu.Unlock()
			time.Sleep(2 * time.Second) // the work
			mu.Lock()
			defer mu.Unlock()
			if busy[want.ID]--; busy[want.ID] == 0 {
				delete(busy, want.ID)
			}
			return nil
		}}
		a, b := w.create(t, "a"), w.create(t, "b")
		for i := range 4 {
			for _, c := range []id.Cluster{a, b} {
				if _, err := w.Update(w.ctx, c, clusters.Settings{ControlPlaneHost: new(fmt.Sprintf("h%d.example", i))}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for i := range 4 {
			w.run(t, fmt.Sprint("w", i), func(d *reconcile.Deps) { d.Provisioner = watching })
		}
		until(t, "all done", 2*time.Minute, func() bool { return w.settled.Load() == 10 })
		mu.Lock()
		defer mu.Unlock()
		if crossed || most != 2 {
			t.Errorf("two workers met at one cluster: %v; %d clusters at once", crossed, most)
		}
	})
}

func TestALostLeaseEndsTheAttemptAndLeavesTheJobToTheOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ended := make(chan error, 1)
		hangs := hooked{Provisioner: w.planes, apply: func(ctx context.Context, _ provision.Want) error {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		}}
		c := w.create(t, "demo")
		w.run(t, "slow", func(d *reconcile.Deps) { d.Provisioner = hangs })
		synctest.Wait()
		w.tx(t, func(ctx context.Context, tx store.Tx) error { // what the end of its lease would do
			_, err := tx.Jobs().ReleaseWorker(ctx, "slow/0", now())
			return err
		})
		w.run(t, "quick")
		w.untilStatus(t, c, clusters.Ready, time.Second)
		began := time.Now()
		if err := <-ended; err == nil || time.Since(began) > lease/3 {
			t.Errorf("the slow one went on for %v: %v", time.Since(began), err)
		}
		synctest.Wait()
		jobs, _ := w.work(t)
		if jobs[0].Status != "succeeded" || jobs[0].AttemptCount != 2 || w.status(t, c) != clusters.Ready {
			t.Errorf("the slow one had the last word: %+v", jobs[0])
		}
	})
}

// TestALongerLeaseIsLeftToItsWorker: workers may be given other leases one after
// the other.
func TestALongerLeaseIsLeftToItsWorker(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 5 * time.Minute})
		c := w.create(t, "demo")
		w.run(t, "long", func(d *reconcile.Deps) { d.Lease = 10 * time.Minute })
		synctest.Wait()
		w.run(t, "short")
		w.untilStatus(t, c, clusters.Ready, 6*time.Minute)
		if jobs, _ := w.work(t); jobs[0].AttemptCount != 1 {
			t.Errorf("it was taken from a worker that lives: %+v", jobs[0])
		}
	})
}

func TestALongAttemptKeepsItsLease(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 5 * lease})
		c := w.create(t, "demo")
		w.run(t, "a")
		w.run(t, "b")
		w.untilStatus(t, c, clusters.Ready, 6*lease)
		if jobs, _ := w.work(t); jobs[0].AttemptCount != 1 {
			t.Errorf("it took %d attempts", jobs[0].AttemptCount)
		}
	})
}

// faulty fails every transaction while broken.
type faulty struct {
	store.Store
	broken atomic.Bool
	hangs  bool
}

var errDown = errors.New("the database is down")

func (f *faulty) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if err := f.fail(ctx); err != nil {
		return err
	}
	return f.Store.InTx(ctx, do)
}

func (f *faulty) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if err := f.fail(ctx); err != nil {
		return err
	}
	return f.Store.View(ctx, do)
}

func (f *faulty) fail(ctx context.Context) error {
	if !f.broken.Load() {
		return nil
	}
	if f.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return errDown
}

// TestAWorkerThatCannotRenewStopsBeforeAnotherMayBegin: else both would move
// one cluster's world.
func TestAWorkerThatCannotRenewStopsBeforeAnotherMayBegin(t *testing.T) {
	for name, hangs := range map[string]bool{"refused": false, "hanging": true} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				began, ended := time.Now(), make(chan time.Duration, 1)
				busy := hooked{Provisioner: w.planes, apply: func(ctx context.Context, _ provision.Want) error {
					<-ctx.Done()
					ended <- time.Since(began)
					return ctx.Err()
				}}
				down := &faulty{Store: w.store, hangs: hangs}
				c := w.create(t, "demo")
				w.run(t, "cut-off", func(d *reconcile.Deps) { d.Provisioner, d.Store = busy, down })
				synctest.Wait()
				down.broken.Store(true)
				w.run(t, "other")
				if after := <-ended; after > lease {
					t.Errorf("it went on for %v on a lease of %v", after, lease)
				}
				w.untilStatus(t, c, clusters.Ready, lease)
				down.broken.Store(false)
			})
		})
	}
}

// stageless is a store that does not take an operation's next stage for once.
type stageless struct {
	store.Store
	left *atomic.Int32
}

func (s stageless) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, stagelessTx{tx, s.left}) })
}

type stagelessTx struct {
	store.Tx
	left *atomic.Int32
}

func (tx stagelessTx) Operations() store.Operations {
	return stagelessOperations{tx.Tx.Operations(), tx.left}
}

type stagelessOperations struct {
	store.Operations
	left *atomic.Int32
}

func (o stagelessOperations) Update(ctx context.Context, op store.Operation) error {
	if op.Status == string(clusters.Running) && o.left.Add(-1) >= 0 {
		return fault.Unavailable.New("store_busy", "The database is busy.")
	}
	return o.Operations.Update(ctx, op)
}

// TestAStageThatCouldNotBeWrittenIsWrittenLater: while the control plane is being
// asked for, nothing ends because of it.
func TestAStageThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var left atomic.Int32
		var installing atomic.Bool
		left.Store(1)
		installing.Store(true)
		long := hooked{Provisioner: installs{w.planes, &installing}, apply: func(ctx context.Context, _ provision.Want) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner, d.Store = long, stageless{w.store, &left} })
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if _, ops := w.work(t); left.Load() >= 1 || ops[0].Stage != string(provision.InstallingChart) {
			t.Errorf("the operation is at %q", ops[0].Stage)
		}
	})
}

func TestAHiccupOfTheStoreDoesNotEndAnAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 2 * lease})
		flaky := &faulty{Store: w.store}
		var attempts atomic.Int64
		slow := hooked{Provisioner: w.planes, apply: func(ctx context.Context, _ provision.Want) error {
			attempts.Add(1)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(2 * lease):
				return nil
			}
		}}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner, d.Store = slow, flaky })
		time.Sleep(lease/3 - time.Second)
		flaky.broken.Store(true) // the first renewal fails
		time.Sleep(2 * time.Second)
		flaky.broken.Store(false)
		w.untilStatus(t, c, clusters.Ready, 6*lease)
		if attempts.Load() != 1 {
			t.Errorf("%d attempts", attempts.Load())
		}
	})
}

// dying lets a number of transactions through and then none: the process has
// been killed just there.
type dying struct {
	store.Store
	left *atomic.Int64
	dead func()
}

func (d dying) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if d.left.Add(-1) < 0 {
		d.dead()
		<-ctx.Done()
		return ctx.Err()
	}
	return d.Store.InTx(ctx, do)
}

func TestWhereverAWorkerDiesAnotherFinishes(t *testing.T) {
	for steps := range 9 {
		for _, what := range []string{"create", "delete"} {
			t.Run(fmt.Sprint(what, " after ", steps, " steps"), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					w.planes.PlayAll(memprovision.Script{Takes: 2 * time.Second})
					c, want := w.create(t, "demo"), clusters.Ready
					if what == "delete" {
						stop := w.run(t, "before")
						w.untilStatus(t, c, clusters.Ready, 5*time.Second)
						stop()
						if _, err := w.Delete(w.ctx, c); err != nil {
							t.Fatal(err)
						}
						want = clusters.Deleted
					}
					ctx, kill := context.WithCancel(t.Context())
					left := &atomic.Int64{}
					left.Store(int64(steps))
					victim := w.worker(t, "victim", func(d *reconcile.Deps) { d.Store = dying{w.store, left, kill} })
					var wg sync.WaitGroup
					wg.Go(func() { victim.Run(ctx) })
					time.Sleep(15 * time.Second)
					kill()
					wg.Wait()
					w.run(t, "heir")
					w.untilStatus(t, c, want, lease+10*time.Second)
					until(t, "settled", lease+10*time.Second, func() bool {
						jobs, _ := w.work(t)
						return jobs[len(jobs)-1].Status == "succeeded"
					})
					if n := len(w.planes.Clusters()); (n == 1) != (want == clusters.Ready) {
						t.Errorf("%d planes are there", n)
					}
				})
			})
		}
	}
}

func TestAWorkerThatIsStartedAgainGoesOnAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, "demo")
		w.tx(t, func(ctx context.Context, tx store.Tx) error { // a life that ended without a word
			_, ok, err := tx.Jobs().Claim(ctx, "w/0", now(), now().Add(lease))
			if !ok {
				t.Error("no job")
			}
			return err
		})
		w.run(t, "w")
		if took := w.untilStatus(t, c, clusters.Ready, lease); took > time.Second {
			t.Errorf("it waited %v for its own lease", took)
		}
	})
}

func TestAGracefulStopPutsTheJobBackAndCostsNoAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: time.Minute})
		c := w.create(t, "demo")
		for range 3 * attempts {
			stop := w.run(t, "w")
			time.Sleep(time.Second)
			began := time.Now()
			stop()
			if time.Since(began) > time.Second {
				t.Errorf("stopping took %v", time.Since(began))
			}
			jobs, ops := w.work(t)
			if j := jobs[0]; j.Status != "pending" || j.LeasedUntil != nil || j.WorkerID != "" || j.NotBefore.After(now()) || j.AttemptCount != 0 || j.LastError != "" || ops[0].Status != "pending" || ops[0].Stage != "queued" {
				t.Fatalf("put back as %+v, %+v", j, ops[0])
			}
		}
		w.run(t, "w")
		w.untilStatus(t, c, clusters.Ready, 2*time.Minute)
	})
}

func TestAJobThatKillsItsWorkersIsGivenUp(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, "demo")
		for range attempts {
			w.tx(t, func(ctx context.Context, tx store.Tx) error {
				_, _, err := tx.Jobs().Claim(ctx, "victim", now(), now().Add(lease))
				return err
			})
			time.Sleep(lease)
		}
		w.run(t, "w")
		w.untilStatus(t, c, clusters.Error, 10*time.Second)
		if jobs, _ := w.work(t); jobs[0].Status != "failed" || len(w.planes.Applied()) != 0 {
			t.Errorf("%+v, applied %d times", jobs[0], len(w.planes.Applied()))
		}
	})
}

func TestARemovalThatIsBlockedSaysWhyAndIsTriedAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, "demo")
		w.run(t, "w")
		w.untilStatus(t, c, clusters.Ready, time.Second)
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			return tx.Nodes().Insert(ctx, store.Node{ID: id.New[id.NodeKind](now(), w.random()), ClusterID: c, Name: "w1"})
		})
		w.planes.PlayAll(memprovision.Script{DestroyError: fault.Unavailable.New("blocked", "A volume is still attached.")})
		if _, err := w.Delete(w.ctx, c); err != nil {
			t.Fatal(err)
		}
		until(t, "blocked twice", 10*time.Second, func() bool { jobs, _ := w.work(t); return jobs[1].AttemptCount >= 2 && jobs[1].Status == "pending" })
		jobs, ops := w.work(t)
		if jobs[1].LastError != "A volume is still attached." || ops[1].Stage != "queued" || ops[1].ErrorMessage != "A volume is still attached." || w.status(t, c) != clusters.Deleting {
			t.Errorf("%+v, %+v, %s", jobs[1], ops[1], w.status(t, c))
		}
		w.planes.PlayAll(memprovision.Script{})
		w.untilStatus(t, c, clusters.Deleted, time.Minute)
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			left, err := tx.Nodes().OfCluster(ctx, c)
			if len(left) != 0 {
				t.Errorf("%d nodes are left", len(left))
			}
			return err
		})
	})
}

func TestARemovalThatFailsForGoodCanBeAskedForAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.MaxAttempts = 2 })
		w.untilStatus(t, c, clusters.Ready, time.Second)
		w.planes.PlayAll(memprovision.Script{DestroyError: errors.New("no")})
		if _, err := w.Delete(w.ctx, c); err != nil {
			t.Fatal(err)
		}
		w.untilStatus(t, c, clusters.Error, time.Minute)
		w.planes.PlayAll(memprovision.Script{})
		if _, err := w.Delete(w.ctx, c); err != nil {
			t.Fatal(err)
		}
		w.untilStatus(t, c, clusters.Deleted, time.Second)
		if ev := w.events(t); !slices.Contains(ev, "delete_failed failure by system") {
			t.Errorf("events %v", ev)
		}
	})
}

func TestAJobOfAVanishedClusterIsDone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, "demo")
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), c)
			gone := clusters.Of(rec)
			gone.Vanish(now())
			rec = gone.Record()
			return errors.Join(err, tx.Clusters().Update(ctx, &rec))
		})
		w.run(t, "w")
		until(t, "done", time.Second, func() bool { jobs, _ := w.work(t); return jobs[0].Status == "succeeded" })
		if len(w.planes.Applied()) != 0 {
			t.Error("a plane was made for nobody")
		}
	})
}

func TestALostMessageDelaysAJobButDoesNotLoseIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		silent := func(d *reconcile.Deps) { d.Jobs = newBell() }
		w.run(t, "w", silent)
		synctest.Wait()
		time.Sleep(time.Second)
		if took := w.untilStatus(t, w.create(t, "demo"), clusters.Ready, time.Minute); took > 5*time.Second || took == 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// notice is what the relay would send about a cluster's job.
func notice(t *testing.T, c id.Cluster) bus.Message {
	t.Helper()
	body, err := json.Marshal(clusters.JobNotice{ClusterID: c})
	if err != nil {
		t.Fatal(err)
	}
	return bus.Message{Type: clusters.JobMessage, Body: body}
}

func TestAMessageHandsOverItsJobAndIsSettledWhenTheJobIsTaken(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: time.Minute})
		worker := w.worker(t, "w", func(d *reconcile.Deps) { d.Jobs = newBell() })
		w.runs(t, worker)
		synctest.Wait()
		c := w.create(t, "demo")
		began := time.Now()
		if err := worker.Heard(t.Context(), notice(t, c)); err != nil {
			t.Fatal(err)
		}
		jobs, ops := w.work(t)
		if took := time.Since(began); took != 0 || jobs[0].Status != "running" || jobs[0].LeasedUntil == nil || ops[0].Status != "running" {
			t.Errorf("after %v: %+v, %+v", took, jobs[0], ops[0])
		}
		w.untilStatus(t, c, clusters.Ready, 2*time.Minute)
		if err := worker.Heard(t.Context(), notice(t, c)); err != nil { // repeated
			t.Fatal(err)
		}
		if jobs, _ := w.work(t); jobs[0].AttemptCount != 1 {
			t.Errorf("a repeated message made another attempt: %+v", jobs[0])
		}
	})
}

func TestAMessageThatNoHandIsFreeForStaysWithTheBroker(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: time.Minute})
		silent := func(d *reconcile.Deps) { d.Jobs, d.Concurrency = newBell(), 2 }
		busy := w.worker(t, "busy", silent)
		w.runs(t, busy)
		synctest.Wait()
		a, b, third := w.create(t, "a"), w.create(t, "b"), w.create(t, "c")
		for _, c := range []id.Cluster{a, b} {
			if err := busy.Heard(t.Context(), notice(t, c)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, broker := context.WithTimeout(t.Context(), time.Second) // that wants it back
		defer broker()
		if err := busy.Heard(ctx, notice(t, third)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a message for which there was no hand was settled: %v", err)
		}
		idle := w.worker(t, "idle", silent)
		w.runs(t, idle)
		began := time.Now()
		if err := idle.Heard(t.Context(), notice(t, third)); err != nil || time.Since(began) > 0 {
			t.Errorf("the idle one: %v after %v", err, time.Since(began))
		}
		if jobs, _ := w.work(t); jobs[2].Status != "running" || !strings.HasPrefix(jobs[2].WorkerID, "idle/") {
			t.Errorf("%+v", jobs[2])
		}
	})
}

func TestAMessageThatNobodyUnderstandsIsDroppedAndTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		worker := w.worker(t, "w")
		w.runs(t, worker)
		for _, body := range []string{"", "{", `{"cluster_id":7}`, `{"cluster_id":"op_1"}`, "{}", "\xff"} {
			if err := worker.Heard(t.Context(), bus.Message{ID: "m1", Body: []byte(body)}); err != nil {
				t.Errorf("%q is asked for again: %v", body, err)
			}
		}
		if n := strings.Count(w.log.String(), "not understood"); n != 6 {
			t.Errorf("told %d times", n)
		}
		w.untilStatus(t, w.create(t, "demo"), clusters.Ready, 3*time.Second)
	})
}

func TestAMessageIsHeldWhileTheStoreIsAway(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		down := &faulty{Store: w.store}
		worker := w.worker(t, "w", func(d *reconcile.Deps) { d.Store, d.Jobs = down, newBell() })
		w.runs(t, worker)
		synctest.Wait()
		c := w.create(t, "demo")
		down.broken.Store(true)
		time.AfterFunc(10*time.Second, func() { down.broken.Store(false) })
		if err := worker.Heard(t.Context(), notice(t, c)); err != nil {
			t.Error(err)
		}
		w.untilStatus(t, c, clusters.Ready, time.Second)
		down.broken.Store(true)
		began := time.Now()
		if err := worker.Heard(t.Context(), notice(t, c)); !errors.Is(err, errDown) || time.Since(began) > time.Minute {
			t.Errorf("held for %v: %v", time.Since(began), err)
		}
		down.broken.Store(false)
	})
}

// TestAJobBehindAnotherIsTakenUpWhenThatIsDone: its message came while it could
// not be taken, and is settled.
func TestAJobBehindAnotherIsTakenUpWhenThatIsDone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 10*time.Second + time.Millisecond})
		worker := w.worker(t, "w", func(d *reconcile.Deps) { d.Jobs, d.Concurrency = newBell(), 2 })
		w.runs(t, worker)
		synctest.Wait()
		c := w.create(t, "demo")
		if err := worker.Heard(t.Context(), notice(t, c)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if _, err := w.Update(w.ctx, c, clusters.Settings{WorkloadMemoryLimitMiB: new(int64(2000))}); err != nil {
			t.Fatal(err)
		}
		other := w.worker(t, "other", func(d *reconcile.Deps) { d.Jobs = newBell() })
		w.runs(t, other)
		if err := other.Heard(t.Context(), notice(t, c)); err != nil { // there is nothing to take, but somebody has it
			t.Fatal(err)
		}
		var first store.Job
		until(t, "the first one is done", time.Minute, func() bool {
			jobs, _ := w.work(t)
			first = jobs[0]
			return first.FinishedAt != nil
		})
		jobs, _ := w.work(t)
		if jobs[1].StartedAt == nil || jobs[1].StartedAt.Sub(*first.FinishedAt) > 20*time.Millisecond {
			t.Errorf("the second began at %v, the first was done at %v", jobs[1].StartedAt, first.FinishedAt)
		}
	})
}

func TestAJobThatPanicsIsCountedAndEndsWithASentence(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		panics := hooked{Provisioner: w.planes, apply: func(_ context.Context, want provision.Want) error {
			if strings.HasPrefix(want.Name, "poison") {
				panic("password=hunter2")
			}
			return nil
		}}
		poison, well := w.create(t, "poison"), w.create(t, "well")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = panics })
		w.untilStatus(t, well, clusters.Ready, time.Second)
		w.untilStatus(t, poison, clusters.Error, time.Hour)
		jobs, ops := w.work(t)
		if jobs[0].Status != "failed" || jobs[0].AttemptCount != attempts || ops[0].Status != "failed" || !strings.HasSuffix(ops[0].ErrorMessage, ".") {
			t.Errorf("%+v, %+v", jobs[0], ops[0])
		}
		if strings.Contains(coretest.Dump(w.store), "hunter2") || !strings.Contains(w.log.String(), "hunter2") {
			t.Error("what it panicked with belongs into the log, and nowhere else")
		}
	})
}

// TestAJobWhoseRecordsAreBrokenEnds: one without an operation, one of a type
// that nobody knows, one whose control plane says what no store takes.
func TestAJobWhoseRecordsAreBrokenEnds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, odd, garbled := w.create(t, "a"), w.create(t, "b"), w.create(t, "c")
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Jobs().List(ctx, store.JobFilter{}, page.Query{})
			for _, j := range all.Items {
				if j.ClusterID == garbled {
					continue
				}
				_, _, err2 := tx.Jobs().ClaimOf(ctx, j.ClusterID, "me", now(), now().Add(lease))
				if j.ClusterID == c {
					j.OperationID = id.New[id.OperationKind](now(), w.random())
				} else {
					j.Type = "frobnicate"
				}
				err = errors.Join(err, err2, tx.Jobs().Settle(ctx, j, "me"))
			}
			return err
		})
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = garbling{w.planes, garbled} })
		until(t, "they have ended", time.Hour, func() bool {
			jobs := w.queue(t)
			return jobs[0].FinishedAt != nil && jobs[1].FinishedAt != nil && jobs[2].FinishedAt != nil
		})
		jobs := w.queue(t)
		for i, attempt := range []int{attempts, 1, 1} {
			if jobs[i].Status != "failed" || jobs[i].AttemptCount != attempt || jobs[i].LastError == "" {
				t.Errorf("job %d: %+v", i, jobs[i])
			}
		}
		if got := w.status(t, odd); got != clusters.Error {
			t.Errorf("the cluster whose job nobody understands is %s", got)
		}
	})
}

// garbling is a provisioner that says things no store keeps about one cluster.
type garbling struct {
	provision.Provisioner
	of id.Cluster
}

func (g garbling) Observe(ctx context.Context, c id.Cluster) (provision.Observed, error) {
	seen, err := g.Provisioner.Observe(ctx, c)
	if c == g.of {
		seen.Endpoint = "https://\x00\xff"
	}
	return seen, err
}

// queue is work for jobs whose operations may be missing.
func (w *world) queue(t *testing.T) (jobs []store.Job) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Jobs().List(ctx, store.JobFilter{}, page.Query{})
		jobs = all.Items
		slices.Reverse(jobs)
		return err
	})
	return jobs
}

// TestAnApplyThatTakesLongTellsHowFarItIs: a chart is installed while Apply is
// under way.
func TestAnApplyThatTakesLongTellsHowFarItIs(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var installing atomic.Bool
		slow := hooked{Provisioner: installs{w.planes, &installing}, apply: func(context.Context, provision.Want) error {
			installing.Store(true)
			time.Sleep(10 * time.Second)
			installing.Store(false)
			return nil
		}}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = slow })
		until(t, "told", 3*time.Second, func() bool { _, ops := w.work(t); return ops[0].Stage == "installing_chart" })
		w.untilStatus(t, c, clusters.Ready, time.Minute)
		if _, ops := w.work(t); ops[0].Stage != "done" {
			t.Errorf("in the end: %+v", ops[0])
		}
	})
}

type installs struct {
	provision.Provisioner
	now *atomic.Bool
}

func (i installs) Observe(ctx context.Context, c id.Cluster) (provision.Observed, error) {
	if i.now.Load() {
		return provision.Observed{Phase: provision.Pending, Stage: provision.InstallingChart}, nil
	}
	return i.Provisioner.Observe(ctx, c)
}

// hasty says at once that nothing has changed, as the port allows.
type hasty struct {
	provision.Provisioner
	looks atomic.Int64
}

func (h *hasty) Await(_ context.Context, _ id.Cluster, seen provision.Observed) (provision.Observed, error) {
	return seen, nil
}

func (h *hasty) Observe(ctx context.Context, c id.Cluster) (provision.Observed, error) {
	h.looks.Add(1)
	return h.Provisioner.Observe(ctx, c)
}

func TestAProvisionerThatAnswersAtOnceIsNotAskedAllTheTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 10 * time.Second})
		h := &hasty{Provisioner: w.planes}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = h })
		w.untilStatus(t, c, clusters.Ready, 20*time.Second)
		if n := h.looks.Load(); n > 100 {
			t.Errorf("asked %d times in ten seconds", n)
		}
	})
}

func TestAPlaneThatGoesAwayWhileItIsMadeIsMadeAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 10 * time.Second})
		c := w.create(t, "demo")
		w.run(t, "w")
		time.Sleep(2 * time.Second)
		if err := w.planes.Destroy(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		w.untilStatus(t, c, clusters.Ready, time.Minute)
	})
}

func TestAStoreThatIsDownIsWaitedForWithoutHaste(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		down := &faulty{Store: w.store}
		down.broken.Store(true)
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Store = down })
		time.Sleep(time.Minute)
		if n := strings.Count(w.log.String(), "jobs not looked for"); n < 10 || n > 100 {
			t.Errorf("logged %d times in a minute", n)
		}
		down.broken.Store(false)
		w.untilStatus(t, c, clusters.Ready, 10*time.Second)
	})
}
