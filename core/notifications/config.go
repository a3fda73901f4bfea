package notifications

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

// section is the installation's setting that a Config is kept in.
const section = "notification_delivery"

// Config says which channels the installation has, and how they are reached. The
// mail server is not among it: letters go out whether or not e-mail is among the
// channels for what happens.
type Config struct {
	Enabled    []string // of Channels: used for what happens, if they are on too
	SlackOn    bool
	Slack      notify.Slack
	TelegramOn bool
	Telegram   notify.Telegram
	WebhookOn  bool
	Webhook    notify.Webhook

	// Unreadable says that what is kept is damaged, or sealed with a key that is not
	// there: secrets are missing, and no channel but e-mail is used.
	Unreadable bool
}

// uses reports whether a channel is used for what happens.
func (c Config) uses(channel string) bool {
	on := map[string]bool{Email: true, Slack: c.SlackOn, Telegram: c.TelegramOn, Webhook: c.WebhookOn}
	return on[channel] && slices.Contains(c.Enabled, channel)
}

// plan is what of a Config can be read without the server's key.
type plan struct {
	EnabledChannels []string `json:"enabled_channels"`
	SlackEnabled    bool     `json:"slack_enabled"`
	SlackChannel    string   `json:"slack_channel"`
	SlackHook       bool     `json:"slack_webhook_configured"`
	SlackBot        bool     `json:"slack_bot_token_configured"`
	TelegramEnabled bool     `json:"telegram_enabled"`
	TelegramChatID  string   `json:"telegram_chat_id"`
	WebhookEnabled  bool     `json:"webhook_enabled"`

	damaged bool // it is the defaults
}

func defaults() plan { return plan{EnabledChannels: []string{Email}} }

// keys is what of a Config is sealed. A webhook's address is among it because it
// often has a token in it.
type keys struct {
	SlackWebhookURL  string            `json:"slack_webhook_url,omitempty"`
	SlackBotToken    string            `json:"slack_bot_token,omitempty"`
	TelegramBotToken string            `json:"telegram_bot_token,omitempty"`
	WebhookURL       string            `json:"webhook_url,omitempty"`
	WebhookHeaders   map[string]string `json:"webhook_headers,omitempty"`
	WebhookSecret    string            `json:"webhook_secret,omitempty"`
}

func (c Config) parts() (plan, keys) {
	p := plan{
		EnabledChannels: c.Enabled, SlackEnabled: c.SlackOn, SlackChannel: c.Slack.Channel,
		SlackHook: !c.Slack.WebhookURL.IsZero(), SlackBot: !c.Slack.BotToken.IsZero(),
		TelegramEnabled: c.TelegramOn, TelegramChatID: c.Telegram.ChatID, WebhookEnabled: c.WebhookOn,
	}
	k := keys{
		SlackWebhookURL: c.Slack.WebhookURL.Reveal(), SlackBotToken: c.Slack.BotToken.Reveal(), TelegramBotToken: c.Telegram.BotToken.Reveal(),
		WebhookURL: c.Webhook.URL, WebhookSecret: c.Webhook.Secret.Reveal(), WebhookHeaders: map[string]string{},
	}
	for name, value := range c.Webhook.Headers {
		k.WebhookHeaders[name] = value.Reveal()
	}
	return p, k
}

func (p plan) config(k keys) Config {
	c := Config{
		Enabled: p.EnabledChannels, SlackOn: p.SlackEnabled, TelegramOn: p.TelegramEnabled, WebhookOn: p.WebhookEnabled,
		Slack:    notify.Slack{WebhookURL: secret.New(k.SlackWebhookURL), BotToken: secret.New(k.SlackBotToken), Channel: p.SlackChannel},
		Telegram: notify.Telegram{BotToken: secret.New(k.TelegramBotToken), ChatID: p.TelegramChatID},
		Webhook:  notify.Webhook{URL: k.WebhookURL, Secret: secret.New(k.WebhookSecret), Headers: map[string]secret.Text{}},
	}
	for name, value := range k.WebhookHeaders {
		c.Webhook.Headers[name] = secret.New(value)
	}
	return c
}

// stored reads the section as it is; one that has never been written has
// Version 0 and the defaults. What is damaged must not keep a cluster from being
// changed.
func stored(ctx context.Context, tx store.Tx) (set store.Setting, p plan, err error) {
	all, err := tx.Settings().All(ctx)
	if err != nil {
		return set, p, err
	}
	i := slices.IndexFunc(all, func(s store.Setting) bool { return s.Name == section })
	if i < 0 {
		return store.Setting{Name: section}, defaults(), nil
	}
	if json.Unmarshal(all[i].Value, &p) != nil {
		p = defaults()
		p.damaged = true
	}
	return all[i], p, nil
}

// current is the Config as it is now: it is asked for whenever one is needed, so
// that a change counts everywhere at once.
func (s *Service) current(ctx context.Context) (c Config, set store.Setting, err error) {
	var p plan
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		set, p, err = stored(ctx, tx)
		return err
	})
	if err != nil {
		return c, set, err
	}
	var k keys
	lost := p.damaged
	if len(set.Sealed) > 0 {
		plain, err := s.deps.Seal.Open(ctx, "settings/"+section, set.Sealed)
		if err != nil && !isLost(err) && fault.CodeOf(err) != "unknown_key" {
			return c, set, fmt.Errorf("open the settings of %s: %w", section, err)
		}
		if err != nil || json.Unmarshal(plain, &k) != nil {
			k, lost = keys{}, true
		}
	}
	c = p.config(k)
	c.Unreadable = lost
	return c, set, nil
}

// notifier returns a channel's notifier for a target, as it is set up now. The
// installation's own target is the empty one.
func (s *Service) notifier(ctx context.Context, channel, to string) (notify.Notifier, error) {
	if channel == Email {
		return s.mailer(ctx)
	}
	c, _, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	if c.Unreadable {
		return nil, notReadable()
	}
	if !c.uses(channel) {
		return nil, turnedOff()
	}
	if to != "" && channel == Slack && c.Slack.BotToken.IsZero() {
		return nil, fault.Unavailable.New("channel_not_configured", "A personal message to Slack needs a bot token, and none is set.")
	}
	return s.made(c, channel)
}

// made makes a channel's notifier of a Config, whether or not it is on.
func (s *Service) made(c Config, channel string) (n notify.Notifier, err error) {
	switch {
	case channel == Slack && (!c.Slack.WebhookURL.IsZero() || !c.Slack.BotToken.IsZero()):
		n, err = s.deps.Channels.Slack(c.Slack)
	case channel == Telegram && !c.Telegram.BotToken.IsZero():
		n, err = s.deps.Channels.Telegram(c.Telegram)
	case channel == Webhook && c.Webhook.URL != "":
		n, err = s.deps.Channels.Webhook(c.Webhook)
	default:
		return nil, notSetUp()
	}
	return n, malset(err)
}

func (s *Service) mailer(ctx context.Context) (notify.Notifier, error) {
	server, ok, err := s.deps.SMTP(ctx, nil)
	if isUnreadable(err) {
		return nil, notReadable()
	}
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, notSetUp()
	}
	n, err := s.deps.Channels.Email(server)
	return n, malset(err)
}

// malset keeps a fault of the settings from counting against a message: an
// administrator may mend them.
func malset(err error) error {
	if errors.Is(err, fault.Invalid) {
		return fault.Unavailable.New("channel_not_configured", "The channel's settings are not valid.")
	}
	return err
}

func notSetUp() error {
	return fault.Unavailable.New("channel_not_configured", "The channel has not been set up.")
}

// isUnreadable reports whether settings are lost until somebody sets them anew.
func isUnreadable(err error) bool { return fault.CodeOf(err) == "settings_unreadable" }

func notReadable() error {
	return fault.Unavailable.New("channel_not_configured", "The channel's settings cannot be read: they are damaged, or sealed with a key that is not there. Set their secrets anew.")
}

func turnedOff() error {
	return fault.Denied.New("channel_off", "An administrator has turned the channel off.")
}
