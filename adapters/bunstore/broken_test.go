package bunstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"modernc.org/sqlite"
)

// withNext adds a migration to those that there are.
func withNext(t testing.TB, s *Store, statements string) fstest.MapFS {
	t.Helper()
	newest := newestSchema(t)
	files := filesUpTo(t, s.engine.migrations(), newest)
	files[fmt.Sprintf("%05d_next.sql", newest+1)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + statements)}
	return files
}

// good is a migration that changes the schema and the rows that there are.
const good = "CREATE TABLE extra (id bigint);\nINSERT INTO extra (id) VALUES (1);\nUPDATE users SET name = 'changed';\n"

// before is what a failed migration has to leave.
type before struct {
	schema []string
	rows   map[string]tableRows
	told   []byte
}

func lookAt(t testing.TB, s *Store) before {
	t.Helper()
	return before{schemaOf(t, s), rowsOf(t, s, nil), must(json.Marshal(readRecords(t, s, newRecords())))}
}

func (b before) same(t testing.TB, s *Store) {
	t.Helper()
	if now := schemaOf(t, s); !slices.Equal(slices.Sorted(slices.Values(now)), slices.Sorted(slices.Values(b.schema))) {
		t.Errorf("the schema changed: it had %d definitions and has %d", len(b.schema), len(now))
	}
	for table, rows := range rowsOf(t, s, nil) {
		if !slices.Equal(rows.text, b.rows[table].text) {
			t.Errorf("%s changed: %v", table, rows.text)
		}
	}
	current, _, err := s.SchemaVersion(t.Context())
	if err != nil || current != newestSchema(t) {
		t.Errorf("the schema is %d, %v", current, err)
	}
}

// recovers checks that the old program works on what is left, and that the next
// start migrates.
func (b before) recovers(t testing.TB, fresh string) {
	t.Helper()
	old := open(t, fresh)
	if err := old.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := differences(t, b.told, readRecords(t, old, newRecords())); len(d) > 0 {
		t.Error(d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := old.apply(ctx, old.engine.migrations(), withNext(t, old, good)); err != nil {
		t.Fatalf("the next start: %v", err)
	}
	if n := column(t, old, "SELECT count(*) FROM extra"); n[0] != "1" {
		t.Errorf("the mended migration ran %s times", n[0])
	}
}

// filled is a new database of the newest schema with something in every table.
func filled(t testing.TB, fresh string) *Store {
	t.Helper()
	s := open(t, fresh)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	newRecords().keep(t, s)
	return s
}

func TestBrokenMigrationsLeaveTheOldState(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]string{
		"syntax":     "CREATE TABL nonsense (;\n",
		"uniqueness": "UPDATE users SET email = 'same@example.com';\n",
		"reference":  "INSERT INTO sessions SELECT 'x', 'nobody', token_hash, created_at, expires_at, ends_at, ip, user_agent FROM sessions;\n",
		"empty":      "UPDATE clusters SET name = NULL;\n",
	} {
		t.Run(name, func(t *testing.T) {
			forEach(t, func(t *testing.T, fresh string) {
				s := filled(t, fresh)
				b := lookAt(t, s)
				err := s.apply(t.Context(), s.engine.migrations(), withNext(t, s, good+last))
				if want := fmt.Sprintf("version:%d", newestSchema(t)+1); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to name the migration", err)
				}
				b.same(t, s)
				b.recovers(t, fresh)
			})
		})
	}
}

// slow returns statements that take a minute.
func slow(s *Store) string {
	if _, ok := s.engine.(postgres); ok {
		return good + "SELECT pg_sleep(60);\n"
	}
	return good + "CREATE TABLE slow AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT count(*) FROM n;\n"
}

const childURL = "KUBEBYON_TEST_MIGRATE_URL"

// TestMigrateAsAChild is the program that gets killed below.
func TestMigrateAsAChild(t *testing.T) {
	u := os.Getenv(childURL)
	if u == "" {
		return // not a child
	}
	s := must(Open(t.Context(), Config{URL: u}))
	t.Fatal(s.apply(t.Context(), s.engine.migrations(), withNext(t, s, slow(s))))
}

func TestAKilledMigrationLeavesTheOldState(t *testing.T) {
	forEach(t, func(t *testing.T, fresh string) {
		s := filled(t, fresh)
		b := lookAt(t, s)
		child := exec.CommandContext(t.Context(), must(os.Executable()), "-test.run=^TestMigrateAsAChild$")
		child.Env = append(os.Environ(), childURL+"="+fresh)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		awaitMigration(t, s)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		b.same(t, s)
		b.recovers(t, fresh)
	})
}

// awaitMigration returns once another process is in the middle of one.
func awaitMigration(t testing.TB, s *Store) {
	t.Helper()
	running := func() bool {
		return column(t, s, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%' AND state = 'active' AND application_name LIKE 'kubebyon%' AND datname = current_database()"+
			" AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'users'::regclass)")[0] == "1"
	}
	if file, ok := s.engine.(sqliteFile); ok {
		running = func() bool { return locked(t, file) }
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if running() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the migration did not begin")
		}
	}
}

// locked reports whether somebody writes to a file for longer than a moment.
func locked(t testing.TB, file sqliteFile) bool {
	t.Helper()
	u := url.URL{Scheme: "file", OmitHost: true, Path: file.path, RawQuery: "_txlock=immediate&_pragma=busy_timeout(500)"}
	db := sql.OpenDB(must(sqlite.NewConnector(u.String())))
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_ = tx.Rollback()
	}
	return file.again(err)
}

func TestAMigrationThatLosesItsConnectionLeavesTheOldState(t *testing.T) {
	t.Parallel()
	postgresURL(t)
	fresh := inSchema(postgresURL(t), schemas.empty(t))
	s := filled(t, fresh)
	b := lookAt(t, s)
	failed := make(chan error, 1)
	go func() {
		other := must(Open(t.Context(), Config{URL: fresh}))
		failed <- errors.Join(other.apply(t.Context(), other.engine.migrations(), withNext(t, other, slow(other))), other.Close())
	}()
	awaitMigration(t, s)
	column(t, s, "SELECT pg_terminate_backend(pid)::text FROM pg_locks WHERE relation = 'users'::regclass AND pid <> pg_backend_pid()")
	if err := <-failed; err == nil {
		t.Error("a migration without a connection succeeded")
	}
	b.same(t, s)
	b.recovers(t, fresh)
}

func TestTruncatedFilesAreRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "whole.db")
	s := must(Open(t.Context(), Config{URL: "sqlite:" + path}))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	newRecords().keep(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole := must(os.ReadFile(path))
	lengths := []int{1, 50, 99, 100, 512, 4096, 4097, len(whole) / 2, len(whole) - 4096, len(whole) - 1}
	for _, n := range lengths {
		cut := filepath.Join(t.TempDir(), "cut.db")
		if err := os.WriteFile(cut, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s := must(New(Config{URL: "sqlite:" + cut}))
		err := errors.Join(s.Start(t.Context()), s.Close())
		if err == nil || !strings.Contains(err.Error(), cut) || !strings.Contains(err.Error(), "damaged") && !strings.Contains(err.Error(), "is not a SQLite database") {
			t.Errorf("%d of %d bytes: %v", n, len(whole), err)
		}
		if left := must(os.ReadFile(cut)); string(left) != string(whole[:n]) {
			t.Errorf("%d of %d bytes: the file was changed; it has %d", n, len(whole), len(left))
		}
	}
	t.Logf("a file of %d bytes cut to %v", len(whole), lengths)
}
