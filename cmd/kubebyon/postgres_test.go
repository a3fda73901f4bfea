package main_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver
)

// freshPostgres makes a database of the test's own and returns its address.
func freshPostgres(t testing.TB) string {
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
	name := "kubebyon_program_" + strings.ToLower(rand.Text())
	if _, err := db.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	base.Path = "/" + name
	return base.String()
}
