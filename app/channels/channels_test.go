package channels_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/app/channels"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ notify.Channels = (*channels.Channels)(nil)

// TestEachChannelReachesItsServer, those on this machine only where the
// configuration admits it; a mail server may be anywhere.
func TestEachChannelReachesItsServer(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var paths []string
	s := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths = append(paths, r.URL.Path)
		mu.Unlock()
		_, _ = rw.Write([]byte(`{"ok":true,"ts":"1.2","result":{"message_id":1}}`))
	}))
	defer s.Close()
	open := channels.Config{
		Admit: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Roots: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
		SlackURL: s.URL + "/slack/", TelegramURL: s.URL,
	}
	const telegramToken = "123456789:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	each := func(c *channels.Channels) map[string]func() (notify.Notifier, error) {
		return map[string]func() (notify.Notifier, error){
			"/slack/chat.postMessage": func() (notify.Notifier, error) {
				return c.Slack(notify.Slack{BotToken: secret.New("xoxb-0000000000"), Channel: "C1"})
			},
			"/bot" + telegramToken + "/sendMessage": func() (notify.Notifier, error) {
				return c.Telegram(notify.Telegram{BotToken: secret.New(telegramToken), ChatID: "1"})
			},
			"/hook": func() (notify.Notifier, error) { return c.Webhook(notify.Webhook{URL: s.URL + "/hook"}) },
		}
	}
	m := notify.Message{ID: "ntf_1", Event: "welcome", Subject: "Hello"}
	for path, channel := range each(channels.New(open)) {
		n, err := channel()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		paths = nil
		if err := n.Deliver(t.Context(), m); err != nil || len(paths) != 1 || paths[0] != path {
			t.Errorf("%s: %v, and the server saw %v", path, err, paths)
		}
	}
	closed := open
	closed.Admit, paths = nil, nil
	for path, channel := range each(channels.New(closed)) {
		n, err := channel()
		if err == nil {
			err = n.Deliver(t.Context(), m)
		}
		if !errors.Is(err, fault.Denied) && !errors.Is(err, fault.Invalid) || len(paths) > 0 {
			t.Errorf("%s, not admitted: %v, and the server saw %v", path, err, paths)
		}
	}
}

func TestWrongSettingsMakeNoNotifier(t *testing.T) {
	t.Parallel()
	c := channels.New(channels.Config{})
	for name, channel := range map[string]func() (notify.Notifier, error){
		"email": func() (notify.Notifier, error) { return c.Email(notify.SMTP{}) }, "slack": func() (notify.Notifier, error) { return c.Slack(notify.Slack{}) },
		"telegram": func() (notify.Notifier, error) { return c.Telegram(notify.Telegram{}) }, "webhook": func() (notify.Notifier, error) { return c.Webhook(notify.Webhook{}) },
	} {
		if n, err := channel(); n != nil || !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, %v", name, n, err)
		}
	}
	n, err := c.Email(notify.SMTP{Host: "10.0.0.1", Port: 25, TLS: notify.TLSNone, From: "noreply@example.com"})
	if n == nil || err != nil {
		t.Errorf("a relay in a private network: %v, %v", n, err)
	}
}
