// Package session knows how people prove who they are over HTTP: the session
// cookie of a browser and the API key of a program. What they may then do is
// the core's to say.
package session

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// CookieName is the session cookie.
const CookieName = "kubebyon_session"

// Keeper checks credentials and keeps the cookie.
type Keeper struct {
	Identity *identity.Service
	Origins  edge.Origins
	// AlwaysSecure says whether the cookie is to be kept off plain HTTP although
	// this request came by it.
	AlwaysSecure func(context.Context) bool
}

// Authenticate lets in only requests with a good credential. An Authorization
// header wins over a cookie; only a cookie, which browsers add by themselves,
// needs the request to come from a trusted site.
func (k Keeper) Authenticate(a operation.API) operation.Middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		known, err := k.recognize(ctx)
		if err != nil {
			a.Refuse(ctx, err)
			return
		}
		next(known)
	}
}

// Recognize is [Keeper.Authenticate] for operations that are also for people
// who are not signed in (any more). Nor may those be sent by a site that is not
// trusted: a browser that kept the cookie back would take the answer's.
func (k Keeper) Recognize(a operation.API) operation.Middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		known, err := k.recognize(ctx)
		if r, _ := humachi.Unwrap(ctx); errors.Is(err, fault.Unauthenticated) && len(r.Header.Values("Authorization")) == 0 {
			err = cmp.Or(k.Origins.CheckWrite(r), err)
		}
		switch {
		case errors.Is(err, fault.Unauthenticated):
			next(ctx)
		case err != nil:
			a.Refuse(ctx, err)
		default:
			next(known)
		}
	}
}

// recognize returns ctx speaking for whoever asks.
func (k Keeper) recognize(ctx huma.Context) (huma.Context, error) {
	r, _ := humachi.Unwrap(ctx)
	known, err := k.Who(r.WithContext(ctx.Context()))
	if err != nil {
		return nil, err
	}
	return huma.WithContext(ctx, known), nil
}

// Who returns the request's context speaking for whoever asks.
func (k Keeper) Who(r *http.Request) (context.Context, error) {
	token, byCookie, err := k.credential(r)
	if err != nil {
		return nil, err
	}
	prove := k.Identity.APIKey
	known := r.Context()
	if byCookie {
		prove, known = k.Identity.Session, context.WithValue(known, tokenKey{}, token)
	}
	who, _, err := prove(known, token)
	if err != nil {
		return nil, err
	}
	edge.Of(known).User = who.UserID.String()
	return actor.With(known, who), nil
}

// OwnSite refuses what a browser sends for a site that is not trusted, also
// without a cookie: nobody shall be signed in as somebody else.
func (k Keeper) OwnSite(a operation.API) operation.Middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, _ := humachi.Unwrap(ctx)
		if err := k.Origins.CheckWrite(r); err != nil {
			a.Refuse(ctx, err)
			return
		}
		next(ctx)
	}
}

// credential is what the request proves itself with.
func (k Keeper) credential(r *http.Request) (token secret.Text, byCookie bool, err error) {
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		key, ok := apiKey(values)
		if !ok {
			return key, false, unauthenticated()
		}
		return key, false, nil
	}
	token, ok := cookieToken(r)
	if !ok {
		return token, false, unauthenticated()
	}
	return token, true, k.Origins.CheckWrite(r)
}

func unauthenticated() error {
	return fault.Unauthenticated.New("unauthenticated", "Sign in first, or send an API key.")
}

var (
	keyRE   = regexp.MustCompile(`^kbk_[A-Za-z0-9_-]{1,200}$`) //nolint:gochecknoglobals // a constant
	tokenRE = regexp.MustCompile(`^kbs_[A-Za-z0-9_-]{43}$`)    //nolint:gochecknoglobals // a constant
)

func apiKey(authorization []string) (secret.Text, bool) {
	scheme, value, _ := strings.Cut(authorization[0], " ")
	value = strings.TrimSpace(value)
	if len(authorization) != 1 || !strings.EqualFold(scheme, "Bearer") || !keyRE.MatchString(value) {
		return secret.Text{}, false
	}
	return secret.New(value), true
}

// cookieToken is the session's token. This server gives a browser one cookie; a
// second one of its name comes from a neighbour in the domain, who may want a
// person to work in an account of the neighbour's. Which is which cannot be told:
// none is believed.
func cookieToken(r *http.Request) (secret.Text, bool) {
	all := r.CookiesNamed(CookieName)
	if len(all) != 1 || !tokenRE.MatchString(all[0].Value) {
		return secret.Text{}, false
	}
	return secret.New(all[0].Value), true
}

// Earlier is the session token that a browser brings which is about to get
// another one. It proves nothing here. Beside an Authorization header a cookie
// says nothing.
func (k Keeper) Earlier(r *http.Request) secret.Text {
	if len(r.Header.Values("Authorization")) > 0 {
		return secret.Text{}
	}
	token, _ := cookieToken(r)
	return token
}

// Cookie carries a session that has just begun or been used.
func (k Keeper) Cookie(ctx context.Context, token secret.Text) http.Cookie {
	return k.cookie(ctx, CookieName, token.Reveal(), int(identity.SessionIdle/time.Second))
}

// NoCookie takes the cookie back.
func (k Keeper) NoCookie(ctx context.Context) http.Cookie { return k.cookie(ctx, CookieName, "", -1) }

func (k Keeper) cookie(ctx context.Context, name, value string, maxAge int) http.Cookie {
	return http.Cookie{ //nolint:gosec // secure wherever it can be: a server without TLS could not be signed in to
		Name: name, Value: value, Path: "/", MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: k.isSecure(ctx),
	}
}

func (k Keeper) isSecure(ctx context.Context) bool {
	return k.AlwaysSecure(ctx) || strings.HasPrefix(edge.Of(ctx).Origin, "https://")
}

type tokenKey struct{}

// Renewed is the cookie that the request of ctx proved itself with, for as long
// again; none when it used something else. Sessions live on while they are used,
// and so must the cookie.
func (k Keeper) Renewed(ctx context.Context) []http.Cookie {
	token, ok := ctx.Value(tokenKey{}).(secret.Text)
	if !ok {
		return nil
	}
	return []http.Cookie{k.Cookie(ctx, token)}
}
