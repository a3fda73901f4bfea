package fleet_test

import (
	"context"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a platform with an admin, an operator and a user.
type world struct {
	*fleet.Service
	*coretest.Clock
	t         *testing.T
	store     *memstore.Store
	clusters  *clusters.Service
	guests    memtenant.Guests
	seal      *keyseal.Sealer
	planes    *coretest.Planes
	committed atomic.Int64

	admin, operator, user context.Context //nolint:containedctx // who asks, in every test
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		Clock: coretest.NewClock(), t: t, store: memstore.New(), planes: &coretest.Planes{}, seal: keyseal.New([32]byte{}),
		guests: memtenant.Guests{Connector: memtenant.New()},
	}
	as := func(r actor.Role) context.Context {
		return coretest.As(t.Context(), coretest.NewAccount(t.Context(), w.store, r), r)
	}
	w.admin, w.operator, w.user = as(actor.Admin), as(actor.Operator), as(actor.User)
	random := coretest.Random()
	var err error
	w.clusters, err = clusters.New(clusters.Deps{
		Store: w.store, Seal: w.seal, Provisioner: w.planes, Catalog: w.planes, Now: w.Now, Random: random,
		CheckPassword: func(context.Context, secret.Text) error { return nil }, Committed: func() {}, MaxPerUser: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Service, err = fleet.New(fleet.Deps{
		Store: w.store, Seal: w.seal, Door: w.door(), Reader: w.guests, Clusters: w.clusters, Now: w.Now, Random: random,
		Committed: func() { w.committed.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) door() tenants.Door {
	return tenants.Door{
		Provisioner: w.planes, Connector: memtenant.New(), Guests: w.guests,
		Imported: fleet.Credentials{Store: w.store, Seal: w.seal, Reader: w.guests}.Of,
	}
}

const kubeconfig = "staging https://203.0.113.10:6443 the-private-key"

func byFile(text string) fleet.Credential { return fleet.Credential{Kubeconfig: secret.New(text)} }

func (w *world) register(name string, change ...func(*fleet.Registration)) store.Member {
	w.t.Helper()
	r := fleet.Registration{Name: name, Credential: byFile(kubeconfig)}
	for _, c := range change {
		c(&r)
	}
	m, err := w.Register(w.operator, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (w *world) hosted(name string) store.Cluster {
	w.t.Helper()
	c, err := w.clusters.Create(w.user, clusters.Request{Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) get(number int64) store.Member {
	w.t.Helper()
	m, err := w.Get(w.admin, number)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// edit changes a cluster as watchers do.
func (w *world) edit(i id.Cluster, change func(*clusters.Cluster)) {
	w.t.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), i)
		if err != nil {
			return err
		}
		c := clusters.Of(rec)
		change(&c)
		rec = c.Record()
		return tx.Clusters().Update(ctx, &rec)
	})
}

func (w *world) tx(do func(context.Context, store.Tx) error) {
	w.t.Helper()
	if err := w.store.InTx(w.t.Context(), do); err != nil {
		w.t.Fatal(err)
	}
}

// told are the audit events, newest first.
func (w *world) told() (out []string) {
	w.t.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		p, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{})
		for _, e := range p.Items {
			out = append(out, e.ResourceType+"/"+e.Action)
		}
		return err
	})
	return out
}

func (w *world) fails(what string, err error, kind fault.Kind, code string) {
	w.t.Helper()
	if fault.KindOf(err) != kind || fault.CodeOf(err) != code {
		w.t.Errorf("%s: got %v, want %s with code %s", what, err, kind, code)
	}
}
