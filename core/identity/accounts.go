package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/ports/store"
)

// NewAccount is an account to be made by an operator of the installation.
type NewAccount struct {
	Email    string
	Name     string // empty: from the address
	Role     actor.Role
	Password secret.Text
}

// Create makes an account. It is for the installation's own tools: whoever may
// run them may do this.
func (s *Service) Create(ctx context.Context, n NewAccount) (store.User, error) {
	return s.create(ctx, n, func(context.Context, store.Tx) error { return nil })
}

func (s *Service) create(ctx context.Context, n NewAccount, allowed func(context.Context, store.Tx) error) (store.User, error) {
	now := s.deps.Now()
	u, err := newUser(id.New[id.UserKind](now, s.deps.Random()), n.Email, n.Name, n.Role, now)
	if err != nil {
		return store.User{}, err
	}
	var c fault.Check
	checkChosenPassword(&c, "body.password", n.Password, u.rec.Email, u.rec.Name)
	if err := c.Err(); err != nil {
		return store.User{}, err
	}
	if u.rec.PasswordHash, err = s.deps.Passwords.Hash(ctx, n.Password); err != nil {
		return store.User{}, fmt.Errorf("hash password: %w", err)
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := allowed(ctx, tx); err != nil {
			return err
		}
		if err := tx.Users().Insert(ctx, u.rec); err != nil {
			return err
		}
		return s.journal.WriteAs(ctx, tx, actor.Process(), journal.Event{
			Resource: "user", Action: "create", ResourceID: u.rec.ID.String(), Message: "Made an account with the role " + u.rec.Role + ".",
		})
	})
	return u.rec, err
}

var errHasAdmin = errors.New("there is an administrator already")

// FirstAdmin makes an administrator if there is none, and reports whether it
// did. Two processes that start at once make one.
func (s *Service) FirstAdmin(ctx context.Context, n NewAccount) (u store.User, made bool, err error) {
	n.Role = actor.Admin
	if there, err := s.HasAdmin(ctx); there || err != nil {
		return u, false, err
	}
	u, err = s.create(ctx, n, func(ctx context.Context, tx store.Tx) error {
		if err := turn.Take(ctx, tx, "first-admin", s.deps.Now()); err != nil {
			return err
		}
		if count, err := tx.Users().CountByRole(ctx, string(actor.Admin)); err != nil || count > 0 {
			return errors.Join(err, errHasAdmin)
		}
		return nil
	})
	if errors.Is(err, errHasAdmin) || fault.CodeOf(err) == "email_taken" {
		there, again := s.HasAdmin(ctx)
		if again != nil || there {
			return store.User{}, false, again
		}
	}
	return u, err == nil, err
}

// HasAdmin reports whether anybody can administer the installation.
func (s *Service) HasAdmin(ctx context.Context) (there bool, err error) {
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err := tx.Users().CountByRole(ctx, string(actor.Admin))
		there = n > 0
		return err
	})
	return there, err
}

// NewPassword makes one that nobody can guess.
func (s *Service) NewPassword() (secret.Text, error) {
	raw, err := s.deps.Secret()
	if err != nil {
		return secret.Text{}, fmt.Errorf("make password: %w", err)
	}
	return secret.New(base64.RawURLEncoding.EncodeToString(raw[:18])), nil
}
