package watch_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// flap changes nodes of a tenant a thousand times a second until stop is
// called.
func (w *world) flap(c id.Cluster, names ...string) (stop func() int) {
	end, ended := make(chan struct{}), make(chan int)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-end:
				ended <- i
				return
			case <-time.After(time.Millisecond):
			}
			w.inside(c).PutNode(machine(names[i%len(names)], []tenant.Condition{tenant.True, tenant.False}[i/len(names)%2]))
		}
	}()
	return func() int { close(end); return <-ended }
}

// TestAChangeIsSeenSoonBesideAFlood holds the bounds on how old the API's
// picture may be in a cluster where everything else changes all the time.
func TestAChangeIsSeenSoonBesideAFlood(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, healthy := w.add(t, "demo"), w.add(t, "healthy")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		stop := w.flap(c, "f1", "f2", "f3")
		time.Sleep(12 * time.Second) // what it has at once is spent
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		var took, beside []time.Duration
		for i := range 40 {
			time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
			ready := []tenant.Condition{tenant.True, tenant.False}[i%2]
			status := []string{"quiet ready;", "quiet not_ready;"}[i%2]
			w.inside(c).PutNode(machine("quiet", ready))
			w.inside(healthy).PutNode(machine("quiet", ready))
			took = append(took, until(t, status, 10*time.Second, func() bool { return strings.Contains(w.nodes(t, c), status) }))
			beside = append(beside, until(t, status, 10*time.Second, func() bool { return strings.Contains(w.nodes(t, healthy), status) }))
		}
		slices.Sort(took)
		slices.Sort(beside)
		t.Logf("seed %d, %d changes of others: p50 %v, longest %v; in another cluster %v", seed, stop(), took[20], took[39], beside[39])
		if took[20] > 250*time.Millisecond || took[39] > 2*time.Second || beside[39] != 0 {
			t.Errorf("p50 %v, longest %v, in another cluster %v", took[20], took[39], beside[39])
		}
	})
}

func TestAFloodOfRequestsDelaysNoNodeAndNoneIsForgotten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		boot := w.mint(t, c)
		w.hosts.slow = 10 * time.Millisecond
		const flood = 1050 // more than there is room for
		for i := range flood {
			w.inside(c).Submit(tenant.JoinRequest{Name: fmt.Sprint("r", i), Bootstrap: boot, NodeName: fmt.Sprint("w", i), KeyHash: fmt.Sprint("k", i)})
		}
		synctest.Wait()
		w.inside(c).PutNode(machine("quiet", tenant.True))
		if took := until(t, "seen", time.Minute, func() bool { return w.nodes(t, c) == "quiet ready;" }); took != 0 {
			t.Errorf("the node was seen after %v", took)
		}
		approved := 0
		took := until(t, "decided", 10*time.Minute, func() bool {
			time.Sleep(time.Second)
			approved = 0
			for i := range flood {
				v := w.inside(c).Verdict(fmt.Sprint("r", i))
				if !v.Decided {
					return false
				}
				if v.Approved {
					approved++
				}
			}
			return true
		})
		lines := strings.Count(w.log.String(), "a machine asks to join")
		t.Logf("%d requests decided in %v, %d approved, %d watches, %d lines in the log", flood, took, approved, w.hosts.watches.Load(), lines)
		if approved != 1 || lines > 50 {
			t.Errorf("%d approved, %d lines in the log", approved, lines)
		}
	})
}

func TestATenantThatEndsItsWatchesIsNotAskedAllTheTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.inside(c).PutNode(machine("w1", tenant.True))
		w.hosts.set(&w.hosts.brief, c, true)
		w.run(t, "s")
		until(t, "there", time.Second, func() bool { return w.nodes(t, c) == "w1 ready;" })
		time.Sleep(10 * time.Minute)
		if n := w.hosts.watches.Load(); n > 150 {
			t.Errorf("%d watches in ten minutes", n)
		}
		t.Logf("%d watches in ten minutes", w.hosts.watches.Load())
		w.inside(c).ChangeNode("w1", func(n *tenant.Node) { n.Ready = tenant.False })
		until(t, "seen all the same", 11*time.Second, func() bool { return w.nodes(t, c) == "w1 not_ready;" })
		w.hosts.set(&w.hosts.brief, c, false)
		time.Sleep(time.Minute)
		w.hosts.watches.Store(0)
		w.inside(c).SetReachable(false)
		time.Sleep(100 * time.Millisecond)
		w.inside(c).SetReachable(true)
		until(t, "followed again soon", time.Second, func() bool { return w.hosts.watches.Load() == 1 })
	})
}

// TestATenantThatAnswersAndShowsNothingIsUnreachable: else people would read of
// nodes that nobody has seen for long.
func TestATenantThatAnswersAndShowsNothingIsUnreachable(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.inside(c).PutNode(machine("w1", tenant.True))
		w.run(t, "s")
		until(t, "there", time.Second, func() bool { return w.nodes(t, c) == "w1 ready;" })
		w.hosts.set(&w.hosts.mute, c, true)
		w.inside(c).SetReachable(false) // ends its watch
		synctest.Wait()
		w.inside(c).SetReachable(true)
		took := until(t, "unreachable", 5*time.Second, func() bool { return w.is(t, c, "ready", "unreachable")() && w.nodes(t, c) == "w1 unknown;" })
		version := w.cluster(t, c).Version
		time.Sleep(10 * time.Minute)
		after := w.cluster(t, c)
		t.Logf("unreachable after %v: %s; written %d times in ten minutes", took, after.LastErrorMessage, after.Version-version)
		if took > 2*time.Second || after.ConnectionStatus != "unreachable" || after.Version != version || !strings.Contains(after.LastErrorMessage, "list nodes") {
			t.Errorf("after %v: %+v", took, after)
		}
		w.hosts.set(&w.hosts.mute, c, false)
		until(t, "back", 15*time.Second, func() bool { return w.is(t, c, "ready", "reachable")() && w.nodes(t, c) == "w1 ready;" })
	})
}
