package kubetenant

import (
	"log/slog"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Module provides tenant.Connector over client-go. The platform's logger is
// used unless c has one.
func Module(c Config) fx.Option {
	return fx.Module("kubetenant", fx.Provide(func(lc fx.Lifecycle, log *slog.Logger) tenant.Connector {
		if c.Log == nil {
			c.Log = log.With("part", "kubetenant")
		}
		connector := New(c)
		lc.Append(fx.StopHook(connector.Close))
		return connector
	}))
}
