package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestARegisteredClusterIsOneOfTheFleet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hosted := w.hosted("mine")
	m := w.register("guest", func(r *fleet.Registration) { r.Description, r.PrometheusURL = "staging", "http://prometheus:9090" })
	if m.Cluster.Number != hosted.Number+1 || m.Cluster.Origin != "imported" || m.Cluster.APIEndpoint != "https://203.0.113.10:6443" || m.Entry.Sealed != nil {
		t.Errorf("%+v", m)
	}
	if w.committed.Load() != 1 {
		t.Error("nobody was told to look at it")
	}
	got := w.get(m.Cluster.Number)
	if got.Entry.Description != "staging" || got.Entry.PrometheusURL != "http://prometheus:9090" || got.Entry.Credential != fleet.ByKubeconfig || fleet.StatusOf(got) != fleet.Unknown {
		t.Errorf("%+v", got)
	}
	p, err := w.List(w.admin, store.FleetFilter{}, 0, 10)
	if err != nil || p.Total != 2 || p.Members[0].Cluster.ID != hosted.ID || p.Members[1].Cluster.ID != m.Cluster.ID {
		t.Errorf("%+v, %v", p, err)
	}
	if got := w.told(); got[0] != "cluster/registered" {
		t.Errorf("told: %v", got)
	}
	w.tx(func(ctx context.Context, tx store.Tx) error {
		watched, err := tx.Clusters().Connectable(ctx, store.Cluster{}.ID, 10)
		if len(watched) != 1 || watched[0] != m.Cluster.ID {
			t.Errorf("watched: %v", watched)
		}
		return err
	})
}

// TestTheCredentialIsKeptSealedAndToldToNobody.
func TestTheCredentialIsKeptSealedAndToldToNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.register("guest")
	if dump := coretest.Dump(w.store); strings.Contains(dump, "the-private-key") {
		t.Error("it stands in the store")
	}
	credentials := fleet.Credentials{Store: w.store, Seal: w.seal, Reader: w.guests}
	text, ok, err := credentials.Of(t.Context(), m.Cluster.ID)
	if err != nil || !ok || text.Reveal() != kubeconfig {
		t.Errorf("%v, %v", ok, err)
	}
	if _, ok, err := credentials.Of(t.Context(), w.hosted("mine").ID); ok || err != nil {
		t.Errorf("of a hosted one: %v, %v", ok, err)
	}
	credentials.Seal = keyseal.New([32]byte{7})
	_, _, err = credentials.Of(t.Context(), m.Cluster.ID)
	w.fails("with another key", err, fault.Unavailable, "credential_unreadable")
	_, err = w.clusters.Kubeconfig(w.admin, m.Cluster.ID, secret.New("password"))
	w.fails("its kubeconfig", err, fault.Conflict, "cluster_imported")
}

func TestWhoRegistersAndWhoSees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := fleet.Registration{Name: "guest", Credential: byFile(kubeconfig)}
	_, err := w.Register(w.user, r)
	w.fails("a user registers", err, fault.Denied, "forbidden")
	_, err = w.Register(t.Context(), r)
	w.fails("nobody registers", err, fault.Unauthenticated, "unauthenticated")
	m := w.register("guest")
	for name, ctx := range map[string]context.Context{"admin": w.admin, "operator": w.operator} {
		if _, err := w.Get(ctx, m.Cluster.Number); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, find := range map[string]func() (store.Member, error){
		"by number": func() (store.Member, error) { return w.Get(w.user, m.Cluster.Number) },
		"by name":   func() (store.Member, error) { return w.Named(w.user, "guest") },
		"default":   func() (store.Member, error) { return w.Default(w.user) },
	} {
		_, err := find()
		w.fails("a user, "+name, err, fault.NotFound, "cluster_not_found")
	}
	_, err = w.Change(w.user, m.Cluster.Number, fleet.Change{})
	w.fails("a user changes", err, fault.Denied, "forbidden")
	w.fails("a user removes", w.Remove(w.user, m.Cluster.Number), fault.NotFound, "cluster_not_found")
	_, _, err = w.Test(w.user, m.Cluster.Number)
	w.fails("a user tests", err, fault.NotFound, "cluster_not_found")
	_, err = w.TestNew(w.user, byFile(kubeconfig))
	w.fails("a user tests a new one", err, fault.Denied, "forbidden")
}

func TestBadRegistrationsNameTheirField(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hosted("taken")
	good := byFile(kubeconfig)
	for name, c := range map[string]struct {
		r    fleet.Registration
		code string
		at   string
	}{
		"no name":         {fleet.Registration{Credential: good}, "validation_failed", "body.name"},
		"a path":          {fleet.Registration{Name: "a/b", Credential: good}, "validation_failed", "body.name"},
		"dots":            {fleet.Registration{Name: "..", Credential: good}, "validation_failed", "body.name"},
		"spaces around":   {fleet.Registration{Name: " a", Credential: good}, "validation_failed", "body.name"},
		"a control":       {fleet.Registration{Name: "a\n", Credential: good}, "validation_failed", "body.name"},
		"too long":        {fleet.Registration{Name: strings.Repeat("a", 254), Credential: good}, "validation_failed", "body.name"},
		"prometheus":      {fleet.Registration{Name: "a", PrometheusURL: "file:///etc/passwd", Credential: good}, "validation_failed", "body.prometheus_url"},
		"prometheus user": {fleet.Registration{Name: "a", PrometheusURL: "http://u:p@h", Credential: good}, "validation_failed", "body.prometheus_url"},
		"no credential":   {fleet.Registration{Name: "a"}, "validation_failed", "body.credential"},
		"two credentials": {fleet.Registration{Name: "a", Credential: fleet.Credential{Kubeconfig: good.Kubeconfig, InCluster: true}}, "validation_failed", "body.credential.in_cluster"},
		"no token":        {fleet.Registration{Name: "a", Credential: fleet.Credential{Server: "https://h"}}, "validation_failed", "body.credential.token"},
		"no server":       {fleet.Registration{Name: "a", Credential: fleet.Credential{Token: secret.New("t")}}, "validation_failed", "body.credential.api_server"},
		"context alone":   {fleet.Registration{Name: "a", Credential: fleet.Credential{Server: "https://h", Token: secret.New("t"), Context: "c"}}, "validation_failed", "body.credential.context"},
		"no kubeconfig":   {fleet.Registration{Name: "a", Credential: byFile("\n")}, "kubeconfig_invalid", "body.credential.kubeconfig"},
		"refused":         {fleet.Registration{Name: "a", Credential: byFile("runs-a-program")}, "kubeconfig_invalid", "body.credential.kubeconfig"},
		"no such context": {fleet.Registration{Name: "a", Credential: fleet.Credential{Kubeconfig: good.Kubeconfig, Context: "other"}}, "kubeconfig_invalid", "body.credential.kubeconfig"},
		"bad server":      {fleet.Registration{Name: "a", Credential: fleet.Credential{Server: "http://h", Token: secret.New("t")}}, "kubeconfig_invalid", "body.credential.api_server"},
		"taken":           {fleet.Registration{Name: "taken", Credential: good}, "name_taken", ""},
	} {
		_, err := w.Register(w.operator, c.r)
		f, _ := errors.AsType[*fault.Error](err)
		if f == nil || f.Code != c.code || c.at != "" && (len(f.Fields) == 0 || f.Fields[0].Location != c.at) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "the-private-key") {
			t.Errorf("%s: the refusal holds the credential", name)
		}
	}
	if p, err := w.List(w.admin, store.FleetFilter{}, 0, 10); err != nil || p.Total != 1 {
		t.Errorf("there are %d, %v", p.Total, err)
	}
}

// TestAContextIsPicked: others in the file may be such as are refused.
func TestAContextIsPicked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := "first https://203.0.113.1 one\nrefused\nsecond https://203.0.113.2 two"
	m, err := w.Register(w.operator, fleet.Registration{Name: "a", Credential: byFile(file)})
	if err != nil || m.Cluster.APIEndpoint != "https://203.0.113.1" {
		t.Errorf("the current one: %+v, %v", m, err)
	}
	m, err = w.Register(w.operator, fleet.Registration{Name: "b", Credential: fleet.Credential{Kubeconfig: secret.New(file), Context: "second"}})
	if err != nil || m.Cluster.APIEndpoint != "https://203.0.113.2" {
		t.Errorf("one by name: %+v, %v", m, err)
	}
	_, err = w.RegisterAll(w.admin, byFile(file))
	w.fails("all of them, where there is one", err, fault.Denied, "fleet_not_empty")
	empty := newWorld(t)
	_, err = empty.RegisterAll(empty.admin, byFile(file))
	w.fails("all of them", err, fault.Invalid, "kubeconfig_invalid")
}

// TestAnEmptyFleetIsFilledOnce from all contexts of a kubeconfig, also when two
// try at once.
func TestAnEmptyFleetIsFilledOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := byFile("first https://203.0.113.1 one\nsecond https://203.0.113.2 two")
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := w.RegisterAll(w.admin, file)
			errs <- err
		}()
	}
	both := []error{<-errs, <-errs}
	if i := slices.Index(both, nil); i < 0 || fault.CodeOf(both[1-i]) != "fleet_not_empty" {
		t.Errorf("%v", both)
	}
	p, err := w.List(w.admin, store.FleetFilter{}, 0, 10)
	if err != nil || p.Total != 2 || p.Members[0].Cluster.Name != "first" || !p.Members[0].Entry.Default || p.Members[1].Entry.Default {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestTheClusterAroundTheServerIsForAdministrators(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	around := fleet.Registration{Name: "host", Credential: fleet.Credential{InCluster: true}}
	_, err := w.Register(w.admin, around)
	w.fails("where there is none", err, fault.Conflict, "not_in_cluster")

	w = newWorld(t)
	w.guests.Inside = secret.New("inside https://inside first-token")
	s, err := fleet.New(fleet.Deps{
		Store: w.store, Seal: w.seal, Door: w.door(), Reader: w.guests, Clusters: w.clusters, Now: w.Now, Random: coretest.Random(), Committed: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Register(w.operator, around)
	w.fails("an operator", err, fault.Denied, "forbidden")
	m, err := s.Register(w.admin, around)
	if err != nil || m.Entry.Credential != fleet.InCluster {
		t.Fatalf("%+v, %v", m, err)
	}
	w.guests.Inside = secret.New("inside https://inside next-token") // they are replaced every hour
	text, ok, err := fleet.Credentials{Store: w.store, Seal: w.seal, Reader: w.guests}.Of(t.Context(), m.Cluster.ID)
	if err != nil || !ok || text != w.guests.Inside {
		t.Errorf("%v, %v: the credential is an old one", ok, err)
	}
}

func TestOneClusterIsTheDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	byDefault := func(r *fleet.Registration) { r.Default = true }
	a, b := w.register("a", byDefault), w.register("b", byDefault)
	is := func(want store.Member) {
		t.Helper()
		if got, err := w.Default(w.admin); err != nil || got.Cluster.ID != want.Cluster.ID {
			t.Errorf("the default is %s, %v; want %s", got.Cluster.Name, err, want.Cluster.Name)
		}
	}
	is(b)
	w.fails("removing any but the default", w.RemoveOther(w.admin, b.Cluster.Number), fault.Conflict, "cluster_default")
	is(b)
	if err := w.RemoveOther(w.admin, w.register("c").Cluster.Number); err != nil {
		t.Errorf("another: %v", err)
	}
	if _, err := w.Change(w.operator, a.Cluster.Number, fleet.Change{Default: new(true)}); err != nil {
		t.Fatal(err)
	}
	is(a)
	if _, err := w.Change(w.operator, a.Cluster.Number, fleet.Change{Default: new(true)}); err != nil { // once more
		t.Fatal(err)
	}
	hosted := w.hosted("mine")
	if _, err := w.Change(w.admin, hosted.Number, fleet.Change{Default: new(true), Description: new("prod")}); err != nil {
		t.Fatal(err)
	}
	is(store.Member{Cluster: hosted})
	if got, err := w.Default(w.user); err != nil || got.Entry.Description != "prod" {
		t.Errorf("its owner: %+v, %v", got, err)
	}
}

func TestWhatIsRegisteredChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.register("guest")
	n := m.Cluster.Number
	w.edit(m.Cluster.ID, func(c *clusters.Cluster) { c.Reach(w.Now()) })
	if got := fleet.StatusOf(w.get(n)); got != fleet.Online {
		t.Errorf("reached: %s", got)
	}
	other := byFile("other https://203.0.113.99:6443 another-key")
	if _, err := w.Change(w.operator, n, fleet.Change{Name: new("renamed"), Description: new("d"), Credential: &other}); err != nil {
		t.Fatal(err)
	}
	got := w.get(n)
	if got.Cluster.Name != "renamed" || got.Cluster.VclusterName != "renamed" || got.Cluster.APIEndpoint != "https://203.0.113.99:6443" || fleet.StatusOf(got) != fleet.Unknown {
		t.Errorf("%+v", got)
	}
	text, _, err := fleet.Credentials{Store: w.store, Seal: w.seal, Reader: w.guests}.Of(t.Context(), m.Cluster.ID)
	if err != nil || text != other.Kubeconfig {
		t.Error("the credential is the old one", err)
	}
	if _, err := w.Change(w.operator, n, fleet.Change{Enabled: new(false)}); err != nil {
		t.Fatal(err)
	}
	got = w.get(n)
	if _, err := w.Open(w.operator, got); fault.CodeOf(err) != "cluster_disabled" {
		t.Errorf("a disabled one opens: %v", err)
	}
	if got.Entry.Description != "d" || fleet.StatusOf(got) != fleet.Unknown {
		t.Errorf("%+v", got)
	}
	w.register("there")
	_, err = w.Change(w.operator, n, fleet.Change{Name: new("there")})
	w.fails("to a taken name", err, fault.Conflict, "name_taken")
	_, err = w.Change(w.operator, n, fleet.Change{Name: new("")})
	w.fails("to no name", err, fault.Invalid, "validation_failed")
	_, err = w.Change(w.operator, 99, fleet.Change{})
	w.fails("one that is not there", err, fault.NotFound, "cluster_not_found")
}

func TestHostedClustersKeepNameAndCredential(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.hosted("mine")
	other := byFile(kubeconfig)
	for name, to := range map[string]fleet.Change{"name": {Name: new("x")}, "credential": {Credential: &other}} {
		_, err := w.Change(w.admin, c.Number, to)
		w.fails(name, err, fault.Conflict, "cluster_hosted")
	}
	if m, err := w.Change(w.operator, c.Number, fleet.Change{Name: new(c.VclusterName), PrometheusURL: new("https://p")}); err != nil || m.Entry.PrometheusURL != "https://p" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestRemoving(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, hosted := w.register("guest", func(r *fleet.Registration) { r.Default = true }), w.hosted("mine")
	w.tx(func(ctx context.Context, tx store.Tx) error {
		return tx.Nodes().Insert(ctx, store.Node{ID: store.Node{}.ID, ClusterID: m.Cluster.ID, Name: "n", Status: "ready"})
	})
	if err := w.Remove(w.operator, m.Cluster.Number); err != nil {
		t.Fatal(err)
	}
	_, err := w.Get(w.admin, m.Cluster.Number)
	w.fails("it is still there", err, fault.NotFound, "cluster_not_found")
	_, ok, err := fleet.Credentials{Store: w.store, Seal: w.seal, Reader: w.guests}.Of(t.Context(), m.Cluster.ID)
	if ok || err != nil {
		t.Errorf("its credential: %v, %v", ok, err)
	}
	again := w.register("guest") // the name is free, the number is not
	if again.Cluster.Number == m.Cluster.Number || again.Entry.Default || len(w.get(again.Cluster.Number).Nodes) > 0 {
		t.Errorf("%+v", again)
	}
	w.fails("an operator deletes a hosted one", w.Remove(w.operator, hosted.Number), fault.Denied, "forbidden")
	if err := w.Remove(w.user, hosted.Number); err != nil {
		t.Fatal(err)
	}
	if got := w.get(hosted.Number).Cluster.Status; got != string(clusters.Deleting) {
		t.Errorf("a hosted one is %s", got)
	}
}

func TestHostedOnlyCallsRefuseImportedClusters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.register("guest")
	_, err := w.clusters.Update(w.admin, m.Cluster.ID, clusters.Settings{})
	w.fails("update", err, fault.Conflict, "cluster_imported")
	_, err = w.clusters.Delete(w.admin, m.Cluster.ID)
	w.fails("delete", err, fault.Conflict, "cluster_imported")
}

// TestRegisteredClustersDoNotCountAsHosted: the quotas are two.
func TestRegisteredClustersDoNotCountAsHosted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 4 {
		w.register(fmt.Sprint("guest-", i))
	}
	for i := range 3 { // as many as one may have
		if _, err := w.clusters.Create(w.operator, clusters.Request{Name: fmt.Sprint("hosted-", i)}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.clusters.Create(w.operator, clusters.Request{Name: "hosted-3"})
	w.fails("one too many", err, fault.Conflict, "quota_exceeded")
}

func TestAClusterIsTried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.register("guest")
	inside := w.guests.Cluster(m.Cluster.ID)
	inside.PutNode(tenant.Node{Name: "worker-1"})
	inside.PutPod(memtenant.Pod{Pod: tenant.Pod{Namespace: "default", Name: "web"}, Node: "worker-1"})
	_, p, err := w.Test(w.operator, m.Cluster.Number)
	if err != nil || p.Version != "v1.36.3" || p.Contents != (tenant.Contents{Nodes: 1, Namespaces: 1, Pods: 1}) {
		t.Errorf("%+v, %v", p, err)
	}
	inside.SetReachable(false)
	_, _, err = w.Test(w.operator, m.Cluster.Number)
	w.fails("one that is away", err, fault.Unavailable, "cluster_unreachable")
	if p, err := w.TestNew(w.operator, byFile(kubeconfig)); err != nil || p.Version == "" {
		t.Errorf("a new one: %+v, %v", p, err)
	}
	if got, _ := w.List(w.admin, store.FleetFilter{}, 0, 10); got.Total != 1 {
		t.Error("what was tried was kept")
	}
}

func TestNewRefusesMissingDependencies(t *testing.T) {
	t.Parallel()
	if _, err := fleet.New(fleet.Deps{}); err == nil {
		t.Error("nothing was missed")
	}
}
