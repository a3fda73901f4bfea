// Package postgrestest gives tests a part of their own of the PostgreSQL that
// KUBEBYON_TEST_DATABASE_URL names.
package postgrestest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
)

// Schema makes a schema without tables, which lasts as long as its test, and
// returns its address. Without a PostgreSQL, a test is skipped on a laptop and
// fails in CI, where nobody would notice the skip.
func Schema(t testing.TB) string {
	t.Helper()
	base, err := url.Parse(os.Getenv("KUBEBYON_TEST_DATABASE_URL"))
	if err != nil || base.Host == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("no PostgreSQL: set KUBEBYON_TEST_DATABASE_URL, or run make test")
		}
		t.Skip("no PostgreSQL: set KUBEBYON_TEST_DATABASE_URL")
	}
	db, err := sql.Open("pgx", base.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	q := base.Query()
	q.Set("search_path", makeSchema(t, db))
	base.RawQuery = q.Encode()
	return base.String()
}

// makeSchema gives it a name with a time in it: by that, the tests of package
// bunstore find what tests that were killed have left, and remove it.
func makeSchema(t testing.TB, db *sql.DB) string {
	t.Helper()
	var now int64
	if err := db.QueryRowContext(t.Context(), "SELECT extract(epoch FROM now())::bigint").Scan(&now); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("kubebyon_test_%d_%s", now, strings.ToLower(rand.Text()[:10]))
	if _, err := db.ExecContext(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Error(err)
		}
	})
	return name
}
