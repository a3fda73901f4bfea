package telegramnotify_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/kubebyon/kubebyon/adapters/outbound"
	"github.com/kubebyon/kubebyon/adapters/telegramnotify"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/notify/notifytest"
)

const (
	token = "123456789:AAHunter2-hunter2_hunter2hunter2abc"
	chat  = "-1001234567890"
)

// peer speaks sendMessage of Telegram's bot API, in its documented form.
type peer struct {
	*httptest.Server
	mu        sync.Mutex
	behaviour notifytest.Behaviour
	answer    string // instead of all others
	got       []notifytest.Received
	previews  []string
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Server.Close)
	return p
}

func (p *peer) Behave(b notifytest.Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behaviour = b
	if b == notifytest.Away {
		p.Server.Close()
	}
}

func (p *peer) Received() []notifytest.Received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got
}

func (p *peer) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	p.mu.Lock()
	behaviour, answer := p.behaviour, p.answer
	p.mu.Unlock()
	refuse := func(code int, description string, parameters map[string]any) {
		rw.WriteHeader(code)
		_ = json.NewEncoder(rw).Encode(map[string]any{"ok": false, "error_code": code, "description": description, "parameters": parameters})
	}
	to, text := req.FormValue("chat_id"), req.FormValue("text")
	switch behaviour {
	case notifytest.Accepts:
	case notifytest.Busy:
		refuse(429, "Too Many Requests: retry later, "+token, nil)
		return
	case notifytest.BusyFor:
		refuse(429, "Too Many Requests: retry after 42", map[string]any{"retry_after": 42})
		return
	case notifytest.Fails:
		refuse(500, "Internal Server Error: "+token, nil)
		return
	case notifytest.Refuses:
		refuse(400, "Bad Request: chat not found, "+token, nil)
		return
	case notifytest.Locks:
		refuse(401, "Unauthorized", nil)
		return
	case notifytest.Hangs:
		_, _ = io.Copy(io.Discard, req.Body) // or the server does not see that the client has gone
		<-req.Context().Done()
		return
	case notifytest.Drops, notifytest.Away:
		panic(http.ErrAbortHandler)
	case notifytest.Babbles:
		_, _ = io.WriteString(rw, "<html>"+token)
		return
	}
	switch {
	case answer != "":
		_, _ = io.WriteString(rw, answer)
	case req.URL.Path != "/bot"+token+"/sendMessage":
		refuse(404, "Not Found", nil)
	case req.FormValue("parse_mode") != "" || text == "" || len(utf16.Encode([]rune(text))) > 4096:
		refuse(400, "Bad Request: message text", nil)
	default:
		p.mu.Lock()
		p.got = append(p.got, notifytest.Received{To: to, Text: text})
		p.previews = append(p.previews, req.FormValue("link_preview_options"))
		p.mu.Unlock()
		_, _ = io.WriteString(rw, `{"ok":true,"result":{"message_id":1,"date":1776930600,"chat":{"id":-1001234567890,"type":"supergroup"},"text":"x"}}`)
	}
}

func notifier(t *testing.T, p *peer, s notify.Telegram) *telegramnotify.Notifier {
	t.Helper()
	client := outbound.New(outbound.Config{Admit: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	n, err := telegramnotify.New(s, telegramnotify.Config{Client: client, APIURL: p.URL})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNotifier(t *testing.T) {
	t.Parallel()
	notifytest.Run(t, notifytest.Harness{
		New: func(t *testing.T) (notify.Notifier, notifytest.Server) {
			p := newPeer(t)
			return notifier(t, p, notify.Telegram{BotToken: secret.New(token)}), p
		},
		To:      chat,
		NotTo:   []string{"", "ada@example.com", "1 OR 1", "12\n34", "@", "name", strings.Repeat("1", 21)},
		Secrets: []string{token, "Hunter2"},
		MaxText: 4096,
		WhyNoID: "a Telegram message has no place for an ID of the sender's",
	})
}

func hello(to string) notify.Message {
	return notify.Message{ID: "ntf_1", Event: "welcome", To: to, Subject: "Hello", Text: "Hello."}
}

func TestWithoutATargetTheSettingsSayWhere(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	n := notifier(t, p, notify.Telegram{BotToken: secret.New(token), ChatID: "@kubebyon"})
	for _, to := range []string{"", "42"} {
		if err := n.Deliver(t.Context(), hello(to)); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.Received(); got[0].To != "@kubebyon" || got[1].To != "42" {
		t.Errorf("got %+v", got)
	}
	if !strings.Contains(p.previews[0], `"is_disabled":true`) {
		t.Errorf("previews are %v", p.previews)
	}
}

func TestLongTextsAreCountedAsTelegramDoes(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	m := hello(chat)
	m.Text = strings.Repeat("👍", 5000) // two units each
	if err := notifier(t, p, notify.Telegram{BotToken: secret.New(token)}).Deliver(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := len(utf16.Encode([]rune(p.Received()[0].Text))); got < 4000 || got > 4096 {
		t.Errorf("%d units arrived", got)
	}
}

func TestTelegramsErrorsHaveTheirMeaning(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]struct {
		kind fault.Kind
		says string
	}{
		`{"ok":false,"error_code":403,"description":"Forbidden: bot was blocked by the user"}`:                                                              {fault.Invalid, "refused the message: bot was blocked by the user."},
		`{"ok":false,"error_code":400,"description":"Bad Request: chat not found"}`:                                                                         {fault.Invalid, "refused the message: chat not found."},
		`{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1001}}`: {fault.Invalid, "supergroup"},
		`{"ok":false,"error_code":401,"description":"Unauthorized"}`:                                                                                        {fault.Denied, "sender in: Unauthorized."},
		`{"ok":false,"error_code":404,"description":"Not Found"}`:                                                                                           {fault.Denied, "sender in: Not Found."},
		`{"ok":false,"error_code":409,"description":"Conflict"}`:                                                                                            {fault.Unavailable, "understood"},
		`{"ok":false,"error_code":502,"description":"Bad Gateway"}`:                                                                                         {fault.Unavailable, "error of its own"},
		`{"ok":false}`: {fault.Unavailable, "error of its own"},
		`{}`:           {fault.Unavailable, "error of its own"},
		`[]`:           {fault.Unavailable, "understood"},
		`{"ok":true}`:  {fault.Unavailable, "understood"},
	} {
		p := newPeer(t)
		p.answer = answer
		err := notifier(t, p, notify.Telegram{BotToken: secret.New(token)}).Deliver(t.Context(), hello(chat))
		if !errors.Is(err, want.kind) || !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v, want %s: %s", answer, err, want.kind, want.says)
		}
	}
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings notify.Telegram
		field    string
	}{
		"good":          {notify.Telegram{BotToken: secret.New(token), ChatID: chat}, ""},
		"no token":      {notify.Telegram{}, "telegram_bot_token"},
		"another token": {notify.Telegram{BotToken: secret.New("hunter2")}, "telegram_bot_token"},
		"a path":        {notify.Telegram{BotToken: secret.New(token + "/../x")}, "telegram_bot_token"},
		"lines":         {notify.Telegram{BotToken: secret.New(token + "\n")}, "telegram_bot_token"},
		"no chat":       {notify.Telegram{BotToken: secret.New(token), ChatID: "here"}, "telegram_chat_id"},
	} {
		_, err := telegramnotify.New(c.settings, telegramnotify.Config{})
		f, ok := errors.AsType[*fault.Error](err)
		if c.field == "" && err != nil || c.field != "" && (!ok || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Location != c.field || strings.Contains(err.Error(), "unter2")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// answer is a Client that gives one answer to everything.
type answer string

func (a answer) Do(req *http.Request) (*http.Response, error) {
	_, err := io.Copy(io.Discard, req.Body)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a))), Request: req}, err
}

// FuzzAnswers: whatever Telegram says, or somebody in its place, it is a success
// or one of the three failures, and no secret comes back.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		`{"ok":true,"result":{"message_id":1}}`, `{"ok":true,"result":[]}`, `{"ok":false,"error_code":429,"parameters":{"retry_after":-1}}`, `{"ok":false,"error_code":400,"description":"Bad Request: ` + token + `"}`, "", token,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		n, err := telegramnotify.New(notify.Telegram{BotToken: secret.New(token)}, telegramnotify.Config{Client: answer(body)})
		if err != nil {
			t.Fatal(err)
		}
		err = n.Deliver(t.Context(), hello(chat))
		if err != nil && !errors.Is(err, fault.Unavailable) && !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.Denied) || err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v", body, err)
		}
		if e, ok := errors.AsType[*fault.Error](err); ok && (e.RetryAfter < 0 || e.RetryAfter.Hours() > 24) {
			t.Errorf("%q: come back in %v", body, e.RetryAfter)
		}
	})
}
