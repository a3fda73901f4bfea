package bunstore

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

const password = "hunter2"

// TestBadDatabasesAreRefusedInPlainSentences: what an operator sees first.
func TestBadDatabasesAreRefusedInPlainSentences(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("not a database "), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"":                                                           "the database URL is not valid; it looks like postgres://",
		"mysql://root:" + password + "@db/x":                         "the database URL is not valid; it looks like postgres://",
		"/var/lib/kubebyon.db":                                       "the database URL is not valid; it looks like postgres://",
		"postgres://u:" + password + "@[::1/x":                       "the database URL is not valid; it looks like postgres://",
		"postgres://u:" + password + " @db/x\n":                      "the database URL is not valid; it looks like postgres://",
		"postgres://u:" + password + "@db:port/x":                    "the database URL is not valid",
		"postgres://u:" + password + "@db/x?sslmode=perhaps":         "the database URL is not valid: sslmode is invalid",
		"postgres://u:" + password + "@db/x?connect_timeout=hunter2": "the database URL is not valid; it looks like postgres://",
		"postgres://db:/" + password + "@db/x":                       "percent-encoded",
		"postgres://db:12/" + password + "@db/x":                     "percent-encoded",
		"postgres://db:@/" + password + "@db/x":                      "percent-encoded",
		"postgres://db:#" + password + "@db/x":                       "percent-encoded",
		"postgres://db:?" + password + "@db/x":                       "percent-encoded",
		"postgres://u:" + password + "@127.0.0.1:1/x":                "the PostgreSQL at 127.0.0.1 does not answer",
		"sqlite:":                                "sqlite: needs the path of a file",
		"sqlite::memory:":                        "sqlite: needs the path of a file",
		"sqlite:" + dir:                          dir + " is a directory, not a database file",
		"sqlite:" + dir + "/nowhere/kubebyon.db": "the directory " + dir + "/nowhere for the database file does not exist",
		"sqlite:" + garbage:                      "the file " + garbage + " is not a SQLite database",
		"sqlite:" + garbage + "/kubebyon.db":     "the database file " + garbage + "/kubebyon.db cannot be opened",
		"sqlite:" + dir + "/x\x00y":              "cannot be opened",
	} {
		s, err := Open(t.Context(), Config{URL: url})
		if err == nil {
			_ = s.Close()
			t.Errorf("%q was opened", url)
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), password) {
			t.Errorf("%q: got %q, want %q", url, err, want)
		}
	}
}

func TestAnUnknownPostgresDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	u := strings.Replace(postgresURL(t), "/postgres?", "/no_such_database?", 1)
	s, err := Open(t.Context(), Config{URL: u})
	if err == nil {
		_ = s.Close()
		t.Skip("the database for tests has another name")
	}
	if !strings.Contains(err.Error(), `refused the connection: FATAL: database "no_such_database" does not exist`) {
		t.Error(err)
	}
}

func TestConfigKeepsThePassword(t *testing.T) {
	t.Parallel()
	c := Config{URL: "postgres://u:" + password + "@db/x"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c)
	if shown := fmt.Sprintf("%v %+v %#v %s %q %s", c, c, c, c, c, log.String()); strings.Contains(shown, password) {
		t.Error(shown)
	}
}

func TestDatabaseFilesAreTheOwnersOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"new.db", "old.db", "a b?#%20é&x=1.db"} {
		path := filepath.Join(dir, name)
		if name == "old.db" {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				if err := os.WriteFile(path+suffix, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		s := open(t, "sqlite:"+path)
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, suffix := range []string{"", "-wal", "-shm", "-migrate"} {
			info, err := os.Stat(path + suffix)
			if err != nil {
				t.Error(err)
				continue
			}
			if mode := info.Mode().Perm(); mode != 0o600 {
				t.Errorf("%s has mode %o", info.Name(), mode)
			}
		}
	}
}

func TestReadersCannotWrite(t *testing.T) {
	t.Parallel()
	s := openSQLite(t)
	if _, err := s.reader.Exec("DELETE FROM users"); err == nil {
		t.Error("a connection for reading wrote")
	}
	var on bool
	if err := s.writer.NewRaw("PRAGMA foreign_keys").Scan(t.Context(), &on); err != nil || !on {
		t.Errorf("foreign keys are not checked: %v, %v", on, err)
	}
}

func TestModuleIsReadyOnceStarted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kubebyon.db")
	var s store.Store
	app := fxtest.New(t, Module, fx.Supply(Config{URL: "sqlite:" + path}), fx.Populate(&s), fx.NopLogger)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the constructor made the file: %v", err)
	}
	app.RequireStart()
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return tx.Users().Insert(ctx, store.User{ID: id.New[id.UserKind](t0, [10]byte{1}), Email: "ann@example.com"})
	})
	if err != nil {
		t.Error(err)
	}
	app.RequireStop()
	if err := s.Ping(t.Context()); err == nil {
		t.Error("a stopped store answers")
	}
}
