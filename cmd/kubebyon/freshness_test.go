package main_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"
)

// BenchmarkNodeChange changes nodes through their tenants' own API servers and
// waits until KubeBYON's API shows it, with ten tenants and twenty nodes, one
// change at a time. Targets: 250 ms in the middle, 2 s for 99 of 100.
func BenchmarkNodeChange(b *testing.B) {
	const tenants, nodesEach, changes = 10, 2, 200
	plane := requireProgram(b, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	home := b.TempDir()
	data := filepath.Join(home, "data")
	b.Cleanup(func() { endHollowNodes(home) })
	s := startServer(b, data, plane, "--log-level", "info", "--join-rate-limit-burst", "100") // all machines are one address
	c := signIn(b, s, data)
	nodes := machines(b, s, c, data, home, tenants, nodesEach)
	for range b.N {
		var took []time.Duration
		for i := range changes {
			n := nodes[i%len(nodes)]
			cordoned := i/len(nodes)%2 == 0
			n.cordon(b, cordoned)
			start := time.Now()
			for c.must("GET", "/api/console/nodes/"+n.id, nil, http.StatusOK)["node"].(object)["unschedulable"] != cordoned {
				if time.Since(start) > time.Minute {
					b.Fatal("the change did not show in a minute")
				}
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		p50, p99 := took[len(took)/2], took[len(took)*99/100]
		b.ReportMetric(float64(p50.Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(p99.Microseconds())/1000, "p99-ms")
		if p50 > 250*time.Millisecond || p99 > 2*time.Second {
			b.Errorf("a node change shows after %v (p50) and %v (p99); the targets are 250 ms and 2 s", p50, p99)
		}
	}
}

// machine is a hollow node, and the way to its tenant's API server.
type machine struct {
	id, url string
	tenant  *http.Client
}

// machines joins nodes to tenants.
func machines(b *testing.B, s *server, c *client, data, home string, tenants, nodesEach int) (out []machine) {
	b.Helper()
	plane, password := requireProgram(b, "KUBEBYON_LOCALPLANE", "kubebyon-localplane"), adminPassword(b, data)
	var ids []string
	for i := range tenants {
		ids = append(ids, c.createCluster(fmt.Sprintf("fresh-%d", i)))
	}
	for i, id := range ids {
		c.awaitReachable(id, 5*time.Minute)
		tenant, url := insideOf(b, c.kubeconfig(id, password, filepath.Join(home, id)))
		for j := range nodesEach {
			name := fmt.Sprintf("node-%d-%d", i, j)
			join(b, s.url, c.joinToken(id), plane, home, name)
			out = append(out, machine{c.awaitNode(id, name), url + "/api/v1/nodes/" + name, tenant})
		}
	}
	return out
}

// insideOf returns a client with the rights of a kubeconfig, and its server.
func insideOf(b testing.TB, kubeconfig string) (*http.Client, string) {
	b.Helper()
	field := func(name string) string {
		m := regexp.MustCompile(name + `: "?([^"\s]+)`).FindStringSubmatch(kubeconfig)
		if m == nil {
			b.Fatalf("the kubeconfig has no %s", name)
		}
		return m[1]
	}
	decoded := func(name string) []byte {
		text, err := base64.StdEncoding.DecodeString(field(name))
		if err != nil {
			b.Fatal(err)
		}
		return text
	}
	pair, err := tls.X509KeyPair(decoded("client-certificate-data"), decoded("client-key-data"))
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(decoded("certificate-authority-data"))
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
	}}}
	b.Cleanup(client.CloseIdleConnections)
	return client, field("server")
}

// cordon changes the node in its tenant, behind KubeBYON's back.
func (m machine) cordon(b *testing.B, cordoned bool) {
	b.Helper()
	body := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, cordoned)
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPatch, m.url, bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/merge-patch+json")
	answer, err := m.tenant.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		b.Fatalf("change the node: %s", answer.Status)
	}
}
