package keyseal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// FuzzKey: a key that is read is the one that was written, whichever way.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"", strings.Repeat("ab", 32), strings.Repeat("fb", 32), strings.Repeat("AB", 32) + "\n", strings.Repeat("A", 43) + "=", strings.Repeat("A", 43), strings.Repeat("_", 42) + "8", strings.Repeat("A", 42) + "B", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, ok := parse(text)
		if !ok {
			return
		}
		for _, spelled := range []string{hex.EncodeToString(key[:]), base64.StdEncoding.EncodeToString(key[:]), base64.RawURLEncoding.EncodeToString(key[:])} {
			if again, ok := parse(spelled); !ok || again != key {
				t.Errorf("%q was read as a key that %q is not", text, spelled)
			}
		}
	})
}

// FuzzOpen: nothing opens but what was sealed, for the purpose that it was
// sealed for.
func FuzzOpen(f *testing.F) {
	s := New([keySize]byte{1})
	// Sealed once: each process that takes part would seal it differently.
	sealed, err := hex.DecodeString("01b6b232c35880fc48c985e80746dbea15959d6b5b519900baf7f239b7549bd4e90fdba75408d0077dd1")
	if err != nil {
		f.Fatal(err)
	}
	if plain, err := s.Open(f.Context(), "a", sealed); err != nil || string(plain) != "plain" {
		f.Fatal(err)
	}
	f.Add("a", sealed)
	f.Add("b", sealed)
	f.Add("", []byte{})
	f.Add("a", append(bytes.Clone(sealed), 0))
	f.Add("a", sealed[:len(sealed)-1])
	f.Fuzz(func(t *testing.T, purpose string, data []byte) {
		plain, err := s.Open(t.Context(), purpose, data)
		if err == nil && (purpose != "a" || !bytes.Equal(data, sealed) || string(plain) != "plain") {
			t.Errorf("%x opened for %q as %q", data, purpose, plain)
		}
		if code := fault.CodeOf(err); err != nil && code != "broken_seal" && code != "wrong_key" {
			t.Errorf("refused with %v", err)
		}
	})
}
