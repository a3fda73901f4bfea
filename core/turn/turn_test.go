package turn_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestATurnIsNeverRefusedAndWritesTheRowThatLocks(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	for range 3 {
		err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error { return turn.Take(ctx, tx, "quota/a", coretest.Start) })
		if err != nil || !strings.Contains(coretest.Dump(s), "turn/quota/a") {
			t.Errorf("got %v", err)
		}
	}
}

func TestATurnThatCannotBeTakenIsAnError(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	err := s.View(t.Context(), func(ctx context.Context, tx store.Tx) error { return turn.Take(ctx, tx, "x", coretest.Start) })
	if err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a view took a turn: %v", err)
	}
}
