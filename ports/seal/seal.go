// Package seal encrypts what must be kept but not readable in the database.
//
// Adapters are checked by [sealtest.Run].
package seal

import "context"

// KeyCheck is the purpose and the fact under which the platform keeps a sealed
// value that tells whether a Sealer has the keys of this database.
const KeyCheck = "secret-key-check"

// Sealer encrypts and decrypts under keys that the database does not hold in the
// clear. A key may be replaced at any time, also by another process: what it has
// sealed goes on to open, for as long as the Sealer promises at least, and
// Derive goes on to return the same.
type Sealer interface {
	// Seal encrypts plain. The purpose is bound in: Open with another one fails,
	// so that a sealed value cannot be moved from one place to another. Two
	// calls give different results.
	Seal(ctx context.Context, purpose string, plain []byte) ([]byte, error)
	// Open decrypts what Seal returned for the same purpose, and fails for
	// anything else. Its error never holds the plain text, and has the code
	// unknown_key when the value names a key that this Sealer does not have.
	Open(ctx context.Context, purpose string, sealed []byte) ([]byte, error)
	// Derive returns 32 bytes that depend on the installation, the purpose and
	// the input, and on nothing else: the same every time, in every process,
	// whichever key seals by now.
	Derive(ctx context.Context, purpose string, input []byte) ([]byte, error)
}
