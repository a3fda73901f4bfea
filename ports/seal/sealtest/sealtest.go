// Package sealtest is the contract of package seal, as tests.
package sealtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/kubebyon/kubebyon/ports/seal"
)

// Harness adapts the suite to one adapter.
type Harness struct {
	// New returns a sealer of the same key each time.
	New func(t *testing.T) seal.Sealer
	// Stranger returns a sealer of another key.
	Stranger func(t *testing.T) seal.Sealer
	// Rotated returns two sealers of one installation: newer seals with a key
	// that older does not have and cannot learn of. Nil when keys cannot change.
	Rotated func(t *testing.T) (older, newer seal.Sealer)
}

// Run checks everything package seal promises.
func Run(t *testing.T, h Harness) {
	for name, promise := range map[string]func(*testing.T, Harness){
		"OpensWhatItSealed":           opensWhatItSealed,
		"AnotherProcessOpensIt":       anotherProcessOpensIt,
		"TwoSealsDiffer":              twoSealsDiffer,
		"SealedHidesThePlainText":     sealedHidesThePlainText,
		"AnotherPurposeDoesNotOpen":   anotherPurposeDoesNotOpen,
		"AnotherKeyDoesNotOpen":       anotherKeyDoesNotOpen,
		"EveryChangedByteIsNoticed":   everyChangedByteIsNoticed,
		"RubbishDoesNotOpen":          rubbishDoesNotOpen,
		"ErrorsKeepTheSecret":         errorsKeepTheSecret,
		"DerivesTheSame":              derivesTheSame,
		"DerivesApart":                derivesApart,
		"ArgumentsAndResultsAreYours": argumentsAndResultsAreYours,
		"ManyAtOnce":                  manyAtOnce,
		"CanceledContext":             canceledContext,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			promise(t, h)
		})
	}
	if h.Rotated != nil {
		runRotated(t, h)
	}
}

// purposes are pairwise different, and close to one another: a value that
// somebody moves from one row to another must not open there.
var purposes = []string{"", "a", "b", "aa", "a ", "a\x00", "answer/1", "answer/11", "settings/mail", "settings/slack"}

func opensWhatItSealed(t *testing.T, h Harness) {
	s := h.New(t)
	for _, purpose := range purposes {
		for _, plain := range [][]byte{nil, {0}, []byte("text"), bytes.Repeat([]byte("long"), 64<<10)} {
			got, err := s.Open(t.Context(), purpose, sealed(t, s, purpose, plain))
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("purpose %q, %d bytes: opened to %d bytes, %v", purpose, len(plain), len(got), err)
			}
		}
	}
}

func anotherProcessOpensIt(t *testing.T, h Harness) {
	it := sealed(t, h.New(t), "p", []byte("text"))
	got, err := h.New(t).Open(t.Context(), "p", it)
	if err != nil || string(got) != "text" {
		t.Errorf("a second sealer of the same key: %q, %v", got, err)
	}
}

func twoSealsDiffer(t *testing.T, h Harness) {
	s := h.New(t)
	if bytes.Equal(sealed(t, s, "p", []byte("same")), sealed(t, s, "p", []byte("same"))) {
		t.Error("two sealed values of one text are equal: whoever reads the database sees which secrets are the same")
	}
}

func sealedHidesThePlainText(t *testing.T, h Harness) {
	plain := []byte("a rather long secret that would be seen")
	if bytes.Contains(sealed(t, h.New(t), "p", plain), plain[:8]) {
		t.Error("the sealed value holds a part of the plain text")
	}
}

func anotherPurposeDoesNotOpen(t *testing.T, h Harness) {
	s := h.New(t)
	for _, purpose := range purposes {
		it := sealed(t, s, purpose, []byte("text"))
		for _, other := range purposes {
			if got, err := s.Open(t.Context(), other, it); other != purpose && (err == nil || got != nil) {
				t.Errorf("sealed for %q, opened for %q: %q, %v", purpose, other, got, err)
			}
		}
	}
}

func anotherKeyDoesNotOpen(t *testing.T, h Harness) {
	it := sealed(t, h.New(t), "p", []byte("text"))
	if got, err := h.Stranger(t).Open(t.Context(), "p", it); err == nil || got != nil {
		t.Errorf("another key opened it: %q, %v", got, err)
	}
}

func everyChangedByteIsNoticed(t *testing.T, h Harness) {
	s := h.New(t)
	it := sealed(t, s, "p", []byte("text"))
	for i := range it {
		changed := bytes.Clone(it)
		changed[i] ^= 0x20
		if _, err := s.Open(t.Context(), "p", changed); err == nil {
			t.Errorf("byte %d of %d was changed, and it opened", i, len(it))
		}
	}
}

func rubbishDoesNotOpen(t *testing.T, h Harness) {
	s := h.New(t)
	it := sealed(t, s, "p", []byte("text"))
	rubbish := [][]byte{nil, {}, []byte("text"), bytes.Repeat([]byte{0}, 100), append(bytes.Clone(it), 0), append([]byte{0}, it...)}
	for n := range it {
		rubbish = append(rubbish, it[:n])
	}
	for i, r := range rubbish {
		if got, err := s.Open(t.Context(), "p", r); err == nil || got != nil {
			t.Errorf("rubbish %d (%d bytes) opened to %q, %v", i, len(r), got, err)
		}
	}
}

func errorsKeepTheSecret(t *testing.T, h Harness) {
	const text = "hunter2-hunter2"
	s := h.New(t)
	it := sealed(t, s, "p", []byte(text))
	_, wrongPurpose := s.Open(t.Context(), "q", it)
	_, wrongKey := h.Stranger(t).Open(t.Context(), "p", it)
	for _, err := range []error{wrongPurpose, wrongKey} {
		if err == nil || bytes.Contains([]byte(fmt.Sprintf("%v %+v", err, err)), []byte(text)) {
			t.Errorf("error %v: want one without the plain text", err)
		}
	}
}

func derivesTheSame(t *testing.T, h Harness) {
	a, b := h.New(t), h.New(t)
	for _, purpose := range purposes {
		for _, input := range purposes {
			if one, two := derived(t, a, purpose, input), derived(t, b, purpose, input); !bytes.Equal(one, two) {
				t.Errorf("purpose %q, input %q: two sealers of one key derive %x and %x", purpose, input, one, two)
			}
		}
	}
}

func derivesApart(t *testing.T, h Harness) {
	seen := map[string]string{}
	for who, s := range map[string]seal.Sealer{"this key": h.New(t), "another key": h.Stranger(t)} {
		for _, purpose := range purposes {
			for _, input := range purposes {
				what, got := fmt.Sprintf("%s, %q, %q", who, purpose, input), string(derived(t, s, purpose, input))
				if other, taken := seen[got]; taken {
					t.Errorf("(%s) and (%s) derive the same bytes", what, other)
				}
				seen[got] = what
			}
		}
	}
}

func argumentsAndResultsAreYours(t *testing.T, h Harness) {
	s, plain := h.New(t), []byte("text")
	it := sealed(t, s, "p", plain)
	kept := bytes.Clone(it)
	got, err := s.Open(t.Context(), "p", it)
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	key := derived(t, s, "p", "i")
	clear(key)
	if string(plain) != "text" || !bytes.Equal(it, kept) || bytes.Equal(derived(t, s, "p", "i"), key) {
		t.Error("an argument was written to, or a result is shared")
	}
}

func manyAtOnce(t *testing.T, h Harness) {
	s := h.New(t)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			purpose := fmt.Sprint(i)
			it, err := s.Seal(t.Context(), purpose, []byte(purpose))
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := s.Open(t.Context(), purpose, it); err != nil || string(got) != purpose {
				t.Errorf("%d: %q, %v", i, got, err)
			}
		})
	}
	all.Wait()
}

func canceledContext(t *testing.T, h Harness) {
	s := h.New(t)
	it := sealed(t, s, "p", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, sealing := s.Seal(ctx, "p", nil)
	_, opening := s.Open(ctx, "p", it)
	_, deriving := s.Derive(ctx, "p", nil)
	for _, err := range []error{sealing, opening, deriving} {
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("with a canceled context: %v; want it done, or context.Canceled", err)
		}
	}
}

func sealed(t *testing.T, s seal.Sealer, purpose string, plain []byte) []byte {
	t.Helper()
	it, err := s.Seal(t.Context(), purpose, plain)
	if err != nil {
		t.Fatalf("Seal for %q: %v", purpose, err)
	}
	return it
}

func derived(t *testing.T, s seal.Sealer, purpose, input string) []byte {
	t.Helper()
	b, err := s.Derive(t.Context(), purpose, []byte(input))
	if err != nil || len(b) != 32 {
		t.Fatalf("Derive for %q: %d bytes, %v; want 32", purpose, len(b), err)
	}
	return b
}
