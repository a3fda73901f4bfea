package identity

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
)

// BeginSSO returns where to send a browser that wants to sign in at a provider,
// and the cookie that it comes back with; see package signon. Callback is where
// the provider shall send it, target where it goes in the end.
func (s *Service) BeginSSO(ctx context.Context, provider, callback, target string) (url string, cookie secret.Text, err error) {
	p, err := s.deps.Policy.Provider(ctx, provider)
	if err != nil {
		return "", secret.Text{}, err
	}
	attempt, sealed, err := s.signon.Begin(ctx, provider, callback, target)
	if err != nil {
		return "", secret.Text{}, err
	}
	if url, err = p.Begin(ctx, attempt); err != nil {
		return "", secret.Text{}, err
	}
	return url, secret.New(sealed), nil
}

// Return is what a browser brings from a provider.
type Return struct {
	Provider string
	State    string
	Cookie   secret.Text
	Answer   sso.Answer
}

// EndSSO signs in whom a provider knows, and returns where the browser goes. An
// address opens an account, or makes one where people may register, only when
// the provider has verified it; after that the account is known by the
// provider's own name for the person, whatever becomes of the address.
func (s *Service) EndSSO(ctx context.Context, back Return, from Client) (u store.User, token secret.Text, target string, err error) {
	attempt, target, err := s.signon.End(ctx, back.Provider, back.State, back.Cookie.Reveal())
	if err != nil {
		return u, token, "", err
	}
	p, err := s.deps.Policy.Provider(ctx, back.Provider)
	if err != nil {
		return u, token, "", err
	}
	who, err := p.Complete(ctx, attempt, back.Answer)
	if err != nil {
		return u, token, "", err
	}
	v := voucher{
		provider: back.Provider, subject: hashOf(who.Subject), name: who.Name,
		entry: entry{by: actor.BySSO, method: "sso:" + back.Provider, from: from},
	}
	if address, ok := normalAddress(who.Email); ok && who.EmailVerified {
		v.address = address
	}
	u, token, err = s.admit(ctx, v)
	for range 2 { // what somebody else did at the same moment is read the next time
		if !outrun(err) {
			break
		}
		u, token, err = s.admit(ctx, v)
	}
	if errors.Is(err, errChanged) {
		err = sso.Failed(err)
	}
	return u, token, target, err
}

func outrun(err error) bool {
	return errors.Is(err, errChanged) || slices.Contains([]string{"email_taken", "identity_taken", "stale_version"}, fault.CodeOf(err))
}

// voucher is what a provider says of somebody who comes in by its word.
type voucher struct {
	provider string
	subject  []byte // the hash of the provider's own name for them
	address  string // verified; empty: none is
	name     string // may be empty
	entry
}

// admit lets in whoever is known already, by the provider's name for them or by
// their verified address, and newcomers where people may register.
func (s *Service) admit(ctx context.Context, v voucher) (u store.User, token secret.Text, err error) {
	u, linked, err := s.vouchedFor(ctx, v)
	switch {
	case err != nil:
		return u, token, err
	case u.ID.IsZero() && v.address == "":
		return u, token, s.refuse(ctx, u, v.entry, "The sign-in provider has not verified the address.", unverified())
	case u.ID.IsZero():
		return s.admitNewcomer(ctx, v)
	case u.Status == string(Banned):
		return store.User{}, token, s.refuse(ctx, u, v.entry, "The account is banned.", banned())
	}
	v.first = func(ctx context.Context, tx store.Tx, u store.User) error {
		if linked {
			return tx.SSOIdentities().Touch(ctx, v.provider, v.subject, s.deps.Now())
		}
		return s.link(ctx, tx, u.ID, v)
	}
	return s.begin(ctx, u, v.entry)
}

// vouchedFor returns the account that the voucher is of, if there is one, and
// whether the provider's name for its owner is known.
func (s *Service) vouchedFor(ctx context.Context, v voucher) (u store.User, linked bool, err error) {
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		_, u, err = tx.SSOIdentities().Get(ctx, v.provider, v.subject)
		if linked = err == nil; linked || !errors.Is(err, fault.NotFound) || v.address == "" {
			return err
		}
		u, err = tx.Users().ByEmail(ctx, v.address)
		return err
	})
	if errors.Is(err, fault.NotFound) {
		return store.User{}, false, nil
	}
	return u, linked, err
}

func (s *Service) admitNewcomer(ctx context.Context, v voucher) (store.User, secret.Text, error) {
	err := s.checkOpen(ctx)
	if closed, ok := errors.AsType[*fault.Error](err); ok && closed.Code == registrationClosed().Code {
		err = s.refuse(ctx, store.User{}, v.entry, "People cannot register.", closed)
	}
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	now := s.deps.Now()
	made, err := newUser(id.New[id.UserKind](now, s.deps.Random()), v.address, v.calledBy(), actor.User, now)
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	u := made.rec
	u.LastLoginAt = &now
	ses, token, err := s.newSession(u.ID, v.from)
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.welcome(ctx, tx, u, v.entry); err != nil {
			return err
		}
		if err := s.link(ctx, tx, u.ID, v); err != nil {
			return err
		}
		return s.enter(ctx, tx, u, ses, v.entry)
	})
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	return u, token, nil
}

// calledBy is what to call a newcomer whom nobody can ask for a name.
func (v voucher) calledBy() string {
	local, _, _ := strings.Cut(v.address, "@")
	for _, name := range []string{strings.TrimSpace(v.name), local} {
		if text.IsName(name, maxName) {
			return name
		}
	}
	return "Somebody"
}

func (s *Service) link(ctx context.Context, tx store.Tx, u id.User, v voucher) error {
	now := s.deps.Now()
	err := tx.SSOIdentities().Insert(ctx, store.SSOIdentity{
		Provider: v.provider, SubjectHash: v.subject, UserID: u, CreatedAt: now, LastUsedAt: now,
	})
	if errors.Is(err, fault.NotFound) {
		return errChanged // the account was removed meanwhile
	}
	return err
}

func unverified() *fault.Error {
	return fault.Denied.New("sso_email_unverified", "The sign-in provider has not verified your e-mail address. Verify it there, and sign in again.")
}

// random reads from the source of secrets.
type random func() ([32]byte, error)

// Read implements io.Reader.
func (r random) Read(p []byte) (n int, err error) {
	for n < len(p) {
		b, err := r()
		if err != nil {
			return n, err
		}
		n += copy(p[n:], b[:])
	}
	return n, nil
}
