package app

import "go.uber.org/fx"

// Use backs the port T with v. T is spelled out because it must be the port's
// interface: app.Use[store.Store](mine).
func Use[T any](v T) fx.Option { return fx.Provide(func() T { return v }) }

// Replace backs the port T with v instead of what another option provides. The
// replaced backend is never built, so it needs no configuration.
//
// fx.Replace does not do this: it goes by the concrete type of v, which nobody
// asks for, and silently changes nothing.
func Replace[T any](v T) fx.Option { return fx.Decorate(func() T { return v }) }

// Wrap puts w around whatever backs the port T: to trace it, cache it, or make
// it fail in a test.
func Wrap[T any](w func(T) T) fx.Option { return fx.Decorate(w) }
