package planeprovision

import (
	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// Module provides provision.Provisioner and provision.Catalog, and takes a
// Config from the app. The control planes live from the app's start to its stop.
var Module = fx.Module("planeprovision", fx.Provide(
	func(lc fx.Lifecycle, c Config) (*Provisioner, error) {
		p, err := New(c)
		if err != nil {
			return nil, err
		}
		lc.Append(fx.Hook{OnStart: p.Start, OnStop: p.Stop})
		return p, nil
	},
	func(p *Provisioner) provision.Provisioner { return p },
	func(p *Provisioner) provision.Catalog { return p },
))
