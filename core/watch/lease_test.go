package watch_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// dead is a store that its process no longer reaches: neither a lease nor
// anything else is given back.
type dead struct {
	store.Store
	dead atomic.Bool
}

var errDown = errors.New("the database is down")

func (d *dead) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if d.dead.Load() {
		return errDown
	}
	return d.Store.InTx(ctx, do)
}

func (d *dead) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if d.dead.Load() {
		return errDown
	}
	return d.Store.View(ctx, do)
}

func TestTwoProcessesShareTheClustersAndOneTakesOver(t *testing.T) {
	for name, c := range map[string]struct {
		dies  bool
		limit time.Duration
	}{"after a death": {true, watch.Takeover}, "after a graceful stop": {false, 4 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				a, b := w.add(t, "a"), w.add(t, "b")
				first := &dead{Store: w.store}
				stop := w.run(t, "first", func(d *watch.Deps) { d.Store, d.Most = first, 1 })
				synctest.Wait()
				w.run(t, "second")
				until(t, "both reachable", 4*time.Second, func() bool { return w.is(t, a, "ready", "reachable")() && w.is(t, b, "ready", "reachable")() })
				time.Sleep(time.Minute)
				if w.inside(a).Prepared() != 1 || w.inside(b).Prepared() != 1 || w.hosts.following.Load() != 2 {
					t.Fatalf("followed by %d and %d", w.inside(a).Prepared(), w.inside(b).Prepared())
				}
				first.dead.Store(c.dies)
				stop()
				w.inside(a).PutNode(machine("w1", tenant.True))
				w.inside(b).PutNode(machine("w1", tenant.True))
				took := until(t, "both followed", time.Minute, func() bool { return w.nodes(t, a) == "w1 ready;" && w.nodes(t, b) == "w1 ready;" })
				if took > c.limit {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

func TestAProcessFollowsNoMoreThanItMay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 5 {
			w.add(t, fmt.Sprint("c", i))
		}
		w.run(t, "a", func(d *watch.Deps) { d.Most = 2 })
		time.Sleep(10 * time.Second)
		if n := w.hosts.following.Load(); n != 2 {
			t.Errorf("one follows %d", n)
		}
		begun := w.hosts.watches.Load()
		w.run(t, "b", func(d *watch.Deps) { d.Most = 3 })
		time.Sleep(time.Minute)
		if n := w.hosts.following.Load(); n != 5 || w.hosts.watches.Load() != begun+3 {
			t.Errorf("both follow %d; %d watches were begun", n, w.hosts.watches.Load())
		}
	})
}

// TestAProcessThatIsFullKeepsWhatItFollows: an older cluster that turns up must
// not push out one that is followed.
func TestAProcessThatIsFullKeepsWhatItFollows(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		older := w.add(t, "older")
		w.edit(t, older, func(c *store.Cluster) { c.KubeconfigAvailableAt = nil })
		w.add(t, "newer")
		w.run(t, "s", func(d *watch.Deps) { d.Most = 1 })
		synctest.Wait()
		at := now()
		w.edit(t, older, func(c *store.Cluster) { c.KubeconfigAvailableAt = &at })
		time.Sleep(time.Minute)
		if w.hosts.watches.Load() != 1 || w.inside(older).Prepared() != 0 {
			t.Errorf("%d watches were begun", w.hosts.watches.Load())
		}
	})
}

func TestAProcessThatCannotRenewItsLeasesLetsGoOfTheClusters(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.add(t, "demo")
		down := &dead{Store: w.store}
		w.run(t, "s", func(d *watch.Deps) { d.Store = down })
		until(t, "followed", time.Second, func() bool { return w.hosts.following.Load() == 1 })
		down.dead.Store(true)
		until(t, "let go", watch.Takeover, func() bool { return w.hosts.following.Load() == 0 })
		down.dead.Store(false)
		until(t, "followed again", 4*time.Second, func() bool { return w.hosts.following.Load() == 1 })
	})
}

// stuck is a store that does not answer who wants to write.
type stuck struct {
	store.Store
	stuck atomic.Bool
	deaf  time.Duration // that it takes whatever becomes of who asks
}

func (s *stuck) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if s.stuck.Load() {
		time.Sleep(s.deaf)
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Store.InTx(ctx, do)
}

// TestNoClusterIsFollowedWithoutALease: from the moment at which it runs out
// another process may follow the cluster.
func TestNoClusterIsFollowedWithoutALease(t *testing.T) {
	for name, deaf := range map[string]time.Duration{"a store that hangs": 0, "a store that hangs for very long": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.add(t, "demo")
				s := &stuck{Store: w.store, deaf: deaf}
				w.run(t, "s", func(d *watch.Deps) { d.Store = s })
				until(t, "followed", time.Second, func() bool { return w.hosts.following.Load() == 1 })
				time.Sleep(3500 * time.Millisecond)
				s.stuck.Store(true)
				until(t, "without a lease", time.Minute, func() bool { return w.leases(t) == 0 })
				if w.hosts.following.Load() != 0 {
					t.Errorf("the cluster is followed for another %v", until(t, "let go", time.Minute, func() bool { return w.hosts.following.Load() == 0 }))
				}
				s.stuck.Store(false)
				until(t, "followed again", deaf+9*time.Second, func() bool { return w.hosts.following.Load() == 1 })
			})
		})
	}
}
