package memprovision

import (
	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/ports/provision"
)

// Module provides provision.Provisioner and provision.Catalog in memory.
var Module = fx.Module("memprovision", fx.Provide(
	func() *Provisioner { return New(Config{}) },
	func(p *Provisioner) provision.Provisioner { return p },
	func(p *Provisioner) provision.Catalog { return p },
))
