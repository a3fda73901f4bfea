// Package captcha tells people from programs: a browser solves a puzzle of a
// provider, and the provider says whether it did.
//
// Adapters are checked by [captchatest.Run].
package captcha

import (
	"context"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Verifier asks a provider about what browsers send. It is safe for concurrent
// use and holds nothing that has to be closed.
type Verifier interface {
	// Verify returns nil when token was earned by a person, and uses it up: the
	// provider accepts it once. clientIP is the address that the browser comes
	// from, empty when it is not known.
	//
	// It fails with fault.Invalid, code captcha_failed, for a token that is made
	// up, spent, too old or of another site, and with fault.Unavailable, code
	// captcha_unavailable, when that cannot be told: the provider is out of
	// reach or does not take the installation's keys. It asks once, returns
	// within seconds and obeys ctx. No error holds the token or the secret key.
	Verify(ctx context.Context, token secret.Text, clientIP string) error
}

// VerifierFunc is a Verifier of one function.
type VerifierFunc func(ctx context.Context, token secret.Text, clientIP string) error

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, token secret.Text, clientIP string) error {
	return f(ctx, token, clientIP)
}

// Config is what an administrator sets.
type Config struct {
	SiteKey   string // public: browsers ask for puzzles with it
	SecretKey secret.Text
}

// longestKey is more than any provider's key has.
const longestKey = 255

// Check finds what no provider can take. Location is where c is in the request,
// such as "body.settings.hcaptcha".
func (c Config) Check(check *fault.Check, location string) {
	check.That(isKey(c.SiteKey), location+".site_key", "must be 1 to %d characters without spaces", longestKey)
	check.That(isKey(c.SecretKey.Reveal()), location+".secret_key", "must be 1 to %d characters without spaces", longestKey)
}

func isKey(s string) bool {
	return s != "" && len(s) <= longestKey && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Connector makes Verifiers. They are cheap: make one for each version of the
// settings.
type Connector interface {
	// Connect speaks to nobody yet. It refuses what [Config.Check] finds.
	Connect(c Config) (Verifier, error)
}
