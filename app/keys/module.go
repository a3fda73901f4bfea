package keys

import (
	"context"
	"log/slog"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Module backs seal.Sealer with the ring in the store. It starts after the store
// and before whatever seals.
func Module(m Master, log *slog.Logger) fx.Option {
	return fx.Provide(func(lc fx.Lifecycle, s store.Store) seal.Sealer {
		k := NewKeyring(s, m, log.With("part", "keys"))
		lc.Append(fx.Hook{OnStart: k.Start, OnStop: func(context.Context) error { k.Stop(); return nil }})
		return k
	})
}
