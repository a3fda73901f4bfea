package clusters_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/once"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestAServiceIsNotMadeWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	full := newWorld(t).deps
	for name, drop := range map[string]func(*clusters.Deps){
		"Store": func(d *clusters.Deps) { d.Store = nil }, "Seal": func(d *clusters.Deps) { d.Seal = nil },
		"Provisioner": func(d *clusters.Deps) { d.Provisioner = nil }, "Catalog": func(d *clusters.Deps) { d.Catalog = nil },
		"Now": func(d *clusters.Deps) { d.Now = nil }, "Random": func(d *clusters.Deps) { d.Random = nil },
		"CheckPassword": func(d *clusters.Deps) { d.CheckPassword = nil }, "Committed": func(d *clusters.Deps) { d.Committed = nil },
		"MaxPerUser": func(d *clusters.Deps) { d.MaxPerUser = 0 },
	} {
		d := full
		drop(&d)
		if _, err := clusters.New(d); err == nil {
			t.Errorf("made without %s", name)
		}
	}
}

// flaky fails the nth write of a transaction's parts.
type flaky struct {
	store.Store
	part string
}

type flakyTx struct {
	store.Tx
	part string
}

func (f flaky) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return f.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, flakyTx{tx, f.part}) })
}

var errBroken = errors.New("broken")

type (
	noOperations struct{ store.Operations }
	noJobs       struct{ store.Jobs }
	noOutbox     struct{ store.Outbox }
	noAudit      struct{ store.Audit }
)

func (noOperations) Insert(context.Context, store.Operation) error    { return errBroken }
func (noJobs) Insert(context.Context, store.Job) error                { return errBroken }
func (noOutbox) Append(context.Context, ...store.OutboxMessage) error { return errBroken }
func (noAudit) Append(context.Context, ...store.AuditEvent) error     { return errBroken }

func (t flakyTx) Operations() store.Operations {
	if t.part == "operations" {
		return noOperations{}
	}
	return t.Tx.Operations()
}

func (t flakyTx) Jobs() store.Jobs {
	if t.part == "jobs" {
		return noJobs{}
	}
	return t.Tx.Jobs()
}

func (t flakyTx) Outbox() store.Outbox {
	if t.part == "outbox" {
		return noOutbox{}
	}
	return t.Tx.Outbox()
}

func (t flakyTx) Audit() store.Audit {
	if t.part == "audit" {
		return noAudit{}
	}
	return t.Tx.Audit()
}

func TestAChangeIsWhollyThereOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"operations", "jobs", "outbox", "audit"} {
		w := newWorld(t)
		c := w.create(t, "demo")
		w.ready(t, c.ID)
		before, committed := coretest.Dump(w.store), w.committed.Load()
		d := w.deps
		d.Store = flaky{w.store, part}
		s, err := clusters.New(d)
		if err != nil {
			t.Fatal(err)
		}
		made, err1 := s.Create(w.ctx, clusters.Request{Name: "other"})
		_, err2 := s.Update(w.ctx, c.ID, clusters.Settings{ControlPlaneHost: new("k8s.example.org")})
		_, err3 := s.Delete(w.ctx, c.ID)
		for _, err := range []error{err1, err2, err3} {
			if !errors.Is(err, errBroken) {
				t.Errorf("without %s: %v", part, err)
			}
		}
		if coretest.Dump(w.store) != before || w.committed.Load() != committed || !made.ID.IsZero() {
			t.Errorf("without %s, something was left behind", part)
		}
	}
}

// TestWhoMayDoWhat is the table of roles: what fails, and how.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	w.ready(t, c.ID)
	const fine, absent, forbidden, who = "", "cluster_not_found", "forbidden", "unauthenticated"
	other := coretest.NewUser()
	for name, p := range map[string]struct {
		ctx           context.Context //nolint:containedctx // who asks, in a table
		reads, writes string
	}{
		"owner": {w.ctx, fine, fine}, "other user": {coretest.As(t.Context(), other, actor.User), absent, absent},
		"operator": {coretest.As(t.Context(), other, actor.Operator), fine, forbidden}, "admin": {coretest.As(t.Context(), other, actor.Admin), fine, fine},
		"process": {actor.With(t.Context(), actor.Process()), fine, fine}, "machine": {actor.With(t.Context(), actor.Actor{Type: actor.Machine}), absent, absent},
		"nobody": {t.Context(), who, who},
	} {
		check := func(what, want string, err error) {
			if got := codeOf(err); got != want {
				t.Errorf("%s %s: %q (%v), want %q", name, what, got, err, want)
			}
		}
		_, err := w.Get(p.ctx, c.ID)
		check("gets", p.reads, err)
		_, err = w.Operations(p.ctx, c.ID, 10)
		check("lists operations", p.reads, err)
		_, err = w.Update(p.ctx, c.ID, clusters.Settings{})
		check("updates", p.writes, err)
		_, err = w.Kubeconfig(p.ctx, c.ID, secret.New("x"))
		check("reads the kubeconfig", p.writes, err)
		list, err := w.List(p.ctx, store.ClusterFilter{}, page.Query{})
		if (len(list.Items) == 1) != (p.reads == fine) || (err == nil) != (p.reads != who) {
			t.Errorf("%s lists %d, %v", name, len(list.Items), err)
		}
		if p.writes != fine {
			w.refuses(t, name+" deletes", p.writes, func() error { _, err := w.Delete(p.ctx, c.ID); return err })
			w.refuses(t, name+" moves", p.writes, func() error {
				_, err := w.Update(p.ctx, c.ID, clusters.Settings{ControlPlaneHost: new("x.example")})
				return err
			})
		}
	}
	for _, role := range []actor.Role{actor.Admin, actor.User} {
		d := w.create(t, "to-delete-by-"+string(role))
		ctx := w.ctx
		if role == actor.Admin {
			ctx = coretest.As(t.Context(), other, role)
		}
		if _, err := w.Delete(ctx, d.ID); err != nil {
			t.Errorf("%s deletes: %v", role, err)
		}
	}
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	return fault.CodeOf(err)
}

func TestAnUpdateChangesTheSnapshotAtOnceAndAsksForTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	w.ready(t, c.ID)
	w.Move(time.Second)
	got, err := w.Update(w.ctx, c.ID, clusters.Settings{ControlPlaneHost: new("a.example"), WorkloadCPULimitMilli: new(int64(9))})
	if err != nil || got.ControlPlaneHost != "a.example" || got.WorkloadCPULimitMilli != 9 || got.WorkloadMemoryLimitMiB != 4096 ||
		got.Generation != 2 || got.Status != "ready" || !got.UpdatedAt.Equal(w.Now()) {
		t.Fatalf("got %+v, %v", got, err)
	}
	h, err := w.Operations(w.ctx, c.ID, 10)
	if err != nil || len(h.Operations.Items) != 2 || h.Operations.Items[0].Type != "update" || h.Operations.Items[0].Generation != 2 || h.Jobs.Items[0].Type != "update" {
		t.Errorf("operations %+v, %v", h, err)
	}
	if ev := w.events(t); ev[len(ev)-1] != "cluster/settings_update_requested success demo" {
		t.Errorf("events %v", ev)
	}
}

func TestAnUpdateThatChangesNothingDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	if _, err := w.Update(w.ctx, c.ID, clusters.Settings{ControlPlaneHost: new("a.example"), PublicAccessEnabled: new(true)}); err != nil {
		t.Fatal(err)
	}
	before := coretest.Dump(w.store)
	for name, s := range map[string]clusters.Settings{
		"nothing": {}, "the same host": {ControlPlaneHost: new("A.example.")}, "the same": {PublicAccessEnabled: new(true), WorkloadCPULimitMilli: new(int64(2000)), PublicAccessMode: new("nodeport")},
	} {
		if got, err := w.Update(w.ctx, c.ID, s); err != nil || got.Generation != 2 || coretest.Dump(w.store) != before {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestAnUpdateOfAClusterInErrorTriesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	w.edit(t, c.ID, func(c *clusters.Cluster) { c.Fail("The chart is broken.", w.Now()) })
	got, err := w.Update(w.ctx, c.ID, clusters.Settings{})
	h, _ := w.Operations(w.ctx, c.ID, 10)
	if err != nil || got.Generation != 2 || len(h.Jobs.Items) != 2 {
		t.Errorf("got %+v, %v, %d jobs", got, err, len(h.Jobs.Items))
	}
}

func TestARefusedUpdateChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	for name, s := range map[string]clusters.Settings{
		"no cpu": {ControlPlaneCPURequestMilli: new(int64(0))}, "bad mode": {PublicAccessMode: new("")}, "bad host": {ControlPlaneHost: new("a b")},
		"ingress without a name": {PublicAccessMode: new("ingress")},
		"good and bad":           {ControlPlaneHost: new("b.example"), WorkloadMemoryLimitMiB: new(int64(0))},
	} {
		w.refuses(t, name, "validation_failed", func() error { _, err := w.Update(w.ctx, c.ID, s); return err })
	}
	if _, err := w.Delete(w.ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	w.refuses(t, "while it is deleted", "cluster_not_updatable", func() error {
		_, err := w.Update(w.ctx, c.ID, clusters.Settings{ControlPlaneHost: new("b.example")})
		return err
	})
	w.gone(t, c.ID)
	w.refuses(t, "a deleted one", "cluster_not_found", func() error { _, err := w.Update(w.ctx, c.ID, clusters.Settings{}); return err })
}

func TestFormerHostsStayValidNewestLastWithoutRepeats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	for _, step := range []struct{ host, former string }{
		{"a.example", ""},
		{"b.example", "a.example"},
		{"c.example", "a.example b.example"},
		{"a.example", "b.example c.example"},
		{"", "b.example c.example a.example"},
		{"b.example", "c.example a.example"},
	} {
		got, err := w.Update(w.ctx, c.ID, clusters.Settings{ControlPlaneHost: new(step.host)})
		if err != nil || got.ControlPlaneHost != step.host || strings.Join(got.FormerHosts, " ") != step.former {
			t.Errorf("moved to %q: %q, former %v, %v", step.host, got.ControlPlaneHost, got.FormerHosts, err)
		}
	}
	for i := range 40 {
		if _, err := w.Update(w.ctx, c.ID, clusters.Settings{ControlPlaneHost: new(fmt.Sprintf("h%d.example", i))}); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := w.Get(w.ctx, c.ID)
	if len(got.FormerHosts) != 16 || got.FormerHosts[15] != "h38.example" || got.FormerHosts[0] != "h23.example" {
		t.Errorf("former %v", got.FormerHosts)
	}
}

func TestWhichHostsAreHosts(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"": true, "a": true, "localhost": true, "a.example": true, "A.EXAMPLE.": true, "a-b.c-d.example": true, "192.0.2.1": true, "127.0.0.1": true,
		"2001:db8::1": true, "::1": true, "xn--bcher-kva.example": true, "1a": true, "1.2.3.a": true, strings.Repeat("a", 63) + ".example": true,
		"a:6443": false, "https://a.example": false, "a.example/x": false, "a b": false, "-a": false, "a-": false, "a..b": false, ".a": false, "a.-b": false,
		"256.1.1.1": false, "1.2.3": false, "123": false, "1.2.3.4.5": false, "192.0.2.1:80": false, "[::1]": false, "fe80::1%eth0": false, "0.0.0.0": false, "::": false,
		"224.0.0.1": false, "ff02::1": false, "*.example": false, "a_b.example": false, "bücher.example": false, "a\x00": false, "a\n.example": false,
		strings.Repeat("a", 64) + ".example": false, strings.Repeat("a.", 127) + "aa": false, "a\xff": false, "..": false,
	} {
		w := newWorld(t)
		_, err := w.Create(w.ctx, clusters.Request{Name: "demo", Settings: clusters.Settings{ControlPlaneHost: &host}})
		if (err == nil) != want {
			t.Errorf("%q: %v", host, err)
		}
	}
}

func TestClosingPublicAccessForgetsThePort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := w.Create(w.ctx, clusters.Request{Name: "demo", Settings: clusters.Settings{PublicAccessEnabled: new(true)}})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.ready(t, c.ID); got.PublicAccessPort != 30443 {
		t.Errorf("port %d", got.PublicAccessPort)
	}
	got, err := w.Update(w.ctx, c.ID, clusters.Settings{PublicAccessEnabled: new(false)})
	if err != nil || got.PublicAccessPort != 0 || got.PublicAccessEnabled {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDeletingIsAskedOnceHoweverOftenItIsRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	for range 3 {
		got, err := w.Delete(w.ctx, c.ID)
		if err != nil || got.Status != "deleting" || got.Generation != 2 {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	h, err := w.Operations(w.ctx, c.ID, 10)
	if err != nil || len(h.Jobs.Items) != 2 || h.Jobs.Items[0].Type != "delete" {
		t.Errorf("%d jobs, %v", len(h.Jobs.Items), err)
	}
	if ev := w.events(t); len(ev) != 2 || ev[1] != "cluster/delete_requested success demo" {
		t.Errorf("events %v", ev)
	}
	w.edit(t, c.ID, func(c *clusters.Cluster) { c.Fail("A volume is in use.", w.Now()) })
	if got, err := w.Delete(w.ctx, c.ID); err != nil || got.Status != "deleting" || got.LastErrorMessage != "" || got.Generation != 3 {
		t.Errorf("after a failure: %+v, %v", got, err)
	}
}

func TestAClusterWhoseDeletionFailedIsNotBroughtBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	if _, err := w.Delete(w.ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	w.edit(t, c.ID, func(c *clusters.Cluster) { c.Fail("A volume is in use.", w.Now()) })
	w.refuses(t, "an update after a failed deletion", "cluster_not_updatable", func() error {
		_, err := w.Update(w.ctx, c.ID, clusters.Settings{})
		return err
	})
}

func TestTheKubeconfigIsForThoseWhoKnowTheirPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	ask := func(password string) error {
		got, err := w.Kubeconfig(w.ctx, c.ID, secret.New(password))
		if err != nil && !got.Kubeconfig.IsZero() {
			t.Error("refused, and given all the same")
		}
		return err
	}
	w.refuses(t, "no password", "validation_failed", func() error { return ask("") })
	w.refuses(t, "too early", "kubeconfig_pending", func() error { return ask("x") })
	w.ready(t, c.ID)
	w.password = fault.Unauthenticated.New("password_incorrect", "The password is wrong.")
	w.refuses(t, "wrong password", "password_incorrect", func() error { return ask("x") })
	w.password = fault.Conflict.New("password_not_set", "Your account has no password.")
	w.refuses(t, "an account without one", "password_not_set", func() error { return ask("x") })
	w.password = nil
	w.planes.OnKubeconfig = func(context.Context, id.Cluster) error { return fault.Unavailable.New("x", "y") }
	w.refuses(t, "not exported", "kubeconfig_pending", func() error { return ask("x") })
	w.planes.OnKubeconfig = func(context.Context, id.Cluster) error { return fault.NotFound.New("x", "y") }
	w.refuses(t, "lost", "kubeconfig_pending", func() error { return ask("x") })
	w.planes.OnKubeconfig = func(context.Context, id.Cluster) error { return errBroken }
	w.refuses(t, "broken", "internal", func() error { return ask("x") })
	w.planes.OnKubeconfig = nil

	got, err := w.Kubeconfig(w.ctx, c.ID, secret.New("x"))
	if err != nil || got.Kubeconfig.Reveal() != coretest.Kubeconfig || got.Cluster.ID != c.ID {
		t.Fatalf("got %+v, %v", got, err)
	}
	if ev := w.events(t); ev[len(ev)-1] != "cluster/kubeconfig_read success demo" {
		t.Errorf("events %v", ev)
	}
	if strings.Contains(coretest.Dump(w.store), "the-kubeconfig") {
		t.Error("the store holds the kubeconfig")
	}
	if _, err := w.Delete(w.ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	w.refuses(t, "while it is deleted", "kubeconfig_pending", func() error { return ask("x") })
}

func TestAKubeconfigWhoseReadingCannotBeRecordedIsNotGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "demo")
	w.ready(t, c.ID)
	d := w.deps
	d.Store = flaky{w.store, "audit"}
	s, err := clusters.New(d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Kubeconfig(w.ctx, c.ID, secret.New("x"))
	if !errors.Is(err, errBroken) || !got.Kubeconfig.IsZero() {
		t.Errorf("got %v", err)
	}
}

func TestListsAndHistoriesPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"one", "two", "three"} {
		w.create(t, name)
		w.Move(time.Millisecond)
	}
	first, err := w.List(w.ctx, store.ClusterFilter{}, page.Query{Limit: 2})
	if err != nil || len(first.Items) != 2 || first.Items[0].Name != "three" || first.Next == "" {
		t.Fatalf("got %+v, %v", first, err)
	}
	rest, err := w.List(w.ctx, store.ClusterFilter{}, page.Query{Limit: 2, Before: first.Next})
	if err != nil || len(rest.Items) != 1 || rest.Items[0].Name != "one" || rest.Next != "" {
		t.Errorf("got %+v, %v", rest, err)
	}
	if v := w.Versions(); len(v) != 2 || v[0].Name != "v1.36.3" {
		t.Errorf("versions %v", v)
	}
}

func TestPruneForgetsOldAnswersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := func(key string) store.Cluster {
		c, err := w.Create(once.With(w.ctx, once.Request{Operation: "o", Key: key}), clusters.Request{Name: key})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ask("old")
	w.Move(once.Remembered)
	c := ask("young")
	w.Move(time.Minute)
	if n, err := w.Prune(t.Context(), 100); n != 1 || err != nil || strings.Contains(coretest.Dump(w.store), "Key=old") {
		t.Errorf("the old answer is there; removed %d, %v", n, err)
	}
	if again := ask("young"); again.ID != c.ID {
		t.Error("the young answer is gone")
	}
}
