package identity

import "context"

// Guard lets a password that somebody confirms be looked at, or refuses: it bounds
// how often a wrong one may be tried. What comes after the look is not its own.
type Guard func(ctx context.Context, look func() error) error

type guardKey struct{}

// WithGuard has g stand before each password that [Service.CheckPassword] looks
// at with the context that it returns.
func WithGuard(ctx context.Context, g Guard) context.Context {
	return context.WithValue(ctx, guardKey{}, g)
}

func guarded(ctx context.Context, look func() error) error {
	if g, ok := ctx.Value(guardKey{}).(Guard); ok {
		return g(ctx, look)
	}
	return look()
}
