// Package channels makes notifiers of every kind, all on one guarded client.
package channels

import (
	"crypto/x509"
	"net/netip"
	"time"

	"github.com/kubebyon/kubebyon/adapters/outbound"
	"github.com/kubebyon/kubebyon/adapters/slacknotify"
	"github.com/kubebyon/kubebyon/adapters/smtpnotify"
	"github.com/kubebyon/kubebyon/adapters/telegramnotify"
	"github.com/kubebyon/kubebyon/adapters/webhooknotify"
	"github.com/kubebyon/kubebyon/ports/notify"
)

// Config is for tests, whose servers are on this machine. The zero Config is
// the one to use.
type Config struct {
	Now         func() time.Time // default: time.Now
	Admit       []netip.Prefix   // networks that count as public
	Roots       *x509.CertPool   // trusted instead of the system's authorities
	SlackURL    string           // instead of Slack's API
	TelegramURL string           // instead of Telegram's API
}

// Channels implements notify.Channels.
type Channels struct {
	cfg    Config
	client *outbound.Client
}

// New returns the Channels.
func New(cfg Config) *Channels {
	return &Channels{cfg: cfg, client: outbound.New(outbound.Config{Admit: cfg.Admit, Roots: cfg.Roots})}
}

// Email implements notify.Channels.
func (c *Channels) Email(s notify.SMTP) (notify.Notifier, error) {
	return made(smtpnotify.New(s, smtpnotify.Config{Now: c.cfg.Now, Roots: c.cfg.Roots}))
}

// Slack implements notify.Channels.
func (c *Channels) Slack(s notify.Slack) (notify.Notifier, error) {
	return made(slacknotify.New(s, slacknotify.Config{Client: c.client, APIURL: c.cfg.SlackURL, Now: c.cfg.Now}))
}

// Telegram implements notify.Channels.
func (c *Channels) Telegram(s notify.Telegram) (notify.Notifier, error) {
	return made(telegramnotify.New(s, telegramnotify.Config{Client: c.client, APIURL: c.cfg.TelegramURL}))
}

// Webhook implements notify.Channels.
func (c *Channels) Webhook(s notify.Webhook) (notify.Notifier, error) {
	return made(webhooknotify.New(s, webhooknotify.Config{Client: c.client, Now: c.cfg.Now}))
}

// made keeps a nil pointer from becoming a Notifier that is not nil.
func made[N notify.Notifier](n N, err error) (notify.Notifier, error) {
	if err != nil {
		return nil, err
	}
	return n, nil
}
