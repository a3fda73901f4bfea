package notify

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/kernel/text"
)

// Passing is the error of a delivery that may succeed later. By is who says
// the reason, "Slack"; after is when to try again, or zero.
func Passing(by, reason string, after time.Duration) *fault.Error {
	f := fault.Unavailable.New("receiver_unavailable", "%s could not take the message: %s.", by, reason)
	f.RetryAfter = after
	return f
}

// Refused is the error of a message or target that will never be taken.
func Refused(by, reason string) *fault.Error {
	return fault.Invalid.New("message_refused", "%s refused the message: %s.", by, reason)
}

// Locked is the error of a sender that is not let in. It lasts until somebody
// mends the sender's password or token.
func Locked(by, reason string) *fault.Error {
	return fault.Denied.New("sender_refused", "%s does not let the sender in: %s.", by, reason)
}

// RetryAfter reads the header of that name, in seconds or as a date. It is zero
// for what makes no sense, and at most a day.
func RetryAfter(header string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseUint(strings.TrimSpace(header), 10, 31); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), 24*time.Hour)
}

const maxReason = 300

// Reason makes what a server said fit to be shown: on one line, without a full
// stop, short, and without the secrets, which servers have been seen to repeat.
func Reason(said string, secrets ...secret.Text) string {
	for _, s := range secrets {
		for _, form := range forms(s.Reveal()) {
			said = strings.ReplaceAll(said, form, "[redacted]")
		}
	}
	said = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(said, " "))
	said = strings.TrimRight(text.Clip(strings.Join(strings.Fields(said), " "), maxReason), " .")
	if said == "" {
		return "it gave no reason"
	}
	return said
}

// forms are the ways in which a secret may come back. A URL's secret is its
// path.
func forms(plain string) []string {
	if plain == "" {
		return nil
	}
	out := []string{plain, url.QueryEscape(plain), url.PathEscape(plain), base64.StdEncoding.EncodeToString([]byte(plain))}
	if u, err := url.Parse(plain); err == nil && u.Host != "" {
		for _, part := range []string{u.RequestURI(), u.Path, u.RawQuery} {
			if len(part) > 1 {
				out = append(out, part)
			}
		}
	}
	return out
}

var id = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// Check reports what keeps a message from any channel: a malformed ID or event,
// nothing to say.
func (m Message) Check() error {
	var c fault.Check
	c.That(id.MatchString(m.ID), "id", "must be 1 to 100 letters, digits, dots, dashes and underscores")
	c.That(id.MatchString(m.Event), "event", "must be 1 to 100 letters, digits, dots, dashes and underscores")
	c.That(strings.TrimSpace(m.Subject+m.Text) != "", "text", "must not be empty")
	return c.Err()
}

// Line makes a subject one line.
func Line(s string) string { return strings.Join(strings.Fields(text.Clip(s, 1000)), " ") }

// Shorten cuts s down to most characters, and shows that it did.
func Shorten(s string, most int) string {
	count := 0
	for i := range s {
		if count++; count > most {
			cut := []rune(s[:i])
			return string(cut[:most-1]) + "…"
		}
	}
	return s
}
