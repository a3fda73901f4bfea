package httpapi_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestSigningIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.anybody().do("POST", "/api/auth/login", map[string]any{"email": " ADA@kubebyon.test ", "password": password, "captcha_token": "unused"}).want(200, "")
	if r.text("user", "email") != userEmail || r.text("user", "role") != "user" || r.at("user", "has_password") != true || r.at("user", "avatar_url") != nil {
		t.Errorf("got %s", r.Body)
	}
	c := r.Result().Cookies()[0]
	if c.Name != "kubebyon_session" || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure || c.MaxAge != 7*24*3600 || c.Domain != "" {
		t.Errorf("cookie %+v", c)
	}
	if r.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", r.Header().Get("Cache-Control"))
	}
	if strings.Contains(r.Body.String(), c.Value) {
		t.Error("the session token is in the body")
	}
}

// TestCookieIsSecure wherever it can be.
func TestCookieIsSecure(t *testing.T) {
	t.Parallel()
	login := func(c caller, change func(*http.Request)) *http.Cookie {
		r := c.request("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": password})
		change(r)
		a := httptest.NewRecorder()
		c.server.ServeHTTP(a, r)
		return a.Result().Cookies()[0]
	}
	plain := newWorld(t).anybody()
	if !login(plain, func(r *http.Request) { r.TLS = new(tls.ConnectionState) }).Secure {
		t.Error("not over TLS")
	}
	if login(plain, func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }).Secure {
		t.Error("secure by a stranger's word")
	}
	public := newWorld(t, func(c *httpapi.Config) { c.PublicBaseURL = "https://public.test" }).anybody()
	if !login(public, func(*http.Request) {}).Secure {
		t.Error("not although the public URL is https")
	}
}

func TestRefusedSignIns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	login := func(body any) answer { return w.anybody().do("POST", "/api/auth/login", body) }
	wrong := login(map[string]any{"email": userEmail, "password": "wrong"}).want(401, "invalid_credentials")
	unknown := login(map[string]any{"email": "nobody@kubebyon.test", "password": password}).want(401, "invalid_credentials")
	if wrong.text("detail") != unknown.text("detail") {
		t.Error("an unknown address and a wrong password can be told apart")
	}
	if wrong.Header().Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
	login(map[string]any{"email": "no address", "password": password}).want(401, "invalid_credentials")
	w.ban(userEmail)
	login(map[string]any{"email": userEmail, "password": password}).want(403, "account_banned")
	login(map[string]any{"email": userEmail, "password": "wrong"}).want(401, "invalid_credentials")
	for _, body := range []any{nil, "", "{", "[]", "null", `"text"`, map[string]any{}, map[string]any{"email": userEmail}, map[string]any{"email": 1, "password": password}} {
		login(body).want(400, "validation_failed")
	}
	for _, r := range []answer{wrong, unknown} {
		if r.Header().Get("Set-Cookie") != "" {
			t.Error("a refused sign-in set a cookie")
		}
	}
}

func (w *world) ban(email string) {
	w.t.Helper()
	w.write(func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().ByEmail(ctx, email)
		if err != nil {
			return err
		}
		u.Status = string(identity.Banned)
		return tx.Users().Update(ctx, &u)
	})
}

// TestBannedAtOnce: what somebody has stops working the moment they are banned.
func TestBannedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, key := w.as(userEmail), w.withKey(userEmail, nil)
	ada.do("GET", "/api/console/me", nil).want(200, "")
	key.do("GET", "/api/console/me", nil).want(200, "")
	w.ban(userEmail)
	ada.do("GET", "/api/console/me", nil).want(401, "unauthenticated")
	key.do("GET", "/api/console/me", nil).want(401, "unauthenticated")
}

const keyValue = "kbk_0123456789abcdef"

func (w *world) withKey(email string, expires *time.Time) caller {
	w.t.Helper()
	w.write(func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().ByEmail(ctx, email)
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(keyValue))
		return tx.APIKeys().Insert(ctx, store.APIKey{
			ID: id.New[id.APIKeyKind](w.clock.now(), [10]byte{1}), UserID: u.ID, Name: "key", DisplayPrefix: keyValue[:10],
			ValueHash: sum[:], CreatedAt: w.clock.now(), ExpiresAt: expires,
		})
	})
	return w.anybody().with("Authorization", "Bearer "+keyValue)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.as(adminEmail)
	cookie := admin.header.Get("Cookie")
	soon := w.clock.now().Add(time.Hour)
	w.withKey(userEmail, &soon)
	for _, c := range []struct {
		name    string
		headers []string
		email   string // empty: 401
	}{
		{"Nothing", nil, ""},
		{"Cookie", []string{"Cookie", cookie}, adminEmail},
		{"OtherCookiesToo", []string{"Cookie", "a=b; " + cookie + "; c=d"}, adminEmail},
		{"Key", []string{"Authorization", "Bearer " + keyValue}, userEmail},
		{"KeyInOtherCase", []string{"Authorization", "bearer " + keyValue}, userEmail},
		{"TheKeyWinsOverTheCookie", []string{"Authorization", "Bearer " + keyValue, "Cookie", cookie}, userEmail},
		{"ABadKeyWinsToo", []string{"Authorization", "Bearer kbk_wrong", "Cookie", cookie}, ""},
		{"AnEmptyHeaderWinsToo", []string{"Authorization", "", "Cookie", cookie}, ""},
		{"Basic", []string{"Authorization", "Basic YTpi", "Cookie", cookie}, ""},
		{"ASessionIsNoKey", []string{"Authorization", "Bearer " + strings.TrimPrefix(cookie, session.CookieName+"=")}, ""},
		{"AKeyIsNoSession", []string{"Cookie", session.CookieName + "=" + keyValue}, ""},
		{"UnknownSession", []string{"Cookie", session.CookieName + "=kbs_" + strings.Repeat("A", 43)}, ""},
		{"MalformedSession", []string{"Cookie", session.CookieName + "=x"}, ""},
		{"EmptySession", []string{"Cookie", session.CookieName + "="}, ""},
		{"NoScheme", []string{"Authorization", keyValue}, ""},
		{"TwoWords", []string{"Authorization", "Bearer " + keyValue + " x"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := w.anybody().with(c.headers...).do("GET", "/api/auth/me", nil)
			if c.email == "" {
				r.want(401, "unauthenticated")
				return
			}
			if got := r.want(200, "").text("user", "email"); got != c.email {
				t.Errorf("got %s, want %s", got, c.email)
			}
		})
	}
	twice := w.anybody()
	twice.header["Authorization"] = []string{"Bearer " + keyValue, "Bearer " + keyValue}
	twice.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	w.clock.advance(2 * time.Hour)
	w.anybody().with("Authorization", "Bearer "+keyValue).do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
}

// TestSessionsLiveOn while they are used, and so does the cookie; they end
// after a month in any case.
func TestSessionsLiveOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	for range 4 {
		w.clock.advance(6 * 24 * time.Hour)
		r := ada.do("GET", "/api/auth/me", nil).want(200, "")
		c := r.Result().Cookies()
		if len(c) != 1 || c[0].MaxAge != 7*24*3600 || session.CookieName+"="+c[0].Value != ada.header.Get("Cookie") {
			t.Fatalf("cookies %v", c)
		}
	}
	w.clock.advance(6*24*time.Hour + time.Second)
	ada.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	olga := w.as(operatorMail)
	w.clock.advance(7*24*time.Hour + time.Second)
	olga.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	if c := w.withKey(userEmail, nil).do("GET", "/api/auth/me", nil).want(200, "").Result().Cookies(); len(c) != 0 {
		t.Errorf("an API key got cookies %v", c)
	}
}

func TestSigningOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	for range 2 {
		r := ada.do("POST", "/api/auth/logout", nil).want(204, "")
		if c := r.Result().Cookies(); len(c) != 1 || c[0].Name != session.CookieName || c[0].MaxAge >= 0 || c[0].Value != "" {
			t.Errorf("cookies %v", c)
		}
	}
	ada.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	w.anybody().do("POST", "/api/auth/logout", nil).want(204, "")
	w.anybody().with("Authorization", "Bearer kbk_bad").do("POST", "/api/auth/logout", nil).want(204, "")
}

// TestSigningInAgain ends the session that the browser had: it forgets the cookie.
func TestSigningInAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, elsewhere := w.as(userEmail), w.as(userEmail)
	login := map[string]any{"email": userEmail, "password": password}
	ada.do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": "wrong"}).want(401, "invalid_credentials")
	ada.do("GET", "/api/auth/me", nil).want(200, "")
	ada.with("Origin", "https://evil.test").do("POST", "/api/auth/login", login).want(403, "csrf_rejected")
	ada.do("GET", "/api/auth/me", nil).want(200, "")
	c := ada.do("POST", "/api/auth/login", login).want(200, "").Result().Cookies()[0]
	ada.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	elsewhere.do("GET", "/api/auth/me", nil).want(200, "")
	w.anybody().with("Cookie", c.Name+"="+c.Value).do("GET", "/api/auth/me", nil).want(200, "")
}

func TestProviders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ask := func(want string) {
		t.Helper()
		r := w.anybody().with("Authorization", "Bearer kbk_bad").do("GET", "/api/auth/providers", nil).want(200, "")
		if got := strings.TrimSpace(r.Body.String()); got != want {
			t.Errorf("got %s", got)
		}
	}
	w.policy.set(func(p *policy) { p.open = false })
	ask(`{"providers":[],"hcaptcha":{"enabled":false,"site_key":null},"registration_enabled":false}`)
	w.policy.set(func(p *policy) {
		p.open, p.captcha = true, identity.Captcha{SiteKey: "site-key", Verifier: solved}
		p.offered = []identity.Provider{{Name: "github", DisplayName: "GitHub"}}
	})
	ask(`{"providers":[{"name":"github","display_name":"GitHub","login_url":"/api/auth/sso/github/login"}],"hcaptcha":{"enabled":true,"site_key":"site-key"},"registration_enabled":true}`)
	w.policy.set(func(p *policy) { p.fault = fault.Unavailable.New("store_busy", "Busy.") })
	w.anybody().do("GET", "/api/auth/providers", nil).want(503, "store_busy")
}

func TestProfile(t *testing.T) {
	t.Parallel()
	ada := newWorld(t).as(userEmail)
	ada.do("PUT", "/api/console/me", map[string]any{"name": " Ada Lovelace "}).want(200, "")
	if got := ada.do("GET", "/api/console/me", nil).want(200, "").text("user", "name"); got != "Ada Lovelace" {
		t.Errorf("the name is %q", got)
	}
	for _, body := range []any{nil, "{", map[string]any{}, map[string]any{"name": ""}, map[string]any{"name": nil}, map[string]any{"name": "a", "role": "admin"}, map[string]any{"name": strings.Repeat("a", 101)}, map[string]any{"name": "a\u0000b"}} {
		ada.do("PUT", "/api/console/me", body).want(400, "validation_failed")
	}
}

// TestCSRF: a browser that sends the cookie for another site changes nothing,
// and cannot be made to sign somebody in or out either.
func TestCSRF(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *httpapi.Config) {
		c.PublicBaseURL, c.CORSAllowedOrigins = "https://public.test", []string{"https://console.test", "*"}
	})
	ada := w.as(userEmail)
	login := map[string]any{"email": userEmail, "password": password}
	for _, c := range []struct {
		name    string
		headers []string
		ok      bool
	}{
		{"Curl", nil, true},
		{"Own", []string{"Origin", "http://" + host, "Sec-Fetch-Site", "same-origin"}, true},
		{"Public", []string{"Origin", "https://public.test"}, true},
		{"Listed", []string{"Origin", "https://console.test", "Sec-Fetch-Site", "same-site"}, true},
		{"ListedCrossSite", []string{"Origin", "https://console.test", "Sec-Fetch-Site", "cross-site"}, false},
		{"Stranger", []string{"Origin", "https://evil.test"}, false},
		{"StrangerSameSite", []string{"Origin", "https://evil." + host, "Sec-Fetch-Site", "same-site"}, false},
		{"Null", []string{"Origin", "null"}, false},
		{"CrossSite", []string{"Sec-Fetch-Site", "cross-site"}, false},
		{"ForgedHost", []string{"Origin", "https://evil.test", "X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "https"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect := func(r answer, status int) {
				t.Helper()
				if c.ok {
					r.want(status, "")
				} else {
					r.want(403, "csrf_rejected")
				}
			}
			expect(ada.with(c.headers...).do("PUT", "/api/console/me", map[string]any{"name": c.name}), 200)
			expect(w.anybody().with(c.headers...).do("POST", "/api/auth/login", login), 200)
			expect(w.as(userEmail).with(c.headers...).do("POST", "/api/auth/logout", nil), 204)
			expect(w.anybody().with(c.headers...).do("POST", "/api/auth/logout", nil), 204) // the answer takes the cookie back
			ada.with(c.headers...).do("GET", "/api/console/me", nil).want(200, "")
			w.anybody().with(c.headers...).do("PUT", "/api/console/me", map[string]any{"name": "x"}).want(401, "unauthenticated")
		})
	}
	if got := ada.do("GET", "/api/console/me", nil).text("user", "name"); got != "Listed" {
		t.Errorf("a refused request changed the name to %q", got)
	}
	key := w.withKey(userEmail, nil)
	key.with("Origin", "https://evil.test", "Sec-Fetch-Site", "cross-site").do("PUT", "/api/console/me", map[string]any{"name": "by key"}).want(200, "")
	key.with("Origin", "https://evil.test", "Cookie", ada.header.Get("Cookie")).do("PUT", "/api/console/me", map[string]any{"name": "by key"}).want(200, "")
}

func TestCORSOnTheRealRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *httpapi.Config) { c.CORSAllowedOrigins = []string{"https://console.test"} })
	r := w.anybody().with("Origin", "https://console.test", "Access-Control-Request-Method", "DELETE").do("OPTIONS", "/api/console/tokens/tok_1", nil)
	if r.Code != 204 || r.Header().Get("Access-Control-Allow-Origin") != "https://console.test" || r.Header().Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("got %d %v", r.Code, r.Header())
	}
	r = w.anybody().with("Origin", "https://console.test").do("GET", "/api/console/me", nil).want(401, "unauthenticated")
	if r.Header().Get("Access-Control-Allow-Origin") != "https://console.test" {
		t.Error("a listed site cannot read why it was refused")
	}
	if r := w.anybody().with("Origin", "https://evil.test").do("GET", "/version", nil); r.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Error("a stranger may read")
	}
}
