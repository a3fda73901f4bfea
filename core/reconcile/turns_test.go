package reconcile_test

import (
	"context"
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
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

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
