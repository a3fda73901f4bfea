// Package ssotest is the contract of package sso, as tests.
package ssotest

import (
	"net/url"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
)

// World is a provider with one person who has an account there.
type World struct {
	Connector sso.Connector
	// Impatient is a Connector to the same provider that gives up within a
	// second. Where it is nil, Connector gives up within ten.
	Impatient sso.Connector
	Config    sso.Config
	Person    sso.Identity
	// RedirectURL is one that the provider lets browsers go back to.
	RedirectURL string
	// Visit plays the person's browser: it signs in at an address that Begin
	// returned, and returns the address that the provider sends it back to.
	Visit func(t *testing.T, address string) string
	// Down makes the provider fail, Hang makes it take requests and not answer.
	Down, Hang func()
	// Secrets are what the provider has given out so far, beside codes: tokens.
	// Nil where the tests cannot see it.
	Secrets func() []string
	// NoNonce says why the provider does not sign the nonce, where it does not.
	NoNonce string
}

// Run checks everything package sso promises. Each test has a World of its own.
func Run(t *testing.T, newWorld func(t *testing.T) World) {
	for name, promise := range map[string]func(*testing.T, World, sso.Provider){
		"WhoSignsInIsKnown":             whoSignsInIsKnown,
		"TheAddressHoldsWhatItShould":   theAddressHoldsWhatItShould,
		"TheAddressHidesTheSecrets":     theAddressHidesTheSecrets,
		"ACodeWorksOnce":                aCodeWorksOnce,
		"AnotherBrowsersCodeIsRefused":  anotherBrowsersCodeIsRefused,
		"AnotherNonceIsRefused":         anotherNonceIsRefused,
		"AMadeUpCodeIsRefused":          aMadeUpCodeIsRefused,
		"AnotherRedirectURLIsRefused":   anotherRedirectURLIsRefused,
		"WrongCredentialsAreRefused":    wrongCredentialsAreRefused,
		"AnErrorInPlaceOfACode":         anErrorInPlaceOfACode,
		"AnAttemptMustProtect":          anAttemptMustProtect,
		"AnOutageIsUnavailable":         anOutageIsUnavailable,
		"AnOutageEnds":                  anOutageEnds,
		"AProviderThatHangsIsAnOutage":  aProviderThatHangsIsAnOutage,
		"ACanceledContextIsAnOutage":    aCanceledContextIsAnOutage,
		"ManyAtOnce":                    manyAtOnce,
		"ConnectSpeaksToNobody":         connectSpeaksToNobody,
		"ConfigsThatCannotBeAreRefused": configsThatCannotBeAreRefused,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			promise(t, w, w.connect(t, w.Config))
		})
	}
}

func (w World) connect(t *testing.T, c sso.Config) sso.Provider {
	t.Helper()
	p, err := w.Connector.Connect(c)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	return p
}

// attempt is told from others by one letter.
func (w World) attempt(letter string) sso.Attempt {
	long := ""
	for len(long) < 43 {
		long += letter
	}
	return sso.Attempt{State: "state-" + long, Nonce: "nonce-" + long, Verifier: secret.New("verifier-" + long), RedirectURL: w.RedirectURL}
}

// signIn begins, and lets the person sign in.
func (w World) signIn(t *testing.T, p sso.Provider, a sso.Attempt) sso.Answer {
	t.Helper()
	address, err := p.Begin(t.Context(), a)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	q := query(t, w.Visit(t, address))
	if q.Get("state") != a.State {
		t.Errorf("the browser came back with the state %q, want %q", q.Get("state"), a.State)
	}
	if q.Get("code") == "" {
		t.Fatalf("the browser came back without a code, with %q", q)
	}
	return sso.Answer{Code: secret.New(q.Get("code")), Error: q.Get("error"), Issuer: q.Get("iss")}
}

func whoSignsInIsKnown(t *testing.T, w World, p sso.Provider) {
	for _, letter := range []string{"a", "b"} {
		a := w.attempt(letter)
		got, err := p.Complete(t.Context(), a, w.signIn(t, p, a))
		if err != nil {
			t.Fatal(err)
		}
		if got != w.Person {
			t.Errorf("it is %+v (subject %q), want %+v (%q)", got, got.Subject.Reveal(), w.Person, w.Person.Subject.Reveal())
		}
	}
}

func query(t *testing.T, address string) url.Values {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Errorf("the browser came back to no address: %v", err)
		return nil
	}
	return u.Query()
}
