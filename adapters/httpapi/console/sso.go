package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
)

// ProviderRef names a sign-in provider.
type ProviderRef struct {
	Provider string `path:"provider" doc:"As in GET /api/auth/providers." example:"github"`
}

type ssoBeginIn struct {
	ProviderRef
	Redirect string `query:"redirect" doc:"A path of the console to go to in the end." example:"/clusters"`
}

// ssoEndIn is what a provider sends a browser back with (RFC 6749, section
// 4.1.2, and RFC 9207).
type ssoEndIn struct {
	ProviderRef
	State  string `query:"state" doc:"The one that the sign-in began with." example:"lN5eDHg6q1cPSjIYJbLkqD3rfCKTBuMCL8i5v0TtVVQ"`
	Code   string `query:"code" doc:"For the provider, once." example:"SplxlOBeZQQYbYS6WxSbIA"`
	Error  string `query:"error" doc:"In place of a code." example:"access_denied"`
	Issuer string `query:"iss" doc:"Who the provider is, where it says so." example:"https://id.example.com"`
	Visitor
}

type redirectOut struct {
	Status    int
	Location  string        `header:"Location"`
	SetCookie []http.Cookie `header:"Set-Cookie" nullable:"false"`
}

// loginPage is where the console lets people sign in, and tells them what went
// wrong.
const loginPage = "/login"

func (h console) registerSSO() {
	const failure = "Whatever goes wrong sends the browser to `/login?error=CODE`, where CODE is one of `account_banned`, `identity_taken`, `internal`, " +
		"`rate_limited`, `registration_closed`, `sso_canceled`, `sso_email_unverified`, `sso_expired`, `sso_failed`, `sso_provider_unknown`, `sso_unavailable`, `store_busy`, `store_unavailable`."
	begin := huma.Operation{
		OperationID: "beginSSO", Method: http.MethodGet, Path: "/api/auth/sso/{provider}/login", Tags: []string{tagAuth}, DefaultStatus: http.StatusFound,
		Summary: "Go and sign in at a provider", Description: "Made for a browser: it is sent to the provider with a state, a nonce and a PKCE challenge, and keeps what it needs to come back in a cookie for ten minutes. " + failure,
	}
	end := huma.Operation{
		OperationID: "completeSSO", Method: http.MethodGet, Path: "/api/auth/sso/{provider}/callback", Tags: []string{tagAuth}, DefaultStatus: http.StatusFound,
		Summary: "Come back from a provider", Description: "Where a provider sends the browser back to. It begins a session and sends the browser on. An address that the provider has verified opens the account that has it; an unverified one never does. " + failure,
	}
	operation.Open(h.api, begin, []string{"validation_failed"}, h.beginSSO)
	operation.Open(h.api, end, []string{"validation_failed"}, h.endSSO)
}

func (h console) beginSSO(ctx context.Context, in *ssoBeginIn) (*redirectOut, error) {
	to, cookie, err := h.departure(ctx, in)
	if fault.CodeOf(err) == fault.ValidationFailed {
		return nil, err // whoever wrote the link has to mend it
	}
	if err != nil {
		return h.toLogin(ctx, err), nil
	}
	return &redirectOut{http.StatusFound, to, []http.Cookie{h.keeper.WayCookie(ctx, cookie)}}, nil
}

func (h console) departure(ctx context.Context, in *ssoBeginIn) (to string, cookie secret.Text, err error) {
	if err := h.AuthLimit.Take(ctx, "beginSSO "+edge.ClientKey(ctx)); err != nil {
		return "", cookie, err
	}
	base := strings.TrimRight(h.BaseURLs.Public(ctx), "/")
	if base == "" {
		base = edge.Of(ctx).Origin
	}
	if base == "" {
		return "", cookie, problem.Invalid("header.Host", "must be a host name or an address, with or without a port")
	}
	return h.Identity.BeginSSO(ctx, in.Provider, base+"/api/auth/sso/"+url.PathEscape(in.Provider)+"/callback", in.Redirect)
}

func (h console) endSSO(ctx context.Context, in *ssoEndIn) (*redirectOut, error) {
	if in.request.Method == http.MethodHead { // who only looks has not come back: the code is used once
		return &redirectOut{Status: http.StatusFound, Location: loginPage}, nil
	}
	if err := h.AuthLimit.Take(ctx, "completeSSO "+edge.ClientKey(ctx)); err != nil {
		return h.toLogin(ctx, err), nil
	}
	u, token, target, err := h.Identity.EndSSO(ctx, identity.Return{
		Provider: in.Provider, State: in.State, Cookie: h.keeper.Way(in.request),
		Answer: sso.Answer{Code: secret.New(in.Code), Error: in.Error, Issuer: in.Issuer},
	}, h.client(ctx, in.Visitor, ""))
	if err != nil {
		return h.toLogin(ctx, err), nil
	}
	edge.Of(ctx).User = u.ID.String()
	return &redirectOut{http.StatusFound, target, []http.Cookie{h.keeper.Cookie(ctx, token), h.keeper.NoWayCookie(ctx)}}, nil
}

// toLogin sends a browser to where people read what went wrong. The reason is
// logged here, and the way is over.
func (h console) toLogin(ctx context.Context, err error) *redirectOut {
	code := problem.From(ctx, h.api.Log, err).Code
	return &redirectOut{http.StatusFound, loginPage + "?error=" + url.QueryEscape(code), []http.Cookie{h.keeper.NoWayCookie(ctx)}}
}
