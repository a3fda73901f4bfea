package notifications

import (
	"context"
	"errors"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// wordsKept is for how long a message that was given up can be sent again.
const wordsKept = 7 * 24 * time.Hour

// Retry has a message sent again that was given up, for administrators: what
// stood in its way may have been mended. It starts anew with its attempts. One
// with a code is never sent again, and none to a target that is not the
// person's own any more.
func (s *Service) Retry(ctx context.Context, i id.Delivery) (d store.Delivery, err error) {
	if _, err := access.Administers(ctx); err != nil {
		return d, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		d, err = tx.Deliveries().Get(ctx, i)
		return err
	})
	if err != nil {
		return store.Delivery{}, err
	}
	to, err := s.address(ctx, d) // outside of the transaction: it may have to look for a key
	if err != nil {
		return store.Delivery{}, err
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := stillOwn(ctx, tx, d, to); err != nil {
			return err
		}
		revived, err := tx.Deliveries().Revive(ctx, i, s.deps.Now())
		if err == nil && !revived {
			err = notDead() // any more
		}
		if err != nil {
			return err
		}
		if d, err = tx.Deliveries().Get(ctx, i); err != nil {
			return err
		}
		return s.journal.Write(ctx, tx, journal.Event{
			Resource: "notification_delivery", Action: "retry", ResourceID: i.String(), Message: "Had a message sent again that had been given up.",
		})
	})
	if err != nil {
		return store.Delivery{}, err
	}
	return d, nil
}

// address is where a delivery goes that can be sent again.
func (s *Service) address(ctx context.Context, d store.Delivery) (string, error) {
	switch {
	case d.Status != store.DeliveryDead:
		return "", notDead()
	case isCode(d):
		return "", fault.Conflict.New("delivery_not_kept", "A message with a code is never sent again: whoever needs one asks for a new code.")
	case len(d.Sealed) == 0:
		return "", fault.Conflict.New("delivery_not_kept",
			"What the message said is not kept any more: it is for %d days after it was given up, and not when there was no reason for it any more.", int(wordsKept/(24*time.Hour)))
	}
	c, err := s.contents(ctx, d)
	if fault.CodeOf(err) == "delivery_unreadable" {
		return "", fault.Conflict.New("delivery_not_kept", "The message was stored damaged and cannot be read.")
	}
	return c.To, err
}

// stillOwn fails when a target is not the person's any more.
func stillOwn(ctx context.Context, tx store.Tx, d store.Delivery, to string) error {
	if d.UserID.IsZero() {
		return nil
	}
	other := fault.Conflict.New("delivery_target_gone", "The message is to a target that is not the person's own any more, or to somebody who is banned or gone.")
	who, err := tx.Users().Get(ctx, d.UserID)
	if errors.Is(err, fault.NotFound) || err == nil && who.Status != string(identity.Active) {
		return other
	}
	if err != nil {
		return err
	}
	wants, err := preferences(ctx, tx, d.UserID)
	if err != nil {
		return err
	}
	own := map[string]string{Email: who.Email, Slack: wants.SlackTarget, Telegram: wants.TelegramChatID}
	if own[d.Channel] != to {
		return other
	}
	return nil
}

func notDead() error {
	return fault.Conflict.New("delivery_not_dead", "The message was not given up: only one that was can be sent again.")
}

// Forget erases what messages say that were given up long ago, at most limit of
// them.
func (s *Service) Forget(ctx context.Context, limit int) (n int, err error) {
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err = tx.Deliveries().Forget(ctx, s.deps.Now().Add(-wordsKept), limit)
		return err
	})
	return n, err
}
