package kubetenant

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

const plainKubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: u, user: {token: fuzzed-secret-token}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

// FuzzKubeconfig: a kubeconfig that is taken leads to one https server, runs
// nothing, reads no file and trusts nobody; one that is refused is not quoted.
func FuzzKubeconfig(f *testing.F) {
	f.Add(plainKubeconfig)
	for _, s := range []string{
		"", "{", "\x00", "kind: Config", "a: &a [*a]", "- - - -", strings.Repeat("[", 10_000),
		strings.Replace(plainKubeconfig, "token: fuzzed-secret-token", "exec: {command: id, apiVersion: client.authentication.k8s.io/v1}", 1),
		strings.Replace(plainKubeconfig, "token:", "tokenFile:", 1), strings.Replace(plainKubeconfig, "token: ", "client-key: /etc/", 1),
		strings.Replace(plainKubeconfig, "https", "http", 1), strings.Replace(plainKubeconfig, `6443"`, `6443", insecure-skip-tls-verify: true`, 1),
		strings.Replace(plainKubeconfig, `6443"`, `6443", proxy-url: "http://x"`, 1), strings.Replace(plainKubeconfig, `6443"`, `6443", certificate-authority: /etc/passwd`, 1),
		strings.Replace(plainKubeconfig, "token:", "Token:", 1), strings.Replace(plainKubeconfig, "users:", "USERS:", 1), strings.Replace(plainKubeconfig, "token: ", "as: root, token: ", 1),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		config, err := parse(secret.New(text))
		if err != nil {
			if fault.CodeOf(err) != "kubeconfig_invalid" || strings.Contains(err.Error(), "fuzzed-secret") {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if !strings.HasPrefix(strings.ToLower(config.Host), "https://") || config.Insecure || config.ExecProvider != nil || config.AuthProvider != nil || config.Proxy != nil ||
			config.CAFile != "" || config.CertFile != "" || config.KeyFile != "" || config.BearerTokenFile != "" {
			t.Errorf("took %q as %+v", text, config)
		}
	})
}

// FuzzClusterInfo: what a tenant says of itself is refused, or can stand in the
// script that root runs.
func FuzzClusterInfo(f *testing.F) {
	authority := string(authority(f))
	f.Add("https://127.0.0.1:6443", authority, "v1.36.3")
	f.Add("https://x:0443/", authority+authority, "v1.9.0")
	f.Add("https://"+strings.Repeat("a", 100)+":1", "text\n"+authority+"text", "v1.36.3-rc.1+k3s1")
	f.Add("https://[::1]", "", "v1.36.3\n")
	f.Add("https://[fe80::1%25eth0]:6443", authority, "1.36.3")
	f.Add("https://[::ffff:1.2.3.4]:6443", strings.Repeat(authority, 200), "v999.999.999")
	f.Fuzz(func(t *testing.T, server, authorities, version string) {
		text, err := json.Marshal(map[string]any{
			"kind": "Config", "apiVersion": "v1",
			"clusters": []any{map[string]any{"name": "", "cluster": map[string]any{"server": server, "certificate-authority-data": []byte(authorities)}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		end, err := parseClusterInfo(string(text))
		if err != nil {
			return
		}
		host, port, err := net.SplitHostPort(end.Server)
		if err != nil || host == "" || port == "" {
			t.Errorf("%q was taken for %q", server, end.Server)
		}
		p := joinscript.Params{
			ClusterID: "cl_1", Server: end.Server, CACert: end.CACert, CACertHash: end.CACertHash, KubernetesVersion: "v1.36.3", PlatformURL: "https://x",
			BootstrapToken: joinscript.NewBootstrapToken("abcdef.0123456789abcdef"),
		}
		if err := joinscript.Render(io.Discard, p); err != nil {
			t.Errorf("%q with %q was taken, and cannot stand in a script: %v", server, authorities, err)
		}
		if v := release.FindString(version); v != "" && strings.Trim(v, "v0123456789.-alphbetrc") != "" {
			t.Errorf("%q was taken for the version %q", version, v)
		}
	})
}

// FuzzClusterInfoText is FuzzClusterInfo with text that nobody wrote.
func FuzzClusterInfoText(f *testing.F) {
	for _, s := range []string{"", plainKubeconfig, "kind: Config\nclusters: []", "clusters: [{name: a, cluster: {server: https://a}}, {name: b}]", "\x00", "{}", "[]", "null"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		end, err := parseClusterInfo(text)
		if err != nil {
			return
		}
		if block, _ := pem.Decode(end.CACert); block == nil || !strings.HasPrefix(end.CACertHash, "sha256:") || strings.ContainsAny(end.Server, " \n'\"$`;") {
			t.Errorf("took %q as %+v", text, end)
		}
	})
}

// FuzzNode: a Node as an API server may send it is one that can be shown, and
// the same one each time.
func FuzzNode(f *testing.F) {
	for _, s := range []string{
		`{"metadata":{"name":"a","labels":{"a":"b"},"creationTimestamp":"2026-01-01T00:00:00Z"},"status":{"allocatable":{"cpu":"4","memory":"8Gi"},"conditions":[{"type":"Ready","status":"True"}]}}`,
		`{"status":{"allocatable":{"cpu":"1e30","memory":"-1","ephemeral-storage":"9223372036854775808E"}}}`, `{"status":{"allocatable":{"cpu":"0.0000000000001","memory":"1n"}}}`,
		`{"status":{"conditions":[{"type":"Ready","status":"Maybe"},{"type":"Ready"}],"addresses":[{"type":"InternalIP","address":"\u0000"}]}}`, `{}`, `null`, `{"metadata":null,"status":null}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var n corev1.Node
		if json.Unmarshal(data, &n) != nil {
			return
		}
		a, b := nodeOf(&n), nodeOf(n.DeepCopy())
		if !reflect.DeepEqual(a, b) {
			t.Errorf("the same Node shows\n%+v and\n%+v", a, b)
		}
		if a.Name != n.Name || len(a.Labels) != len(n.Labels) {
			t.Errorf("%q became %+v", data, a)
		}
	})
}

// FuzzNodeName: names are the ones that Kubernetes takes, no more and no less.
func FuzzNodeName(f *testing.F) {
	for _, s := range []string{"", "a", "a.b", "a..b", "-a", "A", "a\n", strings.Repeat("a", 253), strings.Repeat("a", 254), "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if theirs := validation.IsDNS1123Subdomain(name); isNodeName(name) != (len(theirs) == 0) {
			t.Errorf("%q: %v here, there %v", name, isNodeName(name), theirs)
		}
		if isHostName(name) && slices.ContainsFunc(strings.Split(name, "."), func(l string) bool { return len(validation.IsDNS1123Label(l)) > 0 }) {
			t.Errorf("%q is no name that DNS can hold", name)
		}
	})
}

// FuzzSignature: nobody without the token's secret signs for it.
func FuzzSignature(f *testing.F) {
	for _, s := range []string{"", "..", "a..b", "eyJhbGciOiJIUzI1NiJ9..AAAA", "a.b.c", "...."} {
		f.Add("content", s)
	}
	f.Fuzz(func(t *testing.T, content, signature string) {
		if signs(secret.New("0123456789abcdef"), content, signature) {
			t.Errorf("%q signs %q", signature, content)
		}
	})
}
