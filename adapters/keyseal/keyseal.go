// Package keyseal implements seal.Sealer twice.
//
// A [Sealer] has one 256-bit key and the standard library: AES-256-GCM under keys
// that HKDF-SHA256 derives for each purpose. What it sealed is a format byte,
// eight bytes that name the key, a random nonce, the cipher text and its tag. The
// name tells a wrong key from a damaged value; it says nothing about the key.
//
// A [Ring] has any number of data keys, and is itself kept sealed by a Sealer,
// the master key: either can be replaced without the other.
package keyseal

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

const (
	keySize = 32
	format  = 1
	nameLen = 8
	header  = 1 + nameLen
	overlay = 12 + 16 // nonce and tag
)

// The three uses of the key are told apart by what HKDF is asked for.
const (
	forName    = "kubebyon/keyseal/v1/name/"
	forSealing = "kubebyon/keyseal/v1/seal/"
	forDerived = "kubebyon/keyseal/v1/derive/"
)

// Sealer is safe for concurrent use. It is printed by its name alone.
type Sealer struct {
	key  [keySize]byte
	head [header]byte // what every value sealed with the key begins with
}

// New returns the Sealer of a key. Two Sealers of one key open each other's values.
func New(key [keySize]byte) *Sealer {
	s := &Sealer{key: key}
	s.head[0] = format
	copy(s.head[1:], s.expand(forName, ""))
	return s
}

// ID names the key: 16 hexadecimal digits that say nothing about it.
func (s *Sealer) ID() string { return hex.EncodeToString(s.head[1:]) }

// Format implements fmt.Formatter: fmt would print the key else.
func (s Sealer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key "+s.ID()) }

// FromText reads a key of 32 bytes in hexadecimal or base64.
func FromText(text secret.Text) (*Sealer, error) {
	key, ok := parse(text.Reveal())
	if !ok {
		return nil, fault.Invalid.New("secret_key_malformed",
			"A secret key is 32 random bytes written in base64 or hexadecimal; make one with: openssl rand -base64 32")
	}
	return New(key), nil
}

func parse(text string) (key [keySize]byte, ok bool) {
	text = strings.TrimSpace(text)
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString,
		base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if raw, err := decode(text); err == nil && len(raw) == keySize {
			return [keySize]byte(raw), true
		}
	}
	return key, false
}

// Seal implements seal.Sealer.
func (s *Sealer) Seal(_ context.Context, purpose string, plain []byte) ([]byte, error) {
	aead, err := s.aead(purpose)
	if err != nil {
		return nil, err
	}
	out := make([]byte, header, header+overlay+len(plain))
	copy(out, s.head[:])
	return aead.Seal(out, nil, plain, s.head[:]), nil //nolint:gosec // this AEAD makes its own random nonce, and takes none
}

// Open implements seal.Sealer. Its error has the code wrong_key for a value that
// was sealed with another key, and broken_seal for any other that does not open.
func (s *Sealer) Open(_ context.Context, purpose string, sealed []byte) ([]byte, error) {
	if len(sealed) < header+overlay || sealed[0] != format {
		return nil, broken()
	}
	if !bytes.Equal(sealed[:header], s.head[:]) {
		return nil, fault.Internal.New("wrong_key",
			"The secret key does not match this database: its secrets were sealed with another key. Start with the key that was used before.")
	}
	aead, err := s.aead(purpose)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed[header:], s.head[:])
	if err != nil {
		return nil, broken()
	}
	return plain, nil
}

// Derive implements seal.Sealer.
func (s *Sealer) Derive(_ context.Context, purpose string, input []byte) ([]byte, error) {
	mac := hmac.New(sha256.New, s.expand(forDerived, purpose))
	mac.Write(input)
	return mac.Sum(nil), nil
}

func broken() error {
	return fault.Internal.New("broken_seal", "A sealed value does not open: it was damaged, or moved here from another place.")
}

// aead is made anew each time, in 2 µs: purposes may be many.
func (s *Sealer) aead(purpose string) (cipher.AEAD, error) {
	block, err := aes.NewCipher(s.expand(forSealing, purpose))
	if err != nil {
		return nil, fmt.Errorf("set up the cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("set up the cipher: %w", err)
	}
	return aead, nil
}

// expand derives a key for one use and purpose. Only a length that is never
// asked for can make HKDF fail.
func (s *Sealer) expand(use, purpose string) []byte {
	k, err := hkdf.Key(sha256.New, s.key[:], nil, use+purpose, keySize)
	if err != nil {
		panic(err)
	}
	return k
}
