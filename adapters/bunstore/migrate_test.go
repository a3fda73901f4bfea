package bunstore

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

func TestProcessesMigrateAtOnce(t *testing.T) {
	forEach(t, func(t *testing.T, fresh string) {
		var wg sync.WaitGroup
		stores := make([]*Store, 4)
		for i := range stores {
			stores[i] = open(t, fresh)
		}
		for _, s := range stores {
			wg.Go(func() {
				if err := s.Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		wantVersion(t, stores[0], newest(t))
		var applied int
		if err := stores[1].writer.NewRaw("SELECT count(*) FROM goose_db_version WHERE version_id = 1").Scan(t.Context(), &applied); err != nil || applied != 1 {
			t.Errorf("the first migration ran %d times, %v", applied, err)
		}
	})
}

func TestMigratingAgainDoesNothing(t *testing.T) {
	forEach(t, func(t *testing.T, fresh string) {
		s := open(t, fresh)
		wantVersion(t, s, 0)
		for range 2 {
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantVersion(t, s, newest(t))
		}
	})
}

// newest is the version that the embedded migrations end with, the same for
// both databases.
func newest(t *testing.T) int64 {
	t.Helper()
	v, err := postgres{}.migrations().newest()
	if w, err2 := (sqliteFile{}).migrations().newest(); err != nil || err2 != nil || v != w {
		t.Fatalf("migrations end with %d and %d, %v, %v", v, w, err, err2)
	}
	return v
}

func wantVersion(t *testing.T, s *Store, want int64) {
	t.Helper()
	current, known, err := s.SchemaVersion(t.Context())
	if err != nil || current != want || known != newest(t) {
		t.Errorf("schema is %d of %d, %v; want %d of %d", current, known, err, want, newest(t))
	}
}

func TestFailedMigrationLeavesTheOldState(t *testing.T) {
	forEach(t, func(t *testing.T, fresh string) {
		s := open(t, fresh)
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		m := s.engine.migrations()
		files := fstest.MapFS{}
		names, err := fs.Glob(embedded, m.files+"/*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			text, err := fs.ReadFile(embedded, n)
			if err != nil {
				t.Fatal(err)
			}
			files[path.Base(n)] = &fstest.MapFile{Data: text}
		}
		next := newest(t) + 1
		name := fmt.Sprintf("%05d_extra.sql", next)
		extra := "-- +goose Up\nCREATE TABLE extra (id bigint);\nINSERT INTO extra (id) VALUES (1);\n"
		files[name] = &fstest.MapFile{Data: []byte(extra + "INSERT INTO nowhere (id) VALUES (1);\n")}
		if err := s.apply(t.Context(), m, files); err == nil || !strings.Contains(err.Error(), fmt.Sprint("version:", next)) {
			t.Errorf("got %v, want it to name the migration", err)
		}
		wantVersion(t, s, next-1)
		if _, err := s.writer.Exec("SELECT * FROM extra"); err == nil {
			t.Error("half of the failed migration is there")
		}
		// The lock is free again, and the mended migration runs.
		files[name] = &fstest.MapFile{Data: []byte(extra)}
		if err := s.apply(t.Context(), m, files); err != nil {
			t.Error(err)
		}
		wantVersion(t, s, next)
	})
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	forEach(t, func(t *testing.T, fresh string) {
		s := open(t, fresh)
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.writer.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, ?)", true); err != nil {
			t.Fatal(err)
		}
		_, openErr := Open(t.Context(), Config{URL: fresh})
		for _, err := range []error{openErr, s.Migrate(t.Context()), s.Start(t.Context())} {
			if want := fmt.Sprintf("the database was written by a newer KubeBYON (schema 999; this program knows up to %d)", newest(t)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	})
}

// TestDialectsAgree compares what the two folders of migrations make.
func TestDialectsAgree(t *testing.T) {
	t.Parallel()
	file, server := openSQLite(t), openPostgres(t)
	const perTable = `SELECT m.name || '.' || c.name, CASE WHEN c.pk > 0 OR c."notnull" THEN 'set' ELSE 'may be null' END || ' ' || lower(c.type)
		FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%'`
	const perColumn = `SELECT table_name || '.' || column_name, CASE is_nullable WHEN 'NO' THEN 'set' ELSE 'may be null' END || ' ' || data_type
		FROM information_schema.columns WHERE table_schema = current_schema()`
	kinds := strings.NewReplacer("timestamp with time zone", "integer", "bigint", "integer", "boolean", "integer", "jsonb", "text", "bytea", "blob")
	compare(t, "columns", ask(t, file, perTable), ask(t, server, perColumn), kinds.Replace)

	const fileIndexes = `SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL`
	const serverIndexes = `SELECT indexname, tablename FROM pg_indexes i WHERE schemaname = current_schema()
		AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conname = i.indexname AND c.connamespace = current_schema()::regnamespace)`
	compare(t, "indexes", ask(t, file, fileIndexes), ask(t, server, serverIndexes), func(s string) string { return s })
}

func ask(t *testing.T, s *Store, query string) map[string]string {
	t.Helper()
	var rows []struct{ Name, Kind string }
	if err := s.writer.NewRaw("SELECT * FROM ("+query+") AS q (name, kind)").Scan(t.Context(), &rows); err != nil {
		// SQLite does not name the columns of a subquery.
		if err := s.writer.NewRaw("WITH q (name, kind) AS ("+query+") SELECT * FROM q").Scan(t.Context(), &rows); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string]string{}
	for _, r := range rows {
		// What only one database has: how it counts, and how it searches.
		if !slices.ContainsFunc([]string{"goose_db_version", "cluster_numbers", "search_", "clusters_search_", "nodes_search_", "users_search_"},
			func(own string) bool { return strings.HasPrefix(r.Name, own) }) {
			out[r.Name] = r.Kind
		}
	}
	if len(out) < 14 {
		t.Fatalf("found only %d", len(out))
	}
	return out
}

func compare(t *testing.T, what string, file, server map[string]string, kind func(string) string) {
	t.Helper()
	names := map[string]bool{}
	for _, n := range slices.Concat(slices.Collect(maps.Keys(file)), slices.Collect(maps.Keys(server))) {
		names[n] = true
	}
	for n := range names {
		if a, b := file[n], kind(server[n]); a != b {
			t.Errorf("%s: %s is %q in SQLite and %q in PostgreSQL", what, n, a, fmt.Sprint(b))
		}
	}
}
