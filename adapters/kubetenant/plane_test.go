package kubetenant_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// shared is the one real control plane of this package's tests. It starts when
// a test first asks for it.
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

const podNamespace = "tenanttest"

// plane is a kubebyon-localplane tenant, and an administrator in it.
type plane struct {
	start sync.Once
	err   error
	dir   string
	port  int
	lives []*os.File // what this started ends when these close, even if this process is killed
	cmd   *exec.Cmd
	exits chan struct{}
	admin *rest.Config
	kube  *kubernetes.Clientset
}

func binary() string {
	if path := os.Getenv("KUBEBYON_LOCALPLANE"); path != "" {
		return path
	}
	path, _ := filepath.Abs("../../bin/kubebyon-localplane")
	return path
}

// thePlane returns the shared control plane, started.
func thePlane(t *testing.T) *plane {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real control plane")
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
	if p.dir, err = os.MkdirTemp("", "kubetenant"); err != nil {
		return err
	}
	if p.port, err = freePort(); err != nil {
		return err
	}
	if err := p.run(); err != nil {
		return err
	}
	p.admin, err = clientcmd.BuildConfigFromFlags("", p.kubeconfigPath())
	if err != nil {
		return err
	}
	p.admin.QPS, p.admin.Burst, p.admin.WarningHandler = 1000, 1000, rest.NoWarnings{}
	if p.kube, err = kubernetes.NewForConfig(p.admin); err != nil {
		return err
	}
	return p.prepare()
}

func (p *plane) kubeconfigPath() string { return filepath.Join(p.dir, "tenant", "admin.kubeconfig") }

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// run starts the process and waits until it is ready.
func (p *plane) run() error {
	cmd, out, err := p.command("tenant", "--dir", filepath.Join(p.dir, "tenant"), "--port", strconv.Itoa(p.port), "--unsafe-no-fsync")
	if err != nil {
		return err
	}
	p.cmd, p.exits = cmd, make(chan struct{})
	ready := make(chan error, 1)
	go func() {
		defer close(p.exits)
		ready <- awaitStage(out, "ready")
		_, _ = out.WriteTo(discard{})
		_ = cmd.Wait()
	}()
	select {
	case err := <-ready:
		return err
	case <-time.After(90 * time.Second):
		return errors.New("not ready after 90 s")
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// command starts kubebyon-localplane on a lifeline of its own.
func (p *plane) command(args ...string) (*exec.Cmd, *bufio.Reader, error) {
	lifeline, life, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer lifeline.Close()
	p.lives = append(p.lives, life)
	cmd := exec.Command(binary(), append(args, "--lifeline-fd", "3")...)
	cmd.ExtraFiles = []*os.File{lifeline}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, bufio.NewReader(out), cmd.Start()
}

func awaitStage(out *bufio.Reader, want string) error {
	var seen []string
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			return fmt.Errorf("ended before it was %s: %w; it said %s", want, err, strings.Join(seen, ""))
		}
		seen = append(seen, line)
		var progress struct{ Stage string }
		if json.Unmarshal([]byte(line), &progress) == nil && progress.Stage == want {
			return nil
		}
	}
}

// prepare makes the namespace of the tests' pods, with the service account that
// the API server wants there.
func (p *plane) prepare() error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	_, err := p.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: podNamespace}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	for {
		if _, err := p.kube.CoreV1().ServiceAccounts(podNamespace).Get(ctx, "default", metav1.GetOptions{}); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("no service account after 60 s")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (p *plane) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// kill ends the process at once, and waits for that.
func (p *plane) kill() {
	_ = p.signal(syscall.SIGKILL)
	<-p.exits
}

func (p *plane) end() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.signal(syscall.SIGCONT)
	for _, life := range p.lives {
		_ = life.Close()
	}
	select {
	case <-p.exits:
	case <-time.After(15 * time.Second):
		p.kill()
	}
	if p.kube != nil {
		if client, ok := p.kube.CoreV1().RESTClient().(*rest.RESTClient); ok {
			client.Client.CloseIdleConnections()
		}
	}
	_ = os.RemoveAll(p.dir)
}
