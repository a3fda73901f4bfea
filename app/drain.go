package app

import (
	"context"
	"errors"
	"sync/atomic"
)

// Drain turns readiness off, so that nobody sends new requests here while the
// last ones are answered. It comes before Stop.
func (a *App) Drain() { a.draining.Store(true) }

type draining struct{ atomic.Bool }

var errDraining = errors.New("the server is stopping")

// readiness asks everything that answering a request may need.
func (b backends) readiness(d *draining) func(ctx context.Context) map[string]error {
	return func(ctx context.Context) map[string]error {
		checks := map[string]error{"database": b.Store.Ping(ctx), "broker": ping(ctx, b.Bus), "backend": ping(ctx, b.Provisioner)}
		if d.Load() {
			checks["server"] = errDraining
		}
		return checks
	}
}

// pinger is what a backend may add to its port to take part in readiness.
type pinger interface {
	Ping(ctx context.Context) error
}

func ping(ctx context.Context, backend any) error {
	if p, ok := backend.(pinger); ok {
		return p.Ping(ctx)
	}
	return nil
}
