package reconcile_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

const unanswered = "The control plane runs, but does not answer at https://new.example:443 yet."

// changing is a world in which a ready cluster gets an address that does not answer.
func (w *world) changing(t *testing.T, change ...func(*reconcile.Deps)) (c id.Cluster, stop func()) {
	t.Helper()
	c = w.create(t, "demo")
	stop = w.run(t, "w", change...)
	w.untilStatus(t, c, clusters.Ready, time.Second)
	w.planes.PlayAll(memprovision.Script{Never: true, Waits: unanswered})
	host := "new.example"
	if _, err := w.Update(w.ctx, c, clusters.Settings{ControlPlaneHost: &host}); err != nil {
		t.Fatal(err)
	}
	return c, stop
}

func (w *world) version(t *testing.T, c id.Cluster) int64 {
	t.Helper()
	got, err := w.Get(w.ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return got.Version
}

// TestWhatAChangeWaitsForIsToldWhenItLasts, once, until the control plane is there.
func TestWhatAChangeWaitsForIsToldWhenItLasts(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, _ := w.changing(t)
		until(t, "told", 30*time.Second, func() bool { return w.says(t, c) == unanswered })
		if _, ops := w.work(t); w.status(t, c) != clusters.Ready || ops[1].Status != "running" || ops[1].ErrorMessage != unanswered {
			t.Errorf("it is %s, and %+v", w.status(t, c), ops[1])
		}
		version := w.version(t, c)
		time.Sleep(deadline / 2)
		synctest.Wait()
		if got := w.version(t, c); got != version || w.says(t, c) != unanswered {
			t.Errorf("it was written %d times, and says %q", got-version, w.says(t, c))
		}
		w.planes.PlayAll(memprovision.Script{})
		w.planes.Kill(c)
		until(t, "taken back", 5*time.Second, func() bool { return w.says(t, c) == "" })
		if _, ops := w.work(t); ops[1].Status != "succeeded" || ops[1].ErrorMessage != "" {
			t.Errorf("in the end: %+v", ops[1])
		}
	})
}

// TestWhatPassesSoonIsNotTold: nearly every control plane waits for a moment.
func TestWhatPassesSoonIsNotTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 15 * time.Second, Waits: "It starts."})
		c := w.create(t, "demo")
		w.run(t, "w")
		before := w.version(t, c)
		w.untilStatus(t, c, clusters.Ready, 20*time.Second)
		if n := w.version(t, c) - before; n != 1 {
			t.Errorf("the cluster was written %d times", n)
		}
	})
}

// fickle waits for something else every second.
type fickle struct{ provision.Provisioner }

func (f fickle) Observe(ctx context.Context, c id.Cluster) (provision.Observed, error) {
	seen, err := f.Provisioner.Observe(ctx, c)
	if seen.Phase == provision.Pending {
		seen.Waiting = "Line " + strconv.FormatInt(time.Now().Unix()%7, 10) + "."
	}
	return seen, err
}

func (f fickle) Await(ctx context.Context, c id.Cluster, _ provision.Observed) (provision.Observed, error) {
	<-ctx.Done()
	return provision.Observed{}, ctx.Err()
}

// TestWhatChangesAllTheTimeIsToldNowAndThen.
func TestWhatChangesAllTheTimeIsToldNowAndThen(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Never: true})
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = fickle{w.planes} })
		before := w.version(t, c)
		time.Sleep(deadline / 2)
		synctest.Wait()
		if n := w.version(t, c) - before; n < 5 || n > 20 || w.says(t, c) == "" {
			t.Errorf("within %v it was written %d times, and says %q", deadline/2, n, w.says(t, c))
		}
	})
}

// TestWhatIsWaitedForIsToldAgain after somebody else had the cluster say something
// else, and by the next worker.
func TestWhatIsWaitedForIsToldAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, stop := w.changing(t)
		told := func() bool { return w.says(t, c) == unanswered }
		until(t, "told", 30*time.Second, told)
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), c)
			if err != nil {
				return err
			}
			rec.LastErrorMessage = ""
			return tx.Clusters().Update(ctx, &rec)
		})
		until(t, "told again", 5*time.Second, told)
		stop()
		if got := w.says(t, c); got != "" {
			t.Errorf("nobody works on it, and it says %q", got)
		}
		w.run(t, "x")
		until(t, "told by the next", 30*time.Second, told)
	})
}

// TestWhatAWorkerThatDiedHasToldIsTakenBack by the one that goes on.
func TestWhatAWorkerThatDiedHasToldIsTakenBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		flaky := &faulty{Store: w.store}
		c, stop := w.changing(t, func(d *reconcile.Deps) { d.Store = flaky })
		until(t, "told", 30*time.Second, func() bool { return w.says(t, c) == unanswered })
		flaky.broken.Store(true) // its last words are not heard
		stop()
		w.planes.PlayAll(memprovision.Script{Never: true})
		w.planes.Kill(c)
		w.run(t, "x")
		until(t, "taken back", 3*lease, func() bool { return w.says(t, c) == "" })
		if _, ops := w.work(t); ops[1].Status != "running" || ops[1].ErrorMessage != "" {
			t.Errorf("it is %+v", ops[1])
		}
	})
}
