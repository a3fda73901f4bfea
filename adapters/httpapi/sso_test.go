package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/oidcsso"
	"github.com/kubebyon/kubebyon/adapters/oidcsso/oidcpeer"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
)

// company is a provider whose codes are the addresses of people; it has not
// verified those that begin with "un".
type company struct{}

func (company) Begin(_ context.Context, a sso.Attempt) (string, error) {
	query := url.Values{"state": {a.State}, "redirect_uri": {a.RedirectURL}}
	return "https://company.example.com/authorize?" + query.Encode(), a.Check()
}

func (company) Complete(_ context.Context, a sso.Attempt, answer sso.Answer) (sso.Identity, error) {
	email := answer.Code.Reveal()
	switch {
	case answer.Error != "":
		return sso.Identity{}, sso.Canceled()
	case email == "outage":
		return sso.Identity{}, sso.Unavailable(errors.New("no route to company.example.com"))
	case !strings.Contains(email, "@"):
		return sso.Identity{}, sso.Failed(errors.New("the provider refused the code"))
	}
	return sso.Identity{Subject: secret.New("https://company.example.com " + email), Email: email, EmailVerified: !strings.HasPrefix(email, "un")}, a.Check()
}

// way begins a sign-in without a browser.
func (w *world) way() (state, cookie string) {
	w.t.Helper()
	to, sealed, err := w.people.BeginSSO(w.t.Context(), "company", "http://"+host+"/api/auth/sso/company/callback", "/clusters")
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		w.t.Fatal(err)
	}
	return u.Query().Get("state"), sealed.Reveal()
}

// leave sends a browser to a provider: where it goes, and the browser with its
// cookie.
func (c caller) leave(redirect string) (to *url.URL, browser caller) {
	c.t.Helper()
	a := c.do("GET", "/api/auth/sso/company/login?redirect="+url.QueryEscape(redirect), nil).want(302, "")
	cookies := a.Result().Cookies()
	if len(cookies) != 1 {
		c.t.Fatalf("cookies %v", cookies)
	}
	to, err := url.Parse(a.Header().Get("Location"))
	if err != nil {
		c.t.Fatal(err)
	}
	return to, c.with("Cookie", cookies[0].Name+"="+cookies[0].Value)
}

func back(state, code string) string {
	return "/api/auth/sso/company/callback?" + url.Values{"state": {state}, "code": {code}}.Encode()
}

func TestSigningInAtAProvider(t *testing.T) {
	t.Parallel()
	mem := memstore.New()
	w := newWorldOf(t, onStore(mem))
	to, browser := w.anybody().leave("/clusters?limit=10")
	if to.Host != "company.example.com" || to.Query().Get("redirect_uri") != "http://"+host+"/api/auth/sso/company/callback" {
		t.Errorf("sent to %v", to)
	}
	state := to.Query().Get("state")
	a := browser.do("GET", back(state, userEmail), nil).want(302, "")
	if a.Header().Get("Location") != "/clusters?limit=10" || a.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%v", a.Header())
	}
	cookies := a.Result().Cookies()
	if len(cookies) != 2 || cookies[1].Name != session.WayCookieName || cookies[1].MaxAge >= 0 || cookies[1].Value != "" {
		t.Errorf("cookies %v", cookies)
	}
	ada := a.cookieOf(w)
	me := ada.do("GET", "/api/auth/me", nil).want(200, "")
	if list, _ := me.at("user", "sso_providers").([]any); me.text("user", "email") != userEmail || len(list) != 1 || list[0] != "company" || me.at("user", "has_password") != true {
		t.Errorf("%s", me.Body)
	}
	for _, kept := range []string{state, strings.TrimPrefix(browser.header.Get("Cookie"), session.WayCookieName+"="), "https://company.example.com " + userEmail} {
		if strings.Contains(coretest.Dump(mem)+w.log.String(), kept) {
			t.Errorf("%s is kept", kept)
		}
	}
	to, browser = w.anybody().leave("")
	a = browser.do("GET", back(to.Query().Get("state"), newcomer), nil).want(302, "")
	nora := a.cookieOf(w)
	if me := nora.do("GET", "/api/auth/me", nil).want(200, ""); a.Header().Get("Location") != "/" || me.text("user", "email") != newcomer || me.at("user", "has_password") != false {
		t.Errorf("%v %s", a.Header(), me.Body)
	}
	nora.do("POST", "/api/console/clusters/"+nora.cluster("nora", true)+"/kubeconfig", map[string]any{"password": password}).want(409, "password_not_set")
}

// TestTheCookieOfAWay stays with the host that gave it.
func TestTheCookieOfAWay(t *testing.T) {
	t.Parallel()
	plain := newWorld(t).anybody().do("GET", "/api/auth/sso/company/login", nil).want(302, "").Result().Cookies()[0]
	if plain.Name != "kubebyon_sso" || !plain.HttpOnly || plain.SameSite != http.SameSiteLaxMode || plain.Path != "/" || plain.MaxAge != 600 || plain.Secure || plain.Domain != "" {
		t.Errorf("%+v", plain)
	}
	public := newWorld(t, func(c *httpapi.Config) { c.PublicBaseURL = "https://public.test/" })
	a := public.anybody().do("GET", "/api/auth/sso/company/login", nil).want(302, "")
	c := a.Result().Cookies()[0]
	if c.Name != "__Host-kubebyon_sso" || !c.Secure || !strings.Contains(a.Header().Get("Location"), url.QueryEscape("https://public.test/api/auth/sso/company/callback")) {
		t.Errorf("%+v %v", c, a.Header())
	}
	to, browser := public.anybody().leave("/")
	state := to.Query().Get("state")
	cookie := browser.header.Get("Cookie")
	for _, tossed := range []string{cookie + "; " + cookie, strings.TrimPrefix(cookie, "__Host-")} { // by a neighbour in the domain
		if a := public.anybody().with("Cookie", tossed).do("GET", back(state, userEmail), nil).want(302, ""); a.Header().Get("Location") != "/login?error=sso_expired" {
			t.Errorf("%.20s…: %v", tossed, a.Header())
		}
	}
	if a := browser.do("GET", back(state, userEmail), nil).want(302, ""); a.Header().Get("Location") != "/" {
		t.Errorf("%v", a.Header())
	}
}

func TestAFailureAtAProviderIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ban(operatorMail)
	fails := func(name string, a answer, code string) {
		t.Helper()
		if a.want(302, ""); a.Header().Get("Location") != "/login?error="+code {
			t.Errorf("%s: sent to %q, want the error %s", name, a.Header().Get("Location"), code)
		}
		for _, c := range a.Result().Cookies() {
			if c.Value != "" || c.Name != session.WayCookieName {
				t.Errorf("%s: set the cookie %v", name, c)
			}
		}
	}
	for code, want := range map[string]string{
		operatorMail: "account_banned", "un" + userEmail: "sso_email_unverified", "outage": "sso_unavailable", "made-up": "sso_failed", "": "sso_failed",
	} {
		to, browser := w.anybody().leave("/")
		fails(code, browser.do("GET", back(to.Query().Get("state"), code), nil), want)
	}
	to, browser := w.anybody().leave("/")
	state := to.Query().Get("state")
	fails("canceled", browser.do("GET", "/api/auth/sso/company/callback?error=access_denied&state="+state, nil), "sso_canceled")
	fails("no cookie", w.anybody().do("GET", back(state, userEmail), nil), "sso_expired")
	fails("no state", browser.do("GET", "/api/auth/sso/company/callback?code="+userEmail, nil), "sso_failed")
	fails("another provider", browser.do("GET", strings.Replace(back(state, userEmail), "company", "other", 1), nil), "sso_failed")
	fails("an unknown provider", w.anybody().do("GET", "/api/auth/sso/other/login", nil), "sso_provider_unknown")
	w.policy.set(func(p *policy) { p.open = false })
	fails("a newcomer", browser.do("GET", back(state, newcomer), nil), "registration_closed")
	w.store.setError(errors.New("the disk is full"))
	fails("a broken store", browser.do("GET", back(state, userEmail), nil), "internal")
	w.store.setError(nil)
	w.clock.advance(10 * time.Minute)
	fails("too late", browser.do("GET", back(state, userEmail), nil), "sso_expired")
	for _, redirect := range []string{"https://evil.test", "//evil.test", `/\evil.test`, "clusters", "/a/../b"} {
		w.anybody().do("GET", "/api/auth/sso/company/login?redirect="+url.QueryEscape(redirect), nil).want(400, "validation_failed")
	}
	if log := w.log.String(); strings.Contains(log, state) || strings.Contains(log, "made-up") || !strings.Contains(log, "no route to company.example.com") {
		t.Error("the log holds what a browser brought, or not why the provider failed")
	}
}

// TestLookingAtAWayUsesNothingUp.
func TestLookingAtAWayUsesNothingUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	to, browser := w.anybody().leave("/")
	target := back(to.Query().Get("state"), userEmail)
	if a := browser.do("HEAD", target, nil).want(302, ""); len(a.Result().Cookies()) != 0 {
		t.Errorf("%v", a.Header())
	}
	browser.do("GET", target, nil).want(302, "").cookieOf(w)
}

func TestProvidersAreLimitedByClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *httpapi.Config) { c.AuthLimit = httpapi.Limit{Window: time.Hour, Burst: 2} })
	for _, path := range []string{"/api/auth/sso/company/login", "/api/auth/sso/company/callback"} {
		for range 2 {
			if a := w.anybody().do("GET", path, nil).want(302, ""); strings.Contains(a.Header().Get("Location"), "rate_limited") {
				t.Errorf("%s: refused too early", path)
			}
		}
		if a := w.anybody().do("GET", path, nil).want(302, ""); a.Header().Get("Location") != "/login?error=rate_limited" {
			t.Errorf("%s: %v", path, a.Header())
		}
	}
}

// TestARealProvider runs as a process of its own, and a browser goes there and back.
func TestARealProvider(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const origin = "http://" + host
	peer := oidcpeer.Start(t, oidcpeer.Config{
		Clients: []oidcpeer.Client{{ID: "kubebyon", Secret: "client-secret", RedirectURLs: []string{origin + "/api/auth/sso/company/callback"}}},
		People: []storage.User{
			{ID: "1", Username: "ada", Password: "at-the-provider", FirstName: "Ada", LastName: "Lovelace", Email: userEmail, EmailVerified: true},
			{ID: "2", Username: "eve", Password: "at-the-provider", FirstName: "Eve", LastName: "Lovelace", Email: adminEmail},
		},
	})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	connector, err := oidcsso.New(oidcsso.Options{Client: &http.Client{Transport: transport}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	provider, err := connector.Connect(sso.Config{
		Name: "company", DisplayName: "The company", Type: sso.OIDC, Issuer: peer.Issuer, ClientID: "kubebyon", ClientSecret: secret.New("client-secret"),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.policy.set(func(p *policy) { p.providers = map[string]sso.Provider{"company": provider} })
	visit := func(name string) answer {
		t.Helper()
		to, browser := w.anybody().leave("/clusters")
		at, err := peer.SignIn(t.Context(), to.String(), origin, name, "at-the-provider")
		if err != nil {
			t.Fatal(err)
		}
		a := browser.do("GET", strings.TrimPrefix(at, origin), nil).want(302, "")
		if again := browser.do("GET", strings.TrimPrefix(at, origin), nil).want(302, ""); again.Header().Get("Location") != "/login?error=sso_failed" {
			t.Errorf("the code worked twice: %v", again.Header())
		}
		return a
	}
	a := visit("ada")
	if a.Header().Get("Location") != "/clusters" || a.cookieOf(w).do("GET", "/api/auth/me", nil).want(200, "").text("user", "email") != userEmail {
		t.Errorf("%v", a.Header())
	}
	if a := visit("eve"); a.Header().Get("Location") != "/login?error=sso_email_unverified" {
		t.Errorf("an unverified address of the administrator's: %v", a.Header())
	}
}
