package edge

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rs/cors"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Origins are the web sites that may use the API with a person's cookie.
type Origins struct {
	public  func(context.Context) string // the public base URL, if there is one now
	listed  []string                     // those in the configuration
	anybody bool                         // "*" is listed: anybody may read, without a cookie
}

// NewOrigins reads the configured origins: "https://console.example.com", or
// "*" for anybody without credentials. The public base URL is asked for when it
// matters, for it may change; nil: there is none.
func NewOrigins(listed []string, publicBaseURL func(context.Context) string) (Origins, error) {
	o := Origins{public: publicBaseURL}
	for _, text := range listed {
		if text == "*" {
			o.anybody = true
			continue
		}
		u, err := url.Parse(text)
		origin, oerr := parseOrigin(text)
		if err != nil || oerr != nil || (u.Path != "" && u.Path != "/") {
			return o, fmt.Errorf("allowed origin %q: must be like https://console.example.com, or *", text)
		}
		o.listed = append(o.listed, origin)
	}
	return o, nil
}

func parseOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q must be an http or https URL without user, query or fragment", text)
	}
	origin := originOf(u.Scheme, u.Host)
	if origin == "" {
		return "", fmt.Errorf("%q names no host", text)
	}
	return origin, nil
}

// trusts reports whether pages of an Origin header's site may act for the
// person whose cookie the browser added. Anybody is never trusted.
func (o Origins) trusts(r *http.Request, header string) bool {
	origin, err := parseOrigin(header)
	if err != nil || origin == "" {
		return false
	}
	own := Of(r.Context()).Origin
	if r.Header.Get("Sec-Fetch-Site") == "same-origin" && hostOf(origin) == hostOf(own) {
		return true // the browser says so; TLS may end at a proxy that nobody told this server of
	}
	return origin == own || slices.Contains(o.listed, origin) || o.isPublic(r.Context(), origin)
}

func (o Origins) isPublic(ctx context.Context, origin string) bool {
	if o.public == nil {
		return false
	}
	public, err := parseOrigin(o.public(ctx))
	return err == nil && origin == public
}

// hostOf is an origin without its scheme.
func hostOf(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

// CheckWrite refuses a request that changes something with what a browser adds
// by itself, unless it comes from a trusted site. Programs other than browsers
// send neither header and pass.
func (o Origins) CheckWrite(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	site, origins := r.Header.Get("Sec-Fetch-Site"), r.Header.Values("Origin")
	switch {
	case site == "cross-site": // whatever the origin: a listed one must be of the same site
		return csrfRejected()
	case len(origins) == 1 && o.trusts(r, origins[0]):
		return nil
	case len(origins) == 0 && (site == "" || site == "same-origin" || site == "none"):
		return nil
	}
	return csrfRejected()
}

func csrfRejected() error {
	return fault.Denied.New("csrf_rejected", "The request came from a web site that is not trusted here.")
}

// CORS tells browsers which sites may read answers. Listed ones may send the
// cookie; with "*" anybody may read without it.
func (o Origins) CORS(next http.Handler) http.Handler {
	withCookie := cors.New(options(cors.Options{AllowCredentials: true, AllowOriginFunc: o.isListed})).Handler(next)
	if !o.anybody {
		return withCookie
	}
	without := cors.New(options(cors.Options{AllowedOrigins: []string{"*"}})).Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.isListed(r.Header.Get("Origin")) {
			withCookie.ServeHTTP(w, r)
			return
		}
		w.Header().Add("Vary", "Origin") // listed origins get another answer
		without.ServeHTTP(w, r)
	})
}

func (o Origins) isListed(header string) bool {
	origin, err := parseOrigin(header)
	return err == nil && slices.Contains(o.listed, origin)
}

func options(c cors.Options) cors.Options {
	c.AllowedMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	c.AllowedHeaders = []string{"Authorization", "Content-Type", "Idempotency-Key"}
	c.ExposedHeaders = []string{"Content-Disposition", "Retry-After", "X-KubeBYON-Join-Error", "X-Request-Id"}
	c.MaxAge = 600
	return c
}
