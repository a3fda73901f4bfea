package identity_test

import (
	"crypto/sha256"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// hash is how the value of an API key is kept.
func hash(value secret.Text) []byte {
	sum := sha256.Sum256([]byte(value.Reveal()))
	return sum[:]
}
