package console

import (
	"context"
	"strings"
)

// BaseURLs says where the API is reached now: by people (empty: where the request
// reached it) and by machines that join (empty: where people do).
type BaseURLs func(ctx context.Context) (public, join string)

// Public is where people reach the API.
func (b BaseURLs) Public(ctx context.Context) string {
	public, _ := b(ctx)
	return public
}

// Secure reports whether people reach the API by https.
func (b BaseURLs) Secure(ctx context.Context) bool {
	return strings.HasPrefix(b.Public(ctx), "https:")
}
