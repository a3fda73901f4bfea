package main_test

import (
	"database/sql"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to write what a newer program would
)

// A server that cannot work says why in one line, and does not hang.
func TestBadStatesAreNamed(t *testing.T) {
	t.Parallel()
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	for name, c := range map[string]struct {
		prepare func(t *testing.T, data string) (addr string, flags []string)
		want    string
	}{
		"port taken": {func(t *testing.T, _ string) (string, []string) {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			return l.Addr().String(), nil
		}, "name another address with --http-addr"},
		"database is rubbish": {func(t *testing.T, data string) (string, []string) {
			startServer(t, data, plane).stop(t)
			write(t, filepath.Join(data, "kubebyon.db"), strings.Repeat("this is no database. ", 100))
			return freeAddress(t), nil
		}, "not a"},
		"key file too short": {func(t *testing.T, data string) (string, []string) {
			write(t, filepath.Join(data, "secret.key"), "short")
			return freeAddress(t), nil
		}, "secret.key"},
		"another server": {func(t *testing.T, data string) (string, []string) {
			startServer(t, data, plane)
			return freeAddress(t), nil
		}, "another kubebyon is running"},
		"key file missing": {func(t *testing.T, data string) (string, []string) {
			startServer(t, data, plane).stop(t)
			if err := os.Remove(filepath.Join(data, "secret.key")); err != nil {
				t.Fatal(err)
			}
			return freeAddress(t), nil
		}, "is missing"},
		"wrong key": {func(t *testing.T, data string) (string, []string) {
			startServer(t, data, plane).stop(t)
			return freeAddress(t), []string{"--secret-key", strings.Repeat("ab", 32)}
		}, "is not the one that this installation"},
		"a wrong number": {func(t *testing.T, _ string) (string, []string) {
			return freeAddress(t), []string{"--worker-concurrency", "0"}
		}, "worker-concurrency"},
		"a wrong origin": {func(t *testing.T, _ string) (string, []string) {
			return freeAddress(t), []string{"--cors-allowed-origins", "nope"}
		}, "cors-allowed-origins"},
		"newer database": {func(t *testing.T, data string) (string, []string) {
			startServer(t, data, plane).stop(t)
			db, err := sql.Open("sqlite", filepath.Join(data, "kubebyon.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)"); err != nil {
				t.Fatal(err)
			}
			return freeAddress(t), nil
		}, "newer KubeBYON"},
		"a wrong value": {func(t *testing.T, _ string) (string, []string) {
			return freeAddress(t), []string{"--trusted-proxy-cidrs", "everywhere"}
		}, "trusted-proxy-cidrs"},
		"no plane program": {func(t *testing.T, data string) (string, []string) {
			return freeAddress(t), []string{"--localplane", filepath.Join(data, "absent")}
		}, "make build"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			if err := os.MkdirAll(data, 0o700); err != nil {
				t.Fatal(err)
			}
			addr, flags := c.prepare(t, data)
			out := launch(t, addr, data, plane, flags...).end(t, 20*time.Second)
			if !strings.Contains(out, c.want) || strings.Contains(out, "panic") || strings.Contains(out, "goroutine ") {
				t.Errorf("the server's last words lack %q:\n%s", c.want, out)
			}
		})
	}
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A control plane that never gets ready turns its cluster to error with the
// reason, and a later update tries again.
func TestNeverReadyIsAnErrorThatAnUpdateRetries(t *testing.T) {
	t.Parallel()
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	home := t.TempDir()
	data := filepath.Join(home, "data")
	stuck := filepath.Join(home, "stuck")
	broken := filepath.Join(home, "plane")
	// Asked for a tenant, it never gets further than its store until the file stuck is gone.
	script := "#!/bin/sh\nif [ \"$1\" = tenant ] && [ -e " + stuck + " ]; then echo '{\"stage\":\"etcd_ready\"}'; while [ -e " + stuck + " ]; do sleep 0.1; done; fi\nexec " + plane + " \"$@\"\n"
	write(t, stuck, "")
	if err := os.WriteFile(broken, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, data, broken, "--job-deadline-seconds", "2")
	c := signIn(t, s, data)
	id := c.createCluster("demo")
	got := c.awaitCluster(id, 30*time.Second, "in error", func(_ int, cluster object) bool { return cluster["status"] == "error" })
	if why, _ := got["last_error_message"].(string); !strings.Contains(why, "did not get ready in time") {
		t.Errorf("the reason is %q", why)
	}
	ops := c.must("GET", "/api/console/clusters/"+id+"/operations", nil, http.StatusOK)["operations"].([]any)
	if op := ops[0].(object); op["status"] != "failed" || op["error_message"] == nil {
		t.Errorf("the operation is %v", op)
	}
	if err := os.Remove(stuck); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		c.must("PUT", "/api/console/clusters/"+id, object{"workload_cpu_limit_milli_cores": 2500}, http.StatusOK)
		got := c.awaitCluster(id, 30*time.Second, "settled", func(_ int, cluster object) bool {
			return cluster["status"] == "error" || cluster["connection_status"] == "reachable"
		})
		if got["connection_status"] == "reachable" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("an update did not heal the cluster: %v", got)
		}
	}
}

// A control plane whose data somebody has deleted is not made anew under the same
// name: its cluster says what has happened, and can be deleted.
func TestDeletedDataIsAnErrorAndNotANewCluster(t *testing.T) {
	t.Parallel()
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	home := t.TempDir()
	data := filepath.Join(home, "data")
	s := startServer(t, data, plane)
	c := signIn(t, s, data)
	id := c.createCluster("demo")
	c.awaitReachable(id, time.Minute)
	s.stop(t)
	folders, err := filepath.Glob(filepath.Join(data, "planes", "*", id))
	if err != nil || len(folders) != 1 {
		t.Fatalf("the data of the control plane: %v %v", folders, err)
	}
	if err := os.RemoveAll(folders[0]); err != nil {
		t.Fatal(err)
	}
	startServerAt(t, s.addr, data, plane)
	inError := func(_ int, cluster object) bool {
		why, _ := cluster["last_error_message"].(string)
		return cluster["status"] == "error" && strings.Contains(why, "is gone")
	}
	c.awaitCluster(id, 30*time.Second, "in error", inError)
	c.must("PUT", "/api/console/clusters/"+id, object{"workload_cpu_limit_milli_cores": 2500}, http.StatusOK)
	c.awaitCluster(id, 30*time.Second, "in error again", inError)
	c.must("DELETE", "/api/console/clusters/"+id, nil, http.StatusAccepted)
	c.awaitGone(id, time.Minute)
}
