package main_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Each wrong value stops the start of a server at once, with a message that names
// the variable and does not repeat a secret; a worker's does too.
func TestAWrongSettingIsNamed(t *testing.T) {
	t.Parallel()
	const hush = "hunter2-hunter2"
	file := filepath.Join(t.TempDir(), "secret")
	write(t, file, hush+"\n")
	values := filepath.Join(t.TempDir(), "values.yaml")
	write(t, values, "password: ["+hush)
	const database, broker = "KUBEBYON_DATABASE_URL=postgres://u:" + hush + "@127.0.0.1:1/x", "KUBEBYON_AMQP_URL=amqp://u:" + hush + "@127.0.0.1:1/"
	for _, c := range []struct{ setting, server, worker string }{
		{"KUBEBYON_DATABASE_URL=", "KUBEBYON_DATABASE_URL is required", "KUBEBYON_DATABASE_URL is required"},
		{"KUBEBYON_DATABASE_URL=mysql://u:" + hush + "@h/x", "KUBEBYON_DATABASE_URL", ""},
		{"KUBEBYON_DATABASE_URL=postgres://u:" + hush + "@h:port/x", "KUBEBYON_DATABASE_URL", ""},
		{"KUBEBYON_DATABASE_URL_FILE=" + file, "KUBEBYON_DATABASE_URL and KUBEBYON_DATABASE_URL_FILE are both set", "KUBEBYON_DATABASE_URL and KUBEBYON_DATABASE_URL_FILE are both set"},
		{"KUBEBYON_DATABASE_URL=sqlite:/nowhere/kubebyon.db", "use KUBEBYON_DATABASE_URL=postgres://", "use KUBEBYON_DATABASE_URL=postgres://"},
		{"KUBEBYON_SECRET_KEY=", "KUBEBYON_SECRET_KEY is required", ""},
		{"KUBEBYON_SECRET_KEY=" + hush, "KUBEBYON_SECRET_KEY", "KUBEBYON_SECRET_KEY"},
		{"KUBEBYON_SECRET_KEY_FILE=/" + hush, "KUBEBYON_SECRET_KEY_FILE", ""},
		{"KUBEBYON_SECRET_KEY_FILE=" + file, "KUBEBYON_SECRET_KEY", ""},
		{"KUBEBYON_AMQP_URL=http://u:" + hush + "@h/", "KUBEBYON_AMQP_URL", ""},
		{"KUBEBYON_AMQP_URL=" + hush, "KUBEBYON_AMQP_URL", ""},
		{"KUBEBYON_AMQP_URL=", "", "KUBEBYON_AMQP_URL is required"},
		{"KUBEBYON_AMQP_QUORUM_QUEUES=" + hush, "KUBEBYON_AMQP_QUORUM_QUEUES", ""},
		{"KUBEBYON_KUBECONFIG_PATH=", "KUBEBYON_KUBECONFIG_PATH is required", ""},
		{"KUBEBYON_KUBECONFIG_PATH=/nowhere", "KUBEBYON_KUBECONFIG_PATH", "KUBEBYON_KUBECONFIG_PATH"},
		{"KUBEBYON_KUBECONFIG_PATH={token: " + hush + "}", "KUBEBYON_KUBECONFIG_PATH", "KUBEBYON_KUBECONFIG_PATH"},
		{"KUBEBYON_KUBECONFIG_PATH=" + values, "KUBEBYON_KUBECONFIG_PATH: " + values + " is no kubeconfig", "KUBEBYON_KUBECONFIG_PATH: " + values + " is no kubeconfig"},
		{"KUBEBYON_VCLUSTER_VALUES_FILE={password: " + hush + "}", "KUBEBYON_VCLUSTER_VALUES_FILE", ""},
		{"KUBEBYON_VCLUSTER_VALUES_FILE=" + values, values + " (KUBEBYON_VCLUSTER_VALUES_FILE), is no YAML", values + " (KUBEBYON_VCLUSTER_VALUES_FILE), is no YAML"},
		{"KUBEBYON_VCLUSTER_VALUES_FILE=" + file, "must hold a YAML object", ""},
		{"KUBEBYON_VCLUSTER_CHART=/nowhere", "", "Check KUBEBYON_VCLUSTER_CHART."},
		{"KUBEBYON_INSTALLATION=Not.A.Label", "KUBEBYON_INSTALLATION", "KUBEBYON_INSTALLATION"},
		{"KUBEBYON_VCLUSTER_VALUES_FILE=/nowhere", "KUBEBYON_VCLUSTER_VALUES_FILE", ""},
		{"KUBEBYON_VCLUSTER_LICENCE_SECRET=a/b/c", "KUBEBYON_VCLUSTER_", ""},
		{"KUBEBYON_VCLUSTER_SHARED_NODES=perhaps", "KUBEBYON_VCLUSTER_SHARED_NODES", ""},
		{"KUBEBYON_KUBERNETES_VERSIONS=latest", "KUBEBYON_KUBERNETES_VERSIONS", ""},
		{"KUBEBYON_HELM_OPERATIONS=0", "KUBEBYON_HELM_OPERATIONS", ""},
		{"KUBEBYON_HTTP_ADDR=8080", "KUBEBYON_HTTP_ADDR", ""},
		{"KUBEBYON_HEALTH_ADDR=8081", "", "KUBEBYON_HEALTH_ADDR"},
		{"KUBEBYON_METRICS_ADDR=9090", "KUBEBYON_METRICS_ADDR", ""},
		{"KUBEBYON_PUBLIC_BASE_URL=ftp://x", "KUBEBYON_PUBLIC_BASE_URL", ""},
		{"KUBEBYON_JOIN_BASE_URL=$(id)", "KUBEBYON_JOIN_BASE_URL", ""},
		{"KUBEBYON_CORS_ALLOWED_ORIGINS=console", "KUBEBYON_CORS_ALLOWED_ORIGINS", ""},
		{"KUBEBYON_TRUSTED_PROXY_CIDRS=10.0.0.0/99", "KUBEBYON_TRUSTED_PROXY_CIDRS", ""},
		{"KUBEBYON_PRIVATE_NETWORKS=10.0.0.0/99", "KUBEBYON_PRIVATE_NETWORKS", ""},
		{"KUBEBYON_JOIN_RATE_LIMIT_BURST=-1", "KUBEBYON_JOIN_RATE_LIMIT_BURST", ""},
		{"KUBEBYON_AUTH_RATE_LIMIT_WINDOW_SECONDS=x", "KUBEBYON_AUTH_RATE_LIMIT_WINDOW_SECONDS", ""},
		{"KUBEBYON_LOG_LEVEL=loud", "KUBEBYON_LOG_LEVEL", ""},
		{"KUBEBYON_LOG_FORMAT=xml", "KUBEBYON_LOG_FORMAT", ""},
		{"KUBEBYON_WORKER_CONCURRENCY=0", "KUBEBYON_WORKER_CONCURRENCY", ""},
		{"KUBEBYON_JOB_LEASE_SECONDS=1m", "KUBEBYON_JOB_LEASE_SECONDS", "KUBEBYON_JOB_LEASE_SECONDS"},
		{"KUBEBYON_START_TIMEOUT_SECONDS=-1", "KUBEBYON_START_TIMEOUT_SECONDS", ""},
		{"KUBEBYON_SHUTDOWN_DELAY_SECONDS=x", "KUBEBYON_SHUTDOWN_DELAY_SECONDS", ""},
	} {
		for _, p := range []struct {
			program, arguments, want string
		}{{program, "serve", c.server}, {workerProgram, "", c.worker}} {
			if p.want == "" {
				continue
			}
			t.Run(filepath.Base(p.program)+" "+c.setting, func(t *testing.T) {
				t.Parallel()
				settings := []string{database, broker, "KUBEBYON_HTTP_ADDR=127.0.0.1:0", c.setting}
				if strings.Contains(c.setting, "KEY_FILE") {
					settings = append(settings, "KUBEBYON_SECRET_KEY=")
				}
				out := newSite(t, settings...).run(p.program, strings.Fields(p.arguments)...).end(t, 20*time.Second)
				if !strings.Contains(out, p.want) || strings.Contains(out, hush) || strings.Contains(out, "panic") || strings.Count(strings.TrimSpace(out), "\n") > 0 {
					t.Errorf("its last words are not one line that names %s and no secret:\n%s", p.want, out)
				}
			})
		}
	}
}

// missingVariables are those of runtime.md, section 5, that have no flag, because
// nothing reads them yet: a flag that does nothing would be believed.
var missingVariables = map[string]string{ //nolint:gochecknoglobals // a constant
	"MANAGED_INGRESS_CHART_VERSION": "there is no built-in ingress before workload hostnames are",
	"TOKEN_SIGNING_KEY":             "there are no JWTs before the dialects are",
}

// The help shows every variable with its default, and no value from around it.
func TestTheHelpIsTheTableOfVariables(t *testing.T) {
	t.Parallel()
	s := newSite(t, "KUBEBYON_DATABASE_URL=postgres://u:hunter2@h/x")
	for _, p := range []struct{ program, argument, extra string }{{program, "serve", "HTTP_ADDR ADMIN_EMAIL ADMIN_PASSWORD CORS_ALLOWED_ORIGINS TRUSTED_PROXY_CIDRS JOIN_RATE_LIMIT_BURST AUTH_RATE_LIMIT_BURST"}, {workerProgram, "--help", "HEALTH_ADDR"}} {
		run := s.run(p.program, p.argument, "--help")
		if err := <-run.exited; err != nil {
			t.Error(err)
		}
		run.done = true
		out := run.log.tail()
		for name := range strings.FieldsSeq(p.extra + " DATABASE_URL AMQP_URL KUBECONFIG_PATH VCLUSTER_CHART VCLUSTER_CHART_REPO VCLUSTER_CHART_VERSION VCLUSTER_VALUES_FILE SECRET_KEY LOG_LEVEL LOG_FORMAT METRICS_ADDR WORKER_CONCURRENCY JOB_LEASE_SECONDS JOB_MAX_ATTEMPTS") {
			if !strings.Contains(out, "[KUBEBYON_"+name+"]") {
				t.Errorf("%s --help lacks %s", p.program, name)
			}
		}
		for name, why := range missingVariables {
			if strings.Contains(out, "[KUBEBYON_"+name+"]") {
				t.Errorf("%s --help has %s, of which this test says that %s", p.program, name, why)
			}
		}
		if has := strings.Contains(out, "[KUBEBYON_SHUTDOWN_DELAY_SECONDS]"); has != (p.program == program) {
			t.Errorf("%s --help has a delay for load balancers: %v", p.program, has)
		}
		if strings.Contains(out, "hunter2") {
			t.Error("the help shows a secret")
		}
	}
}

// A server whose database is away listens, says what it waits for, and comes up
// by itself; when the database goes and comes back, so does readiness.
func TestAServerWaitsForItsDatabase(t *testing.T) {
	t.Parallel()
	database, at := newGate(t, freshPostgres(t))
	broker, prefix := requireBroker(t)
	site := newSite(t, "KUBEBYON_DATABASE_URL="+at, "KUBEBYON_AMQP_URL="+broker, "KUBEBYON_AMQP_PREFIX="+prefix, "KUBEBYON_ADMIN_PASSWORD=correct horse battery")
	s, w := site.serve(), site.work()
	for _, p := range []*server{s, w} {
		p.await(t, "/healthz", "alive", func(a answer) bool { return a.status == http.StatusOK })
		a := p.awaitCheck(t, "database", "unavailable")
		if said, _ := a.body["message"].(string); a.status != http.StatusServiceUnavailable || !strings.Contains(said, "the database") {
			t.Errorf("readiness is %d %v", a.status, a.body)
		}
	}
	a, err := s.get("/api/console/clusters")
	if err != nil || a.status != http.StatusServiceUnavailable || a.body["code"] != "starting" || a.header.Get("Retry-After") == "" || a.header.Get("X-Request-Id") == "" {
		t.Errorf("a request meanwhile is answered %d %v %v %v", a.status, a.header, a.body, err)
	}
	time.Sleep(3 * time.Second) // it tries several times, and says so once
	if n := strings.Count(s.log.tail(), "cannot start yet"); n != 1 {
		t.Errorf("the log says %d times that it waits:\n%s", n, s.log.tail())
	}
	database.unlock()
	s.awaitCheck(t, "database", "ok")
	s.awaitCheck(t, "broker", "ok")
	w.awaitCheck(t, "broker", "ok")
	signInWith(t, s, "correct horse battery")

	database.shut()
	s.awaitCheck(t, "database", "unavailable")
	database.unlock()
	s.awaitCheck(t, "database", "ok")
	signInWith(t, s, "correct horse battery").must("GET", "/api/console/clusters", nil, http.StatusOK)
	noSecrets(t, s, at)
}

// Without the broker requests are answered all the same, and readiness says what
// is missing.
func TestAServerAnswersWithoutItsBroker(t *testing.T) {
	t.Parallel()
	text, prefix := requireBroker(t)
	broker, at := newGate(t, text)
	site := newSite(t, "KUBEBYON_DATABASE_URL="+freshPostgres(t), "KUBEBYON_AMQP_URL="+at, "KUBEBYON_AMQP_PREFIX="+prefix, "KUBEBYON_ADMIN_PASSWORD=correct horse battery")
	s := site.serve()
	s.awaitCheck(t, "database", "ok")
	if a := s.awaitCheck(t, "broker", "unavailable"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body["message"].(string), "the message broker") {
		t.Errorf("readiness before the broker was there once: %d %v", a.status, a.body)
	}
	c := signInWith(t, s, "correct horse battery")
	c.createCluster("early")
	w := site.work()
	w.awaitCheck(t, "broker", "unavailable")
	broker.unlock()
	s.awaitCheck(t, "broker", "ok")
	w.awaitCheck(t, "broker", "ok")
	broker.shut()
	s.awaitCheck(t, "broker", "unavailable")
	c.createCluster("late")
	broker.unlock()
	s.awaitCheck(t, "broker", "ok")
	w.awaitCheck(t, "broker", "ok")
	noSecrets(t, s, at)
}

func signInWith(t testing.TB, s *server, password string) *client {
	t.Helper()
	c := newClient(t, s)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		status, out, err := c.call("POST", "/api/auth/login", object{"email": adminEmail, "password": password})
		if status == http.StatusOK {
			return c
		}
		if status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			t.Fatalf("sign-in: %d %v %v\n%s", status, out, err, s.log.tail())
		}
	}
}

// noSecrets looks for the passwords of URLs in a log.
func noSecrets(t testing.TB, s *server, urls ...string) {
	t.Helper()
	for _, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if password, given := u.User.Password(); given && password != "guest" && strings.Contains(s.log.tail(), password) || strings.Contains(s.log.tail(), text) {
			t.Errorf("the log holds a URL or its password:\n%s", s.log.tail())
		}
	}
}

// A signal ends a server that waits as well as one that runs.
func TestAServerThatWaitsEndsWhenTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, "KUBEBYON_DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/x").serve()
	s.awaitCheck(t, "database", "unavailable")
	began := time.Now()
	s.stop(t) // fails unless it ends with 0
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if strings.Contains(s.log.tail(), "hunter2") {
		t.Errorf("the log holds the password:\n%s", s.log.tail())
	}
}

func TestAStartMayHaveAnEnd(t *testing.T) {
	t.Parallel()
	s := newSite(t, "KUBEBYON_DATABASE_URL=postgres://u@127.0.0.1:1/x").serve("--start-timeout-seconds", "1")
	if out := s.end(t, 20*time.Second); !strings.Contains(out, "did not start within 1s") || !strings.Contains(out, "does not answer") {
		t.Errorf("its last words are:\n%s", out)
	}
}

// What waiting mends is waited for, also when the database refuses; what it does
// not mend ends the process with a sentence.
func TestOnlyWhatWaitingMendsIsWaitedFor(t *testing.T) {
	t.Parallel()
	at := freshPostgres(t)
	admin, err := sql.Open("pgx", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	exec := func(query string) {
		t.Helper()
		if _, err := admin.ExecContext(context.Background(), query); err != nil {
			t.Fatal(err)
		}
	}
	u, _ := url.Parse(at)
	name := strings.TrimPrefix(u.Path, "/") + "_later"
	u.Path = "/" + name
	site := newSite(t, "KUBEBYON_DATABASE_URL="+u.String(), "KUBEBYON_ADMIN_PASSWORD=correct horse battery")
	t.Cleanup(func() { exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)") })

	first := site.serve()
	first.awaitCheck(t, "database", "unavailable")
	exec("CREATE DATABASE " + name)
	first.awaitCheck(t, "database", "ok")

	site.set("KUBEBYON_SECRET_KEY", newKey())
	for _, second := range []*server{site.serve(), site.work("--amqp-url", "amqp://127.0.0.1:1/")} {
		if out := second.end(t, 30*time.Second); !strings.Contains(out, "is not the one that this installation's secrets are sealed with") {
			t.Errorf("a process with another key ends with:\n%s", out)
		}
	}
	first.awaitCheck(t, "database", "ok")
	first.stop(t)

	later, err := sql.Open("pgx", u.String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = later.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)")
	if err != nil || later.Close() != nil {
		t.Fatal(err)
	}
	if out := site.serve().end(t, 30*time.Second); !strings.Contains(out, "newer KubeBYON") {
		t.Errorf("on a newer database it ends with:\n%s", out)
	}
}

// A SQLite file is one server's: a second one would run the first one's jobs again.
// Commands beside it are welcome, and what a killed server leaves keeps nobody out.
func TestASecondServerOnOneFileIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "kubebyon.db")
	site := newSite(t, "KUBEBYON_DATABASE_URL=sqlite:"+file, "KUBEBYON_ADMIN_PASSWORD=correct horse battery")
	first := site.serve()
	first.awaitCheck(t, "database", "ok")
	if out := site.serve().end(t, 20*time.Second); !strings.Contains(out, "another kubebyon has the database file "+file) || !strings.Contains(out, "KUBEBYON_DATABASE_URL=postgres://") {
		t.Errorf("the second server ends with:\n%s", out)
	}
	if out, err := site.call("", "admin", "list"); err != nil || !strings.Contains(out, adminEmail) {
		t.Errorf("beside the server: %v\n%s", err, out)
	}
	first.awaitCheck(t, "database", "ok")
	first.done = true
	_ = first.cmd.Process.Kill()
	<-first.exited
	site.serve().awaitCheck(t, "database", "ok")
}

// A server that is told to stop answers every request that was sent until its
// readiness said not to: as a load balancer in front of it would.
func TestAStopLosesNoRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, "KUBEBYON_DATABASE_URL="+freshPostgres(t), "KUBEBYON_ADMIN_PASSWORD=correct horse battery", "KUBEBYON_LOG_LEVEL=info").serve("--shutdown-delay-seconds", "5")
	s.awaitCheck(t, "database", "ok")
	c := signInWith(t, s, "correct horse battery")
	var answered, lost atomic.Int64
	var draining atomic.Bool
	var users sync.WaitGroup
	for n := range 8 {
		users.Go(func() {
			for i := 0; !draining.Load(); i++ {
				status, out, err := c.call("POST", "/api/console/clusters", object{"name": fmt.Sprintf("c-%d-%d", n, i)})
				if err != nil || status != http.StatusCreated && out["code"] != "store_busy" {
					lost.Add(1)
					t.Errorf("after %d answers one is lost: %d %v %v", answered.Load(), status, out, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for answered.Load() < 40 {
		time.Sleep(10 * time.Millisecond)
	}
	before := answered.Load()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	s.await(t, "/readyz", "draining", func(a answer) bool { return a.body["checks"].(object)["server"] == "unavailable" })
	draining.Store(true)
	s.ended(t)
	users.Wait()
	if answered.Load() == before || lost.Load() > 0 {
		t.Errorf("%d were answered before the signal, %d after it, %d lost", before, answered.Load()-before, lost.Load())
	}
	t.Logf("answered %d before the signal and %d after it", before, answered.Load()-before)
}

// A second signal ends a process that takes its time.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, "KUBEBYON_DATABASE_URL="+freshPostgres(t)).serve("--shutdown-delay-seconds", "60")
	s.awaitCheck(t, "database", "ok")
	s.done = true
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	a := s.await(t, "/readyz", "draining", func(a answer) bool { return a.body["checks"].(object)["server"] == "unavailable" })
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("readiness while it stops: %d %v", a.status, a.body)
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		t.Error("it is still there")
	}
}

// The commands beside the server know its database.
func TestCommandsOnTheServersDatabase(t *testing.T) {
	t.Parallel()
	site := newSite(t, "KUBEBYON_DATABASE_URL="+freshPostgres(t))
	for _, c := range []struct{ stdin, arguments, want string }{
		{"", "migrate", "The database has schema"},
		{"", "migrate", "The database has schema"},
		{"correct horse battery", "admin create --email " + adminEmail + " --password-stdin", "Made " + adminEmail},
		{"", "admin list", adminEmail},
		{"", "openapi --format json", `"openapi"`},
	} {
		if out, err := site.call(c.stdin, strings.Fields(c.arguments)...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("kubebyon %s: %v\n%s", c.arguments, err, out)
		}
	}
	s := site.serve()
	s.awaitCheck(t, "database", "ok")
	signInWith(t, s, "correct horse battery")
	if out, err := site.call("another horse battery", "admin", "reset", "--email", adminEmail, "--password-stdin"); err != nil {
		t.Errorf("reset beside the server: %v\n%s", err, out)
	}
	signInWith(t, s, "another horse battery")
}

// A migration waits for its database, says so, and ends when it was told to wait
// for no longer.
func TestAMigrationWaitsForItsDatabase(t *testing.T) {
	t.Parallel()
	database, at := newGate(t, freshPostgres(t))
	site := newSite(t, "KUBEBYON_DATABASE_URL="+at)
	if out, err := site.call("", "migrate", "--start-timeout-seconds", "1"); err == nil || !strings.Contains(out, "it did not start within 1s") || !strings.Contains(out, "waiting for what is away") {
		t.Errorf("with a limit: %v\n%s", err, out)
	}
	run := site.run(program, "migrate")
	run.awaitLog(t, "waiting for what is away")
	database.unlock()
	if err := <-run.exited; err != nil || !strings.Contains(run.log.tail(), "The database has schema") {
		t.Errorf("once it is there: %v\n%s", err, run.log.tail())
	}
	run.done = true
	noSecrets(t, run, at)
}
