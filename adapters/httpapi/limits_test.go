package httpapi_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
)

// defaults are the limits that the specification names.
func defaults(c *httpapi.Config) { c.AuthLimit, c.JoinLimit = httpapi.Limit{}, httpapi.Limit{} }

func TestSignInLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, defaults)
	login := func(from string) answer {
		return w.anybody().with("X-Test-Peer", from).do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": "wrong"})
	}
	for range 5 {
		login("203.0.113.7:1").want(401, "invalid_credentials")
	}
	w.unchanged(func() {
		r := login("203.0.113.7:2").want(429, "rate_limited")
		if r.Header().Get("Retry-After") != "30" {
			t.Errorf("Retry-After %q", r.Header().Get("Retry-After"))
		}
		w.anybody().with("X-Test-Peer", "203.0.113.7:3", "X-Forwarded-For", "1.2.3.4").do("POST", "/api/auth/login", "{").want(429, "rate_limited")
	})
	login("203.0.113.8:1").want(401, "invalid_credentials")
	w.clock.advance(29 * time.Second)
	if r := login("203.0.113.7:2").want(429, "rate_limited"); r.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", r.Header().Get("Retry-After"))
	}
	w.clock.advance(time.Second)
	login("203.0.113.7:2").want(401, "invalid_credentials")
	w.anybody().with("X-Test-Peer", "203.0.113.7:2").do("GET", "/join?token=x", nil).want(200, "") // counted apart
}

// TestEveryCallForStrangersIsLimited: whoever is not signed in can have passwords
// and codes checked and mails sent, each call so and so often.
func TestEveryCallForStrangersIsLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, defaults)
	tried := 0
	for path, item := range w.server.API().OpenAPI().Paths {
		if item.Post == nil || !strings.HasPrefix(path, "/api/auth/") || path == "/api/auth/logout" {
			continue
		}
		tried++
		for n := range 6 {
			r := w.anybody().do("POST", path, "{}")
			if limited := r.Code == http.StatusTooManyRequests; limited != (n == 5) {
				t.Errorf("POST %s, number %d: %d %s", path, n+1, r.Code, r.Body)
			}
		}
	}
	if tried == 0 {
		t.Fatal("there is no such call")
	}
}

func TestJoinLimit(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t, defaults)
	_, value := ada.token(i)
	paths := []string{"/join?token=" + value, "/api/join/clusters/" + i + "/script?token=" + value}
	for n := range 5 {
		w.anybody().do([]string{"GET", "HEAD"}[n%2], paths[n%2], nil).want(200, "")
	}
	for _, path := range paths {
		r := w.anybody().do("GET", path, nil).want(429, "rate_limited")
		if n, err := strconv.Atoi(r.Header().Get("Retry-After")); err != nil || n != 3 {
			t.Errorf("Retry-After %q", r.Header().Get("Retry-After"))
		}
	}
	w.clock.advance(3 * time.Second)
	w.anybody().do("GET", paths[0], nil).want(200, "")
	w.anybody().do("GET", paths[0], nil).want(429, "rate_limited")
}

// TestLimitBehindAProxy counts clients, not the proxy, and believes nobody else.
func TestLimitBehindAProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, defaults, func(c *httpapi.Config) { c.TrustedProxyCIDRs = prefixes("192.0.2.0/24") })
	get := func(forwarded string) answer {
		return w.anybody().with("X-Forwarded-For", forwarded).do("GET", "/join?token=x", nil)
	}
	for n := range 5 {
		get(fmt.Sprintf("10.0.0.%d, 203.0.113.7", n)).want(200, "")
	}
	get("1.1.1.1, 203.0.113.7").want(429, "rate_limited")
	get("203.0.113.8").want(200, "")
}

// TestWrongPasswordsForAKubeconfig: whoever stole a session cannot try
// passwords with it for long.
func TestWrongPasswordsForAKubeconfig(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t, defaults)
	ask := func(password string) answer {
		return ada.do("POST", "/api/console/clusters/"+i+"/kubeconfig", map[string]any{"password": password})
	}
	for range 10 {
		ask(password).want(200, "")
	}
	for range 5 {
		ask("wrong").want(401, "password_incorrect")
	}
	w.unchanged(func() {
		ask("wrong").want(429, "rate_limited")
		ask(password).want(429, "rate_limited")
	})
	w.clock.advance(30 * time.Second)
	ask(password).want(200, "")
}

// TestGuessingInParallelGainsNothing: the limit counts guesses, however many are
// under way at once.
func TestGuessingInParallelGainsNothing(t *testing.T) {
	t.Parallel()
	_, ada, i := joinable(t, defaults)
	const guesses = 50
	statuses := make(chan int, guesses)
	for range guesses {
		go func() {
			statuses <- ada.do("POST", "/api/console/clusters/"+i+"/kubeconfig", map[string]any{"password": "wrong"}).Code
		}()
	}
	answered := map[int]int{}
	for range guesses {
		answered[<-statuses]++
	}
	if answered[401] != 5 || answered[429] != guesses-5 {
		t.Errorf("%d guesses at once were answered %v; only 5 may be looked at", guesses, answered)
	}
}

// TestAHostThatTakesItsTimeHoldsNoGuessUp: only the look at a password waits for
// others; what is read after it may hang.
func TestAHostThatTakesItsTimeHoldsNoGuessUp(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t, defaults)
	path := "/api/console/clusters/" + i + "/kubeconfig"
	reading, goOn := make(chan struct{}), make(chan struct{})
	w.planes.onReading(func() {
		close(reading)
		<-goOn
	})
	first, second := make(chan int, 1), make(chan int, 1)
	go func() { first <- ada.do("POST", path, map[string]any{"password": password}).Code }()
	<-reading
	go func() { second <- ada.do("POST", path, map[string]any{"password": "wrong"}).Code }()
	select {
	case code := <-second:
		if code != 401 {
			t.Errorf("a wrong password meanwhile: %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Error("a wrong password waits for the other's kubeconfig")
	}
	close(goOn)
	if code := <-first; code != 200 {
		t.Errorf("the kubeconfig: %d", code)
	}
}
