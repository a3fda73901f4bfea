// Package identity owns accounts, sessions and API keys: who somebody is and
// how they prove it. What they may then do is package access's to say.
package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
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
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Deps are what a Service cannot work without.
type Deps struct {
	Store     store.Store
	Passwords passwords.Hasher
	Log       *slog.Logger
	Now       func() time.Time         // UTC, milliseconds
	Random    id.Random                // for identifiers
	Secret    func() ([32]byte, error) // unpredictable bytes, for tokens and passwords
}

// Service is the only way to change accounts and sessions.
type Service struct {
	deps    Deps
	journal journal.Journal
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Service, error) {
	if d.Store == nil || d.Passwords == nil || d.Log == nil || d.Now == nil || d.Random == nil || d.Secret == nil {
		return nil, errors.New("identity: every field of Deps must be set")
	}
	return &Service{deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}}, nil
}

// Lifetimes of a session.
const (
	SessionIdle = 7 * 24 * time.Hour  // without a request
	SessionMax  = 30 * 24 * time.Hour // whatever happens
	slideAfter  = time.Hour           // how stale ExpiresAt may get: one write an hour, not one a request
)

// Client is where a request comes from.
type Client struct{ IP, UserAgent string }

// SignIn checks a password and begins a session. An unknown address and a wrong
// password fail alike, and in like time. The token is given out this once.
func (s *Service) SignIn(ctx context.Context, email string, password secret.Text, from Client) (store.User, secret.Text, error) {
	u, token, err := s.signIn(ctx, email, password, from)
	if errors.Is(err, errChanged) { // perhaps only its hash was upgraded: ask the account as it is now
		u, token, err = s.signIn(ctx, email, password, from)
	}
	if errors.Is(err, errChanged) {
		return store.User{}, secret.Text{}, invalidCredentials()
	}
	return u, token, err
}

var errChanged = errors.New("the account changed while its password was checked")

func (s *Service) signIn(ctx context.Context, email string, password secret.Text, from Client) (store.User, secret.Text, error) {
	u, err := s.byAddress(ctx, email)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return store.User{}, secret.Text{}, err
	}
	ok, outdated, err := s.deps.Passwords.Matches(ctx, u.PasswordHash, password)
	if err != nil {
		return store.User{}, secret.Text{}, fmt.Errorf("check password: %w", err)
	}
	switch {
	case u.ID.IsZero():
		nobody := actor.Actor{Type: actor.Anonymous, Method: actor.ByPassword}
		return store.User{}, secret.Text{}, s.refuse(ctx, nobody, "There is no account with this address.", invalidCredentials())
	case !ok:
		return store.User{}, secret.Text{}, s.refuse(ctx, personBy(u, actor.ByPassword), "The password was wrong.", invalidCredentials())
	case u.Status == string(Banned):
		return store.User{}, secret.Text{}, s.refuse(ctx, personBy(u, actor.ByPassword), "The account is banned.",
			fault.Denied.New("account_banned", "This account has been banned."))
	}
	if outdated {
		u = s.upgradeHash(ctx, u, password)
	}
	return s.begin(ctx, u, from)
}

func (s *Service) byAddress(ctx context.Context, email string) (u store.User, err error) {
	address, ok := normalAddress(email)
	if !ok {
		return u, fault.NotFound.New("user_not_found", "There is no such account.")
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err = tx.Users().ByEmail(ctx, address)
		return err
	})
	return u, err
}

func invalidCredentials() error {
	return fault.Unauthenticated.New("invalid_credentials", "The e-mail address or the password is wrong.")
}

// refuse records a failed sign-in and returns why. One by nobody known is
// recorded too: a write that only accounts cause would tell which there are.
func (s *Service) refuse(ctx context.Context, who actor.Actor, why string, refusal error) error {
	err := s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return s.journal.WriteAs(ctx, tx, who, journal.Event{
			Resource: "session", Action: "login", ResourceID: who.UserID.String(), Result: journal.Failure, Message: why,
		})
	})
	if err != nil {
		return fmt.Errorf("record failed sign-in: %w", err)
	}
	return refusal
}

func personBy(u store.User, m actor.Method) actor.Actor {
	return actor.Actor{Type: actor.Person, Method: m, UserID: u.ID, Role: actor.Role(u.Role)}
}

// begin makes a session unless the account changed its password or standing
// since they were checked: a reset must end what the old password began.
func (s *Service) begin(ctx context.Context, checked store.User, from Client) (u store.User, token secret.Text, err error) {
	raw, err := s.deps.Secret()
	if err != nil {
		return u, token, fmt.Errorf("make session token: %w", err)
	}
	token = secret.New("kbs_" + base64.RawURLEncoding.EncodeToString(raw[:]))
	now := s.deps.Now()
	ses := store.Session{
		ID: id.New[id.SessionKind](now, s.deps.Random()), UserID: checked.ID, TokenHash: hashOf(token),
		CreatedAt: now, ExpiresAt: now.Add(SessionIdle), EndsAt: now.Add(SessionMax),
		IP: text.Clip(from.IP, 64), UserAgent: text.Clip(from.UserAgent, 256),
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		// The write comes first: it holds the account's row, so that a reset which is
		// under way is either read below or waits, and then finds the session.
		if err := tx.Users().SetLastLogin(ctx, checked.ID, now); err != nil {
			return err
		}
		if u, err = tx.Users().Get(ctx, checked.ID); err != nil {
			return err
		}
		if u.Status != string(Active) || u.PasswordHash != checked.PasswordHash {
			return errChanged
		}
		if err := tx.Sessions().Insert(ctx, ses); err != nil {
			return fmt.Errorf("begin session: %w", err)
		}
		return s.journal.WriteAs(ctx, tx, personBy(u, actor.ByPassword), journal.Event{
			Resource: "session", Action: "login", ResourceID: ses.ID.String(), Message: "Signed in.",
		})
	})
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	return u, token, nil
}

func hashOf(token secret.Text) []byte {
	sum := sha256.Sum256([]byte(token.Reveal())) // the token is 256 random bits: a slow hash would add nothing
	return sum[:]
}

// upgradeHash returns u with a stronger hash, or as it was: a sign-in does not
// fail for it.
func (s *Service) upgradeHash(ctx context.Context, u store.User, password secret.Text) store.User {
	stronger := u
	var err error
	if stronger.PasswordHash, err = s.deps.Passwords.Hash(ctx, password); err == nil {
		err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Users().Update(ctx, &stronger) })
	}
	if err != nil {
		s.deps.Log.WarnContext(ctx, "password hash not upgraded", "user", u.ID.String(), "err", err)
		return u
	}
	return stronger
}

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

// APIKey returns who an API key speaks for.
func (s *Service) APIKey(ctx context.Context, value secret.Text) (actor.Actor, store.User, error) {
	var k store.APIKey
	var u store.User
	err := s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		k, u, err = tx.APIKeys().ByValueHash(ctx, hashOf(value))
		return err
	})
	if err != nil {
		return actor.Actor{}, u, unknownCredential(err)
	}
	if u.Status != string(Active) || (k.ExpiresAt != nil && !s.deps.Now().Before(*k.ExpiresAt)) {
		return actor.Actor{}, store.User{}, unauthenticated()
	}
	return personBy(u, actor.ByAPIKey), u, nil
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
	return u, err
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
	return u, err
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
	ok, _, err := s.deps.Passwords.Matches(ctx, u.PasswordHash, password)
	if err != nil {
		return fmt.Errorf("check password: %w", err)
	}
	if !ok {
		return fault.Unauthenticated.New("password_incorrect", "The password is wrong.")
	}
	return nil
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
func (s *Service) List(ctx context.Context, q page.Query) (out page.Of[store.User], err error) {
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.Users().List(ctx, q.Clamp())
		return err
	})
	return out, err
}
