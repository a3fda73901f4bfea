package identity

import (
	"context"
	"errors"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/captcha"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Mail has letters delivered.
type Mail interface {
	// Send writes a letter down in tx, to be delivered when tx has committed. It
	// sends nothing itself, so that no answer waits for a mailbox, and it takes
	// the same steps for every letter of a template. A letter whose Key was there
	// before, and one to an account that is gone, is passed by.
	//
	// It fails with fault.Unavailable, code mail_not_configured, when nothing can
	// be sent, before it has asked anything of tx.
	Send(ctx context.Context, tx store.Tx, l Letter) error
}

// Letter is an e-mail to one person.
type Letter struct {
	To       string            // an e-mail address
	Template string            // "verification-code", "password-reset" or "welcome"
	UserID   id.User           // whose letter it is; zero: nobody's account is known
	Key      string            // the same when the letter is written again
	Data     map[string]string // for the template; may hold a code, which is a secret
}

// Policy is what the administrators have set about strangers. It is asked with
// every request, so it must be quick.
type Policy interface {
	// RegistrationOpen reports whether people may make accounts themselves.
	RegistrationOpen(ctx context.Context) (bool, error)
	// Captcha returns what has to be solved to sign in and to register.
	Captcha(ctx context.Context) (Captcha, error)
	// Provider returns a sign-in provider by name. It fails with fault.NotFound.
	Provider(ctx context.Context, name string) (sso.Provider, error)
	// Providers names all of them, in the order in which they are offered.
	Providers(ctx context.Context) ([]Provider, error)
}

// Captcha is a captcha that is on. Without a Verifier none is.
type Captcha struct {
	SiteKey  string
	Verifier captcha.Verifier
}

// Provider names somebody who lets people in whom they know.
type Provider struct{ Name, DisplayName string }

// Doors are the ways in besides a password.
type Doors struct {
	Providers        []Provider
	CaptchaSiteKey   string // empty: there is no captcha
	RegistrationOpen bool
}

// Doors returns the ways in.
func (s *Service) Doors(ctx context.Context) (d Doors, err error) {
	if d.Providers, err = s.deps.Policy.Providers(ctx); err != nil {
		return Doors{}, err
	}
	c, err := s.deps.Policy.Captcha(ctx)
	if err != nil {
		return Doors{}, err
	}
	if c.Verifier != nil {
		d.CaptchaSiteKey = c.SiteKey
	}
	d.RegistrationOpen, err = s.deps.Policy.RegistrationOpen(ctx)
	return d, err
}

// NoMail is the Mail of a process that can send none.
type NoMail struct{}

// Send implements Mail.
func (NoMail) Send(context.Context, store.Tx, Letter) error {
	return fault.Unavailable.New(noMailCode, "This installation cannot send e-mail yet. An administrator has to set it up.")
}

const noMailCode = "mail_not_configured"

// Closed is the Policy under which accounts are made by administrators only,
// and signed in to with a password.
type Closed struct{}

// RegistrationOpen implements Policy.
func (Closed) RegistrationOpen(context.Context) (bool, error) { return false, nil }

// Captcha implements Policy.
func (Closed) Captcha(context.Context) (Captcha, error) { return Captcha{}, nil }

// Provider implements Policy.
func (Closed) Provider(context.Context, string) (sso.Provider, error) {
	return nil, fault.NotFound.New("sso_provider_unknown", "There is no such sign-in provider.")
}

// Providers implements Policy.
func (Closed) Providers(context.Context) ([]Provider, error) { return nil, nil }

// checkPerson has a person's captcha checked, where there is one to solve. The
// solution is used up.
func (s *Service) checkPerson(ctx context.Context, from Client) error {
	c, err := s.deps.Policy.Captcha(ctx)
	if err != nil || c.Verifier == nil {
		return err
	}
	if from.Captcha.IsZero() {
		return refusedAt(captchaField, "must be the token of a solved captcha",
			fault.Invalid.New("captcha_required", "Solve the captcha first."))
	}
	err = c.Verifier.Verify(ctx, from.Captcha, from.IP)
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.Invalid {
		return refusedAt(captchaField, "must be the token of a captcha solved just now", f)
	}
	return err
}

const captchaField = "body.captcha_token"

// refusedAt is a fault of one part of the request that has a code of its own.
func refusedAt(location, rule string, f *fault.Error) error {
	out := *f
	out.Fields = []fault.Field{{Location: location, Message: rule}}
	return &out
}
