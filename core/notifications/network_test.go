package notifications_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/kubebyon/kubebyon/app/channels"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

// post is what arrived at servers, as "where: what".
type post struct {
	mu  sync.Mutex
	got map[string]string
}

func (p *post) take(where, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.got == nil {
		p.got = map[string]string{}
	}
	p.got[where] += what
}

func (p *post) at(where string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[where]
}

// NewSession makes post the mailboxes of a mail server.
func (p *post) NewSession(*smtp.Conn) (smtp.Session, error) { return &letter{post: p}, nil }

type letter struct {
	post *post
	to   string
}

func (l *letter) Mail(string, *smtp.MailOptions) error { return nil }
func (l *letter) Rcpt(to string, _ *smtp.RcptOptions) error {
	l.to = to
	return nil
}

func (l *letter) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	l.post.take("mail to "+l.to, string(text))
	return err
}
func (l *letter) Reset()        {}
func (l *letter) Logout() error { return nil }

// mailServer listens on this machine, and returns its port.
func mailServer(t *testing.T, p *post) int {
	t.Helper()
	s := smtp.NewServer(p)
	s.Domain, s.ErrorLog = "localhost", log.New(io.Discard, "", 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { _ = s.Close(); done.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// TestMessagesReachRealServers by every channel: a mail server that speaks SMTP,
// and HTTPS servers of the form that Slack, Telegram and a webhook have.
func TestMessagesReachRealServers(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), &post{}
	port := mailServer(t, p)
	web := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" || strings.Contains(r.Header.Get("Content-Type"), "multipart") {
			p.take(r.URL.Path, string(body)+" ")
		} else {
			p.take(r.URL.Path, string(body)+r.Header.Get("X-KubeBYON-Signature")+" "+r.Header.Get("X-Key")+" ")
		}
		_, _ = rw.Write([]byte(`{"ok":true,"ts":"1.2","result":{"message_id":1}}`))
	}))
	t.Cleanup(web.Close)
	w.deps.Channels = channels.New(channels.Config{
		Admit: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Roots: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
		SlackURL: web.URL + "/slack/", TelegramURL: web.URL,
	})
	w.deps.SMTP = func(context.Context, store.Tx) (notify.SMTP, bool, error) {
		return notify.SMTP{Host: "127.0.0.1", Port: port, TLS: notify.TLSNone, From: "noreply@example.com"}, true, nil
	}
	w.remake()
	w.setUp(func(c *notifications.Change) {
		c.SlackWebhookURL, c.WebhookURL = new(secret.New(web.URL+"/hooks/hunter2")), new(web.URL+"/hook")
	})
	w.prefer(notifications.Wish{Slack: new(true), SlackTarget: new(slackUser), Telegram: new(true), TelegramChatID: new(chat)})
	w.send("code")
	c := w.cluster()
	w.change(c.ID, func(c *clusters.Cluster) { c.Fail("The quota is used up.", now()) })
	t.Cleanup(w.run("a"))
	await(t, func() bool {
		for _, d := range w.deliveries() {
			if d.Status == store.DeliveryPending {
				return false
			}
		}
		return true
	})
	for _, d := range w.deliveries() {
		if d.Status != store.DeliveryDelivered {
			t.Errorf("%s to %q: %s", d.Channel, d.Target, d.LastError)
		}
	}
	for where, what := range map[string]string{
		"mail to " + mailbox:               code,
		"/slack/chat.postMessage":          slackUser,
		"/hooks/hunter2":                   "quota is used up",
		"/bot" + telegram + "/sendMessage": chat,
		"/hook":                            `"type":"cluster-alert"`,
	} {
		if got := p.at(where); !strings.Contains(got, what) {
			t.Errorf("%s got %q, want %q in it", where, got, what)
		}
	}
	if got := p.at("/hook"); !strings.Contains(got, "sha256=") || !strings.Contains(got, headerWord) {
		t.Errorf("the webhook is not signed, or lacks its header: %s", got)
	}
	if strings.Contains(p.at("/hook")+p.at("/hooks/hunter2"), code) || strings.Contains(w.log.String(), "hunter2") {
		t.Errorf("a secret went astray: %s", w.log)
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it takes too long")
		}
	}
}
