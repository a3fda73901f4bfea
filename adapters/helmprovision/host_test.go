package helmprovision

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"k8s.io/client-go/kubernetes"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func TestMain(m *testing.M) {
	code := m.Run()
	box.stop()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// hostBox is a host cluster in a box, one for all tests of this package.
type hostBox struct {
	once       sync.Once
	dir        string
	command    *exec.Cmd
	lifeline   *os.File
	kubeconfig string
	err        error
}

var box hostBox //nolint:gochecknoglobals // starting one takes seconds

// program finds kubebyon-localplane.
func program(t testing.TB) string {
	t.Helper()
	file := os.Getenv("KUBEBYON_LOCALPLANE")
	if file == "" {
		file = filepath.Join("..", "..", "bin", "kubebyon-localplane")
	}
	if _, err := os.Stat(file); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no local control plane program (make build makes it): %v", err)
		}
		t.Skipf("no local control plane program (make build makes it): %v", err)
	}
	return file
}

// hosted returns the box, started.
func hosted(t testing.TB) *hostBox {
	t.Helper()
	if testing.Short() {
		t.Skip("a host cluster takes seconds")
	}
	file := program(t)
	box.once.Do(func() { box.err = box.start(file) })
	if box.err != nil {
		t.Fatal(box.err)
	}
	return &box
}

func (b *hostBox) start(program string) (err error) {
	if b.dir, err = os.MkdirTemp("", "helmprovision-"); err != nil {
		return err
	}
	end, lifeline, err := os.Pipe()
	if err != nil {
		return err
	}
	defer end.Close()
	b.lifeline = lifeline
	b.command = exec.Command(program, "host", "--dir", filepath.Join(b.dir, "host"), "--bind-address", "own",
		"--light-tenants", "--unsafe-no-fsync", "--secret-delay", "100ms", "--lifeline-fd", "3")
	b.command.ExtraFiles = []*os.File{end}
	out, err := b.command.StdoutPipe()
	if err != nil {
		return err
	}
	var complaint bytes.Buffer
	b.command.Stderr = &complaint
	if err := b.command.Start(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var said struct {
			Stage      string `json:"stage"`
			Kubeconfig string `json:"kubeconfig"`
		}
		if json.Unmarshal(lines.Bytes(), &said) == nil && said.Stage == "ready" {
			b.kubeconfig = said.Kubeconfig
			go io.Copy(io.Discard, out)
			return nil
		}
	}
	return fmt.Errorf("the host in a box did not get ready: %w: %s", b.command.Wait(), complaint.String())
}

func (b *hostBox) stop() {
	if b.command == nil {
		return
	}
	_ = b.lifeline.Close()
	late := time.AfterFunc(20*time.Second, func() { _ = b.command.Process.Kill() })
	defer late.Stop()
	_ = b.command.Wait()
	_ = os.RemoveAll(b.dir)
}

// client is an administrator's way into the host.
func (b *hostBox) client(t testing.TB) kubernetes.Interface {
	t.Helper()
	h, err := openHost(b.kubeconfig, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	return h.client
}

const fixture = "../../testdata/charts/vcluster"

// config is for a provisioner on the host that finds any published name at the
// host's own address.
func (b *hostBox) config(t testing.TB) Config {
	t.Helper()
	near := func(ctx context.Context, network, address string) (net.Conn, error) {
		name, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if net.ParseIP(name) == nil {
			nodes, err := b.node(ctx)
			if err != nil {
				return nil, err
			}
			address = net.JoinHostPort(nodes, port)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	return Config{
		KubeconfigPath: b.kubeconfig, Chart: fixture, CacheDir: t.TempDir(), Log: quiet(t), Now: time.Now, Dial: near,
		ValuesFile: valuesFile(t, ""), Versions: []provision.Version{{Name: "v1.36.3"}, {Name: "v1.35.0", Emulated: true}},
		StuckTimeout: 2 * time.Second,
	}
}

func (b *hostBox) node(ctx context.Context) (string, error) {
	h, err := openHost(b.kubeconfig, 20*time.Second)
	if err != nil {
		return "", err
	}
	defer h.close()
	p := &Provisioner{host: h}
	return p.nodeAddress(ctx, "InternalIP")
}

func valuesFile(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	writeFile(t, file, text)
	return file
}

func writeFile(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func quiet(t testing.TB) *slog.Logger {
	if os.Getenv("HELMPROVISION_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// start returns a running provisioner that is stopped with the test. What the
// test made on the host goes with it.
func start(t testing.TB, c Config) *Provisioner {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	return p
}

func stop(t testing.TB, p *Provisioner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// wanted is a cluster of its own, removed after the test.
func wanted(t testing.TB, p *Provisioner) provision.Want {
	t.Helper()
	w := provision.Want{
		ID: newID(), KubernetesVersion: "v1.36.3", CPURequestMilli: 100, MemoryRequestMiB: 512,
		Public: true, PublicMode: provision.NodePort,
	}
	w.Name = "t-" + w.ID.String()[len(w.ID.String())-10:]
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := p.Destroy(ctx, w.ID); err != nil {
			t.Logf("cleaning up: %v", err)
		}
	})
	return w
}

func newID() id.Cluster {
	return id.New[id.ClusterKind](time.Now(), randomID())
}
