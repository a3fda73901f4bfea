package joinscript_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
)

const (
	tokenID     = "abcdef"
	tokenSecret = "0123456789abcdef"
)

// authority is one certificate authority and its kubeadm pin.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
	hash string
}

var newAuthority = sync.OnceValue(makeAuthority)

func makeAuthority() authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return authority{key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), "sha256:" + hex.EncodeToString(sum[:])}
}

func params() joinscript.Params {
	ca := newAuthority()
	return joinscript.Params{
		ClusterID: "cl_06f2q4w3k8m5n7p9r1s3t5v7x9", ClusterName: "Bob's lab", Server: "demo.example.com:6443",
		CACert: ca.pem, CACertHash: ca.hash, BootstrapToken: joinscript.NewBootstrapToken(tokenID + "." + tokenSecret),
		KubernetesVersion: "v1.36.3", PlatformURL: "https://kubebyon.example.com/",
		IssuedAt: time.Now(), ExpiresAt: time.Now().Add(15 * time.Minute),
	}
}

func render(t testing.TB, p joinscript.Params) string {
	t.Helper()
	var b bytes.Buffer
	if err := joinscript.Render(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRenderIsDeterministic(t *testing.T) {
	t.Parallel()
	p := params()
	p.Checksums = map[string]string{}
	for i := range 20 {
		p.Checksums[fmt.Sprintf("v1.36.3/bin/linux/amd64/%d", i)] = fmt.Sprintf("%064x", i)
	}
	first := render(t, p)
	for range 10 {
		if render(t, p) != first {
			t.Fatal("the same parameters gave two scripts")
		}
	}
}

func TestValuesArriveInTheShell(t *testing.T) {
	t.Parallel()
	p := params()
	p.ClusterName = "Bob's \"lab\" $(id) `id` \\ \x1b[31m\nüñí"
	p.KubernetesVersion = "v1.36.3+vendor.1"
	script := strings.Replace(render(t, p), `main "$@" </dev/null`, `printf '%s|' "$cluster_name" "$server" "$mirror" "$platform_url" "$kubernetes_version"; bootstrap_token`, 1)
	for _, sh := range shells(t) {
		got, err := run(sh, script).Output()
		want := "Bob's \"lab\" $(id) `id` \\ ?[31m?üñí|demo.example.com:6443|https://dl.k8s.io/release|https://kubebyon.example.com|v1.36.3|" + tokenID + "." + tokenSecret + "\n"
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", sh, got, err, want)
		}
	}
}

// run runs text as curl | sh would: through standard input.
func run(shell, text string, args ...string) *exec.Cmd {
	words := append(strings.Fields(shell), "-s")
	c := exec.Command(words[0], append(append(words[1:], "--"), args...)...)
	c.Stdin = strings.NewReader(text)
	return c
}

// shells are those that may be /bin/sh somewhere. dash is on every machine that
// tests this.
func shells(t testing.TB) []string {
	t.Helper()
	var found []string
	for _, s := range []string{"dash", "bash --posix", "busybox sh"} {
		if path, err := exec.LookPath(strings.Fields(s)[0]); err == nil {
			found = append(found, strings.TrimSpace(path+" "+strings.Join(strings.Fields(s)[1:], " ")))
		}
	}
	if len(found) == 0 || !strings.Contains(found[0], "dash") {
		missing(t, "dash")
	}
	return found
}

// missing skips a test on a laptop and fails it where everything must be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what + " is not here, and CI is set")
	}
	t.Skip(what + " is not here")
}

func TestEveryFieldIsChecked(t *testing.T) {
	t.Parallel()
	other := makeAuthority()
	for name, spoil := range map[string]func(*joinscript.Params){
		"ClusterID":              func(p *joinscript.Params) { p.ClusterID = "x'; id; '" },
		"Server":                 func(p *joinscript.Params) { p.Server = "example.com" },
		"Server with a path":     func(p *joinscript.Params) { p.Server = "example.com:443/x" },
		"Server with a bad port": func(p *joinscript.Params) { p.Server = "example.com:99999" },
		"Server with a zone":     func(p *joinscript.Params) { p.Server = "[fe80::1%eth0$(id)]:443" },
		"Server with a new line": func(p *joinscript.Params) { p.Server = "example.com:443\n" },
		"CACertHash":             func(p *joinscript.Params) { p.CACertHash = "md5:" + p.CACertHash[7:] },
		"CACertHash of another":  func(p *joinscript.Params) { p.CACertHash = other.hash },
		"CACert":                 func(p *joinscript.Params) { p.CACert = []byte("none") },
		"CACert with a key": func(p *joinscript.Params) {
			p.CACert = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1}})
		},
		"BootstrapToken":            func(p *joinscript.Params) { p.BootstrapToken = joinscript.NewBootstrapToken("abcdef.0123456789ABCDEF") },
		"BootstrapToken of nothing": func(p *joinscript.Params) { p.BootstrapToken = joinscript.BootstrapToken{} },
		"KubernetesVersion":         func(p *joinscript.Params) { p.KubernetesVersion = "1.36.3" },
		"PlatformURL":               func(p *joinscript.Params) { p.PlatformURL = "javascript:alert(1)" },
		"PlatformURL with a user":   func(p *joinscript.Params) { p.PlatformURL = "https://user:password@example.com" },
		"Mirror":                    func(p *joinscript.Params) { p.Mirror = "https://example.com/$(id)" },
		"ContainerdMirror":          func(p *joinscript.Params) { p.Sources.ContainerdMirror = "file:///etc" },
		"RuncVersion":               func(p *joinscript.Params) { p.Sources.RuncVersion = "latest" },
		"Checksums of a bad path":   func(p *joinscript.Params) { p.Checksums = map[string]string{"a b": strings.Repeat("0", 64)} },
		"Checksums":                 func(p *joinscript.Params) { p.Checksums = map[string]string{"a": "0\nEND_OF_TEXT\nid"} },
	} {
		p := params()
		spoil(&p)
		var b bytes.Buffer
		err := joinscript.Render(&b, p)
		field, _, _ := strings.Cut(name, " ")
		if err == nil || !strings.Contains(err.Error(), field) || b.Len() != 0 {
			t.Errorf("%s: got error %v and %d bytes; want an error that names %s and nothing written", name, err, b.Len(), field)
		}
		if err != nil && strings.Contains(err.Error(), tokenSecret) {
			t.Errorf("%s: the error shows the token: %v", name, err)
		}
	}
}

func TestIPv6AndPlainNamesAreServers(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"127.0.0.1:6443", "[2001:db8::1]:443", "localhost:1", "a.b-c.example:65535"} {
		p := params()
		p.Server = server
		if !strings.Contains(render(t, p), "server='"+server+"'\n") {
			t.Errorf("%s is not in the script", server)
		}
	}
}

func TestTokenShowsItselfToNobody(t *testing.T) {
	t.Parallel()
	p := params()
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "token", p.BootstrapToken, "params", p)
	encoded, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		logged.String(), string(encoded), p.BootstrapToken.String(),
		fmt.Sprintf("%v %+v %#v %s %q %x %d", p, p, p, p.BootstrapToken, p.BootstrapToken, p.BootstrapToken, p.BootstrapToken),
	} {
		if strings.Contains(text, tokenSecret) || strings.Contains(text, hex.EncodeToString([]byte(tokenSecret))) {
			t.Errorf("the token is in %s", text)
		}
	}
}

// A variable may be exported (set -a) or traced (set -x).
func TestTokenIsInNoVariableAndNoTrace(t *testing.T) {
	t.Parallel()
	script := render(t, params())
	if n := strings.Count(script, tokenSecret); n != 1 {
		t.Errorf("the secret is %d times in the script, want once", n)
	}
	traced := strings.Replace(script, `main "$@" </dev/null`, `set -aeux; tmp=$1; kubernetes_minor=36 node_name=x labels='' taints='' node_ip='' swap=off timeout=1; write_join_config; env`, 1)
	for _, sh := range shells(t) {
		dir := t.TempDir()
		out, err := run(sh, traced, dir).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", sh, err, out)
		}
		if bytes.Contains(out, []byte(tokenSecret)) {
			t.Errorf("%s: the token is in a trace or in the environment:\n%s", sh, out)
		}
		if config, _ := os.ReadFile(dir + "/join.yaml"); !bytes.Contains(config, []byte(tokenID+"."+tokenSecret)) {
			t.Errorf("%s: the token is not in the configuration:\n%s", sh, config)
		}
	}
}

func TestRefusalTellsAndFails(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	message := "This join token has been used. 'Quoted' $(touch x) `id`\nEND_OF_TEXT\ntouch x"
	if err := joinscript.Refusal(&b, "token_used", message); err != nil {
		t.Fatal(err)
	}
	for _, sh := range shells(t) {
		cmd := run(sh, b.String())
		cmd.Dir = t.TempDir()
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		err := cmd.Run()
		want := "Stopped: This join token has been used. 'Quoted' $(touch x) `id`?END_OF_TEXT?touch x (token_used)\n"
		if cmd.ProcessState.ExitCode() != 1 || stderr.String() != want {
			t.Errorf("%s: got %v, %q; want exit status 1, %q", sh, err, stderr.String(), want)
		}
		if left, _ := os.ReadDir(cmd.Dir); len(left) != 0 {
			t.Errorf("%s: the message ran a command", sh)
		}
	}
	if err := joinscript.Refusal(&b, "Token used", message); err == nil {
		t.Error("a code that is no code was taken")
	}
}

func TestScriptsHaveNoWayRoundTLS(t *testing.T) {
	t.Parallel()
	script := render(t, params())
	for _, bad := range []string{"--insecure", " -k ", "--no-check-certificate", "unsafe-skip-ca", "unsafeSkipCA", "iptables -F", "set -x"} {
		if strings.Contains(script, bad) {
			t.Errorf("the script holds %q", bad)
		}
	}
	for line := range strings.Lines(script) {
		if strings.Contains(line, "curl -") && !strings.HasPrefix(strings.TrimSpace(line), "#") && !strings.Contains(line, "curl -sfL") && !strings.Contains(line, "curl -q ") {
			t.Errorf("a curl that reads ~/.curlrc, which may switch off checks: %s", line)
		}
	}
}

func TestShellcheck(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("shellcheck"); err != nil {
		missing(t, "shellcheck")
	}
	var refusal bytes.Buffer
	if err := joinscript.Refusal(&refusal, "token_used", "Used."); err != nil {
		t.Fatal(err)
	}
	rendered := t.TempDir() + "/rendered.sh"
	refused := t.TempDir() + "/refusal.sh"
	for path, text := range map[string]string{rendered: render(t, params()), refused: refusal.String()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "shellcheck", "join.sh", "uninstall.sh", rendered, refused).CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

func FuzzRenderRefusesOrQuotes(f *testing.F) {
	f.Add("cl_1", "name", "example.com:443", "v1.36.3", "https://example.com", "a/b", "v1.2.3")
	f.Add("'", "'; id; '", "$(id):1", "v1.36.3\n", "https://x/';id;'", "END_OF_TEXT\nid", "`id`")
	f.Fuzz(func(t *testing.T, id, name, server, version, address, path, runtime string) {
		p := params()
		p.ClusterID, p.ClusterName, p.Server, p.KubernetesVersion, p.PlatformURL, p.Mirror = id, name, server, version, address, address
		p.Checksums = map[string]string{path: strings.Repeat("a", 64)}
		p.Sources.RuncVersion = runtime
		var b bytes.Buffer
		if joinscript.Render(&b, p) != nil {
			return
		}
		// What was taken may only have changed values: every line of the block is
		// an assignment of one quoted word or belongs to a here-document.
		block, _, _ := strings.Cut(b.String(), "ca_certificate() {")
		_, block, _ = strings.Cut(block, "# values:")
		_, block, _ = strings.Cut(block, "\n")
		for line := range strings.Lines(block) {
			_, word, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "='")
			if !ok || !strings.HasSuffix(word, "'") || strings.Contains(strings.ReplaceAll(strings.TrimSuffix(word, "'"), `'\''`, ""), "'") {
				t.Errorf("a value broke out: %q", line)
			}
		}
		if n := strings.Count(b.String(), "\nEND_OF_TEXT\n"); n != 4 {
			t.Errorf("%d here-documents end, want 4", n)
		}
	})
}
