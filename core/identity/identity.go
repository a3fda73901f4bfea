// Package identity owns accounts, sessions and API keys: who somebody is and
// how they prove it. What they may then do is package access's to say.
package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/once"
	"github.com/kubebyon/kubebyon/core/signon"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Deps are what a Service cannot work without.
type Deps struct {
	Store     store.Store
	Passwords passwords.Hasher
	Seal      seal.Sealer // for the codes that are mailed and the ways to sign-in providers
	Mail      Mail
	Policy    Policy
	Log       *slog.Logger
	Now       func() time.Time         // UTC, milliseconds
	Random    id.Random                // for identifiers
	Secret    func() ([32]byte, error) // unpredictable bytes, for tokens, passwords and codes
}

// Service is the only way to change accounts and sessions.
type Service struct {
	deps    Deps
	journal journal.Journal
	signon  *signon.Keeper
	desk    once.Desk
	uses    keyUses
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Service, error) {
	if d.Store == nil || d.Passwords == nil || d.Seal == nil || d.Mail == nil || d.Policy == nil ||
		d.Log == nil || d.Now == nil || d.Random == nil || d.Secret == nil {
		return nil, errors.New("identity: every field of Deps must be set")
	}
	keeper, err := signon.New(signon.Deps{Sealer: d.Seal, Now: d.Now, Random: random(d.Secret)})
	if err != nil {
		return nil, err
	}
	return &Service{
		deps:    d,
		journal: journal.Journal{Now: d.Now, Random: d.Random},
		signon:  keeper,
		desk:    once.Desk{Store: d.Store, Seal: d.Seal, Now: d.Now},
	}, nil
}

// Lifetimes of a session.
const (
	SessionIdle = 7 * 24 * time.Hour  // without a request
	SessionMax  = 30 * 24 * time.Hour // whatever happens
	slideAfter  = time.Hour           // how stale ExpiresAt may get: one write an hour, not one a request
)

// Session returns who a session token speaks for, and lets the session live on.
func (s *Service) Session(ctx context.Context, token secret.Text) (actor.Actor, store.User, error) {
	var ses store.Session
	var u store.User
	err := s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		ses, u, err = tx.Sessions().ByTokenHash(ctx, hashOf(token))
		return err
	})
	if err != nil {
		return actor.Actor{}, u, unknownCredential(err)
	}
	now := s.deps.Now()
	if u.Status != string(Active) || !now.Before(ses.ExpiresAt) || !now.Before(ses.EndsAt) {
		return actor.Actor{}, store.User{}, unauthenticated()
	}
	if ses.ExpiresAt.Sub(now) < SessionIdle-slideAfter && ses.ExpiresAt.Before(ses.EndsAt) {
		s.slide(ctx, ses, now)
	}
	who := personBy(u, actor.BySession)
	who.Session = ses.ID
	return who, u, nil
}

// slide is best effort: the request that it serves is good without it.
func (s *Service) slide(ctx context.Context, ses store.Session, now time.Time) {
	until := now.Add(SessionIdle)
	if until.After(ses.EndsAt) {
		until = ses.EndsAt
	}
	err := s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Sessions().Extend(ctx, ses.ID, until) })
	if err != nil {
		s.deps.Log.WarnContext(ctx, "session not extended", "session", ses.ID.String(), "err", err)
	}
}

func unknownCredential(err error) error {
	if errors.Is(err, fault.NotFound) {
		return unauthenticated()
	}
	return fmt.Errorf("look up credential: %w", err)
}

func unauthenticated() error {
	return fault.Unauthenticated.New("unauthenticated", "Sign in first.")
}

// SignOut ends the session of the actor in ctx, if it came with one.
func (s *Service) SignOut(ctx context.Context) error {
	who, err := actor.From(ctx)
	if err != nil || who.Session.IsZero() {
		return nil //nolint:nilerr // signing out without being signed in is done already
	}
	return s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := tx.Sessions().Delete(ctx, who.Session); err != nil {
			return err
		}
		return s.journal.Write(ctx, tx, journal.Event{Resource: "session", Action: "logout", ResourceID: who.Session.String(), Message: "Signed out."})
	})
}

// Me returns the account of the actor in ctx.
func (s *Service) Me(ctx context.Context) (u store.User, err error) {
	who, err := actor.From(ctx)
	if err != nil {
		return u, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err = tx.Users().Get(ctx, who.UserID)
		return err
	})
	return u, signedOut(err)
}

// signedOut is what somebody is told whose own account was removed after their
// credential had been checked.
func signedOut(err error) error {
	if fault.CodeOf(err) == "user_not_found" {
		return unauthenticated()
	}
	return err
}

// Rename changes the name of the actor's own account.
func (s *Service) Rename(ctx context.Context, name string) (u store.User, err error) {
	who, err := actor.From(ctx)
	if err != nil {
		return u, err
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Users().Get(ctx, who.UserID)
		if err != nil {
			return err
		}
		user := User{rec}
		if err := user.Rename(name, s.deps.Now()); err != nil {
			return err
		}
		if err := tx.Users().Update(ctx, &user.rec); err != nil {
			return err
		}
		u = user.rec
		return s.journal.Write(ctx, tx, journal.Event{Resource: "user", Action: "update_profile", ResourceID: u.ID.String(), Message: "Changed the profile."})
	})
	return u, signedOut(err)
}

// ProvidersOf returns the sign-in providers that know each of the users, by
// name, with one question for all of them.
func (s *Service) ProvidersOf(ctx context.Context, users ...store.User) (out map[id.User][]string, err error) {
	ids := make([]id.User, len(users))
	for i, u := range users {
		ids[i] = u.ID
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.SSOIdentities().ProvidersOf(ctx, ids)
		return err
	})
	return out, err
}

// CheckPassword confirms that the actor in ctx knows their own password, before
// something that a stolen session alone must not get.
func (s *Service) CheckPassword(ctx context.Context, password secret.Text) error {
	u, err := s.Me(ctx)
	if err != nil {
		return err
	}
	if u.PasswordHash == "" {
		return fault.Conflict.New("password_not_set", "Your account has no password. Set one first.")
	}
	return guarded(ctx, func() error {
		ok, _, err := s.deps.Passwords.Matches(ctx, u.PasswordHash, password)
		if err != nil {
			return fmt.Errorf("check password: %w", err)
		}
		if !ok {
			return fault.Unauthenticated.New("password_incorrect", "The password is wrong.")
		}
		return nil
	})
}

// hashOf is for tokens, of 256 random bits, to which a slow hash would add
// nothing, and for providers' names of people, which it could not protect.
func hashOf(token secret.Text) []byte {
	sum := sha256.Sum256([]byte(token.Reveal()))
	return sum[:]
}

// Prune removes sessions that are over, at most limit of them.
func (s *Service) Prune(ctx context.Context, limit int) (n int, err error) {
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err = tx.Sessions().DeleteExpired(ctx, s.deps.Now(), limit)
		return err
	})
	return n, err
}

// List pages through all accounts, for those who administer the installation.
func (s *Service) List(ctx context.Context, f store.UserFilter, q page.Query) (out page.Of[store.User], err error) {
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.Users().List(ctx, f, q.Clamp())
		return err
	})
	return out, err
}
