package deploy_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/api/meta"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// shared is the one real API server of this package's tests. It starts when a
// test first asks for it.
var shared = plane{}

func TestMain(m *testing.M) {
	code := m.Run()
	shared.end()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// plane is a host cluster in a box. It runs control planes, and nothing else:
// other pods stay pending.
type plane struct {
	start sync.Once
	err   error
	dir   string
	life  *os.File // the process ends when this closes, even if the test is killed
	cmd   *exec.Cmd
	exits chan struct{}
	admin *rest.Config

	mu      sync.Mutex
	clients []*rest.Config
}

func binary() string {
	if path := os.Getenv("KUBEBYON_LOCALPLANE"); path != "" {
		return path
	}
	path, _ := filepath.Abs("../bin/kubebyon-localplane")
	return path
}

func thePlane(t *testing.T) *plane {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real API server")
	}
	if _, err := os.Stat(binary()); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no kubebyon-localplane: %v", err)
		}
		t.Skipf("no kubebyon-localplane (make bin/kubebyon-localplane): %v", err)
	}
	shared.start.Do(func() { shared.err = shared.begin() })
	if shared.err != nil {
		t.Fatalf("start control plane: %v", shared.err)
	}
	return &shared
}

func (p *plane) begin() (err error) {
	if p.dir, err = os.MkdirTemp("", "kubebyon-deploy"); err != nil {
		return err
	}
	if err := p.run(); err != nil {
		return err
	}
	p.admin, err = clientcmd.BuildConfigFromFlags("", filepath.Join(p.dir, "host", "admin.kubeconfig"))
	if err != nil {
		return err
	}
	p.admin.QPS, p.admin.Burst, p.admin.WarningHandler = 1000, 1000, rest.NoWarnings{}
	return nil
}

func (p *plane) run() error {
	lifeline, life, err := os.Pipe()
	if err != nil {
		return err
	}
	defer lifeline.Close()
	p.life = life
	cmd := exec.Command(binary(), "host", "--dir", filepath.Join(p.dir, "host"), "--bind-address", "own", "--light-tenants", "--unsafe-no-fsync",
		"--secret-delay", "100ms", "--behave", "enough=never", "--lifeline-fd", "3")
	cmd.ExtraFiles, cmd.Stderr = []*os.File{lifeline}, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.exits = cmd, make(chan struct{})
	ready := make(chan error, 1)
	go func() {
		defer close(p.exits)
		lines := bufio.NewScanner(out)
		ready <- awaitReady(lines)
		for lines.Scan() { // what it still says is nobody's interest
		}
		_ = cmd.Wait()
	}()
	select {
	case err := <-ready:
		return err
	case <-time.After(120 * time.Second):
		return errors.New("not ready after 120 s")
	}
}

func awaitReady(lines *bufio.Scanner) error {
	var seen []string
	for lines.Scan() {
		seen = append(seen, lines.Text())
		var progress struct{ Stage string }
		if json.Unmarshal(lines.Bytes(), &progress) == nil && progress.Stage == "ready" {
			return nil
		}
	}
	return fmt.Errorf("ended before it was ready; it said %s", strings.Join(seen, "\n"))
}

func (p *plane) end() {
	if p.cmd == nil {
		return
	}
	defer p.life.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exits:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		<-p.exits
	}
	for _, c := range p.clients {
		if transport, err := rest.TransportFor(c); err == nil {
			utilnet.CloseIdleConnectionsFor(transport)
		}
	}
	_ = os.RemoveAll(p.dir)
}

// user is somebody on the host cluster: an administrator, or one whom the
// administrator plays.
type user struct {
	config  *rest.Config
	kube    *kubernetes.Clientset
	dynamic *dynamic.DynamicClient
	found   discovery.CachedDiscoveryInterface
	mapper  meta.RESTMapper
}

func (p *plane) as(t *testing.T, who rest.ImpersonationConfig) user {
	t.Helper()
	config := rest.CopyConfig(p.admin)
	config.Impersonate = who
	u := user{config: config}
	var err error
	if u.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if u.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	u.found = memory.NewMemCacheClient(u.kube.Discovery())
	u.mapper = restmapper.NewDeferredDiscoveryRESTMapper(u.found)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients = append(p.clients, config)
	return u
}

func (p *plane) administrator(t *testing.T) user { return p.as(t, rest.ImpersonationConfig{}) }

// account is what a pod with a ServiceAccount is to the API server.
func (p *plane) account(t *testing.T, namespace, name string) user {
	return p.as(t, rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + name,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	})
}

// kubeconfig is what leads a program to the host as u.
func (p *plane) kubeconfig(t *testing.T, u user) string {
	t.Helper()
	config, err := clientcmd.LoadFromFile(filepath.Join(p.dir, "host", "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	for _, admin := range config.AuthInfos {
		admin.Impersonate, admin.ImpersonateGroups = u.config.Impersonate.UserName, u.config.Impersonate.Groups
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// getter is what Helm wants of a user.
type getter struct {
	user
	namespace string
}

func (g getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.config), nil }
func (g getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.found, nil
}
func (g getter) ToRESTMapper() (meta.RESTMapper, error) { return g.mapper, nil }
func (g getter) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return clientcmd.NewDefaultClientConfig(*api.NewConfig(), &clientcmd.ConfigOverrides{Context: api.Context{Namespace: g.namespace}})
}
