package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Credentials are who somebody says they are.
type Credentials struct {
	Email        string `json:"email" example:"admin@kubebyon.local"`
	Password     string `json:"password" format:"password" example:"correct horse battery staple"`
	CaptchaToken string `json:"captcha_token,omitempty" doc:"Needed while a captcha is on: see GET /api/auth/providers." example:"P1_eyJ0eXAi"`
}

type loginIn struct {
	Visitor
	Body Credentials
}

// Visitor is in the input of whatever lets somebody in.
type Visitor struct {
	UserAgent string `header:"User-Agent" hidden:"true"`
	request   *http.Request
}

// Resolve keeps the request, whose cookies have to be counted.
func (v *Visitor) Resolve(ctx huma.Context) []error {
	v.request, _ = humachi.Unwrap(ctx)
	return nil
}

type signedIn struct {
	SetCookie []http.Cookie `header:"Set-Cookie" doc:"kubebyon_session: HttpOnly, SameSite=Lax, for 7 days after the last use." nullable:"false"`
	Body      UserAnswer
}

type signedOut struct {
	SetCookie []http.Cookie `header:"Set-Cookie" doc:"Takes kubebyon_session back." nullable:"false"`
}

// Providers are the ways to sign in besides a password.
type Providers struct {
	Providers           []Provider `json:"providers" nullable:"false"`
	HCaptcha            HCaptcha   `json:"hcaptcha"`
	RegistrationEnabled bool       `json:"registration_enabled" doc:"Whether people may make accounts themselves." example:"false"`
}

// Provider is one way to sign in.
type Provider struct {
	Name        string `json:"name" example:"github"`
	DisplayName string `json:"display_name" example:"GitHub"`
	LoginURL    string `json:"login_url" example:"/api/auth/sso/github/login"`
}

// HCaptcha says whether signing in needs a captcha.
type HCaptcha struct {
	Enabled bool    `json:"enabled" example:"false"`
	SiteKey *string `json:"site_key" example:"10000000-ffff-ffff-ffff-000000000001"`
}

type providersOut struct{ Body Providers }

func (h console) registerAuth() {
	operation.Open(h.api, huma.Operation{
		OperationID: "listAuthProviders", Method: http.MethodGet, Path: "/api/auth/providers", Tags: []string{tagAuth},
		Summary: "List the ways to sign in", Description: "Tells what a sign-in page may offer besides a password.",
	}, operation.StoreCodes(), h.listProviders)
	operation.Open(h.api, huma.Operation{
		OperationID: "login", Method: http.MethodPost, Path: "/api/auth/login", Tags: []string{tagAuth},
		Summary: "Sign in", Description: "Checks a password and begins a session, which the cookie `kubebyon_session` carries.",
		Middlewares: h.fromOwnSite(),
	}, strangersCodes("invalid_credentials", "account_banned", "captcha_required", "captcha_failed", "captcha_unavailable"), h.login)
	operation.Open(h.api, huma.Operation{
		OperationID: "logout", Method: http.MethodPost, Path: "/api/auth/logout", Tags: []string{tagAuth}, DefaultStatus: noContent,
		Summary: "Sign out", Description: "Ends the session. Signing out without being signed in is fine.",
		Middlewares: huma.Middlewares{h.keeper.Recognize(h.api)},
	}, append([]string{"csrf_rejected"}, operation.StoreCodes()...), h.logout)
}

// fromOwnSite is for what strangers do. The site comes first: what a foreign page
// has a browser send does not use up its person's right to sign in.
func (h console) fromOwnSite() huma.Middlewares {
	return huma.Middlewares{h.keeper.OwnSite(h.api), h.limited(h.AuthLimit)}
}

// strangersCodes are those of an operation behind fromOwnSite.
func strangersCodes(more ...string) []string {
	return append(append([]string{"csrf_rejected", "rate_limited"}, operation.StoreCodes()...), more...)
}

func (h console) listProviders(ctx context.Context, _ *struct{}) (*providersOut, error) {
	d, err := h.Identity.Doors(ctx)
	if err != nil {
		return nil, err
	}
	return &providersOut{Providers{
		Providers: each(d.Providers, func(p identity.Provider) Provider {
			return Provider{Name: p.Name, DisplayName: p.DisplayName, LoginURL: "/api/auth/sso/" + p.Name + "/login"}
		}),
		HCaptcha:            HCaptcha{Enabled: d.CaptchaSiteKey != "", SiteKey: orNull(d.CaptchaSiteKey)},
		RegistrationEnabled: d.RegistrationOpen,
	}}, nil
}

func (h console) login(ctx context.Context, in *loginIn) (*signedIn, error) {
	u, token, err := h.Identity.SignIn(ctx, in.Body.Email, secret.New(in.Body.Password), h.client(ctx, in.Visitor, in.Body.CaptchaToken))
	if err != nil {
		return nil, err
	}
	return h.letIn(ctx, u, token)
}

// client is where a visitor comes from.
func (h console) client(ctx context.Context, v Visitor, captchaToken string) identity.Client {
	return identity.Client{
		IP: edge.Of(ctx).ClientIP(), UserAgent: v.UserAgent, Captcha: secret.New(captchaToken), Session: h.keeper.Earlier(v.request),
	}
}

// letIn gives somebody the cookie of a session that has begun.
func (h console) letIn(ctx context.Context, u store.User, token secret.Text) (*signedIn, error) {
	edge.Of(ctx).User = u.ID.String()
	body, err := h.showUser(ctx, u)
	if err != nil {
		return nil, err
	}
	return &signedIn{SetCookie: []http.Cookie{h.keeper.Cookie(ctx, token)}, Body: body}, nil
}

func (h console) logout(ctx context.Context, _ *struct{}) (*signedOut, error) {
	return &signedOut{[]http.Cookie{h.keeper.NoCookie(ctx)}}, h.Identity.SignOut(ctx)
}
