package gobus

import (
	"log/slog"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/bus"
)

// Module provides bus.Bus inside the process, and takes the logger from the app.
var Module = fx.Module("gobus", fx.Provide(func(lc fx.Lifecycle, log *slog.Logger) bus.Bus {
	b := New(Config{Log: log.With("part", "bus")})
	lc.Append(fx.StopHook(b.Close))
	return b
}))
