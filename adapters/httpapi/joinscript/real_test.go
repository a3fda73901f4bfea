package joinscript_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
)

// localplane finds the real control plane and hollow node.
func localplane(t testing.TB) string {
	t.Helper()
	path := os.Getenv("KUBEBYON_LOCALPLANE")
	if path == "" {
		path = "../../../bin/kubebyon-localplane"
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if !exists(path) {
		missing(t, path)
	}
	return path
}

// plane is a tenant: a real Kubernetes API on a port of this machine.
type plane struct {
	t      testing.TB
	server string
	ca     []byte
	http   *http.Client
}

func startPlane(t testing.TB, program string) *plane {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, "tenant", "--dir", dir, "--port", freePort(t))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"stage":"ready"`) {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return openPlane(t, dir+"/admin.kubeconfig")
		}
		t.Log("tenant: ", lines.Text())
	}
	t.Fatalf("the control plane did not get ready: %s", stderr.String())
	return nil
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func openPlane(t testing.TB, path string) *plane {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) []byte {
		m := regexp.MustCompile(name + `"?:\s*"?([^\s",]+)`).FindSubmatch(text)
		if m == nil {
			t.Fatalf("the kubeconfig lacks %s", name)
		}
		return m[1]
	}
	decoded := func(name string) []byte {
		raw, err := base64.StdEncoding.DecodeString(string(field(name)))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	u, err := url.Parse(string(field("server")))
	if err != nil {
		t.Fatal(err)
	}
	ca := decoded("certificate-authority-data")
	pair, err := tls.X509KeyPair(decoded("client-certificate-data"), decoded("client-key-data"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	return &plane{t, u.Host, ca, &http.Client{Transport: transport, Timeout: 10 * time.Second}}
}

func (p *plane) call(method, path string, body any) (int, []byte) {
	p.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, "https://"+p.server+path, bytes.NewReader(raw))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.http.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// params makes a bootstrap token, as the platform would, and what goes with it.
func (p *plane) params(id string) joinscript.Params {
	p.t.Helper()
	status, answer := p.call(http.MethodPost, "/api/v1/namespaces/kube-system/secrets", map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
		"metadata": map[string]any{"name": "bootstrap-token-" + id},
		"stringData": map[string]string{
			"token-id": id, "token-secret": tokenSecret, "expiration": time.Now().Add(10 * time.Minute).UTC().Format(time.RFC3339),
			"usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
			"auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
		},
	})
	if status != http.StatusCreated {
		p.t.Fatalf("make the token: %d %s", status, answer)
	}
	block, _ := pem.Decode(p.ca)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		p.t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	out := params()
	out.Server, out.CACert, out.CACertHash = p.server, p.ca, "sha256:"+hex.EncodeToString(sum[:])
	out.BootstrapToken = joinscript.NewBootstrapToken(id + "." + tokenSecret)
	return out
}

// condition is the status of a node's Ready condition.
func (p *plane) condition(name string) string {
	_, answer := p.call(http.MethodGet, "/api/v1/nodes/"+name, nil)
	var node struct {
		Status struct {
			Conditions []struct{ Type, Status string }
		}
	}
	_ = json.Unmarshal(answer, &node)
	for _, c := range node.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status
		}
	}
	return ""
}

// realJoin runs the script with the system's own commands, piped from curl's
// place, and kills the node at the end of the test.
func realJoin(t testing.TB, program, shell, dir, name string, p joinscript.Params) (said string, status int, took time.Duration) {
	t.Helper()
	words := strings.Fields(shell)
	cmd := exec.CommandContext(t.Context(), words[0], append(words[1:], "-s")...)
	cmd.Stdin = strings.NewReader(render(t, p))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "KUBEBYON_HOLLOW_NODE=" + program, "KUBEBYON_NODE_DIR=" + dir, "KUBEBYON_NODE_NAME=" + name, "KUBEBYON_TIMEOUT=60", "KUBEBYON_READY_TIMEOUT=60", "TMPDIR=" + dir}
	t.Cleanup(func() { endNode(t, dir) })
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode(), time.Since(began)
}

func endNode(t testing.TB, dir string) {
	text, _ := os.ReadFile(dir + "/node.pid")
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || gone(pid) {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	(&machine{t: t}).await("the node to end", func() bool { return gone(pid) })
}

// lastStage returns what the hollow node said of a stage: milliseconds since
// its start.
func lastStage(t testing.TB, dir, stage string) time.Duration {
	t.Helper()
	text, err := os.ReadFile(dir + "/stages.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var s struct {
			Stage string `json:"stage"`
			MS    int64  `json:"elapsed_ms"`
		}
		if json.Unmarshal([]byte(line), &s) == nil && s.Stage == stage {
			return time.Duration(s.MS) * time.Millisecond
		}
	}
	t.Fatalf("no stage %s in %s", stage, text)
	return 0
}

// The whole join against a real API server: token, authority, TLS bootstrap,
// registration, Ready.
func TestRealHollowJoin(t *testing.T) {
	t.Parallel()
	program := localplane(t)
	api := startPlane(t, program)
	for i, sh := range shells(t)[:1] {
		name := fmt.Sprintf("node-%d", i)
		dir := t.TempDir()
		p := api.params(fmt.Sprintf("aaaaa%d", i))
		said, status, took := realJoin(t, program, sh, dir, name, p)
		if status != 0 || !strings.Contains(said, name+" is a Ready node of the cluster") {
			log, _ := os.ReadFile(dir + "/node.log")
			t.Fatalf("%s: exit status %d:\n%s\n%s", sh, status, said, log)
		}
		if got := api.condition(name); got != "True" {
			t.Errorf("the API says that Ready is %q", got)
		}
		own := lastStage(t, dir, "ready")
		t.Logf("%s: %v in all, the hollow node alone %v", sh, took, own)
		if extra := took - own; extra > 3*time.Second {
			t.Errorf("the script takes %v more than the node", extra)
		}
		noTokenUnder(t, dir)
		if i == 0 {
			t.Log("\n" + said)
			realSecondRuns(t, api, program, sh, dir, name, p)
		}
	}
	realRefusals(t, api, program)
}

// realSecondRuns: a node that runs is left alone, one that ended starts again
// without a token.
func realSecondRuns(t *testing.T, api *plane, program, sh, dir, name string, p joinscript.Params) {
	t.Helper()
	if said, status, _ := realJoin(t, program, sh, dir, name, p); status != 0 || !strings.Contains(said, "is already a node of this cluster") {
		t.Errorf("second run: %d:\n%s", status, said)
	}
	if status, answer := api.call(http.MethodDelete, "/api/v1/namespaces/kube-system/secrets/bootstrap-token-aaaaa0", nil); status != http.StatusOK {
		t.Fatalf("delete the token: %d %s", status, answer)
	}
	endNode(t, dir)
	if said, status, _ := realJoin(t, program, sh, dir, name, p); status != 0 || !strings.Contains(said, "is a Ready node") {
		t.Errorf("run after the node's end: %d:\n%s", status, said)
	}
	other := t.TempDir()
	if said, status, _ := realJoin(t, program, sh, other, "late", p); status != 1 || !strings.Contains(said, "does not know the token of this script") {
		t.Errorf("the same script for another node: %d:\n%s", status, said)
	}
	if exists(other + "/node.pid") {
		t.Error("a node was started with a token that is gone")
	}
}

// realRefusals: the script must not join a cluster that shows another authority.
func realRefusals(t *testing.T, api *plane, program string) {
	t.Helper()
	p := api.params("bbbbbb")
	ca := makeAuthority()
	p.CACert, p.CACertHash = ca.pem, ca.hash
	dir := t.TempDir()
	said, status, _ := realJoin(t, program, shells(t)[0], dir, "deceived", p)
	if status != 1 || !strings.Contains(said, "does not show a certificate of the cluster's own authority") {
		t.Errorf("another authority: %d:\n%s", status, said)
	}
	noTokenUnder(t, dir)
}

func noTokenUnder(t testing.TB, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // the kubelet removes files as it goes
		}
		if text, _ := os.ReadFile(path); bytes.Contains(text, []byte(tokenSecret)) {
			t.Errorf("the token is left in %s", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
