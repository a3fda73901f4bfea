package workloads_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/core/workloads"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a fleet of one imported cluster, which the operator has registered.
type world struct {
	*workloads.Service
	t      *testing.T
	store  *memstore.Store
	number int64
	inside *memtenant.Cluster

	admin, operator, user context.Context //nolint:containedctx // who asks, in every test
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: memstore.New()}
	clock, random := coretest.NewClock(), coretest.Random()
	guests, sealer, planes := memtenant.Guests{Connector: memtenant.New()}, keyseal.New([32]byte{}), &coretest.Planes{}
	as := func(r actor.Role) context.Context {
		return coretest.As(t.Context(), coretest.NewAccount(t.Context(), w.store, r), r)
	}
	w.admin, w.operator, w.user = as(actor.Admin), as(actor.Operator), as(actor.User)
	hosted, err := clusters.New(clusters.Deps{
		Store: w.store, Seal: sealer, Provisioner: planes, Catalog: planes, Now: clock.Now, Random: random,
		CheckPassword: func(context.Context, secret.Text) error { return nil }, Committed: func() {}, MaxPerUser: 3,
	})
	check(t, err)
	f, err := fleet.New(fleet.Deps{
		Store: w.store, Seal: sealer, Reader: guests, Clusters: hosted, Now: clock.Now, Random: random, Committed: func() {},
		Door: tenants.Door{
			Provisioner: planes, Connector: memtenant.New(), Guests: guests,
			Imported: fleet.Credentials{Store: w.store, Seal: sealer, Reader: guests}.Of,
		},
	})
	check(t, err)
	m, err := f.Register(w.operator, fleet.Registration{
		Name: "staging", Credential: fleet.Credential{Kubeconfig: secret.New("staging https://203.0.113.10:6443 the-private-key")},
	})
	check(t, err)
	w.number, w.inside = m.Cluster.Number, guests.Cluster(m.Cluster.ID)
	w.Service, err = workloads.New(workloads.Deps{Store: w.store, Fleet: f, Now: clock.Now, Random: random})
	check(t, err)
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) fails(what string, err error, kind fault.Kind, code string) {
	w.t.Helper()
	if fault.KindOf(err) != kind || fault.CodeOf(err) != code {
		w.t.Errorf("%s: got %v, want %s with code %s", what, err, kind, code)
	}
}

// told are the audit events about what is in clusters, oldest first.
func (w *world) told() (out []string) {
	w.t.Helper()
	check(w.t, w.store.View(w.t.Context(), func(ctx context.Context, tx store.Tx) error {
		p, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{})
		for _, e := range p.Items {
			if e.ResourceType != "cluster" {
				out = append(out, fmt.Sprintf("%s %s %s %s in %s", e.ResourceType, e.ResourceID, e.Action, e.Result, e.ClusterName))
			}
		}
		return err
	}))
	slices.Reverse(out)
	return out
}

func kind(t *testing.T, resource string) workloads.Kind {
	t.Helper()
	k, err := workloads.KindOf(resource)
	check(t, err)
	return k
}

func (w *world) ref(resource, name string) workloads.Ref {
	r := workloads.Ref{Kind: kind(w.t, resource), Name: name}
	if r.Kind.Namespaced {
		r.Namespace = "shop"
	}
	return r
}

func (w *world) put(resource, name string) workloads.Ref {
	r := w.ref(resource, name)
	w.inside.PutObject(r.Kind.Kind, tenant.Object{"metadata": map[string]any{"name": name, "namespace": "shop"}, "spec": map[string]any{"replicas": 1}})
	return r
}

func TestWritesAreOnRecordAndInTheCallersName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web := w.put("deployments", "web")
	o, err := w.Scale(w.operator, w.number, web, 3)
	if err != nil || o["spec"].(map[string]any)["replicas"] != int64(3) {
		t.Errorf("Scale: %v, %v", o, err)
	}
	_, err = w.Restart(w.admin, w.number, web)
	check(t, err)
	_, err = w.CreateNamespace(w.operator, w.number, "blue", map[string]string{"team": "a"})
	check(t, err)
	check(t, w.DeleteNamespace(w.operator, w.number, "blue"))
	_, err = w.Scale(w.operator, w.number, w.ref("deployments", "none"), 1)
	w.fails("Scale of nothing", err, fault.NotFound, "object_not_found")
	w.inside.SetReachable(false)
	w.fails("Delete", w.Delete(w.operator, w.number, web, tenant.DeleteOptions{}), fault.Unavailable, "cluster_unreachable")
	want := []string{
		"deployment shop/web scaled success in staging", "deployment shop/web restarted success in staging",
		"namespace blue created success in staging", "namespace blue deleted success in staging",
		"deployment shop/none scaled failure in staging", "deployment shop/web deleted failure in staging",
	}
	if got := w.told(); !slices.Equal(got, want) {
		t.Errorf("on record: %q\nwant %q", got, want)
	}
	for _, who := range w.inside.Actors() {
		if who == "" {
			t.Error("something was changed in nobody's name")
		}
	}
}

// A cluster that somebody may not see looks absent, and nothing is on record.
func TestOthersSeeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web := w.put("deployments", "web")
	_, list := w.List(w.user, w.number, web.Kind, tenant.Query{Limit: 1})
	_, get := w.Get(w.user, w.number, web)
	_, scale := w.Scale(w.user, w.number, web, 0)
	_, logs := w.Logs(w.user, w.number, tenant.LogQuery{Namespace: "shop", Pod: "p"})
	for what, err := range map[string]error{"List": list, "Get": get, "Scale": scale, "Logs": logs, "Delete": w.Delete(w.user, w.number, web, tenant.DeleteOptions{})} {
		if !errors.Is(err, fault.NotFound) || fault.CodeOf(err) == "object_not_found" {
			t.Errorf("%s: %v, want an absent cluster", what, err)
		}
	}
	_, err := w.List(t.Context(), w.number, web.Kind, tenant.Query{Limit: 1})
	w.fails("List by nobody", err, fault.Unauthenticated, "unauthenticated")
	if got := w.told(); len(got) != 0 {
		t.Errorf("on record: %q", got)
	}
}

func TestWhatCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"default", "kube-system", "kube-anything"} {
		w.fails("DeleteNamespace "+name, w.DeleteNamespace(w.admin, w.number, name), fault.Conflict, "namespace_protected")
	}
	for _, c := range []struct {
		kind string
		n    int64
	}{{"deployments", -1}, {"deployments", workloads.MaxReplicas + 1}, {"daemonsets", 1}, {"pods", 1}} {
		_, err := w.Scale(w.admin, w.number, w.put(c.kind, "a"), c.n)
		w.fails(fmt.Sprintf("Scale %+v", c), err, fault.Invalid, fault.ValidationFailed)
	}
	_, err := w.Restart(w.admin, w.number, w.put("jobs", "a"))
	w.fails("Restart of a job", err, fault.Invalid, fault.ValidationFailed)
	_, err = workloads.KindOf("unicorns")
	w.fails("KindOf", err, fault.NotFound, "kind_not_found")
}

func TestReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.put("services", "b")
	a := w.put("services", "a")
	p, err := w.List(w.operator, w.number, a.Kind, tenant.Query{Namespace: "shop", Limit: 1})
	if err != nil || p.Total != 2 || p.Items[0].Name() != "a" {
		t.Errorf("List: %+v, %v", p, err)
	}
	if o, err := w.Get(w.operator, w.number, a); err != nil || o.Name() != "a" {
		t.Errorf("Get: %v, %v", o, err)
	}
	w.inside.SetLog("shop", "p", "", "one\ntwo\n")
	r, err := w.Logs(w.operator, w.number, tenant.LogQuery{Namespace: "shop", Pod: "p", TailLines: 1})
	check(t, err)
	defer r.Close()
	if text, err := io.ReadAll(r); err != nil || string(text) != "two\n" {
		t.Errorf("Logs: %q, %v", text, err)
	}
	if got := w.told(); len(got) != 0 {
		t.Errorf("on record: %q", got)
	}
}

func TestObjectsAreReplacedAndPatched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	web := w.put("deployments", "web")
	o, err := w.Patch(w.operator, w.number, web, tenant.Object{"spec": map[string]any{"paused": true}})
	check(t, err)
	_, err = w.Replace(w.operator, w.number, web, o)
	check(t, err)
	_, err = w.Replace(w.operator, w.number, web, o)
	w.fails("Replace of a stale one", err, fault.Conflict, "object_stale")
}

func TestDependenciesMustBeSet(t *testing.T) {
	t.Parallel()
	if _, err := workloads.New(workloads.Deps{}); err == nil {
		t.Error("a service without dependencies")
	}
}
