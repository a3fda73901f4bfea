package identity

import (
	"context"
	"fmt"

	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Registration is what somebody says who wants an account.
type Registration struct {
	Email    string
	Name     string // empty: from the address
	Password secret.Text
	Code     secret.Text // the one that was mailed to the address
}

// Register makes an account for whoever has the code that was mailed to the
// address, and signs them in. The code is looked at before anybody looks whether
// there is an account with the address.
func (s *Service) Register(ctx context.Context, r Registration, from Client) (store.User, secret.Text, error) {
	u, err := s.checkRegistration(ctx, r)
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	if err := s.checkPerson(ctx, from); err != nil {
		return store.User{}, secret.Text{}, err
	}
	hash, err := s.tryCode(ctx, toRegister, u.Email, r.Code)
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	if u.PasswordHash, err = s.deps.Passwords.Hash(ctx, r.Password); err != nil {
		return store.User{}, secret.Text{}, fmt.Errorf("hash password: %w", err)
	}
	ses, token, err := s.newSession(u.ID, from)
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	e := entry{by: actor.ByCode, method: asNewcomer, from: from}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.useCode(ctx, tx, toRegister, u.Email, hash); err != nil {
			return err
		}
		if err := s.welcome(ctx, tx, u, e); err != nil {
			return err
		}
		return s.enter(ctx, tx, u, ses, e)
	})
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	return u, token, nil
}

func (s *Service) checkRegistration(ctx context.Context, r Registration) (store.User, error) {
	if err := s.checkOpen(ctx); err != nil {
		return store.User{}, err
	}
	now := s.deps.Now()
	u, err := newUser(id.New[id.UserKind](now, s.deps.Random()), r.Email, r.Name, actor.User, now)
	if err != nil {
		return store.User{}, err
	}
	u.rec.LastLoginAt = &now
	var c fault.Check
	checkChosenPassword(&c, "body.password", r.Password, u.rec.Email, u.rec.Name)
	checkCode(&c, r.Code)
	return u.rec, c.Err()
}

// checkOpen refuses strangers who want an account where they cannot have one.
func (s *Service) checkOpen(ctx context.Context) error {
	open, err := s.deps.Policy.RegistrationOpen(ctx)
	if err == nil && !open {
		err = registrationClosed()
	}
	return err
}

func registrationClosed() *fault.Error {
	return fault.Denied.New("registration_closed", "Accounts are made by the administrators here. Ask one of them.")
}

// welcome makes the account of somebody who has proved that the address is
// theirs. Where no mail can be sent, they come in without a letter.
func (s *Service) welcome(ctx context.Context, tx store.Tx, u store.User, e entry) error {
	if err := tx.Users().Insert(ctx, u); err != nil {
		return err
	}
	err := s.deps.Mail.Send(ctx, tx, Letter{
		To: u.Email, Template: "welcome", UserID: u.ID, Key: "welcome/" + u.ID.String(), Data: map[string]string{"name": u.Name},
	})
	if err != nil && fault.CodeOf(err) != noMailCode {
		return fmt.Errorf("welcome: %w", err)
	}
	return s.journal.WriteAs(ctx, tx, personBy(u, e.by), journal.Event{
		Resource: "user", Action: "register", ResourceID: u.ID.String(), Message: "Registered.",
	})
}
