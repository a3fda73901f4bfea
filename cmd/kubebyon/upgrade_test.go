package main_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// testdata/data-schema-1.tar.gz is the data folder of a kubebyon dev whose newest
// schema was 1: one control plane named "kept", the administrator with the
// password below, and the value of their session's cookie in the file session.
const keptPassword = "fixture-password-1"

// oldDataFolder unpacks it.
func oldDataFolder(t testing.TB, archive string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	packed, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	text, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(text); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err == nil {
			err = unpack(filepath.Join(dir, h.Name), h, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func unpack(path string, h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		return os.MkdirAll(path, 0o700)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func databaseOf(t testing.TB, dataDir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dataDir, "kubebyon.db"))
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func change(t testing.TB, dataDir, statement string, args ...any) {
	t.Helper()
	db := databaseOf(t, dataDir)
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A program that is newer than its data folder keeps all that is in it.
func TestOldDataFoldersKeepClustersSessionsAndPasswords(t *testing.T) {
	t.Parallel()
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	archives, err := filepath.Glob("testdata/data-schema-*.tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatalf("there are no old data folders: %v", err)
	}
	for _, archive := range archives {
		data := oldDataFolder(t, archive)
		// The session would have ended by now, as it should.
		later := time.Now().Add(time.Hour).UnixMilli()
		change(t, data, "UPDATE sessions SET expires_at = ?, ends_at = ?", later, later)
		s := startServer(t, data, plane)
		cookie, err := os.ReadFile(filepath.Join(data, "session"))
		if err != nil {
			t.Fatal(err)
		}
		old := withCookie(t, s, string(cookie))
		if email := old.must("GET", "/api/auth/me", nil, http.StatusOK)["user"].(object)["email"]; email != adminEmail {
			t.Errorf("the session is %v's", email)
		}
		fresh := withCookie(t, s, "")
		fresh.must("POST", "/api/auth/login", object{"email": adminEmail, "password": keptPassword}, http.StatusOK)
		clusters := fresh.must("GET", "/api/console/clusters", nil, http.StatusOK)["clusters"].([]any)
		if len(clusters) != 1 || clusters[0].(object)["name"] != "kept" || clusters[0].(object)["number"] != 1.0 {
			t.Fatalf("the clusters are %v", clusters)
		}
		id := clusters[0].(object)["id"].(string)
		fresh.must("PUT", "/api/console/clusters/"+id, object{"workload_cpu_limit_milli_cores": 2500}, http.StatusOK)
		fresh.awaitReachable(id, time.Minute)
		fresh.must("DELETE", "/api/console/clusters/"+id, nil, http.StatusAccepted)
		fresh.awaitGone(id, time.Minute)
		fresh.createCluster("kept") // its name is free again
		s.stop(t)
		t.Logf("%s: signed in with the old cookie and with the old password; changed, reached and deleted the cluster", filepath.Base(archive))
	}
}

// withCookie returns somebody's client who has a session already, or none.
func withCookie(t testing.TB, s *server, value string) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, url: s.url, http: &http.Client{Jar: jar, Timeout: time.Minute}}
	t.Cleanup(c.http.CloseIdleConnections)
	if value != "" {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		jar.SetCookies(r.URL, []*http.Cookie{{Name: "kubebyon_session", Value: value}})
	}
	return c
}

// contents is everything in a database.
func contents(t testing.TB, dataDir string) (out []string) {
	t.Helper()
	db := databaseOf(t, dataDir)
	defer db.Close()
	texts := func(query string) (out []string) {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				t.Fatal(err)
			}
			out = append(out, text)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return out
	}
	out = texts("SELECT name || coalesce(sql, '') FROM sqlite_master ORDER BY name")
	for _, table := range texts("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name") {
		columns := texts("SELECT name FROM pragma_table_info('" + table + "')")
		out = append(out, texts("SELECT '"+table+" ' || quote("+strings.Join(columns, ") || quote(")+") FROM "+table+" ORDER BY 1")...)
	}
	return out
}

// Every command refuses a database that a newer program has written, says what to
// do, and touches nothing.
func TestEveryCommandRefusesANewerDatabase(t *testing.T) {
	t.Parallel()
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	data := oldDataFolder(t, "testdata/data-schema-1.tar.gz")
	change(t, data, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)")
	before := contents(t, data)
	commands := [][]string{
		{"dev", "--data-dir", data, "--http-addr", freeAddress(t), "--localplane", plane},
		{"migrate", "--data-dir", data},
		{"admin", "list", "--data-dir", data},
		{"admin", "create", "--data-dir", data, "--email", "new@example.com"},
		{"admin", "reset", "--data-dir", data, "--email", adminEmail},
		{"admin", "rotate-key", "--data-dir", data},
	}
	for _, args := range commands {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
		cancel()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() <= 0 {
			t.Errorf("%v: %v", args, err)
		}
		for _, want := range []string{"written by a newer KubeBYON", "schema 999", "this program knows up to ", "run that version, or restore a backup"} {
			if !strings.Contains(string(out), want) || strings.Contains(string(out), "goroutine ") {
				t.Errorf("%v: its last words lack %q:\n%s", args, want, out)
			}
		}
		if !slices.Equal(contents(t, data), before) {
			t.Errorf("%v changed the database", args)
		}
	}
	t.Logf("refused by %d commands, with %d definitions and rows left as they were", len(commands), len(before))
}

// small runs this program in a mount namespace of its own where dir is a disk of
// so many KiB, after a shell command.
func small(t testing.TB, dir string, kib int, before string, args ...string) *exec.Cmd {
	t.Helper()
	script := fmt.Sprintf("mount -t tmpfs -o size=%dk,mode=700 tmpfs \"$0\" && %s exec \"$@\"", kib, before)
	return exec.CommandContext(context.Background(), "unshare", append([]string{"-rm", "sh", "-c", script, dir, program}, args...)...)
}

// A full disk is answered with 503, reads go on, and all is well once there is
// space again.
func TestAFullDiskIsAnsweredAndHeals(t *testing.T) {
	t.Parallel()
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	home := t.TempDir()
	disk, data := filepath.Join(home, "disk"), filepath.Join(home, "data")
	if err := errors.Join(os.Mkdir(disk, 0o700), os.Mkdir(data, 0o700)); err != nil {
		t.Fatal(err)
	}
	addr := freeAddress(t)
	s := &server{addr: addr, url: "http://" + addr, log: new(tailBuffer), exited: make(chan error, 1)}
	s.cmd = small(t, disk, 8<<10, "", "dev", "--data-dir", data, "--http-addr", addr, "--localplane", plane, "--database-url", "sqlite:"+filepath.Join(disk, "kubebyon.db"))
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.exited <- s.cmd.Wait() }()
	t.Cleanup(func() { s.stop(t) })
	s.log.awaitRunning(t, 30*time.Second)
	c := signIn(t, s, data)
	rename := func(name string) (int, string) {
		status, out, err := c.call("PUT", "/api/console/me", object{"name": name})
		if err != nil {
			t.Fatal(err)
		}
		code, _ := out["code"].(string)
		return status, code
	}
	if status, code := rename("Before"); status != http.StatusOK {
		t.Fatalf("with space: %d %s", status, code)
	}
	// The disk as the server sees it.
	filler := filepath.Join("/proc", fmt.Sprint(s.cmd.Process.Pid), "root", disk, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	_ = f.Close()
	refused, kept := 0, "Before"
	for i := 0; refused < 20; i++ {
		name := fmt.Sprintf("While full %d", i)
		status, code := rename(name)
		switch {
		case status == http.StatusOK: // the log had a page left
			kept = name
		case status == http.StatusServiceUnavailable && code == "store_unavailable":
			refused++
		default:
			t.Fatalf("on a full disk: %d %s", status, code)
		}
		if me := c.must("GET", "/api/auth/me", nil, http.StatusOK)["user"].(object); me["name"] != kept {
			t.Fatalf("the name is %v, want %q", me["name"], kept)
		}
		if i > 5000 {
			t.Fatal("the disk does not get full")
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if status, code := rename("After"); status != http.StatusOK {
		t.Errorf("with space again: %d %s", status, code)
	}
	t.Logf("refused %d changes on a full disk, with all reads answered", refused)
}

// A folder that may not be written to is named, and so is what is in it.
func TestAReadOnlyFolderIsNamed(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]string{"empty": "", "with a database": "cp \"$0.db\" \"$0/kubebyon.db\" && "} {
		disk := filepath.Join(t.TempDir(), "disk")
		if err := os.Mkdir(disk, 0o700); err != nil {
			t.Fatal(err)
		}
		old, err := os.ReadFile(filepath.Join(oldDataFolder(t, "testdata/data-schema-1.tar.gz"), "kubebyon.db"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, disk+".db", string(old))
		cmd := small(t, disk, 4<<10, fill+"mount -o remount,ro \"$0\" &&", "migrate", "--database-url", "sqlite:"+filepath.Join(disk, "kubebyon.db"))
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), disk+"/kubebyon.db may not be written to") {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
