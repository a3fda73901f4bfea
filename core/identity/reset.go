package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// ResetPassword sets the password of the account with that address and ends
// all its sessions. It is for the installation's own tools: whoever may run them
// may do this.
func (s *Service) ResetPassword(ctx context.Context, email string, password secret.Text) (store.User, error) {
	found, err := s.byAddress(ctx, email)
	if err != nil {
		return store.User{}, err
	}
	if err := checkNewPassword(password, found); err != nil {
		return store.User{}, err
	}
	hash, err := s.deps.Passwords.Hash(ctx, password)
	if err != nil {
		return store.User{}, fmt.Errorf("hash password: %w", err)
	}
	var u store.User
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err = s.setPassword(ctx, tx, found.ID, hash, actor.Process())
		return err
	})
	return u, err
}

// Reset is what somebody says who has forgotten a password.
type Reset struct {
	Email    string
	Password secret.Text // the new one
	Code     secret.Text // the one that was mailed to the address
}

// ResetWithCode sets the password of the account for whoever has the code that
// was mailed to its address, and ends all its sessions. A wrong code fails alike
// whether or not there is an account. A code that was right is not used up when
// the password cannot be set, so that it can be tried again.
func (s *Service) ResetWithCode(ctx context.Context, r Reset) error {
	address, ok := normalAddress(r.Email)
	var c fault.Check
	c.That(ok, "body.email", addressRule)
	checkChosenPassword(&c, "body.new_password", r.Password, address)
	checkCode(&c, r.Code)
	if err := c.Err(); err != nil {
		return err
	}
	code, err := s.tryCode(ctx, toReset, address, r.Code)
	if err != nil {
		return err
	}
	if err := s.checkNewPasswordOf(ctx, address, r.Password); err != nil {
		return err
	}
	hash, err := s.deps.Passwords.Hash(ctx, r.Password)
	if err != nil {
		return fmt.Errorf("hash password: %w", err)
	}
	return s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.useCode(ctx, tx, toReset, address, code); err != nil {
			return err
		}
		u, err := tx.Users().ByEmail(ctx, address)
		if errors.Is(err, fault.NotFound) {
			return wrongCode() // it was removed meanwhile
		}
		if err != nil {
			return err
		}
		_, err = s.setPassword(ctx, tx, u.ID, hash, personBy(u, actor.ByCode))
		return err
	})
}

// checkNewPasswordOf looks at the account, which only somebody may cause whose
// code was right.
func (s *Service) checkNewPasswordOf(ctx context.Context, address string, password secret.Text) error {
	u, err := s.byAddress(ctx, address)
	if errors.Is(err, fault.NotFound) {
		return wrongCode() // it was removed meanwhile
	}
	if err != nil {
		return err
	}
	return checkNewPassword(password, u)
}

func checkNewPassword(p secret.Text, of store.User) error {
	var c fault.Check
	checkChosenPassword(&c, "body.new_password", p, of.Email, of.Name)
	return c.Err()
}

// setPassword ends what the old password began, in the same transaction.
func (s *Service) setPassword(ctx context.Context, tx store.Tx, i id.User, hash string, by actor.Actor) (store.User, error) {
	u, err := tx.Users().Get(ctx, i)
	if err != nil {
		return store.User{}, err
	}
	u.PasswordHash, u.UpdatedAt = hash, s.deps.Now()
	if err := tx.Users().Update(ctx, &u); err != nil {
		return store.User{}, err
	}
	if _, err := tx.Sessions().DeleteOfUser(ctx, u.ID, id.Session{}); err != nil {
		return store.User{}, err
	}
	return u, s.journal.WriteAs(ctx, tx, by, journal.Event{
		Resource: "user", Action: "reset_password", ResourceID: u.ID.String(), Message: "Reset the password.",
	})
}
