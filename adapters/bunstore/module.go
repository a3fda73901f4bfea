package bunstore

import (
	"context"
	"errors"

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
		OnStart: func(ctx context.Context) error {
			err := s.Start(ctx)
			if err != nil {
				err = errors.Join(err, s.Close()) // OnStop is for what has started
			}
			return err
		},
		OnStop: func(context.Context) error { return s.Close() },
	})
	return s, nil
}))
