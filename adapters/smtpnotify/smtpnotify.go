// Package smtpnotify sends messages as e-mail, through a mail server that an
// administrator has named. That server may be anywhere: relays in private
// networks are usual.
package smtpnotify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/mail"
	"regexp"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/notify"
)

// Config is what the process brings to the administrator's settings.
type Config struct {
	Now   func() time.Time // default: time.Now
	Roots *x509.CertPool   // trusted instead of the system's authorities
}

// timeout bounds one mail when the caller has no deadline.
const timeout = 30 * time.Second

// Notifier is safe for concurrent use: each mail has a connection of its own.
type Notifier struct {
	settings notify.SMTP
	from     *mail.Address
	cfg      Config
}

var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// New checks the settings; it connects to nothing.
func New(s notify.SMTP, cfg Config) (*Notifier, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	from, err := mail.ParseAddress(s.From)
	var c fault.Check
	c.That(hostname.MatchString(s.Host) || net.ParseIP(s.Host) != nil, "host", "must be a host name or an IP address")
	c.That(s.Port >= 1 && s.Port <= 65535, "port", "must be from 1 to 65535")
	c.That(s.TLS == notify.TLSNone || s.TLS == notify.TLSStart || s.TLS == notify.TLSImplicit, "tls", "must be none, starttls or tls")
	c.That(err == nil && isPlain(from.Address), "from", "must be an e-mail address, alone or behind a name as in KubeBYON <noreply@example.com>")
	c.That(s.Username == "" || !s.Password.IsZero(), "password", "must be set with a username")
	c.That(s.Username != "" || s.Password.IsZero(), "username", "must be set with a password")
	if err := c.Err(); err != nil {
		return nil, err
	}
	return &Notifier{settings: s, from: from, cfg: cfg}, nil
}

// isPlain leaves out what RFC 5322 allows and mail servers do not: quoted
// local parts, control characters.
func isPlain(address string) bool {
	return len(address) <= 254 && strings.Count(address, "@") == 1 && !strings.ContainsFunc(address, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(`"(),:;<>[]\`, r)
	})
}

// Deliver implements notify.Notifier.
func (n *Notifier) Deliver(ctx context.Context, m notify.Message) error {
	msg, err := n.write(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	l := &line{settings: n.settings, tls: n.tls(), caller: ctx}
	defer l.close()
	client, err := n.client(l)
	if err != nil {
		return notify.Passing(server, "the connection could not be prepared", 0).Because(err)
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return n.notLetIn(ctx, err)
	}
	err = client.SendWithSMTPClient(conn, msg)
	if msg.IsDelivered() {
		_ = client.CloseWithSMTPClient(conn) // the mail is theirs, whatever comes of the farewell
		return nil
	}
	return n.notTaken(ctx, err)
}

func (n *Notifier) write(m notify.Message) (*gomail.Msg, error) {
	if err := m.Check(); err != nil {
		return nil, err
	}
	to, err := mail.ParseAddress(m.To)
	if err != nil || to.Address != m.To || !isPlain(m.To) {
		return nil, fault.Invalid.New("message_refused", "The target is not an e-mail address.")
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(n.from)
	msg.ToMailAddress(to)
	msg.Subject(notify.Line(m.Subject))
	msg.SetMessageIDWithValue(m.ID + "@" + domain(n.from.Address))
	msg.SetDateWithValue(n.cfg.Now())
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no out-of-office answers
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

func domain(address string) string { return address[strings.LastIndex(address, "@")+1:] }

func (n *Notifier) client(l *line) (*gomail.Client, error) {
	options := []gomail.Option{
		gomail.WithPort(n.settings.Port), gomail.WithTimeout(timeout), gomail.WithDialContextFunc(l.dial), gomail.WithTLSConfig(n.tls()),
		gomail.WithHELO(domain(n.from.Address)), gomail.WithoutNoop(), gomail.WithoutRset(), gomail.WithTLSPolicy(gomail.NoTLS),
	}
	switch n.settings.TLS {
	case notify.TLSStart:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case notify.TLSImplicit:
		options = append(options, gomail.WithSSL())
	}
	if n.settings.Username != "" {
		options = append(options, gomail.WithUsername(n.settings.Username), gomail.WithPassword(n.settings.Password.Reveal()), n.auth())
	}
	return gomail.NewClient(n.settings.Host, options...)
}

// auth chooses how to sign in. Without TLS, only ways that do not show the
// password come into question; the library knows which those are.
func (n *Notifier) auth() gomail.Option {
	if n.settings.TLS == notify.TLSNone {
		return gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover)
	}
	return gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthSCRAMSHA1, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthCramMD5)
}

func (n *Notifier) tls() *tls.Config {
	return &tls.Config{ServerName: n.settings.Host, MinVersion: tls.VersionTLS12, RootCAs: n.cfg.Roots}
}

// line is the connection of one mail. The library leaves one open that it
// could not sign in on, and does not look at the context once it is made.
type line struct {
	settings notify.SMTP
	tls      *tls.Config
	caller   context.Context //nolint:containedctx // the library's dial function is handed another
	conn     net.Conn
	stop     func() bool
}

func (l *line) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	address := net.JoinHostPort(l.settings.Host, strconv.Itoa(l.settings.Port))
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l.conn = conn
	l.stop = context.AfterFunc(l.caller, func() { _ = conn.Close() }) // ctx ends with the dialing
	if l.settings.TLS != notify.TLSImplicit {
		return conn, nil
	}
	secured := tls.Client(conn, l.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("set up TLS: %w", err)
	}
	return secured, nil
}

func (l *line) close() {
	if l.stop != nil {
		l.stop()
	}
	if l.conn != nil {
		_ = l.conn.Close()
	}
}
