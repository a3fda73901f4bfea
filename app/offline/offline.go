// Package offline is what can be done to an installation's database without its
// server, and beside it while it runs: migrate it, administer accounts, and replace
// keys.
package offline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/kubebyon/kubebyon/adapters/argonpass"
	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Migrate brings the database to the schema of this program, and returns the
// schema's version. It fails with fault.Unavailable for what waiting may mend; it
// may then be called again.
func Migrate(ctx context.Context, databaseURL string, log *slog.Logger) (version int64, err error) {
	s, err := bunstore.New(bunstore.Config{URL: databaseURL, Log: log})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Start(ctx); err != nil {
		return 0, err
	}
	version, _, err = s.SchemaVersion(ctx)
	return version, err
}

// Accounts administers the accounts of one database.
type Accounts struct {
	people *identity.Service
	store  *bunstore.Store
}

// OpenAccounts opens a database, migrated first. Close must follow.
func OpenAccounts(ctx context.Context, databaseURL string, log *slog.Logger) (*Accounts, error) {
	s, err := bunstore.Open(ctx, bunstore.Config{URL: databaseURL, Log: log})
	if err != nil {
		return nil, err
	}
	a := &Accounts{store: s}
	if err = s.Migrate(ctx); err == nil {
		a.people, err = newIdentity(s, log)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return a, nil
}

func newIdentity(s *bunstore.Store, log *slog.Logger) (*identity.Service, error) {
	hasher, err := argonpass.New(1)
	if err != nil {
		return nil, err
	}
	return identity.New(identity.Deps{
		Store: s, Passwords: hasher, Seal: noKey{}, Mail: identity.NoMail{}, Policy: identity.Closed{},
		Log: log, Secret: randomSecret, Random: randomID,
		Now: func() time.Time { return time.Now().UTC().Truncate(time.Millisecond) },
	})
}

// noKey stands for the server's key, which nothing here needs.
type noKey struct{}

var errKeyless = errors.New("the key of the server is not known here")

func (noKey) Seal(context.Context, string, []byte) ([]byte, error)   { return nil, errKeyless }
func (noKey) Open(context.Context, string, []byte) ([]byte, error)   { return nil, errKeyless }
func (noKey) Derive(context.Context, string, []byte) ([]byte, error) { return nil, errKeyless }

// Close gives the database back.
func (a *Accounts) Close() error { return a.store.Close() }

// Create makes an account. The zero password is refused.
func (a *Accounts) Create(ctx context.Context, email, name string, role actor.Role, password secret.Text) (store.User, error) {
	return a.people.Create(ctx, identity.NewAccount{Email: email, Name: name, Role: role, Password: password})
}

// ResetPassword sets an account's password and ends its sessions.
func (a *Accounts) ResetPassword(ctx context.Context, email string, password secret.Text) (store.User, error) {
	return a.people.ResetPassword(ctx, email, password)
}

// NewPassword makes one that nobody can guess.
func (a *Accounts) NewPassword() (secret.Text, error) { return a.people.NewPassword() }

// Each calls do for every account, newest first, until do returns an error.
func (a *Accounts) Each(ctx context.Context, do func(store.User) error) error {
	for q := (page.Query{Limit: page.MaxLimit}); ; {
		users, err := a.people.List(ctx, store.UserFilter{}, q)
		if err != nil {
			return err
		}
		for _, u := range users.Items {
			if err := do(u); err != nil {
				return err
			}
		}
		if q.Before = users.Next; q.Before == "" {
			return nil
		}
	}
}

func randomSecret() (b [32]byte, err error) {
	if _, err := rand.Read(b[:]); err != nil {
		return b, fmt.Errorf("read random bytes: %w", err)
	}
	return b, nil
}

func randomID() (b [10]byte) {
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return b
}
