package oidcsso

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/mail"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/sso"
)

// failed is the port's error for what a library says. The text of err goes
// nowhere: it may hold a part of an answer.
func failed(ctx context.Context, step string, err error) error {
	if o, ok := errors.AsType[*outage](err); ok {
		return sso.Unavailable(fmt.Errorf("%s: %w", step, o))
	}
	if ctx.Err() != nil {
		return sso.Unavailable(fmt.Errorf("%s: %w", step, ctx.Err()))
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return sso.Failed(fmt.Errorf("%s: %w", step, r))
	}
	return sso.Failed(fmt.Errorf("%s: the answer is not as it has to be", step))
}

// refused is why there is no code to exchange, if so (RFC 6749, section 4.1.2.1).
func refused(answer sso.Answer) error {
	switch answer.Error {
	case "":
		if !isCode(answer.Code.Reveal()) {
			return sso.Failed(errors.New("the browser came back without a code that can be one"))
		}
		return nil
	case "access_denied":
		return sso.Canceled()
	case "temporarily_unavailable", "server_error":
		return sso.Unavailable(errors.New("the browser came back with the error " + answer.Error))
	}
	return sso.Failed(errors.New("the browser came back with " + known(answer.Error)))
}

// isCode tells whether s can be a code: of visible characters (RFC 6749,
// appendix A.11), at most as long as the longest that are known are, and more.
func isCode(s string) bool {
	return s != "" && len(s) <= 8<<10 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// knownErrors are those of RFC 6749, of OpenID Connect, and GitHub's own.
var knownErrors = []string{ //nolint:gochecknoglobals // a constant table
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
	"unsupported_response_type", "invalid_scope", "interaction_required", "login_required", "consent_required",
	"account_selection_required", "incorrect_client_credentials", "redirect_uri_mismatch", "bad_verification_code",
	"unverified_user_email", "application_suspended",
}

// known repeats a name that is one, and nothing else.
func known(name string) string {
	if slices.Contains(knownErrors, name) {
		return "the error " + name
	}
	return "an error that is in no standard"
}

// exchange gets the tokens for a code.
func exchange(ctx context.Context, client *http.Client, c *oauth2.Config, a sso.Attempt, code secret.Text) (*oauth2.Token, error) {
	const step = "exchange the code"
	token, err := c.Exchange(oidc.ClientContext(ctx, client), code.Reveal(), oauth2.VerifierOption(a.Verifier.Reveal()))
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return nil, sso.Failed(fmt.Errorf("%s: the provider answered with status %d and %s", step, e.Response.StatusCode, known(e.ErrorCode)))
	}
	if err != nil {
		return nil, failed(ctx, step, err)
	}
	return token, nil
}

// identity makes safe what a provider says about a person.
func identity(issuer, subject, email string, verified bool, names ...string) (sso.Identity, error) {
	if subject == "" || len(subject) > 255 { // OpenID Connect Core, section 2
		return sso.Identity{}, sso.Failed(errors.New("the provider names the person with nothing, or with too much"))
	}
	id := sso.Identity{Subject: secret.New(issuer + " " + subject)}
	if isAddress(email) {
		id.Email, id.EmailVerified = email, verified
	}
	for _, name := range names {
		if text.IsName(name, 100) {
			id.Name = name
			break
		}
	}
	return id, nil
}

func isAddress(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && len(s) <= 254 && a.Address == s && a.Name == "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}
