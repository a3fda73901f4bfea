package notifications

import (
	"context"
	"errors"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
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
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	failed := to.Deliver(limited, notify.Message{
		ID: id.New[id.DeliveryKind](now, s.deps.Random()).String(), Event: template, At: now, To: target,
		Subject: words.Subject, Text: words.Text, HTML: words.HTML,
	})
	if err := s.tried(ctx, channel, target, failed == nil); err != nil {
		return err
	}
	if failed != nil {
		return fault.Unavailable.New("delivery_failed", "%s", explain(failed, patience))
	}
	return nil
}

// tried writes down that a sample was sent, also for somebody who has not waited
// for the end.
func (s *Service) tried(ctx context.Context, channel, target string, taken bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	e := journal.Event{Resource: "notification_settings", Action: "test", ResourceID: section, Message: "Sent a sample through the channel " + channel + "."}
	if target != "" {
		e.Message = "Sent a sample through the channel " + channel + " to " + masked(target) + "."
	}
	if !taken {
		e.Result = journal.Failure
	}
	return s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return s.journal.Write(ctx, tx, e) })
}

// saved is a channel's notifier as it is set up.
func (s *Service) saved(ctx context.Context, channel string) (n notify.Notifier, err error) {
	if channel == Email {
		n, err = s.mailer(ctx)
	} else {
		var c Config
		switch c, _, err = s.current(ctx); {
		case err == nil && c.Unreadable:
			err = notReadable()
		case err == nil:
			n, err = s.made(c, channel)
		}
	}
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == "channel_not_configured" {
		return nil, fault.Conflict.New(f.Code, "%s", f.Msg)
	}
	return n, err
}
