package watch_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a platform with hosted clusters; it lives in a synctest bubble.
type world struct {
	store  *memstore.Store
	planes *memprovision.Provisioner
	hosts  *hosts
	tokens *tokens.Service
	bell   *bell.Bell
	log    *coretest.Log
	random id.Random
	me     id.User
	ctx    context.Context //nolint:containedctx // who asks, in every test
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// inWorld runs a test on a clock that moves only when everybody waits.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			store: memstore.New(), planes: memprovision.New(memprovision.Config{}), hosts: &hosts{Connector: memtenant.New()},
			bell: &bell.Bell{}, log: &coretest.Log{}, random: coretest.Random(), me: coretest.NewUser(),
		}
		w.hosts.Now = now
		w.ctx = coretest.As(t.Context(), w.me, actor.User)
		var err error
		w.tokens, err = tokens.New(tokens.Deps{
			Store: w.store, Seal: keyseal.New([32]byte{}), Door: w.door(), Log: w.log.Logger(), Now: now, Random: w.random, Secret: coretest.Secret(),
		})
		if err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

func (w *world) door() tenants.Door { return tenants.Door{Provisioner: w.planes, Connector: w.hosts} }

func (w *world) deps(name string) watch.Deps {
	return watch.Deps{
		Store: w.store, Door: w.door(), Tokens: w.tokens, Log: w.log.Logger(), Now: now, Random: w.random, Clusters: w.bell, Name: name, Most: 100,
	}
}

// run runs a supervisor until stop is called, and the test's end at the latest.
func (w *world) run(t *testing.T, name string, change ...func(*watch.Deps)) (stop func()) {
	t.Helper()
	d := w.deps(name)
	for _, c := range change {
		c(&d)
	}
	s, err := watch.New(d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// add makes a cluster that has just been provisioned.
func (w *world) add(t *testing.T, name string) id.Cluster {
	t.Helper()
	at := now()
	c := store.Cluster{
		ID: id.New[id.ClusterKind](at, w.random()), OwnerUserID: w.me, Name: name, VclusterName: name, Status: "ready", KubernetesVersion: "v1.36.3",
		ConnectionStatus: "kubeconfig_pending", KubeconfigAvailableAt: &at, Generation: 1, ObservedGeneration: 1, CreatedAt: at, UpdatedAt: at,
	}
	want := provision.Want{ID: c.ID, Name: name, KubernetesVersion: "v1.36.3", CPURequestMilli: 100, MemoryRequestMiB: 512}
	if err := w.planes.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, &c) })
	return c.ID
}

func (w *world) inside(c id.Cluster) *memtenant.Cluster { return w.hosts.Cluster(c) }

func (w *world) tx(t *testing.T, do func(context.Context, store.Tx) error) {
	t.Helper()
	if err := w.store.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

func (w *world) cluster(t *testing.T, i id.Cluster) (c store.Cluster) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) (err error) {
		c, err = tx.Clusters().Get(ctx, store.Everyone(), i)
		return err
	})
	return c
}

func (w *world) edit(t *testing.T, i id.Cluster, change func(*store.Cluster)) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), i)
		if err != nil {
			return err
		}
		change(&c)
		return tx.Clusters().Update(ctx, &c)
	})
}

// nodes returns "name status" of a cluster's nodes, by name.
func (w *world) nodes(t *testing.T, i id.Cluster) (out string) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Nodes().OfCluster(ctx, i)
		for _, n := range all {
			out += fmt.Sprintf("%s %s;", n.Name, n.Status)
		}
		return err
	})
	return out
}

func (w *world) is(t *testing.T, i id.Cluster, status, connection string) func() bool {
	return func() bool {
		c := w.cluster(t, i)
		return c.Status == status && c.ConnectionStatus == connection
	}
}

// until waits for a condition and returns how long it took.
func until(t *testing.T, what string, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		synctest.Wait()
		took := time.Since(began)
		if ok() {
			return took
		}
		if took > limit {
			t.Fatalf("after %v: not %s", took, what)
		}
		time.Sleep(10 * time.Millisecond) // of the bubble's time
	}
}

// hosts are tenants that can be made to misbehave.
type hosts struct {
	*memtenant.Connector
	watches, following atomic.Int64 // begun; going on
	mu                 sync.Mutex
	hang               map[id.Cluster]bool  // calls do not return by themselves
	deaf               map[id.Cluster]bool  // and open watches show nothing
	stick              map[id.Cluster]bool  // to remove a secret does not return by itself
	refuse             map[id.Cluster]bool  // to change objects of the platform
	mute               map[id.Cluster]bool  // to list anything
	brief              map[id.Cluster]bool  // watches end as soon as the lists are in
	slow               time.Duration        // that each decision takes
	excess             <-chan tenant.Excess // of every tenant
}

func (h *hosts) set(of *map[id.Cluster]bool, c id.Cluster, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if *of == nil {
		*of = map[id.Cluster]bool{}
	}
	(*of)[c] = on
}

func (h *hosts) has(of *map[id.Cluster]bool, c id.Cluster) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return (*of)[c]
}

func (h *hosts) Connect(ctx context.Context, c id.Cluster, k secret.Text) (tenant.Tenant, error) {
	in, err := h.Connector.Connect(ctx, c, k)
	return host{in, h, c}, err
}

type host struct {
	tenant.Tenant
	h *hosts
	c id.Cluster
}

func (h host) hangs(ctx context.Context) error {
	if !h.h.has(&h.h.hang, h.c) {
		return nil
	}
	<-ctx.Done()
	return fault.Unavailable.New("cluster_unreachable", "The cluster's API server did not answer in time.").Because(ctx.Err())
}

func (h host) refuses() error {
	if h.h.has(&h.h.refuse, h.c) {
		return fault.Denied.New("refused", "A webhook of the tenant said no.")
	}
	return nil
}

func (h host) Probe(ctx context.Context) (string, error) {
	if err := h.hangs(ctx); err != nil {
		return "", err
	}
	return h.Tenant.Probe(ctx)
}

func (h host) Watch(ctx context.Context, sink func(tenant.Change) error) error {
	if err := h.hangs(ctx); err != nil {
		return err
	}
	h.h.watches.Add(1)
	if h.h.has(&h.h.mute, h.c) {
		return fault.Unavailable.New("cluster_access_refused", "The cluster does not let the platform list nodes.")
	}
	if h.h.has(&h.h.brief, h.c) {
		return h.Tenant.Watch(ctx, func(c tenant.Change) error {
			if err := sink(c); err != nil || !c.Synced {
				return err
			}
			time.Sleep(50 * time.Millisecond)
			return fault.Unavailable.New("cluster_unreachable", "The watch ended.")
		})
	}
	h.h.following.Add(1)
	defer h.h.following.Add(-1)
	if h.h.has(&h.h.deaf, h.c) {
		if err := sink(tenant.Change{Synced: true}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	if h.h.excess != nil {
		if err := sink(tenant.Change{Synced: true}); err != nil {
			return err
		}
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case e := <-h.h.excess:
				if err := sink(tenant.Change{Excess: &e}); err != nil {
					return err
				}
			}
		}
	}
	return h.Tenant.Watch(ctx, sink)
}

func (h host) DeleteBootstrapToken(ctx context.Context, i string) error {
	if err := h.refuses(); err != nil {
		return err
	}
	if h.h.has(&h.h.stick, h.c) {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Tenant.DeleteBootstrapToken(ctx, i)
}

func (h host) DecideJoin(ctx context.Context, r tenant.JoinRequest, approve bool, reason string) error {
	if err := h.refuses(); err != nil {
		return err
	}
	if h.h.slow > 0 {
		time.Sleep(h.h.slow)
	}
	return h.Tenant.DecideJoin(ctx, r, approve, reason)
}

func machine(name string, ready tenant.Condition) tenant.Node {
	return tenant.Node{Name: name, UID: "uid-" + name, Ready: ready}
}
