package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Accounts pages through the accounts that f lets through, for an administrator.
func (s *Service) Accounts(ctx context.Context, f store.UserFilter, q page.Query) (page.Of[store.User], error) {
	if _, err := access.Administers(ctx); err != nil {
		return page.Of[store.User]{}, err
	}
	return s.List(ctx, f, q)
}

// Account returns anybody's account to an administrator; fault.NotFound.
func (s *Service) Account(ctx context.Context, i id.User) (u store.User, err error) {
	if _, err := access.Administers(ctx); err != nil {
		return u, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err = tx.Users().Get(ctx, i)
		return err
	})
	return u, err
}

// SignInsOf pages through the history of sign-ins to an account, for an
// administrator. It goes back half a year.
func (s *Service) SignInsOf(ctx context.Context, i id.User, q page.Query) (out page.Of[store.SignIn], err error) {
	if _, err := s.Account(ctx, i); err != nil {
		return out, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.SignIns().List(ctx, i, q.Clamp())
		return err
	})
	return out, err
}

// SetStatus bans an account or lets it in again. A ban ends its sessions for
// good; its API keys are refused until it is lifted.
func (s *Service) SetStatus(ctx context.Context, i id.User, status Status) (store.User, error) {
	var c fault.Check
	c.That(status == Active || status == Banned, "body.status", "must be active or banned")
	if err := c.Err(); err != nil {
		return store.User{}, err
	}
	return s.administer(ctx, i, func(ctx context.Context, tx store.Tx, u *store.User) error {
		if u.Status == string(status) {
			return nil
		}
		u.Status, u.UpdatedAt = string(status), s.deps.Now()
		if err := tx.Users().Update(ctx, u); err != nil {
			return err
		}
		e := journal.Event{Resource: "user", Action: "activate", ResourceID: i.String(), Message: "Lifted the account's ban."}
		if status == Banned {
			e.Action, e.Message = "ban", "Banned the account."
			if _, err := tx.Sessions().DeleteOfUser(ctx, i, id.Session{}); err != nil {
				return err
			}
		}
		return s.journal.Write(ctx, tx, e)
	})
}

// SetRole says what an account may do, from its next request on. It needs a
// session: what a key was used to make somebody would outlive the key.
func (s *Service) SetRole(ctx context.Context, i id.User, role actor.Role) (store.User, error) {
	var c fault.Check
	c.That(role.Known(), "body.role", roleRule)
	if err := c.Err(); err != nil {
		return store.User{}, err
	}
	if _, err := administersInPerson(ctx); err != nil {
		return store.User{}, err
	}
	return s.administer(ctx, i, func(ctx context.Context, tx store.Tx, u *store.User) error {
		if u.Role == string(role) {
			return nil
		}
		before := u.Role
		u.Role, u.UpdatedAt = string(role), s.deps.Now()
		if err := tx.Users().Update(ctx, u); err != nil {
			return err
		}
		return s.journal.Write(ctx, tx, journal.Event{
			Resource: "user", Action: "update_role", ResourceID: i.String(), Message: "Changed the account's role from " + before + " to " + u.Role + ".",
		})
	})
}

// ResetPasswordOf sets an account's password and ends its sessions. Without one
// it makes one up and returns it, this once. It needs a session, as SetRole does.
func (s *Service) ResetPasswordOf(ctx context.Context, i id.User, password secret.Text) (made secret.Text, err error) {
	who, err := administersInPerson(ctx) // before the password is hashed, which takes its time
	if err != nil {
		return made, err
	}
	of, err := s.Account(ctx, i)
	if err != nil {
		return made, err
	}
	if password.IsZero() {
		made, err = s.NewPassword()
		password = made
	} else {
		err = checkNewPassword(password, of)
	}
	if err != nil {
		return secret.Text{}, err
	}
	hash, err := s.deps.Passwords.Hash(ctx, password)
	if err != nil {
		return secret.Text{}, fmt.Errorf("hash password: %w", err)
	}
	_, err = s.administer(ctx, i, func(ctx context.Context, tx store.Tx, u *store.User) error {
		*u, err = s.setPassword(ctx, tx, i, hash, who)
		return err
	})
	if err != nil {
		return secret.Text{}, err
	}
	return made, nil
}

func administersInPerson(ctx context.Context) (actor.Actor, error) {
	if who, err := access.Administers(ctx); err != nil {
		return who, err
	}
	return access.InPerson(ctx)
}

// administer changes somebody else's account. Whoever asks is looked at again
// within the transaction, and those who administer take turns: of two who take
// the right from each other at once, one is too late. So whoever changes an
// account is an administrator afterwards, and the last one always stays.
func (s *Service) administer(ctx context.Context, i id.User, change func(context.Context, store.Tx, *store.User) error) (u store.User, err error) {
	who, err := access.Administers(ctx)
	if err != nil {
		return u, err
	}
	if i == who.UserID {
		return u, fault.Conflict.New("own_account", "You cannot do this to your own account. Ask another administrator.")
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := turn.Take(ctx, tx, turn.Admins, s.deps.Now()); err != nil {
			return err
		}
		me, err := tx.Users().Get(ctx, who.UserID)
		if err != nil && !errors.Is(err, fault.NotFound) {
			return err
		}
		if me.Status != string(Active) {
			return unauthenticated()
		}
		if me.Role != string(actor.Admin) {
			return access.Forbidden()
		}
		if u, err = tx.Users().Get(ctx, i); err != nil {
			return err
		}
		return change(ctx, tx, &u)
	})
	if err != nil {
		return store.User{}, err
	}
	return u, nil
}
