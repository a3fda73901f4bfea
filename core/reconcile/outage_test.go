package reconcile_test

import (
	"context"
	"errors"
	"strings"
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

// faulty fails every transaction while broken.
type faulty struct {
	store.Store
	broken atomic.Bool
	failed atomic.Int64 // so often
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
	f.failed.Add(1)
	if f.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return errDown
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

// TestAStoreThatIsDownIsWaitedForWithoutHaste, and the log is told at once, each
// minute, and when it is back.
func TestAStoreThatIsDownIsWaitedForWithoutHaste(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		down := &faulty{Store: w.store}
		down.broken.Store(true)
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Store = down })
		time.Sleep(time.Minute)
		if n := down.failed.Load(); n < 10 || n > 200 {
			t.Errorf("the store was asked %d times in a minute", n)
		}
		time.Sleep(4*time.Minute + 30*time.Second)
		down.broken.Store(false)
		w.untilStatus(t, c, clusters.Ready, 10*time.Second)
		said := w.log.String()
		if n, again := strings.Count(said, "jobs not looked for"), strings.Count(said, "jobs are looked for again"); n != 6 || again != 1 || !strings.Contains(said, "after=5m3") {
			t.Errorf("it is told %d times that the store is down, and %d times that it is back, want 6 and once:\n%s", n, again, said)
		}
	})
}
