package hcaptcha_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/hcaptcha"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/captcha"
	"github.com/kubebyon/kubebyon/ports/captcha/captchatest"
)

const (
	siteKey   = "10000000-ffff-4fff-8fff-000000000001"
	secretKey = "0xSecretSecretSecretSecretSecretSecretSecr"
)

// provider answers as hCaptcha's documentation says that it does.
type provider struct {
	*httptest.Server
	gone chan struct{} // closed at the end of the test

	mu       sync.Mutex
	solved   map[string]bool // tokens; true once one was spent
	forms    []map[string][]string
	instead  http.HandlerFunc // answers in the provider's place
	hostname string
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{gone: make(chan struct{}), solved: map[string]bool{}, hostname: "console.example.com"}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		close(p.gone)
		p.Client().CloseIdleConnections()
		p.Close()
	})
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := r.ParseForm()
	p.mu.Lock()
	p.forms = append(p.forms, r.PostForm)
	instead := p.instead
	p.mu.Unlock()
	switch {
	case instead != nil:
		instead(w, r)
	case err != nil || r.Method != http.MethodPost || r.URL.RawQuery != "" || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded":
		refuse(w, "bad-request")
	case r.PostForm.Get("secret") == "":
		refuse(w, "missing-input-secret")
	case r.PostForm.Get("secret") != secretKey:
		refuse(w, "invalid-input-secret")
	case r.PostForm.Get("sitekey") != siteKey:
		refuse(w, "sitekey-secret-mismatch")
	default:
		p.spend(w, r.PostForm.Get("response"))
	}
}

func (p *provider) spend(w http.ResponseWriter, token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	spent, known := p.solved[token]
	switch {
	case token == "":
		refuse(w, "missing-input-response")
	case !known:
		refuse(w, "invalid-input-response")
	case spent:
		refuse(w, "already-seen-response")
	default:
		p.solved[token] = true
		reply(w, map[string]any{"success": true, "challenge_ts": "2026-11-21T10:00:00Z", "hostname": p.hostname, "credit": false})
	}
}

func refuse(w http.ResponseWriter, code string) {
	reply(w, map[string]any{"success": false, "error-codes": []string{code}})
}

func reply(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (p *provider) solve() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	token := fmt.Sprintf("P1_token-of-a-person.%d", len(p.solved))
	p.solved[token] = false
	return token
}

func (p *provider) answer(h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.instead = h
}

func (p *provider) hang() {
	p.answer(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-p.gone:
		}
	})
}

func (p *provider) asked() []map[string][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forms
}

func config() captcha.Config {
	return captcha.Config{SiteKey: siteKey, SecretKey: secret.New(secretKey)}
}

func (p *provider) connector(t *testing.T, patience time.Duration) *hcaptcha.Connector {
	t.Helper()
	c, err := hcaptcha.New(hcaptcha.Options{Client: p.Client(), Endpoint: p.URL, Patience: patience})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *provider) verifier(t *testing.T, c captcha.Config) captcha.Verifier {
	t.Helper()
	v, err := p.connector(t, 10*time.Second).Connect(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerifier(t *testing.T) {
	t.Parallel()
	captchatest.Run(t, func(t *testing.T) captchatest.World {
		p := newProvider(t)
		return captchatest.World{
			Connector: p.connector(t, 10*time.Second), Impatient: p.connector(t, 300*time.Millisecond), Config: config(), Solve: p.solve, Hang: p.hang,
			Down: func() {
				p.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
			},
			Asked: func() int { return len(p.asked()) },
		}
	})
}
