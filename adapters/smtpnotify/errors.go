package smtpnotify

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/textproto"
	"regexp"
	"strconv"

	gomail "github.com/wneessen/go-mail"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
)

const server = "The mail server"

// notLetIn is about all that comes before the mail itself. Only a refused
// sign-in will not pass: a server that greets with 554 is in maintenance, and
// one without TLS or with a wrong certificate may be somebody else's, for now.
func (n *Notifier) notLetIn(ctx context.Context, err error) error {
	said, isSaid := errors.AsType[*textproto.Error](err)
	switch {
	case isSaid && isAboutSender(said.Code):
		return notify.Locked(server, n.reason(err))
	case errors.Is(err, gomail.ErrNoSupportedAuthDiscovered) && n.settings.TLS == notify.TLSNone:
		return notify.Locked(server, "without TLS, it offers no way to sign in that keeps the password from being read")
	case errors.Is(err, gomail.ErrNoSupportedAuthDiscovered):
		return notify.Locked(server, "it offers no way to sign in that is known here")
	}
	return notify.Passing(server, n.trouble(ctx, err), 0)
}

// notTaken is about the mail.
func (n *Notifier) notTaken(ctx context.Context, err error) error {
	e, ok := errors.AsType[*gomail.SendError](err)
	if !ok || e.ErrorCode() == 0 && !e.IsTemp() {
		return notify.Passing(server, n.trouble(ctx, err), 0) // nothing was said, so nothing was decided
	}
	switch {
	case e.IsTemp() || e.ErrorCode() < 500:
		return notify.Passing(server, n.reason(err), 0)
	case isAboutSender(e.ErrorCode()):
		return notify.Locked(server, n.reason(err))
	}
	return notify.Refused(server, n.reason(err))
}

// isAboutSender knows the codes of RFC 4954 for who must sign in, differently,
// or may not.
func isAboutSender(code int) bool { return code == 530 || code == 534 || code == 535 || code == 538 }

// reply is how the library writes what a server said into its errors, which
// keep it in no other way.
var reply = regexp.MustCompile(`\b([2-5][0-9]{2}) ("(?:[^"\\]|\\.)*")`)

func (n *Notifier) reason(err error) string {
	said := err.Error()
	if m := reply.FindStringSubmatch(said); m != nil {
		if text, err := strconv.Unquote(m[2]); err == nil {
			said = m[1] + " " + text
		}
	}
	return notify.Reason(said, n.settings.Password, secret.New("\x00"+n.settings.Username+"\x00"+n.settings.Password.Reveal()))
}

// trouble says what was wrong with the connection.
func (n *Notifier) trouble(ctx context.Context, err error) string {
	var badCertificate *tls.CertificateVerificationError
	var nameless *net.DNSError
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "the delivery was given up"
	case ctx.Err() != nil || isNet && timeout.Timeout():
		return "there was no answer in time"
	case errors.As(err, &badCertificate):
		return "its certificate is not valid for " + n.settings.Host
	case errors.As(err, &nameless):
		return "its name could not be resolved"
	}
	return n.reason(err)
}
