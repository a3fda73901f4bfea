package smtpnotify

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/notify/notifytest"
)

var here = x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}

func TestNotifier(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{notify.TLSStart, notify.TLSImplicit} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ca := newAuthority(t)
			notifytest.Run(t, notifytest.Harness{
				New: func(t *testing.T) (notify.Notifier, notifytest.Server) {
					p := newPeer(t, mode, ca.serve(t, here))
					return notifier(t, settings(p, mode), ca), p
				},
				To: "ada@example.com",
				NotTo: []string{
					"", "ada", "ada@", "@example.com", "Ada <ada@example.com>", "ada@example.com, eve@example.com", "ada@example.com\r\nBcc: eve@example.com",
					"ada@example.com>\r\nRCPT TO:<eve@example.com", `"ada eve"@example.com`, "ada@example.com eve@example.com", strings.Repeat("a", 250) + "@example.com",
				},
				Secrets:   []string{password, "hunter2", "aHVudGVyMi1odW50ZXIy"},
				WhyNoTime: "SMTP has no word for when to come back",
			})
		})
	}
}

func notifier(t *testing.T, s notify.SMTP, ca authority) *Notifier {
	t.Helper()
	n, err := New(s, Config{Roots: ca.roots()})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func hello() notify.Message {
	return notify.Message{ID: "ntf_1", Event: "welcome", To: "ada@example.com", Subject: "Hello", Text: "Hello.", HTML: "<p>Hello.</p>"}
}

// TestPasswordsAreOnlySaidInSecret: a server without TLS, or with that of
// somebody else, never sees the password, nor the mail.
func TestPasswordsAreOnlySaidInSecret(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	late, other := here, here
	late.NotAfter = time.Now().Add(-time.Minute)
	other.IPAddresses, other.DNSNames = nil, []string{"mail.example.com"}
	for name, c := range map[string]struct {
		mode, offers string
		by           authority
		as           x509.Certificate
		kind         fault.Kind
		says         string
	}{
		"no STARTTLS":          {notify.TLSStart, notify.TLSNone, ca, here, fault.Unavailable, "STARTTLS"},
		"no TLS":               {notify.TLSImplicit, notify.TLSNone, ca, here, fault.Unavailable, "TLS"},
		"signed by a stranger": {notify.TLSStart, notify.TLSStart, stranger, here, fault.Unavailable, "certificate is not valid for 127.0.0.1"},
		"another's name":       {notify.TLSImplicit, notify.TLSImplicit, ca, other, fault.Unavailable, "certificate is not valid for 127.0.0.1"},
		"expired":              {notify.TLSStart, notify.TLSStart, ca, late, fault.Unavailable, "certificate is not valid for 127.0.0.1"},
		"in clear":             {notify.TLSNone, notify.TLSNone, ca, here, fault.Denied, "keeps the password from being read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, c.offers, c.by.serve(t, c.as))
			err := notifier(t, settings(p, c.mode), ca).Deliver(t.Context(), hello())
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || len(p.Received()) > 0 {
				t.Errorf("%v, and %d mails; want %s: %s", err, len(p.Received()), c.kind, c.says)
			}
		})
	}
}

func TestMailGoesTheWayThatIsSet(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for mode, secured := range map[string]bool{notify.TLSNone: false, notify.TLSStart: true, notify.TLSImplicit: true} {
		p := newPeer(t, mode, ca.serve(t, here))
		s := settings(p, mode)
		if mode == notify.TLSNone {
			s.Username, s.Password = "", secret.Text{}
		}
		if err := notifier(t, s, ca).Deliver(t.Context(), hello()); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if p.tls[0] != secured {
			t.Errorf("%s: TLS %v", mode, p.tls[0])
		}
	}
}

func TestServersThatKnowOnlyLOGIN(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := newPeer(t, notify.TLSStart, ca.serve(t, here))
	p.mechs = []string{"LOGIN"}
	if err := notifier(t, settings(p, notify.TLSStart), ca).Deliver(t.Context(), hello()); err != nil {
		t.Error(err)
	}
	p = newPeer(t, notify.TLSStart, ca.serve(t, here))
	p.mechs = []string{"GSSAPI"}
	if err := notifier(t, settings(p, notify.TLSStart), ca).Deliver(t.Context(), hello()); !errors.Is(err, fault.Denied) {
		t.Errorf("without a way to sign in: %v", err)
	}
}

// TestMailIsWellFormed: machines know that a machine has written it.
func TestMailIsWellFormed(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	p := newPeer(t, notify.TLSStart, ca.serve(t, here))
	n := notifier(t, settings(p, notify.TLSStart), ca)
	n.cfg.Now = func() time.Time { return time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC) }
	m := hello()
	m.Subject = "Grüße\r\nBcc: eve@example.com"
	if err := n.Deliver(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Message-ID: <ntf_1@kubebyon.example.com>\r\n", "Date: Thu, 23 Apr 2026 07:50:00 +0000\r\n", "Auto-Submitted: auto-generated\r\n",
		"From: \"KubeBYON\" <noreply@kubebyon.example.com>\r\n", "To: <ada@example.com>\r\n", "MIME-Version: 1.0\r\n", "multipart/alternative",
	} {
		if !strings.Contains(p.raw[0], want) {
			t.Errorf("the mail lacks %q:\n%s", want, p.raw[0])
		}
	}
	if strings.Contains(p.raw[0], "\nBcc:") || p.got[0].Subject != "Grüße Bcc: eve@example.com" {
		t.Errorf("subject %q in\n%s", p.got[0].Subject, p.raw[0])
	}
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	good := notify.SMTP{Host: "mail.example.com", Port: 587, TLS: notify.TLSStart, From: "noreply@example.com"}
	for name, spoil := range map[string]func(*notify.SMTP){
		"":         func(*notify.SMTP) {},
		"host":     func(s *notify.SMTP) { s.Host = "unix:///run/mail" },
		"port":     func(s *notify.SMTP) { s.Port = 65536 },
		"tls":      func(s *notify.SMTP) { s.TLS = "opportunistic" },
		"from":     func(s *notify.SMTP) { s.From = "noreply" },
		"password": func(s *notify.SMTP) { s.Username = user },
		"username": func(s *notify.SMTP) { s.Password = secret.New(password) },
	} {
		s := good
		spoil(&s)
		_, err := New(s, Config{})
		f, ok := errors.AsType[*fault.Error](err)
		if name == "" && err != nil || name != "" && (!ok || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Location != name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTroublesAreNamed: the one who reads the log of deliveries has no other.
func TestTroublesAreNamed(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for behaviour, want := range map[notifytest.Behaviour]string{
		notifytest.Hangs: "no answer in time", notifytest.Drops: "EOF", notifytest.Away: "connection refused", notifytest.Fails: "452 4.0.0 Insufficient system storage.",
		notifytest.Locks: "535 5.7.8 Wrong password [redacted] for mailer.", notifytest.Refuses: "550 5.1.1 No such user here, said [redacted].", notifytest.Babbles: "HTTP/1.1 400",
	} {
		p := newPeer(t, notify.TLSStart, ca.serve(t, here))
		p.Behave(behaviour)
		patience := 10 * time.Second
		if behaviour == notifytest.Hangs {
			patience = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		err := notifier(t, settings(p, notify.TLSStart), ca).Deliver(ctx, hello())
		cancel()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("behaviour %d: %v, want %q", behaviour, err, want)
		}
	}
}

// FuzzReplies: whatever a server says, it fits into a sentence, without the password.
func FuzzReplies(f *testing.F) {
	f.Add(550, "5.1.1 No such user \"here\"\r\n")
	f.Add(0, password)
	n, err := New(notify.SMTP{Host: "mail.example.com", Port: 587, TLS: notify.TLSStart, From: "noreply@example.com", Username: user, Password: secret.New(password)}, Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, code int, said string) {
		got := n.reason(fmt.Errorf("dial failed: %w", &textproto.Error{Code: code, Msg: said}))
		if got == "" || len(got) > 300 || strings.ContainsAny(got, "\r\n\x00") || strings.Contains(got, password) {
			t.Errorf("%d %q became %q", code, said, got)
		}
	})
}

// TestServersThatSayNothing, not even a greeting, and one that is closed for now.
func TestServersThatSayNothing(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{notify.TLSNone, notify.TLSStart, notify.TLSImplicit} {
		for greeting, want := range map[string]string{"": "no answer in time", "554 5.3.2 Closed for maintenance\r\n": "closed for maintenance"} {
			if greeting != "" && mode == notify.TLSImplicit {
				continue // there, nothing is said in clear
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var serving sync.WaitGroup
			serving.Go(func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, greeting)
				_, _ = io.Copy(io.Discard, conn)
			})
			n, err := New(notify.SMTP{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: mode, From: "noreply@example.com"}, Config{})
			if err != nil {
				t.Fatal(err)
			}
			patience := 300 * time.Millisecond
			if greeting != "" {
				patience = 10 * time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			err = n.Deliver(ctx, hello())
			cancel()
			if !errors.Is(err, fault.Unavailable) || !strings.Contains(strings.ToLower(err.Error()), want) {
				t.Errorf("%s, greeted with %q: %v, want %q", mode, greeting, err, want)
			}
			_ = l.Close()
			serving.Wait()
		}
	}
}
