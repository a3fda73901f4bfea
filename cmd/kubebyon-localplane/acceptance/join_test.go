package acceptance

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// token is a bootstrap token.
type token struct{ id, secret string }

func (k token) String() string { return k.id + "." + k.secret }

func randomToken() token {
	letters := func(n int) string {
		const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
		out := make([]byte, n)
		for i := range out {
			out[i] = alphabet[rand.IntN(len(alphabet))]
		}
		return string(out)
	}
	return token{letters(6), letters(16)}
}

// mint makes a token that lives for a while, as KubeBYON does.
func mint(t testing.TB, client kubernetes.Interface, lives time.Duration) token {
	t.Helper()
	k := randomToken()
	_, err := client.CoreV1().Secrets("kube-system").Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + k.id}, Type: "bootstrap.kubernetes.io/token",
		StringData: map[string]string{
			"token-id": k.id, "token-secret": k.secret,
			"expiration":                     time.Now().Add(lives).UTC().Format(time.RFC3339),
			"usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
			"auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (t *tenant) hash(tb testing.TB) string {
	tb.Helper()
	block, _ := pem.Decode([]byte(t.read(tb, "pki/ca.crt")))
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256(authority.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// join is a JoinConfiguration.
type join struct {
	endpoint, hash, name string
	token                token
}

func (j join) write(tb testing.TB) string {
	tb.Helper()
	dir := room(tb)
	path := filepath.Join(dir, "join.yaml")
	content := fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken: {apiServerEndpoint: %q, token: %s, caCertHashes: [%q]}
nodeRegistration:
  name: %s
  taints: [{key: tier, value: edge, effect: PreferNoSchedule}]
  kubeletExtraArgs:
  - {name: node-labels, value: "kubebyon.io/node=n-1,zone=a"}
`, j.endpoint, j.token, j.hash, j.name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	give(tb, path)
	return path
}

// room is a directory that an unprivileged user may enter and have.
func room(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp(scratch, "node-") //nolint:usetesting // others may not enter the test's own
	if err != nil {
		tb.Fatal(err)
	}
	give(tb, dir)
	return dir
}

const nobody = 65534

func give(tb testing.TB, path string) {
	tb.Helper()
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		tb.Fatal(err)
	}
}

// asNobody runs a node without root, also where the tests have it.
func asNobody(c *exec.Cmd) {
	if os.Getuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	c.Dir = "/"
	c.Env = []string{"HOME=/nonexistent", "TMPDIR=/nonexistent", "PATH=" + os.Getenv("PATH")}
}

func joinNode(t testing.TB, dir string, j join, more ...string) *process {
	t.Helper()
	return launch(t, asNobody, append([]string{"node", "--config", j.write(t), "--dir", dir}, more...)...)
}

// newNode joins a node and waits until it is ready.
func newNode(t testing.TB, plane *tenant, name string) (*process, string, token) {
	t.Helper()
	k := mint(t, plane.client(t), time.Hour)
	dir := room(t)
	p := joinNode(t, dir, join{plane.endpoint(), plane.hash(t), name, k})
	p.await(t, "ready")
	return p, dir, k
}

func TestNodeJoinsAndComesBackWithoutItsToken(t *testing.T) {
	t.Parallel()
	plane := shared.get(t)
	client := plane.client(t)
	p, dir, k := newNode(t, plane, "joins")
	if got, want := p.stages(), []string{"discovered", "bootstrapped", "registered", "ready"}; !slices.Equal(got, want) {
		t.Errorf("stages %v, want %v", got, want)
	}
	node := getNode(t, client, "joins")
	if node.Labels["kubebyon.io/node"] != "n-1" || node.Labels["zone"] != "a" || !hasTaint(node, "tier") {
		t.Errorf("labels %v, taints %v", node.Labels, node.Spec.Taints)
	}
	if node.Status.Capacity.Cpu().IsZero() || node.Status.NodeInfo.OSImage == "" || node.Status.NodeInfo.KubeletVersion == "" {
		t.Errorf("reports no machine: %v", node.Status)
	}
	if !askedFor(t, client, "system:bootstrap:"+k.id) {
		t.Error("no signing request of the token")
	}
	secretNowhere(t, dir, k)
	pid := strings.TrimSpace(read(t, filepath.Join(dir, "node.pid")))
	if pid != fmt.Sprint(p.cmd.Process.Pid) {
		t.Errorf("node.pid says %s, runs as %d", pid, p.cmd.Process.Pid)
	}
	p.stop(t)

	if err := client.CoreV1().Secrets("kube-system").Delete(t.Context(), "bootstrap-token-"+k.id, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := launch(t, asNobody, "node", "--dir", dir)
	again.await(t, "ready")
	if uid := getNode(t, client, "joins").UID; uid != node.UID {
		t.Error("came back as another node")
	}
	again.stop(t)

	// A deleted Node comes back with the next start, and is the same machine with the same name.
	if err := client.CoreV1().Nodes().Delete(t.Context(), "joins", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	third := launch(t, asNobody, "node", "--dir", dir)
	third.await(t, "ready")
	if uid := getNode(t, client, "joins").UID; uid == node.UID {
		t.Error("the deleted Node is still there")
	}
}

func TestJoinsAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	plane := shared.get(t)
	client := plane.client(t)
	good := mint(t, client, time.Hour)
	wrongSecret := token{good.id, randomToken().secret}
	expired := mint(t, client, -time.Minute)
	unknown := randomToken()
	hash := plane.hash(t)
	closed := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	for name, c := range map[string]struct {
		join join
		want string
	}{
		"WrongHash":    {join{plane.endpoint(), "sha256:" + strings.Repeat("0", 64), "refused", good}, "is not the pinned one: it has the hash " + hash},
		"UnknownToken": {join{plane.endpoint(), hash, "refused", unknown}, "The token " + unknown.id + " is not known to the control plane"},
		"ExpiredToken": {join{plane.endpoint(), hash, "refused", expired}, "The token " + expired.id + " is not known to the control plane at " + plane.endpoint() + ", or has expired."},
		"WrongSecret":  {join{plane.endpoint(), hash, "refused", wrongSecret}, "its secret does not match"},
		"Unreachable":  {join{closed, hash, "refused", good}, "cannot be reached: connection refused"},
		"BadName":      {join{plane.endpoint(), hash, "Not_A_Name", good}, "The node name \"Not_A_Name\" is not valid"},
		"BadHash":      {join{plane.endpoint(), "md5:0", "refused", good}, "caCertHashes are not valid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := room(t)
			reason := joinNode(t, dir, c.join, "--patience", "3s").awaitFailure(t)
			if !strings.Contains(reason, c.want) {
				t.Errorf("refused with %q, want %q", reason, c.want)
			}
			if strings.Contains(reason, c.join.token.secret) {
				t.Error("the reason gives the token away")
			}
			secretNowhere(t, dir, c.join.token)
			if _, err := os.Stat(filepath.Join(dir, "kubelet.conf")); err == nil {
				t.Error("a refused join left credentials")
			}
		})
	}
	t.Run("NothingToJoin", func(t *testing.T) {
		t.Parallel()
		reason := launch(t, asNobody, "node", "--dir", room(t)).awaitFailure(t)
		if !strings.Contains(reason, "a join configuration is needed") {
			t.Errorf("refused with %q", reason)
		}
	})
}

func TestNameOfAReadyNodeIsRefused(t *testing.T) {
	t.Parallel()
	plane := shared.get(t)
	_, dir, _ := newNode(t, plane, "first")
	k := mint(t, plane.client(t), time.Hour)
	reason := joinNode(t, room(t), join{plane.endpoint(), plane.hash(t), "first", k}).awaitFailure(t)
	if !strings.Contains(reason, "A node with the name first has joined already and is ready") {
		t.Errorf("refused with %q", reason)
	}
	reason = joinNode(t, dir, join{plane.endpoint(), plane.hash(t), "first", k}).awaitFailure(t)
	if !strings.Contains(reason, "Another running process uses the directory") {
		t.Errorf("the same directory refused with %q", reason)
	}
}

func TestDirectoryOfAnotherNodeIsRefused(t *testing.T) {
	t.Parallel()
	plane := shared.get(t)
	p, dir, _ := newNode(t, plane, "mine")
	p.stop(t)
	k := mint(t, plane.client(t), time.Hour)
	for want, j := range map[string]join{
		"belongs to the node mine":                    {plane.endpoint(), plane.hash(t), "yours", k},
		"belongs to a node of https":                  {"127.0.0.1:1", plane.hash(t), "mine", k},
		"belongs to a node of another control plane ": {plane.endpoint(), "sha256:" + strings.Repeat("0", 64), "mine", k},
	} {
		if reason := joinNode(t, dir, j).awaitFailure(t); !strings.Contains(reason, want) {
			t.Errorf("refused with %q, want %q", reason, want)
		}
	}
	// The same join again is the same node.
	joinNode(t, dir, join{plane.endpoint(), plane.hash(t), "mine", k}).await(t, "ready")
}

func TestPodsRunAndEnd(t *testing.T) {
	t.Parallel()
	plane := shared.get(t)
	client := plane.client(t)
	newNode(t, plane, "runs")
	pods := client.CoreV1().Pods("default")
	hostPath := filepath.Join(t.TempDir(), "made-by-a-pod")
	for _, name := range []string{"deleted", "evicted"} {
		if _, err := pods.Create(t.Context(), pod(name, "runs", hostPath), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	addresses := map[string]bool{}
	for _, name := range []string{"deleted", "evicted"} {
		eventually(t, name+" runs", func() bool {
			p, err := pods.Get(t.Context(), name, metav1.GetOptions{})
			if err == nil && p.Status.Phase == corev1.PodRunning && podReady(p) {
				addresses[p.Status.PodIP] = true
				return true
			}
			return false
		})
	}
	if len(addresses) != 2 {
		t.Errorf("two pods have the addresses %v", addresses)
	}
	eventually(t, "the node tells of a started container", func() bool {
		events, err := client.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=deleted,reason=Started"})
		return err == nil && len(events.Items) > 0
	})
	if _, err := os.Stat(hostPath); err == nil {
		t.Error("a pod made a directory on this machine")
	}
	if err := pods.Delete(t.Context(), "deleted", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "evicted", Namespace: "default"}}
	if err := pods.EvictV1(t.Context(), eviction); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"deleted", "evicted"} {
		eventually(t, name+" is gone", func() bool {
			_, err := pods.Get(t.Context(), name, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		})
	}
}

func TestJoinObjectsSayWhatKubeadmReads(t *testing.T) {
	t.Parallel()
	plane := shared.get(t)
	k := mint(t, plane.client(t), time.Hour)
	var kubeconfig string
	stranger := clientOf(t, &rest.Config{Host: "https://" + plane.endpoint(), TLSClientConfig: rest.TLSClientConfig{CAData: []byte(plane.read(t, "pki/ca.crt"))}})
	eventually(t, "cluster-info is signed", func() bool {
		info, err := stranger.CoreV1().ConfigMaps("kube-public").Get(t.Context(), "cluster-info", metav1.GetOptions{})
		if err != nil {
			t.Fatalf("a stranger may not read cluster-info: %v", err)
		}
		kubeconfig = info.Data["kubeconfig"]
		return info.Data["jws-kubeconfig-"+k.id] != ""
	})
	if !strings.Contains(kubeconfig, "server: https://"+plane.endpoint()) {
		t.Errorf("cluster-info: %s", kubeconfig)
	}
	if _, err := stranger.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger reads secrets: %v", err)
	}

	joiner := clientOf(t, &rest.Config{Host: "https://" + plane.endpoint(), BearerToken: k.String(), TLSClientConfig: rest.TLSClientConfig{CAData: []byte(plane.read(t, "pki/ca.crt"))}})
	for name, want := range map[string]string{"kubeadm-config": "kubeadm.k8s.io/v1beta4", "kubelet-config": "kubelet.config.k8s.io/v1beta1"} {
		got, err := joiner.CoreV1().ConfigMaps("kube-system").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || !strings.Contains(fmt.Sprint(got.Data), want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := joiner.CoreV1().Nodes().Get(t.Context(), "nobody", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a joiner may not look whether its name is taken: %v", err)
	}
	if _, err := joiner.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a joiner reads secrets: %v", err)
	}
	rotation, err := plane.client(t).RbacV1().ClusterRoleBindings().Get(t.Context(), "kubeadm:node-autoapprove-certificate-rotation", metav1.GetOptions{})
	if err != nil || rotation.Subjects[0].Name != "system:nodes" {
		t.Errorf("nodes may not renew their certificates: %v, %v", rotation, err)
	}
}

func pod(name, node, hostPath string) *corev1.Pod {
	create, user, group := corev1.HostPathDirectoryOrCreate, int64(1000), int64(2000)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeSelector:    map[string]string{"kubernetes.io/hostname": node},
			SecurityContext: &corev1.PodSecurityContext{RunAsUser: &user, FSGroup: &group},
			Containers: []corev1.Container{{
				Name: "main", Image: "example.org/nothing:1",
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}},
				VolumeMounts: []corev1.VolumeMount{
					{Name: "scratch", MountPath: "/scratch", SubPath: "part"},
					{Name: "host", MountPath: "/host"},
					{Name: "authority", MountPath: "/authority"},
				},
			}},
			Volumes: []corev1.Volume{
				{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: hostPath, Type: &create}}},
				{Name: "authority", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}}}},
			},
		},
	}
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func getNode(t *testing.T, client kubernetes.Interface, name string) *corev1.Node {
	t.Helper()
	node, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func hasTaint(node *corev1.Node, key string) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == key })
}

func askedFor(t *testing.T, client kubernetes.Interface, user string) bool {
	t.Helper()
	requests, err := client.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range requests.Items {
		if request.Spec.Username == user {
			return true
		}
	}
	return false
}

// secretNowhere looks for a token's secret in everything a node wrote.
func secretNowhere(t *testing.T, dir string, k token) {
	t.Helper()
	for _, path := range filesUnder(t, dir) {
		if content, err := os.ReadFile(path); err == nil && strings.Contains(string(content), k.secret) {
			t.Errorf("%s holds the token", path)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Errorf("not within %s: %s", patience, what)
}
