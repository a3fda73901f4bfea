package identity_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// TestAKeyMayBeToldByItsNumber, and its number does not stand for its secret.
func TestAKeyMayBeToldByItsNumber(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	first, second := w.key(t, u, nil), w.key(t, u, new(int64(1)))
	if first.Key.Number != 1 || second.Key.Number != 2 || "kbk_"+first.Secret() != first.Value {
		t.Fatalf("numbers %d and %d", first.Key.Number, second.Key.Number)
	}
	for number, m := range map[int64]string{1: first.Secret(), 2: second.Secret()} {
		who, got, err := w.NumberedAPIKey(t.Context(), number, secret.New(m))
		if err != nil || who.UserID != u.ID || who.Method != actor.ByAPIKey || got.ID != u.ID {
			t.Errorf("%d: %+v, %v", number, who, err)
		}
	}
	for what, c := range map[string]struct {
		number int64
		rest   string
	}{
		"no secret": {1, ""}, "another's number": {2, first.Secret()}, "no number": {0, first.Secret()}, "a negative one": {-1, first.Secret()},
		"a wrong secret": {1, strings.Repeat("A", 43)}, "the whole value": {1, first.Value},
	} {
		if _, _, err := w.NumberedAPIKey(t.Context(), c.number, secret.New(c.rest)); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.Move(48 * 3600e9)
	if _, _, err := w.NumberedAPIKey(t.Context(), 2, secret.New(second.Secret())); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("expired: %v", err)
	}
}
