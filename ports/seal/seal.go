// Package seal encrypts what must be kept but not readable in the database.
//
// Adapters are checked by [sealtest.Run].
package seal

import "context"

// Sealer encrypts and decrypts under a key that the database does not hold.
type Sealer interface {
	// Seal encrypts plain. The purpose is bound in: Open with another one fails,
	// so that a sealed value cannot be moved from one place to another. Two
	// calls give different results.
	Seal(ctx context.Context, purpose string, plain []byte) ([]byte, error)
	// Open decrypts what Seal returned for the same purpose, and fails for
	// anything else. Its error never holds the plain text.
	Open(ctx context.Context, purpose string, sealed []byte) ([]byte, error)
	// Derive returns 32 bytes that depend on the key, the purpose and the
	// input, and on nothing else: the same every time, in every process that
	// holds the key.
	Derive(ctx context.Context, purpose string, input []byte) ([]byte, error)
}
