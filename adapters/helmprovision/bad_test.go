package helmprovision

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/release"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func apply(t testing.TB, p *Provisioner, w provision.Want) {
	t.Helper()
	if err := p.Apply(t.Context(), w); err != nil {
		t.Fatalf("Apply: %v", err)
	}
}

// until looks until the cluster is in a phase.
func until(t testing.TB, p *Provisioner, c id.Cluster, phase provision.Phase) provision.Observed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for seen := (provision.Observed{}); ; {
		if seen.Phase == provision.Failed && phase != provision.Failed {
			t.Fatalf("it failed: %s", seen.Reason)
		}
		next, err := p.Await(ctx, c, seen)
		if err != nil {
			t.Fatalf("it is %+v, want %s: %v", seen, phase, err)
		}
		if seen = next; seen.Phase == phase {
			return seen
		}
	}
}

// refused checks an error's kind and code, and that it is a sentence that says
// this.
func refused(t testing.TB, err error, kind fault.Kind, code, says string) {
	t.Helper()
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Kind != kind || e.Code != code || !strings.Contains(e.Msg, says) || !strings.HasSuffix(e.Msg, ".") {
		t.Errorf("got %v, want %s %s that says %q", err, kind, code, says)
	}
}

func TestAHostThatIsAwayIsNoReasonNotToStart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	writeFile(t, file, "{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], users: [{name: u, user: {token: hunter2}}], contexts: [{name: x, context: {cluster: c, user: u}}], current-context: x}")
	c := bare(t)
	c.KubeconfigPath, c.Chart = file, fixture
	p := start(t, c)
	want := demo()
	_, observed := p.Observe(t.Context(), want.ID)
	_, kubeconfig := p.Kubeconfig(t.Context(), want.ID)
	for name, err := range map[string]error{
		"Ping": p.Ping(t.Context()), "Apply": p.Apply(t.Context(), want), "Observe": observed, "Kubeconfig": kubeconfig, "Destroy": p.Destroy(t.Context(), want.ID),
	} {
		if fault.CodeOf(err) != "host_unreachable" || !errors.Is(err, fault.Unavailable) || !errors.Is(err, provision.ErrAway) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAKubeconfigThatIsWrongStopsTheStart(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"rubbish": "hunter2: [", "nothing": ""} {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		writeFile(t, file, text)
		c := bare(t)
		c.KubeconfigPath = file
		p, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// account returns a kubeconfig of an account of the host's that has these rights.
func account(t *testing.T, b *hostBox, rules []rbacv1.PolicyRule) (file string, client kubernetes.Interface, role string) {
	t.Helper()
	client, ctx := b.client(t), t.Context()
	name := "account-" + strings.ToLower(newID().String()[3:])
	_, err := client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: "default"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	token, err := client.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(b.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range config.AuthInfos {
		u.ClientCertificateData, u.ClientKeyData, u.Token = nil, nil, token.Status.Token
	}
	file = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file, client, name
}

func TestTheMissingRightIsNamed(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	every := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"pods", "services", "secrets", "statefulsets", "deployments"}, Verbs: []string{"*"}}}
	c := b.config(t)
	var client kubernetes.Interface
	var role string
	c.KubeconfigPath, client, role = account(t, b, every)
	p := start(t, c)
	refused(t, eventually(t, func() error { return p.Ping(t.Context()) }, "host_forbidden"), fault.Unavailable, "host_forbidden", "namespaces at the cluster scope")
	_, err := p.Observe(t.Context(), newID())
	refused(t, err, fault.Unavailable, "host_forbidden", "lacks the right to")
	// Looking is allowed now, and nothing else.
	rules := append(every, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "list", "watch"}})
	patch, err := json.Marshal(map[string]any{"rules": rules})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.RbacV1().ClusterRoles().Patch(t.Context(), role, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	stop(t, p)
	p = start(t, c)
	if err := p.window.await(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	refused(t, p.Ping(t.Context()), fault.Unavailable, "host_forbidden", "create namespaces")
	refused(t, p.Apply(t.Context(), wanted(t, p)), fault.Unavailable, "host_forbidden", "lacks the right to create namespaces at the cluster scope")
}

// TestRightsThatCannotBeGrantedAreNamed: an operator's values may make the chart's
// Role hold what the account does not.
func TestRightsThatCannotBeGrantedAreNamed(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	file, _, _ := account(t, b, []rbacv1.PolicyRule{
		look("rbac.authorization.k8s.io", "roles", "create"), look("", "pods", "get"),
	})
	h, err := openHost(file, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	for says, rules := range map[string][]rbacv1.PolicyRule{
		"hold: get, list storageclasses.storage.k8s.io. Give its account these rights; rbac.extraRules": {look("", "pods", "get"), look("storage.k8s.io", "storageclasses", "get list")},
		"get pods/log; get statefulsets.apps. Give":                                                     {look("", "pods/log", "get"), look("apps", "statefulsets", "get")},
	} {
		_, err = h.client.RbacV1().Roles("default").Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Rules: rules}, metav1.CreateOptions{})
		refused(t, told(err, "install the chart"), fault.Unavailable, "host_forbidden", says)
		refused(t, told(errors.New(fmt.Sprint(err)), "install the chart"), fault.Unavailable, "host_forbidden", says) // Helm passes on the text
	}
}

func TestWhatIsWaitedForFitsIntoAnAttempt(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[time.Duration][3]time.Duration{
		0: {2 * time.Minute, 2 * time.Minute, 4 * time.Minute}, time.Hour: {2 * time.Minute, 2 * time.Minute, 4 * time.Minute},
		time.Minute: {24 * time.Second, 24 * time.Second, 48 * time.Second},
	} {
		c := bare(t)
		c.AttemptDeadline, c.PublishTimeout, c.StuckTimeout, c.DeleteDeadline = attempt, 0, 0, 0
		c, err := c.withDefaults()
		if got := [3]time.Duration{c.PublishTimeout, c.StuckTimeout, c.DeleteDeadline}; err != nil || got != want {
			t.Errorf("an attempt of %v: %v, %v", attempt, got, err)
		}
	}
	for name, set := range map[string]func(*Config){
		"publish": func(c *Config) { c.PublishTimeout = 5 * time.Minute }, "stuck": func(c *Config) { c.StuckTimeout = 6 * time.Minute },
		"delete": func(c *Config) { c.DeleteDeadline = time.Minute; c.AttemptDeadline = time.Minute },
	} {
		c := bare(t)
		set(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "KUBEBYON_JOB_DEADLINE_SECONDS") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// eventually tries until an error has a code.
func eventually(t testing.TB, try func() error, code string) (err error) {
	t.Helper()
	for range 300 {
		if err = try(); fault.CodeOf(err) == code {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func TestANamespaceOfSomebodyElseIsNotTouched(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	p, client := start(t, b.config(t)), b.client(t)
	w, other := wanted(t, p), wanted(t, p)
	foreign := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Name, Labels: map[string]string{labelCluster: w.ID.String()}}}
	before, err := client.CoreV1().Namespaces().Create(t.Context(), foreign, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, p.Apply(t.Context(), w), fault.Invalid, "namespace_taken", w.Name+" of the host cluster belongs to somebody else")
	if err := p.Destroy(t.Context(), w.ID); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	after, err := client.CoreV1().Namespaces().Get(t.Context(), w.Name, metav1.GetOptions{})
	if err != nil || after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the namespace went from %s to %s: %v", before.ResourceVersion, after.ResourceVersion, err)
	}
	another := *foreign
	another.ObjectMeta = metav1.ObjectMeta{Name: other.Name, Labels: p.config.marks(newID())}
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &another, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(t, p.Apply(t.Context(), other), fault.Invalid, "namespace_taken", "another cluster")
}

func TestWhatTheChartRefusesChangesNothingOnTheHost(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	c := b.config(t)
	writeFile(t, c.ValuesFile, "controlPlane: {statefulSett: {}}")
	p := start(t, c)
	w := wanted(t, p)
	refused(t, p.Apply(t.Context(), w), fault.Invalid, "chart_refuses", "statefulSett")
	writeFile(t, c.ValuesFile, "password: [hunter2")
	refused(t, p.Apply(t.Context(), w), fault.Unavailable, "values_file_wrong", c.ValuesFile)
	refused(t, p.Ping(t.Context()), fault.Unavailable, "values_file_wrong", c.ValuesFile)
	if _, err := b.client(t).CoreV1().Namespaces().Get(t.Context(), w.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("there is a namespace: %v", err)
	}
	c.Chart, c.ValuesFile = filepath.Join(t.TempDir(), "nowhere"), ""
	q := start(t, c)
	if err := q.window.await(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	refused(t, q.Apply(t.Context(), w), fault.Unavailable, "chart_unavailable", "nowhere")
	refused(t, q.Ping(t.Context()), fault.Unavailable, "chart_unavailable", "nowhere")
}

// TestTenantsThatFailSayWhy: the pod's own words, or the Secret's fault.
func TestTenantsThatFailSayWhy(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	for word, says := range map[string]string{
		"never":            "no place for the control plane",
		"no-licence":       "for want of a licence",
		"image-pull-error": "cannot be pulled",
		"bad-secret":       "holds no kubeconfig that can be used",
	} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			c := b.config(t)
			writeFile(t, c.ValuesFile, "controlPlane: {statefulSet: {pods: {annotations: {localplane.kubebyon.io/behave: "+word+"}}}}")
			p := start(t, c)
			w := wanted(t, p)
			apply(t, p, w)
			if o := until(t, p, w.ID, provision.Failed); !strings.Contains(o.Reason, says) {
				t.Errorf("it failed: %s", o.Reason)
			}
			apply(t, p, w) // tries again
			if o, err := p.Observe(t.Context(), w.ID); err != nil || o.Phase == provision.Failed {
				t.Errorf("after another Apply it is %+v, %v", o, err)
			}
		})
	}
}

func TestARemovalThatIsBlockedSaysByWhat(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	c := b.config(t)
	c.DeleteDeadline = 3 * time.Second
	p, client := start(t, c), b.client(t)
	w := wanted(t, p)
	apply(t, p, w)
	_, err := client.CoreV1().ConfigMaps(w.Name).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kept", Finalizers: []string{"example.com/keep"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	err = p.Destroy(t.Context(), w.ID)
	refused(t, err, fault.Unavailable, "deletion_blocked", "was not removed within 3s")
	refused(t, eventually(t, func() error {
		err := p.Destroy(t.Context(), w.ID)
		if err != nil && !strings.Contains(err.Error(), "example.com/keep") {
			return nil
		}
		return err
	}, "deletion_blocked"), fault.Unavailable, "deletion_blocked", "example.com/keep")
	if o, err := p.Observe(t.Context(), w.ID); err != nil || o.Phase != provision.Removing || !strings.Contains(o.Reason, "example.com/keep") {
		t.Errorf("meanwhile it is %+v, %v", o, err)
	}
	refused(t, p.Apply(t.Context(), w), fault.Unavailable, "control_plane_removing", "being removed")
	if _, err := client.CoreV1().ConfigMaps(w.Name).Patch(t.Context(), "kept", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := eventually(t, func() error {
		if err := p.Destroy(t.Context(), w.ID); err != nil {
			return err
		}
		return fault.Internal.New("gone", "It is gone.")
	}, "gone"); fault.CodeOf(err) != "gone" {
		t.Errorf("unblocked: %v", err)
	}
}

func history(t testing.TB, p *Provisioner, name string) []*release.Release {
	t.Helper()
	c, err := p.helm(name)
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Releases.History(name)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestWhatAKilledProcessLeftIsGoneOnWith: a release that its process did not end,
// and a lease that nobody renews.
func TestWhatAKilledProcessLeftIsGoneOnWith(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	p, client := start(t, b.config(t)), b.client(t)
	p.leaseTime = 4 * time.Second
	w := wanted(t, p)

	// Killed in the middle of the first installation: a record, and half of the objects.
	a := &attempt{p: p, want: w}
	if err := a.makeNamespace(t.Context()); err != nil {
		t.Fatal(err)
	}
	plan, err := p.config.plan(chartUnderTest(t), nil, w, access{Host: "dead.example.com", Port: 30001})
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.helm(w.Name)
	if err != nil {
		t.Fatal(err)
	}
	op := action.NewInstall(c)
	op.ReleaseName, op.Namespace, op.DryRun, op.DisableOpenAPIValidation = w.Name, w.Name, true, true
	half, err := op.Run(chartUnderTest(t), plan.values)
	if err != nil {
		t.Fatal(err)
	}
	half.SetStatus(release.StatusPendingInstall, "Initial install underway")
	if err := c.Releases.Create(half); err != nil {
		t.Fatal(err)
	}
	dead, seconds, long := "dead", int32(15), metav1.NewMicroTime(time.Now().Add(time.Hour)) // its clock is ahead
	_, err = client.CoordinationV1().Leases(w.Name).Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: leaseName}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &dead, LeaseDurationSeconds: &seconds, RenewTime: &long},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, p, w)
	until(t, p, w.ID, provision.Ready)
	before, err := p.Kubeconfig(t.Context(), w.ID)
	if err != nil {
		t.Fatal(err)
	}

	// Killed in the middle of an upgrade, and of a removal by hand.
	for _, status := range []release.Status{release.StatusPendingUpgrade, release.StatusPendingRollback, release.StatusUninstalling} {
		all := history(t, p, w.Name)
		last := all[len(all)-1]
		last.SetStatus(status, "Preparing")
		if err := c.Releases.Update(last); err != nil {
			t.Fatal(err)
		}
		if err := client.CoreV1().ServiceAccounts(w.Name).Delete(t.Context(), "vc-"+w.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		apply(t, p, w)
		until(t, p, w.ID, provision.Ready)
		all = history(t, p, w.Name)
		if last := all[len(all)-1]; last.Info.Status != release.StatusDeployed || len(all) > maxHistory {
			t.Errorf("after %s: %d revisions, the last is %s", status, len(all), last.Info.Status)
		}
		if _, err := client.CoreV1().ServiceAccounts(w.Name).Get(t.Context(), "vc-"+w.Name, metav1.GetOptions{}); err != nil {
			t.Errorf("after %s what was missing is missing: %v", status, err)
		}
	}
	after, err := p.Kubeconfig(t.Context(), w.ID)
	if err != nil || !after.Equal(before) {
		t.Errorf("clients and nodes that knew it do so no more: %v", err)
	}
}

func TestARepeatedWantIsNoUpgradeAndTwoProcessesAreOne(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	p, q := start(t, b.config(t)), start(t, b.config(t))
	q.config.ValuesFile = p.config.ValuesFile
	w := wanted(t, p)
	var all sync.WaitGroup
	for _, each := range []*Provisioner{p, q, p, q} {
		all.Go(func() {
			if err := each.Apply(t.Context(), w); err != nil && !errors.Is(err, fault.Unavailable) {
				t.Errorf("Apply: %v", err)
			}
		})
	}
	all.Wait()
	apply(t, p, w)
	one, two := until(t, p, w.ID, provision.Ready), until(t, q, w.ID, provision.Ready)
	if one != two {
		t.Errorf("two processes see %+v and %+v", one, two)
	}
	apply(t, q, w)
	if all := history(t, p, w.Name); len(all) != 1 {
		t.Errorf("there are %d revisions", len(all))
	}
	speaks(t, p.Kubeconfig, w.ID)
	speaks(t, p.Inside, w.ID)

	// What is lost is not made anew.
	w.Existed = true
	apply(t, p, w)
	client, now := b.client(t), int64(0)
	claim := "data-" + w.Name + "-0" // goes with the pod that uses it
	if err := client.CoreV1().PersistentVolumeClaims(w.Name).Delete(t.Context(), claim, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	refused(t, p.Apply(t.Context(), w), fault.Invalid, "data_gone", "The volumes of this control plane")
	if _, err := client.CoreV1().PersistentVolumeClaims(w.Name).Patch(t.Context(), claim, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if err := client.CoreV1().Pods(w.Name).Delete(t.Context(), w.Name+"-0", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t, func() bool { // the host makes a new and empty one
		c, err := client.CoreV1().PersistentVolumeClaims(w.Name).Get(t.Context(), claim, metav1.GetOptions{})
		return err == nil && c.DeletionTimestamp == nil
	}); err != nil {
		t.Fatal(err)
	}
	w.CPURequestMilli++
	refused(t, p.Apply(t.Context(), w), fault.Invalid, "data_gone", "The volumes of this control plane")
	for _, err := range []error{
		client.AppsV1().StatefulSets(w.Name).Delete(t.Context(), w.Name, metav1.DeleteOptions{}),
		client.CoreV1().Pods(w.Name).DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{}),
		client.CoreV1().PersistentVolumeClaims(w.Name).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refused(t, eventually(t, func() error { return p.Apply(t.Context(), w) }, "data_gone"), fault.Invalid, "data_gone", "delete the cluster")
}

// waitFor waits until something is so.
func waitFor(t testing.TB, isSo func() bool) error {
	t.Helper()
	for range 600 {
		if isSo() {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("it did not come so")
}

// speaks has a kubeconfig used as kubectl would.
func speaks(t testing.TB, give func(context.Context, id.Cluster) (secret.Text, error), c id.Cluster) {
	t.Helper()
	text, err := give(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	writeFile(t, file, text.Reveal())
	h, err := openHost(file, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if _, err := h.client.CoreV1().Namespaces().Get(t.Context(), "kube-system", metav1.GetOptions{}); err != nil {
		t.Errorf("the kubeconfig does not work: %v", err)
	}
}

// TestTheWayToPublishCanChange goes once round, and comes back to the same port.
func TestTheWayToPublishCanChange(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	c, client := b.config(t), b.client(t)
	var to atomic.Value // where port 443 of any name leads to
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, port, _ := net.SplitHostPort(address); port == "443" {
			address, _ = to.Load().(string)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	p := start(t, c)
	w := wanted(t, p)
	apply(t, p, w)
	first := until(t, p, w.ID, provision.Ready)
	node, port, err := net.SplitHostPort(strings.TrimPrefix(first.Endpoint, "https://"))
	if err != nil || strconv.Itoa(first.Port) != port {
		t.Fatalf("at first it is %+v", first)
	}
	before, err := p.Kubeconfig(t.Context(), w.ID)
	if err != nil {
		t.Fatal(err)
	}

	w.PublicMode = provision.LoadBalancer // of which nobody knows the address yet
	to.Store(net.JoinHostPort(node, port))
	apply(t, p, w)
	balanced := until(t, p, w.ID, provision.Ready)
	s, err := client.CoreV1().Services(w.Name).Get(t.Context(), w.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if balanced.Port != 443 || s.Spec.Type != corev1.ServiceTypeLoadBalancer || balanced.Endpoint != "https://"+balancer(s)+":443" {
		t.Errorf("with a load balancer at %q it is %+v", balancer(s), balanced)
	}

	w.PublicMode, w.Host = provision.Ingress, w.Name+".example.com"
	to.Store(net.JoinHostPort(node, ingressPort(t, b)))
	apply(t, p, w)
	if o := until(t, p, w.ID, provision.Ready); o.Endpoint != "https://"+w.Host+":443" {
		t.Errorf("behind an Ingress it is %+v", o)
	}
	if s, err = client.CoreV1().Services(w.Name).Get(t.Context(), w.Name, metav1.GetOptions{}); err != nil || s.Spec.Type != corev1.ServiceTypeClusterIP {
		t.Errorf("behind an Ingress the Service is %s, %v", s.Spec.Type, err)
	}

	w.PublicMode, w.Host, w.FormerHosts = provision.NodePort, "", []string{w.Host}
	apply(t, p, w)
	last := until(t, p, w.ID, provision.Ready)
	if last.Endpoint != first.Endpoint {
		t.Errorf("back again it is at %s, and was at %s", last.Endpoint, first.Endpoint)
	}
	if after, err := p.Kubeconfig(t.Context(), w.ID); err != nil || !after.Equal(before) {
		t.Errorf("the kubeconfig of the beginning is not the one of the end: %v", err)
	}
	// Whoever joined under another name still finds it in the certificate.
	k, err := parseKubeconfig(p.window.scene(w.ID).secret)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(k.ca)
	for _, name := range []string{node, balancer(p.window.scene(w.ID).service), w.FormerHosts[0], strings.Split(strings.TrimPrefix(balanced.Endpoint, "https://"), ":")[0]} {
		if name == "" {
			continue
		}
		conn, err := tls.Dial("tcp", strings.TrimPrefix(last.Endpoint, "https://"), &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Errorf("as %s: %v", name, err)
			continue
		}
		_ = conn.Close()
	}
}

func ingressPort(t testing.TB, b *hostBox) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "host", "host.json"))
	if err != nil {
		t.Fatal(err)
	}
	var kept struct {
		IngressPort int `json:"ingress_port"`
	}
	if err := json.Unmarshal(text, &kept); err != nil || kept.IngressPort == 0 {
		t.Fatalf("host.json tells no port for Ingresses: %v", err)
	}
	return strconv.Itoa(kept.IngressPort)
}

// TestAnAddressThatDoesNotLeadThereIsSaidSo without saying what is there.
func TestAnAddressThatDoesNotLeadThereIsSaidSo(t *testing.T) {
	t.Parallel()
	b := hosted(t)
	c := b.config(t)
	c.PublishTimeout = time.Second
	c.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("hunter2 refused") }
	p := start(t, c)
	w := wanted(t, p)
	w.Host = "elsewhere.example.com"
	apply(t, p, w)
	o := until(t, p, w.ID, provision.Failed)
	if !strings.Contains(o.Reason, "does not answer at https://elsewhere.example.com:") || strings.Contains(o.Reason, "refused") {
		t.Errorf("it failed: %s", o.Reason)
	}
	speaks(t, p.Inside, w.ID)
	w.Public = false
	apply(t, p, w)
	if o := until(t, p, w.ID, provision.Ready); o.Endpoint != "https://elsewhere.example.com:443" {
		t.Errorf("when it is not public it is %+v", o)
	}
}
