package clusters_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/once"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestANewClusterTakesTheDefaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := w.Create(w.ctx, clusters.Request{Name: "  My First_Cluster! "})
	if err != nil {
		t.Fatal(err)
	}
	want := store.Cluster{
		ID: c.ID, Number: 1, OwnerUserID: w.me, Origin: "hosted", Name: "My First_Cluster!", VclusterName: "my-first-cluster", Namespace: "my-first-cluster",
		KubernetesVersion: "v1.36.3", WorkloadCPULimitMilli: 2000, WorkloadMemoryLimitMiB: 4096,
		ControlPlaneCPURequestMilli: 100, ControlPlaneMemoryRequestMiB: 512, PublicAccessEnabled: true, PublicAccessMode: "nodeport",
		Status: "provisioning", ConnectionStatus: "pending", Generation: 1, CreatedAt: w.Now(), UpdatedAt: w.Now(), Version: 1,
	}
	if got := fmt.Sprintf("%+v", c); got != fmt.Sprintf("%+v", want) {
		t.Errorf("got\n%s, want\n%+v", got, want)
	}
}

func TestCreatingWritesTheOperationTheJobTheMessageAndTheEventTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	h, err := w.Operations(w.ctx, c.ID, 0)
	if err != nil || len(h.Operations.Items) != 1 || len(h.Jobs.Items) != 1 || w.committed.Load() != 1 {
		t.Fatalf("%+v, %v, committed %d", h, err, w.committed.Load())
	}
	o, j := h.Operations.Items[0], h.Jobs.Items[0]
	if o.Type != "create" || o.Status != "pending" || o.Stage != "queued" || o.RequestedByUserID != w.me || o.Generation != 1 {
		t.Errorf("operation %+v", o)
	}
	if j.Type != "create" || j.Status != "pending" || j.OperationID != o.ID || j.ClusterID != c.ID || j.NotBefore.After(time.Unix(0, 0)) { // due even when the clock goes backwards
		t.Errorf("job %+v", j)
	}
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		msgs, err := tx.Outbox().Claim(ctx, 10)
		if len(msgs) != 1 || msgs[0].Type != clusters.JobMessage || msgs[0].Key != c.ID.String() ||
			string(msgs[0].Body) != fmt.Sprintf(`{"job_id":"%s","cluster_id":"%s"}`, j.ID, c.ID) {
			t.Errorf("messages %+v", msgs)
		}
		return err
	})
	if got := w.events(t); !slices.Equal(got, []string{"cluster/create_requested success demo"}) {
		t.Errorf("events %v", got)
	}
}

func TestARefusedCreateChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "taken")
	for name, c := range map[string]struct {
		code, location string
		r              clusters.Request
	}{
		"no name":                {"validation_failed", "body.name", clusters.Request{}},
		"blank name":             {"validation_failed", "body.name", clusters.Request{Name: " \t"}},
		"long name":              {"validation_failed", "body.name", clusters.Request{Name: strings.Repeat("é", 64), VclusterName: "a"}},
		"control in name":        {"validation_failed", "body.name", clusters.Request{Name: "a\x1bb"}},
		"NUL in name":            {"validation_failed", "body.name", clusters.Request{Name: "a\x00b"}},
		"broken UTF-8":           {"validation_failed", "body.name", clusters.Request{Name: "a\xff"}},
		"no label in the name":   {"validation_failed", "body.vcluster_name", clusters.Request{Name: "日本語"}},
		"upper case label":       {"validation_failed", "body.vcluster_name", clusters.Request{Name: "a", VclusterName: "Abc"}},
		"label with a dot":       {"validation_failed", "body.vcluster_name", clusters.Request{Name: "a", VclusterName: "a.b"}},
		"label with a newline":   {"validation_failed", "body.vcluster_name", clusters.Request{Name: "a", VclusterName: "ab\n"}},
		"label with a dash":      {"validation_failed", "body.vcluster_name", clusters.Request{Name: "a", VclusterName: "-a"}},
		"long label":             {"validation_failed", "body.vcluster_name", clusters.Request{Name: "a", VclusterName: strings.Repeat("a", 41)}},
		"the host's label":       {"validation_failed", "body.vcluster_name", clusters.Request{Name: "a", VclusterName: "kube-system"}},
		"the host's name":        {"validation_failed", "body.name", clusters.Request{Name: "Default"}},
		"ingress without a host": {"validation_failed", "body.control_plane_host", clusters.Request{Name: "a", Settings: clusters.Settings{PublicAccessMode: new("ingress")}}},
		"ingress at an address": {"validation_failed", "body.control_plane_host", clusters.Request{Name: "a", Settings: clusters.Settings{
			PublicAccessMode: new("ingress"), ControlPlaneHost: new("203.0.113.10"),
		}}},
		"unknown version":    {"validation_failed", "body.kubernetes_version", clusters.Request{Name: "a", KubernetesVersion: "1.99"}},
		"version with space": {"validation_failed", "body.kubernetes_version", clusters.Request{Name: "a", KubernetesVersion: " v1.36.3"}},
		"other namespace":    {"namespace_mismatch", "body.namespace", clusters.Request{Name: "a", Namespace: "b"}},
		"name taken":         {"name_taken", "", clusters.Request{Name: "Taken"}},
		"label taken":        {"name_taken", "", clusters.Request{Name: "a", VclusterName: "taken"}},
		"no cpu":             {"validation_failed", "body.workload_cpu_limit_milli_cores", clusters.Request{Name: "a", Settings: clusters.Settings{WorkloadCPULimitMilli: new(int64(0))}}},
		"negative memory":    {"validation_failed", "body.workload_memory_limit_mib", clusters.Request{Name: "a", Settings: clusters.Settings{WorkloadMemoryLimitMiB: new(int64(-1))}}},
		"huge cpu":           {"validation_failed", "body.control_plane_cpu_request_milli_cores", clusters.Request{Name: "a", Settings: clusters.Settings{ControlPlaneCPURequestMilli: new(int64(1) << 62)}}},
		"huge memory":        {"validation_failed", "body.control_plane_memory_request_mib", clusters.Request{Name: "a", Settings: clusters.Settings{ControlPlaneMemoryRequestMiB: new(int64(1) << 62)}}},
		"unknown mode":       {"validation_failed", "body.public_access_mode", clusters.Request{Name: "a", Settings: clusters.Settings{PublicAccessMode: new("NodePort")}}},
		"host with a port":   {"validation_failed", "body.control_plane_host", clusters.Request{Name: "a", Settings: clusters.Settings{ControlPlaneHost: new("a.example:6443")}}},
	} {
		w.refuses(t, name, c.code, func() error {
			made, err := w.Create(w.ctx, c.r)
			if !made.ID.IsZero() {
				t.Errorf("%s: a cluster was returned", name)
			}
			if f, ok := errors.AsType[*fault.Error](err); c.location != "" && (!ok || len(f.Fields) != 1 || f.Fields[0].Location != c.location) {
				t.Errorf("%s: fields of %+v", name, err)
			}
			return err
		})
	}
	w.refuses(t, "nobody", "unauthenticated", func() error { _, err := w.Create(t.Context(), clusters.Request{Name: "a"}); return err })
}

func TestWhatIsAskedForIsWhatOneGets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := w.Create(w.ctx, clusters.Request{
		Name: "日本", VclusterName: "japan", Namespace: "japan", KubernetesVersion: "1.35.0",
		Settings: clusters.Settings{
			ControlPlaneHost: new(" K8S.Example.org. "), WorkloadCPULimitMilli: new(int64(1)), WorkloadMemoryLimitMiB: new(int64(2)),
			ControlPlaneCPURequestMilli: new(int64(3)), ControlPlaneMemoryRequestMiB: new(int64(4)),
			PublicAccessEnabled: new(true), PublicAccessMode: new("ingress"), ManagedIngressEnabled: new(true),
		},
	})
	if err != nil || c.Name != "日本" || c.VclusterName != "japan" || c.KubernetesVersion != "v1.35.0" || c.ControlPlaneHost != "k8s.example.org" ||
		c.WorkloadCPULimitMilli != 1 || c.WorkloadMemoryLimitMiB != 2 || c.ControlPlaneCPURequestMilli != 3 || c.ControlPlaneMemoryRequestMiB != 4 ||
		!c.PublicAccessEnabled || c.PublicAccessMode != "ingress" || !c.ManagedIngressEnabled || len(c.FormerHosts) != 0 {
		t.Errorf("got %+v, %v", c, err)
	}
	if got := clusters.Of(c).Want(); !wanted(got, provision.Want{
		ID: c.ID, Name: "japan", KubernetesVersion: "v1.35.0", Host: "k8s.example.org", CPURequestMilli: 3, MemoryRequestMiB: 4, Public: true, PublicMode: provision.Ingress,
	}) {
		t.Errorf("wants %+v", got)
	}
}

func wanted(a, b provision.Want) bool { return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b) }

func TestLabelsComeFromNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"demo": "demo", "My Cluster": "my-cluster", "--a--b--": "a-b", "a.b_c d": "a-b-c-d", "Ünïcode": "n-code", "1st": "1st",
		strings.Repeat("ab-", 20): strings.TrimRight(strings.Repeat("ab-", 20)[:40], "-"), "日本 prod": "prod",
	} {
		w := newWorld(t)
		c, err := w.Create(w.ctx, clusters.Request{Name: name})
		if err != nil || c.VclusterName != want {
			t.Errorf("%q became %q, %v, want %q", name, c.VclusterName, err, want)
		}
	}
}

func TestNobodyHasMoreClustersThanTheQuotaButAdmins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := w.Create(w.ctx, clusters.Request{Name: fmt.Sprint("c", i)})
			if err != nil && fault.CodeOf(err) != "quota_exceeded" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	mine, err := w.List(w.ctx, store.ClusterFilter{}, page.Query{})
	if err != nil || len(mine.Items) != 3 {
		t.Fatalf("%d clusters, %v", len(mine.Items), err)
	}
	w.refuses(t, "one more", "quota_exceeded", func() error { _, err := w.Create(w.ctx, clusters.Request{Name: "more"}); return err })
	w.refuses(t, "one more as operator", "quota_exceeded", func() error {
		_, err := w.Create(coretest.As(t.Context(), w.me, actor.Operator), clusters.Request{Name: "more"})
		return err
	})
	if _, err := w.Create(coretest.As(t.Context(), w.me, actor.Admin), clusters.Request{Name: "more"}); err != nil {
		t.Errorf("an admin: %v", err)
	}
	if _, err := w.Create(coretest.As(t.Context(), coretest.NewAccount(t.Context(), w.store, actor.User), actor.User), clusters.Request{Name: "theirs"}); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	w.gone(t, mine.Items[0].ID)
	w.gone(t, mine.Items[1].ID)
	if _, err := w.Create(w.ctx, clusters.Request{Name: "again"}); err != nil {
		t.Errorf("after deletion: %v", err)
	}
	if !strings.Contains(coretest.Dump(w.store), "turn/quota/"+w.me.String()) {
		t.Error("no row was locked: databases that run transactions side by side would let each count before either inserts")
	}
}

func TestANameIsFreeAgainAfterDeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.create(t, "demo")
	if _, err := w.Delete(w.ctx, first.ID); err != nil {
		t.Fatal(err)
	}
	w.refuses(t, "while it goes", "name_taken", func() error { _, err := w.Create(w.ctx, clusters.Request{Name: "demo"}); return err })
	w.gone(t, first.ID)
	second := w.create(t, "demo")
	if second.ID == first.ID || second.Number == first.Number || second.VclusterName != "demo" {
		t.Errorf("got %+v", second)
	}
	if _, err := w.Get(w.ctx, first.ID); fault.KindOf(err) != fault.NotFound {
		t.Errorf("the deleted one: %v", err)
	}
	w.refuses(t, "deleting it again", "cluster_not_found", func() error { _, err := w.Delete(w.ctx, first.ID); return err })
}

// TestAnAccountThatIsGoneGetsNoCluster: a request may have been let in just
// before the account was removed.
func TestAnAccountThatIsGoneGetsNoCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, role := range []actor.Role{actor.User, actor.Admin} {
		u := coretest.NewAccount(t.Context(), w.store, role)
		w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, u, w.Now()) })
		w.refuses(t, string(role), "unauthenticated", func() error {
			_, err := w.Create(coretest.As(t.Context(), u, role), clusters.Request{Name: "late"})
			return err
		})
	}
}

func TestARepeatedCreateMakesOneCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := once.With(w.ctx, once.Request{Operation: "POST /clusters", Key: "k", Body: []byte("{}")})
	first, err := w.Create(ctx, clusters.Request{Name: "demo"})
	if err != nil {
		t.Fatal(err)
	}
	w.ready(t, first.ID)
	again, err := w.Create(ctx, clusters.Request{Name: "demo"})
	if err != nil || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", first) {
		t.Errorf("again: %+v, %v", again, err)
	}
}
