package sealtest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/seal"
)

// runRotated checks what holds when a key was replaced.
func runRotated(t *testing.T, h Harness) {
	t.Helper()
	for name, promise := range map[string]func(t *testing.T, older, newer seal.Sealer){
		"AnOlderKeyStillOpens":             anOlderKeyStillOpens,
		"AnOlderKeyStillBindsThePurpose":   anOlderKeyStillBindsThePurpose,
		"AnUnknownKeyIsNamedAsSuch":        anUnknownKeyIsNamedAsSuch,
		"DerivesTheSameAfterAnotherKey":    derivesTheSameAfterAnotherKey,
		"AValueUnderAnotherKeyDoesNotOpen": aValueUnderAnotherKeyDoesNotOpen,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			older, newer := h.Rotated(t)
			promise(t, older, newer)
		})
	}
}

func anOlderKeyStillOpens(t *testing.T, older, newer seal.Sealer) {
	for who, s := range map[string]seal.Sealer{"the older one": older, "the newer one": newer} {
		got, err := s.Open(t.Context(), "p", sealed(t, older, "p", []byte("text")))
		if err != nil || string(got) != "text" {
			t.Errorf("%s: %q, %v", who, got, err)
		}
	}
	got, err := newer.Open(t.Context(), "p", sealed(t, newer, "p", []byte("text")))
	if err != nil || string(got) != "text" {
		t.Errorf("what the newer one sealed: %q, %v", got, err)
	}
}

func anOlderKeyStillBindsThePurpose(t *testing.T, older, newer seal.Sealer) {
	if got, err := newer.Open(t.Context(), "settings/slack", sealed(t, older, "settings/mail", []byte("text"))); err == nil || got != nil {
		t.Errorf("a value that was moved opened: %q, %v", got, err)
	}
}

func anUnknownKeyIsNamedAsSuch(t *testing.T, older, newer seal.Sealer) {
	const text = "hunter2-hunter2"
	got, err := older.Open(t.Context(), "p", sealed(t, newer, "p", []byte(text)))
	if fault.CodeOf(err) != "unknown_key" || got != nil {
		t.Fatalf("a value under a key that is not known: %q, %v; want code unknown_key", got, err)
	}
	if bytes.Contains([]byte(fmt.Sprintf("%v %+v", err, err)), []byte(text)) {
		t.Errorf("the error holds the plain text: %v", err)
	}
}

func derivesTheSameAfterAnotherKey(t *testing.T, older, newer seal.Sealer) {
	for _, purpose := range purposes {
		if one, two := derived(t, older, purpose, "input"), derived(t, newer, purpose, "input"); !bytes.Equal(one, two) {
			t.Errorf("purpose %q: %x before, %x after", purpose, one, two)
		}
	}
}

// aValueUnderAnotherKeyDoesNotOpen: nothing is tried with keys that a value does
// not name.
func aValueUnderAnotherKeyDoesNotOpen(t *testing.T, older, newer seal.Sealer) {
	one, two := sealed(t, older, "p", []byte("text")), sealed(t, newer, "p", []byte("text"))
	if len(one) != len(two) {
		t.Fatalf("%d and %d bytes", len(one), len(two))
	}
	for cut := 1; cut < len(one); cut++ {
		mixed := append(bytes.Clone(one[:cut]), two[cut:]...)
		if got, err := newer.Open(t.Context(), "p", mixed); !bytes.Equal(mixed, one) && !bytes.Equal(mixed, two) && (err == nil || got != nil) {
			t.Errorf("%d bytes of one value before the rest of another opened: %q, %v", cut, got, err)
		}
	}
}
