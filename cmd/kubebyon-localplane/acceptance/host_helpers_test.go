package acceptance

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// host is a running host in a box.
type host struct {
	*process
	dir string
}

// Hosts of tests listen where no other does. Their tenants are nobody's subject.
func hostArgs(dir string) []string {
	return []string{"host", "--dir", dir, "--bind-address", "own", "--light-tenants", "--secret-delay", "50ms", "--unsafe-no-fsync", "--max-starting", "2"}
}

func startHost(tb testing.TB, dir string, more ...string) *host {
	tb.Helper()
	h := &host{process: launch(tb, nil, append(hostArgs(dir), more...)...), dir: dir}
	h.await(tb, "ready")
	return h
}

// sharedHost is the host of all tests that only install on one.
var sharedHost struct {
	once sync.Once
	h    *host
	err  error
}

func theHost(tb testing.TB) *host {
	tb.Helper()
	sharedHost.once.Do(func() {
		dir := filepath.Join(scratch, "host")
		var p *process
		if p, sharedHost.err = start(binary(tb), nil, hostArgs(dir)...); sharedHost.err == nil {
			sharedHost.h = &host{process: p, dir: dir}
		}
	})
	if sharedHost.err != nil {
		tb.Fatal(sharedHost.err)
	}
	sharedHost.h.await(tb, "ready")
	return sharedHost.h
}

func (h *host) kubeconfig() string { return filepath.Join(h.dir, "admin.kubeconfig") }

func (h *host) client(tb testing.TB) kubernetes.Interface {
	tb.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", h.kubeconfig())
	if err != nil {
		tb.Fatal(err)
	}
	config.QPS = -1
	return clientOf(tb, config)
}

// release is what a chart would have installed.
type release struct {
	Name, Version, SAN, Server, Service, Behave string
}

// install applies the release as the chart renders it, in a namespace of its name.
func (h *host) install(tb testing.TB, r release) {
	tb.Helper()
	if r.SAN == "" {
		r.SAN = "first.example.org"
	}
	text, err := template.ParseFiles("testdata/tenant.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	var rendered bytes.Buffer
	if err := text.Execute(&rendered, r); err != nil {
		tb.Fatal(err)
	}
	_, err = h.client(tb).CoreV1().Namespaces().Create(tb.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.Name}}, metav1.CreateOptions{})
	if err != nil && !strings.Contains(err.Error(), "already exists") {
		tb.Fatal(err)
	}
	apply := exec.CommandContext(tb.Context(), kubectl(tb), "--kubeconfig", h.kubeconfig(), "--cache-dir", tb.TempDir(), "-n", r.Name, "apply", "-f", "-")
	apply.Stdin = &rendered
	if out, err := apply.CombinedOutput(); err != nil {
		tb.Fatalf("%v\n%s", err, out)
	}
}

func kubectl(tb testing.TB) string {
	tb.Helper()
	if named := os.Getenv("KUBEBYON_KUBECTL"); named != "" {
		return named
	}
	path, err := exec.LookPath("kubectl")
	if err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatal("no kubectl: set KUBEBYON_KUBECTL")
		}
		tb.Skip("no kubectl: set KUBEBYON_KUBECTL")
	}
	return path
}

// come waits until check is content; until then it says why it is not.
func come(tb testing.TB, check func(ctx context.Context) string) {
	tb.Helper()
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = check(tb.Context()); last == "" {
			return
		}
	}
	tb.Fatal(last)
}

// pod waits until the release's pod is as it should be.
func (h *host) pod(tb testing.TB, name string, is func(p *corev1.Pod) bool) {
	tb.Helper()
	client := h.client(tb)
	come(tb, func(ctx context.Context) string {
		p, err := client.CoreV1().Pods(name).Get(ctx, name+"-0", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if !is(p) {
			status, _ := json.Marshal(p.Status)
			return "the pod's status is " + string(status)
		}
		return ""
	})
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning && c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// secret waits for the kubeconfig's Secret that is as it should be.
func (h *host) secret(tb testing.TB, name string, is func(s *corev1.Secret) bool) *corev1.Secret {
	tb.Helper()
	client := h.client(tb)
	var found *corev1.Secret
	come(tb, func(ctx context.Context) string {
		s, err := client.CoreV1().Secrets(name).Get(ctx, "vc-"+name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if !is(s) {
			return "the Secret is not as it should be"
		}
		found = s
		return ""
	})
	return found
}

func anySecret(*corev1.Secret) bool { return true }

// through is a client of the tenant by its exported kubeconfig, which goes to address.
func through(tb testing.TB, s *corev1.Secret, address, serverName string) kubernetes.Interface {
	tb.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(s.Data["config"])
	if err != nil {
		tb.Fatal(err)
	}
	config = rest.CopyConfig(config)
	config.Host, config.ServerName, config.QPS = "https://"+address, serverName, -1
	return clientOf(tb, config)
}

func answers(tb testing.TB, client kubernetes.Interface) {
	tb.Helper()
	come(tb, func(ctx context.Context) string {
		body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err != nil || string(body) != "ok" {
			return "/readyz says " + string(body) + " " + errorText(err)
		}
		return ""
	})
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// nodePort is where the release's Service is on the node.
func (h *host) nodePort(tb testing.TB, name string) string {
	tb.Helper()
	client := h.client(tb)
	s, err := client.CoreV1().Services(name).Get(tb.Context(), name, metav1.GetOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	node, err := client.CoreV1().Nodes().Get(tb.Context(), "localplane", metav1.GetOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return net.JoinHostPort(node.Status.Addresses[0].Address, strconv.Itoa(int(s.Spec.Ports[0].NodePort)))
}

// names are those of the certificate that is served at address.
func namesAt(tb testing.TB, address string) []string {
	tb.Helper()
	c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(tb.Context(), "tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].DNSNames //nolint:forcetypeassert // of a tls.Dialer
}
