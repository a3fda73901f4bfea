package reconcile_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/clock"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	lease    = time.Minute
	deadline = 10 * time.Minute
	attempts = 8
)

// world is a platform with a user; it lives in a synctest bubble.
type world struct {
	*clusters.Service
	store   *memstore.Store
	planes  *memprovision.Provisioner
	jobs    *bell.Bell
	log     *coretest.Log
	settled atomic.Int64
	random  id.Random
	ctx     context.Context //nolint:containedctx // who asks, in every test
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// inWorld runs a test on a clock that moves only when everybody waits.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			store: memstore.New(), planes: memprovision.New(memprovision.Config{}), jobs: &bell.Bell{}, log: &coretest.Log{}, random: coretest.Random(),
		}
		w.ctx = coretest.As(t.Context(), coretest.NewAccount(t.Context(), w.store, actor.User), actor.User)
		var err error
		w.Service, err = clusters.New(clusters.Deps{
			Store: w.store, Seal: keyseal.New([32]byte{}), Provisioner: w.planes, Catalog: w.planes, Now: now, Random: w.random, MaxPerUser: 100,
			CheckPassword: func(context.Context, secret.Text) error { return nil }, Committed: w.jobs.Ring,
		})
		if err != nil {
			t.Fatal(err)
		}
		test(t, w)
	})
}

func (w *world) deps(name string) reconcile.Deps {
	return reconcile.Deps{
		Store: w.store, Provisioner: w.planes, Log: w.log.Logger(), Clock: w.clock(w.store), Random: w.random, Jobs: w.jobs,
		Settled: func() { w.settled.Add(1) }, Name: name, Concurrency: 1, Lease: lease, MaxAttempts: attempts, Deadline: deadline,
	}
}

// clock is one that nobody keeps right.
func (w *world) clock(s store.Store) *clock.Clock {
	c, err := clock.New(s, w.log.Logger())
	if err != nil {
		panic(err)
	}
	return c
}

func (w *world) worker(t *testing.T, name string, change ...func(*reconcile.Deps)) *reconcile.Worker {
	t.Helper()
	d := w.deps(name)
	for _, c := range change {
		c(&d)
	}
	out, err := reconcile.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// run runs a worker until stop is called, and the test's end at the latest.
func (w *world) run(t *testing.T, name string, change ...func(*reconcile.Deps)) (stop func()) {
	t.Helper()
	return w.runs(t, w.worker(t, name, change...))
}

// runs is run for a worker that is there.
func (w *world) runs(t *testing.T, worker *reconcile.Worker) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { worker.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func (w *world) create(t *testing.T, name string) id.Cluster {
	t.Helper()
	c, err := w.Create(w.ctx, clusters.Request{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
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

// record returns a cluster, deleted or not.
func (w *world) status(t *testing.T, i id.Cluster) clusters.Status {
	t.Helper()
	c, err := w.Get(w.ctx, i)
	if err != nil {
		return clusters.Deleted
	}
	return clusters.Status(c.Status)
}

func (w *world) untilStatus(t *testing.T, i id.Cluster, want clusters.Status, limit time.Duration) time.Duration {
	t.Helper()
	return until(t, string(want)+" but "+string(w.status(t, i)), limit, func() bool { return w.status(t, i) == want })
}

func (w *world) tx(t *testing.T, do func(context.Context, store.Tx) error) {
	t.Helper()
	if err := w.store.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

// work returns all jobs and their operations, oldest first.
func (w *world) work(t *testing.T) (jobs []store.Job, ops []store.Operation) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Jobs().List(ctx, store.JobFilter{}, page.Query{Limit: 500})
		jobs = all.Items
		slices.Reverse(jobs)
		for _, j := range jobs {
			o, err := tx.Operations().Get(ctx, j.OperationID)
			if err != nil {
				return err
			}
			ops = append(ops, o)
		}
		return err
	})
	return jobs, ops
}

// events returns "action result" of what happened to clusters, oldest first.
func (w *world) events(t *testing.T) (out []string) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{Limit: 500})
		for _, e := range all.Items {
			out = append(out, fmt.Sprintf("%s %s by %s", e.Action, e.Result, e.ActorType))
		}
		return err
	})
	slices.Reverse(out)
	return out
}

// hooked calls back before it does what a provisioner does.
type hooked struct {
	provision.Provisioner
	apply   func(ctx context.Context, w provision.Want) error
	destroy func(ctx context.Context, c id.Cluster) error
}

func (h hooked) Apply(ctx context.Context, w provision.Want) error {
	if h.apply != nil {
		if err := h.apply(ctx, w); err != nil {
			return err
		}
	}
	return h.Provisioner.Apply(ctx, w)
}

func (h hooked) Destroy(ctx context.Context, c id.Cluster) error {
	if h.destroy != nil {
		if err := h.destroy(ctx, c); err != nil {
			return err
		}
	}
	return h.Provisioner.Destroy(ctx, c)
}
