package metering_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/metering"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tester is what tests and the checks of properties have in common.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// world is a platform with two owners' clusters.
type world struct {
	store  *memstore.Store
	planes *memprovision.Provisioner
	log    *coretest.Log
	random id.Random
	now    func() time.Time
	ann    id.User
	bob    id.User
	bg     context.Context //nolint:containedctx // the platform's own, in every test
}

func bubbleClock() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func newWorld(ctx context.Context, now func() time.Time) *world {
	return &world{
		store: memstore.New(), planes: memprovision.New(memprovision.Config{}), log: &coretest.Log{}, random: coretest.Random(),
		now: now, ann: coretest.NewUser(), bob: coretest.NewUser(), bg: actor.With(ctx, actor.Process()),
	}
}

// inWorld runs a test on a clock that moves only when everybody waits.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t.Context(), bubbleClock)) })
}

// cluster stores one and has its control plane started.
func (w *world) cluster(t tester, owner id.User) store.Cluster {
	t.Helper()
	c := store.Cluster{ID: id.New[id.ClusterKind](w.now(), w.random()), OwnerUserID: owner, Status: "ready", CreatedAt: w.now(), UpdatedAt: w.now()}
	c.VclusterName = "vc-" + c.ID.String()[20:]
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, &c) })
	if err := w.planes.Apply(w.bg, provision.Want{ID: c.ID, Name: "a", KubernetesVersion: "v1.36.3"}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) tx(t tester, do func(context.Context, store.Tx) error) {
	t.Helper()
	if err := w.store.InTx(w.bg, do); err != nil {
		t.Fatal(err)
	}
}

func (w *world) deps(name string) metering.Deps {
	return metering.Deps{Store: w.store, Provisioner: w.planes, Log: w.log.Logger(), Now: w.now, Name: name}
}

func (w *world) sampler(t tester, d metering.Deps) *metering.Sampler {
	t.Helper()
	s, err := metering.NewSampler(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// history is what a user sees.
func (w *world) history(t tester, who id.User, c id.Cluster, window metering.Window) metering.History {
	t.Helper()
	h, err := w.ask(t, who, actor.User, c, window)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (w *world) ask(t tester, who id.User, role actor.Role, c id.Cluster, window metering.Window) (metering.History, error) {
	t.Helper()
	s, err := metering.New(w.store, w.now)
	if err != nil {
		t.Fatal(err)
	}
	return s.History(coretest.As(w.bg, who, role), c, window)
}

// kept is every sample that there is of a cluster.
func (w *world) kept(t tester, c id.Cluster) (out []store.ControlPlaneSample) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) (err error) {
		out, err = tx.ControlPlaneSamples().Steps(ctx, store.Everyone(), c, time.UnixMilli(0), w.now().Add(time.Hour), time.Minute)
		return err
	})
	return out
}

// using makes every control plane use so much.
func (w *world) using(cpu, memory int64, ready, pods int) {
	w.planes.Use(func(id.Cluster) provision.Usage {
		return provision.Usage{CPUMilli: cpu, MemoryMiB: memory, PodsReady: ready, PodsTotal: pods}
	})
}

// spoiled is a store in which some calls of a transaction go wrong.
type spoiled struct {
	store.Store
	samples func(store.ControlPlaneSamples) store.ControlPlaneSamples
	leases  func(store.Leases) store.Leases
}

func (s spoiled) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, spoiledTx{tx, s}) })
}

type spoiledTx struct {
	store.Tx
	by spoiled
}

func (t spoiledTx) ControlPlaneSamples() store.ControlPlaneSamples {
	if t.by.samples == nil {
		return t.Tx.ControlPlaneSamples()
	}
	return t.by.samples(t.Tx.ControlPlaneSamples())
}

func (t spoiledTx) Leases() store.Leases {
	if t.by.leases == nil {
		return t.Tx.Leases()
	}
	return t.by.leases(t.Tx.Leases())
}

var errBoom = errors.New("boom")

// crashing samples are written, and then not thinned.
type crashing struct{ store.ControlPlaneSamples }

func (crashing) Thin(context.Context, time.Duration, time.Duration, time.Time, int) (int, error) {
	return 0, errBoom
}

// generous leases are everybody's.
type generous struct{ store.Leases }

func (generous) Acquire(_ context.Context, names []string, _ string, _, _ time.Time) ([]string, error) {
	return names, nil
}
