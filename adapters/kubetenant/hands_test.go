package kubetenant_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"

	"github.com/kubebyon/kubebyon/adapters/kubetenant"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
	"github.com/kubebyon/kubebyon/ports/tenant/tenanttest"
)

// hands do inside the real tenant what machines and owners do.
type hands struct {
	*plane
	wire *wire
}

func newWorld(t *testing.T) tenanttest.World {
	t.Helper()
	return newWorldWith(t, kubetenant.Config{})
}

func newWorldWith(t *testing.T, c kubetenant.Config) tenanttest.World {
	t.Helper()
	p := thePlane(t)
	c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	connector := kubetenant.New(c)
	t.Cleanup(connector.Close)
	h := hands{p, newWire(t, strings.TrimPrefix(p.admin.Host, "https://"))}
	return tenanttest.World{
		Connector: connector, Cluster: newCluster(), Kubeconfig: h.kubeconfig(t), Namespace: podNamespace,
		AddNode: h.addNode, SetReady: h.setReady, Heartbeat: h.heartbeat, RemoveNode: h.removeNode,
		AddPod: h.addPod, HasPod: h.hasPod, Protect: h.protect,
		Ask: h.ask, AskOtherwise: h.askOtherwise, Verdict: h.verdict, Forget: h.forget, Replace: h.replace,
		Authenticates: h.authenticates, Signed: h.signed, Cut: h.wire.cut,
	}
}

func newCluster() id.Cluster {
	var random [10]byte
	_, _ = rand.Read(random[:])
	return id.New[id.ClusterKind](time.Now(), random)
}

// kubeconfig is the administrator's, by way of the wire.
func (h hands) kubeconfig(t *testing.T) secret.Text {
	t.Helper()
	return kubeconfigTo(t, h.kubeconfigPath(), "https://"+h.wire.at)
}

func kubeconfigTo(t *testing.T, path, server string) secret.Text {
	t.Helper()
	file := must(clientcmd.LoadFromFile(path))(t)
	for _, c := range file.Clusters {
		c.Server = server
	}
	return secret.New(string(must(clientcmd.Write(*file))(t)))
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// afterwards cleans up also when the test's context has ended.
func afterwards(t *testing.T, f func(context.Context)) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		f(ctx)
	})
}

func (h hands) addNode(t *testing.T, name string) {
	t.Helper()
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
	_, err := h.kube.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status:     corev1.NodeStatus{Capacity: room, Allocatable: room, Conditions: []corev1.NodeCondition{ready(tenant.True, "")}},
	}, metav1.CreateOptions{})
	check(t, err)
	afterwards(t, func(ctx context.Context) { _ = h.kube.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{}) })
}

func ready(c tenant.Condition, message string) corev1.NodeCondition {
	now := metav1.Now()
	return corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionStatus(c), Reason: "Test", Message: message, LastHeartbeatTime: now, LastTransitionTime: now,
	}
}

func (h hands) changeStatus(t *testing.T, name string, change func(*corev1.Node)) {
	t.Helper()
	check(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		n, err := h.kube.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(n)
		_, err = h.kube.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{})
		return err
	}))
}

func (h hands) setReady(t *testing.T, name string, c tenant.Condition, message string) {
	t.Helper()
	h.changeStatus(t, name, func(n *corev1.Node) {
		for i := range n.Status.Conditions {
			if n.Status.Conditions[i].Type == corev1.NodeReady {
				n.Status.Conditions[i] = ready(c, message)
			}
		}
	})
}

func (h hands) heartbeat(t *testing.T, name string) {
	t.Helper()
	h.changeStatus(t, name, func(n *corev1.Node) {
		for i := range n.Status.Conditions {
			n.Status.Conditions[i].LastHeartbeatTime = metav1.NewTime(time.Now().Add(time.Duration(time.Now().Nanosecond()) * time.Microsecond))
		}
	})
}

func (h hands) removeNode(t *testing.T, name string) {
	t.Helper()
	check(t, h.kube.CoreV1().Nodes().Delete(t.Context(), name, metav1.DeleteOptions{}))
}

func (h hands) addPod(t *testing.T, p tenanttest.Pod) tenant.Pod {
	t.Helper()
	if p.Kind == tenanttest.DaemonSet {
		return h.addDaemon(t, p)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: podNamespace, Name: p.Name, Labels: map[string]string{"app": p.App}},
		Spec:       podSpec(p),
	}
	pod.Spec.NodeName = p.Node
	switch p.Kind {
	case tenanttest.Managed:
		pod.OwnerReferences = []metav1.OwnerReference{h.owner(t, p.Name)}
	case tenanttest.Mirror:
		pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "mirror"}
	case tenanttest.DaemonSet, tenanttest.Unmanaged:
	}
	made := must(h.kube.CoreV1().Pods(podNamespace).Create(t.Context(), pod, metav1.CreateOptions{}))(t)
	afterwards(t, func(ctx context.Context) { h.removePod(ctx, made.Name) })
	made.Status.Phase = corev1.PodRunning
	made.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if p.Finished {
		made.Status.Phase, made.Status.Conditions = corev1.PodSucceeded, nil
	}
	must(h.kube.CoreV1().Pods(podNamespace).UpdateStatus(t.Context(), made, metav1.UpdateOptions{}))(t)
	return tenant.Pod{Namespace: podNamespace, Name: made.Name}
}

func (h hands) removePod(ctx context.Context, name string) {
	_ = h.kube.CoreV1().Pods(podNamespace).Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
}

// podSpec is for nodes without a kubelet, where a pod is gone at once when it
// has no grace period, and stays for ever when it has one.
func podSpec(p tenanttest.Pod) corev1.PodSpec {
	no, grace := false, int64(0)
	if p.Stuck {
		grace = 3600
	}
	spec := corev1.PodSpec{
		Containers:                    []corev1.Container{{Name: "c", Image: "registry.example/none:1"}},
		TerminationGracePeriodSeconds: &grace, AutomountServiceAccountToken: &no,
	}
	if p.EmptyDir {
		spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}
	return spec
}

// owner is a controller that exists, or the garbage collector would take its
// pods, and that does nothing with them.
func (h hands) owner(t *testing.T, name string) metav1.OwnerReference {
	t.Helper()
	yes := true
	m := must(h.kube.CoreV1().ConfigMaps(podNamespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))(t)
	afterwards(t, func(ctx context.Context) {
		_ = h.kube.CoreV1().ConfigMaps(podNamespace).Delete(ctx, name, metav1.DeleteOptions{})
	})
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: m.Name, UID: m.UID, Controller: &yes}
}

// addDaemon makes a real DaemonSet for one node and waits for its pod.
func (h hands) addDaemon(t *testing.T, p tenanttest.Pod) tenant.Pod {
	t.Helper()
	labels := map[string]string{"daemon": p.Name}
	spec := podSpec(p)
	spec.NodeSelector = map[string]string{corev1.LabelHostname: p.Node}
	must(h.kube.AppsV1().DaemonSets(podNamespace).Create(t.Context(), &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
		},
	}, metav1.CreateOptions{}))(t)
	afterwards(t, func(ctx context.Context) {
		_ = h.kube.AppsV1().DaemonSets(podNamespace).Delete(ctx, p.Name, metav1.DeleteOptions{})
	})
	return h.awaitPod(t, "daemon="+p.Name, p.Node)
}

func (h hands) awaitPod(t *testing.T, selector, node string) (found tenant.Pod) {
	t.Helper()
	eventually(t, "a pod "+selector+" on "+node, func() bool {
		pods := must(h.kube.CoreV1().Pods(podNamespace).List(t.Context(), metav1.ListOptions{LabelSelector: selector}))(t)
		for _, pod := range pods.Items {
			if pod.Spec.NodeName == node {
				found = tenant.Pod{Namespace: pod.Namespace, Name: pod.Name}
				return true
			}
		}
		return false
	})
	return found
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(30 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("after 30 s there is still not: %s", what)
		}
	}
}

func (h hands) hasPod(t *testing.T, p tenant.Pod) bool {
	t.Helper()
	_, err := h.kube.CoreV1().Pods(p.Namespace).Get(t.Context(), p.Name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

func (h hands) protect(t *testing.T, app string) (release func()) {
	t.Helper()
	one := intstr.FromInt32(1)
	budgets := h.kube.PolicyV1().PodDisruptionBudgets(podNamespace)
	must(budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}, metav1.CreateOptions{}))(t)
	release = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = budgets.Delete(ctx, app, metav1.DeleteOptions{})
	})
	t.Cleanup(release)
	return release
}

// stranger speaks to the control plane as whoever holds a bearer token.
func (h hands) stranger(t *testing.T, bearer string) *kubernetes.Clientset {
	t.Helper()
	c := rest.AnonymousClientConfig(h.admin)
	c.BearerToken = bearer
	return must(kubernetes.NewForConfig(c))(t)
}

// person may ask for certificates as machines may, but is none. (It cannot be
// the administrator: what they ask for is approved by the cluster itself.)
func (h hands) person(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	c := rest.CopyConfig(h.admin)
	c.Impersonate = rest.ImpersonationConfig{UserName: "alice", Groups: []string{"system:authenticated", "system:bootstrappers:kubebyon:join"}}
	return must(kubernetes.NewForConfig(c))(t)
}

// question is a certificate request to be.
type question struct {
	subject pkix.Name
	dns     []string
	signer  string
	usages  []certificatesv1.KeyUsage
}

func kubelets(node string) question {
	return question{
		subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		signer:  certificatesv1.KubeAPIServerClientKubeletSignerName,
		usages:  []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
	}
}

// request makes a key and a certificate request, and hashes the former.
func (q question) request(t *testing.T) (text []byte, keyHash string) {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: q.subject, DNSNames: q.dns}, key))(t)
	public := must(x509.MarshalPKIXPublicKey(key.Public()))(t)
	sum := sha256.Sum256(public)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), hex.EncodeToString(sum[:])
}

// submit waits for the rights that PrepareJoin has granted to be known.
func (h hands) submit(t *testing.T, as kubernetes.Interface, q question) (name, keyHash string) {
	t.Helper()
	name = "node-csr-" + strings.ToLower(rand.Text())
	_, keyHash = h.submitAs(t, as, name, q)
	return name, keyHash
}

func (h hands) submitAs(t *testing.T, as kubernetes.Interface, name string, q question) (uid, keyHash string) {
	t.Helper()
	text, keyHash := q.request(t)
	eventually(t, "the right to ask for a certificate", func() bool {
		made, err := as.CertificatesV1().CertificateSigningRequests().Create(t.Context(), &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       certificatesv1.CertificateSigningRequestSpec{Request: text, SignerName: q.signer, Usages: q.usages},
		}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsForbidden(err) {
			t.Fatal(err)
		}
		if err == nil {
			uid = string(made.UID)
		}
		return err == nil
	})
	afterwards(t, func(ctx context.Context) {
		_ = h.kube.CertificatesV1().CertificateSigningRequests().Delete(ctx, name, metav1.DeleteOptions{})
	})
	return uid, keyHash
}

func bearer(b tenant.BootstrapToken) string { return b.ID + "." + b.Secret.Reveal() }

func (h hands) ask(t *testing.T, b tenant.BootstrapToken, node string) tenant.JoinRequest {
	t.Helper()
	return h.askAs(t, "node-csr-"+strings.ToLower(rand.Text()), b, node)
}

func (h hands) askAs(t *testing.T, name string, b tenant.BootstrapToken, node string) tenant.JoinRequest {
	t.Helper()
	uid, keyHash := h.submitAs(t, h.stranger(t, bearer(b)), name, kubelets(node))
	return tenant.JoinRequest{Name: name, UID: uid, Bootstrap: b.ID, NodeName: node, KeyHash: keyHash}
}

func (h hands) replace(t *testing.T, r tenant.JoinRequest, b tenant.BootstrapToken, node string) tenant.JoinRequest {
	t.Helper()
	h.forget(t, r.Name)
	return h.askAs(t, r.Name, b, node)
}

func (h hands) askOtherwise(t *testing.T, b tenant.BootstrapToken) (names []string) {
	t.Helper()
	machine := h.stranger(t, bearer(b))
	node := "node-" + strings.ToLower(rand.Text()[:8])
	spoiled := func(spoil func(*question)) question {
		q := kubelets(node)
		spoil(&q)
		return q
	}
	for _, c := range []struct {
		by kubernetes.Interface
		q  question
	}{
		{h.person(t), kubelets(node)},
		{machine, spoiled(func(q *question) { q.signer = certificatesv1.KubeAPIServerClientSignerName })},
		{machine, spoiled(func(q *question) { q.subject.CommonName = "kubernetes-admin" })},
		{machine, spoiled(func(q *question) { q.subject.CommonName = "system:node:" })},
		{machine, spoiled(func(q *question) { q.subject.CommonName = "system:node:../../etc" })},
		{machine, spoiled(func(q *question) { q.subject.CommonName = "system:node:UPPER" })},
		{machine, spoiled(func(q *question) { q.subject.Organization = []string{"system:nodes", "system:masters"} })},
		{machine, spoiled(func(q *question) { q.subject.Organization = []string{"system:masters"} })},
		{machine, spoiled(func(q *question) { q.subject.OrganizationalUnit = []string{"more"} })},
		{machine, spoiled(func(q *question) { q.dns = []string{"kubernetes.default"} })},
		{machine, spoiled(func(q *question) { q.usages = append(q.usages, certificatesv1.UsageServerAuth) })},
	} {
		name, _ := h.submit(t, c.by, c.q)
		names = append(names, name)
	}
	return names
}

func (h hands) verdict(t *testing.T, name string) (v tenanttest.Verdict) {
	t.Helper()
	r := must(h.kube.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{}))(t)
	for _, c := range r.Status.Conditions {
		v.Approved = v.Approved || c.Type == certificatesv1.CertificateApproved
		v.Denied = v.Denied || c.Type == certificatesv1.CertificateDenied
		v.Message = c.Message
	}
	return v
}

func (h hands) forget(t *testing.T, name string) {
	t.Helper()
	check(t, h.kube.CertificatesV1().CertificateSigningRequests().Delete(t.Context(), name, metav1.DeleteOptions{}))
}

func (h hands) authenticates(t *testing.T, tokenID string, value secret.Text) bool {
	t.Helper()
	code := 0
	_ = h.stranger(t, tokenID+"."+value.Reveal()).RESTClient().Get().AbsPath("/version").Do(t.Context()).StatusCode(&code)
	if code != http.StatusOK && code != http.StatusUnauthorized {
		t.Fatalf("GET /version with a bootstrap token: status %d", code)
	}
	return code == http.StatusOK
}

func (h hands) signed(t *testing.T, tokenID string) bool {
	t.Helper()
	m := must(h.kube.CoreV1().ConfigMaps("kube-public").Get(t.Context(), "cluster-info", metav1.GetOptions{}))(t)
	return m.Data["jws-kubeconfig-"+tokenID] != ""
}
