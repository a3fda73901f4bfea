package helmprovision

import (
	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// Module provides provision.Provisioner and provision.Catalog as c says. The
// control planes outlive the app; what looks at them lives from its start to its
// stop.
func Module(c Config) fx.Option {
	return fx.Module("helmprovision", fx.Provide(
		func(lc fx.Lifecycle) (*Provisioner, error) {
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
}
