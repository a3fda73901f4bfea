package slacknotify_test

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/outbound"
	"github.com/kubebyon/kubebyon/adapters/slacknotify"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/notify/notifytest"
)

var loopbacks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func notifier(t *testing.T, p *peer, s notify.Slack) *slacknotify.Notifier {
	t.Helper()
	roots := p.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	n, err := slacknotify.New(s, slacknotify.Config{Client: outbound.New(outbound.Config{Admit: loopbacks, Roots: roots}), APIURL: p.URL + "/api/"})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func bot() notify.Slack { return notify.Slack{BotToken: secret.New(token), Channel: channel} }

func byHook(p *peer) notify.Slack { return notify.Slack{WebhookURL: secret.New(p.URL + hook)} }

func TestBot(t *testing.T) {
	t.Parallel()
	notifytest.Run(t, notifytest.Harness{
		New: func(t *testing.T) (notify.Notifier, notifytest.Server) {
			p := newPeer(t)
			return notifier(t, p, bot()), p
		},
		To:      person,
		NotTo:   []string{"ada@example.com", "C1,C2", "C1\r\nX: y", "<!channel>", "#", strings.Repeat("a", 82), "a b"},
		Secrets: []string{"hunter2", "hunter3"},
		MaxText: 4000,
		WhyNoID: "a Slack message has no place for an ID that its reader sees",
	})
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	notifytest.Run(t, notifytest.Harness{
		New: func(t *testing.T) (notify.Notifier, notifytest.Server) {
			p := newPeer(t)
			return notifier(t, p, byHook(p)), p
		},
		NotTo:       []string{"ada@example.com"},
		Secrets:     []string{"hunter2", "hunter3", "T0001"},
		MaxText:     4000,
		WhyNoID:     "a Slack message has no place for an ID that its reader sees",
		WhyNoBabble: "a webhook of Slack's form answers 200, and not all say ok",
	})
}

func hello(to string) notify.Message {
	return notify.Message{ID: "ntf_1", Event: "welcome", To: to, Subject: "Hello", Text: "Hello."}
}

// TestWhoGetsWhat: what is for a person never goes to a channel of all.
func TestWhoGetsWhat(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	both := byHook(p)
	both.BotToken, both.Channel = secret.New(token), channel
	nowhere := bot()
	nowhere.Channel = ""
	for name, c := range map[string]struct {
		settings notify.Slack
		to, at   string
		want     fault.Kind
	}{
		"bot, a person":         {bot(), person, person, ""},
		"bot, nobody":           {bot(), "", channel, ""},
		"bot without a channel": {nowhere, "", "", fault.Invalid},
		"webhook, nobody":       {byHook(p), "", "", ""},
		"webhook, a person":     {byHook(p), person, "", fault.Denied},
		"both, a person":        {both, person, person, ""},
		"both, nobody":          {both, "", "", ""},
	} {
		before := len(p.Received())
		err := notifier(t, p, c.settings).Deliver(t.Context(), hello(c.to))
		got := p.Received()[before:]
		if c.want != "" && (!errors.Is(err, c.want) || len(got) > 0) || c.want == "" && (err != nil || len(got) != 1 || got[0].To != c.at) {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
}

func TestTextIsNotFormatted(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	if err := notifier(t, p, bot()).Deliver(t.Context(), hello(person)); err != nil {
		t.Fatal(err)
	}
	if e := p.extras[0]; e["mrkdwn"] != "false" || e["parse"] == "full" || e["link_names"] != "" || e["unfurl_links"] == "true" || e["unfurl_media"] != "false" {
		t.Errorf("sent with %v", e)
	}
}

// TestSlacksWordsHaveTheirMeaning, in all the forms in which Slack says them.
func TestSlacksWordsHaveTheirMeaning(t *testing.T) {
	t.Parallel()
	api := func(body string) func(http.ResponseWriter) {
		return func(rw http.ResponseWriter) { _, _ = io.WriteString(rw, body) }
	}
	plain := func(status int, body string) func(http.ResponseWriter) {
		return func(rw http.ResponseWriter) { http.Error(rw, body, status) }
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		byHook bool
		want   fault.Kind
		says   string
	}{
		"invalid_auth":             {api(`{"ok":false,"error":"invalid_auth"}`), false, fault.Denied, "invalid_auth"},
		"missing_scope":            {api(`{"ok":false,"error":"missing_scope","needed":"chat:write","provided":"x"}`), false, fault.Denied, "missing_scope"},
		"channel_not_found":        {api(`{"ok":false,"error":"channel_not_found"}`), false, fault.Invalid, "channel_not_found"},
		"not_in_channel":           {api(`{"ok":false,"error":"not_in_channel"}`), false, fault.Invalid, "not_in_channel"},
		"ratelimited":              {api(`{"ok":false,"error":"ratelimited"}`), false, fault.Unavailable, "ratelimited"},
		"fatal_error":              {api(`{"ok":false,"error":"fatal_error"}`), false, fault.Unavailable, "fatal_error"},
		"an empty object":          {api(`{}`), false, fault.Unavailable, "understood"},
		"not ok, without a reason": {api(`{"ok":false}`), false, fault.Unavailable, "understood"},
		"no words":                 {api(`{"ok":false,"error":"Your token ` + token + ` is bad"}`), false, fault.Unavailable, "understood"},
		"a list":                   {api(`[]`), false, fault.Unavailable, "understood"},
		"429 without a time":       {plain(429, ""), false, fault.Unavailable, "429"},
		"500":                      {plain(500, "<html>"), false, fault.Unavailable, "500"},
		"404":                      {plain(404, "<html>"), false, fault.Invalid, "404"},
		"no_service":               {plain(404, "no_service"), true, fault.Denied, "no_service"},
		"invalid_payload":          {plain(400, "invalid_payload"), true, fault.Invalid, "invalid_payload"},
		"channel_not_found, hook":  {plain(404, "channel_not_found"), true, fault.Invalid, "channel_not_found"},
		"action_prohibited":        {plain(403, "action_prohibited"), true, fault.Denied, "action_prohibited"},
		"a page":                   {plain(403, "<html>"+hook), true, fault.Denied, "403 Forbidden"},
		"rollup_error":             {plain(500, "rollup_error"), true, fault.Unavailable, "rollup_error"},
		"a redirect": {func(rw http.ResponseWriter) {
			rw.Header().Set("Location", "http://169.254.169.254/")
			rw.WriteHeader(http.StatusFound)
		}, true, fault.Invalid, "302"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t)
			p.answer = c.answer
			s := bot()
			if c.byHook {
				s = byHook(p)
			}
			err := notifier(t, p, s).Deliver(t.Context(), hello(""))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter") {
				t.Errorf("got %v, want %s: %s", err, c.want, c.says)
			}
		})
	}
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	url := func(u string) notify.Slack { return notify.Slack{WebhookURL: secret.New(u)} }
	for name, c := range map[string]struct {
		settings notify.Slack
		field    string
	}{
		"a bot":              {notify.Slack{BotToken: secret.New(token)}, ""},
		"a webhook":          {url("https://hooks.slack.com" + hook), ""},
		"nothing":            {notify.Slack{Channel: "C1"}, "slack_webhook_url"},
		"http":               {url("http://hooks.slack.com" + hook), "slack_webhook_url"},
		"inside":             {url("https://10.0.0.1" + hook), "slack_webhook_url"},
		"no URL":             {url("hooks.slack.com"), "slack_webhook_url"},
		"no token":           {notify.Slack{BotToken: secret.New("hunter2hunter2")}, "slack_bot_token"},
		"a token with lines": {notify.Slack{BotToken: secret.New(token + "\r\nX: y")}, "slack_bot_token"},
		"no channel":         {notify.Slack{BotToken: secret.New(token), Channel: "a b"}, "slack_channel"},
	} {
		_, err := slacknotify.New(c.settings, slacknotify.Config{Client: outbound.New(outbound.Config{})})
		f, ok := errors.AsType[*fault.Error](err)
		if c.field == "" && err != nil || c.field != "" && (!ok || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Location != c.field || strings.Contains(err.Error(), "hunter")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// answers is a Client that gives one answer to everything.
type answers struct {
	status int
	retry  string
	body   string
}

func (a answers) CheckURL(string) error { return nil }

func (a answers) Do(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: a.status, Header: http.Header{"Retry-After": {a.retry}, "Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(a.body)), Request: req,
	}, nil
}

// FuzzAnswers: whatever Slack says, or somebody in its place, it is a success
// or one of the three failures, and no secret comes back.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		`{"ok":true,"channel":"C1","ts":"1503435956.000247"}`, `{"ok":false,"error":"invalid_auth"}`, `{"ok":false,"error":"` + token + `"}`, "no_service", "ok", "", "{}", "[]", token, hook,
	} {
		f.Add(200, "", body)
		f.Add(429, "42", body)
		f.Add(404, "-1", body)
	}
	f.Fuzz(func(t *testing.T, status int, retry, body string) {
		for _, s := range []notify.Slack{bot(), {WebhookURL: secret.New("https://hooks.slack.com" + hook)}} {
			n, err := slacknotify.New(s, slacknotify.Config{Client: answers{status, retry, body}})
			if err != nil {
				t.Fatal(err)
			}
			err = n.Deliver(t.Context(), hello(""))
			if err != nil && !errors.Is(err, fault.Unavailable) && !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.Denied) || err != nil && (strings.Contains(err.Error(), token) || strings.Contains(err.Error(), hook)) {
				t.Errorf("%d %q: %v", status, body, err)
			}
			if e, ok := errors.AsType[*fault.Error](err); ok && (e.RetryAfter < 0 || e.RetryAfter.Hours() > 24) {
				t.Errorf("%d %q: come back in %v", status, retry, e.RetryAfter)
			}
		}
	})
}
