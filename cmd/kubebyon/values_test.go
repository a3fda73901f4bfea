package main_test

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// wrongValues runs a server whose file of values the chart refuses. It says so
// before anybody asks for a cluster, and to whoever does; once the file is mended,
// all is well without a restart.
func wrongValues(t *testing.T, host, chart string) {
	t.Helper()
	const hush, variable = "hunter2-hunter2", "KUBEBYON_VCLUSTER_VALUES_FILE"
	dir := t.TempDir()
	values := filepath.Join(dir, "values.yaml")
	write(t, values, "controlPlane: {statefulSett: {password: "+hush+"}}")
	site := newSite(t, "KUBEBYON_DATABASE_URL=sqlite:"+filepath.Join(dir, "kubebyon.db"), "KUBEBYON_KUBECONFIG_PATH="+host, "KUBEBYON_VCLUSTER_CHART="+chart,
		variable+"="+values, "KUBEBYON_INSTALLATION=values", "KUBEBYON_ADMIN_PASSWORD=correct horse battery")
	s := site.serve()
	defer s.stop(t)
	a := s.awaitCheck(t, "backend", "unavailable")
	for deadline := time.Now().Add(time.Minute); !strings.Contains(a.body["message"].(string), variable); a = s.awaitCheck(t, "backend", "unavailable") {
		if time.Now().After(deadline) {
			t.Fatalf("readiness is %d %v\n%s", a.status, a.body, s.log.tail())
		}
		time.Sleep(100 * time.Millisecond) // the host comes first
	}
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("readiness is %d %v", a.status, a.body)
	}
	c := signInWith(t, s, "correct horse battery")
	id := c.createCluster("refused")
	told := c.awaitCluster(id, time.Minute, "failed", func(_ int, cluster object) bool { return cluster["status"] == "error" })
	if said, _ := told["last_error_message"].(string); !strings.Contains(said, variable) || !strings.Contains(said, "statefulSett") || strings.Contains(said, hush) {
		t.Errorf("the cluster says %q", said)
	}
	if !strings.Contains(s.log.tail(), variable) || strings.Contains(s.log.tail(), hush) {
		t.Errorf("the log does not name the variable, or repeats a value:\n%s", s.log.tail())
	}
	write(t, values, "controlPlane: {}")
	s.awaitCheck(t, "backend", "ok")
}
