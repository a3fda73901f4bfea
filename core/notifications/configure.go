package notifications

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Mask stands for the value of a webhook's header where it is shown. Sent back,
// it leaves the value as it is.
const Mask = "********"

// ShownURL is a webhook's address as it may be shown: services have their tokens
// in the query. Sent back, it leaves the address as it is. One with a name or a
// password in it is refused to begin with.
func ShownURL(address string) string {
	where, query, _ := strings.Cut(address, "?")
	if query == "" {
		return address
	}
	return where + "?" + Mask
}

// Config returns the channels that the installation has, to administrators.
func (s *Service) Config(ctx context.Context) (Config, error) {
	if _, err := access.Administers(ctx); err != nil {
		return Config{}, err
	}
	c, _, err := s.current(ctx)
	return c, err
}

// Change is a change of a Config. What is nil stays; a secret that is empty goes.
type Change struct {
	Enabled          *[]string
	SlackOn          *bool
	SlackChannel     *string
	SlackWebhookURL  *secret.Text
	SlackBotToken    *secret.Text
	TelegramOn       *bool
	TelegramChatID   *string
	TelegramBotToken *secret.Text
	WebhookOn        *bool
	WebhookURL       *string
	WebhookHeaders   *map[string]secret.Text // all of them; one that is Mask stays
	WebhookSecret    *secret.Text
}

// configureTries is how often a change is made anew when somebody else has
// changed the channels meanwhile.
const configureTries = 3

// Configure changes the channels, for administrators. What cannot be read is
// lost with a change that sets a secret. It fails with fault.Conflict, code
// stale_version, when others keep changing them meanwhile.
func (s *Service) Configure(ctx context.Context, change Change) (c Config, err error) {
	if _, err := access.Administers(ctx); err != nil {
		return c, err
	}
	for range configureTries {
		if c, err = s.configure(ctx, change); fault.CodeOf(err) != "stale_version" {
			break
		}
	}
	return c, err
}

func (s *Service) configure(ctx context.Context, change Change) (Config, error) {
	c, set, err := s.current(ctx)
	if err != nil {
		return Config{}, err
	}
	change.apply(&c)
	var lost fault.Check
	lost.That(!c.Unreadable || change.hasSecret(), strings.TrimSuffix(place, "."), "must set the channels' secrets anew, or clear them: what was kept of them cannot be read")
	if err := lost.Err(); err != nil {
		return Config{}, err
	}
	if err := s.check(c); err != nil {
		return Config{}, err
	}
	c.Unreadable = false
	p, k := c.parts()
	if set.Value, err = json.Marshal(p); err != nil {
		return Config{}, fmt.Errorf("write settings: %w", err)
	}
	plain, err := json.Marshal(k)
	if err != nil {
		return Config{}, fmt.Errorf("write settings: %w", err)
	}
	if set.Sealed, err = s.deps.Seal.Seal(ctx, "settings/"+section, plain); err != nil {
		return Config{}, fmt.Errorf("seal settings: %w", err)
	}
	set.UpdatedAt = s.deps.Now()
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		put := set // it may be done again
		if err := tx.Settings().Put(ctx, &put); err != nil {
			return err
		}
		return s.journal.Write(ctx, tx, journal.Event{
			Resource: "notification_settings", Action: "update", ResourceID: section, Message: "Changed how notifications are delivered.",
		})
	})
	if err != nil {
		return Config{}, err
	}
	return c, nil
}

// hasSecret reports whether a change is of what is sealed.
func (change Change) hasSecret() bool {
	return change.SlackWebhookURL != nil || change.SlackBotToken != nil || change.TelegramBotToken != nil ||
		change.WebhookURL != nil || change.WebhookHeaders != nil || change.WebhookSecret != nil
}

func (change Change) apply(c *Config) {
	set(&c.Enabled, change.Enabled)
	set(&c.SlackOn, change.SlackOn)
	set(&c.Slack.Channel, change.SlackChannel)
	set(&c.Slack.WebhookURL, change.SlackWebhookURL)
	set(&c.Slack.BotToken, change.SlackBotToken)
	set(&c.TelegramOn, change.TelegramOn)
	set(&c.Telegram.ChatID, change.TelegramChatID)
	set(&c.Telegram.BotToken, change.TelegramBotToken)
	set(&c.WebhookOn, change.WebhookOn)
	if to := change.WebhookURL; to != nil && *to != ShownURL(c.Webhook.URL) {
		c.Webhook.URL = *to
	}
	set(&c.Webhook.Secret, change.WebhookSecret)
	if change.WebhookHeaders == nil {
		return
	}
	headers := maps.Clone(*change.WebhookHeaders)
	for name, value := range headers {
		if before, ok := c.Webhook.Headers[name]; ok && value.Equal(secret.New(Mask)) {
			headers[name] = before
		}
	}
	c.Webhook.Headers = headers
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// place is where a Config's parts are in requests.
const place = "body.config.notification_delivery."

// check looks at every channel that is on, and at what is kept of one that is
// not: it is turned on without being sent again.
func (s *Service) check(c Config) error {
	var found fault.Check
	for i, name := range c.Enabled {
		found.That(slices.Contains(Channels(), name), place+"enabled_channels", "must be of %s", strings.Join(Channels(), ", "))
		found.That(!slices.Contains(c.Enabled[:i], name), place+"enabled_channels", "must name each channel once")
	}
	found.That(!strings.Contains(c.Webhook.URL, Mask), place+"webhook_url", "must be given whole: what was read has its query masked")
	for _, value := range c.Webhook.Headers {
		found.That(!value.IsZero() && !value.Equal(secret.New(Mask)), place+"webhook_headers", "must have values")
	}
	if c.SlackOn || !c.Slack.WebhookURL.IsZero() || !c.Slack.BotToken.IsZero() {
		_, err := s.deps.Channels.Slack(c.Slack)
		note(&found, err)
	}
	if c.TelegramOn || !c.Telegram.BotToken.IsZero() {
		_, err := s.deps.Channels.Telegram(c.Telegram)
		note(&found, err)
	}
	if c.WebhookOn || c.Webhook.URL != "" || len(c.Webhook.Headers) > 0 {
		_, err := s.deps.Channels.Webhook(c.Webhook)
		note(&found, err)
	}
	return found.Err()
}

func note(found *fault.Check, err error) {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return
	}
	if len(f.Fields) == 0 {
		found.That(false, strings.TrimSuffix(place, "."), "must be of the form that the channel has")
	}
	for _, field := range f.Fields {
		found.That(false, place+field.Location, "%s", field.Message)
	}
}
