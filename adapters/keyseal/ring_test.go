package keyseal_test

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/seal/sealtest"
)

var then = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newRing(t testing.TB, root byte) *keyseal.Ring {
	t.Helper()
	r, err := keyseal.NewRing(keyseal.New([32]byte{root}))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func rotate(t testing.TB, r *keyseal.Ring, at time.Time) *keyseal.Ring {
	t.Helper()
	next, err := r.Rotate(at)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestRing(t *testing.T) {
	t.Parallel()
	one, two := newRing(t, 1), newRing(t, 2)
	sealtest.Run(t, sealtest.Harness{
		New: func(t *testing.T) seal.Sealer { // as another process gets it
			wrapped, err := one.Wrap(t.Context(), keyseal.New([32]byte{9}))
			if err != nil {
				t.Fatal(err)
			}
			r, err := keyseal.Unwrap(t.Context(), keyseal.New([32]byte{9}), wrapped)
			if err != nil {
				t.Fatal(err)
			}
			return r
		},
		Stranger: func(*testing.T) seal.Sealer { return two },
		Rotated:  func(t *testing.T) (seal.Sealer, seal.Sealer) { return one, rotate(t, one, then) },
	})
}

// TestARingOpensWhatItsRootSealed, and derives what it derived, whatever has
// happened to the ring since.
func TestARingOpensWhatItsRootSealed(t *testing.T) {
	t.Parallel()
	old, err := hex.DecodeString(goldenSealed)
	if err != nil {
		t.Fatal(err)
	}
	r := rotate(t, newRing(t, 1), then)
	wrapped, err := r.Wrap(t.Context(), keyseal.New([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	if r, err = keyseal.Unwrap(t.Context(), keyseal.New([32]byte{7}), wrapped); err != nil {
		t.Fatal(err)
	}
	plain, err := r.Open(t.Context(), "golden", old)
	if err != nil || string(plain) != "kept since the first version" {
		t.Errorf("a value from before there were rings: %q, %v", plain, err)
	}
	derived, err := r.Derive(t.Context(), "golden", []byte("input"))
	if got := hex.EncodeToString(derived); err != nil || got != goldenDerived {
		t.Errorf("derived %s, %v; want %s", got, err, goldenDerived)
	}
}

// TestOldRingsOpen pins the format of rings and of what they seal.
func TestOldRingsOpen(t *testing.T) {
	t.Parallel()
	wrapped, err := hex.DecodeString(goldenRing)
	if err != nil {
		t.Fatal(err)
	}
	r, err := keyseal.Unwrap(t.Context(), keyseal.New([32]byte{1}), wrapped)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range goldenRingSealed {
		old, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := r.Open(t.Context(), "golden", old)
		if want := fmt.Sprintf("under data key %d", i+1); err != nil || string(plain) != want || r.IsNewest(old) != (i == 1) {
			t.Errorf("%q, %v; want %q", plain, err, want)
		}
	}
	if _, gone, err := r.Forget(then.Add(time.Millisecond)); gone != 1 || err != nil {
		t.Errorf("%d keys were replaced before, %v", gone, err)
	}
}

func TestAKeyIsForgottenOnceItWasReplacedLongAgo(t *testing.T) {
	t.Parallel()
	first := newRing(t, 1)
	second := rotate(t, first, then)
	third := rotate(t, second, then.Add(time.Hour))
	for _, c := range []struct {
		before time.Time
		gone   int
		opens  []bool
	}{
		{then, 0, []bool{true, true, true}},
		{then.Add(time.Millisecond), 1, []bool{false, true, true}},
		{then.Add(24 * time.Hour), 2, []bool{false, false, true}}, // never the newest
	} {
		left, gone, err := third.Forget(c.before)
		if err != nil || gone != c.gone || left.Len() != 3-gone {
			t.Fatalf("before %v: %d gone, %d left, %v", c.before, gone, left.Len(), err)
		}
		for i, r := range []*keyseal.Ring{first, second, third} {
			it, err := r.Seal(t.Context(), "p", []byte("text"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = left.Open(t.Context(), "p", it)
			if opened := err == nil; opened != c.opens[i] || left.Opens(it) != opened || !opened && fault.CodeOf(err) != "unknown_key" {
				t.Errorf("before %v: key %d: %v", c.before, i+1, err)
			}
		}
	}
}

func TestARingHasAnEnd(t *testing.T) {
	t.Parallel()
	r := newRing(t, 1)
	for range keyseal.MaxDataKeys - 1 {
		r = rotate(t, r, then)
	}
	if _, err := r.Rotate(then); fault.CodeOf(err) != "too_many_data_keys" {
		t.Errorf("one more: %v", err)
	}
}

func TestAWrongMasterKeyIsTold(t *testing.T) {
	t.Parallel()
	right, wrong := keyseal.New([32]byte{1}), keyseal.New([32]byte{2})
	wrapped, err := newRing(t, 1).Wrap(t.Context(), right)
	if err != nil {
		t.Fatal(err)
	}
	if keyseal.MasterOf(wrapped) != right.ID() || right.ID() == wrong.ID() || len(right.ID()) != 16 {
		t.Errorf("wrapped by %s; the keys are %s and %s", keyseal.MasterOf(wrapped), right.ID(), wrong.ID())
	}
	if _, err := keyseal.Unwrap(t.Context(), wrong, wrapped); fault.CodeOf(err) != "wrong_key" {
		t.Errorf("the wrong key: %v", err)
	}
	wrapped[len(wrapped)-1]++
	if _, err := keyseal.Unwrap(t.Context(), right, wrapped); fault.CodeOf(err) != "broken_seal" {
		t.Errorf("a damaged ring: %v", err)
	}
	if _, err := keyseal.Unwrap(t.Context(), right, nil); fault.CodeOf(err) != "broken_seal" || keyseal.MasterOf(nil) != "" {
		t.Errorf("no ring: %v", err)
	}
}

// TestKeysAreNotPrinted: not by fmt and not by slog, however they are asked.
func TestKeysAreNotPrinted(t *testing.T) {
	t.Parallel()
	s := keyseal.New([32]byte([]byte("0123456789abcdefABCDEF9876543210")))
	r, err := keyseal.NewRing(s)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	type within struct {
		S *keyseal.Sealer
		R *keyseal.Ring
	}
	for _, v := range []any{s, r, *s, within{s, r}, &within{s, r}} {
		_, _ = fmt.Fprintf(&out, "%v %+v %#v %s %q %x %d\n", v, v, v, v, v, v, v)
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("keys", "v", v)
		}
	}
	for _, part := range []string{"abcdefABC", "6162636465", "97 98 99 100", "0x61, 0x62", "97, 98", "YWJjZGVm"} {
		if strings.Contains(out.String(), part) {
			t.Errorf("the key is printed (%s):\n%s", part, &out)
		}
	}
	if !strings.Contains(out.String(), s.ID()) || !strings.Contains(out.String(), r.Primary()) {
		t.Errorf("the names are not printed:\n%s", &out)
	}
}

func BenchmarkRingSealOpen(b *testing.B) {
	r := newRing(b, 1)
	plain := make([]byte, 6<<10) // a kubeconfig
	for b.Loop() {
		it, err := r.Seal(b.Context(), "p", plain)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := r.Open(b.Context(), "p", it); err != nil {
			b.Fatal(err)
		}
	}
}
