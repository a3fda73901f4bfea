// Package secret keeps secret text out of logs, errors and documents: a Text
// shows itself only to code that asks for it by name.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
	"unique"
)

// Text is a password, token, key or kubeconfig. Equal texts are ==.
//
// It holds a handle, not the text: fmt prints the unexported fields of a struct
// without asking them how, and would show a string.
type Text struct{ plain unique.Handle[string] }

const redacted = "[redacted]"

// New wraps plain.
func New(plain string) Text {
	if plain == "" {
		return Text{}
	}
	return Text{unique.Make(plain)}
}

// Reveal returns the secret. Every call is a place to review.
func (t Text) Reveal() string {
	if t.IsZero() {
		return ""
	}
	return t.plain.Value()
}

// IsZero reports whether there is no secret.
func (t Text) IsZero() bool { return t == Text{} }

// Equal compares in constant time for texts of one length.
func (t Text) Equal(o Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(o.Reveal())) == 1
}

func (t Text) String() string               { return redacted }
func (t Text) GoString() string             { return redacted }
func (t Text) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (t Text) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (t Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (t Text) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
