package hcaptcha_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/hcaptcha"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheFormIsTheDocumentedOne(t *testing.T) {
	t.Parallel()
	for clientIP, want := range map[string]string{
		"203.0.113.7": "203.0.113.7", "::ffff:203.0.113.7": "203.0.113.7", "2001:db8::7": "2001:db8::7",
		"": "", "10.1.2.3": "", "127.0.0.1": "", "fe80::1%eth0": "", "203.0.113.7, 10.0.0.1": "",
	} {
		p := newProvider(t)
		token := p.solve()
		if err := p.verifier(t, config()).Verify(t.Context(), secret.New(token), clientIP); err != nil {
			t.Fatal(err)
		}
		fields := []string{"secret=" + secretKey, "response=" + token, "sitekey=" + siteKey}
		if want != "" {
			fields = append(fields, "remoteip="+want)
		}
		form := p.asked()[0]
		for _, f := range fields {
			name, value, _ := strings.Cut(f, "=")
			if len(form[name]) != 1 || form[name][0] != value {
				t.Errorf("from %q: %s is %q, want %q", clientIP, name, form[name], value)
			}
		}
		if len(form) != len(fields) {
			t.Errorf("from %q: the form has %d fields, want %d", clientIP, len(form), len(fields))
		}
	}
}

// TestAnswers: nobody gets in by an answer that says anything but success, and
// what is wrong with the installation is not blamed on the person.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const failed, unavailable = "captcha_failed", "captcha_unavailable"
	for body, want := range map[string]string{
		`{"success":false,"error-codes":["invalid-or-already-seen-response"]}`: failed,
		`{"success":false,"error-codes":["expired-input-response"]}`:           failed,
		`{"success":false,"error-codes":["bad-request"]}`:                      failed,
		`{"success":false,"error-codes":["one-that-is-new"]}`:                  failed,
		`{"success":false}`: failed,
		`{}`:                failed,
		`null`:              failed,
		`{"success":null}`:  failed,
		`{"success":false,"error-codes":["invalid-input-response","invalid-input-secret"]}`: unavailable,
		`{"success":false,"error-codes":["missing-input-secret"]}`:                          unavailable,
		`{"success":false,"error-codes":["sitekey-secret-mismatch"]}`:                       unavailable,
		`{"success":"true"}`:               unavailable,
		`{"success":1}`:                    unavailable,
		`{"success":true`:                  unavailable,
		`{"success":true}{"success":true}`: unavailable,
		`<html>`:                           unavailable,
		``:                                 unavailable,
		`[true]`:                           unavailable,
		`{"success":true}` + strings.Repeat(" ", 64<<10):                                               unavailable,
		`{"success":false,"error-codes":["` + secretKey + `","P1_token-of-a-person.0"],"success":"x"}`: unavailable,
	} {
		p := newProvider(t)
		p.answer(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		expect(t, fmt.Sprintf("the answer %.60s", body), p, want)
	}
	for status, want := range map[int]string{
		201: unavailable, 204: unavailable, 400: unavailable, 401: unavailable, 404: unavailable, 429: unavailable, 500: unavailable, 503: unavailable,
	} {
		p := newProvider(t)
		p.answer(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"success":true}`)
		})
		expect(t, fmt.Sprintf("status %d", status), p, want)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("the secret key went to another host")
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	t.Cleanup(elsewhere.Close)
	for _, status := range []int{301, 302, 303, 307, 308} {
		p := newProvider(t)
		p.answer(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, status) })
		expect(t, fmt.Sprintf("status %d", status), p, "captcha_unavailable")
	}
}

// TestBrokenConversations: also when the provider repeats what it was sent.
func TestBrokenConversations(t *testing.T) {
	t.Parallel()
	const token = "P1_token-of-a-person.0"
	for name, raw := range map[string]string{
		"no HTTP":              secretKey + " " + token + "\r\n\r\n",
		"a broken status line": "HTTP/1.1 " + secretKey + token + "\r\n\r\n",
		"a broken header":      "HTTP/1.1 200 OK\r\n" + secretKey + token + "\r\n\r\n",
		"a body cut off":       "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + `{"success":true}`,
		"no answer":            "",
	} {
		p := newProvider(t)
		p.answer(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, raw)
			_ = c.Close()
		})
		expect(t, name, p, "captcha_unavailable")
	}
	p := newProvider(t)
	v := p.verifier(t, config())
	p.Close()
	if err := v.Verify(t.Context(), secret.New(token), ""); fault.CodeOf(err) != "captcha_unavailable" || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v; want captcha_unavailable, and why", err)
	}
}

func TestASlowBodyIsAnOutageToo(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.answer(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"success":`)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
			t.Error("the connection was kept")
		}
	})
	v, err := p.connector(t, 300*time.Millisecond).Connect(config())
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Verify(t.Context(), secret.New(p.solve()), ""); fault.CodeOf(err) != "captcha_unavailable" {
		t.Errorf("half an answer: %v", err)
	}
}

func TestWhatNoProviderGivesOutIsNotAskedAbout(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	for _, token := range []string{"", strings.Repeat("a", 16<<10+1), "a b", "a\nb", "é"} {
		if err := p.verifier(t, config()).Verify(t.Context(), secret.New(token), ""); fault.CodeOf(err) != "captcha_failed" {
			t.Errorf("a token of %d bytes: %v", len(token), err)
		}
	}
	if n := len(p.asked()); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

func TestAClientIsNeeded(t *testing.T) {
	t.Parallel()
	if c, err := hcaptcha.New(hcaptcha.Options{}); err == nil || c != nil {
		t.Errorf("without a client: %v, %v", c, err)
	}
}

func expect(t *testing.T, what string, p *provider, code string) {
	t.Helper()
	token := p.solve()
	err := p.verifier(t, config()).Verify(t.Context(), secret.New(token), "")
	kind := fault.Invalid
	if code == "captcha_unavailable" {
		kind = fault.Unavailable
	}
	if !errors.Is(err, kind) || fault.CodeOf(err) != code {
		t.Errorf("%s: %v; want code %s", what, err, code)
	} else if strings.Contains(err.Error(), token) || strings.Contains(err.Error(), secretKey) {
		t.Errorf("%s: the error holds a secret: %v", what, err)
	}
}
