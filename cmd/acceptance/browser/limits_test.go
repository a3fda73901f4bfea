package browser_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestAPageReadsHowLongToWait when there were too many sign-ins: a console
// elsewhere, too.
func TestAPageReadsHowLongToWait(t *testing.T) {
	t.Parallel()
	api := secure("open.kubebyon.test")
	p := visit(t, secure("console.kubebyon.test")+"/page")
	wrong := options{"email": adminEmail, "password": "wrong"}
	for range 5 {
		p.want("a wrong password", p.send("POST", api+"/api/auth/login", wrong), "401 invalid_credentials")
	}
	r := p.send("POST", api+"/api/auth/login", wrong)
	p.want("one too many", r, "429 rate_limited")
	if wait, err := strconv.Atoi(r.Headers["retry-after"]); err != nil || wait < 1 || wait > 30 {
		t.Errorf("the page reads Retry-After %q", r.Headers["retry-after"])
	}
	if r.Headers["x-request-id"] == "" {
		t.Error("the page cannot read the request's id")
	}
	p.want("signing out", p.send("POST", api+"/api/auth/logout", nil), "204")
}

// TestEachClientHasItsOwnLimit, behind a proxy too, and nobody gets another one by
// what they write into a header.
func TestEachClientHasItsOwnLimit(t *testing.T) {
	t.Parallel()
	require(t)
	for _, c := range []struct{ name, from, forwarded, header string }{
		{"Direct", "127.0.1.1", "", ""},
		{"AnotherOne", "127.0.1.2", "", ""},
		{"Forger", "127.0.1.3", "X-Forwarded-For", "10.1.1.%"},
		{"ForgerByTheOtherHeader", "127.0.1.4", "Forwarded", "for=10.1.1.%"},
		{"ByTheProxy", trustedProxy, "X-Forwarded-For", "10.1.1.%, 203.0.113.1"},
		{"AnotherByTheProxy", trustedProxy, "X-Forwarded-For", "10.1.1.%, 203.0.113.2"},
		{"OneIPv6Network", trustedProxy, "X-Forwarded-For", "2001:db8:1:1::%"},
		{"AnotherIPv6Network", trustedProxy, "X-Forwarded-For", "2001:db8:1:2::%"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			transport := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}}).DialContext}
			defer transport.CloseIdleConnections()
			for n := range 6 {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+shared.open.addr+"/api/auth/login", strings.NewReader("{")) // counted all the same
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", "application/json")
				if c.forwarded != "" {
					r.Header.Set(c.forwarded, strings.ReplaceAll(c.header, "%", strconv.Itoa(n+1)))
				}
				status, wait := ask(t, transport, r)
				if n < 5 && status != http.StatusBadRequest {
					t.Errorf("number %d: %d", n+1, status)
				}
				if n == 5 && (status != http.StatusTooManyRequests || wait < 1) {
					t.Errorf("number %d: %d, Retry-After %d", n+1, status, wait)
				}
			}
		})
	}
}

func ask(t *testing.T, transport *http.Transport, r *http.Request) (status, wait int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	a, err := (&http.Client{Transport: transport}).Do(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	_, _ = io.Copy(io.Discard, a.Body)
	wait, _ = strconv.Atoi(a.Header.Get("Retry-After"))
	return a.StatusCode, wait
}
