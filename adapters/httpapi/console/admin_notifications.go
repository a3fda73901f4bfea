package console

import (
	"context"
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/notifications"
)

// NotificationDelivery is how messages leave the installation. Secrets are never
// shown.
type NotificationDelivery struct {
	EnabledChannels            []string          `json:"enabled_channels" nullable:"false" enum:"email,slack,telegram,webhook" doc:"The channels that tell what happens. Each must be turned on besides; e-mail is when a mail server is."`
	SlackEnabled               bool              `json:"slack_enabled" example:"true"`
	SlackChannel               *string           `json:"slack_channel" example:"C012AB3CD"`
	SlackWebhookConfigured     bool              `json:"slack_webhook_configured" example:"true"`
	SlackBotTokenConfigured    bool              `json:"slack_bot_token_configured" example:"true"`
	TelegramEnabled            bool              `json:"telegram_enabled" example:"false"`
	TelegramChatID             *string           `json:"telegram_chat_id" example:"-1001234567890"`
	TelegramBotTokenConfigured bool              `json:"telegram_bot_token_configured" example:"false"`
	WebhookEnabled             bool              `json:"webhook_enabled" example:"true"`
	WebhookURL                 *string           `json:"webhook_url" doc:"Its query is masked." example:"https://example.com/hooks/kubebyon"`
	WebhookHeaders             map[string]string `json:"webhook_headers" nullable:"false" doc:"Their names; the values are masked."`
	WebhookSecretConfigured    bool              `json:"webhook_secret_configured" example:"true"`
	Unreadable                 bool              `json:"unreadable" doc:"What is kept is damaged or sealed with a key that is not there. No channel but e-mail is in use; set the secrets anew." example:"false"`
}

// NotificationConfig is all that is set about messages.
type NotificationConfig struct {
	NotificationDelivery NotificationDelivery `json:"notification_delivery"`
}

// NotificationConfigAnswer holds it.
type NotificationConfigAnswer struct {
	Config NotificationConfig `json:"config"`
}

// NotificationDeliveryUpdate is what is to be different. What is left out or null
// stays. What was read may be sent back as it is: fields that only the server
// sets are passed by.
type NotificationDeliveryUpdate struct {
	EnabledChannels            []string          `json:"enabled_channels,omitempty" nullable:"false" enum:"email,slack,telegram,webhook" maxItems:"4"`
	SlackEnabled               *bool             `json:"slack_enabled,omitempty" doc:"true needs a slack_webhook_url or a slack_bot_token." example:"false"`
	SlackChannel               *string           `json:"slack_channel,omitempty" maxLength:"80" doc:"Where the bot tells what happens, when there is no webhook." example:"C012AB3CD"`
	SlackWebhookURL            string            `json:"slack_webhook_url,omitempty" format:"password" doc:"https. Counts with slack_webhook_url_changed, and is refused without; empty clears it." example:"https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"`
	SlackWebhookURLChanged     bool              `json:"slack_webhook_url_changed,omitempty" example:"true"`
	SlackWebhookConfigured     bool              `json:"slack_webhook_configured,omitempty" doc:"Passed by." example:"true"`
	SlackBotToken              string            `json:"slack_bot_token,omitempty" format:"password" doc:"What personal messages need. Counts with slack_bot_token_changed, and is refused without; empty clears it." example:"xoxb-000000000000-000000000000"`
	SlackBotTokenChanged       bool              `json:"slack_bot_token_changed,omitempty" example:"true"`
	SlackBotTokenConfigured    bool              `json:"slack_bot_token_configured,omitempty" doc:"Passed by." example:"true"`
	TelegramEnabled            *bool             `json:"telegram_enabled,omitempty" doc:"true needs a telegram_bot_token." example:"false"`
	TelegramChatID             *string           `json:"telegram_chat_id,omitempty" maxLength:"40" doc:"Where the bot tells what happens. Personal messages never go there." example:"-1001234567890"`
	TelegramBotToken           string            `json:"telegram_bot_token,omitempty" format:"password" doc:"Counts with telegram_bot_token_changed, and is refused without; empty clears it." example:"123456789:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`
	TelegramBotTokenChanged    bool              `json:"telegram_bot_token_changed,omitempty" example:"true"`
	TelegramBotTokenConfigured bool              `json:"telegram_bot_token_configured,omitempty" doc:"Passed by." example:"true"`
	WebhookEnabled             *bool             `json:"webhook_enabled,omitempty" doc:"true needs a webhook_url." example:"false"`
	WebhookURL                 *string           `json:"webhook_url,omitempty" doc:"http or https, to a public host. What was read stays what it is." example:"https://example.com/hooks/kubebyon"`
	WebhookHeaders             map[string]string `json:"webhook_headers,omitempty" doc:"All that are sent. Count with webhook_headers_changed, and are refused without; a value that is the mask stays."`
	WebhookHeadersChanged      bool              `json:"webhook_headers_changed,omitempty" example:"true"`
	WebhookSecret              string            `json:"webhook_secret,omitempty" format:"password" maxLength:"512" doc:"What messages are signed with. Counts with webhook_secret_changed, and is refused without; empty clears it." example:"s3cr3t"`
	WebhookSecretChanged       bool              `json:"webhook_secret_changed,omitempty" example:"true"`
	WebhookSecretConfigured    bool              `json:"webhook_secret_configured,omitempty" doc:"Passed by." example:"true"`
	Unreadable                 bool              `json:"unreadable,omitempty" doc:"Passed by." example:"false"`
}

// NotificationConfigUpdate changes what is set about messages.
type NotificationConfigUpdate struct {
	NotificationDelivery NotificationDeliveryUpdate `json:"notification_delivery"`
}

// NotificationConfigChange holds it.
type NotificationConfigChange struct {
	Config NotificationConfigUpdate `json:"config"`
}

// NotificationTest asks for a sample.
type NotificationTest struct {
	Channel  string `json:"channel" enum:"email,slack,telegram,webhook" example:"email"`
	Target   string `json:"target,omitempty" maxLength:"254" doc:"An e-mail address, the ID of a Slack user or channel, a Telegram chat. Left out: the installation's own, which e-mail has not. A webhook takes none." example:"ada@example.com"`
	Template string `json:"template" enum:"welcome,cluster-alert,order-paid" example:"welcome"`
}

// NotificationTestAnswer says that the other side took the sample.
type NotificationTestAnswer struct {
	Delivered bool `json:"delivered" example:"true"`
}

type (
	notificationConfigOut struct{ Body NotificationConfigAnswer }
	notificationTestOut   struct{ Body NotificationTestAnswer }
)

func (h console) registerAdminNotifications() {
	const path = "/api/console/admin/notifications/"
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getNotificationConfig", Method: http.MethodGet, Path: path + "config", Tags: []string{tagAdmin},
		Summary: "See how messages leave the installation",
	}, []string{"forbidden"}, func(ctx context.Context, _ *struct{}) (*notificationConfigOut, error) {
		c, err := h.Notifications.Config(ctx)
		return showNotificationConfig(c), err
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "updateNotificationConfig", Method: http.MethodPut, Path: path + "config", Tags: []string{tagAdmin},
		Summary:     "Set how messages leave the installation",
		Description: "It counts at once, in every process, also for messages that wait. The mail server is one of the system settings.",
	}, []string{"forbidden", "stale_version"}, h.updateNotificationConfig)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "testNotification", Method: http.MethodPost, Path: path + "test", Tags: []string{tagAdmin},
		Summary: "Send a sample", Description: "Sends a sample at once, through a channel as it has been set up, whether or not it is turned on.",
		Middlewares: huma.Middlewares{h.limited(h.AuthLimit)},
	}, []string{"forbidden", "channel_not_configured", "delivery_failed", "rate_limited"}, h.testNotification)
	h.registerDeliveries(path + "deliveries")
	h.registerDeliveryRetry(path + "deliveries")
}

func (h console) updateNotificationConfig(ctx context.Context, in *struct{ Body NotificationConfigChange }) (*notificationConfigOut, error) {
	change, err := in.Body.Config.NotificationDelivery.change()
	if err != nil {
		return nil, err
	}
	c, err := h.Notifications.Configure(ctx, change)
	return showNotificationConfig(c), err
}

func (u NotificationDeliveryUpdate) change() (notifications.Change, error) {
	const place = "body.config.notification_delivery."
	var c fault.Check
	write := func(name, value string, changed bool) *secret.Text {
		c.That(changed || value == "", place+name, "must come with %s_changed: true", name)
		if !changed {
			return nil
		}
		return new(secret.New(value))
	}
	out := notifications.Change{
		SlackOn: u.SlackEnabled, SlackChannel: u.SlackChannel,
		SlackWebhookURL: write("slack_webhook_url", u.SlackWebhookURL, u.SlackWebhookURLChanged),
		SlackBotToken:   write("slack_bot_token", u.SlackBotToken, u.SlackBotTokenChanged),
		TelegramOn:      u.TelegramEnabled, TelegramChatID: u.TelegramChatID,
		TelegramBotToken: write("telegram_bot_token", u.TelegramBotToken, u.TelegramBotTokenChanged),
		WebhookOn:        u.WebhookEnabled, WebhookURL: u.WebhookURL,
		WebhookSecret: write("webhook_secret", u.WebhookSecret, u.WebhookSecretChanged),
	}
	if u.EnabledChannels != nil {
		out.Enabled = &u.EnabledChannels
	}
	headers := map[string]secret.Text{}
	for name, value := range u.WebhookHeaders {
		c.That(u.WebhookHeadersChanged || value == notifications.Mask, place+"webhook_headers", "must come with webhook_headers_changed: true")
		headers[name] = secret.New(value)
	}
	if u.WebhookHeadersChanged {
		out.WebhookHeaders = &headers
	}
	return out, c.Err()
}

func (h console) testNotification(ctx context.Context, in *struct{ Body NotificationTest }) (*notificationTestOut, error) {
	err := h.Notifications.Try(ctx, in.Body.Channel, in.Body.Target, in.Body.Template)
	if fault.CodeOf(err) == "delivery_failed" { // nothing of ours is unavailable
		p := problem.From(ctx, h.api.Log, err)
		return nil, problem.New(ctx, http.StatusBadGateway, p.Code, p.Detail)
	}
	return &notificationTestOut{NotificationTestAnswer{Delivered: err == nil}}, err
}

func showNotificationConfig(c notifications.Config) *notificationConfigOut {
	d := NotificationDelivery{
		EnabledChannels: append([]string{}, c.Enabled...), SlackEnabled: c.SlackOn, SlackChannel: orNull(c.Slack.Channel),
		SlackWebhookConfigured: !c.Slack.WebhookURL.IsZero(), SlackBotTokenConfigured: !c.Slack.BotToken.IsZero(),
		TelegramEnabled: c.TelegramOn, TelegramChatID: orNull(c.Telegram.ChatID), TelegramBotTokenConfigured: !c.Telegram.BotToken.IsZero(),
		WebhookEnabled: c.WebhookOn, WebhookURL: orNull(notifications.ShownURL(c.Webhook.URL)), WebhookHeaders: map[string]string{},
		WebhookSecretConfigured: !c.Webhook.Secret.IsZero(), Unreadable: c.Unreadable,
	}
	for name := range maps.Keys(c.Webhook.Headers) {
		d.WebhookHeaders[name] = notifications.Mask
	}
	return &notificationConfigOut{NotificationConfigAnswer{NotificationConfig{d}}}
}
