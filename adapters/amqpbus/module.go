package amqpbus

import (
	"log/slog"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/bus"
)

// Module provides bus.Bus through RabbitMQ, connected from the app's start to
// its stop. It takes the logger from the app unless c has one.
func Module(c Config) fx.Option {
	return fx.Module("amqpbus", fx.Provide(
		func(lc fx.Lifecycle, log *slog.Logger) (*Bus, error) {
			if c.Log == nil {
				c.Log = log.With("part", "bus")
			}
			b, err := New(c)
			if err != nil {
				return nil, err
			}
			lc.Append(fx.Hook{OnStart: b.Start, OnStop: b.Stop})
			return b, nil
		},
		func(b *Bus) bus.Bus { return b },
	))
}
