package httpapi_test

import (
	"context"
	"sync"

	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/captcha"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
)

// mailbox keeps letters, the last one to each address.
type mailbox struct {
	mu      sync.Mutex
	letters map[string]identity.Letter
	posted  func(identity.Letter)
}

// Send passes by a letter to an account that is gone, by the same steps.
func (m *mailbox) Send(ctx context.Context, tx store.Tx, l identity.Letter) error {
	if m.posted != nil {
		m.posted(l)
	}
	if !l.UserID.IsZero() {
		if _, err := tx.Users().Get(ctx, l.UserID); err != nil {
			return nil
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.letters == nil {
		m.letters = map[string]identity.Letter{}
	}
	m.letters[l.To] = l
	return nil
}

func (m *mailbox) last(to string) identity.Letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.letters[to]
}

// registrationCode has a code mailed and returns it.
func (w *world) registrationCode(email string) string {
	w.t.Helper()
	if err := w.people.SendRegistrationCode(w.t.Context(), email, identity.Client{}); err != nil {
		w.t.Fatal(err)
	}
	return w.mail.last(email).Data["code"]
}

func (w *world) resetCode(email string) string {
	w.t.Helper()
	if err := w.people.SendResetCode(w.t.Context(), email); err != nil {
		w.t.Fatal(err)
	}
	return w.mail.last(email).Data["code"]
}

// registration is a request that makes an account.
func (w *world) registration(email string) map[string]any {
	w.t.Helper()
	return map[string]any{"email": email, "password": password, "email_verification_code": w.registrationCode(email)}
}

// reset is a request that sets the password that there was before.
func (w *world) reset(email string) map[string]any {
	w.t.Helper()
	return map[string]any{"email": email, "new_password": password, "email_verification_code": w.resetCode(email)}
}

// policy is what a test sets.
type policy struct {
	mu        sync.Mutex
	open      bool
	fault     error
	captcha   identity.Captcha
	offered   []identity.Provider
	providers map[string]sso.Provider
}

func (p *policy) set(change func(*policy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *policy) RegistrationOpen(context.Context) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, p.fault
}

func (p *policy) Captcha(context.Context) (identity.Captcha, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.captcha, p.fault
}

func (p *policy) Provider(ctx context.Context, name string) (sso.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.providers[name]; found != nil || p.fault != nil {
		return found, p.fault
	}
	return identity.Closed{}.Provider(ctx, name)
}

func (p *policy) Providers(context.Context) ([]identity.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.offered, p.fault
}

// solved takes the token "solved".
var solved = captcha.VerifierFunc(func(_ context.Context, token secret.Text, _ string) error {
	switch token.Reveal() {
	case "solved":
		return nil
	case "outage":
		return fault.Unavailable.New("captcha_unavailable", "The captcha cannot be checked.")
	}
	return fault.Invalid.New("captcha_failed", "The captcha was not solved.")
})
