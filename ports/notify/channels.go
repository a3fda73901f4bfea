package notify

import "github.com/kubebyon/kubebyon/core/kernel/secret"

// Channels makes notifiers from what an administrator has set. Nothing is
// spoken to: settings whose form is wrong fail at once with fault.Invalid and a
// Field for each, whose Location is the setting's name, without what it belongs
// to: "host", "webhook_url". So the same calls check settings before they are
// saved.
//
// A Notifier keeps the settings it was made from, and no connection.
type Channels interface {
	Email(SMTP) (Notifier, error)
	Slack(Slack) (Notifier, error)
	Telegram(Telegram) (Notifier, error)
	Webhook(Webhook) (Notifier, error)
}

// The ways to a mail server.
const (
	TLSNone     = "none"     // in clear; passwords are not sent like that
	TLSStart    = "starttls" // in clear until STARTTLS, which the server must offer
	TLSImplicit = "tls"      // TLS from the first byte
)

// SMTP is a mail server that takes mail for others. It may be anywhere.
type SMTP struct {
	Host     string
	Port     int
	TLS      string // TLSNone, TLSStart or TLSImplicit
	Username string // empty: without signing in
	Password secret.Text
	From     string // "noreply@example.com" or "KubeBYON <noreply@example.com>"
}

// Slack is an incoming webhook, a bot, or both. A message with a target goes
// there by the bot. One without goes to the webhook, or else by the bot to the
// channel.
type Slack struct {
	WebhookURL secret.Text // https
	BotToken   secret.Text
	Channel    string // ID or name
}

// Telegram is a bot.
type Telegram struct {
	BotToken secret.Text
	ChatID   string // for messages without a target
}

// Webhook is a program that takes messages as JSON.
type Webhook struct {
	URL     string // http or https, to a public host
	Headers map[string]secret.Text
	Secret  secret.Text // what the messages are signed with; empty: they are not
}
