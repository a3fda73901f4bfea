package acceptance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestTenantComesUpAndServes(t *testing.T) {
	t.Parallel()
	// Whatever a component writes to its home or the temporary directory shows here.
	elsewhere := t.TempDir()
	dir, port := filepath.Join(t.TempDir(), "plane"), freePort(t)
	p := launch(t, func(c *exec.Cmd) {
		c.Dir = elsewhere
		c.Env = []string{"HOME=" + elsewhere, "TMPDIR=" + elsewhere, "PATH=" + os.Getenv("PATH")}
	}, tenantArgs(dir, port, "--name", "acme")...)
	p.await(t, "ready")
	plane := &tenant{process: p, dir: dir, port: port}

	if got, want := p.stages(), []string{"etcd_ready", "apiserver_ready", "join_ready", "ready"}; !slices.Equal(got, want) {
		t.Errorf("stages %v, want %v", got, want)
	}
	client := plane.client(t)
	mark(t, client, "here")
	if body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context()); err != nil || string(body) != "ok" {
		t.Errorf("/readyz says %q, %v", body, err)
	}
	if _, err := client.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Errorf("ready without a default service account: %v", err)
	}
	if version, err := client.Discovery().ServerVersion(); err != nil || !strings.HasPrefix(version.GitVersion, "v1.36.") {
		t.Errorf("version %v, %v", version, err)
	}
	if !strings.Contains(plane.read(t, "admin.kubeconfig"), "current-context: kubernetes-admin@acme\n") {
		t.Error("the kubeconfig does not carry the cluster's name")
	}
	onlyOwnerReads(t, dir)
	p.stop(t)
	if left := filesUnder(t, elsewhere); len(left) > 0 {
		t.Errorf("wrote outside its directory: %v", left)
	}
	if len(p.junk) > 0 || p.stderr.Len() > 0 {
		t.Errorf("said more than its progress: %q %q", p.junk, p.stderr.String())
	}
}

func TestRestartKeepsDataAuthorityAndKubeconfig(t *testing.T) {
	t.Parallel()
	first := newTenant(t)
	kept := []string{"pki/ca.crt", "pki/ca.key", "pki/front-proxy-ca.crt", "pki/sa.key", "pki/apiserver.crt", "admin.kubeconfig"}
	before := map[string]string{}
	for _, name := range kept {
		before[name] = first.read(t, name)
	}
	mark(t, first.client(t), "kept")
	info := clusterInfo(t, first.client(t))
	first.stop(t)

	second := startTenant(t, first.dir, first.port)
	for _, name := range kept {
		if second.read(t, name) != before[name] {
			t.Errorf("%s changed", name)
		}
	}
	marked(t, second.client(t), "kept")
	if again := clusterInfo(t, second.client(t)); again.ResourceVersion != info.ResourceVersion {
		t.Errorf("cluster-info was written again: %s, then %s", info.ResourceVersion, again.ResourceVersion)
	}
}

func TestNewNameReissuesTheLeafOnly(t *testing.T) {
	t.Parallel()
	first := newTenant(t)
	authority, kubeconfig, leaf := first.read(t, "pki/ca.crt"), first.read(t, "admin.kubeconfig"), first.read(t, "pki/apiserver.crt")
	first.stop(t)

	second := startTenant(t, first.dir, first.port, "--san", "plane.example.org", "--san", "192.0.2.7")
	if second.read(t, "pki/ca.crt") != authority || second.read(t, "admin.kubeconfig") != kubeconfig {
		t.Error("a further name changed more than the server's certificate")
	}
	if second.read(t, "pki/apiserver.crt") == leaf {
		t.Error("the server's certificate was not made anew")
	}
	for _, name := range []string{"plane.example.org", "192.0.2.7", "localhost", "127.0.0.1", "10.96.0.1"} {
		if err := served(t, second).VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	second.stop(t)

	third := startTenant(t, first.dir, first.port, "--host", "localhost")
	want := "server: https://localhost:" + strconv.Itoa(first.port)
	if got := third.read(t, "admin.kubeconfig"); !strings.Contains(got, want) {
		t.Errorf("the kubeconfig does not say %s", want)
	}
	if got := clusterInfo(t, third.client(t)).Data["kubeconfig"]; !strings.Contains(got, want) {
		t.Errorf("cluster-info does not say %s", want)
	}
	if third.read(t, "pki/ca.crt") != authority {
		t.Error("a new host changed the authority")
	}
}

func TestLifelineEndsTheTenant(t *testing.T) {
	t.Parallel()
	first := newTenant(t)
	mark(t, first.client(t), "kept")
	first.lifeline.Close()
	if took := first.awaitExit(t, 3*time.Second); took > 1500*time.Millisecond {
		t.Errorf("outlived its parent by %s", took)
	}
	marked(t, startTenant(t, first.dir, first.port).client(t), "kept")
}

func TestLifelineEndsAStartingTenant(t *testing.T) {
	t.Parallel()
	p := launch(t, nil, tenantArgs(filepath.Join(t.TempDir(), "plane"), freePort(t))...)
	p.await(t, "etcd_ready")
	p.lifeline.Close()
	p.awaitExit(t, 3*time.Second)
}

func TestKilledTenantComesBackWithWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	dir, port := filepath.Join(t.TempDir(), "plane"), freePort(t)
	args := []string{"tenant", "--dir", dir, "--port", strconv.Itoa(port)}
	p := launch(t, nil, args...)
	p.await(t, "ready")
	first := &tenant{process: p, dir: dir, port: port}
	mark(t, first.client(t), "acknowledged")
	p.signal(syscall.SIGKILL)
	p.awaitExit(t, 3*time.Second)

	second := launch(t, nil, args...)
	second.await(t, "ready")
	marked(t, first.client(t), "acknowledged")
}

// TestATenantCutOffAtItsBirthComesUp ends a new tenant again and again, a little
// later each time: in the first moments its store does not know yet that it is its
// own only member, and would never elect itself.
func TestATenantCutOffAtItsBirthComesUp(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(p *process){
		"killed":             func(p *process) { p.signal(syscall.SIGKILL) },
		"left by its parent": func(p *process) { p.lifeline.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, port := filepath.Join(t.TempDir(), "plane"), freePort(t)
			store, unborn := filepath.Join(dir, "etcd", "member"), filepath.Join(dir, "etcd.unborn")
			const births, step = 8, 6 * time.Millisecond
			for i := range births {
				_ = os.RemoveAll(store) // so that the next one is seen to be made
				p := launch(t, nil, tenantArgs(dir, port)...)
				for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(time.Millisecond) {
					if _, err := os.Stat(store); err == nil {
						break
					}
				}
				time.Sleep(time.Duration(i) * step)
				cut(p)
				p.awaitExit(t, 12*time.Second)
			}
			if _, err := os.Stat(unborn); err != nil {
				t.Errorf("nothing says that the store is not made yet: %v", err)
			}
			for _, log := range find(t, filepath.Join(store, "wal", "*.wal")) { // whatever the cuts have left: worse than that
				if err := os.WriteFile(log, []byte("not a log"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			plane := startTenant(t, dir, port)
			mark(t, plane.client(t), "kept")
			if _, err := os.Stat(unborn); !os.IsNotExist(err) {
				t.Errorf("a tenant that was ready would be made anew: %v", err)
			}
			plane.signal(syscall.SIGKILL)
			plane.awaitExit(t, 3*time.Second)
			marked(t, startTenant(t, dir, port).client(t), "kept")
		})
	}
}

func find(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return files
}

func TestStopsWhileSomebodyWatches(t *testing.T) {
	t.Parallel()
	plane := newTenant(t)
	watch, err := plane.client(t).CoreV1().ConfigMaps("").Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	plane.stop(t)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	takenPort := taken.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dir  string
		port int
		more []string
		want string
	}{
		"PortTaken":        {port: takenPort, want: "is taken by another process"},
		"UnknownVersion":   {more: []string{"--kubernetes-version", "v1.12.0"}, want: "Kubernetes v1.12.0 is not offered; choose one of v1.36.3, v1.35.0"},
		"OtherPatch":       {more: []string{"--kubernetes-version", "v1.35.7"}, want: "is not offered"},
		"DirectoryIsAFile": {dir: file, want: "cannot be made: not a directory"},
		"NoSuchHost":       {more: []string{"--host", "no_such host"}, want: "neither an IP address nor a host name"},
		"NotACIDR":         {more: []string{"--pod-cidr", "10.244.0.0"}, want: "is not a CIDR"},
		"NetworksOverlap":  {more: []string{"--service-cidr", "10.244.0.0/24"}, want: "overlap"},
		"PodNetworkSmall":  {more: []string{"--pod-cidr", "10.244.0.0/28"}, want: "no room"},
		"LogLevelTooHigh":  {more: []string{"--log-level", "8"}, want: "log level 8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, port := c.dir, c.port
			if dir == "" {
				dir = filepath.Join(t.TempDir(), "plane")
			}
			if port == 0 {
				port = freePort(t)
			}
			reason := launch(t, nil, tenantArgs(dir, port, c.more...)...).awaitFailure(t)
			if !strings.Contains(reason, c.want) {
				t.Errorf("refused with %q, want %q", reason, c.want)
			}
		})
	}
}

func TestDirectoryInUseIsRefused(t *testing.T) {
	t.Parallel()
	plane := shared.get(t)
	reason := launch(t, nil, tenantArgs(plane.dir, freePort(t))...).awaitFailure(t)
	if !strings.Contains(reason, "Another running process uses the directory") {
		t.Errorf("refused with %q", reason)
	}
	if _, err := plane.client(t).Discovery().ServerVersion(); err != nil {
		t.Errorf("the one that was there suffered: %v", err)
	}
}

func TestDamagedDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	plane := newTenant(t)
	plane.stop(t)
	restart := func() string {
		return launch(t, nil, tenantArgs(plane.dir, plane.port)...).awaitFailure(t)
	}

	key := filepath.Join(plane.dir, "pki/ca.key")
	content := plane.read(t, "pki/ca.key")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if reason := restart(); !strings.Contains(reason, "is missing beside its certificate") {
		t.Errorf("without the authority's key: %q", reason)
	}
	if err := os.WriteFile(key, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}

	db := filepath.Join(plane.dir, "etcd/member/snap/db")
	if err := os.WriteFile(db, bytes.Repeat([]byte("damaged"), 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	if reason := restart(); !strings.Contains(reason, "The store in "+filepath.Join(plane.dir, "etcd")) {
		t.Errorf("with a damaged store: %q", reason)
	}
}

func TestEmulatedVersion(t *testing.T) {
	t.Parallel()
	plane := newTenant(t, "--kubernetes-version", "v1.34")
	body, err := plane.client(t).Discovery().RESTClient().Get().AbsPath("/version").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var version struct{ Minor, EmulationMinor string }
	if err := json.Unmarshal(body, &version); err != nil || version.Minor != "36" || version.EmulationMinor != "34" {
		t.Errorf("/version says %s", body)
	}
	kubeadm, err := plane.client(t).CoreV1().ConfigMaps("kube-system").Get(t.Context(), "kubeadm-config", metav1.GetOptions{})
	if err != nil || !strings.Contains(kubeadm.Data["ClusterConfiguration"], "kubernetesVersion: v1.34.0") {
		t.Errorf("kubeadm-config: %v, %v", kubeadm, err)
	}
}

func TestVersionsAreListed(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(binary(t), "versions").Output()
	if err != nil {
		t.Fatal(err)
	}
	var versions []struct {
		Version  string
		Emulated bool
	}
	if err := json.Unmarshal(out, &versions); err != nil {
		t.Fatal(err)
	}
	if len(versions) != 4 || versions[0].Emulated || versions[3].Version != "v1.33.0" || !versions[3].Emulated {
		t.Errorf("versions %s", out)
	}
}

func TestTenantsAreApart(t *testing.T) {
	t.Parallel()
	a, b := newTenant(t), newTenant(t)
	mark(t, a.client(t), "only-a")
	if list, err := b.client(t).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=only-a"}); err != nil || len(list.Items) > 0 {
		t.Errorf("b shows what a holds: %v, %v", list, err)
	}
	intruder := a.config(t)
	intruder.Host = "https://" + b.endpoint()
	if _, err := clientOf(t, intruder).Discovery().ServerVersion(); err == nil {
		t.Error("a's kubeconfig trusts b")
	}
	intruder.TLSClientConfig.CAData, intruder.TLSClientConfig.Insecure = nil, true
	if _, err := clientOf(t, intruder).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Error("b takes a's administrator for its own")
	}
}

// The store's socket would not fit into 108 bytes.
func TestLongDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40), "plane")
	plane := startTenant(t, dir, freePort(t))
	mark(t, plane.client(t), "kept")
	plane.stop(t)
	marked(t, startTenant(t, dir, plane.port).client(t), "kept")
}

func mark(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func marked(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func clusterInfo(t *testing.T, client kubernetes.Interface) *corev1.ConfigMap {
	t.Helper()
	info, err := client.CoreV1().ConfigMaps("kube-public").Get(t.Context(), "cluster-info", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// served is the certificate that the API server shows.
func served(t *testing.T, plane *tenant) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(plane.read(t, "pki/ca.crt")))
	authority, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: "localhost"}}).DialContext(ctx, "tcp", plane.endpoint())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

func onlyOwnerReads(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s has mode %v, %v", dir, info.Mode(), err)
	}
	for _, name := range []string{"admin.kubeconfig", "pki/ca.key", "pki/sa.key", "pki/admin.key", "components/scheduler.kubeconfig", "plane.log"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func filesUnder(t *testing.T, dir string) (files []string) {
	t.Helper()
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		if path != dir {
			files = append(files, path)
		}
		return nil
	})
	return files
}
