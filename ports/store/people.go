package store

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
)

// User is an account.
type User struct {
	ID           id.User
	Email        string // lower case, unique
	Name         string
	AvatarURL    string
	Role         string
	Status       string
	PasswordHash string // empty: the account has no password
	CreatedAt    time.Time
	UpdatedAt    time.Time
	LastLoginAt  *time.Time
	Version      int64 // set by the store, one higher on every Update
}

// Users stores accounts.
type Users interface {
	// Insert fails with fault.Conflict, code email_taken, if the address is taken.
	Insert(ctx context.Context, u User) error
	// Get fails with fault.NotFound.
	Get(ctx context.Context, u id.User) (User, error)
	// ByEmail finds a user by lower-case address; fault.NotFound.
	ByEmail(ctx context.Context, email string) (User, error)
	// Update replaces the row whose Version is u.Version and raises u.Version.
	// It fails with fault.Conflict, code stale_version, if somebody else
	// updated the row first.
	Update(ctx context.Context, u *User) error
	// SetLastLogin sets LastLoginAt and leaves Version alone, so that signing in
	// conflicts with nothing. A user that is gone is not an error.
	SetLastLogin(ctx context.Context, u id.User, at time.Time) error
	// List pages through all accounts.
	List(ctx context.Context, q page.Query) (page.Of[User], error)
	// CountByRole counts accounts that are not banned.
	CountByRole(ctx context.Context, role string) (int, error)
}

// Session is a signed-in browser. Only the hash of its token is kept.
type Session struct {
	ID        id.Session
	UserID    id.User
	TokenHash []byte // unique
	CreatedAt time.Time
	ExpiresAt time.Time // slides
	EndsAt    time.Time // never later than this
	IP        string
	UserAgent string
}

// Sessions stores sessions.
type Sessions interface {
	Insert(ctx context.Context, s Session) error
	// ByTokenHash returns the session and its user in one read; fault.NotFound.
	ByTokenHash(ctx context.Context, hash []byte) (Session, User, error)
	// Extend moves ExpiresAt. A session that is gone is not an error.
	Extend(ctx context.Context, s id.Session, expiresAt time.Time) error
	// Delete ends a session; one that is gone is not an error.
	Delete(ctx context.Context, s id.Session) error
	// DeleteOfUser ends all sessions of a user but the one named (zero: all).
	DeleteOfUser(ctx context.Context, u id.User, except id.Session) (int, error)
	// DeleteExpired removes at most limit sessions that ended before t.
	DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error)
}

// APIKey lets a program act for a user. Only the hash of its value is kept.
type APIKey struct {
	ID            id.APIKey
	UserID        id.User
	Name          string
	DisplayPrefix string
	ValueHash     []byte // unique
	CreatedAt     time.Time
	ExpiresAt     *time.Time
	LastUsedAt    *time.Time
}

// APIKeys stores API keys.
type APIKeys interface {
	Insert(ctx context.Context, k APIKey) error
	// ByValueHash returns the key and its user in one read; fault.NotFound.
	ByValueHash(ctx context.Context, hash []byte) (APIKey, User, error)
	// Touch sets LastUsedAt. A key that is gone is not an error.
	Touch(ctx context.Context, k id.APIKey, at time.Time) error
	// List returns all keys of a user.
	List(ctx context.Context, u id.User, q page.Query) (page.Of[APIKey], error)
	// Delete removes a user's key and reports whether it was there.
	Delete(ctx context.Context, u id.User, k id.APIKey) (bool, error)
}
