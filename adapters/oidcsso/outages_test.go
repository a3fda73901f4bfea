package oidcsso_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/oidcsso"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
)

// echo is what a careless provider sends back of a request.
func echo(r *http.Request) string {
	_ = r.ParseForm()
	return r.PostForm.Encode() + r.Header.Get("Authorization") + clientSecret + accessToken + subject + r.PostFormValue("code")
}

// TestFailures: each request of a sign-in fails in each way.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, path := range []string{wellKnown, "/keys", "/token", "/userinfo"} {
		for name, c := range map[string]struct {
			handler http.HandlerFunc
			want    string
		}{
			"status 500": {status(500), "sso_unavailable"},
			"status 503": {status(503), "sso_unavailable"},
			"status 429": {status(429), "sso_unavailable"},
			"status 408": {status(408), "sso_unavailable"},
			"status 400": {status(400), "sso_failed"},
			"status 401": {status(401), "sso_failed"},
			"status 403": {status(403), "sso_failed"},
			"status 404": {status(404), "sso_failed"},
			"no JSON":    {func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>"+echo(r)) }, "sso_failed"},
			"other JSON": {func(w http.ResponseWriter, r *http.Request) { reply(w, 200, []string{echo(r)}) }, "sso_failed"},
			"a large answer": {func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "{}"+strings.Repeat(" ", 600<<10))
			}, "sso_failed"},
			"an endless one":  {endless, "sso_failed"},
			"half an answer":  {half, "sso_unavailable"},
			"a slow answer":   {slow, "sso_unavailable"},
			"a cut answer":    {raw("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"), "sso_unavailable"},
			"no HTTP":         {raw(clientSecret + accessToken + "\r\n\r\n"), "sso_unavailable"},
			"a broken header": {raw("HTTP/1.1 200 OK\r\n" + clientSecret + accessToken + "\r\n\r\n"), "sso_unavailable"},
			"nothing":         {raw(""), "sso_unavailable"},
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				t.Parallel()
				l := newLiar(t)
				l.claims["email"] = nil // so that userinfo is asked
				l.does(path, c.handler)
				connector, seen := connector(t, patience(name))
				id, err := l.signIn(t, connect(t, connector, l.config()))
				refused(t, seen, id, err, c.want)
			})
		}
	}
}

// patience is short where all of it is used up.
func patience(name string) time.Duration {
	if name == "half an answer" || name == "a slow answer" {
		return 300 * time.Millisecond
	}
	return 10 * time.Second
}

// TestACallerWhoGivesUp is told so at once, whatever was going on.
func TestACallerWhoGivesUp(t *testing.T) {
	t.Parallel()
	for _, path := range []string{wellKnown, "/keys", "/token", "/userinfo"} {
		l := newLiar(t)
		l.claims["email"] = nil
		l.does(path, slow)
		connector, seen := connector(t, 3*time.Second) // keys are fetched on without the caller
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		answer := sso.Answer{Code: secret.New("code-number-0")}
		l.grants["code-number-0"] = url.Values{"redirect_uri": {backTo}, "code_challenge": {challenge()}, "nonce": {attempt().Nonce}}
		id, err := connect(t, connector, l.config()).Complete(ctx, attempt(), answer)
		cancel()
		refused(t, seen, id, err, "sso_unavailable")
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func challenge() string {
	sum := sha256.Sum256([]byte(attempt().Verifier.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// TestTrueAnswersMayBeTooLarge: how much is read does not depend on what it is.
func TestTrueAnswersMayBeTooLarge(t *testing.T) {
	t.Parallel()
	for _, path := range []string{wellKnown, "/keys", "/token", "/userinfo"} {
		l := newLiar(t)
		l.claims["email"] = nil
		l.padding[path] = 100 << 10
		connector, seen := connector(t, 10*time.Second)
		l.mustSignIn(t, connect(t, connector, l.config()), "with 100 KiB of "+path)
		l.padding[path] = 600 << 10
		id, err := l.signIn(t, connect(t, connector, l.config()))
		refused(t, seen, id, err, "sso_failed")
		if !strings.Contains(err.Error(), "more than") {
			t.Errorf("%v does not say so", err)
		}
	}
}

// TestCodesThatCannotBeAreNotSent.
func TestCodesThatCannotBeAreNotSent(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	connector, seen := connector(t, 10*time.Second)
	for _, code := range []string{"", "a\x00b", "a\nb", "é", strings.Repeat("a", 8<<10+1)} {
		id, err := connect(t, connector, l.config()).Complete(t.Context(), attempt(), sso.Answer{Code: secret.New(code)})
		refused(t, seen, id, err, "sso_failed")
	}
	if n := l.times("/token"); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, echo(r))
	}
}

func raw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		}
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	for {
		if _, err := io.WriteString(w, strings.Repeat("{", 64<<10)); err != nil {
			return
		}
	}
}

func half(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, `{"issuer":`)
	_ = http.NewResponseController(w).Flush()
	wait(r)
}

func slow(_ http.ResponseWriter, r *http.Request) { wait(r) }

func wait(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that the client went away
	select {
	case <-r.Context().Done():
	case <-time.After(30 * time.Second):
	}
}

// TestNothingFollowsARedirect: it would take codes, secrets and tokens along.
func TestNothingFollowsARedirect(t *testing.T) {
	t.Parallel()
	for _, path := range []string{wellKnown, "/keys", "/token", "/userinfo"} {
		for _, code := range []int{301, 302, 303, 307, 308} {
			l := newLiar(t)
			elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				t.Errorf("%s %d: followed, with %s", path, code, echo(r))
				w.WriteHeader(http.StatusNotFound)
			}))
			t.Cleanup(elsewhere.Close)
			l.claims["email"] = nil
			l.does(path, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, code) })
			connector, seen := connector(t, 10*time.Second)
			id, err := l.signIn(t, connect(t, connector, l.config()))
			refused(t, seen, id, err, "sso_failed")
			if !strings.Contains(err.Error(), "redirects") {
				t.Errorf("%v does not say so", err)
			}
		}
	}
}

// TestErrorsOfTheTokenEndpoint: those of the standard are in the log, their
// descriptions are not.
func TestErrorsOfTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"invalid_client": true, "invalid_grant": true, "code-number-0": false, "": false} {
		for _, code := range []int{200, 400, 401} {
			l := newLiar(t)
			l.does("/token", func(w http.ResponseWriter, r *http.Request) {
				reply(w, code, map[string]string{"error": name, "error_description": echo(r), "error_uri": echo(r)})
			})
			connector, seen := connector(t, 10*time.Second)
			id, err := l.signIn(t, connect(t, connector, l.config()))
			refused(t, seen, id, err, "sso_failed")
			if known && !strings.Contains(err.Error(), name) {
				t.Errorf("%v does not name %s", err, name)
			}
		}
	}
}

// TestReasonsFromTheNetwork are in the log, where they tell nothing secret.
func TestReasonsFromTheNetwork(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	tls := httptest.NewUnstartedServer(l)
	tls.Config.ErrorLog = log.New(io.Discard, "", 0) // it hears that nobody trusts it
	tls.StartTLS()
	t.Cleanup(tls.Close)
	for want, c := range map[string]struct {
		transport http.RoundTripper
		issuer    string
	}{
		"refused":             {&http.Transport{}, "http://127.0.0.1:1"},
		"certificate":         {&http.Transport{}, tls.URL},
		"address_not_allowed": {rewriting{}, "https://id.example.com"},
	} {
		config := l.config()
		config.Issuer = c.issuer
		_, err := connect(t, connectorBy(t, c.transport, time.Now, 10*time.Second), config).Begin(t.Context(), attempt())
		if fault.CodeOf(err) != "sso_unavailable" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", c.issuer, err, want)
		}
	}
}

// TestTheCallersClientIsLeftAlone, and its cookies are not used.
func TestTheCallersClientIsLeftAlone(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	client := l.Client()
	jar := &noCookies{}
	client.Jar = jar
	l.mustSignIn(t, connect(t, with(t, client), l.config()), "with a client that has cookies")
	if client.Jar != jar || client.CheckRedirect != nil {
		t.Error("the client was changed")
	}
	l.does("/token", slow)
	client.Timeout = 300 * time.Millisecond
	start := time.Now()
	if _, err := l.signIn(t, connect(t, with(t, client), l.config())); fault.CodeOf(err) != "sso_unavailable" || time.Since(start) > 8*time.Second {
		t.Errorf("the client's own patience is not kept to: %v after %v", err, time.Since(start))
	}
}

func with(t *testing.T, client *http.Client) *oidcsso.Connector {
	t.Helper()
	c, err := oidcsso.New(oidcsso.Options{Client: client, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type noCookies struct {
	http.CookieJar
}

func TestAClientAndAClockAreNeeded(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]oidcsso.Options{"no client": {Now: time.Now}, "no clock": {Client: &http.Client{}}} {
		if c, err := oidcsso.New(o); err == nil || c != nil {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

var _ sso.Connector = (*oidcsso.Connector)(nil)
