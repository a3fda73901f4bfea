package argonpass

import (
	"testing"

	"github.com/alexedwards/argon2id"

	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/passwords/passwordstest"
)

func TestHasher(t *testing.T) {
	weak := parameters()
	weak.Iterations = 1
	hash, err := argon2id.CreateHash("correct horse", &weak)
	if err != nil {
		t.Fatal(err)
	}
	passwordstest.Run(t, passwordstest.Harness{Weak: hash, New: func(t *testing.T) passwords.Hasher {
		h, err := New(2)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}})
}
