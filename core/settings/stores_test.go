package settings_test

import (
	"path/filepath"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/bunstore/postgrestest"
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
		"postgres": func(t *testing.T) store.Store { t.Helper(); return opened(t, postgrestest.Schema(t)) },
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
