// Package passwords keeps passwords so that they can be checked but not read.
//
// Adapters are checked by [passwordstest.Run].
package passwords

import (
	"context"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Hasher hashes passwords slowly. It bounds how many it works on at once and
// obeys ctx while it waits for its turn. Where too many wait already, it fails
// with fault.Exhausted, code rate_limited.
type Hasher interface {
	// Hash returns a text that holds its own parameters. Two calls differ.
	Hash(ctx context.Context, password secret.Text) (string, error)
	// Matches reports whether password gave hash, and whether hash was made
	// with weaker parameters than Hash uses now. A malformed or empty hash does
	// not match, and takes about as long as one that does.
	Matches(ctx context.Context, hash string, password secret.Text) (ok, outdated bool, err error)
}
