package app

import (
	"context"

	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

func (p *platform) newNotifications() (err error) {
	c, b := p.config, p.backends
	p.notifications, err = notifications.New(notifications.Deps{
		Store: b.Store, Seal: b.Seal, Channels: b.Channels, Composer: b.Composer, Now: p.clock.Now, Random: c.ids(),
		SMTP: p.mailServer, BaseURL: p.console,
	})
	return err
}

// mailServer is what letters go out through, as it is set at the moment. It fails
// for one whose settings cannot be read: there is one.
func (p *platform) mailServer(ctx context.Context, tx store.Tx) (notify.SMTP, bool, error) {
	now, err := p.set(ctx, tx)
	if err == nil {
		err = now.Check(settings.InSMTP)
	}
	if err != nil || !now.SMTP.Enabled {
		return notify.SMTP{}, false, err
	}
	return now.SMTP.Server(), true, nil
}

// console is where people find the platform; empty while nobody has said.
func (p *platform) console(ctx context.Context, tx store.Tx) string {
	if ask := p.config.HTTP.BaseURLs; ask != nil {
		public, _ := ask(ctx)
		return public
	}
	public, _ := p.baseURLsIn(ctx, tx)
	return public
}

// newDeliverer has messages handed over in every process that does jobs.
func (p *platform) newDeliverer() error {
	c := p.config
	d, err := notifications.NewDeliverer(p.notifications, c.part("messages"), c.Name, p.written, c.Observe.Delivery)
	if err != nil {
		return err
	}
	p.background = append(p.background, d.Run)
	return nil
}
