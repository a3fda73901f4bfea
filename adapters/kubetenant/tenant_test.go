package kubetenant_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/adapters/kubetenant"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
	"github.com/kubebyon/kubebyon/ports/tenant/tenanttest"
)

// direct opens the control plane without a wire between.
func direct(t *testing.T, p *plane) tenant.Tenant {
	t.Helper()
	connector := kubetenant.New(kubetenant.Config{})
	t.Cleanup(connector.Close)
	text := secret.New(string(must(os.ReadFile(p.kubeconfigPath()))(t)))
	return must(connector.Connect(t.Context(), newCluster(), text))(t)
}

// watched starts a watch, waits until it is synced, and returns its end.
func watched(t *testing.T, in tenant.Tenant) <-chan error {
	t.Helper()
	synced, end := make(chan struct{}), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		end <- in.Watch(ctx, func(c tenant.Change) error {
			if c.Synced {
				close(synced)
			}
			return nil
		})
	}()
	select {
	case <-synced:
	case err := <-end:
		t.Fatalf("Watch: %v", err)
	}
	return end
}

func expectEnd(t *testing.T, end <-chan error) {
	t.Helper()
	began := time.Now()
	select {
	case err := <-end:
		if !errors.Is(err, fault.Unavailable) || fault.CodeOf(err) != "cluster_unreachable" {
			t.Errorf("Watch: %v, want cluster_unreachable", err)
		}
		t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
	case <-time.After(15 * time.Second):
		t.Error("Watch has not noticed after 15 s")
	}
}

// These two disturb everybody and so run alone.

func TestFrozenControlPlaneEndsTheWatch(t *testing.T) {
	p := thePlane(t)
	in := direct(t, p)
	end := watched(t, in)
	check(t, p.signal(syscall.SIGSTOP))
	defer p.signal(syscall.SIGCONT)
	expectEnd(t, end)
	check(t, p.signal(syscall.SIGCONT))
	eventually(t, "an answer after the thaw", func() bool { _, err := in.Probe(t.Context()); return err == nil })
}

func TestKilledControlPlaneEndsTheWatchAndComesBack(t *testing.T) {
	p := thePlane(t)
	in := direct(t, p)
	end := watched(t, in)
	p.kill()
	expectEnd(t, end)
	if _, err := in.Probe(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Probe: %v, want fault.Unavailable", err)
	}
	check(t, p.run())
	if v, err := in.Probe(t.Context()); err != nil {
		t.Errorf("Probe of the new process: %q, %v", v, err)
	}
}

func TestApprovedMachineGetsItsCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := hands{plane: thePlane(t)}
	in := must(w.Connector.Connect(t.Context(), w.Cluster, w.Kubeconfig))(t)
	check(t, in.PrepareJoin(t.Context()))
	b := tenant.BootstrapToken{ID: "cert00", Secret: secret.New("0123456789abcdef"), Expires: time.Now().Add(time.Minute)}
	check(t, in.PutBootstrapToken(t.Context(), b))
	r := w.Ask(t, b, "a-machine")
	time.Sleep(300 * time.Millisecond)
	if v := w.Verdict(t, r.Name); v.Approved {
		t.Fatalf("the cluster approved the request by itself: %s", v.Message)
	}
	check(t, in.DecideJoin(t.Context(), r, true, "test"))
	var certificate []byte
	eventually(t, "a certificate", func() bool {
		got := must(h.kube.CertificatesV1().CertificateSigningRequests().Get(t.Context(), r.Name, metav1.GetOptions{}))(t)
		certificate = got.Status.Certificate
		return len(certificate) > 0
	})
	block, _ := pem.Decode(certificate)
	if got := must(x509.ParseCertificate(block.Bytes))(t).Subject.CommonName; got != "system:node:a-machine" {
		t.Errorf("the certificate is for %q", got)
	}
}

func TestAResyncHandsOnNothingTwice(t *testing.T) {
	t.Parallel()
	w := newWorldWith(t, kubetenant.Config{Resync: 200 * time.Millisecond})
	in := must(w.Connector.Connect(t.Context(), w.Cluster, w.Kubeconfig))(t)
	w.AddNode(t, "resync-a")
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	var seen []string
	gone, removed := false, make(chan struct{})
	err := in.Watch(ctx, func(c tenant.Change) error {
		switch {
		case c.Synced:
			time.AfterFunc(3*time.Second, func() { defer close(removed); w.RemoveNode(t, "resync-a") })
		case c.Node != nil && c.Node.Name == "resync-a":
			seen = append(seen, fmt.Sprintf("%+v", *c.Node))
		case c.Gone == "resync-a":
			gone = true
			cancel()
		}
		return nil
	})
	<-removed
	if !errors.Is(err, context.Canceled) || !gone {
		t.Errorf("Watch: %v, gone: %v", err, gone)
	}
	if len(seen) != len(slices.Compact(slices.Clone(seen))) || len(seen) == 0 {
		t.Errorf("the node was handed on like this:\n%s", strings.Join(seen, "\n"))
	}
}

func TestTwoBudgetsAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := hands{plane: thePlane(t)}
	in := must(w.Connector.Connect(t.Context(), w.Cluster, w.Kubeconfig))(t)
	w.AddNode(t, "two-budgets")
	w.AddPod(t, tenanttest.Pod{Name: "two-budgets", Node: "two-budgets", App: "two-budgets", Kind: tenanttest.Managed})
	h.protect(t, "two-budgets")
	budgets := h.kube.PolicyV1().PodDisruptionBudgets(podNamespace)
	again := must(budgets.Get(t.Context(), "two-budgets", metav1.GetOptions{}))(t)
	again.ObjectMeta = metav1.ObjectMeta{Name: "two-budgets-2"}
	must(budgets.Create(t.Context(), again, metav1.CreateOptions{}))(t)
	afterwards(t, func(ctx context.Context) { _ = budgets.Delete(ctx, again.Name, metav1.DeleteOptions{}) })
	_, err := in.Drain(t.Context(), "two-budgets", tenant.DrainOptions{Timeout: time.Second})
	if fault.CodeOf(err) != "drain_timeout" || !strings.Contains(err.Error(), "more than one PodDisruptionBudget") {
		t.Errorf("Drain: %v", err)
	}
}

// TestHollowNodeJoinsAndIsDrained is the whole way: a token, a real kubelet that
// joins with it, pods that run there, a budget that holds the drain up.
func TestHollowNodeJoinsAndIsDrained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := hands{plane: thePlane(t)}
	in := must(w.Connector.Connect(t.Context(), w.Cluster, w.Kubeconfig))(t)
	const node = "hollow-1"
	startNode(t, h.plane, in, node)
	h.deploy(t, "hollow-web", node, 3)
	release := h.protectAll(t, "hollow-web", 3)
	report, err := in.Drain(t.Context(), node, tenant.DrainOptions{Timeout: 2 * time.Second, GracePeriod: new(time.Duration)})
	if fault.CodeOf(err) != "drain_timeout" || len(report.Left) != 3 || !strings.Contains(err.Error(), "PodDisruptionBudget") {
		t.Errorf("Drain against the budget: %+v, %v", report, err)
	}
	time.AfterFunc(time.Second, release)
	began := time.Now()
	report, err = in.Drain(t.Context(), node, tenant.DrainOptions{Timeout: 30 * time.Second})
	if err != nil || len(report.Evicted) != 3 || len(report.Left) != 0 {
		t.Errorf("Drain: %+v, %v", report, err)
	}
	t.Logf("drained 3 running pods %v after the budget went", (time.Since(began) - time.Second).Round(time.Millisecond))
	check(t, in.DeleteNode(t.Context(), node))
}

// startNode joins a hollow node as the platform would have it join.
func startNode(t *testing.T, p *plane, in tenant.Tenant, name string) {
	t.Helper()
	if out, err := exec.Command(binary(), "node", "--help").CombinedOutput(); err != nil {
		t.Fatalf("kubebyon-localplane does not know hollow nodes: %v: %s", err, out)
	}
	check(t, in.PrepareJoin(t.Context()))
	b := tenant.BootstrapToken{ID: "hollow", Secret: secret.New("0123456789abcdef"), Expires: time.Now().Add(5 * time.Minute)}
	check(t, in.PutBootstrapToken(t.Context(), b))
	e := must(in.Endpoint(t.Context()))(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "join.yaml")
	check(t, os.WriteFile(config, []byte(fmt.Sprintf(joinConfiguration, e.Server, bearer(b), e.CACertHash, name)), 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	joined, end := make(chan struct{}), make(chan error, 1)
	go func() { end <- in.Watch(ctx, approveAll(ctx, in, b.ID, name, joined)) }()
	t.Cleanup(func() { cancel(); <-end })
	cmd, out, err := p.command("node", "--config", config, "--dir", filepath.Join(dir, "node"), "--name", name)
	check(t, err)
	go func() { _, _ = out.WriteTo(discard{}) }()
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	began := time.Now()
	select {
	case <-joined:
		t.Logf("the hollow node was Ready after %v", time.Since(began).Round(time.Millisecond))
	case err := <-end:
		end <- err
		t.Fatalf("Watch: %v", err)
	case <-time.After(60 * time.Second):
		t.Fatal("the hollow node is not Ready after 60 s")
	}
}

const joinConfiguration = `apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: "%s"
    token: "%s"
    caCertHashes: ["%s"]
nodeRegistration:
  name: "%s"
`

// approveAll plays the core: it approves what the token asks for.
func approveAll(ctx context.Context, in tenant.Tenant, token, name string, joined chan struct{}) func(tenant.Change) error {
	done := false
	return func(c tenant.Change) error {
		if c.Request != nil && c.Request.Bootstrap == token && c.Request.NodeName == name {
			return in.DecideJoin(ctx, *c.Request, true, "test")
		}
		if c.Node != nil && c.Node.Name == name && c.Node.Ready == tenant.True && !done {
			done = true
			close(joined)
		}
		return nil
	}
}

// deploy runs pods on one node and waits until they do.
func (h hands) deploy(t *testing.T, name, node string, replicas int32) {
	t.Helper()
	labels := map[string]string{"app": name}
	spec := podSpec(tenanttest.Pod{})
	spec.TerminationGracePeriodSeconds = new(int64)
	*spec.TerminationGracePeriodSeconds = 1
	spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	must(h.kube.AppsV1().Deployments(podNamespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}, metav1.CreateOptions{}))(t)
	afterwards(t, func(ctx context.Context) {
		_ = h.kube.AppsV1().Deployments(podNamespace).Delete(ctx, name, metav1.DeleteOptions{})
	})
	// Ready is not enough: a kubelet may say so before it says Running, and no
	// budget protects a pod that is Pending.
	eventually(t, "running pods", func() bool {
		pods := must(h.kube.CoreV1().Pods(podNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + name}))(t)
		pods.Items = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
		ready := must(h.kube.AppsV1().Deployments(podNamespace).Get(t.Context(), name, metav1.GetOptions{}))(t).Status.ReadyReplicas
		return ready == replicas && len(pods.Items) == int(replicas)
	})
}

// protectAll forbids every disruption and waits until that is known.
func (h hands) protectAll(t *testing.T, app string, pods int32) (release func()) {
	t.Helper()
	release = h.protect(t, app)
	budgets := h.kube.PolicyV1().PodDisruptionBudgets(podNamespace)
	patch := fmt.Appendf(nil, `{"spec":{"minAvailable":%d}}`, pods)
	b := must(budgets.Patch(t.Context(), app, types.MergePatchType, patch, metav1.PatchOptions{}))(t)
	eventually(t, "the budget to be counted", func() bool {
		now := must(budgets.Get(t.Context(), app, metav1.GetOptions{}))(t)
		return now.Status.ObservedGeneration == b.Generation && now.Status.CurrentHealthy == pods
	})
	return release
}

func TestConnectionsAreSharedAndLetGo(t *testing.T) {
	t.Parallel()
	now := time.Now()
	connector := kubetenant.New(kubetenant.Config{MaxOpen: 2, IdleAfter: time.Minute, Now: func() time.Time { return now }})
	t.Cleanup(connector.Close)
	one, two := kubeconfigOf(t, "https://127.0.0.1:1", nil), kubeconfigOf(t, "https://127.0.0.1:2", nil)
	connect := func(of id.Cluster, text secret.Text) tenant.Tenant {
		t.Helper()
		now = now.Add(time.Second)
		return must(connector.Connect(t.Context(), of, text))(t)
	}
	a, b, c := newCluster(), newCluster(), newCluster()
	first := connect(a, one)
	if connect(a, one) != first {
		t.Error("the same kubeconfig gave another tenant")
	}
	replaced := connect(a, two)
	if replaced == first || connect(a, two) != replaced {
		t.Error("a new kubeconfig did not replace the tenant")
	}
	connect(b, one)
	connect(c, one) // a is the least recently used of three
	if connect(a, two) == replaced {
		t.Error("more tenants are kept than allowed")
	}
	kept := connect(a, two)
	now = now.Add(2 * time.Minute)
	connect(b, one)
	if connect(a, two) == kept {
		t.Error("an unused tenant was kept for two minutes")
	}
}
