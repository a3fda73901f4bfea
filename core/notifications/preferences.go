package notifications

import (
	"context"
	"errors"
	"regexp"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

var (
	// A user, a channel, or a conversation.
	slackID = regexp.MustCompile(`^[UWCGD][A-Z0-9]{2,30}$`) //nolint:gochecknoglobals // a constant
	// A person, or a group, whose number is below zero.
	telegramID = regexp.MustCompile(`^-?[1-9][0-9]{0,19}$`) //nolint:gochecknoglobals // a constant
)

// Preferences returns where the actor in ctx wants to hear of things. Who has
// never said gets e-mail; then UpdatedAt is zero.
func (s *Service) Preferences(ctx context.Context) (p store.Preferences, err error) {
	who, err := actor.From(ctx)
	if err != nil {
		return p, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		p, err = preferences(ctx, tx, who.UserID)
		return err
	})
	return p, err
}

func preferences(ctx context.Context, tx store.Tx, u id.User) (store.Preferences, error) {
	p, err := tx.Preferences().Get(ctx, u)
	if errors.Is(err, fault.NotFound) {
		return store.Preferences{UserID: u, Email: true}, nil
	}
	return p, err
}

// Wish is a change of Preferences; what is nil stays.
type Wish struct {
	Email          *bool
	Slack          *bool
	SlackTarget    *string
	Telegram       *bool
	TelegramChatID *string
}

// Prefer changes the preferences of the actor in ctx. Nobody hears of things on a
// channel without a target of their own there.
func (s *Service) Prefer(ctx context.Context, w Wish) (p store.Preferences, err error) {
	who, err := actor.From(ctx)
	if err != nil {
		return p, err
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if p, err = preferences(ctx, tx, who.UserID); err != nil {
			return err
		}
		set(&p.Email, w.Email)
		set(&p.Slack, w.Slack)
		set(&p.SlackTarget, w.SlackTarget)
		set(&p.Telegram, w.Telegram)
		set(&p.TelegramChatID, w.TelegramChatID)
		p.UpdatedAt = s.deps.Now()
		if err := checkPreferences(p); err != nil {
			return err
		}
		return tx.Preferences().Put(ctx, p)
	})
	if errors.Is(err, fault.NotFound) { // the account went meanwhile
		err = fault.Unauthenticated.New("unauthenticated", "Sign in first.")
	}
	if err != nil {
		return store.Preferences{}, err
	}
	return p, nil
}

func checkPreferences(p store.Preferences) error {
	var c fault.Check
	c.That(!p.Slack || p.SlackTarget != "", "body.slack_target", "must be set for Slack notifications")
	c.That(p.SlackTarget == "" || slackID.MatchString(p.SlackTarget), "body.slack_target", "must be the ID of a Slack user or channel, like U012AB3CD")
	c.That(!p.Telegram || p.TelegramChatID != "", "body.telegram_chat_id", "must be set for Telegram notifications")
	c.That(p.TelegramChatID == "" || telegramID.MatchString(p.TelegramChatID), "body.telegram_chat_id", "must be the number of a Telegram chat")
	return c.Err()
}
