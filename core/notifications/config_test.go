package notifications_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/app/channels"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

var noSecret secret.Text

// real is a world with the checks that real channels have.
func real(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.deps.Channels = channels.New(channels.Config{})
	w.remake()
	return w
}

func TestSecretsOfChannelsAreKeptSealed(t *testing.T) {
	t.Parallel()
	w := real(t)
	w.setUp()
	kept := coretest.Dump(w.store)
	for _, s := range []string{"hunter2", telegramID, "example.com/hook"} {
		if strings.Contains(kept, s) {
			t.Errorf("%q is in the store: %s", s, kept)
		}
	}
	c, err := w.Config(w.ctx)
	if err != nil || c.Slack.WebhookURL.Reveal() != hookURL || c.Slack.BotToken.Reveal() != slackToken || c.Telegram.BotToken.Reveal() != telegram ||
		c.Webhook.Secret.Reveal() != signing || c.Webhook.Headers["X-Key"].Reveal() != headerWord || c.Webhook.URL != "https://example.com/hook" || !c.SlackOn {
		t.Errorf("read back: %+v, %v", c, err)
	}
	var events page.Of[store.AuditEvent]
	w.tx(func(ctx context.Context, tx store.Tx) (err error) {
		events, err = tx.Audit().List(ctx, store.AuditFilter{}, page.Query{Limit: 10})
		return err
	})
	if len(events.Items) != 1 || events.Items[0].ResourceType != "notification_settings" || events.Items[0].Action != "update" || !events.Items[0].Security {
		t.Errorf("audit: %+v", events.Items)
	}
}

func TestAChangeLeavesWhatItDoesNotName(t *testing.T) {
	t.Parallel()
	w := real(t)
	w.setUp()
	c, err := w.Configure(w.ctx, notifications.Change{
		TelegramChatID: new("7"), SlackWebhookURL: &noSecret,
		WebhookHeaders: &map[string]secret.Text{"X-Key": secret.New(notifications.Mask), "X-More": secret.New("more")},
	})
	if err != nil || c.Telegram.ChatID != "7" || !c.Slack.WebhookURL.IsZero() || c.Slack.BotToken.Reveal() != slackToken || !c.WebhookOn ||
		c.Webhook.Headers["X-Key"].Reveal() != headerWord || c.Webhook.Headers["X-More"].Reveal() != "more" {
		t.Errorf("%+v, %v", c, err)
	}
	if again, err := w.Config(w.ctx); err != nil || again.Telegram.ChatID != "7" || len(again.Webhook.Headers) != 2 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestChannelsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	const place = "body.config.notification_delivery."
	for name, c := range map[string]struct {
		change notifications.Change
		want   string
	}{
		"an unknown channel":       {notifications.Change{Enabled: &[]string{"pigeon"}}, "enabled_channels"},
		"a channel twice":          {notifications.Change{Enabled: &[]string{"email", "email"}}, "enabled_channels"},
		"Slack without anything":   {notifications.Change{SlackOn: new(true)}, "slack_webhook_url"},
		"Slack in clear":           {notifications.Change{SlackWebhookURL: new(secret.New("http://hooks.example.com/x"))}, "slack_webhook_url"},
		"no bot token":             {notifications.Change{SlackBotToken: new(secret.New("hunter2"))}, "slack_bot_token"},
		"Telegram without a token": {notifications.Change{TelegramOn: new(true)}, "telegram_bot_token"},
		"no chat":                  {notifications.Change{TelegramOn: new(true), TelegramBotToken: new(secret.New(telegram)), TelegramChatID: new("a b")}, "telegram_chat_id"},
		"a webhook without a URL":  {notifications.Change{WebhookOn: new(true)}, "webhook_url"},
		"a webhook at home":        {notifications.Change{WebhookURL: new("http://127.0.0.1/")}, "webhook_url"},
		"a webhook in the cloud":   {notifications.Change{WebhookURL: new("http://169.254.169.254/latest")}, "webhook_url"},
		"our own header": {notifications.Change{
			WebhookURL:     new("https://example.com/"),
			WebhookHeaders: &map[string]secret.Text{"X-Hub-Signature-256": secret.New("x")},
		}, "webhook_headers"},
		"a masked header that is new": {notifications.Change{
			WebhookURL:     new("https://example.com/"),
			WebhookHeaders: &map[string]secret.Text{"X-Key": secret.New(notifications.Mask)},
		}, "webhook_headers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := real(t)
			before := coretest.Dump(w.store)
			_, err := w.Configure(w.ctx, c.change)
			if got := refusedAt(err); !slices.Equal(got, []string{place + c.want}) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v: %v", got, err)
			}
			if coretest.Dump(w.store) != before {
				t.Error("something was changed")
			}
		})
	}
}

func TestOnlyAdministratorsConfigure(t *testing.T) {
	t.Parallel()
	w := real(t)
	for _, role := range []actor.Role{actor.User, actor.Operator} {
		ctx := coretest.As(t.Context(), w.ada, role)
		_, err1 := w.Config(ctx)
		_, err2 := w.Configure(ctx, notifications.Change{})
		_, err3 := w.Deliveries(ctx, store.DeliveryFilter{}, page.Query{})
		for _, err := range []error{err1, err2, err3, w.Try(ctx, "email", mailbox, "welcome")} {
			if !errors.Is(err, fault.Denied) {
				t.Errorf("%s: %v", role, err)
			}
		}
	}
}

// racing writes the settings in the moment before another does.
type racing struct {
	store.Store
	before func()
}

func (r *racing) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if f := r.before; f != nil {
		r.before = nil
		f()
	}
	return r.Store.InTx(ctx, do)
}

// TestOfTwoChangesAtOnceBothAreMade, unless there is no end of them.
func TestOfTwoChangesAtOnceBothAreMade(t *testing.T) {
	t.Parallel()
	w := real(t)
	first := w.Service
	race := &racing{Store: w.store}
	other := func() {
		if _, err := first.Configure(w.ctx, notifications.Change{TelegramChatID: new("7")}); err != nil {
			t.Error(err)
		}
	}
	race.before = other
	w.deps.Store = race
	w.remake()
	if c, err := w.Configure(w.ctx, notifications.Change{SlackChannel: new("C8")}); err != nil || c.Telegram.ChatID != "7" || c.Slack.Channel != "C8" {
		t.Errorf("%+v, %v", c, err)
	}
	var again func()
	again = func() { other(); race.before = again }
	race.before = again
	if _, err := w.Configure(w.ctx, notifications.Change{SlackChannel: new("C9")}); fault.CodeOf(err) != "stale_version" {
		t.Errorf("%v", err)
	}
}

// TestWhatCannotBeReadIsSetAnew: it is told, takes nothing from anybody meanwhile,
// and is mended with new secrets.
func TestWhatCannotBeReadIsSetAnew(t *testing.T) {
	for name, spoil := range map[string]func(*world){
		"another key": func(w *world) { w.deps.Seal = keyseal.New([32]byte{2}) },
		"damaged": func(w *world) {
			w.spoil(func(s *store.Setting) { s.Value = []byte(`[]`) })
		},
		"the secrets are damaged": func(w *world) {
			w.spoil(func(s *store.Setting) { s.Sealed[len(s.Sealed)-1] ^= 1 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.deps.Channels = channels.New(channels.Config{})
				w.remake()
				w.setUp()
				spoil(w)
				w.remake()
				if c, err := w.Config(w.ctx); err != nil || !c.Unreadable {
					t.Errorf("%+v, %v", c, err)
				}
				kept := coretest.Dump(w.store)
				_, err := w.Configure(w.ctx, notifications.Change{SlackChannel: new("C8")})
				if got := refusedAt(err); !slices.Equal(got, []string{"body.config.notification_delivery"}) || coretest.Dump(w.store) != kept {
					t.Errorf("without a secret: %v", err)
				}
				if err := w.Try(w.ctx, "slack", slackUser, "welcome"); fault.CodeOf(err) != "channel_not_configured" || fault.KindOf(err) != fault.Conflict {
					t.Errorf("tried: %v", err)
				}
				c := w.cluster()
				w.change(c.ID, func(c *clusters.Cluster) { c.Fail("The quota is used up.", now()) })
				w.setUp()
				if c, err := w.Config(w.ctx); err != nil || c.Unreadable || c.Slack.BotToken.Reveal() != slackToken {
					t.Errorf("mended: %+v, %v", c, err)
				}
			})
		})
	}
}

// TestAMessageWaitsForSettingsThatCannotBeRead.
func TestAMessageWaitsForSettingsThatCannotBeRead(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.setUp(func(c *notifications.Change) { c.Enabled = new([]string{"webhook"}) })
		c := w.cluster()
		w.change(c.ID, func(c *clusters.Cluster) { c.Fail("The quota is used up.", now()) })
		w.spoil(func(s *store.Setting) { s.Sealed[len(s.Sealed)-1] ^= 1 })
		defer w.run("a")()
		pass(time.Minute)
		if d := w.only(); d.Status != store.DeliveryPending || !strings.Contains(d.LastError, "cannot be read") {
			t.Errorf("meanwhile: %+v", d)
		}
		w.setUp()
		pass(10 * time.Minute)
		if got := w.out.received(); len(got) != 1 {
			t.Errorf("mended: %+v", got)
		}
	})
}

// spoil changes the section as it is stored.
func (w *world) spoil(how func(*store.Setting)) {
	w.t.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Settings().All(ctx)
		if err != nil || len(all) != 1 {
			return errors.Join(err, errors.New("there is no section"))
		}
		how(&all[0])
		return tx.Settings().Put(ctx, &all[0])
	})
}

// TestAWebhooksTokenIsNotShown, and what was shown may be sent back.
func TestAWebhooksTokenIsNotShown(t *testing.T) {
	t.Parallel()
	w := real(t)
	const address = "https://example.com/hook?token=hunter2"
	w.setUp(func(c *notifications.Change) { c.WebhookURL = new(address) })
	shown := notifications.ShownURL(address)
	if shown != "https://example.com/hook?"+notifications.Mask || notifications.ShownURL("https://example.com/hook") != "https://example.com/hook" {
		t.Errorf("shown: %s", shown)
	}
	if c, err := w.Configure(w.ctx, notifications.Change{WebhookURL: &shown}); err != nil || c.Webhook.URL != address {
		t.Errorf("sent back: %+v, %v", c, err)
	}
	for _, bad := range []string{"https://other.example.com/hook?" + notifications.Mask, "https://ada:hunter2@example.com/hook"} {
		if _, err := w.Configure(w.ctx, notifications.Change{WebhookURL: &bad}); !slices.Equal(refusedAt(err), []string{"body.config.notification_delivery.webhook_url"}) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := coretest.As(t.Context(), w.ada, actor.User)
	if p, err := w.Preferences(ctx); err != nil || !p.Email || p.Slack || p.Telegram || !p.UpdatedAt.IsZero() {
		t.Errorf("of somebody who has never said: %+v, %v", p, err)
	}
	for name, c := range map[string]struct {
		wish notifications.Wish
		want string
	}{
		"Slack without a target":   {notifications.Wish{Slack: new(true)}, "body.slack_target"},
		"a target that is none":    {notifications.Wish{SlackTarget: new("#general")}, "body.slack_target"},
		"a target with a newline":  {notifications.Wish{SlackTarget: new("U012AB3CD\n")}, "body.slack_target"},
		"Telegram without a chat":  {notifications.Wish{Telegram: new(true)}, "body.telegram_chat_id"},
		"a chat that is none":      {notifications.Wish{TelegramChatID: new("@ada")}, "body.telegram_chat_id"},
		"a chat that is a formula": {notifications.Wish{TelegramChatID: new("1e9")}, "body.telegram_chat_id"},
	} {
		if _, err := w.Prefer(ctx, c.wish); !slices.Equal(refusedAt(err), []string{c.want}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, err := w.Prefer(ctx, notifications.Wish{Slack: new(true), SlackTarget: new(slackUser)}); err != nil || !p.Email || !p.Slack {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := w.Prefer(ctx, notifications.Wish{SlackTarget: new("")}); !slices.Equal(refusedAt(err), []string{"body.slack_target"}) {
		t.Errorf("the target taken away: %v", err)
	}
	if p, err := w.Preferences(ctx); err != nil || p.SlackTarget != slackUser || p.UpdatedAt.IsZero() {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err := w.Preferences(w.ctx); err != nil || p.Slack {
		t.Errorf("of somebody else: %+v, %v", p, err)
	}
}

func TestASampleIsTriedAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		if err := w.Try(w.ctx, "slack", slackUser, "welcome"); !errors.Is(err, fault.Conflict) || fault.CodeOf(err) != "channel_not_configured" {
			t.Errorf("a channel that is not there: %v", err)
		}
		w.setUp(func(c *notifications.Change) { c.SlackOn = new(false) })
		if err := w.Try(w.ctx, "slack", slackUser, "welcome"); err != nil {
			t.Error(err)
		}
		if err := w.Try(w.ctx, "email", "", "welcome"); !slices.Equal(refusedAt(err), []string{"body.target"}) {
			t.Errorf("mail to nobody: %v", err)
		}
		if err := w.Try(w.ctx, "webhook", "somewhere", "welcome"); !slices.Equal(refusedAt(err), []string{"body.target"}) {
			t.Errorf("a webhook of somebody's: %v", err)
		}
		got := w.out.received()
		if len(got) != 1 || got[0].To != slackUser || got[0].Event != "welcome" || len(w.deliveries()) > 0 {
			t.Errorf("received: %+v", got)
		}
		w.out.fails(func(context.Context, string, notify.Message) error {
			return notify.Refused("Slack", "channel_not_found")
		})
		if err := w.Try(w.ctx, "slack", slackUser, "order-paid"); fault.CodeOf(err) != "delivery_failed" || !strings.Contains(err.Error(), "channel_not_found") {
			t.Errorf("refused: %v", err)
		}
		w.out.fails(func(ctx context.Context, _ string, _ notify.Message) error { <-ctx.Done(); return ctx.Err() })
		if err := w.Try(w.ctx, "slack", slackUser, "welcome"); fault.CodeOf(err) != "delivery_failed" || !strings.Contains(err.Error(), "20 seconds") {
			t.Errorf("hangs: %v", err)
		}
		var events page.Of[store.AuditEvent]
		w.tx(func(ctx context.Context, tx store.Tx) (err error) {
			events, err = tx.Audit().List(ctx, store.AuditFilter{Action: "test"}, page.Query{Limit: 10})
			return err
		})
		var results []string
		for _, e := range events.Items {
			results = append(results, e.Result)
			if !e.Security || !strings.Contains(e.Message, "slack to U0***") || strings.Contains(e.Message, slackUser) {
				t.Errorf("audit: %+v", e)
			}
		}
		slices.Sort(results)
		if !slices.Equal(results, []string{"failure", "failure", "success"}) {
			t.Errorf("audit: %v", results)
		}
	})
}
