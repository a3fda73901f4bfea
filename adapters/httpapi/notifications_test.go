package httpapi_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/messagetext"
	"github.com/kubebyon/kubebyon/app/channels"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// couriers check settings as real ones do, and take every message themselves.
type couriers struct {
	real *channels.Channels

	mu     sync.Mutex
	taken  []notify.Message
	refuse error
}

func (c *couriers) made(_ notify.Notifier, err error) (notify.Notifier, error) {
	if err != nil {
		return nil, err
	}
	return notify.NotifierFunc(func(_ context.Context, m notify.Message) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.refuse == nil {
			c.taken = append(c.taken, m)
		}
		return c.refuse
	}), nil
}

func (c *couriers) Email(s notify.SMTP) (notify.Notifier, error)  { return c.made(c.real.Email(s)) }
func (c *couriers) Slack(s notify.Slack) (notify.Notifier, error) { return c.made(c.real.Slack(s)) }
func (c *couriers) Telegram(s notify.Telegram) (notify.Notifier, error) {
	return c.made(c.real.Telegram(s))
}

func (c *couriers) Webhook(s notify.Webhook) (notify.Notifier, error) {
	return c.made(c.real.Webhook(s))
}

func (w *world) notifications(sealer seal.Sealer) (*notifications.Service, error) {
	words, err := messagetext.New()
	if err != nil {
		return nil, err
	}
	w.couriers = &couriers{real: channels.New(channels.Config{})}
	w.messages, err = notifications.New(notifications.Deps{
		Store: w.store, Seal: sealer, Channels: w.couriers, Composer: words, Now: w.clock.now, Random: w.random.id,
		SMTP: func(context.Context, store.Tx) (notify.SMTP, bool, error) {
			return notify.SMTP{Host: "mail.example.com", Port: 25, TLS: notify.TLSNone, From: "noreply@example.com"}, true, nil
		},
		BaseURL: func(context.Context, store.Tx) string { return "" },
	})
	return w.messages, err
}

const (
	preferencesPath = "/api/console/settings/notifications"
	channelsPath    = "/api/console/admin/notifications/config"
	tryPath         = "/api/console/admin/notifications/test"
	deliveriesPath  = "/api/console/admin/notifications/deliveries"
)

func TestPeopleChooseWhereTheyHearOfThings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	first := ada.do("GET", preferencesPath, nil).want(200, "")
	for field, want := range map[string]any{
		"email_notifications": true, "slack_notifications": false, "slack_target": nil, "telegram_notifications": false, "telegram_chat_id": nil, "updated_at": nil,
	} {
		if got := first.at("settings", field); got != want {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
	ada.do("PUT", preferencesPath, map[string]any{"slack_notifications": true}).want(400, "validation_failed")
	ada.do("PUT", preferencesPath, map[string]any{"telegram_notifications": true}).want(400, "validation_failed")
	ada.do("PUT", preferencesPath, map[string]any{"slack_target": "#general"}).want(400, "validation_failed")
	r := ada.do("PUT", preferencesPath, map[string]any{"slack_notifications": true, "slack_target": "U012AB3CD", "telegram_chat_id": "-42"}).want(200, "")
	if r.at("settings", "slack_target") != "U012AB3CD" || r.at("settings", "telegram_chat_id") != "-42" || r.at("settings", "updated_at") == nil {
		t.Errorf("%s", r.Body)
	}
	again := ada.do("PUT", preferencesPath, r.at("settings")).want(200, "") // what was read may be sent back
	if again.at("settings", "slack_notifications") != true {
		t.Errorf("%s", again.Body)
	}
	if other := w.as(otherEmail).do("GET", preferencesPath, nil).want(200, ""); other.at("settings", "slack_target") != nil {
		t.Errorf("of somebody else: %s", other.Body)
	}
}

func TestAdministratorsSetUpChannels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.as(adminEmail)
	put := func(delivery map[string]any) answer {
		return admin.do("PUT", channelsPath, map[string]any{"config": map[string]any{"notification_delivery": delivery}})
	}
	const hook, bot, signing = "https://hooks.slack.example.com/services/T0/B0/hunter2", "xoxb-hunter2-hunter2", "hunter2-signing"
	r := put(map[string]any{
		"enabled_channels": []string{"email", "slack", "webhook"}, "slack_enabled": true, "slack_channel": "C1",
		"slack_webhook_url": hook, "slack_webhook_url_changed": true, "slack_bot_token": bot, "slack_bot_token_changed": true,
		"webhook_enabled": true, "webhook_url": "https://example.com/hook", "webhook_secret": signing, "webhook_secret_changed": true,
		"webhook_headers": map[string]string{"X-Key": "hunter2-header"}, "webhook_headers_changed": true,
	}).want(200, "")
	read := admin.do("GET", channelsPath, nil).want(200, "")
	for _, a := range []answer{r, read} {
		if strings.Contains(a.Body.String(), "hunter2") || a.Body.String() != r.Body.String() {
			t.Errorf("%s", a.Body)
		}
	}
	at := func(field string) any { return read.at("config", "notification_delivery", field) }
	if at("slack_webhook_configured") != true || at("slack_bot_token_configured") != true || at("webhook_secret_configured") != true ||
		at("telegram_bot_token_configured") != false || at("webhook_url") != "https://example.com/hook" {
		t.Errorf("%s", read.Body)
	}
	if headers, _ := at("webhook_headers").(map[string]any); len(headers) != 1 || headers["X-Key"] != notifications.Mask {
		t.Errorf("headers: %v", headers)
	}
	if back := admin.do("PUT", channelsPath, read.json()).want(200, ""); back.Body.String() != read.Body.String() {
		t.Errorf("sent back: %s", back.Body)
	}
	for field, value := range map[string]any{
		"slack_webhook_url": hook, "slack_bot_token": bot, "webhook_secret": signing, "telegram_bot_token": "1:x", "webhook_headers": map[string]string{"A": "hunter2"},
		"enabled_channels": []string{"pigeon"}, "webhook_url": "http://10.0.0.1/", "telegram_enabled": true, "pigeon": true,
	} {
		a := put(map[string]any{field: value}).want(400, "validation_failed")
		if strings.Contains(a.Body.String(), "hunter2") {
			t.Errorf("%s: %s", field, a.Body)
		}
	}
	if after := admin.do("GET", channelsPath, nil).want(200, ""); after.Body.String() != read.Body.String() {
		t.Errorf("refused, and yet: %s", after.Body)
	}
	events := admin.do("GET", "/api/console/admin/activities?resource_type=notification_settings", nil).want(200, "")
	if n := len(events.list("activities")); n != 2 || strings.Contains(events.Body.String(), "hunter2") {
		t.Errorf("%d events: %s", n, events.Body)
	}
	if strings.Contains(w.log.String(), "hunter2") {
		t.Errorf("logged: %s", w.log)
	}
}

// TestChannelsThatCannotBeReadAreMended over the API that tells of them.
func TestChannelsThatCannotBeReadAreMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.as(adminEmail)
	put := func(delivery map[string]any) answer {
		return admin.do("PUT", channelsPath, map[string]any{"config": map[string]any{"notification_delivery": delivery}})
	}
	hook := map[string]any{"webhook_enabled": true, "webhook_url": "https://example.com/hook?token=hunter2"}
	put(hook).want(200, "")
	err := w.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Settings().All(ctx)
		for _, s := range all {
			if s.Name == "notification_delivery" {
				s.Sealed[len(s.Sealed)-1] ^= 1
				err = tx.Settings().Put(ctx, &s)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	lists := func(want bool) {
		t.Helper()
		said := admin.do("GET", "/api/console/admin/system-settings", nil).want(200, "")
		read := admin.do("GET", channelsPath, nil).want(200, "")
		if strings.Contains(said.Body.String(), `"notification_delivery"`) != want || read.at("config", "notification_delivery", "unreadable") != want {
			t.Errorf("%s\n%s", said.Body, read.Body)
		}
	}
	lists(true)
	admin.do("PUT", channelsPath, admin.do("GET", channelsPath, nil).json()).want(400, "validation_failed")
	if r := put(hook).want(200, ""); strings.Contains(r.Body.String(), "hunter2") || r.at("config", "notification_delivery", "webhook_url") != "https://example.com/hook?"+notifications.Mask {
		t.Errorf("%s", r.Body)
	}
	lists(false)
	admin.do("PUT", channelsPath, admin.do("GET", channelsPath, nil).json()).want(200, "")
}

func TestASampleIsSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.as(adminEmail)
	ask := map[string]any{"channel": "email", "target": "ada@example.com", "template": "order-paid"}
	if r := admin.do("POST", tryPath, ask).want(200, ""); r.at("delivered") != true || len(w.couriers.taken) != 1 || w.couriers.taken[0].To != "ada@example.com" {
		t.Errorf("%s: %+v", r.Body, w.couriers.taken)
	}
	admin.do("POST", tryPath, map[string]any{"channel": "slack", "target": "U012AB3CD", "template": "welcome"}).want(409, "channel_not_configured")
	admin.do("POST", tryPath, map[string]any{"channel": "email", "template": "welcome"}).want(400, "validation_failed")
	admin.do("POST", tryPath, map[string]any{"channel": "email", "target": "a@example.com", "template": "verification-code"}).want(400, "validation_failed")
	w.couriers.refuse = notify.Refused("The mail server", "no such user")
	if r := admin.do("POST", tryPath, ask).want(502, "delivery_failed"); !strings.Contains(r.Body.String(), "no such user") {
		t.Errorf("%s", r.Body)
	}
}

func TestTheLogOfDeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, err := id.Parse[id.UserKind](w.as(userEmail).do("GET", "/api/auth/me", nil).want(200, "").text("user", "id"))
	if err != nil {
		t.Fatal(err)
	}
	for i, template := range []string{"welcome", "verification-code", "welcome"} {
		w.clock.advance(time.Second)
		l := identity.Letter{To: userEmail, Template: template, Key: string(rune('a' + i)), UserID: ada, Data: map[string]string{"name": "Ada", "code": "493817", "minutes": "10"}}
		if err := w.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error { return w.messages.Send(ctx, tx, l) }); err != nil {
			t.Fatal(err)
		}
	}
	admin := w.as(adminEmail)
	r := admin.do("GET", deliveriesPath, nil).want(200, "")
	newest, _ := r.list("deliveries")[0].(map[string]any)
	sameKeys(t, newest, strings.Fields("id channel template user_id target status attempts last_error due_at created_at updated_at delivered_at"))
	if strings.Contains(r.Body.String(), userEmail) || strings.Contains(r.Body.String(), "493817") || newest["user_id"] != ada.String() || newest["status"] != "pending" {
		t.Errorf("%s", r.Body)
	}
	for query, want := range map[string]int{
		"": 3, "?template=welcome": 2, "?channel=slack": 0, "?channel=email&status=pending": 3, "?status=dead": 0, "?limit=2": 2, "?user_id=" + ada.String(): 3,
		"?user_id=usr_06evjm9m80zy3f60rzw2n56twg": 0,
	} {
		if n := len(admin.do("GET", deliveriesPath+query, nil).want(200, "").list("deliveries")); n != want {
			t.Errorf("%q gave %d, want %d", query, n, want)
		}
	}
	next, _ := admin.do("GET", deliveriesPath+"?limit=2", nil).want(200, "").at("next_cursor").(string)
	if n := len(admin.do("GET", deliveriesPath+"?limit=2&cursor="+next, nil).want(200, "").list("deliveries")); n != 1 {
		t.Errorf("the second page has %d", n)
	}
	for _, query := range []string{"status=lost", "user_id=7", "cursor=x", "channel=pigeon"} {
		admin.do("GET", deliveriesPath+"?"+query, nil).want(400, "validation_failed")
	}
	w.as(operatorMail).do("GET", deliveriesPath, nil).want(403, "forbidden")
}

func TestAMessageThatWasGivenUpIsSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := deliveriesPath + "/" + w.givenUp(userEmail) + "/retry"
	w.as(operatorMail).do("POST", path, nil).want(403, "forbidden")
	admin := w.as(adminEmail)
	r := admin.do("POST", path, nil).want(200, "")
	if r.at("delivery", "status") != "pending" || r.at("delivery", "due_at") == nil || strings.Contains(r.Body.String(), userEmail) {
		t.Errorf("%s", r.Body)
	}
	admin.do("POST", path, nil).want(409, "delivery_not_dead")
	for _, unknown := range []string{"x", "ntf_06evjm9m80zy3f60rzw2n56twg"} {
		admin.do("POST", deliveriesPath+"/"+unknown+"/retry", nil).want(404, "delivery_not_found")
	}
	if !strings.Contains(admin.do("GET", "/api/console/admin/activities", nil).want(200, "").Body.String(), "notification_delivery") {
		t.Error("the audit stream says nothing of it")
	}
}
