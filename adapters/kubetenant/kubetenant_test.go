package kubetenant_test

import (
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant/tenanttest"
)

func TestContract(t *testing.T) {
	thePlane(t)
	tenanttest.Run(t, tenanttest.Harness{New: newWorld, Broken: brokenKubeconfigs()})
}

func brokenKubeconfigs() (out []secret.Text) {
	const whole = `{apiVersion: v1, kind: Config, current-context: c,
  contexts: [{name: c, context: {cluster: c, user: u}}],
  clusters: [{name: c, cluster: {CLUSTER}}],
  users: [{name: u, user: {USER}}]}`
	for _, c := range [][2]string{
		{`server: "https://127.0.0.1:1", certificate-authority: /confidential`, ``},
		{`server: "https://127.0.0.1:1", certificate-authority-data: Y29uZmlkZW50aWFs`, ``},
		{`server: "https://127.0.0.1:1", insecure-skip-tls-verify: true`, `token: confidential`},
		{`server: "https://127.0.0.1:1", proxy-url: "http://confidential:1"`, ``},
		{`server: "http://confidential:1"`, ``},
		{`server: "https://user:confidential@127.0.0.1:1"`, ``},
		{``, `token: confidential`},
		{`server: "https://127.0.0.1:1"`, `exec: {apiVersion: client.authentication.k8s.io/v1, command: confidential, interactiveMode: Never}`},
		{`server: "https://127.0.0.1:1"`, `auth-provider: {name: confidential}`},
		{`server: "https://127.0.0.1:1"`, `client-certificate: /confidential, client-key: /confidential`},
		{`server: "https://127.0.0.1:1"`, `tokenFile: /confidential`},
		{`server: "https://127.0.0.1:1"`, `client-certificate-data: Y29uZmlkZW50aWFs, client-key-data: Y29uZmlkZW50aWFs`},
	} {
		out = append(out, secret.New(replace(whole, c)))
	}
	return append(out,
		secret.New("confidential: ["),
		secret.New("confidential"),
		secret.New(`{apiVersion: v1, kind: Config, current-context: confidential}`),
		secret.New(`{apiVersion: v1, kind: Config, clusters: {confidential: 1}}`),
	)
}

func replace(whole string, c [2]string) string {
	return strings.NewReplacer("CLUSTER", c[0], "USER", c[1]).Replace(whole)
}
