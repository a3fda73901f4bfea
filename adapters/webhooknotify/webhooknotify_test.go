package webhooknotify_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/kubebyon/kubebyon/adapters/outbound"
	"github.com/kubebyon/kubebyon/adapters/webhooknotify"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/notify/notifytest"
)

const (
	key    = "hunter2-hunter2"
	header = "Bearer hunter3-hunter3"
	path   = "/hooks/hunter4-hunter4"
)

// receiver is a program with a webhook. It takes only what is signed.
type receiver struct {
	*httptest.Server
	mu        sync.Mutex
	behaviour notifytest.Behaviour
	got       []notifytest.Received
	requests  []*http.Request
	bodies    []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Server.Close)
	return r
}

func (r *receiver) Behave(b notifytest.Behaviour) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behaviour = b
	if b == notifytest.Away {
		r.Server.Close()
	}
}

func (r *receiver) Received() []notifytest.Received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got
}

func (r *receiver) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	payload, err := io.ReadAll(req.Body)
	r.mu.Lock()
	behaviour := r.behaviour
	r.mu.Unlock()
	switch behaviour {
	case notifytest.Accepts:
	case notifytest.Busy:
		http.Error(rw, key+header, http.StatusServiceUnavailable)
		return
	case notifytest.BusyFor:
		rw.Header().Set("Retry-After", "42")
		http.Error(rw, key, http.StatusTooManyRequests)
		return
	case notifytest.Fails:
		http.Error(rw, key, http.StatusInternalServerError)
		return
	case notifytest.Refuses:
		http.Error(rw, key+path, http.StatusGone)
		return
	case notifytest.Locks:
		http.Error(rw, header, http.StatusForbidden)
		return
	case notifytest.Hangs:
		<-req.Context().Done()
		return
	case notifytest.Drops, notifytest.Away:
		panic(http.ErrAbortHandler)
	case notifytest.Babbles:
		conn, _, _ := http.NewResponseController(rw).Hijack()
		_, _ = io.WriteString(conn, "220 mail ready "+key+"\r\n")
		_ = conn.Close()
		return
	}
	var m struct{ ID, Type, Timestamp, Subject, Text string }
	if err != nil || json.Unmarshal(payload, &m) != nil || req.Header.Get("Webhook-Id") != m.ID || !signed(req, payload) {
		http.Error(rw, "not signed", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, notifytest.Received{ID: m.ID, Subject: m.Subject, Text: m.Text})
	r.requests, r.bodies = append(r.requests, req), append(r.bodies, string(payload))
	rw.WriteHeader(http.StatusNoContent)
}

// signed checks all three signatures, each as its own documentation says.
func signed(req *http.Request, payload []byte) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(payload)
	want := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	standard, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString([]byte(key)))
	return err == nil && standard.Verify(payload, req.Header) == nil &&
		req.Header.Get("X-KubeBYON-Signature") == want && req.Header.Get("X-Hub-Signature-256") == want
}

var local = outbound.New(outbound.Config{Admit: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})

func settings(r *receiver) notify.Webhook {
	return notify.Webhook{
		URL: r.URL + path, Secret: secret.New(key),
		Headers: map[string]secret.Text{"Authorization": secret.New(header), "X-Team": secret.New("platform")},
	}
}

func notifier(t *testing.T, s notify.Webhook) *webhooknotify.Notifier {
	t.Helper()
	n, err := webhooknotify.New(s, webhooknotify.Config{Client: local})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNotifier(t *testing.T) {
	t.Parallel()
	notifytest.Run(t, notifytest.Harness{
		New: func(t *testing.T) (notify.Notifier, notifytest.Server) {
			r := newReceiver(t)
			return notifier(t, settings(r)), r
		},
		NotTo:   []string{"ada@example.com"},
		Secrets: []string{key, "hunter3", "hunter4"},
	})
}

func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	m := notify.Message{
		ID: "ntf_1", Event: "cluster-alert", At: time.Date(2026, 4, 23, 9, 50, 0, 123456789, time.FixedZone("", 7200)),
		Subject: "The cluster is\nunreachable", Text: "Look <here>.\n", HTML: "<p>no</p>", Data: json.RawMessage(`{"cluster":"cl_1"}`),
	}
	if err := notifier(t, settings(r)).Deliver(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	var got, want any
	_ = json.Unmarshal([]byte(r.bodies[0]), &got)
	_ = json.Unmarshal([]byte(`{"id":"ntf_1","type":"cluster-alert","timestamp":"2026-04-23T07:50:00.123Z","subject":"The cluster is unreachable","text":"Look <here>.\n","data":{"cluster":"cl_1"}}`), &want)
	if a, b := text(got), text(want); a != b {
		t.Errorf("sent %s, want %s", a, b)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Authorization": header, "X-Team": "platform", "User-Agent": "KubeBYON", "Webhook-Id": "ntf_1",
	} {
		if got := r.requests[0].Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if r.requests[0].Method != http.MethodPost || r.requests[0].URL.Path != path {
		t.Errorf("%s %s", r.requests[0].Method, r.requests[0].URL)
	}
}

func text(v any) string {
	out, _ := json.Marshal(v)
	return string(out)
}

func TestWithoutASecretNothingIsSigned(t *testing.T) {
	t.Parallel()
	var got http.Header
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer s.Close()
	if err := notifier(t, notify.Webhook{URL: s.URL}).Deliver(t.Context(), hello()); err != nil {
		t.Fatal(err)
	}
	if got.Get("X-KubeBYON-Signature")+got.Get("X-Hub-Signature-256")+got.Get("Webhook-Signature") != "" || got.Get("Webhook-Id") != "ntf_1" {
		t.Errorf("sent %v", got)
	}
}

func hello() notify.Message { return notify.Message{ID: "ntf_1", Event: "welcome", Subject: "Hello"} }

func TestAStandardSecretIsReadAsOne(t *testing.T) {
	t.Parallel()
	const whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	standard, err := standardwebhooks.NewWebhook(whsec)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		payload, _ := io.ReadAll(r.Body)
		if standard.Verify(payload, r.Header) != nil {
			rw.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer s.Close()
	if err := notifier(t, notify.Webhook{URL: s.URL, Secret: secret.New(whsec)}).Deliver(t.Context(), hello()); err != nil {
		t.Error(err)
	}
}

func TestEveryStatusHasAnOutcome(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]fault.Kind{
		200: "", 201: "", 202: "", 204: "", 301: fault.Invalid, 307: fault.Invalid, 304: fault.Invalid, 400: fault.Invalid, 401: fault.Denied, 403: fault.Denied,
		404: fault.Unavailable, 405: fault.Invalid, 408: fault.Unavailable, 410: fault.Invalid, 413: fault.Invalid, 422: fault.Invalid, 425: fault.Unavailable,
		429: fault.Unavailable, 500: fault.Unavailable, 502: fault.Unavailable, 503: fault.Unavailable, 599: fault.Unavailable,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Location", "http://169.254.169.254/")
			rw.WriteHeader(status)
		}))
		err := notifier(t, notify.Webhook{URL: s.URL}).Deliver(t.Context(), hello())
		if want == "" && err != nil || want != "" && !errors.Is(err, want) {
			t.Errorf("%d: %v, want %s", status, err, want)
		}
		s.Close()
	}
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	headers := func(name, value string) func(*notify.Webhook) {
		return func(w *notify.Webhook) { w.Headers = map[string]secret.Text{name: secret.New(value)} }
	}
	for name, c := range map[string]struct {
		spoil func(*notify.Webhook)
		field string
	}{
		"good":               {func(*notify.Webhook) {}, ""},
		"a header":           {headers("X-Token", "abc"), ""},
		"loopback":           {func(w *notify.Webhook) { w.URL = "http://127.0.0.1:8080/" }, "webhook_url"},
		"metadata":           {func(w *notify.Webhook) { w.URL = "http://169.254.169.254/" }, "webhook_url"},
		"no URL":             {func(w *notify.Webhook) { w.URL = "" }, "webhook_url"},
		"a broken name":      {headers("X Token", "abc"), "webhook_headers"},
		"an injected header": {headers("X-Token", "abc\r\nHost: x"), "webhook_headers"},
		"an injected name":   {headers("X-Token: a\r\nHost", "x"), "webhook_headers"},
		"the host":           {headers("hOsT", "x"), "webhook_headers"},
		"the length":         {headers("Content-Length", "1"), "webhook_headers"},
		"our signature":      {headers("x-kubebyon-signature", "x"), "webhook_headers"},
		"their signature":    {headers("X-Hub-Signature-256", "x"), "webhook_headers"},
		"their id":           {headers("Webhook-Id", "x"), "webhook_headers"},
		"a long header":      {headers("X-Token", strings.Repeat("a", 4097)), "webhook_headers"},
		"many headers": {func(w *notify.Webhook) {
			w.Headers = map[string]secret.Text{}
			for i := range 21 {
				w.Headers["X-"+strings.Repeat("a", i+1)] = secret.New("a")
			}
		}, "webhook_headers"},
		"a broken secret": {func(w *notify.Webhook) { w.Secret = secret.New("whsec_!") }, "webhook_secret"},
	} {
		w := notify.Webhook{URL: "https://hooks.example.com/a"}
		c.spoil(&w)
		_, err := webhooknotify.New(w, webhooknotify.Config{Client: outbound.New(outbound.Config{})})
		f, ok := errors.AsType[*fault.Error](err)
		if c.field == "" && err != nil || c.field != "" && (!ok || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Location != c.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
