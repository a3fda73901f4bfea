package settings_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // to make a schema

	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/ports/store"
)

// onEveryStore gives a world on each.
func onEveryStore(t *testing.T, do func(t *testing.T, w *world)) {
	t.Helper()
	for name, open := range map[string]func(t *testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return memstore.New() },
		"sqlite": func(t *testing.T) store.Store {
			t.Helper()
			return opened(t, "sqlite:"+filepath.Join(t.TempDir(), "kubebyon.db"))
		},
		"postgres": func(t *testing.T) store.Store { t.Helper(); return opened(t, freshPostgres(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.store.Store = open(t)
			do(t, w)
		})
	}
}

func opened(t *testing.T, at string) store.Store {
	t.Helper()
	s, err := bunstore.Open(t.Context(), bunstore.Config{URL: at})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// freshPostgres makes a schema of the test's own and returns its address.
func freshPostgres(t *testing.T) string {
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
	name := "kubebyon_settings_" + strings.ToLower(rand.Text())
	if _, err := db.ExecContext(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	q := base.Query()
	q.Set("search_path", name)
	base.RawQuery = q.Encode()
	return base.String()
}
