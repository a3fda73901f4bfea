package notifications

import (
	"context"
	"errors"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/notify"
)

// patience is how long somebody waits for a message that is tried.
const patience = 20 * time.Second

// Try hands over a sample at once, for administrators: through a channel as it is
// set up, whether or not it is on, and to a target of theirs; without one to the
// installation's own. It fails with code delivery_failed and the reason that the
// other side gives, or with fault.Conflict, code channel_not_configured.
func (s *Service) Try(ctx context.Context, channel, target, template string) error {
	if _, err := access.Administers(ctx); err != nil {
		return err
	}
	var c fault.Check
	c.That(channel != Email || target != "", "body.target", "must be an e-mail address")
	c.That(channel != Webhook || target == "", "body.target", "must be left out: a webhook has one target")
	if err := c.Err(); err != nil {
		return err
	}
	sample, err := notify.Sample(template)
	if err != nil {
		return err
	}
	words, err := s.deps.Composer.Compose(sample)
	if err != nil {
		return err
	}
	to, err := s.saved(ctx, channel)
	if err != nil {
		return err
	}
	now := s.deps.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = to.Deliver(ctx, notify.Message{
		ID: id.New[id.DeliveryKind](now, s.deps.Random()).String(), Event: template, At: now, To: target,
		Subject: words.Subject, Text: words.Text, HTML: words.HTML,
	})
	if err != nil {
		return fault.Unavailable.New("delivery_failed", "%s", explain(err))
	}
	return nil
}

// saved is a channel's notifier as it is set up.
func (s *Service) saved(ctx context.Context, channel string) (n notify.Notifier, err error) {
	if channel == Email {
		n, err = s.mailer(ctx)
	} else {
		var c Config
		if c, _, err = s.current(ctx); err == nil {
			n, err = s.made(c, channel)
		}
	}
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == "channel_not_configured" {
		return nil, fault.Conflict.New(f.Code, "%s", f.Msg)
	}
	return n, err
}
