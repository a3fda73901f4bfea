package watch_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// guest is a cluster that others run, and the credential that leads into it.
type guest struct {
	id     id.Cluster
	inside *memtenant.Cluster
	mu     sync.Mutex
	opened []string // with which credentials
	text   string
}

func (g *guest) credential(_ context.Context, c id.Cluster) (secret.Text, bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c != g.id {
		return secret.Text{}, false, nil
	}
	g.opened = append(g.opened, g.text)
	return secret.New(g.text), true, nil
}

func (g *guest) last() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.opened) == 0 {
		return ""
	}
	return g.opened[len(g.opened)-1]
}

func (w *world) guest(t *testing.T) (g *guest, follow func(*watch.Deps)) {
	t.Helper()
	c := clusters.NewImported(id.New[id.ClusterKind](now(), w.random()), w.me, "guest", "https://203.0.113.10:6443", now()).Record()
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, &c) })
	others := memtenant.New()
	g = &guest{id: c.ID, inside: others.Cluster(c.ID), text: "first"}
	return g, func(d *watch.Deps) { d.Door.Imported, d.Door.Guests = g.credential, others }
}

func TestAnImportedClusterIsFollowedAndLeftAlone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, follow := w.guest(t)
		g.inside.PutNode(tenant.Node{Name: "worker-1", Ready: tenant.True})
		g.inside.PutPod(memtenant.Pod{Pod: tenant.Pod{Namespace: "default", Name: "web"}, Node: "worker-1"})
		w.run(t, "a", follow)
		time.Sleep(15 * time.Second)
		m := w.member(t, g.id)
		if m.Cluster.ConnectionStatus != string(clusters.Reachable) || m.Cluster.KubernetesVersion != "v1.36.3" || m.Nodes["ready"] != 1 {
			t.Errorf("%+v", m)
		}
		if m.Contents.Pods != 1 || m.Contents.Namespaces != 1 || m.Contents.CountedAt == nil {
			t.Errorf("counted: %+v", m.Contents)
		}
		if g.inside.Prepared() != 0 {
			t.Error("something was written into a cluster that others run")
		}

		g.inside.SetReachable(false)
		time.Sleep(5 * time.Second)
		if m := w.member(t, g.id); m.Cluster.ConnectionStatus != string(clusters.Unreachable) || m.Cluster.Status != string(clusters.Ready) || m.Cluster.LastErrorMessage == "" {
			t.Errorf("away: %+v", m.Cluster)
		}
		g.inside.SetReachable(true)
		time.Sleep(30 * time.Second)
		if m := w.member(t, g.id); m.Cluster.ConnectionStatus != string(clusters.Reachable) || m.Cluster.LastErrorMessage != "" {
			t.Errorf("back: %+v", m.Cluster)
		}
	})
}

// TestANewCredentialIsUsedSoon, although the old one works on.
func TestANewCredentialIsUsedSoon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, follow := w.guest(t)
		w.run(t, "a", follow)
		time.Sleep(15 * time.Second)
		g.mu.Lock()
		g.text = "second"
		g.mu.Unlock()
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), g.id)
			if err != nil {
				return err
			}
			c := clusters.Of(rec)
			c.Repoint("https://203.0.113.11:6443", now())
			rec = c.Record()
			return tx.Clusters().Update(ctx, &rec)
		})
		time.Sleep(15 * time.Second)
		if got := g.last(); got != "second" {
			t.Errorf("the last credential that was used is the %s", got)
		}
		if m := w.member(t, g.id); m.Cluster.ConnectionStatus != string(clusters.Reachable) {
			t.Errorf("%+v", m.Cluster)
		}
	})
}

// TestContentsAreCountedWithoutWritingTheSameAgain, but for once in a while.
func TestContentsAreCountedWithoutWritingTheSameAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		g, follow := w.guest(t)
		w.run(t, "a", follow)
		time.Sleep(15 * time.Second)
		first := w.member(t, g.id).Contents.CountedAt
		time.Sleep(5 * time.Minute)
		if at := w.member(t, g.id).Contents.CountedAt; first == nil || !at.Equal(*first) {
			t.Errorf("written at %v and again at %v", first, at)
		}
		g.inside.PutPod(memtenant.Pod{Pod: tenant.Pod{Namespace: "default", Name: "web"}})
		time.Sleep(2 * time.Minute)
		if got := w.member(t, g.id).Contents; got.Pods != 1 {
			t.Errorf("%+v", got)
		}
		time.Sleep(20 * time.Minute)
		if at := w.member(t, g.id).Contents.CountedAt; now().Sub(*at) > 11*time.Minute {
			t.Errorf("written at %v, and not since", at)
		}
	})
}

func (w *world) member(t *testing.T, c id.Cluster) (m store.Member) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) (err error) {
		m, err = tx.Fleet().Get(ctx, store.Everyone(), c)
		return err
	})
	return m
}
