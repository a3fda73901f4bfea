package watch_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/store"
)

// crew runs several supervisors and counts what each follows.
type crew struct {
	*world
	hosts map[string]*hosts
	stop  map[string]func()
	dead  map[string]*dead
}

func newCrew(w *world) *crew {
	return &crew{w, map[string]*hosts{}, map[string]func(){}, map[string]*dead{}}
}

func (c *crew) start(t *testing.T, name string, most int) {
	t.Helper()
	h, s := &hosts{Connector: c.world.hosts.Connector}, &dead{Store: c.store}
	c.hosts[name], c.dead[name] = h, s
	c.stop[name] = c.run(t, name, func(d *watch.Deps) { d.Store, d.Most, d.Door.Connector = s, most, h })
}

// kill ends a process without its giving anything back.
func (c *crew) kill(name string) {
	c.dead[name].dead.Store(true)
	c.stop[name]()
}

// follows says how many clusters each follows, in the order of their names.
func (c *crew) follows() (out string) {
	for _, name := range slices.Sorted(maps.Keys(c.hosts)) {
		out += fmt.Sprintf("%s %d;", name, c.hosts[name].following.Load())
	}
	return out
}

func (c *crew) following() (n int64) {
	for _, h := range c.hosts {
		n += h.following.Load()
	}
	return n
}

func (c *crew) begun() (n int64) {
	for _, h := range c.hosts {
		n += h.watches.Load()
	}
	return n
}

func (c *crew) until(t *testing.T, want string, limit time.Duration) time.Duration {
	t.Helper()
	var got string
	defer func() {
		if t.Failed() {
			t.Logf("they follow %q", got)
		}
	}()
	return until(t, want, limit, func() bool { got = c.follows(); return got == want })
}

func TestProcessesShareTheClustersEvenly(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := newCrew(w)
		for i := range 20 {
			w.add(t, fmt.Sprint("c", i))
		}
		c.start(t, "a", 2000)
		c.until(t, "a 20;", time.Second)
		c.start(t, "b", 2000)
		took := c.until(t, "a 10;b 10;", time.Minute)
		c.start(t, "c", 2000)
		c.until(t, "a 7;b 7;c 6;", time.Minute)
		if n := c.begun(); n != 20+10+6 {
			t.Errorf("%d watches were begun for 20 clusters, 10 handed over and then 6", n)
		}
		t.Logf("20 clusters, 3 processes: half handed over in %v", took)
	})
}

func TestSharingComesToRest(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := newCrew(w)
		for i := range 7 {
			w.add(t, fmt.Sprint("c", i))
		}
		c.start(t, "a", 2000)
		c.start(t, "b", 2000)
		c.start(t, "c", 2000)
		until(t, "shared", time.Minute, func() bool {
			return c.following() == 7 && c.hosts["a"].following.Load() <= 3 && c.hosts["b"].following.Load() <= 3
		})
		time.Sleep(time.Minute)
		begun := c.begun()
		time.Sleep(time.Hour)
		if c.begun() != begun || c.following() != 7 {
			t.Errorf("%d watches were begun in an hour in which nothing happened: %s", c.begun()-begun, c.follows())
		}
	})
}

func TestAProcessThatComesAndGoesMovesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := newCrew(w)
		for i := range 10 {
			w.add(t, fmt.Sprint("c", i))
		}
		c.start(t, "a", 2000)
		c.until(t, "a 10;", time.Second)
		for range 5 {
			c.start(t, "b", 2000)
			time.Sleep(8 * time.Second)
			c.stop["b"]()
			time.Sleep(20 * time.Second)
		}
		if c.hosts["a"].watches.Load() != 10 || c.follows() != "a 10;b 0;" {
			t.Errorf("%d watches were begun; %s", c.begun(), c.follows())
		}
	})
}

func TestWhatADeadProcessFollowedIsSharedInTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := newCrew(w)
		for i := range 30 {
			w.add(t, fmt.Sprint("c", i))
		}
		for _, name := range []string{"a", "b", "c"} {
			c.start(t, name, 2000)
			time.Sleep(1300 * time.Millisecond) // they do not look at the same time
		}
		c.until(t, "a 10;b 10;c 10;", 2*time.Minute)
		for range 3 {
			time.Sleep(700 * time.Millisecond)
			c.kill("c")
			if took := c.until(t, "a 15;b 15;c 0;", time.Minute); took > watch.Takeover {
				t.Errorf("it took %v", took)
			}
			c.start(t, "c", 2000)
			c.until(t, "a 10;b 10;c 10;", 2*time.Minute)
		}
	})
}

// TestNoClusterIsLeftOutForLackOfRoom: who has more room takes what the others
// have none for.
func TestNoClusterIsLeftOutForLackOfRoom(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := newCrew(w)
		for i := range 12 {
			w.add(t, fmt.Sprint("c", i))
		}
		c.start(t, "small", 2)
		c.start(t, "large", 100)
		c.until(t, "large 10;small 2;", time.Minute)
		c.start(t, "medium", 5)
		c.until(t, "large 5;medium 5;small 2;", time.Minute)
		c.stop["large"]()
		c.until(t, "large 0;medium 5;small 2;", time.Minute)
		c.start(t, "large", 4) // room for one less than there is to do
		c.until(t, "large 4;medium 5;small 2;", time.Minute)
	})
}

// TestAHandOverIsShort: a cluster that is handed over is followed again before
// anybody misses it.
func TestAHandOverIsShort(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := newCrew(w)
		for i := range 40 {
			w.add(t, fmt.Sprint("c", i))
		}
		c.start(t, "a", 2000)
		c.until(t, "a 40;", time.Second)
		time.Sleep(1500 * time.Millisecond)
		c.start(t, "b", 2000)
		fewest, longest, since := int64(40), time.Duration(0), time.Now()
		for range 12000 {
			synctest.Wait()
			n := c.following()
			if n == 40 {
				since = time.Now()
			}
			if n > 40 {
				t.Fatalf("a cluster is followed twice: %s", c.follows())
			}
			fewest, longest = min(fewest, n), max(longest, time.Since(since))
			time.Sleep(10 * time.Millisecond)
		}
		if c.follows() != "a 20;b 20;" || fewest < 34 || longest > 3100*time.Millisecond {
			t.Errorf("%s; at the least %d of 40 were followed, the longest that one was not is %v", c.follows(), fewest, longest)
		}
		t.Logf("at the least %d of 40 were followed, the longest that one was not is %v", fewest, longest)
	})
}

// late is a store in which somebody else takes leases between a process's look
// and its own taking, as where transactions run side by side.
type late struct {
	store.Store
	times atomic.Int32 // that this still happens
}

func (s *late) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, lateTx{tx, s}) })
}

type lateTx struct {
	store.Tx
	s *late
}

func (t lateTx) Leases() store.Leases { return lateLeases{t.Tx.Leases(), t.s} }

type lateLeases struct {
	store.Leases
	s *late
}

func (l lateLeases) Acquire(ctx context.Context, names []string, holder string, now, until time.Time) ([]string, error) {
	if l.s.times.Add(-1) >= 0 {
		if _, err := l.Leases.Acquire(ctx, names, "somebody", now, now.Add(time.Millisecond)); err != nil {
			return nil, err
		}
	}
	return l.Leases.Acquire(ctx, names, holder, now, until)
}

func TestWhoCameTooLateLooksAgainSoon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &late{Store: w.store}
		s.times.Store(2)
		c := w.add(t, "demo")
		w.run(t, "s", func(d *watch.Deps) { d.Store = s })
		took := until(t, "reachable", 3*time.Second, w.is(t, c, "ready", "reachable"))
		if took == 0 || took > 1500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// leases counts all that have to do with watching and have not run out.
func (w *world) leases(t *testing.T) (n int) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Leases().Living(ctx, "watch", now())
		n = len(all)
		return err
	})
	return n
}

func TestNoLeaseIsLeftOfWhatIsOver(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.add(t, "kept")
		gone := w.add(t, "gone")
		stop := w.run(t, "s")
		until(t, "followed", time.Second, func() bool { return w.hosts.following.Load() == 2 })
		if n := w.leases(t); n != 3 {
			t.Errorf("%d leases for two clusters and a process", n)
		}
		w.edit(t, gone, func(c *store.Cluster) { c.Status = "deleting" })
		w.bell.Ring()
		synctest.Wait()
		if n := w.leases(t); n != 2 {
			t.Errorf("%d leases for one cluster and a process", n)
		}
		stop()
		if n := w.leases(t); n != 0 {
			t.Errorf("%d leases are left of a process that stopped", n)
		}
	})
}

// orderly is a store that remembers in which order leases are given back.
type orderly struct {
	store.Store
	mu       sync.Mutex
	released [][]string
}

func (s *orderly) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, orderlyTx{tx, s}) })
}

type orderlyTx struct {
	store.Tx
	s *orderly
}

func (t orderlyTx) Leases() store.Leases { return orderlyLeases{t.Tx.Leases(), t.s} }

type orderlyLeases struct {
	store.Leases
	s *orderly
}

func (l orderlyLeases) Release(ctx context.Context, names []string, holder string) error {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.released = append(l.s.released, slices.Clone(names))
	return l.Leases.Release(ctx, names, holder)
}

// TestLeasesAreGivenBackInTheOrderOfTheirNames, so that no two transactions
// wait for each other.
func TestLeasesAreGivenBackInTheOrderOfTheirNames(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &orderly{Store: w.store}
		var all []id.Cluster
		for i := range 20 {
			all = append(all, w.add(t, fmt.Sprint("c", i)))
		}
		stop := w.run(t, "s", func(d *watch.Deps) { d.Store = s })
		synctest.Wait()
		for _, c := range all[:10] {
			w.edit(t, c, func(c *store.Cluster) { c.Status = "deleting" })
		}
		w.bell.Ring()
		synctest.Wait()
		stop()
		longest := []int{}
		for _, names := range s.released {
			if !slices.IsSorted(names) {
				t.Errorf("given back as %v", names)
			}
			if len(names) > 1 {
				longest = append(longest, len(names))
			}
		}
		if !slices.Equal(longest, []int{10, 11}) {
			t.Errorf("%v leases were given back at once", longest)
		}
	})
}
