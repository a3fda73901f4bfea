package memstore

import (
	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/store"
)

// Module provides store.Store in memory.
var Module = fx.Module("memstore", fx.Provide(func() store.Store { return New() }))
