package identity_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/captcha"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
)

// mailbox keeps what is written down in transactions that committed; it is read
// through world.letters, between them.
type mailbox struct {
	mu      sync.Mutex
	letters []identity.Letter
	out     error // why nothing can be sent
}

func (m *mailbox) Send(ctx context.Context, tx store.Tx, l identity.Letter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out != nil {
		return m.out
	}
	if !l.UserID.IsZero() {
		if _, err := tx.Users().Get(ctx, l.UserID); err != nil { // gone: passed by
			return nil
		}
	}
	m.letters = append(m.letters, l)
	return nil
}

func (m *mailbox) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = err
}

// take returns the letters and forgets them.
func (m *mailbox) take() []identity.Letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.letters
	m.letters = nil
	return out
}

// code returns the code in the only letter.
func (w *world) code(t *testing.T) secret.Text {
	t.Helper()
	letters := w.mail.take()
	if len(letters) != 1 || len(letters[0].Data["code"]) != 6 {
		t.Fatalf("%d letters, not one with a code", len(letters))
	}
	return secret.New(letters[0].Data["code"])
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

func (p *policy) Provider(_ context.Context, name string) (sso.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.providers[name]; found != nil || p.fault != nil {
		return found, p.fault
	}
	return identity.Closed{}.Provider(context.Background(), name)
}

func (p *policy) Providers(context.Context) ([]identity.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.offered, p.fault
}

// TestDoors names the ways in as they are set.
func TestDoors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy.set(func(p *policy) {
		p.offered = []identity.Provider{{Name: "github", DisplayName: "GitHub"}}
		p.captcha = identity.Captcha{SiteKey: "off"} // no verifier: it is off
	})
	d, err := w.Doors(t.Context())
	if err != nil || !d.RegistrationOpen || d.CaptchaSiteKey != "" || !slices.Equal(d.Providers, []identity.Provider{{Name: "github", DisplayName: "GitHub"}}) {
		t.Errorf("%+v, %v", d, err)
	}
	w.policy.set(func(p *policy) { p.open, p.captcha = false, identity.Captcha{SiteKey: "key", Verifier: solved("yes")} })
	if d, err := w.Doors(t.Context()); err != nil || d.RegistrationOpen || d.CaptchaSiteKey != "key" {
		t.Errorf("%+v, %v", d, err)
	}
	w.policy.set(func(p *policy) { p.fault = fault.Unavailable.New("store_busy", "Busy.") })
	if _, err := w.Doors(t.Context()); fault.CodeOf(err) != "store_busy" {
		t.Error(err)
	}
}

func TestNothingIsOpenBeforeItIsSet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deps.Policy, w.deps.Mail = identity.Closed{}, identity.NoMail{}
	s := w.over(t, w.store)
	if d, err := s.Doors(t.Context()); err != nil || d.RegistrationOpen || d.CaptchaSiteKey != "" || len(d.Providers) != 0 {
		t.Errorf("%+v, %v", d, err)
	}
	w.account(t)
	for _, email := range []string{address, "nobody@example.org"} {
		if err := s.SendRegistrationCode(t.Context(), email, identity.Client{}); fault.CodeOf(err) != "registration_closed" || fault.KindOf(err) != fault.Denied {
			t.Errorf("a code to register: %v", err)
		}
		if err := s.SendResetCode(t.Context(), email); fault.CodeOf(err) != "mail_not_configured" || fault.KindOf(err) != fault.Unavailable {
			t.Errorf("a code to reset: %v", err)
		}
	}
	if _, _, err := s.Register(t.Context(), identity.Registration{Email: "new@example.org", Password: secret.New(password), Code: secret.New("123456")}, identity.Client{}); fault.CodeOf(err) != "registration_closed" {
		t.Error(err)
	}
	if _, err := (identity.Closed{}).Provider(t.Context(), "github"); fault.KindOf(err) != fault.NotFound {
		t.Error(err)
	}
}

// solved takes one token for a captcha that somebody has solved.
func solved(token string) captcha.Verifier {
	return captcha.VerifierFunc(func(_ context.Context, got secret.Text, ip string) error {
		switch {
		case got.Reveal() == "outage":
			return fault.Unavailable.New("captcha_unavailable", "It does not answer.")
		case got.Reveal() != token || ip != "192.0.2.1":
			return fault.Invalid.New("captcha_failed", "It was not solved.")
		}
		return nil
	})
}

// TestTheCaptchaComesFirst: without it nothing is looked at, tried or written.
func TestTheCaptchaComesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(t)
	w.policy.set(func(p *policy) { p.captcha = identity.Captcha{SiteKey: "key", Verifier: solved("yes")} })
	for name, call := range map[string]func(identity.Client) error{
		"sign-in": func(from identity.Client) error {
			_, _, err := w.SignIn(t.Context(), address, secret.New(password), from)
			return err
		},
		"code": func(from identity.Client) error {
			return w.SendRegistrationCode(t.Context(), "new@example.org", from)
		},
		"registration": func(from identity.Client) error {
			_, _, err := w.Register(t.Context(), identity.Registration{Email: "new@example.org", Password: secret.New(password), Code: secret.New("123456")}, from)
			if fault.CodeOf(err) == "verification_code_invalid" { // the captcha let it pass
				err = nil
			}
			return err
		},
	} {
		checks := w.hasher.Checks.Load()
		before := w.dump()
		for token, want := range map[string]string{"": "captcha_required", "no": "captcha_failed", "outage": "captcha_unavailable"} {
			err := call(identity.Client{IP: "192.0.2.1", Captcha: secret.New(token)})
			if fault.CodeOf(err) != want {
				t.Errorf("%s with %q: %v", name, token, err)
			}
			if fault.KindOf(err) == fault.Invalid && !slices.Equal(fields(err), []string{"body.captcha_token"}) {
				t.Errorf("%s with %q names %v", name, token, fields(err))
			}
		}
		if w.hasher.Checks.Load() != checks || w.dump() != before {
			t.Errorf("%s: something was done before the captcha was solved", name)
		}
		if err := call(identity.Client{IP: "192.0.2.1", Captcha: secret.New("yes")}); err != nil {
			t.Errorf("%s with a solved captcha: %v", name, err)
		}
	}
}
