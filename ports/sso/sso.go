// Package sso lets people in whom somebody else knows. A sign-in goes over the
// person's browser: it is sent to the provider, signs in there, and comes back
// with a code, for which the provider tells who it is (RFC 6749, OpenID Connect
// Core 1.0). What keeps others from slipping in a code of theirs is bound to
// the browser; that is the caller's part, see [Attempt].
//
// Adapters are checked by [ssotest.Run].
package sso

import (
	"context"
	"errors"
	"regexp"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Provider knows people. It is safe for concurrent use and holds nothing that
// has to be closed. Both calls return within seconds and obey ctx; neither is
// tried again by itself.
//
// They fail with the errors of this package: [Failed] when the provider
// refuses, is misconfigured or says what cannot be true, [Canceled] when the
// person did not go on, [Unavailable] when the provider is out of reach. No
// error holds a client's secret, a code, a token, a subject or an address.
type Provider interface {
	// Begin returns the address to send the browser to.
	Begin(ctx context.Context, a Attempt) (url string, err error)
	// Complete asks who came back. The Attempt is the one of Begin, out of the
	// browser that came back, whose state the caller has compared; the answer is
	// what the browser brought. A code works once.
	Complete(ctx context.Context, a Attempt, answer Answer) (Identity, error)
}

// Attempt is one sign-in of one browser. State, nonce and verifier are
// unpredictable, used once, and known to that browser only: Begin puts the
// state, the nonce and a hash of the verifier into the address, the browser
// brings the state back, the provider signs the nonce and wants the verifier.
type Attempt struct {
	State       string
	Nonce       string
	Verifier    secret.Text // for PKCE (RFC 7636): 43 to 128 letters, digits, or one of -._~
	RedirectURL string      // where the provider sends the browser back to, one for each provider
}

var verifierRE = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`) //nolint:gochecknoglobals // a constant

// Check refuses an Attempt that protects nobody. That is a mistake of the
// program and no fault of anybody outside.
func (a Attempt) Check() error {
	if a.State == "" || a.Nonce == "" || a.RedirectURL == "" || !verifierRE.MatchString(a.Verifier.Reveal()) {
		return errors.New("sso: an attempt needs a state, a nonce, a verifier of 43 to 128 characters and a redirect URL")
	}
	return nil
}

// Answer is the query that a browser comes back with.
type Answer struct {
	Code   secret.Text // "code"
	Error  string      // "error", in place of a code
	Issuer string      // "iss", by providers that say who they are (RFC 9207)
}

// Identity is whom the provider knows.
type Identity struct {
	// Subject names the person for ever, whatever else changes. It begins with the
	// issuer, a space behind it: a provider that is set to another issuer brings
	// other people, also when it counts them alike. It is kept as a hash only.
	Subject secret.Text
	// Email is a bare address of at most 254 bytes, or empty.
	Email string
	// EmailVerified says that the provider made sure of the address. Without it
	// the address is a claim, and must not open the account that has it.
	EmailVerified bool
	// Name is what to call the person, on one line of at most 100 characters, or
	// empty.
	Name string
}

// Connector makes Providers. They are cheap but remember what the provider says
// about itself: make one for each version of the settings.
type Connector interface {
	// Connect speaks to nobody yet. It refuses what [Config.Check] finds.
	Connect(c Config) (Provider, error)
}
