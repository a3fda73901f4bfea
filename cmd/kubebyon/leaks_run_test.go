package main_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leakRun is one run of the main job in a folder of its own.
type leakRun struct {
	t        *testing.T
	ledger   *ledger
	name     string
	home     string
	settings []string // the server's environment
	database database
	plane    string
	kubectl  string
	addr     string
	metrics  string
	server   *server
	admin    *client
	session  string
}

func newLeakRun(t *testing.T, l *ledger, root, name string) *leakRun {
	t.Helper()
	r := &leakRun{
		t: t, ledger: l, name: name, home: filepath.Join(root, name), addr: freeAddress(t), metrics: freeAddress(t),
		plane: requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane"), kubectl: requireProgram(t, "KUBEBYON_KUBECTL", "kubectl"),
	}
	for _, dir := range []string{"bin", "standins", "notes", "temporary", "person"} {
		if err := os.MkdirAll(filepath.Join(r.home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *leakRun) in(elem ...string) string {
	return filepath.Join(append([]string{r.home}, elem...)...)
}

// usePostgres gives the server all its secrets, in every way that it takes them.
func (r *leakRun) usePostgres() bool {
	r.t.Helper()
	password, key := "database-"+text(24), newKey()
	var dsn string
	var ok bool
	if r.database, dsn, ok = openOwnPostgres(r.t, password); !ok {
		return false
	}
	chosen := "chosen-" + text(24)
	r.ledger.keep(databasePassword, passwordIn(dsn))
	r.ledger.keepServerKey(r.t, key)
	r.ledger.keep(chosenPassword, chosen)
	write(r.t, r.in("person", "password"), chosen+"\n")
	r.settings = []string{
		"KUBEBYON_DATABASE_URL=" + dsn, "KUBEBYON_SECRET_KEY=" + key,
		"PGPASSWORD=" + passwordIn(dsn), "KUBEBYON_ADMIN_PASSWORD_FILE=" + r.in("person", "password"), "KUBEBYON_TRUSTED_PROXY_CIDRS=127.0.0.0/8",
	}
	return true
}

func passwordIn(dsn string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(dsn, "postgres://"), ":")
	password, _, _ := strings.Cut(rest, "@")
	return password
}

// text is n random characters.
func text(n int) string { return strings.ToLower(rand.Text() + rand.Text())[:n] }

func (r *leakRun) all() {
	r.prepare()
	formats := []string{"json", "text"}
	if r.name == "postgres" {
		slices.Reverse(formats)
	}
	r.start(formats[0])
	if r.name == "sqlite" {
		r.database.db = openSQLite(r.t, r.in("data"))
	}
	r.signInAsAdmin()
	r.accounts()
	r.systemSettings()
	r.rotateKeys()
	key := r.apiKey()
	id, leaky := r.clusters()
	r.kubeconfigs(id)
	r.keepFiles(id)
	value := r.join(id)
	r.useCluster()
	r.nodes(id)
	r.refusals(id, value, key)
	r.awaitLastWords(leaky)
	r.crash(id, formats[1])
	r.end(id, leaky)
}

func (r *leakRun) environment() []string {
	return []string{"PATH=" + r.in("standins") + ":/usr/local/bin:/usr/bin:/bin", "HOME=" + r.in("person"), "TMPDIR=" + r.in("temporary")}
}

// start runs the server as one whose umask protects nothing.
func (r *leakRun) start(format string) {
	r.t.Helper()
	s := &server{addr: r.addr, url: "http://" + r.addr, log: new(tailBuffer), exited: make(chan error, 1)}
	out, log := &output{also: s.log}, &output{also: s.log}
	s.cmd = exec.CommandContext(context.Background(), "/bin/sh", "-c", `umask 000; exec "$@"`, "sh", program, "dev",
		"--data-dir", r.in("data"), "--http-addr", r.addr, "--metrics-addr", r.metrics, "--localplane", r.in("bin", "kubebyon-localplane"),
		"--log-level", "debug", "--log-format", format, "--auth-rate-limit-burst", "10000", "--join-rate-limit-burst", "10000")
	s.cmd.Env = append(r.environment(), r.settings...)
	s.cmd.Stdout, s.cmd.Stderr = out, log
	if err := s.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { s.exited <- s.cmd.Wait() }()
	r.t.Cleanup(func() {
		s.stop(r.t)
		r.ledger.record("output of kubebyon dev", r.name, out.all())
		r.ledger.record("log of the server", r.name+", as "+format, log.all())
	})
	r.server = s
	s.log.awaitRunning(r.t, 60*time.Second)
}

// openSQLite looks into a data folder beside its server.
func openSQLite(t *testing.T, data string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(data, "kubebyon.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// crash kills a control plane, then the server, and starts it again.
func (r *leakRun) crash(id, format string) {
	r.t.Helper()
	killed := tenantOf(r.home, id)
	_ = syscall.Kill(killed, syscall.SIGKILL)
	r.admin.awaitCluster(id, time.Minute, "running again", func(int, object) bool {
		pid := tenantOf(r.home, id)
		return pid != 0 && pid != killed
	})
	r.observe(id)
	r.server.kill(r.t)
	awaitNoPlanes(r.t, r.home, 10*time.Second)
	r.sweepAll("after the crash")
	r.start(format)
	before := r.admin.must("GET", "/api/console/clusters/"+id, nil, http.StatusOK)["cluster"].(object)["last_observed_at"]
	r.admin.awaitCluster(id, 2*time.Minute, "reachable again", func(_ int, cluster object) bool {
		return cluster["connection_status"] == "reachable" && cluster["last_observed_at"] != before
	})
}

// tenantOf is the process of a cluster's control plane, 0 if there is none.
func tenantOf(home, id string) int {
	for _, p := range processes(filepath.Join(home, "data", "planes", "data", id), "kubebyon-localplane tenant ") {
		return p.pid
	}
	return 0
}

// observe reads all that people and machines may read.
func (r *leakRun) observe(id string) {
	r.t.Helper()
	for _, at := range []string{
		"/api/auth/providers", "/api/console/me", "/api/console/clusters", "/api/console/clusters/" + id, "/api/console/clusters/" + id + "/operations", "/api/console/nodes",
		"/api/console/node-events", "/api/console/overview", "/api/console/activities", "/api/console/admin/system-settings", "/healthz", "/readyz", "/version", "/openapi.json", "/openapi.yaml", "/docs/",
	} {
		r.admin.must("GET", at, nil, http.StatusOK)
	}
	pages := 0
	for at, more := "/api/console/admin/activities?limit=10", true; more; pages++ {
		next, _ := r.admin.must("GET", at, nil, http.StatusOK)["next_cursor"].(string)
		at, more = "/api/console/admin/activities?limit=10&cursor="+next, next != ""
	}
	if pages < 2 {
		r.t.Errorf("%s: there is %d page of audit events", r.name, pages)
	}
	resp, err := http.Get("http://" + r.metrics + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Contains(text, []byte("kubebyon_http_request")) {
		r.t.Fatalf("metrics: %v: %s", err, text)
	}
	r.ledger.record("metrics", r.name, text)
}

func (r *leakRun) sweepAll(when string) {
	r.t.Helper()
	source := r.name + ", " + when + ":"
	values := r.database.dump(r.t, r.ledger, source)
	if values < 500 {
		r.t.Errorf("%s the database holds %d values", source, values)
	}
	r.ledger.sweep(r.t, source, r.in("data"), dataFile)
	r.ledger.sweep(r.t, source, r.in("nodes", "worker-1"), nodeFile)
	r.ledger.sweep(r.t, source, r.in("temporary"), func(rel string) string { return "left behind, " + temporaryFile(rel) })
}

// end takes everything down in order.
func (r *leakRun) end(id, leaky string) {
	r.t.Helper()
	r.admin.must("GET", "/api/auth/me", nil, http.StatusOK)
	r.observe(id)
	r.sweepAll("before the end")
	for _, n := range r.admin.must("GET", "/api/console/nodes", nil, http.StatusOK)["nodes"].([]any) {
		r.admin.must("DELETE", "/api/console/nodes/"+n.(object)["id"].(string), nil, http.StatusNoContent)
	}
	for _, cluster := range []string{id, leaky} {
		r.admin.must("DELETE", "/api/console/clusters/"+cluster, nil, http.StatusAccepted)
	}
	for _, cluster := range []string{id, leaky} {
		r.admin.awaitGone(cluster, time.Minute)
	}
	r.admin.must("POST", "/api/auth/logout", nil, http.StatusNoContent)
	r.server.stop(r.t)
	endHollowNodes(r.home)
	r.sweepAll("at the end")
	r.t.Logf("%s: %d notes of programs that ran", r.name, r.ledger.lookAtNotes(r.t, r.name, r.in("notes")))
}
