package nodes_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestTheHealthOfAMachineIsFollowedAndWrittenDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, step := range []struct {
		ready  tenant.Condition
		status string
		added  string // to the history
		audit  string // added to the audit stream
	}{
		{tenant.NoCondition, "pending", "joined: > pending: >pending", "node/joined success by system"},
		{tenant.True, "ready", "ready: pending>ready", ""},
		{tenant.True, "ready", "", ""},
		{tenant.False, "not_ready", "not_ready: ready>not_ready", ""},
		{tenant.Unknown, "unknown", "offline: not_ready>unknown", "node/offline success by system"},
		{tenant.Unknown, "unknown", "", ""},
		{tenant.True, "ready", "ready: unknown>ready", ""},
		{tenant.NoCondition, "pending", "pending: ready>pending", ""},
	} {
		history, audit := len(w.history(t)), len(w.audit(t))
		w.saw(t, machine("w1", step.ready))
		if got := w.node(t, "w1").Status; got != step.status {
			t.Errorf("%q: %s, want %s", step.ready, got, step.status)
		}
		if got := strings.Join(w.history(t)[history:], " "); got != step.added {
			t.Errorf("%q: history %q, want %q", step.ready, got, step.added)
		}
		if got := strings.Join(w.audit(t)[audit:], " "); got != step.audit {
			t.Errorf("%q: audit %q, want %q", step.ready, got, step.audit)
		}
	}
}

func TestASnapshotHoldsWhatTheTenantShows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	n := w.node(t, "w1")
	if n.UID != "uid-w1" || n.ClusterID != w.cluster.ID || n.InternalIP != "192.0.2.7" || n.PodCIDR != "10.42.0.0/24" || n.OSImage != "Debian GNU/Linux 13" ||
		n.KubeletVersion != "v1.36.3" || n.ContainerRuntimeVersion != "containerd://2.1.0" || n.Labels["kubernetes.io/hostname"] != "w1" ||
		n.CPUAllocatableMilli != 4000 || n.MemoryAllocatableBytes != 8<<30 || n.EphemeralStorageAllocatable != 100<<30 || n.Source != "byon" || n.Unschedulable {
		t.Errorf("got %+v", n)
	}
	m := machine("w1", tenant.True)
	m.Unschedulable, m.OSImage, m.Labels = true, "Debian GNU/Linux 14", map[string]string{"a": "b"}
	w.saw(t, m)
	if n := w.node(t, "w1"); !n.Unschedulable || n.OSImage != "Debian GNU/Linux 14" || len(n.Labels) != 1 {
		t.Errorf("got %+v", n)
	}
}

func TestTimesTellWhenAMachineWasHowItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	ready := w.Now()
	if n := w.node(t, "w1"); !n.ReadyAt.Equal(ready) || !n.LastSeenAt.Equal(ready) || n.OfflineAt != nil || !n.CreatedAt.Equal(ready) {
		t.Errorf("ready: %+v", n)
	}
	w.saw(t, machine("w1", tenant.Unknown))
	offline := w.Now()
	if n := w.node(t, "w1"); !n.ReadyAt.Equal(ready) || !n.LastSeenAt.Equal(ready) || n.OfflineAt == nil || !n.OfflineAt.Equal(offline) {
		t.Errorf("unknown: %+v", n)
	}
	w.saw(t, machine("w1", tenant.False))
	if n := w.node(t, "w1"); n.OfflineAt != nil || !n.LastSeenAt.Equal(w.Now()) || !n.ReadyAt.Equal(ready) {
		t.Errorf("it speaks again, and is offline all the same: %+v", n)
	}
	w.saw(t, machine("w1", tenant.True))
	if n := w.node(t, "w1"); !n.ReadyAt.Equal(w.Now()) {
		t.Errorf("ready again: %+v", n)
	}
}

func TestNewsThatIsNoneWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	before := coretest.Dump(w.store)
	for range 3 {
		m := machine("w1", tenant.True)
		m.ReadyMessage, m.ReadySince = "kubelet is posting ready status", w.Now()
		w.saw(t, m)
	}
	if coretest.Dump(w.store) != before {
		t.Error("a heartbeat was written")
	}
	w.tracker = w.track(t)
	w.saw(t, machine("w1", tenant.True))
	if coretest.Dump(w.store) != before {
		t.Error("another watch wrote what was known")
	}
}

func TestAMachineThatTookAnothersNameHasJoined(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	first := w.node(t, "w1")
	m := machine("w1", tenant.True)
	m.UID = "another"
	w.saw(t, m)
	n := w.node(t, "w1")
	if n.UID != "another" || n.ID != first.ID || len(w.all(t)) != 1 || last(w.history(t)) != "joined: >" || last(w.audit(t)) != "node/joined success by system" {
		t.Errorf("got %+v, %v", n, w.history(t))
	}
}

func TestTokensAreAskedAboutWhenAMachineJoinsOrIsReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.registrar.uses = 1
	if !w.saw(t, machine("w1", tenant.NoCondition)) {
		t.Error("the use of the token was not told")
	}
	if w.saw(t, machine("w2", tenant.False)) || w.saw(t, machine("w2", tenant.Unknown)) || w.saw(t, machine("w2", tenant.True)) {
		t.Error("a use was told that was none")
	}
	if got := strings.Join(w.registrar.asked, ","); got != "w1,w2,w2" {
		t.Errorf("asked about %q", got)
	}
}

func TestANodeIsNotRecordedWithoutItsToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.registrar.fails = errors.New("no")
	if err := w.see(t, machine("w1", tenant.True)); !errors.Is(err, w.registrar.fails) || len(w.all(t)) != 0 {
		t.Errorf("got %v, %d nodes", err, len(w.all(t)))
	}
	w.registrar.fails = nil
	w.write(t) // tried again: neither lost nor taken for known
	if len(w.all(t)) != 1 {
		t.Error("the node is missing")
	}
}

func TestANodeThatIsGoneIsRemovedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	for range 2 {
		if err := w.gone(t, "w1"); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.all(t)) != 0 || last(w.history(t)) != "deleted: ready>" || last(w.audit(t)) != "node/deleted success by system" || len(w.audit(t)) != 2 {
		t.Errorf("%d nodes, %v, %v", len(w.all(t)), w.history(t), w.audit(t))
	}
	if err := w.gone(t, "never there"); err != nil {
		t.Error(err)
	}
	w.saw(t, machine("w1", tenant.True))
	if len(w.all(t)) != 1 {
		t.Error("the machine cannot come back")
	}
}

func TestAFirstListDropsWhatVanishedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"w1", "w2", "w3"} {
		w.saw(t, machine(name, tenant.True))
	}
	w.tracker = w.track(t)
	w.saw(t, machine("w2", tenant.True))
	if len(w.all(t)) != 3 {
		t.Fatal("dropped before the list was complete")
	}
	for range 2 { // a second word of completeness has listed nothing
		if err := w.synced(t); err != nil {
			t.Fatal(err)
		}
		if all := w.all(t); len(all) != 1 || all[0].Name != "w2" {
			t.Errorf("left: %+v", all)
		}
	}
	if h := w.history(t); h[len(h)-1] != "deleted: ready>" || h[len(h)-2] != "deleted: ready>" {
		t.Errorf("history %v", h)
	}
}

func TestATenantOutOfReachMakesItsNodesUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	w.saw(t, machine("w2", tenant.False))
	w.saw(t, machine("w3", tenant.Unknown))
	w.Move(time.Minute)
	if err := w.lost(t); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.all(t) {
		if n.Status != "unknown" || n.OfflineAt == nil || n.OfflineAt.Equal(w.Now()) == (n.Name == "w3") {
			t.Errorf("got %+v", n)
		}
	}
	if h := w.history(t); !slices.Contains(h, "offline: ready>unknown") || !slices.Contains(h, "offline: not_ready>unknown") {
		t.Errorf("history %v", h)
	}
	before := coretest.Dump(w.store)
	if err := w.lost(t); err != nil || coretest.Dump(w.store) != before {
		t.Errorf("lost again: %v", err)
	}
	w.saw(t, machine("w1", tenant.True))
	if w.node(t, "w1").Status != "ready" || last(w.history(t)) != "ready: unknown>ready" {
		t.Error("it did not come back")
	}
}

func TestADeletedClusterKeepsNoNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), w.cluster.ID)
		c.DeletedAt = &coretest.Start
		return errors.Join(err, tx.Clusters().Update(ctx, &c))
	})
	before := coretest.Dump(w.store)
	err := w.see(t, machine("w2", tenant.True))
	if !errors.Is(err, fault.NotFound) || coretest.Dump(w.store) != before {
		t.Errorf("saw: %v", err)
	}
	if err := w.lost(t); err != nil || coretest.Dump(w.store) != before {
		t.Errorf("lost: %v", err)
	}
}

func TestAHostileTenantIsKeptInBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bad := strings.Repeat("é\x00\xff", 100_000)
	m := tenant.Node{
		Name: "w1", UID: bad, Ready: tenant.False, ReadyMessage: bad, InternalIP: bad, PodCIDR: bad, OSImage: bad, KubeletVersion: bad,
		ContainerRuntimeVersion: bad, Labels: map[string]string{bad: "x", "x": bad, "fine": "fine", "nul": "\x00"},
		CPUAllocatableMilli: 1 << 62, MemoryAllocatableBytes: -1, EphemeralStorageAllocatable: 1<<63 - 1,
	}
	for i := range 10_000 {
		m.Labels[fmt.Sprintf("label-%05d", i)] = strings.Repeat("x", i%100)
	}
	w.saw(t, m)
	n := w.node(t, "w1")
	for _, text := range []string{n.UID, n.InternalIP, n.PodCIDR, n.OSImage, n.KubeletVersion, n.ContainerRuntimeVersion} {
		if len(text) > 253 {
			t.Errorf("%d bytes are kept", len(text))
		}
	}
	if len(n.Labels) > 256 || n.Labels["fine"] != "fine" || n.Labels["x"] != "" || n.CPUAllocatableMilli > 1<<48 || n.MemoryAllocatableBytes != 0 {
		t.Errorf("%d labels, %d, %d", len(n.Labels), n.CPUAllocatableMilli, n.MemoryAllocatableBytes)
	}
	size := 0
	for k, v := range n.Labels {
		size += len(k) + len(v)
	}
	if size > 8<<10 || len(n.Labels) < 100 {
		t.Errorf("%d labels of %d bytes are kept", len(n.Labels), size)
	}
	if size := len(coretest.Dump(w.store)); size > 40_000 {
		t.Errorf("the store holds %d bytes", size)
	}
	before := coretest.Dump(w.store)
	w.saw(t, m)
	if coretest.Dump(w.store) != before {
		t.Error("the same again is news: what is left out differs from look to look")
	}
}

func TestNodesThatKubernetesWouldNotTakeAreNotShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := coretest.Dump(w.store)
	for _, name := range []string{"", "UPPER", "a b", "nul\x00", "\xff", "-a", "a-", strings.Repeat("a", 254), "a\n", "<script>"} {
		if err := w.see(t, machine(name, tenant.True)); err != nil {
			t.Errorf("%.10q: %v", name, err)
		}
		if nodes.IsName(name) {
			t.Errorf("%.10q is a name", name)
		}
	}
	if coretest.Dump(w.store) != before {
		t.Error("one was recorded")
	}
	for _, name := range []string{"w1", "a.b-c.example", strings.Repeat("a", 253), "0"} {
		w.saw(t, machine(name, tenant.True))
	}
	if len(w.all(t)) != 4 {
		t.Errorf("%d nodes", len(w.all(t)))
	}
}

// crowd has a cluster look full without filling it.
type crowd struct{ store.Store }

type crowdTx struct{ store.Tx }

type crowdNodes struct{ store.Nodes }

func (s crowd) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.Store.View(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, crowdTx{tx}) })
}

func (t crowdTx) Nodes() store.Nodes { return crowdNodes{t.Tx.Nodes()} }

func (n crowdNodes) OfCluster(ctx context.Context, c id.Cluster) ([]store.Node, error) {
	out, err := n.Nodes.OfCluster(ctx, c)
	for i := range 5000 - len(out) {
		out = append(out, store.Node{Name: fmt.Sprint("filler-", i), ClusterID: c, Status: "unknown"})
	}
	return out, err
}

func TestAClusterShowsNoMoreNodesThanKubernetesSupports(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	full, err := nodes.Track(t.Context(), nodes.TrackerDeps{Store: crowd{w.store}, Registrar: w.registrar, Now: w.Now, Random: w.random, Pace: w.pace}, w.cluster)
	if err != nil {
		t.Fatal(err)
	}
	if err := see(t, full, machine("one-more", tenant.True)); err != nil || len(w.all(t)) != 1 {
		t.Errorf("%d nodes, %v", len(w.all(t)), err)
	}
	if err := see(t, full, machine("w1", tenant.False)); err != nil || w.node(t, "w1").Status != "not_ready" {
		t.Errorf("a known one is not followed any more: %v", err)
	}
}
