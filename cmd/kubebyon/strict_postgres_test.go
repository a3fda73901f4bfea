package main_test

import (
	"context"
	"database/sql"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// strictPostgres starts a PostgreSQL that lets nobody in without the password, on
// this machine either, and returns its URL. It ends with the test.
func strictPostgres(t testing.TB, password string) string {
	t.Helper()
	programs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(programs) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("no PostgreSQL programs here: apt-get install postgresql")
		}
		t.Skip("no PostgreSQL programs here: apt-get install postgresql")
	}
	bin, as := filepath.Dir(slices.Max(programs)), postgresUser(t)
	data, file := postgresFiles(t, password, as)
	initdb := exec.CommandContext(t.Context(), filepath.Join(bin, "initdb"), "--no-sync", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--pwfile="+file)
	initdb.Dir, initdb.SysProcAttr = "/", &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	addr := freeAddress(t)
	_, port, _ := net.SplitHostPort(addr)
	// The shell ends the server when its own input ends, which is when we do.
	server := exec.CommandContext(context.Background(), "/bin/sh", "-c", `"$@" </dev/null & cat >/dev/null; kill -QUIT $!; wait`, "sh",
		filepath.Join(bin, "postgres"), "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
	log := new(tailBuffer)
	server.Dir, server.SysProcAttr, server.Stdout, server.Stderr = "/", &syscall.SysProcAttr{Credential: as}, log, log
	leash, err := server.StdinPipe()
	if err == nil {
		err = server.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = leash.Close()
		_ = server.Wait()
	})
	at := url.URL{Scheme: "postgres", User: url.UserPassword("postgres", password), Host: addr, Path: "/postgres", RawQuery: "sslmode=disable"}
	db := openDatabase(t, at.String())
	for limit := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err = db.PingContext(t.Context()); err == nil {
			return at.String()
		}
		if time.Now().After(limit) {
			t.Fatalf("PostgreSQL is not up: %v\n%s", err, log.tail())
		}
	}
}

// postgresUser is whom PostgreSQL runs as, which does not let root do so; nil is
// the user of this test.
func postgresUser(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		t.Fatalf("there is no user to run PostgreSQL as: %v", err)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// postgresFiles makes a folder for the data and a file with the password, in a
// place where that user may go: he may not into t.TempDir.
func postgresFiles(t testing.TB, password string, as *syscall.Credential) (data, file string) {
	t.Helper()
	home, err := os.MkdirTemp("", "kubebyon-postgres-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	data, file = filepath.Join(home, "data"), filepath.Join(home, "password")
	write(t, file, password)
	err = os.Mkdir(data, 0o700)
	for _, path := range []string{home, data, file} {
		if err == nil && as != nil {
			err = os.Chown(path, int(as.Uid), int(as.Gid))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return data, file
}

// openDatabase opens a PostgreSQL until the test ends.
func openDatabase(t testing.TB, at string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
