package kubetenant

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

func TestServerIsAHostAndAPort(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{
		"https://10.0.0.1:6443":                 "10.0.0.1:6443",
		"https://api.example.com":               "api.example.com:443",
		"https://api.example.com:6443/":         "api.example.com:6443",
		"https://[2001:db8::1]:6443":            "[2001:db8::1]:6443",
		"":                                      "",
		"http://10.0.0.1:6443":                  "",
		"https://10.0.0.1:6443/path":            "",
		"https://10.0.0.1:6443?a=b":             "",
		"https://10.0.0.1:6443#a":               "",
		"https://user@10.0.0.1:6443":            "",
		"https://10.0.0.1:0":                    "",
		"https://10.0.0.1:65536":                "",
		"https://:6443":                         "",
		"https://$(reboot):6443":                "",
		"https://a;reboot:6443":                 "",
		"https://a b:6443":                      "",
		"https://a'b:6443":                      "",
		"https://UPPER:6443":                    "",
		"https://10.0.0.1:6443\n":               "",
		"https://[fe80::1%25$(reboot)]:6443":    "",
		"https://a." + strings.Repeat("b", 260): "",
	} {
		got, err := parseServer(server)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", server, got, err, want)
		}
	}
}

func TestAuthoritiesAreNothingButCertificates(t *testing.T) {
	t.Parallel()
	good := authority(t)
	text, pin, err := parseAuthorities([]byte("# hello $(reboot)\n" + string(good) + "trailing `reboot`\n"))
	if err != nil || string(text) != string(good) || !strings.HasPrefix(pin, "sha256:") || len(pin) != 71 {
		t.Errorf("%q, %q, %v", text, pin, err)
	}
	both, again, err := parseAuthorities(append(authority(t), good...))
	if err != nil || again == pin || strings.Count(string(both), "BEGIN") != 2 {
		t.Errorf("two certificates: %q, %q, %v", both, again, err)
	}
	for what, data := range map[string][]byte{
		"nothing":    nil,
		"no PEM":     []byte("hello"),
		"a key":      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
		"not a cert": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
		"then a key": append(authority(t), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})...),
	} {
		if _, _, err := parseAuthorities(data); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

func TestClusterInfoNamesOneCluster(t *testing.T) {
	t.Parallel()
	entry := `{name: "NAME", cluster: {server: "https://10.0.0.1:6443", certificate-authority-data: ` + base64.StdEncoding.EncodeToString(authority(t)) + `}}`
	file := func(names ...string) string {
		var entries []string
		for _, n := range names {
			entries = append(entries, strings.Replace(entry, "NAME", n, 1))
		}
		return "{apiVersion: v1, kind: Config, clusters: [" + strings.Join(entries, ",") + "]}"
	}
	if e, err := parseClusterInfo(file("")); err != nil || e.Server != "10.0.0.1:6443" || e.CACertHash == "" {
		t.Errorf("kubeadm's form: %+v, %v", e, err)
	}
	for _, bad := range []string{"", "[", file(), file("a", "b"), "{apiVersion: v1, kind: Config, clusters: [{name: a, cluster: {server: 'https://a'}}]}"} {
		if e, err := parseClusterInfo(bad); err == nil {
			t.Errorf("%q: accepted as %+v", bad, e)
		}
	}
}

func TestReleaseDropsWhatDistributionsAdd(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]string{
		"v1.36.3": "v1.36.3", "v1.33.1+k3s1": "v1.33.1", "v1.31.2-eks-7f9249a": "v1.31.2", "v1.37.0-rc.1": "v1.37.0-rc.1",
		"v1.36.3; reboot": "v1.36.3", "stable-1.31": "", "1.36.3": "", "v1.36": "", "": "",
	} {
		if got := release.FindString(v); got != want {
			t.Errorf("%q: %q, want %q", v, got, want)
		}
	}
}

func TestSignatureIsCheckedWithTheSecret(t *testing.T) {
	t.Parallel()
	const jws = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiYzEyMyJ9..SIGNATURE"
	key := secret.New("0123456789abcdef")
	good := strings.Replace(jws, "SIGNATURE", signature(key, "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiYzEyMyJ9", "kubeconfig"), 1)
	if !signs(key, "kubeconfig", good) {
		t.Error("a good signature is refused")
	}
	for _, bad := range []string{"", "..", jws, good + ".", strings.Replace(good, "..", ".x.", 1)} {
		if signs(key, "kubeconfig", bad) {
			t.Errorf("%q is accepted", bad)
		}
	}
	if signs(secret.New("fedcba9876543210"), "kubeconfig", good) || signs(key, "another", good) {
		t.Error("a signature by another secret, or of other content, is accepted")
	}
}

func signature(key secret.Text, header, content string) string {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(header + "." + base64.RawURLEncoding.EncodeToString([]byte(content))))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func authority(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
