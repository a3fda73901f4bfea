// Package notifications tells people and programs what has happened: by e-mail,
// Slack, Telegram and webhook. A message is written down in the transaction that
// it is about and delivered afterwards, at least once, by a [Deliverer].
//
// What is personal goes to the person's own targets. The installation's own
// Slack channel, Telegram chat and webhook get what concerns those who run it.
package notifications

import (
	"context"
	"errors"
	"time"

	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// The channels.
const (
	Email    = "email"
	Slack    = "slack"
	Telegram = "telegram"
	Webhook  = "webhook"
)

// Channels returns all channels.
func Channels() []string { return []string{Email, Slack, Telegram, Webhook} }

// Deps are what a Service cannot work without.
type Deps struct {
	Store    store.Store
	Seal     seal.Sealer
	Channels notify.Channels
	Composer notify.Composer
	Now      func() time.Time // the same in all processes: leases are counted by it
	Random   id.Random

	// SMTP returns the installation's mail server, and false while none is set. It
	// fails with code settings_unreadable for one whose settings are lost. It asks the store with tx, unless that is nil: it is called outside of a
	// transaction then.
	SMTP func(ctx context.Context, tx store.Tx) (notify.SMTP, bool, error)
	// BaseURL is where people find the console; empty while nobody has said. It asks
	// the store as SMTP does.
	BaseURL func(ctx context.Context, tx store.Tx) string
}

// Service writes messages down, and keeps who wants which where.
type Service struct {
	deps    Deps
	journal journal.Journal
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Service, error) {
	if d.Store == nil || d.Seal == nil || d.Channels == nil || d.Composer == nil || d.Now == nil || d.Random == nil || d.SMTP == nil || d.BaseURL == nil {
		return nil, errors.New("notifications: every field of Deps must be set")
	}
	return &Service{deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}}, nil
}

var _ identity.Mail = (*Service)(nil)
