package oidcsso_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
)

const wellKnown = "/.well-known/openid-configuration"

// hands is a clock that a test sets.
type hands struct {
	mu  sync.Mutex
	now time.Time
}

func newHands() *hands { return &hands{now: time.Now()} }

func (h *hands) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hands) turn(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// clocked returns a provider that is asked by a clock of the test.
func (l *liar) clocked(t *testing.T) (sso.Provider, *hands) {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	h := newHands()
	l.claims["exp"] = h.Now().Add(100 * time.Hour).Unix()
	return connect(t, connectorBy(t, transport, h.Now, 10*time.Second), l.config()), h
}

func (l *liar) mustSignIn(t *testing.T, p sso.Provider, when string) {
	t.Helper()
	if _, err := l.signIn(t, p); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

func TestMetadataAreKeptForAnHour(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	p, clock := l.clocked(t)
	for range 3 {
		l.mustSignIn(t, p, "at first")
		clock.turn(19 * time.Minute)
	}
	if n, k := l.times(wellKnown), l.times("/keys"); n != 1 || k != 1 {
		t.Errorf("within the hour the metadata were read %d times, the keys %d times; want once", n, k)
	}
	clock.turn(4 * time.Minute)
	l.mustSignIn(t, p, "after an hour")
	if n, k := l.times(wellKnown), l.times("/keys"); n != 2 || k != 2 {
		t.Errorf("after an hour the metadata were read %d times, the keys %d times; want twice", n, k)
	}
}

// TestTokensAreDatedByTheGivenClock, and by no other.
func TestTokensAreDatedByTheGivenClock(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	p, clock := l.clocked(t)
	l.claims["exp"] = clock.Now().Add(10 * time.Minute).Unix()
	l.mustSignIn(t, p, "in time")
	clock.turn(11 * time.Minute)
	if id, err := l.signIn(t, p); fault.CodeOf(err) != "sso_failed" {
		t.Errorf("too late by the clock that was given: %v, %v", id, err)
	}
	clock.turn(-time.Hour)
	l.claims["exp"] = time.Now().Add(-10 * time.Minute).Unix()
	l.mustSignIn(t, p, "too late by another clock")
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	p, clock := l.clocked(t)
	first, second := l.signer, newKey(t, "second")
	l.mustSignIn(t, p, "with the first key")
	l.rotate(second, second.public())
	l.mustSignIn(t, p, "with the second key")
	if n := l.times("/keys"); n != 2 {
		t.Errorf("the keys were read %d times, want twice", n)
	}
	l.rotate(first, second.public()) // whoever stole it still signs
	if id, err := l.signIn(t, p); fault.CodeOf(err) != "sso_failed" {
		t.Errorf("a key that was taken back: %v, %v", id, err)
	}
	third := newKey(t, "third")
	l.rotate(third, third.public())
	clock.turn(time.Hour)
	l.mustSignIn(t, p, "with the third key")
	l.rotate(second, third.public())
	if id, err := l.signIn(t, p); fault.CodeOf(err) != "sso_failed" {
		t.Errorf("a key that was taken back before the metadata were read: %v, %v", id, err)
	}
}

func TestAnOutageOfTheMetadataIsBridgedForADay(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	p, clock := l.clocked(t)
	l.mustSignIn(t, p, "before the outage")
	l.does(wellKnown, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	clock.turn(23 * time.Hour)
	for range 3 {
		l.mustSignIn(t, p, "within the day")
	}
	if n := l.times(wellKnown); n != 2 {
		t.Errorf("they were asked for %d times; want twice, and a rest after the failure", n)
	}
	clock.turn(5 * time.Second)
	l.mustSignIn(t, p, "after the rest")
	if n := l.times(wellKnown); n != 3 {
		t.Errorf("they were asked for %d times; want once more", n)
	}
	clock.turn(time.Hour)
	if id, err := l.signIn(t, p); fault.CodeOf(err) != "sso_unavailable" {
		t.Errorf("after a day: %v, %v", id, err)
	}
	l.does(wellKnown, nil)
	clock.turn(5 * time.Second)
	l.mustSignIn(t, p, "after the outage")
}

func TestALieIsNotBridged(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	p, clock := l.clocked(t)
	l.mustSignIn(t, p, "before the lie")
	l.mu.Lock()
	l.metadata["issuer"] = "https://elsewhere.example.com"
	l.mu.Unlock()
	clock.turn(time.Hour)
	if id, err := l.signIn(t, p); fault.CodeOf(err) != "sso_failed" {
		t.Errorf("metadata of another issuer: %v, %v", id, err)
	}
}

// TestACrowdWaitsTogether: a provider that hangs is asked once, and nobody waits
// longer than the one who asks.
func TestACrowdWaitsTogether(t *testing.T) {
	t.Parallel()
	l := newLiar(t)
	l.does(wellKnown, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-l.gone:
		}
	})
	c, _ := connector(t, 3*time.Second)
	p := connect(t, c, l.config())
	start := time.Now()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := p.Begin(t.Context(), attempt()); fault.CodeOf(err) != "sso_unavailable" {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if took, n := time.Since(start), l.times(wellKnown); took > 10*time.Second || n != 1 {
		t.Errorf("50 waited %v, the provider was asked %d times; want once", took, n)
	}
}

// TestMetadata: what a provider says of itself decides where secrets go.
func TestMetadata(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		metadata map[string]any
		want     string
	}{
		"another issuer":          {map[string]any{"issuer": "https://elsewhere.example.com"}, "sso_failed"},
		"no issuer":               {map[string]any{"issuer": nil}, "sso_failed"},
		"no authorization":        {map[string]any{"authorization_endpoint": nil}, "sso_failed"},
		"no tokens":               {map[string]any{"token_endpoint": nil}, "sso_failed"},
		"no keys":                 {map[string]any{"jwks_uri": nil}, "sso_failed"},
		"a script":                {map[string]any{"authorization_endpoint": "javascript://id.example.com/%0aalert(1)"}, "sso_failed"},
		"authorization in clear":  {map[string]any{"authorization_endpoint": "http://id.example.com/"}, "sso_failed"},
		"tokens in clear":         {map[string]any{"token_endpoint": "http://id.example.com/"}, "sso_failed"},
		"keys in clear":           {map[string]any{"jwks_uri": "http://169.254.169.254/latest/"}, "sso_failed"},
		"userinfo in clear":       {map[string]any{"userinfo_endpoint": "http://10.0.0.1/"}, "sso_failed"},
		"tokens with a user name": {map[string]any{"token_endpoint": "https://a:b@id.example.com/"}, "sso_failed"},
		"a file of keys":          {map[string]any{"jwks_uri": "file:///etc/passwd"}, "sso_failed"},
		"a number for tokens":     {map[string]any{"token_endpoint": 7}, "sso_failed"},
		"https elsewhere":         {map[string]any{"authorization_endpoint": "https://login.example.com/a?b=c"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			l.metadata = c.metadata
			connector, seen := connector(t, 10*time.Second)
			address, err := connect(t, connector, l.config()).Begin(t.Context(), attempt())
			if c.want != "" {
				refused(t, seen, sso.Identity{}, err, c.want)
			} else if err != nil || !strings.HasPrefix(address, "https://login.example.com/a?b=c&") {
				t.Errorf("%s, %v", address, err)
			}
		})
	}
}

// TestARemoteProviderCannotPointHere: not at what listens on this machine only.
func TestARemoteProviderCannotPointHere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"} {
		l := unstarted(t)
		l.Server = httptest.NewTLSServer(l)
		l.issuer = l.URL
		l.close(t)
		p := connect(t, connectorBy(t, l.Client().Transport, time.Now, 10*time.Second), l.config())
		if name == "jwks_uri" {
			l.mustSignIn(t, p, "over https")
		}
		l.metadata[name] = "http://127.0.0.1:6443/"
		p = connect(t, connectorBy(t, l.Client().Transport, time.Now, 10*time.Second), l.config())
		if address, err := p.Begin(t.Context(), attempt()); fault.CodeOf(err) != "sso_failed" {
			t.Errorf("%s on this machine: %q, %v", name, address, err)
		}
	}
}

// TestTheClientSaysWhoItIsInOneWay: a provider may take a second try for a theft.
func TestTheClientSaysWhoItIsInOneWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		methods any
		secret  string
		inForm  bool
	}{
		"not said":      {nil, clientSecret, false},
		"basic":         {[]string{"client_secret_post", "client_secret_basic"}, clientSecret, false},
		"post":          {[]string{"client_secret_post", "private_key_jwt"}, clientSecret, true},
		"none of both":  {[]string{"private_key_jwt"}, clientSecret, false},
		"public client": {[]string{"client_secret_basic", "none"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			l.metadata["token_endpoint_auth_methods_supported"] = c.methods
			l.does("/token", func(w http.ResponseWriter, r *http.Request) {
				_, _, isBasic := r.BasicAuth()
				if isBasic == c.inForm || r.PostFormValue("client_secret") != "" != (c.inForm && c.secret != "") || r.PostFormValue("client_id") != "" != c.inForm {
					t.Errorf("basic %v, form with %d fields", isBasic, len(r.PostForm))
				}
				w.WriteHeader(http.StatusUnauthorized)
			})
			connector, _ := connector(t, 10*time.Second)
			config := l.config()
			config.ClientSecret = secret.New(c.secret)
			if id, err := l.signIn(t, connect(t, connector, config)); fault.CodeOf(err) != "sso_failed" || l.times("/token") != 1 {
				t.Errorf("%v, %v, asked %d times", id, err, l.times("/token"))
			}
		})
	}
}

func TestTheIssuerInTheAnswer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		says   bool
		issuer func(*liar) string
		want   string
	}{
		"not said":           {false, func(*liar) string { return "" }, ""},
		"said":               {false, func(l *liar) string { return l.issuer }, ""},
		"promised and said":  {true, func(l *liar) string { return l.issuer }, ""},
		"promised, not said": {true, func(*liar) string { return "" }, "sso_failed"},
		"another":            {false, func(*liar) string { return "https://elsewhere.example.com" }, "sso_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t)
			l.metadata["authorization_response_iss_parameter_supported"] = c.says
			connector, _ := connector(t, 10*time.Second)
			_, err := l.signInWith(t, connect(t, connector, l.config()), func(a *sso.Answer) { a.Issuer = c.issuer(l) })
			if (err == nil) != (c.want == "") || err != nil && fault.CodeOf(err) != c.want {
				t.Errorf("%v; want %q", err, c.want)
			}
			if c.want != "" && l.times("/token") != 0 {
				t.Error("the code went to the wrong issuer")
			}
		})
	}
}

// rewriting sends what is for one host to a server of the test.
type rewriting struct {
	http.RoundTripper
	hosts map[string]string // address by host
}

func (r rewriting) RoundTrip(req *http.Request) (*http.Response, error) {
	to, known := r.hosts[req.URL.Host]
	if !known || req.URL.Scheme != "https" {
		return nil, fault.Denied.New("address_not_allowed", "There is no %s.", req.URL.Host)
	}
	u, err := url.Parse(to)
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = u.Scheme, u.Host
	return r.RoundTripper.RoundTrip(req)
}

func TestGoogle(t *testing.T) {
	t.Parallel()
	for _, issuer := range []string{"https://accounts.google.com", "accounts.google.com"} {
		l := newLiar(t)
		l.issuer = "https://accounts.google.com"
		l.claims["iss"] = issuer
		transport := rewriting{l.Client().Transport, map[string]string{"accounts.google.com": l.URL}}
		c := l.config()
		c.Type, c.Issuer = sso.Google, ""
		want := sso.Identity{Subject: secret.New("https://accounts.google.com " + subject), Email: "ada@example.com", EmailVerified: true, Name: "Ada Lovelace"}
		if got, err := l.signIn(t, connect(t, connectorBy(t, transport, time.Now, 10*time.Second), c)); err != nil || got != want {
			t.Errorf("a token of %s: %+v, %v; want %+v", issuer, got, err, want)
		}
	}
}
