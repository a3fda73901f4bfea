package messagetext

import (
	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/notify"
)

// Module provides notify.Composer.
var Module = fx.Module("messagetext", fx.Provide(func() (notify.Composer, error) { return New() }))
