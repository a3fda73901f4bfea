package settings_test

import (
	"context"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/bunstore/postgrestest"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestSettingsAreReadInATransactionThatHoldsTheLastConnection: nobody waits for
// another one.
func TestSettingsAreReadInATransactionThatHoldsTheLastConnection(t *testing.T) {
	t.Parallel()
	only, err := bunstore.Open(t.Context(), bunstore.Config{URL: postgrestest.Schema(t), MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = only.Close() })
	if err := only.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.store.Store = only
	const url = "https://console.example.com"
	w.set(t, settings.Change{PublicBaseURL: new(url)})
	other := w.over(t, func(*settings.Deps) {}) // which has read nothing yet
	err = only.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		now, err := other.CurrentIn(ctx, tx)
		if now.PublicBaseURL != url {
			t.Errorf("it is %q", now.PublicBaseURL)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	// What is fresh is not asked for again.
	if _, err := other.Current(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, err := other.CurrentIn(t.Context(), nil); err != nil || now.PublicBaseURL != url {
		t.Errorf("%q, %v", now.PublicBaseURL, err)
	}
}
