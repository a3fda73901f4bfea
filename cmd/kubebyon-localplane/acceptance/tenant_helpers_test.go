package acceptance

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// tenant is a running control plane.
type tenant struct {
	*process
	dir  string
	port int
}

// tenantArgs do not wait for the disk: nothing here outlives a power cut.
func tenantArgs(dir string, port int, more ...string) []string {
	return append([]string{"tenant", "--dir", dir, "--port", strconv.Itoa(port), "--unsafe-no-fsync"}, more...)
}

// newTenant starts a tenant in a directory of its own and waits until it is ready.
func newTenant(tb testing.TB, more ...string) *tenant {
	tb.Helper()
	return startTenant(tb, filepath.Join(tb.TempDir(), "plane"), freePort(tb), more...)
}

func startTenant(tb testing.TB, dir string, port int, more ...string) *tenant {
	tb.Helper()
	t := &tenant{process: launch(tb, nil, tenantArgs(dir, port, more...)...), dir: dir, port: port}
	t.await(tb, "ready")
	return t
}

func (t *tenant) endpoint() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(t.port)) }

func (t *tenant) config(tb testing.TB) *rest.Config {
	tb.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(t.dir, "admin.kubeconfig"))
	if err != nil {
		tb.Fatal(err)
	}
	config.QPS = -1
	return config
}

func (t *tenant) client(tb testing.TB) kubernetes.Interface {
	tb.Helper()
	return clientOf(tb, t.config(tb))
}

func clientOf(tb testing.TB, config *rest.Config) kubernetes.Interface {
	tb.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		tb.Fatal(err)
	}
	return client
}

func (t *tenant) read(tb testing.TB, elem ...string) string {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{t.dir}, elem...)...))
	if err != nil {
		tb.Fatal(err)
	}
	return string(content)
}

var ports struct {
	sync.Mutex
	given map[int]bool
}

// freePort gives each port once: the kernel may offer one again that its process does not hold yet.
func freePort(tb testing.TB) int {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if ports.given == nil {
			ports.given = map[int]bool{}
		}
		if !ports.given[port] {
			ports.given[port] = true
			return port
		}
	}
}

// shared is the tenant of all tests that only look at one or add to it.
var shared sharedTenant

type sharedTenant struct {
	once sync.Once
	t    *tenant
	err  error
}

func (s *sharedTenant) get(tb testing.TB) *tenant {
	tb.Helper()
	s.once.Do(func() {
		dir, port := filepath.Join(scratch, "shared"), freePort(tb)
		var p *process
		if p, s.err = start(binary(tb), func(c *exec.Cmd) {}, tenantArgs(dir, port)...); s.err == nil {
			s.t = &tenant{process: p, dir: dir, port: port}
		}
	})
	if s.err != nil {
		tb.Fatal(s.err)
	}
	s.t.await(tb, "ready")
	return s.t
}

func (s *sharedTenant) end() {
	if s.t != nil {
		s.t.process.end()
	}
}
