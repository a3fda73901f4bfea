package main_test

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A power cut loses nothing that was acknowledged: what was there comes back,
// what was half made is finished, what was half deleted goes.
func TestKilledServerComesBack(t *testing.T) {
	t.Parallel()
	plane, kubectl := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane"), requireProgram(t, "KUBEBYON_KUBECTL", "kubectl")
	home := t.TempDir()
	data := filepath.Join(home, "data")
	s := startServer(t, data, plane)
	c := signIn(t, s, data)

	kept, doomed := c.createCluster("kept"), c.createCluster("doomed")
	before := c.awaitReachable(kept, time.Minute)
	c.awaitReachable(doomed, time.Minute)
	file := filepath.Join(home, "kept.kubeconfig")
	kubeconfig := c.kubeconfig(kept, adminPassword(t, data), file)
	kube(t, kubectl, file, "create", "namespace", "survivor")
	token := c.must("POST", "/api/console/clusters/"+kept+"/join-token", object{}, http.StatusCreated)["token"].(object)

	c.must("DELETE", "/api/console/clusters/"+doomed, nil, http.StatusAccepted)
	halfMade := c.createCluster("half-made")
	s.kill(t)
	awaitNoPlanes(t, home, 5*time.Second)

	startServerAt(t, s.addr, data, plane)
	after := c.awaitCluster(kept, time.Minute, "reachable again", func(_ int, cluster object) bool {
		return cluster["connection_status"] == "reachable" && cluster["last_observed_at"] != before["last_observed_at"]
	})
	if before["api_endpoint"] != after["api_endpoint"] {
		t.Errorf("the endpoint was %v and is %v", before["api_endpoint"], after["api_endpoint"])
	}
	if again := c.kubeconfig(kept, adminPassword(t, data), file); again != kubeconfig {
		t.Error("the kubeconfig has changed")
	}
	if out := kube(t, kubectl, file, "get", "namespaces", "-o", "name"); !strings.Contains(out, "namespace/survivor") {
		t.Errorf("the tenant's data is gone: %s", out)
	}
	c.awaitReachable(halfMade, time.Minute)
	c.awaitGone(doomed, time.Minute)
	if out := c.must("DELETE", "/api/console/tokens/"+token["id"].(string), nil, http.StatusOK); out["token"].(object)["status"] != "revoked" {
		t.Errorf("the token is %v", out)
	}
	for _, id := range []string{kept, halfMade} {
		c.must("DELETE", "/api/console/clusters/"+id, nil, http.StatusAccepted)
		c.awaitGone(id, time.Minute)
	}
	awaitNoPlanes(t, home, 5*time.Second)
	left, err := filepath.Glob(filepath.Join(data, "planes", "*", "*cl_*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left of deleted clusters: %v %v", left, err)
	}
}

func TestTenClustersAtOnceAllBecomeReachable(t *testing.T) {
	if testing.Short() {
		t.Skip("starts ten control planes")
	}
	t.Parallel()
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	home := t.TempDir()
	data := filepath.Join(home, "data")
	c := signIn(t, startServer(t, data, plane), data)
	var ids []string
	for i := range 10 {
		ids = append(ids, c.createCluster(fmt.Sprintf("ten-%d", i)))
	}
	for _, id := range ids {
		c.awaitReachable(id, 5*time.Minute)
	}
	for _, id := range ids {
		c.must("DELETE", "/api/console/clusters/"+id, nil, http.StatusAccepted)
	}
	for _, id := range ids {
		c.awaitGone(id, 2*time.Minute)
	}
	awaitNoPlanes(t, home, 5*time.Second)
}

func kube(t testing.TB, kubectl, kubeconfig string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, kubectl, append([]string{"--kubeconfig", kubeconfig}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %v: %v: %s", args, err, out)
	}
	return string(out)
}

// awaitNoPlanes waits for the children of a server that has ended.
func awaitNoPlanes(t testing.TB, home string, within time.Duration) {
	t.Helper()
	for deadline := time.Now().Add(within); len(planesOf(home)) > 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("child processes are left over: %v", planesOf(home))
		}
	}
}
