package identity

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Client is where a request comes from.
type Client struct {
	IP, UserAgent string
	Captcha       secret.Text // what its browser got for a solved captcha, if there was one
	Session       secret.Text // the token that its browser has so far, if it has one
}

// How somebody comes in, in the history of sign-ins. By a sign-in provider it is
// "sso:" and the provider's name.
const (
	withPassword = "password"
	asNewcomer   = "register"
)

// succeeded is the result of a sign-in, which else is the code of its refusal.
const succeeded = "success"

// SignIn checks a password and begins a session. An unknown address and a wrong
// password fail alike, and in like time. The token is given out this once. Where
// there is a captcha, it must be solved before anything is looked at.
func (s *Service) SignIn(ctx context.Context, email string, password secret.Text, from Client) (store.User, secret.Text, error) {
	if err := s.checkPerson(ctx, from); err != nil {
		return store.User{}, secret.Text{}, err
	}
	u, token, err := s.signIn(ctx, email, password, from)
	if errors.Is(err, errChanged) { // perhaps only its hash was upgraded: ask the account as it is now
		u, token, err = s.signIn(ctx, email, password, from)
	}
	if errors.Is(err, errChanged) {
		return store.User{}, secret.Text{}, invalidCredentials()
	}
	return u, token, err
}

var errChanged = errors.New("the account changed while its owner signed in")

func (s *Service) signIn(ctx context.Context, email string, password secret.Text, from Client) (store.User, secret.Text, error) {
	u, err := s.byAddress(ctx, email)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return store.User{}, secret.Text{}, err
	}
	ok, outdated, err := s.deps.Passwords.Matches(ctx, u.PasswordHash, password)
	if err != nil {
		return store.User{}, secret.Text{}, fmt.Errorf("check password: %w", err)
	}
	e := entry{by: actor.ByPassword, method: withPassword, from: from}
	switch {
	case u.ID.IsZero():
		return store.User{}, secret.Text{}, s.refuse(ctx, u, e, "There is no account with this address.", invalidCredentials())
	case !ok:
		return store.User{}, secret.Text{}, s.refuse(ctx, u, e, "The password was wrong.", invalidCredentials())
	case u.Status == string(Banned):
		return store.User{}, secret.Text{}, s.refuse(ctx, u, e, "The account is banned.", banned())
	}
	if outdated {
		u = s.upgradeHash(ctx, u, password)
	}
	return s.begin(ctx, u, e)
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

func invalidCredentials() *fault.Error {
	return fault.Unauthenticated.New("invalid_credentials", "The e-mail address or the password is wrong.")
}

func banned() *fault.Error {
	return fault.Denied.New("account_banned", "This account has been banned.")
}

// entry is how somebody comes in.
type entry struct {
	by     actor.Method
	method string
	from   Client
	// first is done in the transaction that lets them in, on the account as it is
	// then; nil: nothing is.
	first func(ctx context.Context, tx store.Tx, u store.User) error
}

// refuse records a failed sign-in and returns why. One by nobody known, with the
// zero user, is recorded too: a write that only accounts cause would tell which
// there are.
func (s *Service) refuse(ctx context.Context, u store.User, e entry, why string, refusal *fault.Error) error {
	who := personBy(u, e.by)
	if u.ID.IsZero() {
		who = actor.Actor{Type: actor.Anonymous, Method: e.by}
	}
	err := s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := s.remember(ctx, tx, u.ID, e, refusal.Code); err != nil {
			return err
		}
		return s.journal.WriteAs(ctx, tx, who, journal.Event{
			Resource: "session", Action: "login", ResourceID: u.ID.String(), Result: journal.Failure, Message: why,
		})
	})
	if err != nil {
		return fmt.Errorf("record failed sign-in: %w", err)
	}
	return refusal
}

// remember writes into the history of sign-ins.
func (s *Service) remember(ctx context.Context, tx store.Tx, u id.User, e entry, result string) error {
	now := s.deps.Now()
	err := tx.SignIns().Append(ctx, store.SignIn{
		ID: id.New[id.SignInKind](now, s.deps.Random()), UserID: u, At: now,
		IP: text.Clip(e.from.IP, maxIP), UserAgent: text.Clip(e.from.UserAgent, maxUserAgent),
		Method: e.method, Result: result,
	})
	if err != nil {
		return fmt.Errorf("remember sign-in: %w", err)
	}
	return nil
}

const (
	maxIP        = 64
	maxUserAgent = 256

	// signInsKept is how long the history goes back.
	signInsKept = 180 * 24 * time.Hour
)

// PruneSignIns shortens the history of sign-ins, by at most limit of them.
func (s *Service) PruneSignIns(ctx context.Context, limit int) (n int, err error) {
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err = tx.SignIns().DeleteOlderThan(ctx, s.deps.Now().Add(-signInsKept), limit)
		return err
	})
	return n, err
}

func personBy(u store.User, m actor.Method) actor.Actor {
	return actor.Actor{Type: actor.Person, Method: m, UserID: u.ID, Role: actor.Role(u.Role)}
}

// begin makes a session unless the account changed its password or standing
// since they were checked: a reset must end what the old password began.
func (s *Service) begin(ctx context.Context, checked store.User, e entry) (u store.User, token secret.Text, err error) {
	ses, token, err := s.newSession(checked.ID, e.from)
	if err != nil {
		return u, token, err
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		// The write comes first: it holds the account's row, so that a reset which is
		// under way is either read below or waits, and then finds the session.
		if err := tx.Users().SetLastLogin(ctx, checked.ID, ses.CreatedAt); err != nil {
			return err
		}
		u, err = tx.Users().Get(ctx, checked.ID)
		if gone := errors.Is(err, fault.NotFound); gone || err == nil && (u.Status != string(Active) || u.PasswordHash != checked.PasswordHash) {
			return errChanged
		}
		if err != nil {
			return err
		}
		if e.first != nil {
			if err := e.first(ctx, tx, u); err != nil {
				return err
			}
		}
		return s.enter(ctx, tx, u, ses, e)
	})
	if err != nil {
		return store.User{}, secret.Text{}, err
	}
	return u, token, nil
}

func (s *Service) newSession(of id.User, from Client) (ses store.Session, token secret.Text, err error) {
	raw, err := s.deps.Secret()
	if err != nil {
		return ses, token, fmt.Errorf("make session token: %w", err)
	}
	token = secret.New("kbs_" + base64.RawURLEncoding.EncodeToString(raw[:]))
	now := s.deps.Now()
	return store.Session{
		ID: id.New[id.SessionKind](now, s.deps.Random()), UserID: of, TokenHash: hashOf(token),
		CreatedAt: now, ExpiresAt: now.Add(SessionIdle), EndsAt: now.Add(SessionMax),
		IP: text.Clip(from.IP, maxIP), UserAgent: text.Clip(from.UserAgent, maxUserAgent),
	}, token, nil
}

// enter begins a session within a transaction that has made sure of the account,
// and ends the one that the browser had.
func (s *Service) enter(ctx context.Context, tx store.Tx, u store.User, ses store.Session, e entry) error {
	if err := s.endEarlier(ctx, tx, e.from.Session); err != nil {
		return err
	}
	err := tx.Sessions().Insert(ctx, ses)
	if errors.Is(err, fault.NotFound) {
		return errChanged // it was removed meanwhile
	}
	if err != nil {
		return fmt.Errorf("begin session: %w", err)
	}
	if err := s.remember(ctx, tx, u.ID, e, succeeded); err != nil {
		return err
	}
	return s.journal.WriteAs(ctx, tx, personBy(u, e.by), journal.Event{
		Resource: "session", Action: "login", ResourceID: ses.ID.String(), Message: "Signed in.",
	})
}

// endEarlier ends a session whose browser forgets it: nobody could sign out of it any
// more, and whoever has a copy would go on with it.
func (s *Service) endEarlier(ctx context.Context, tx store.Tx, token secret.Text) error {
	if token.IsZero() {
		return nil
	}
	ses, u, err := tx.Sessions().ByTokenHash(ctx, hashOf(token))
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the earlier session: %w", err)
	}
	if err := tx.Sessions().Delete(ctx, ses.ID); err != nil {
		return fmt.Errorf("end the earlier session: %w", err)
	}
	return s.journal.WriteAs(ctx, tx, personBy(u, actor.BySession), journal.Event{
		Resource: "session", Action: "logout", ResourceID: ses.ID.String(), Message: "Signed out by signing in again.",
	})
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
