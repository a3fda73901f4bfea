package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/store"
)

// NotificationSettings say where somebody wants to hear of things.
type NotificationSettings struct {
	EmailNotifications    bool            `json:"email_notifications" example:"true"`
	SlackNotifications    bool            `json:"slack_notifications" example:"true"`
	SlackTarget           *string         `json:"slack_target" example:"U012AB3CD"`
	TelegramNotifications bool            `json:"telegram_notifications" example:"false"`
	TelegramChatID        *string         `json:"telegram_chat_id" example:"123456789"`
	UpdatedAt             *operation.Time `json:"updated_at" nullable:"true" doc:"null: nothing was ever chosen."`
}

// NotificationSettingsAnswer holds the settings.
type NotificationSettingsAnswer struct {
	Settings NotificationSettings `json:"settings"`
}

// NotificationSettingsUpdate is what is to be different. What is left out or null
// stays.
type NotificationSettingsUpdate struct {
	EmailNotifications    *bool   `json:"email_notifications,omitempty" example:"true"`
	SlackNotifications    *bool   `json:"slack_notifications,omitempty" doc:"true needs a slack_target." example:"true"`
	SlackTarget           *string `json:"slack_target,omitempty" doc:"The ID of a Slack user, direct message or channel. Empty clears it." example:"U012AB3CD"`
	TelegramNotifications *bool   `json:"telegram_notifications,omitempty" doc:"true needs a telegram_chat_id." example:"false"`
	TelegramChatID        *string `json:"telegram_chat_id,omitempty" doc:"The number of a chat that the installation's bot may write to. Empty clears it." example:"123456789"`
	UpdatedAt             *string `json:"updated_at,omitempty" doc:"Passed by." example:"2026-04-23T07:50:00.000Z"`
}

type notificationSettingsOut struct{ Body NotificationSettingsAnswer }

func (h console) registerPreferences() {
	const path = "/api/console/settings/notifications"
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getNotificationSettings", Method: http.MethodGet, Path: path, Tags: []string{tagAccount},
		Summary: "See where one hears of things",
	}, nil, func(ctx context.Context, _ *struct{}) (*notificationSettingsOut, error) {
		p, err := h.Notifications.Preferences(ctx)
		return showPreferences(p), err
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "updateNotificationSettings", Method: http.MethodPut, Path: path, Tags: []string{tagAccount},
		Summary:     "Choose where one hears of things",
		Description: "Personal messages go to these targets and nowhere else, as far as the installation has the channel.",
	}, nil, func(ctx context.Context, in *struct{ Body NotificationSettingsUpdate }) (*notificationSettingsOut, error) {
		p, err := h.Notifications.Prefer(ctx, notifications.Wish{
			Email: in.Body.EmailNotifications, Slack: in.Body.SlackNotifications, SlackTarget: in.Body.SlackTarget,
			Telegram: in.Body.TelegramNotifications, TelegramChatID: in.Body.TelegramChatID,
		})
		return showPreferences(p), err
	})
}

func showPreferences(p store.Preferences) *notificationSettingsOut {
	out := NotificationSettings{
		EmailNotifications: p.Email, SlackNotifications: p.Slack, SlackTarget: orNull(p.SlackTarget),
		TelegramNotifications: p.Telegram, TelegramChatID: orNull(p.TelegramChatID),
	}
	if !p.UpdatedAt.IsZero() {
		out.UpdatedAt = operation.MaybeAt(&p.UpdatedAt)
	}
	return &notificationSettingsOut{NotificationSettingsAnswer{out}}
}
