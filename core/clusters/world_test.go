package clusters_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a platform with one user who may have three clusters.
type world struct {
	*clusters.Service
	*coretest.Clock
	store     *memstore.Store
	planes    *coretest.Planes
	deps      clusters.Deps
	me        id.User
	ctx       context.Context //nolint:containedctx // who asks, in every test
	password  error           // what CheckPassword says
	committed atomic.Int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Clock: coretest.NewClock(), store: memstore.New(), planes: &coretest.Planes{}}
	w.me = coretest.NewAccount(t.Context(), w.store, actor.User)
	w.ctx = coretest.As(t.Context(), w.me, actor.User)
	w.deps = clusters.Deps{
		Store: w.store, Seal: keyseal.New([32]byte{}), Provisioner: w.planes, Catalog: w.planes, Now: w.Now, Random: coretest.Random(),
		CheckPassword: func(_ context.Context, p secret.Text) error { return w.password },
		Committed:     func() { w.committed.Add(1) }, MaxPerUser: 3,
	}
	var err error
	if w.Service, err = clusters.New(w.deps); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) create(t *testing.T, name string) store.Cluster {
	t.Helper()
	c, err := w.Create(w.ctx, clusters.Request{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// edit changes a cluster as workers and watchers do.
func (w *world) edit(t *testing.T, i id.Cluster, change func(*clusters.Cluster)) store.Cluster {
	t.Helper()
	var rec store.Cluster
	w.tx(t, func(ctx context.Context, tx store.Tx) (err error) {
		if rec, err = tx.Clusters().GetForUpdate(ctx, store.Everyone(), i); err != nil {
			return err
		}
		c := clusters.Of(rec)
		change(&c)
		rec = c.Record()
		return tx.Clusters().Update(ctx, &rec)
	})
	return rec
}

func (w *world) ready(t *testing.T, i id.Cluster) store.Cluster {
	t.Helper()
	w.planes.Put(i, coretest.Up())
	return w.edit(t, i, func(c *clusters.Cluster) {
		c.Arrive(c.Record().Generation, coretest.Up(), w.Now())
		c.Reach(w.Now())
	})
}

func (w *world) gone(t *testing.T, i id.Cluster) {
	t.Helper()
	w.edit(t, i, func(c *clusters.Cluster) { c.Vanish(w.Now()) })
}

func (w *world) tx(t *testing.T, do func(context.Context, store.Tx) error) {
	t.Helper()
	if err := w.store.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

// events returns "resource/action by actor" of what happened, oldest first.
func (w *world) events(t *testing.T) (out []string) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{})
		for _, e := range all.Items {
			out = append([]string{fmt.Sprintf("%s/%s %s %s", e.ResourceType, e.Action, e.Result, e.ClusterName)}, out...)
		}
		return err
	})
	return out
}

// refuses runs do and complains unless it fails with code and changes nothing.
func (w *world) refuses(t *testing.T, what, code string, do func() error) {
	t.Helper()
	before := coretest.Dump(w.store)
	if err := do(); fault.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
	if coretest.Dump(w.store) != before {
		t.Errorf("%s was refused and changed the store", what)
	}
}
