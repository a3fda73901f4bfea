package reconcile_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

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
