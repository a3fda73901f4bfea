package app_test

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clock"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestADeletedClusterKeepsNoNodes: while a removal is being written down, another
// transaction is at the nodes of the cluster, with one that nobody sees yet.
func TestADeletedClusterKeepsNoNodes(t *testing.T) {
	t.Parallel()
	const settling = "kubebyon-settle-test"
	url := emptySchema(t, []string{"application_name=" + settling})
	db, err := bunstore.Open(t.Context(), bunstore.Config{URL: url, MaxConns: 4})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	must(t, db.Migrate(t.Context()))
	owner := id.New[id.UserKind](systemClock(), randomID())
	must(t, db.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return tx.Users().Insert(ctx, store.User{ID: owner, Email: "a@example.org", Role: "admin", Status: "active", CreatedAt: systemClock(), UpdatedAt: systemClock()})
	}))
	person := actor.With(t.Context(), actor.Actor{Type: actor.Person, UserID: owner, Role: actor.Admin})
	planes, jobs := memprovision.New(memprovision.Config{}), &bell.Bell{}
	service, err := clusters.New(clusters.Deps{
		Store: db, Seal: keyseal.New([32]byte{}), Provisioner: planes, Catalog: planes, Now: systemClock, Random: randomID, MaxPerUser: 10,
		CheckPassword: func(context.Context, secret.Text) error { return nil }, Committed: jobs.Ring,
	})
	must(t, err)
	c, err := service.Create(person, clusters.Request{Name: "doomed"})
	must(t, err)

	var writers sync.WaitGroup
	shared, err := clock.New(db, slog.New(slog.DiscardHandler))
	must(t, err)
	var held func() // while a control plane is being removed
	w, err := reconcile.New(reconcile.Deps{
		Store: db, Provisioner: destroying{planes, func() { held() }}, Log: slog.New(slog.DiscardHandler), Clock: shared, Random: randomID, Jobs: jobs, Settled: func() {},
		Name: "w", Concurrency: 1, Lease: time.Minute, MaxAttempts: 5, Deadline: time.Minute,
	})
	must(t, err)
	held = func() {
		locked := make(chan struct{})
		begun := sync.OnceFunc(func() { close(locked) })
		writers.Go(func() {
			err := db.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
				if _, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), c.ID); err != nil {
					return err
				}
				if err := tx.Nodes().Put(ctx, node(c.ID, "new")); err != nil {
					return err
				}
				begun()
				untilSomebodyWaits(t, url, settling)
				return nil
			})
			if begun(); err != nil {
				t.Errorf("the nodes were not written: %v", err)
			}
		})
		<-locked
	}
	_, err = service.Delete(person, c.ID)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	defer func() { cancel(); running.Wait() }()
	eventually(t, 30*time.Second, "the cluster is gone", func() bool {
		_, err := service.Get(person, c.ID)
		return err != nil
	})
	writers.Wait()
	must(t, db.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
		left, err := tx.Nodes().ByNames(ctx, c.ID, []string{"new"})
		if len(left) != 0 {
			t.Errorf("a deleted cluster has %d nodes", len(left))
		}
		return err
	}))
}

func node(c id.Cluster, name string) store.Node {
	at := systemClock()
	return store.Node{ID: id.New[id.NodeKind](at, randomID()), ClusterID: c, Name: name, UID: name, Status: "ready", CreatedAt: at, UpdatedAt: at}
}

// destroying calls back before it removes a control plane.
type destroying struct {
	*memprovision.Provisioner
	first func()
}

func (d destroying) Destroy(ctx context.Context, c id.Cluster) error {
	d.first()
	return d.Provisioner.Destroy(ctx, c)
}

// untilSomebodyWaits waits for another of the application's connections to wait
// for a row.
func untilSomebodyWaits(t *testing.T, url, application string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = db.Close() }()
	for began := time.Now(); time.Since(began) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		var waiting bool
		err := db.QueryRowContext(t.Context(), "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND wait_event_type = 'Lock')", application).Scan(&waiting)
		if err != nil {
			t.Error(err)
			return
		}
		if waiting {
			return
		}
	}
	t.Error("nobody waits for the cluster")
}
