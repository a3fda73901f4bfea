// Package outside backs the ports behind which services of others are: sign-in
// providers, the captcha, the channels of messages, clusters that others run. All of them go out through
// guarded clients.
package outside

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/adapters/hcaptcha"
	"github.com/kubebyon/kubebyon/adapters/kubetenant"
	"github.com/kubebyon/kubebyon/adapters/messagetext"
	"github.com/kubebyon/kubebyon/adapters/oidcsso"
	"github.com/kubebyon/kubebyon/adapters/outbound"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/channels"
	"github.com/kubebyon/kubebyon/ports/captcha"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Config says where sign-in providers and registered clusters may be. The zero Config is that of a server.
type Config struct {
	Now func() time.Time // nil: the system's clock
	// Networks are not public, and providers and registered clusters may be in
	// them all the same; nil: those that companies use inside.
	Networks []netip.Prefix
	Log      *slog.Logger // nothing is logged without
	// OnThisMachine lets them be on loopback addresses, to try them out.
	OnThisMachine bool
}

// Modules backs tenant.Guests, sso.Connector, captcha.Connector, notify.Channels and notify.Composer.
func Modules(c Config) (fx.Option, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	people, err := oidcsso.New(oidcsso.Options{Client: outbound.New(outbound.Config{Admit: c.inside()}).HTTP(), Now: c.Now})
	if err != nil {
		return nil, err
	}
	puzzles, err := hcaptcha.New(hcaptcha.Options{Client: outbound.New(outbound.Config{}).HTTP()})
	if err != nil {
		return nil, err
	}
	guests := kubetenant.NewGuests(kubetenant.Config{Control: outbound.Control(c.inside()), Log: c.Log, Now: c.Now})
	return fx.Options(
		app.Use[tenant.Guests](guests), fx.Invoke(func(lc fx.Lifecycle) { lc.Append(fx.StopHook(guests.Close)) }),
		app.Use[sso.Connector](people), app.Use[captcha.Connector](puzzles),
		app.Use[notify.Channels](channels.New(channels.Config{Now: c.Now})), messagetext.Module,
	), nil
}

// inside are networks that are not public, and in which a company's own sign-in
// provider and clusters may be all the same: an administrator names them, as with
// mail servers. The rest stays closed, such as a cloud's metadata.
func (c Config) inside() []netip.Prefix {
	admit := slices.Clone(c.Networks)
	if admit == nil {
		admit = []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fc00::/7"),
		}
	}
	if c.OnThisMachine {
		admit = append(admit, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	return admit
}
