package watch_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func (w *world) mint(t *testing.T, c id.Cluster) (bootstrap string) {
	t.Helper()
	m, err := w.tokens.Mint(w.ctx, c, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	j, err := w.tokens.Prepare(t.Context(), m.Value, c)
	if err != nil {
		t.Fatal(err)
	}
	return j.Bootstrap.ID
}

func TestAMachineJoinsWithItsTokenAndNoOtherDoes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		boot := w.mint(t, c)
		in := w.inside(c)
		in.Submit(tenant.JoinRequest{Name: "one", Bootstrap: boot, NodeName: "w1", KeyHash: "k1"})
		in.Submit(tenant.JoinRequest{Name: "two", Bootstrap: boot, NodeName: "w2", KeyHash: "k2"})
		in.Submit(tenant.JoinRequest{Name: "foreign", Bootstrap: "abcdef", NodeName: "w3", KeyHash: "k3"})
		synctest.Wait()
		one, two, foreign := in.Verdict("one"), in.Verdict("two"), in.Verdict("foreign")
		if !one.Approved || two.Approved || !two.Decided || two.Reason == "" || foreign.Decided {
			t.Errorf("one %+v, two %+v, foreign %+v", one, two, foreign)
		}
		in.PutNode(machine("w1", tenant.True))
		synctest.Wait()
		if w.nodes(t, c) != "w1 ready;" || len(in.Tokens()) != 0 {
			t.Errorf("nodes %q, %d bootstrap secrets left", w.nodes(t, c), len(in.Tokens()))
		}
	})
}

func TestARequestMadeWhileNobodyLookedIsDecidedLater(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		stop := w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		boot := w.mint(t, c)
		stop()
		w.inside(c).Submit(tenant.JoinRequest{Name: "one", Bootstrap: boot, NodeName: "w1", KeyHash: "k1"})
		w.run(t, "s")
		until(t, "approved", time.Second, func() bool { return w.inside(c).Verdict("one").Approved })
	})
}

func TestLeftoverSecretsAreRemovedWhileATenantIsFollowed(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		w.mint(t, c)
		if took := until(t, "removed", 2*time.Hour, func() bool { return len(w.inside(c).Tokens()) == 0 }); took < time.Hour || took > time.Hour+time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestATenantThatRefusesTheTidyingIsFollowedAllTheSame(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		w.mint(t, c)
		w.hosts.set(&w.hosts.refuse, c, true)
		time.Sleep(3 * time.Hour)
		w.inside(c).PutNode(machine("w1", tenant.True))
		synctest.Wait()
		if w.nodes(t, c) != "w1 ready;" || w.hosts.watches.Load() != 1 || !w.is(t, c, "ready", "reachable")() {
			t.Errorf("nodes %q, %d watches", w.nodes(t, c), w.hosts.watches.Load())
		}
		if !strings.Contains(w.log.String(), "leftover join tokens not removed") {
			t.Error("nobody was told")
		}
	})
}

func TestATidyingThatHangsDelaysNoJoin(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		stop := w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		used, next := w.mint(t, c), w.mint(t, c)
		w.hosts.set(&w.hosts.stick, c, true)
		in := w.inside(c)
		in.Submit(tenant.JoinRequest{Name: "one", Bootstrap: used, NodeName: "w1", KeyHash: "k1"})
		synctest.Wait()
		in.PutNode(machine("w1", tenant.True)) // uses the token up
		time.Sleep(time.Second)
		in.Submit(tenant.JoinRequest{Name: "two", Bootstrap: next, NodeName: "w2", KeyHash: "k2"})
		if took := until(t, "approved", time.Minute, func() bool { return in.Verdict("two").Approved }); took != 0 {
			t.Errorf("it took %v", took)
		}
		if len(in.Tokens()) != 2 {
			t.Errorf("%d bootstrap secrets: nothing hangs", len(in.Tokens()))
		}
		began := time.Now()
		if stop(); time.Since(began) != 0 {
			t.Errorf("the end took %v", time.Since(began))
		}
	})
}

func TestATenantWhoseRequestsCannotBeDecidedIsNotAskedAllTheTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		boot := w.mint(t, c)
		w.hosts.set(&w.hosts.refuse, c, true)
		w.inside(c).Submit(tenant.JoinRequest{Name: "one", Bootstrap: boot, NodeName: "w1", KeyHash: "k1"})
		time.Sleep(10 * time.Minute)
		if n := w.hosts.watches.Load(); n > 200 {
			t.Errorf("%d watches in ten minutes", n)
		}
		w.hosts.set(&w.hosts.refuse, c, false)
		until(t, "approved", 15*time.Second, func() bool { return w.inside(c).Verdict("one").Approved })
	})
}
