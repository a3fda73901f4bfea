package httpapi_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
)

// TestThePublicURLMayChange while the server runs: whom it trusts, whether the
// cookie is for https only, and where machines are sent all follow at once.
func TestThePublicURLMayChange(t *testing.T) {
	t.Parallel()
	var public, join atomic.Value
	now := func(people, machines string) { public.Store(people); join.Store(machines) }
	now("", "")
	w := newWorld(t, func(c *httpapi.Config) {
		c.PublicBaseURL = "https://the-first.test"
		c.BaseURLs = func(context.Context) (string, string) { return public.Load().(string), join.Load().(string) }
	})
	ada := w.as(userEmail)
	cluster := ada.cluster("demo", true)
	for _, c := range []struct{ public, join, trusted, refused, base string }{
		{"", "", "http://" + host, "https://a.test", "http://" + host},
		{"https://a.test", "", "https://a.test", "https://b.test", "https://a.test"},
		{"https://b.test/", "http://join.test/", "https://b.test", "https://a.test", "http://join.test"},
		{"http://b.test", "", "http://b.test", "https://b.test", "http://b.test"},
		{"no URL", "`reboot`", "http://" + host, "https://b.test", "http://" + host},
		{"", "", "http://" + host, "https://the-first.test", "http://" + host},
	} {
		now(c.public, c.join)
		ada.with("Origin", c.trusted).do("PUT", "/api/console/me", map[string]any{"name": "x"}).want(200, "")
		ada.with("Origin", c.refused).do("PUT", "/api/console/me", map[string]any{"name": "x"}).want(403, "csrf_rejected")
		cookie := ada.do("GET", "/api/auth/me", nil).want(200, "").Result().Cookies()[0]
		if cookie.Secure != strings.HasPrefix(c.public, "https:") {
			t.Errorf("with %q the cookie is secure: %v", c.public, cookie.Secure)
		}
		r := ada.do("POST", "/api/console/clusters/"+cluster+"/join-token", nil).want(201, "")
		if command := r.text("token", "join_command"); !strings.HasPrefix(command, `curl -sfL "`+c.base+"/join?") {
			t.Errorf("with %q and %q: %s", c.public, c.join, command)
		}
	}
}

// TestPreflights are answered to anybody at any time, so they must tell nothing,
// use nothing up and cost next to nothing.
func TestPreflights(t *testing.T) {
	t.Parallel()
	w := newWorld(t, defaults, func(c *httpapi.Config) { c.CORSAllowedOrigins = []string{"https://console.test"} })
	ask := func(origin, method, headers string) answer {
		return w.anybody().with("Origin", origin, "Access-Control-Request-Method", method, "Access-Control-Request-Headers", headers).do("OPTIONS", "/api/auth/login", nil).want(204, "")
	}
	w.unchanged(func() {
		for range 20 { // more than there may be sign-ins
			if r := ask("https://console.test", "POST", "content-type"); r.Header().Get("Access-Control-Allow-Origin") != "https://console.test" || r.Header().Get("Access-Control-Max-Age") != "600" {
				t.Fatalf("headers %v", r.Header())
			}
		}
	})
	w.anybody().do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": password}).want(200, "")
	for _, c := range []struct{ name, origin, method, headers string }{
		{"Stranger", "https://evil.test", "POST", "content-type"},
		{"Null", "null", "POST", "content-type"},
		{"OddMethod", "https://console.test", "FROB", "content-type"},
		{"OddHeader", "https://console.test", "POST", "content-type,x-odd"},
		{"TwoOrigins", "https://console.test, https://evil.test", "POST", "content-type"},
		{"AllTheHeadersThatFit", "https://console.test", "POST", strings.Repeat("a,", 15<<10)},
		{"NothingButCommas", "https://console.test", "POST", strings.Repeat(",", 30<<10)},
		{"ManyMethods", "https://console.test", strings.Repeat("POST,", 6<<10), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ask(c.origin, c.method, c.headers)
			for name := range r.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("the answer has %s", name)
				}
			}
			if r.Body.Len() > 0 || !strings.Contains(r.Header().Get("Vary"), "Origin") {
				t.Errorf("headers %v, body %s", r.Header(), r.Body)
			}
		})
	}
}

// TestWhatAConsoleElsewhereReads of answers: also why it was refused, when to try
// again, and that something broke.
func TestWhatAConsoleElsewhereReads(t *testing.T) {
	t.Parallel()
	const console = "https://console.test"
	listed := func(c *httpapi.Config) { c.CORSAllowedOrigins = []string{console, "*"} }
	w := newWorld(t, defaults, listed)
	check := func(what, allowed, credentials string, a *httptest.ResponseRecorder) {
		t.Helper()
		h := a.Header()
		if h.Get("Access-Control-Allow-Origin") != allowed || h.Get("Access-Control-Allow-Credentials") != credentials || !strings.Contains(strings.Join(h.Values("Vary"), ","), "Origin") {
			t.Errorf("%s: %d %v", what, a.Code, h)
		}
		for _, name := range []string{"X-Request-Id", "Retry-After", "X-KubeBYON-Join-Error", "Content-Disposition"} {
			if !strings.Contains(strings.ToLower(h.Get("Access-Control-Expose-Headers")), strings.ToLower(name)) {
				t.Errorf("%s: %s is not exposed: %v", what, name, h)
			}
		}
	}
	for range 6 {
		a := w.anybody().with("Origin", console).do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": "wrong"})
		check("a sign-in", console, "true", a.ResponseRecorder)
	}
	for what, path := range map[string]string{"no credential": "/api/console/me", "no path": "/nope", "the page": "/docs", "a packed file": "/docs/assets/swagger-ui.css"} {
		for origin, credentials := range map[string]string{console: "true", "https://anybody.test": ""} {
			allowed := console
			if credentials == "" {
				allowed = "*"
			}
			check(what, allowed, credentials, w.anybody().with("Origin", origin, "Accept-Encoding", "gzip").do("GET", path, nil).ResponseRecorder)
		}
	}
	front := httptest.NewRecorder()
	var c httpapi.Config
	listed(&c)
	r := httptest.NewRequest("GET", "/api/console/me", nil)
	r.Header.Set("Origin", console)
	httpapi.NewFront(c).ServeHTTP(front, r)
	check("a server that starts", console, "true", front)
}

// TestTwoSessionCookiesAreNone: a neighbour in the domain can set a cookie of the
// same name for the whole domain, and the order in which both come tells nothing.
func TestTwoSessionCookiesAreNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve := w.as(userEmail).header.Get("Cookie"), w.as(otherEmail).header.Get("Cookie")
	for _, both := range []string{ada + "; " + eve, eve + "; " + ada, ada + "; " + ada, ada + "; " + session.CookieName + "=", session.CookieName + "=; " + ada} {
		w.anybody().with("Cookie", both).do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
		w.anybody().with("Cookie", both).do("PUT", "/api/console/me", map[string]any{"name": "x"}).want(401, "unauthenticated")
	}
}

// TestFormsReachNothing that reads JSON: a page elsewhere can have a browser send
// a form without asking first.
func TestFormsReachNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const login = `{"email":"` + userEmail + `","password":"` + password + `"}`
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain;charset=UTF-8", "TEXT/PLAIN", "text/plain; application/json", "application/json, text/plain", "application/jsonx"} {
		w.anybody().with("Content-Type", kind).do("POST", "/api/auth/login", login).want(415, "unsupported_media_type")
		w.as(userEmail).with("Content-Type", kind).do("PUT", "/api/console/me", `{"name":"x"}`).want(415, "unsupported_media_type")
	}
}
