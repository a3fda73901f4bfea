package watch_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestASupervisorIsNotMadeWithoutWhatItNeeds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for name, drop := range map[string]func(*watch.Deps){
			"Store": func(d *watch.Deps) { d.Store = nil }, "Provisioner": func(d *watch.Deps) { d.Door.Provisioner = nil }, "Connector": func(d *watch.Deps) { d.Door.Connector = nil },
			"Tokens": func(d *watch.Deps) { d.Tokens = nil }, "Log": func(d *watch.Deps) { d.Log = nil }, "Now": func(d *watch.Deps) { d.Now = nil },
			"Random": func(d *watch.Deps) { d.Random = nil }, "Clusters": func(d *watch.Deps) { d.Clusters = nil }, "Name": func(d *watch.Deps) { d.Name = "" }, "Most": func(d *watch.Deps) { d.Most = 0 },
		} {
			d := w.deps("s")
			drop(&d)
			if _, err := watch.New(d); err == nil {
				t.Errorf("made without %s", name)
			}
		}
	})
}

func TestANewClusterIsReachableAsSoonAsTheBellRings(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.run(t, "s")
		synctest.Wait()
		c := w.add(t, "demo")
		w.bell.Ring()
		if took := until(t, "reachable", time.Minute, w.is(t, c, "ready", "reachable")); took != 0 {
			t.Errorf("it took %v", took)
		}
		if w.inside(c).Prepared() != 1 || w.cluster(t, c).LastObservedAt == nil {
			t.Errorf("prepared %d times; %+v", w.inside(c).Prepared(), w.cluster(t, c))
		}
	})
}

func TestANewClusterOfAnotherProcessIsFoundSoon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.run(t, "s")
		time.Sleep(time.Second)
		until(t, "reachable", 3*time.Second, w.is(t, w.add(t, "demo"), "ready", "reachable"))
	})
}

func TestWhatHappensInATenantIsSeenAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.inside(c).PutNode(machine("w1", tenant.True))
		w.run(t, "s")
		for _, step := range []struct {
			happens func()
			want    string
		}{
			{func() {}, "w1 ready;"},
			{func() { w.inside(c).PutNode(machine("w2", tenant.NoCondition)) }, "w1 ready;w2 pending;"},
			{func() { w.inside(c).ChangeNode("w1", func(n *tenant.Node) { n.Ready = tenant.False }) }, "w1 not_ready;w2 pending;"},
			{func() { w.inside(c).RemoveNode("w2") }, "w1 not_ready;"},
		} {
			step.happens()
			if took := until(t, step.want+" but "+w.nodes(t, c), 2*time.Second, func() bool { return w.nodes(t, c) == step.want }); took != 0 {
				t.Errorf("%s took %v", step.want, took)
			}
		}
		if n := w.hosts.watches.Load(); n != 1 {
			t.Errorf("%d watches", n)
		}
	})
}

func TestWhatVanishedWhileNobodyLookedIsDropped(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.inside(c).PutNode(machine("w1", tenant.True))
		w.inside(c).PutNode(machine("w2", tenant.True))
		stop := w.run(t, "s")
		until(t, "there", time.Second, func() bool { return w.nodes(t, c) == "w1 ready;w2 ready;" })
		stop()
		w.inside(c).RemoveNode("w1")
		w.run(t, "s")
		until(t, "dropped", time.Second, func() bool { return w.nodes(t, c) == "w2 ready;" })
	})
}

func TestASilentTenantIsUnreachableWithinTwoSecondsAndComesBackByItself(t *testing.T) {
	for name, silence := range map[string]func(w *world, c id.Cluster, on bool){
		"refuses": func(w *world, c id.Cluster, on bool) { w.inside(c).SetReachable(!on) },
		"hangs": func(w *world, c id.Cluster, on bool) {
			w.hosts.set(&w.hosts.hang, c, on)
			w.inside(c).SetReachable(!on) // its watch breaks; what is asked then hangs
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				c := w.add(t, "demo")
				w.inside(c).PutNode(machine("w1", tenant.True))
				w.run(t, "s", func(d *watch.Deps) { d.Random = unlucky(d.Random) })
				until(t, "there", time.Second, func() bool { return w.nodes(t, c) == "w1 ready;" })
				for range 3 {
					time.Sleep(17 * time.Second)
					silence(w, c, true)
					took := until(t, "unreachable", time.Minute, func() bool {
						return w.is(t, c, "ready", "unreachable")() && w.nodes(t, c) == "w1 unknown;"
					})
					if took > 2*time.Second || took < 500*time.Millisecond {
						t.Errorf("it took %v", took)
					}
					if w.cluster(t, c).LastErrorMessage == "" {
						t.Error("nobody says why")
					}
					time.Sleep(3 * time.Minute)
					silence(w, c, false)
					took = until(t, "back", time.Minute, func() bool { return w.is(t, c, "ready", "reachable")() && w.nodes(t, c) == "w1 ready;" })
					if took > 15*time.Second || w.cluster(t, c).LastErrorMessage != "" {
						t.Errorf("it took %v to come back: %+v", took, w.cluster(t, c))
					}
				}
			})
		})
	}
}

// unlucky makes pauses whose sum falls just short of when a silence counts.
func unlucky(random id.Random) id.Random {
	return func() [10]byte {
		b := random()
		b[0], b[1] = 0x66, 0x66
		return b
	}
}

func TestAHiccupIsNotWrittenDown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.inside(c).PutNode(machine("w1", tenant.True))
		w.run(t, "s")
		until(t, "there", time.Second, func() bool { return w.nodes(t, c) == "w1 ready;" })
		version := w.cluster(t, c).Version
		w.inside(c).SetReachable(false)
		time.Sleep(300 * time.Millisecond)
		w.inside(c).SetReachable(true)
		time.Sleep(5 * time.Second)
		if got := w.cluster(t, c); got.ConnectionStatus != "reachable" || got.Version != version || w.nodes(t, c) != "w1 ready;" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAConnectionThatDiedQuietlyIsNoticed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.hosts.set(&w.hosts.deaf, c, true)
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		w.hosts.set(&w.hosts.hang, c, true)
		until(t, "unreachable", 17*time.Second, w.is(t, c, "ready", "unreachable"))
	})
}

func TestAFailedControlPlaneIsAnErrorWithItsReasonUntilItIsBack(t *testing.T) {
	for name, delay := range map[string]time.Duration{"failed at once": 0, "failed after it was unreachable for a while": 20 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				c := w.add(t, "demo")
				w.run(t, "s")
				until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
				w.planes.PlayAll(memprovision.Script{Fails: "It ran out of memory.", Takes: delay})
				w.planes.Kill(c)
				w.inside(c).SetReachable(false)
				until(t, "an error", delay+15*time.Second, w.is(t, c, "error", "unreachable"))
				if got := w.cluster(t, c).LastErrorMessage; got != "It ran out of memory." {
					t.Errorf("it says %q", got)
				}
				w.planes.PlayAll(memprovision.Script{})
				w.planes.Kill(c)
				w.inside(c).SetReachable(true)
				until(t, "healed", 15*time.Second, w.is(t, c, "ready", "reachable"))
				if got := w.cluster(t, c).LastErrorMessage; got != "" {
					t.Errorf("it says %q", got)
				}
			})
		})
	}
}

// TestASilentClusterTellsWhatItsControlPlaneWaitsFor rather than that it is silent.
func TestASilentClusterTellsWhatItsControlPlaneWaitsFor(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		w.planes.PlayAll(memprovision.Script{Never: true, Waits: "The image x cannot be pulled: not found."})
		w.planes.Kill(c)
		w.inside(c).SetReachable(false)
		until(t, "unreachable", 15*time.Second, w.is(t, c, "ready", "unreachable"))
		if got := w.cluster(t, c).LastErrorMessage; got != "The image x cannot be pulled: not found." {
			t.Errorf("it says %q", got)
		}
	})
}

// TestWhatAControlPlaneWaitsForIsNotToldForLonger than it does, by nobody but those
// who work on a change while there is one.
func TestWhatAControlPlaneWaitsForIsNotToldForLonger(t *testing.T) {
	const before, after = "The pod a-0 of its former life has not ended yet.", "The image x cannot be pulled: not found."
	waits := func(w *world, c id.Cluster, what string) {
		w.planes.PlayAll(memprovision.Script{Never: true, Waits: what})
		w.planes.Kill(c)
	}
	begin := func(c *store.Cluster) { c.Generation++ }
	for name, changes := range map[string]struct{ first, then func(*store.Cluster) }{
		"while it changes":        {first: begin},
		"when a change begins":    {then: begin},
		"while nobody changes it": {},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				c := w.add(t, "demo")
				w.run(t, "s")
				until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
				if changes.first != nil {
					w.edit(t, c, changes.first)
				}
				waits(w, c, before)
				w.inside(c).SetReachable(false)
				until(t, "unreachable", 15*time.Second, w.is(t, c, "ready", "unreachable"))
				if got := w.cluster(t, c).LastErrorMessage; (got == before) == (changes.first != nil) || got == "" {
					t.Errorf("at first it says %q", got)
				}
				if changes.then != nil {
					w.edit(t, c, changes.then)
				}
				waits(w, c, after)
				until(t, "told no more", 11*time.Second, func() bool { return w.cluster(t, c).LastErrorMessage != before })
				isChanging := changes.first != nil || changes.then != nil
				if got := w.cluster(t, c).LastErrorMessage; (got == after) == isChanging || got == "" {
					t.Errorf("then it says %q", got)
				}
			})
		})
	}
}

// TestWhatAChangeWaitsForIsLeftToThoseWhoWorkOnIt, who tell it in the same place.
func TestWhatAChangeWaitsForIsLeftToThoseWhoWorkOnIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		const told = "The image x cannot be pulled: not found."
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		w.planes.PlayAll(memprovision.Script{Never: true, Waits: "It starts."})
		w.planes.Kill(c)
		w.edit(t, c, func(c *store.Cluster) { c.Generation++ })
		w.inside(c).SetReachable(false)
		until(t, "unreachable", 15*time.Second, w.is(t, c, "ready", "unreachable"))
		w.edit(t, c, func(c *store.Cluster) { c.LastErrorMessage = told })
		time.Sleep(time.Minute)
		if got := w.cluster(t, c).LastErrorMessage; got != told {
			t.Errorf("it says %q", got)
		}
	})
}

func TestAFailedChangeIsNotHealedByBeingReachable(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.edit(t, c, func(c *store.Cluster) {
			c.Status, c.Generation, c.LastErrorMessage = "error", 2, "The chart is broken."
		})
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "error", "reachable"))
		time.Sleep(time.Minute)
		if got := w.cluster(t, c); got.Status != "error" || got.LastErrorMessage != "The chart is broken." {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAHealthyClusterIsWrittenEveryHalfMinuteAtMost(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		before := w.cluster(t, c)
		time.Sleep(5 * time.Minute)
		after := w.cluster(t, c)
		if n := after.Version - before.Version; n > 10 || n < 5 {
			t.Errorf("written %d times in five minutes", n)
		}
		if !after.UpdatedAt.Equal(before.UpdatedAt) || !after.LastObservedAt.After(*before.LastObservedAt) {
			t.Errorf("before %+v, after %+v", before, after)
		}
	})
}

func TestADeletedClusterIsLeft(t *testing.T) {
	for name, end := range map[string]func(*store.Cluster){
		"deleting": func(c *store.Cluster) { c.Status = "deleting" },
		"deleted":  func(c *store.Cluster) { c.Status = "deleted"; at := now(); c.DeletedAt = &at },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				c, other := w.add(t, "demo"), w.add(t, "other")
				w.run(t, "s")
				until(t, "followed", time.Second, func() bool { return w.hosts.following.Load() == 2 })
				w.edit(t, c, end)
				w.bell.Ring()
				if took := until(t, "left", time.Minute, func() bool { return w.hosts.following.Load() == 1 }); took != 0 {
					t.Errorf("it took %v", took)
				}
				w.inside(c).SetReachable(false)
				time.Sleep(time.Minute)
				if w.hosts.watches.Load() != 2 || !w.is(t, other, "ready", "reachable")() {
					t.Errorf("%d watches were begun", w.hosts.watches.Load())
				}
			})
		})
	}
}

func TestAClusterDeletedUnderASessionEndsIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "followed", time.Second, func() bool { return w.hosts.following.Load() == 1 })
		at := now()
		w.edit(t, c, func(c *store.Cluster) { c.Status, c.DeletedAt = "deleted", &at })
		w.inside(c).SetReachable(false) // seen by the session before the supervisor looks
		time.Sleep(2 * time.Second)
		w.inside(c).SetReachable(true)
		time.Sleep(time.Minute)
		if w.hosts.following.Load() != 0 {
			t.Error("it is followed still")
		}
	})
}

func TestOneStuckTenantDoesNotHoldUpOthers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		stuck := w.add(t, "stuck")
		w.hosts.set(&w.hosts.hang, stuck, true)
		w.run(t, "s")
		for i := range 3 {
			c := w.add(t, fmt.Sprint("c", i))
			w.bell.Ring()
			if took := until(t, "reachable", time.Minute, w.is(t, c, "ready", "reachable")); took != 0 {
				t.Errorf("it took %v", took)
			}
			time.Sleep(5 * time.Second)
		}
		if w.is(t, stuck, "ready", "reachable")() {
			t.Error("the test does not do what it says")
		}
	})
}

func TestRunEndsAtOnceWhateverTenantsDo(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		stuck := w.add(t, "stuck")
		w.hosts.set(&w.hosts.hang, stuck, true)
		w.add(t, "fine")
		for _, after := range []time.Duration{0, 500 * time.Millisecond, 11 * time.Second} {
			stop := w.run(t, "s")
			time.Sleep(after)
			began := time.Now()
			if stop(); time.Since(began) != 0 || w.hosts.following.Load() != 0 {
				t.Errorf("it took %v, and %d watches go on", time.Since(began), w.hosts.following.Load())
			}
		}
	})
}

func TestHostileNodesDoNotEndTheWatch(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		for _, name := range []string{"UPPER", "nul\x00", "\xff"} {
			w.inside(c).PutNode(machine(name, tenant.True))
		}
		bad := machine("bad", tenant.False)
		bad.OSImage, bad.ReadyMessage, bad.Labels = "\x00\xff", strings.Repeat("\xff", 1<<20), map[string]string{"\x00": "\xff"}
		w.inside(c).PutNode(bad)
		w.inside(c).Submit(tenant.JoinRequest{Name: "one", Bootstrap: w.mint(t, c), NodeName: "\x00", KeyHash: "\xff"})
		w.inside(c).PutNode(machine("w1", tenant.True))
		time.Sleep(5 * time.Second)
		if w.nodes(t, c) != "bad not_ready;w1 ready;" || w.hosts.watches.Load() != 1 || !w.inside(c).Verdict("one").Decided {
			t.Errorf("nodes %q, %d watches", w.nodes(t, c), w.hosts.watches.Load())
		}
	})
}

func TestATenantWithoutAKubeconfigIsWaitedFor(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		if err := w.planes.Destroy(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		w.run(t, "s")
		until(t, "unreachable", 2*time.Second, w.is(t, c, "ready", "unreachable"))
		if err := w.planes.Apply(t.Context(), wantOf(c)); err != nil {
			t.Fatal(err)
		}
		until(t, "reachable", 15*time.Second, w.is(t, c, "ready", "reachable"))
	})
}

func wantOf(c id.Cluster) provision.Want {
	return provision.Want{ID: c, Name: "demo", KubernetesVersion: "v1.36.3", CPURequestMilli: 100, MemoryRequestMiB: 512}
}
