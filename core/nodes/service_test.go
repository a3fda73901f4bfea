package nodes_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestAServiceIsNotMadeWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full := nodes.Deps{Store: w.store, Door: tenants.Door{Provisioner: w.planes, Connector: w.connector}, Now: w.Now, Random: w.random}
	for name, drop := range map[string]func(*nodes.Deps){
		"Store": func(d *nodes.Deps) { d.Store = nil }, "Provisioner": func(d *nodes.Deps) { d.Door.Provisioner = nil },
		"Connector": func(d *nodes.Deps) { d.Door.Connector = nil }, "Now": func(d *nodes.Deps) { d.Now = nil }, "Random": func(d *nodes.Deps) { d.Random = nil },
	} {
		d := full
		drop(&d)
		if _, err := nodes.New(d); err == nil {
			t.Errorf("made without %s", name)
		}
	}
}

func TestCordoningIsDoneShownAndAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	n := w.node(t, "w1")
	for _, unschedulable := range []bool{true, true, false} {
		got, err := w.SetUnschedulable(w.ctx, n.ID, unschedulable)
		inside, _ := w.inside.Node("w1")
		want := map[bool]string{true: "node/cordoned success by user", false: "node/uncordoned success by user"}[unschedulable]
		if err != nil || got.Unschedulable != unschedulable || inside.Unschedulable != unschedulable || w.node(t, "w1").Unschedulable != unschedulable || last(w.audit(t)) != want {
			t.Errorf("%v: %+v, %v, %s", unschedulable, got, err, last(w.audit(t)))
		}
	}
}

// TestWhoMayDoWhatToANode is the table of roles: what fails, and how.
func TestWhoMayDoWhatToANode(t *testing.T) {
	t.Parallel()
	other := coretest.NewUser()
	w := newWorld(t)
	for name, p := range map[string]struct {
		ctx  context.Context //nolint:containedctx // who asks, in a table
		code string
	}{
		"owner": {w.ctx, ""}, "operator": {coretest.As(t.Context(), other, actor.Operator), ""}, "admin": {coretest.As(t.Context(), other, actor.Admin), ""},
		"other user": {coretest.As(t.Context(), other, actor.User), "node_not_found"}, "nobody": {t.Context(), "unauthenticated"},
		"machine": {actor.With(t.Context(), actor.Actor{Type: actor.Machine}), "node_not_found"},
	} {
		w.saw(t, machine("w1", tenant.True))
		i := w.node(t, "w1").ID
		before := coretest.Dump(w.store)
		_, cordon := w.SetUnschedulable(p.ctx, i, true)
		_, _, drain := w.Drain(p.ctx, i, tenant.DrainOptions{})
		_, get := w.Get(p.ctx, i)
		for what, err := range map[string]error{"cordons": cordon, "drains": drain, "gets": get, "deletes": w.Delete(p.ctx, i)} {
			if codeOf(err) != p.code {
				t.Errorf("%s %s: %v, want %q", name, what, err, p.code)
			}
		}
		list, _ := w.List(p.ctx, store.NodeFilter{}, page.Query{})
		events, _ := w.Events(p.ctx, store.NodeEventFilter{}, page.Query{})
		if (len(events.Items) > 0) != (p.code == "") || p.code != "" && len(list.Items) > 0 {
			t.Errorf("%s sees %d nodes and %d events", name, len(list.Items), len(events.Items))
		}
		inside, there := w.inside.Node("w1")
		if p.code != "" && (coretest.Dump(w.store) != before || inside.Unschedulable || !there) {
			t.Errorf("%s was refused and changed something", name)
		}
		if p.code == "" && there {
			t.Errorf("%s deleted a node that is still there", name)
		}
		w.inside.RemoveNode("w1")
		if err := w.gone(t, "w1"); err != nil {
			t.Fatal(err)
		}
	}
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return fault.CodeOf(err)
}

func TestListsAndEventsNarrow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	w.saw(t, machine("w2", tenant.False))
	got, err := w.List(w.ctx, store.NodeFilter{Status: "ready", ClusterID: w.cluster.ID}, page.Query{})
	if err != nil || len(got.Items) != 1 || got.Items[0].Name != "w1" {
		t.Errorf("got %+v, %v", got, err)
	}
	ev, err := w.Events(w.ctx, store.NodeEventFilter{Type: "joined"}, page.Query{Limit: 1})
	if err != nil || len(ev.Items) != 1 || ev.Items[0].NodeName != "w2" || ev.Next == "" {
		t.Errorf("got %+v, %v", ev, err)
	}
	if got, err := w.Get(w.ctx, w.node(t, "w2").ID); err != nil || got.Name != "w2" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestAChangeOfHealthBesideACordonIsNotUndone: the record is replaced whole, so
// what is written must be what is there, not what was read before the call.
func TestAChangeOfHealthBesideACordonIsNotUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	n := w.node(t, "w1")
	sick := machine("w1", tenant.False)
	sick.Unschedulable = true
	s := w.overTenant(t, func() { w.saw(t, sick) })
	got, err := s.SetUnschedulable(w.ctx, n.ID, true)
	if err != nil || got.Status != "not_ready" || w.node(t, "w1").Status != "not_ready" || !w.node(t, "w1").Unschedulable {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestTheLastWordOnANodeIsOnRecord: who is slower to write down what they did
// does not hide what was done after.
func TestTheLastWordOnANodeIsOnRecord(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		w := newWorld(t)
		w.saw(t, machine("w1", tenant.True))
		i := w.node(t, "w1").ID
		s := w.overTenant(t, func() {
			if _, err := w.SetUnschedulable(w.ctx, i, !first); err != nil {
				t.Error(err)
			}
		})
		got, err := s.SetUnschedulable(w.ctx, i, first)
		if err != nil || got.Unschedulable != first {
			t.Errorf("the answer to who was first: %+v, %v", got, err)
		}
		if w.node(t, "w1").Unschedulable == first {
			t.Errorf("the record says unschedulable %v; the tenant was told %v after that", first, !first)
		}
	}
}

// slow runs after once the tenant has done what it was asked.
type slow struct {
	tenant.Connector
	after func()
}

type slowTenant struct {
	tenant.Tenant
	after func()
}

func (s slow) Connect(ctx context.Context, c id.Cluster, k secret.Text) (tenant.Tenant, error) {
	in, err := s.Connector.Connect(ctx, c, k)
	return slowTenant{in, s.after}, err
}

func (s slowTenant) SetUnschedulable(ctx context.Context, n string, u bool) (tenant.Node, error) {
	defer s.after()
	return s.Tenant.SetUnschedulable(ctx, n, u)
}

func (s slowTenant) DeleteNode(ctx context.Context, n string) error {
	defer s.after()
	return s.Tenant.DeleteNode(ctx, n)
}

func (s slowTenant) Drain(ctx context.Context, n string, o tenant.DrainOptions) (tenant.DrainReport, error) {
	defer s.after()
	return s.Tenant.Drain(ctx, n, o)
}

func (w *world) overTenant(t *testing.T, after func()) *nodes.Service {
	t.Helper()
	s, err := nodes.New(nodes.Deps{Store: w.store, Door: tenants.Door{Provisioner: w.planes, Connector: slow{w.connector, after}}, Now: w.Now, Random: w.random})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatWasDoneIsOnRecordThoughTheClientHasLeft(t *testing.T) {
	t.Parallel()
	for what, do := range map[string]func(context.Context, *nodes.Service, id.Node) error{
		"node/cordoned success by user": func(ctx context.Context, s *nodes.Service, n id.Node) error {
			_, err := s.SetUnschedulable(ctx, n, true)
			return err
		},
		"node/drained success by user": func(ctx context.Context, s *nodes.Service, n id.Node) error {
			_, _, err := s.Drain(ctx, n, tenant.DrainOptions{})
			return err
		},
		"node/deleted success by user": func(ctx context.Context, s *nodes.Service, n id.Node) error { return s.Delete(ctx, n) },
	} {
		w := newWorld(t)
		w.saw(t, machine("w1", tenant.True))
		ctx, leave := context.WithCancel(w.ctx)
		if err := do(ctx, w.overTenant(t, leave), w.node(t, "w1").ID); err != nil || last(w.audit(t)) != what {
			t.Errorf("%s: %v, %v", what, err, w.audit(t))
		}
	}
}

func TestANodeThatWentMeanwhileIsOnRecordAllTheSame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	s := w.overTenant(t, func() { _ = w.gone(t, "w1") })
	got, err := s.SetUnschedulable(w.ctx, w.node(t, "w1").ID, true)
	if err != nil || !got.Unschedulable || len(w.all(t)) != 0 || last(w.audit(t)) != "node/cordoned success by user" {
		t.Errorf("got %+v, %v, %v", got, err, w.audit(t))
	}
}

func TestDeletingRemovesTheNodeItsSnapshotAndNotItsHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	i := w.node(t, "w1").ID
	if err := w.Delete(w.ctx, i); err != nil {
		t.Fatal(err)
	}
	if _, there := w.inside.Node("w1"); there || len(w.all(t)) != 0 || last(w.history(t)) != "deleted: ready>" || last(w.audit(t)) != "node/deleted success by user" {
		t.Errorf("%d nodes, %v, %v", len(w.all(t)), w.history(t), w.audit(t))
	}
	if err := w.Delete(w.ctx, i); fault.KindOf(err) != fault.NotFound {
		t.Errorf("again: %v", err)
	}
	before := len(w.audit(t))
	if err := w.gone(t, "w1"); err != nil || len(w.audit(t)) != before {
		t.Errorf("the watch told it a second time: %v, %v", err, w.audit(t))
	}
}

func TestDeletingANodeThatTheTenantNoLongerHasCleansUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	w.inside.RemoveNode("w1")
	if err := w.Delete(w.ctx, w.node(t, "w1").ID); err != nil || len(w.all(t)) != 0 {
		t.Errorf("%v, %d nodes", err, len(w.all(t)))
	}
}

func TestADeletionThatTheWatchSawFirstIsStillThePersons(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	s := w.overTenant(t, func() { _ = w.gone(t, "w1") })
	if err := s.Delete(w.ctx, w.node(t, "w1").ID); err != nil || last(w.audit(t)) != "node/deleted success by user" || len(w.all(t)) != 0 {
		t.Errorf("%v, %v", err, w.audit(t))
	}
	if got := strings.Join(w.audit(t), ", "); strings.Count(got, "node/deleted") != 1 || strings.Count(strings.Join(w.history(t), " "), "deleted") != 1 {
		t.Errorf("it is on record twice: %s; %v", got, w.history(t))
	}
	w.saw(t, machine("w1", tenant.True)) // and went by itself
	w.inside.RemoveNode("w1")
	if err := w.gone(t, "w1"); err != nil || last(w.audit(t)) != "node/deleted success by system" {
		t.Errorf("%v, %v", err, w.audit(t))
	}
}

// TestADeletionWhoseProcessDiedIsOnRecord: the watch writes down what the
// person did who can no longer.
func TestADeletionWhoseProcessDiedIsOnRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	i := w.node(t, "w1").ID
	func() {
		defer func() { _ = recover() }()
		_ = w.overTenant(t, func() { panic("the process dies") }).Delete(w.ctx, i)
	}()
	before := len(w.audit(t))
	if _, there := w.inside.Node("w1"); there || len(w.all(t)) != 1 {
		t.Fatal("it did not die between")
	}
	w.tracker = w.track(t)
	if err := w.synced(t); err != nil {
		t.Fatal(err)
	}
	if len(w.all(t)) != 0 || last(w.audit(t)) != "node/deleted success by user" || len(w.audit(t)) != before+1 || last(w.history(t)) != "deleted: ready>" {
		t.Errorf("%v, %v", w.audit(t), w.history(t))
	}
}

func TestADeletionThatTheTenantRefusedIsNobodys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	i := w.node(t, "w1").ID
	w.inside.SetReachable(false)
	if err := w.Delete(w.ctx, i); !errors.Is(err, fault.Unavailable) {
		t.Fatal(err)
	}
	w.inside.SetReachable(true)
	w.inside.RemoveNode("w1")
	if err := w.gone(t, "w1"); err != nil || last(w.audit(t)) != "node/deleted success by system" {
		t.Errorf("%v, %v", err, w.audit(t))
	}
}

func TestTwoWhoDeleteANodeAreOnRecordOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	i := w.node(t, "w1").ID
	other := coretest.As(t.Context(), coretest.NewUser(), actor.Operator)
	s := w.overTenant(t, func() {
		if err := w.Delete(other, i); err != nil {
			t.Error(err)
		}
	})
	if err := s.Delete(w.ctx, i); err != nil {
		t.Error(err)
	}
	if got := strings.Count(strings.Join(w.audit(t), " "), "node/deleted"); got != 1 {
		t.Errorf("on record %d times: %v", got, w.audit(t))
	}
}

// away is a store that is away for a moment after the tenant has been told.
type away struct {
	store.Store
	left *atomic.Int64
}

func (a away) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if a.left.Add(-1) >= 0 {
		return fault.Unavailable.New("store_unavailable", "The database does not answer.")
	}
	return a.Store.InTx(ctx, do)
}

func TestWhatWasDoneIsOnRecordThoughTheStoreWasAway(t *testing.T) {
	t.Parallel()
	for what, do := range map[string]func(context.Context, *nodes.Service, id.Node) error{
		"node/cordoned success by user": func(ctx context.Context, s *nodes.Service, n id.Node) error {
			_, err := s.SetUnschedulable(ctx, n, true)
			return err
		},
		"node/drained success by user": func(ctx context.Context, s *nodes.Service, n id.Node) error {
			_, _, err := s.Drain(ctx, n, tenant.DrainOptions{})
			return err
		},
		"node/deleted success by user": func(ctx context.Context, s *nodes.Service, n id.Node) error { return s.Delete(ctx, n) },
	} {
		w := newWorld(t)
		w.saw(t, machine("w1", tenant.True))
		broken := away{w.store, &atomic.Int64{}}
		s, err := nodes.New(nodes.Deps{
			Store: broken, Door: tenants.Door{Provisioner: w.planes, Connector: slow{w.connector, func() { broken.left.Store(3) }}}, Now: w.Now, Random: w.random,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := do(w.ctx, s, w.node(t, "w1").ID); err != nil || last(w.audit(t)) != what {
			t.Errorf("%s: %v, %v", what, err, w.audit(t))
		}
	}
}

func TestATenantOutOfReachChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	i := w.node(t, "w1").ID
	w.inside.SetReachable(false)
	before := coretest.Dump(w.store)
	_, err := w.SetUnschedulable(w.ctx, i, true)
	for what, err := range map[string]error{"cordon": err, "delete": w.Delete(w.ctx, i)} {
		if !errors.Is(err, fault.Unavailable) || coretest.Dump(w.store) != before {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.planes.OnKubeconfig = func(context.Context, id.Cluster) error { return fault.NotFound.New("gone", "Gone.") }
	if err := w.Delete(w.ctx, i); fault.KindOf(err) != fault.Unavailable || errors.Is(err, fault.NotFound) || coretest.Dump(w.store) != before {
		t.Errorf("a plane that is gone: %v", err)
	}
}

func pod(name string) memtenant.Pod {
	return memtenant.Pod{Pod: tenant.Pod{Namespace: "default", Name: name}, Node: "w1", App: "web"}
}

func TestADrainTellsWhatWentAndWhatWasLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	i := w.node(t, "w1").ID
	daemon := pod("agent")
	daemon.DaemonSet = true
	w.inside.PutPod(pod("a"))
	w.inside.PutPod(daemon)
	before := coretest.Dump(w.store)
	if _, r, err := w.Drain(w.ctx, i, tenant.DrainOptions{DryRun: true}); err != nil || len(r.Evicted) != 1 || coretest.Dump(w.store) != before || !w.inside.HasPod(pod("a").Pod) {
		t.Errorf("dry: %+v, %v", r, err)
	}
	n, r, err := w.Drain(w.ctx, i, tenant.DrainOptions{})
	if err != nil || len(r.Evicted) != 1 || len(r.Skipped) != 1 || !n.Unschedulable || last(w.audit(t)) != "node/drained success by user" {
		t.Errorf("%+v, %+v, %v, %v", n, r, err, w.audit(t))
	}
}

func TestADrainThatDoesNotFinishIsOnRecordAsAFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	w.inside.PutPod(pod("a"))
	w.inside.Protect("web")
	_, r, err := w.Drain(w.ctx, w.node(t, "w1").ID, tenant.DrainOptions{Timeout: time.Millisecond})
	if !errors.Is(err, fault.Timeout) || fault.CodeOf(err) != "drain_timeout" || len(r.Left) != 1 || last(w.audit(t)) != "node/drained failure by user" {
		t.Errorf("%+v, %v, %v", r, err, w.audit(t))
	}
}

func TestADrainOutOfBoundsIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.saw(t, machine("w1", tenant.True))
	grace := func(d time.Duration) *time.Duration { return &d }
	before := coretest.Dump(w.store)
	for name, o := range map[string]tenant.DrainOptions{
		"negative": {Timeout: -1}, "endless": {Timeout: 15*time.Minute + 1}, "negative grace": {GracePeriod: grace(-1)}, "long grace": {GracePeriod: grace(time.Hour + 1)},
	} {
		if _, _, err := w.Drain(w.ctx, w.node(t, "w1").ID, o); fault.CodeOf(err) != "validation_failed" || coretest.Dump(w.store) != before {
			t.Errorf("%s: %v", name, err)
		}
	}
}
