package nodes_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is one user's cluster, with a tracker that watches it by hand.
type world struct {
	*nodes.Service
	*coretest.Clock
	store     *memstore.Store
	planes    *coretest.Planes
	connector *memtenant.Connector
	inside    *memtenant.Cluster
	registrar *registrar
	random    id.Random
	me        id.User
	ctx       context.Context //nolint:containedctx // who asks, in every test
	cluster   store.Cluster
	pace      *nodes.Pace
	tracker   *nodes.Tracker
}

// registrar says that the first nodes used up tokens.
type registrar struct {
	asked []string
	uses  int
	fails error
}

func (r *registrar) Registered(_ context.Context, _ store.Tx, c store.Cluster, n store.Node) (bool, error) {
	r.asked = append(r.asked, n.Name)
	r.uses--
	return r.uses >= 0, r.fails
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		Clock: coretest.NewClock(), store: memstore.New(), planes: &coretest.Planes{}, connector: memtenant.New(),
		registrar: &registrar{}, random: coretest.Random(), me: coretest.NewUser(), pace: nodes.NewPace(),
	}
	w.ctx = coretest.As(t.Context(), w.me, actor.User)
	w.Service = w.over(t, w.store)
	now := w.Now()
	w.cluster = store.Cluster{
		ID: id.New[id.ClusterKind](now, w.random()), OwnerUserID: w.me, Name: "Demo", VclusterName: "demo", Status: "ready",
		ConnectionStatus: "reachable", KubeconfigAvailableAt: &now, CreatedAt: now, UpdatedAt: now,
	}
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, &w.cluster) })
	w.planes.Put(w.cluster.ID, coretest.Up())
	w.inside = w.connector.Cluster(w.cluster.ID)
	w.tracker = w.track(t)
	return w
}

func (w *world) over(t *testing.T, s store.Store) *nodes.Service {
	t.Helper()
	out, err := nodes.New(nodes.Deps{Store: s, Door: tenants.Door{Provisioner: w.planes, Connector: w.connector}, Now: w.Now, Random: w.random})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) track(t *testing.T) *nodes.Tracker {
	t.Helper()
	out, err := nodes.Track(t.Context(), w.deps(), w.cluster)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) deps() nodes.TrackerDeps {
	return nodes.TrackerDeps{Store: w.store, Registrar: w.registrar, Now: w.Now, Random: w.random, Pace: w.pace}
}

func (w *world) tx(t *testing.T, do func(context.Context, store.Tx) error) {
	t.Helper()
	if err := w.store.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

func machine(name string, ready tenant.Condition) tenant.Node {
	return tenant.Node{
		Name: name, UID: "uid-" + name, Ready: ready, InternalIP: "192.0.2.7", PodCIDR: "10.42.0.0/24", OSImage: "Debian GNU/Linux 13",
		KubeletVersion: "v1.36.3", ContainerRuntimeVersion: "containerd://2.1.0", Labels: map[string]string{"kubernetes.io/hostname": name},
		CPUAllocatableMilli: 4000, MemoryAllocatableBytes: 8 << 30, EphemeralStorageAllocatable: 100 << 30,
	}
}

// saw shows the tracker, and the tenant, a node.
func (w *world) saw(t *testing.T, n tenant.Node) bool {
	t.Helper()
	w.Move(time.Second)
	w.inside.PutNode(n)
	w.tracker.Saw(n)
	used, err := w.tracker.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return used
}

// see shows the tracker a node; the store may fail.
func (w *world) see(t *testing.T, n tenant.Node) error { return see(t, w.tracker, n) }

func see(t *testing.T, to *nodes.Tracker, n tenant.Node) error {
	to.Saw(n)
	_, err := to.Write(t.Context())
	return err
}

func (w *world) gone(t *testing.T, name string) error {
	w.tracker.Gone(name)
	_, err := w.tracker.Write(t.Context())
	return err
}

func (w *world) synced(t *testing.T) error {
	w.tracker.Synced()
	_, err := w.tracker.Write(t.Context())
	return err
}

// lost has the platform lose sight of the tenant; a new tracker follows it when
// it is back.
func (w *world) lost(t *testing.T) error {
	t.Helper()
	err := nodes.Lose(t.Context(), w.deps(), w.cluster)
	w.tracker = w.track(t)
	return err
}

func (w *world) node(t *testing.T, name string) (n store.Node) {
	t.Helper()
	for _, n := range w.all(t) {
		if n.Name == name {
			return n
		}
	}
	t.Fatalf("there is no node %s", name)
	return n
}

func (w *world) all(t *testing.T) (out []store.Node) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) (err error) {
		out, err = tx.Nodes().OfCluster(ctx, w.cluster.ID)
		return err
	})
	return out
}

// history returns "type: old>new" of a cluster's node events, oldest first.
func (w *world) history(t *testing.T) (out []string) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.NodeEvents().List(ctx, store.Everyone(), store.NodeEventFilter{}, page.Query{})
		for _, e := range all.Items {
			out = append(out, fmt.Sprintf("%s: %s>%s", e.Type, e.OldStatus, e.NewStatus))
		}
		return err
	})
	slices.Reverse(out)
	return out
}

// audit returns "resource/action result by actor" of what happened, oldest first.
func (w *world) audit(t *testing.T) (out []string) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{})
		for _, e := range all.Items {
			if e.ClusterID != w.cluster.ID || e.ClusterName != "Demo" || e.NodeName == "" || e.ResourceID == "" {
				t.Errorf("an event that does not say about what: %+v", e)
			}
			out = append(out, fmt.Sprintf("%s/%s %s by %s", e.ResourceType, e.Action, e.Result, e.ActorType))
		}
		return err
	})
	slices.Reverse(out)
	return out
}

func last(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}
