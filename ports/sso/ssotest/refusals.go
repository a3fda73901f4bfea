package ssotest

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
)

func theAddressHoldsWhatItShould(t *testing.T, w World, p sso.Provider) {
	a := w.attempt("a")
	sum := sha256.Sum256([]byte(a.Verifier.Reveal()))
	q := begin(t, p, a).Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": w.Config.ClientID, "redirect_uri": w.RedirectURL, "state": a.State,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
	} {
		if got := q[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if w.NoNonce == "" && q.Get("nonce") != a.Nonce {
		t.Errorf("the nonce is %q, want %q", q.Get("nonce"), a.Nonce)
	}
}

func theAddressHidesTheSecrets(t *testing.T, w World, p sso.Provider) {
	a := w.attempt("a")
	address := begin(t, p, a).String()
	for what, s := range map[string]secret.Text{"verifier": a.Verifier, "client's secret": w.Config.ClientSecret} {
		if strings.Contains(address, s.Reveal()) {
			t.Errorf("the browser is told the %s", what)
		}
	}
	if !sso.IsSafeURL(address) {
		t.Errorf("the browser is sent to %s", address)
	}
}

func aCodeWorksOnce(t *testing.T, w World, p sso.Provider) {
	a := w.attempt("a")
	answer := w.signIn(t, p, a)
	if _, err := p.Complete(t.Context(), a, answer); err != nil {
		t.Fatal(err)
	}
	id, err := p.Complete(t.Context(), a, answer)
	w.refused(t, "a spent code", id, err, "sso_failed", answer.Code.Reveal())
}

func anotherBrowsersCodeIsRefused(t *testing.T, w World, p sso.Provider) {
	mine, theirs := w.attempt("a"), w.attempt("b")
	answer := w.signIn(t, p, theirs)
	mine.Nonce = theirs.Nonce // or it would be the nonce that is refused
	id, err := p.Complete(t.Context(), mine, answer)
	w.refused(t, "a code that another verifier belongs to", id, err, "sso_failed", answer.Code.Reveal())
}

func anotherNonceIsRefused(t *testing.T, w World, p sso.Provider) {
	if w.NoNonce != "" {
		t.Skip(w.NoNonce)
	}
	for _, nonce := range []string{"another", "nonce-", w.attempt("a").Nonce + "a"} {
		a := w.attempt("a")
		answer := w.signIn(t, p, a)
		a.Nonce = nonce
		id, err := p.Complete(t.Context(), a, answer)
		w.refused(t, "the nonce of another attempt", id, err, "sso_failed", answer.Code.Reveal())
	}
}

func aMadeUpCodeIsRefused(t *testing.T, w World, p sso.Provider) {
	for _, code := range []string{"", "made-up-code", strings.Repeat("made-up-code", 10_000), "made\x00up", "a&client_id=made-up"} {
		id, err := p.Complete(t.Context(), w.attempt("a"), sso.Answer{Code: secret.New(code)})
		w.refused(t, fmt.Sprintf("a made-up code of %d bytes", len(code)), id, err, "sso_failed", code)
	}
}

func anotherRedirectURLIsRefused(t *testing.T, w World, p sso.Provider) {
	a := w.attempt("a")
	answer := w.signIn(t, p, a)
	a.RedirectURL += "/elsewhere"
	id, err := p.Complete(t.Context(), a, answer)
	w.refused(t, "another redirect URL", id, err, "sso_failed", answer.Code.Reveal())
}

func wrongCredentialsAreRefused(t *testing.T, w World, p sso.Provider) {
	a, c := w.attempt("a"), w.Config
	answer := w.signIn(t, p, a)
	c.ClientSecret = secret.New("another-secret")
	id, err := w.connect(t, c).Complete(t.Context(), a, answer)
	w.refused(t, "a client with a wrong secret", id, err, "sso_failed", answer.Code.Reveal(), "another-secret")
}

func anErrorInPlaceOfACode(t *testing.T, w World, p sso.Provider) {
	for name, want := range map[string]string{
		"access_denied": "sso_canceled", "temporarily_unavailable": "sso_unavailable", "server_error": "sso_unavailable",
		"invalid_scope": "sso_failed", "one that nobody knows": "sso_failed", strings.Repeat("long-error", 10_000): "sso_failed",
	} {
		id, err := p.Complete(t.Context(), w.attempt("a"), sso.Answer{Error: name, Code: secret.New("and-a-code-too")})
		w.refused(t, fmt.Sprintf("the error %.30q", name), id, err, want, "and-a-code-too")
		if len(err.Error()) > 1000 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	}
}

func anAttemptMustProtect(t *testing.T, w World, p sso.Provider) {
	for name, change := range map[string]func(*sso.Attempt){
		"state":    func(a *sso.Attempt) { a.State = "" },
		"nonce":    func(a *sso.Attempt) { a.Nonce = "" },
		"verifier": func(a *sso.Attempt) { a.Verifier = secret.New("short") },
		"redirect": func(a *sso.Attempt) { a.RedirectURL = "" },
	} {
		a := w.attempt("a")
		change(&a)
		if address, err := p.Begin(t.Context(), a); err == nil || address != "" {
			t.Errorf("Begin without %s: %q, %v", name, address, err)
		}
		if id, err := p.Complete(t.Context(), a, sso.Answer{Code: secret.New("made-up-code")}); err == nil || id != (sso.Identity{}) {
			t.Errorf("Complete without %s: %v, %v", name, id, err)
		}
	}
}

func configsThatCannotBeAreRefused(t *testing.T, w World, _ sso.Provider) {
	c := w.Config
	c.ClientID = ""
	if p, err := w.Connector.Connect(c); !errors.Is(err, fault.Invalid) || p != nil {
		t.Errorf("Connect without a client: %v, %v; want it refused", p, err)
	}
}

func begin(t *testing.T, p sso.Provider, a sso.Attempt) *url.URL {
	t.Helper()
	address, err := p.Begin(t.Context(), a)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// refused checks the code of an error, and that it keeps every secret.
func (w World) refused(t *testing.T, what string, id sso.Identity, err error, code string, secrets ...string) {
	t.Helper()
	kind := fault.Denied
	if code == "sso_unavailable" {
		kind = fault.Unavailable
	}
	if !errors.Is(err, kind) || fault.CodeOf(err) != code || id != (sso.Identity{}) {
		t.Errorf("%s: %+v, %v; want nobody, and %s with code %s", what, id, err, kind, code)
		return
	}
	secrets = append(secrets, w.Config.ClientSecret.Reveal(), w.Person.Email, w.attempt("a").Verifier.Reveal(), w.attempt("b").Verifier.Reveal())
	if w.Secrets != nil {
		secrets = append(secrets, w.Secrets()...)
	}
	said := fmt.Sprintf("%v %+v", err, err)
	for _, s := range secrets {
		if len(s) >= 8 && strings.Contains(said, s) {
			t.Errorf("%s: the error holds a secret: %s", what, said)
		}
	}
}
