package tokens_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a user's cluster that machines can join.
type world struct {
	*tokens.Service
	*coretest.Clock
	store     *memstore.Store
	planes    *coretest.Planes
	connector *memtenant.Connector
	inside    *memtenant.Cluster // the hands in the tenant
	log       *coretest.Log
	deps      tokens.Deps
	random    id.Random
	me        id.User
	ctx       context.Context //nolint:containedctx // who asks, in every test
	cluster   id.Cluster
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		Clock: coretest.NewClock(), store: memstore.New(), planes: &coretest.Planes{}, connector: memtenant.New(),
		log: &coretest.Log{}, random: coretest.Random(), me: coretest.NewUser(),
	}
	w.ctx = coretest.As(t.Context(), w.me, actor.User)
	w.connector.Now = w.Now
	w.deps = tokens.Deps{
		Store: w.store, Seal: keyseal.New([32]byte{}), Door: tenants.Door{Provisioner: w.planes, Connector: w.connector},
		Log: w.log.Logger(), Now: w.Now, Random: w.random, Secret: coretest.Secret(),
	}
	w.Service = w.over(t, func(*tokens.Deps) {})
	w.cluster = w.addCluster(t, "demo")
	w.inside = w.connector.Cluster(w.cluster)
	return w
}

func (w *world) over(t *testing.T, change func(*tokens.Deps)) *tokens.Service {
	t.Helper()
	d := w.deps
	change(&d)
	s, err := tokens.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) addCluster(t *testing.T, name string) id.Cluster {
	t.Helper()
	now := w.Now()
	c := store.Cluster{
		ID: id.New[id.ClusterKind](now, w.random()), OwnerUserID: w.me, Name: name, VclusterName: name, Status: "ready",
		ConnectionStatus: "reachable", KubeconfigAvailableAt: &now, CreatedAt: now, UpdatedAt: now,
	}
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, &c) })
	w.planes.Put(c.ID, coretest.Up())
	return c.ID
}

func (w *world) edit(t *testing.T, change func(*store.Cluster)) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), w.cluster)
		if err != nil {
			return err
		}
		change(&c)
		return tx.Clusters().Update(ctx, &c)
	})
}

func (w *world) tx(t *testing.T, do func(context.Context, store.Tx) error) {
	t.Helper()
	if err := w.store.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

func (w *world) mint(t *testing.T) tokens.Minted {
	t.Helper()
	m, err := w.Mint(w.ctx, w.cluster, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (w *world) token(t *testing.T, i id.Token) (out store.Token) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) (err error) {
		out, err = tx.Tokens().Get(ctx, store.Everyone(), i)
		return err
	})
	return out
}

func (w *world) prepare(t *testing.T, m tokens.Minted) tokens.Join {
	t.Helper()
	j, err := w.Prepare(t.Context(), m.Value, w.cluster)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (w *world) tidy(t *testing.T) error {
	t.Helper()
	in, err := w.connector.Connect(t.Context(), w.cluster, secret.New("any"))
	if err != nil {
		t.Fatal(err)
	}
	return w.Tidy(t.Context(), w.cluster, in)
}

// joined makes the machine that claimed a token a node.
func (w *world) joined(t *testing.T, node string) (n store.Node, used bool) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		n = store.Node{ID: id.New[id.NodeKind](w.Now(), w.random()), ClusterID: w.cluster, Name: node, Status: "ready"}
		if err := tx.Nodes().Insert(ctx, n); err != nil {
			return err
		}
		c, err := tx.Clusters().Get(ctx, store.Everyone(), w.cluster)
		if err != nil {
			return err
		}
		used, err = w.Registered(ctx, tx, c, n)
		return err
	})
	return n, used
}

// event returns the newest event.
func (w *world) event(t *testing.T) (e store.AuditEvent) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{Limit: 1})
		if len(all.Items) > 0 {
			e = all.Items[0]
		}
		return err
	})
	return e
}

// refuses complains unless do fails with code and changes nothing, here and in the tenant.
func (w *world) refuses(t *testing.T, what, code string, do func() error) {
	t.Helper()
	before, inside := coretest.Dump(w.store), len(w.inside.Tokens())
	err := do()
	if fault.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
	if coretest.Dump(w.store) != before || len(w.inside.Tokens()) != inside {
		t.Errorf("%s was refused and changed something", what)
	}
}

func request(m tokens.Minted, node, key string) tenant.JoinRequest {
	return tenant.JoinRequest{Name: "csr-" + node + key, Bootstrap: m.Token.BootstrapID, NodeName: node, KeyHash: key}
}

func (w *world) decide(t *testing.T, r tenant.JoinRequest) tokens.Verdict {
	t.Helper()
	v, err := w.Decide(t.Context(), w.cluster, r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
