package reconcile_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

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
