package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startHost runs a host Kubernetes in a box until the test ends, and returns its
// kubeconfig.
func startHost(t testing.TB, localplane, dir string) string {
	t.Helper()
	end, lifeline, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), localplane, "host", "--dir", dir, "--unsafe-no-fsync", "--no-metrics", "--secret-delay", "100ms", "--lifeline-fd", "3")
	cmd.ExtraFiles = []*os.File{end}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	_ = end.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = lifeline.Close() // it ends then, with its tenants
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var said struct{ Stage, Kubeconfig string }
		if json.Unmarshal(lines.Bytes(), &said) == nil && said.Stage == "ready" {
			go func() {
				for lines.Scan() {
					continue // what it says further is not looked at
				}
			}()
			return said.Kubeconfig
		}
	}
	t.Fatal("the host did not get ready")
	return ""
}

// The whole way, with nothing left out but the machines: a server, a worker,
// PostgreSQL, RabbitMQ, Helm, a host Kubernetes, and a node that joins. The first
// worker is killed at work, and another one goes on with it. None of their secrets
// is told, here or by servers that the host refuses.
func TestAClusterOnAHost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a host Kubernetes")
	}
	plane, kubectl := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane"), requireProgram(t, "KUBEBYON_KUBECTL", "kubectl")
	chart, err := filepath.Abs("../../testdata/charts/vcluster")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	host := startHost(t, plane, filepath.Join(home, "host"))
	secrets := newHostedSecrets(t, host, kubectl)
	site := newSite(t, append(secrets.settings, "KUBEBYON_VCLUSTER_CHART="+chart, "KUBEBYON_JOB_LEASE_SECONDS=5")...)
	s, killed := secrets.run(site.serve, "--log-format", "text", "--kubeconfig-path", secrets.byToken), secrets.run(site.work)
	awaitRefused := secrets.refused(chart)
	wrongValues(t, host, chart)
	for _, p := range []*server{s, killed} {
		p.await(t, "/readyz", "ready", func(a answer) bool { return a.status == http.StatusOK && a.body["status"] == "ok" })
	}
	w := killed
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the worker's log:\n%s\nthe server's log:\n%s", w.log.tail(), s.log.tail())
		}
	})
	c := secrets.signIn(s)
	made := c.must("POST", "/api/console/clusters", object{"name": "demo", "public_access_enabled": true, "public_access_mode": "nodeport"}, http.StatusCreated)["cluster"].(object)
	id, namespace := made["id"].(string), made["vcluster_name"].(string)
	awaitOperation(t, c, id, "running")
	killed.kill(t)
	w = secrets.run(site.work)
	c.awaitReachable(id, 3*time.Minute)
	file := filepath.Join(home, "demo.kubeconfig")
	secrets.ledger.keepKubeconfig(t, adminKey, c.kubeconfig(id, secrets.password, file))
	if out := kube(t, kubectl, file, "get", "namespaces", "-o", "name"); !strings.Contains(out, "namespace/kube-system") {
		t.Errorf("the tenant has the namespaces %s", out)
	}
	joinHollow(t, c, id, plane, home)
	c.awaitNode(id, "worker-1")

	c.must("PUT", "/api/console/clusters/"+id, object{"control_plane_host": "localhost"}, http.StatusOK)
	c.awaitCluster(id, 2*time.Minute, "published under its new host", func(_ int, cluster object) bool {
		endpoint, _ := cluster["api_endpoint"].(string)
		return strings.HasPrefix(endpoint, "https://localhost:") && cluster["connection_status"] == "reachable"
	})
	if text := c.kubeconfig(id, secrets.password, file); !strings.Contains(text, "https://localhost:") {
		t.Error("the kubeconfig leads to the old host")
	}
	if out := kube(t, kubectl, file, "get", "nodes", "-o", "name"); !strings.Contains(out, "node/worker-1") {
		t.Errorf("after the update the tenant has the nodes %s", out)
	}
	secrets.read(c, id)
	awaitRefused()
	c.must("DELETE", "/api/console/clusters/"+id, nil, http.StatusAccepted)
	c.awaitGone(id, 2*time.Minute)
	if out := kube(t, kubectl, host, "get", "namespaces", "-o", "name"); strings.Contains(out, "/"+namespace) {
		t.Errorf("the host still has the namespace: %s", out)
	}
	if strings.Contains(s.log.tail(), "job attempt") || !strings.Contains(w.log.tail(), `"part":"host"`) {
		t.Error("the server has worked on jobs, or the worker has not")
	}
	secrets.judge()
}

// awaitOperation waits for the status of a cluster's latest operation.
func awaitOperation(t testing.TB, c *client, id, status string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		ops := c.must("GET", "/api/console/clusters/"+id+"/operations", nil, http.StatusOK)["operations"].([]any)
		if len(ops) > 0 && ops[0].(object)["status"] == status {
			return
		}
	}
	t.Fatalf("no operation is %s after a minute", status)
}

// joinHollow runs the join script as a machine does that has no root.
func joinHollow(t testing.TB, c *client, id, plane, home string) {
	t.Helper()
	t.Cleanup(func() { endHollowNodes(home) })
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `curl -sfL "$URL/join?token=$TOKEN" | sh -`)
	cmd.Env = append(os.Environ(), "URL="+c.url, "TOKEN="+c.joinToken(id), "KUBEBYON_HOLLOW_NODE="+plane,
		"KUBEBYON_NODE_NAME=worker-1", "KUBEBYON_NODE_DIR="+filepath.Join(home, "worker-1"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the join ended with %v:\n%s", err, out)
	}
}
