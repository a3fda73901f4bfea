// Package secret keeps secret text out of logs, errors and documents: a Text
// shows itself only to code that asks for it by name.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// Text is a password, token, key or kubeconfig.
type Text struct{ plain string }

const redacted = "[redacted]"

// New wraps plain.
func New(plain string) Text { return Text{plain} }

// Reveal returns the secret. Every call is a place to review.
func (t Text) Reveal() string { return t.plain }

// IsZero reports whether there is no secret.
func (t Text) IsZero() bool { return t.plain == "" }

// Equal compares in constant time for texts of one length.
func (t Text) Equal(o Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.plain), []byte(o.plain)) == 1
}

func (t Text) String() string               { return redacted }
func (t Text) GoString() string             { return redacted }
func (t Text) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (t Text) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (t Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (t Text) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
