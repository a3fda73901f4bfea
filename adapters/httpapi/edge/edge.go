// Package edge is what every request passes before anybody knows what it asks
// for: it gets a name, a client address and an origin, is logged, cannot crash
// the server, and leaves with the headers that browsers need to be told. It
// also holds the rules that compare a request with where it came from: CSRF,
// CORS and rate limits.
//
// It knows nothing of people, clusters or operations.
package edge

import (
	"context"
	"encoding/base32"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
)

// Visit is what is known of a request from the connection and its headers.
type Visit struct {
	ID     string
	IP     netip.Addr // the client's; invalid where it cannot be known
	Origin string     // "https://host[:port]" that the client used; empty where the Host is malformed

	// User is who asked, for the access log. Whoever authenticates sets it.
	User string
}

// ClientIP is the client's address as text, empty where it is not known.
func (v *Visit) ClientIP() string {
	if !v.IP.IsValid() {
		return ""
	}
	return v.IP.String()
}

type visitKey struct{}

// Of returns the visit that ctx serves. Outside a request it is an empty one.
func Of(ctx context.Context) *Visit {
	if v, ok := ctx.Value(visitKey{}).(*Visit); ok {
		return v
	}
	return new(Visit)
}

// Door is where requests come in.
type Door struct {
	Log     *slog.Logger
	Now     func() time.Time
	Random  func(b []byte) error
	Proxies Proxies
	Begin   Observer
}

// Observer is told that a request begins, and whether it comes from a trusted
// proxy, whose headers are believed. The request is answered in the context that
// it returns; the function that it returns is told of the answer once. The method
// is one of HTTP's or "OTHER", the route a pattern, empty where nothing matched,
// and the status 0 when the connection was broken off before there was one. A nil
// Observer is nobody.
type Observer func(r *http.Request, trusted bool) (context.Context, func(method, route string, status int))

// Around returns an Observer that tells inner between being told itself.
func (o Observer) Around(inner Observer) Observer {
	switch {
	case o == nil:
		return inner
	case inner == nil:
		return o
	}
	return func(r *http.Request, trusted bool) (context.Context, func(method, route string, status int)) {
		ctx, end := o(r, trusted)
		ctx, done := inner(r.WithContext(ctx), trusted)
		return ctx, func(method, route string, status int) {
			done(method, route, status)
			end(method, route, status)
		}
	}
}

// Middleware names, logs and guards every request that next serves.
func (d Door) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &Visit{ID: d.requestID(r), IP: d.Proxies.ClientIP(r), Origin: d.Proxies.Origin(r)}
		ctx, end := d.begin(r)
		ctx = context.WithValue(ctx, visitKey{}, v)
		r = r.WithContext(problem.WithRequest(ctx, v.ID))
		out := &answer{ResponseWriter: w, id: v.ID}
		began := d.Now()
		isWhole := false
		defer func() { d.record(r, v, out, d.Now().Sub(began), isWhole, end) }()
		defer func() {
			d.rescue(out, r, recover())
			isWhole = true
		}()
		next.ServeHTTP(out, r)
	})
}

func (d Door) begin(r *http.Request) (context.Context, func(method, route string, status int)) {
	if d.Begin == nil {
		return r.Context(), func(string, string, int) {}
	}
	return d.Begin(r, d.Proxies.trusts(peer(r)))
}

var (
	requestIDRE  = regexp.MustCompile(`^[A-Za-z0-9._-]{8,64}$`)     //nolint:gochecknoglobals // a constant
	credentialRE = regexp.MustCompile(`kb[kst]_|kite[0-9]+-`)       //nolint:gochecknoglobals // what join tokens, sessions and API keys begin with
	idEncoding   = base32.HexEncoding.WithPadding(base32.NoPadding) //nolint:gochecknoglobals // a constant
)

// requestID takes over the name that a trusted proxy gave, so that its log and
// this one can be read together. A proxy may pass on what a client wrote: a
// credential in the wrong header is no name.
func (d Door) requestID(r *http.Request) string {
	if given := r.Header.Get("X-Request-Id"); d.Proxies.trusts(peer(r)) && requestIDRE.MatchString(given) && !credentialRE.MatchString(given) {
		return given
	}
	var b [10]byte
	if err := d.Random(b[:]); err != nil {
		d.Log.ErrorContext(r.Context(), "no random bytes for a request's id", "err", err)
		return "unnamed"
	}
	return strings.ToLower(idEncoding.EncodeToString(b[:]))
}
