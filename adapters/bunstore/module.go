package bunstore

import (
	"context"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/store"
)

// Module provides store.Store on the configured database. Whatever takes the
// store is made after it and so starts after it: by then the hook below has
// connected and migrated.
var Module = fx.Module("bunstore", fx.Provide(func(lc fx.Lifecycle, c Config) (store.Store, error) {
	s, err := New(c)
	if err != nil {
		return nil, err
	}
	lc.Append(fx.Hook{
		OnStart: s.Start,
		OnStop:  func(context.Context) error { return s.Close() },
	})
	return s, nil
}))
