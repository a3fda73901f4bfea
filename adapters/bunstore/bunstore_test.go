package bunstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/store/storetest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	code = max(code, schemas.drop())
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.Harness{
		New:    func(t *testing.T) store.Store { return openSQLite(t) },
		Serial: true,
		Why:    "SQLite has one writer",
	})
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	postgresURL(t)
	storetest.Run(t, storetest.Harness{New: func(t *testing.T) store.Store { return openPostgres(t) }})
}

// openSQLite returns a store on a new file with empty tables.
func openSQLite(t testing.TB) *Store {
	t.Helper()
	made, err := migratedFile()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubebyon.db")
	if err := os.WriteFile(path, made, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, "sqlite:"+path)
}

// migratedFile is what a database file holds after the migrations.
var migratedFile = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "bunstore")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "template.db")
	s, err := New(Config{URL: "sqlite:" + path})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.Start(context.Background()), s.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// openPostgres returns a store on a schema that is empty but for its tables.
func openPostgres(t testing.TB) *Store {
	t.Helper()
	return open(t, inSchema(postgresURL(t), schemas.take(t)))
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url, MaxConns: 6})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// postgresURL is that of the database for tests. Without one, a test is skipped
// on a laptop and fails in CI, where nobody would notice the skip.
var postgresURL = func() func(t testing.TB) string {
	find := sync.OnceValues(func() (string, error) {
		u := os.Getenv("KUBEBYON_TEST_DATABASE_URL")
		if u == "" {
			u = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"
		}
		s, err := Open(context.Background(), Config{URL: u})
		if err != nil {
			return "", err
		}
		return u, s.Close()
	})
	return func(t testing.TB) string {
		t.Helper()
		u, err := find()
		if err != nil && os.Getenv("CI") == "" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
}()

func inSchema(databaseURL, schema string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		panic(err)
	}
	q := u.Query()
	q.Set("search_path", schema)
	q.Set("synchronous_commit", "off") // what a crash loses here, a test makes again
	u.RawQuery = q.Encode()
	return u.String()
}

// schemas lends out migrated schemas: to make one takes a hundred times as long
// as to empty it.
var schemas = schemaPool{turns: make(chan struct{}, 8)}

type schemaPool struct {
	turns chan struct{} // how many tests may connect at once: a server takes a hundred connections
	mu    sync.Mutex
	free  []string
	made  []string
	url   string
}

const schemaPrefix = "kubebyon_test_"

// take returns a schema with empty tables, until t ends.
func (p *schemaPool) take(t testing.TB) string {
	t.Helper()
	p.wait(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	var name string
	if n := len(p.free); n > 0 {
		name, p.free = p.free[n-1], p.free[:n-1]
	} else {
		name = p.create(t)
		migrateSchema(t, inSchema(p.url, name))
	}
	t.Cleanup(func() { p.giveBack(name) })
	return name
}

// empty makes a schema without tables.
func (p *schemaPool) empty(t testing.TB) string {
	t.Helper()
	p.wait(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.create(t)
}

func (p *schemaPool) wait(t testing.TB) {
	p.turns <- struct{}{}
	t.Cleanup(func() { <-p.turns })
}

func (p *schemaPool) create(t testing.TB) string {
	t.Helper()
	p.url = postgresURL(t)
	name := fmt.Sprintf("%s%d_%s", schemaPrefix, time.Now().Unix(), strings.ToLower(rand.Text()[:10]))
	p.admin(func(s *Store) error {
		_, err := s.writer.Exec("CREATE SCHEMA " + name)
		return err
	})
	p.made = append(p.made, name)
	return name
}

func migrateSchema(t testing.TB, url string) {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (p *schemaPool) giveBack(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.admin(func(s *Store) error {
		_, err := s.writer.Exec(`DO $$ DECLARE t text; BEGIN
			FOR t IN SELECT unnest(ARRAY['fleet', 'fleet_contents', 'audit_events', 'node_events', 'nodes', 'tokens', 'jobs', 'operations', 'clusters',
				'api_keys', 'sessions', 'codes', 'sso_identities', 'sign_ins', 'avatars', 'preferences', 'deliveries', 'delivery_kinds', 'settings', 'users', 'outbox', 'replies', 'leases', 'facts', 'audit_kinds', 'node_totals', 'control_plane_samples'])
			LOOP EXECUTE format('DELETE FROM %I.%I', '` + name + `', t); END LOOP; END $$`)
		return err
	})
	p.free = append(p.free, name)
}

// drop removes all schemas, and those of test runs that died before they did.
func (p *schemaPool) drop() (code int) {
	if p.url == "" {
		return 0
	}
	p.admin(func(s *Store) error {
		var old []string
		err := s.writer.NewRaw(`SELECT nspname FROM pg_namespace WHERE nspname ~ '^`+schemaPrefix+`[0-9]+_'
			AND split_part(nspname, '_', 3)::bigint < ?`, time.Now().Add(-time.Hour).Unix()).Scan(context.Background(), &old)
		for _, name := range append(old, p.made...) {
			if _, dropErr := s.writer.Exec("DROP SCHEMA " + name + " CASCADE"); dropErr != nil {
				fmt.Fprintln(os.Stderr, dropErr)
				code = 1
			}
		}
		return err
	})
	return code
}

func (p *schemaPool) admin(do func(s *Store) error) {
	s, err := Open(context.Background(), Config{URL: inSchema(p.url, "public")})
	if err == nil {
		err = do(s)
		_ = s.Close()
	}
	if err != nil {
		panic(err)
	}
}

// forEach runs a test on each database. Its fresh returns the URL of a new
// database without tables.
func forEach(t *testing.T, test func(t *testing.T, fresh string)) {
	t.Helper()
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "kubebyon.db"))
	})
	t.Run("Postgres", func(t *testing.T) {
		t.Parallel()
		postgresURL(t)
		name := schemas.empty(t)
		test(t, inSchema(postgresURL(t), name))
	})
}
