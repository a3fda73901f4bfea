package oidcsso_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/sso/ssotest"
)

// newHub is GitHub as its documentation describes it: errors of the token
// endpoint come with status 200, and as a form where JSON was not asked for.
func newHub(t *testing.T) *liar {
	t.Helper()
	l := newLiar(t)
	l.does("/login/oauth/access_token", func(w http.ResponseWriter, r *http.Request) { l.hubToken(w, r) })
	l.does("/api/v3/user", l.api(`{"id":18151210,"login":"ada","name":"Ada Lovelace","email":"profile@example.com"}`))
	l.does("/api/v3/user/emails", l.api(`[
		{"email":"first@example.com","primary":false,"verified":true,"visibility":null},
		{"email":"ada@example.com","primary":true,"verified":true,"visibility":"public"},
		{"email":"18151210+ada@users.noreply.github.com","primary":false,"verified":true,"visibility":null}]`))
	return l
}

func (l *liar) hubToken(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	grant := l.grants[r.PostFormValue("code")]
	delete(l.grants, r.PostFormValue("code"))
	l.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	answer := url.Values{"access_token": {accessToken}, "scope": {"read:user,user:email"}, "token_type": {"bearer"}}
	switch {
	case r.PostFormValue("client_id") != clientID || r.PostFormValue("client_secret") != clientSecret:
		answer = url.Values{"error": {"incorrect_client_credentials"}, "error_description": {echo(r)}}
	case grant == nil || grant.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]):
		answer = url.Values{"error": {"bad_verification_code"}, "error_description": {echo(r)}}
	case grant.Get("redirect_uri") != r.PostFormValue("redirect_uri"):
		answer = url.Values{"error": {"redirect_uri_mismatch"}, "error_description": {echo(r)}}
	}
	if r.Header.Get("Accept") != "application/json" {
		w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		_, _ = io.WriteString(w, answer.Encode())
		return
	}
	said := map[string]string{}
	for name := range answer {
		said[name] = answer.Get(name)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(said)
}

func (l *liar) api(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("User-Agent") == "" || strings.HasPrefix(r.Header.Get("User-Agent"), "Go-http-client"):
			w.WriteHeader(http.StatusForbidden) // GitHub wants to know who asks
		case r.Header.Get("Authorization") != "Bearer "+accessToken:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = io.WriteString(w, body)
		}
	}
}

func (l *liar) hubConfig() sso.Config {
	c := l.config()
	c.Type, c.Issuer = sso.GitHub, l.URL
	return c
}

func TestGitHub(t *testing.T) {
	t.Parallel()
	ssotest.Run(t, func(t *testing.T) ssotest.World {
		l := newHub(t)
		c, seen := connector(t, 10*time.Second)
		impatient, _ := connector(t, 300*time.Millisecond)
		fail := func(h http.HandlerFunc) {
			for _, path := range []string{"/login/oauth/access_token", "/api/v3/user", "/api/v3/user/emails"} {
				l.does(path, h)
			}
		}
		return ssotest.World{
			Connector: c, Impatient: impatient, Config: l.hubConfig(), RedirectURL: backTo, Visit: l.visit, Secrets: seen.Tokens,
			Person:  sso.Identity{Subject: secret.New(l.URL + " 18151210"), Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace"},
			Down:    func() { fail(status(http.StatusBadGateway)) },
			Hang:    func() { fail(slow) },
			NoNonce: "OAuth 2.0 has none: the code is bound to the browser by PKCE and state",
		}
	})
}

// TestPeopleAtGitHub: the primary address counts, and only as far as GitHub made
// sure of it.
func TestPeopleAtGitHub(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user, emails, email, called string
		verified                    bool
	}{
		"unverified":            {`{"id":1,"login":"ada"}`, `[{"email":"a@example.com","primary":true,"verified":false},{"email":"b@example.com","primary":false,"verified":true}]`, "a@example.com", "ada", false},
		"several":               {`{"id":1,"login":"ada","name":null}`, `[{"email":"b@example.com","primary":false,"verified":true},{"email":"a@example.com","primary":true,"verified":true}]`, "a@example.com", "ada", true},
		"none is primary":       {`{"id":1,"login":"ada","email":"p@example.com"}`, `[{"email":"b@example.com","primary":false,"verified":true}]`, "", "ada", false},
		"none at all":           {`{"id":1,"login":"ada","name":" "}`, `[]`, "", "ada", false},
		"one that is none":      {`{"id":1,"login":"ada"}`, `[{"email":"a@example.com,b@example.com","primary":true,"verified":true}]`, "", "ada", false},
		"a name over two lines": {`{"id":1,"login":"ada","name":"Ada\nLovelace"}`, `[{"email":"a@example.com","primary":true,"verified":true}]`, "a@example.com", "ada", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newHub(t)
			l.does("/api/v3/user", l.api(c.user))
			l.does("/api/v3/user/emails", l.api(c.emails))
			connector, _ := connector(t, 10*time.Second)
			want := sso.Identity{Subject: secret.New(l.URL + " 1"), Email: c.email, EmailVerified: c.verified, Name: c.called}
			if got, err := l.signIn(t, connect(t, connector, l.hubConfig())); err != nil || got != want {
				t.Errorf("%+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func TestGitHubFails(t *testing.T) {
	t.Parallel()
	limited := func(header, value string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(header, value)
			status(http.StatusForbidden)(w, r)
		}
	}
	for _, path := range []string{"/api/v3/user", "/api/v3/user/emails"} {
		for name, c := range map[string]struct {
			handler http.HandlerFunc
			want    string
		}{
			"status 401": {status(401), "sso_failed"},
			"status 403": {status(403), "sso_failed"},
			"status 404": {status(404), "sso_failed"},
			"a true answer, refused": {func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, map[bool]string{true: `{"id":1}`, false: `[]`}[strings.HasSuffix(r.URL.Path, "user")])
			}, "sso_failed"},
			"status 204":         {status(204), "sso_failed"},
			"status 500":         {status(500), "sso_unavailable"},
			"too many, in all":   {limited("X-RateLimit-Remaining", "0"), "sso_unavailable"},
			"too many, at once":  {limited("Retry-After", "60"), "sso_unavailable"},
			"some are left":      {limited("X-RateLimit-Remaining", "7"), "sso_failed"},
			"no JSON":            {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, echo(r)) }, "sso_failed"},
			"JSON of other kind": {func(w http.ResponseWriter, r *http.Request) { reply(w, 200, echo(r)) }, "sso_failed"},
			"a large answer":     {endless, "sso_failed"},
			"a redirect": {func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "/user", http.StatusMovedPermanently)
			}, "sso_failed"},
			"half an answer": {half, "sso_unavailable"},
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				t.Parallel()
				l := newHub(t)
				l.does(path, c.handler)
				connector, seen := connector(t, patience(name))
				id, err := l.signIn(t, connect(t, connector, l.hubConfig()))
				refused(t, seen, id, err, c.want)
			})
		}
	}
	for _, user := range []string{`{}`, `{"id":0}`, `{"id":-1}`, `{"id":null,"login":"ada"}`} {
		l := newHub(t)
		l.does("/api/v3/user", l.api(user))
		connector, seen := connector(t, 10*time.Second)
		id, err := l.signIn(t, connect(t, connector, l.hubConfig()))
		refused(t, seen, id, err, "sso_failed")
	}
}

// TestWhereGitHubIs: its API has a host of its own, but on a company's server.
func TestWhereGitHubIs(t *testing.T) {
	t.Parallel()
	for issuer, c := range map[string]struct{ site, api, path string }{
		"":                            {"https://github.com", "api.github.com", ""},
		"https://github.com":          {"https://github.com", "api.github.com", ""},
		"https://octo.ghe.com/":       {"https://octo.ghe.com", "api.octo.ghe.com", ""},
		"https://git.example.com":     {"https://git.example.com", "git.example.com", "/api/v3"},
		"https://notghe.com":          {"https://notghe.com", "notghe.com", "/api/v3"},
		"https://git.example.com/hub": {"https://git.example.com/hub", "git.example.com", "/hub/api/v3"},
	} {
		l := newHub(t)
		site, err := url.Parse(c.site)
		if err != nil {
			t.Fatal(err)
		}
		l.does(site.Path+"/login/oauth/access_token", l.hubToken)
		l.does(c.path+"/user", l.api(`{"id":1,"login":"ada"}`))
		l.does(c.path+"/user/emails", l.api(`[]`))
		transport := rewriting{l.Client().Transport, map[string]string{site.Host: l.URL, c.api: l.URL}}
		config := l.hubConfig()
		config.Issuer = issuer
		p := connect(t, connectorBy(t, transport, time.Now, 10*time.Second), config)
		address, err := p.Begin(t.Context(), attempt())
		if err != nil || !strings.HasPrefix(address, c.site+"/login/oauth/authorize?") || !strings.Contains(address, "scope=read%3Auser+user%3Aemail") {
			t.Errorf("%q: %s, %v", issuer, address, err)
		}
		if id, err := l.signIn(t, p); err != nil || id.Subject.Reveal() != c.site+" 1" {
			t.Errorf("%q: %q, %v", issuer, id.Subject.Reveal(), err)
		}
	}
}
