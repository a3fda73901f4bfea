// Package app puts the platform together. It is the only package that knows
// both the domain and the API, and the one that embedders import: it links no
// database, Helm or Kubernetes client by itself.
package app

import (
	"context"
	"encoding/hex"
	"net/http"
	"time"

	"go.uber.org/dig"
	"go.uber.org/fx"
	"go.uber.org/fx/fxevent"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/metering"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/core/overview"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/captcha"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Document describes an API, "console" or "kite", without a platform: OpenAPI
// release "3.1" or "3.0", in format "yaml" or "json".
func Document(api, release, format string) ([]byte, error) {
	return httpapi.DocumentOf(api, release, format)
}

// App is a platform that has not started yet, is running, or has stopped.
type App struct {
	// Handler serves the API. Mount it in your own server, or use httpapi.NewServer.
	Handler http.Handler

	// The domain, for calls without HTTP. The context of each call says who
	// asks: see package actor.
	Identity      *identity.Service
	Clusters      *clusters.Service
	Fleet         *fleet.Service
	Tokens        *tokens.Service
	Nodes         *nodes.Service
	Overview      *overview.Service
	Metering      *metering.Service
	Settings      *settings.Service
	Notifications *notifications.Service

	fx           *fx.App
	lookout      *lookout
	starting     *starting
	startTimeout time.Duration
}

// backends are the ports that somebody must back.
type backends struct {
	fx.In

	Store       store.Store
	Seal        seal.Sealer
	Passwords   passwords.Hasher
	Provisioner provision.Provisioner
	Catalog     provision.Catalog
	Tenants     tenant.Connector
	Guests      tenant.Guests
	Bus         bus.Bus
	SSO         sso.Connector
	Captcha     captcha.Connector
	Channels    notify.Channels
	Composer    notify.Composer
}

// New wires the platform from backends, one for each package under ports, and
// reports what is missing. It opens no connection.
func New(c Config, options ...fx.Option) (*App, error) {
	c = c.withDefaults()
	if c.Name == "" {
		var b [8]byte
		if err := c.Random(b[:]); err != nil {
			return nil, err
		}
		c.Name = "process-" + hex.EncodeToString(b[:])
	}
	a := &App{lookout: newLookout(c), starting: new(starting), startTimeout: c.StartTimeout}
	a.fx = fx.New(
		fx.WithLogger(func() fxevent.Logger { return quiet{c.Log} }),
		fx.Supply(c.Log, c, a.lookout),
		fx.Decorate(a.starting.about),
		fx.Options(options...),
		fx.Provide(newPlatform),
		fx.Invoke(func(lc fx.Lifecycle, p *platform) {
			a.Handler, a.Identity, a.Clusters, a.Tokens, a.Nodes, a.Overview, a.Metering = p.handler, p.identity, p.clusters, p.tokens, p.nodes, p.overview, p.metering
			a.Fleet, a.Settings, a.Notifications = p.fleet, p.settings, p.notifications
			lc.Append(fx.Hook{OnStart: p.start, OnStop: p.stop})
		}),
		fx.StopTimeout(stopTimeout),
	)
	if err := a.fx.Err(); err != nil {
		return nil, dig.RootCause(err) // fx tells of its own functions; people want the reason
	}
	return a, nil
}

// Start connects the backends, makes the first administrator and begins
// background work. It fails with a plain sentence, and with fault.Unavailable for
// what waiting may mend: then another App may be made and started later. Stop
// must follow, also after a failure.
func (a *App) Start(ctx context.Context) error {
	if a.startTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.startTimeout)
		defer cancel()
	}
	return a.starting.run(ctx, a.fx.Start)
}

// Stop ends background work and gives back what this process held.
func (a *App) Stop(ctx context.Context) error {
	a.lookout.drain() // also when nothing has started, or not all
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return a.fx.Stop(ctx)
}
