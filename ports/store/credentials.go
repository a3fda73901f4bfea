package store

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
)

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
	// Insert fails with fault.NotFound, code user_not_found, when the account is
	// gone.
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
	Number        int64 // among its user's keys, from 1; 0 where an older release made it
	Name          string
	DisplayPrefix string
	ValueHash     []byte // unique
	CreatedAt     time.Time
	ExpiresAt     *time.Time
	LastUsedAt    *time.Time
}

// APIKeys stores API keys.
type APIKeys interface {
	// Insert fails with fault.NotFound, code user_not_found, when the account is
	// gone.
	Insert(ctx context.Context, k APIKey) error
	// ByValueHash returns the key and its user in one read; fault.NotFound.
	ByValueHash(ctx context.Context, hash []byte) (APIKey, User, error)
	// Touch sets LastUsedAt unless it is unless or later: of many who tell of the
	// same use, one writes. A key that is gone is not an error.
	Touch(ctx context.Context, k id.APIKey, at, unless time.Time) error
	// List returns all keys of a user.
	List(ctx context.Context, u id.User, q page.Query) (page.Of[APIKey], error)
	// CountOfUser counts all keys of a user, those that have run out too.
	CountOfUser(ctx context.Context, u id.User) (int, error)
	// LastNumber returns the highest Number of a user's keys, 0 where there is none.
	LastNumber(ctx context.Context, u id.User) (int64, error)
	// Delete removes a user's key and reports whether it was there.
	Delete(ctx context.Context, u id.User, k id.APIKey) (bool, error)
	// DeleteOfUser removes all keys of a user.
	DeleteOfUser(ctx context.Context, u id.User) (int, error)
}

// Code is what was sent to an address for whoever reads it to type in. Only its
// hash is kept.
type Code struct {
	Purpose   string
	Address   string // lower case; at most one code for a purpose and an address
	Hash      []byte
	CreatedAt time.Time
	ExpiresAt time.Time
	Tries     int
}

// Codes store codes.
type Codes interface {
	// Put takes the place of an earlier code for the same purpose and address.
	Put(ctx context.Context, c Code) error
	// Get returns a code whether or not it can still be used; fault.NotFound.
	Get(ctx context.Context, purpose, address string) (Code, error)
	// Try counts one try and returns the code as it is then, in one step: of those
	// who try at once no more than most get it. It fails with fault.NotFound when
	// there is no code, it has expired at now, or most tries have been counted.
	// Only what is committed counts, whatever the try came to.
	Try(ctx context.Context, purpose, address string, most int, now time.Time) (Code, error)
	// Delete forgets a code; one that is gone is not an error.
	Delete(ctx context.Context, purpose, address string) error
	// DeleteExpired removes at most limit codes that expired before t. It passes
	// by one that another transaction replaces or tries meanwhile.
	DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error)
}

// SSOIdentity says that somebody whom a provider knows is a user. Only a hash of
// the provider's name for them is kept.
type SSOIdentity struct {
	Provider    string
	SubjectHash []byte // unique to the provider
	UserID      id.User
	CreatedAt   time.Time
	LastUsedAt  time.Time
}

// SSOIdentities store identities: one a provider and user.
type SSOIdentities interface {
	// Insert fails with fault.Conflict, code identity_taken, if the identity is
	// somebody's already or the user has another one of that provider, and with
	// fault.NotFound, code user_not_found, when the account is gone.
	Insert(ctx context.Context, i SSOIdentity) error
	// Get returns the identity and its user in one read; fault.NotFound.
	Get(ctx context.Context, provider string, subjectHash []byte) (SSOIdentity, User, error)
	// Touch sets LastUsedAt. An identity that is gone is not an error.
	Touch(ctx context.Context, provider string, subjectHash []byte, at time.Time) error
	// ProvidersOf returns the providers that know each of the users, by name; those
	// whom none knows are left out.
	ProvidersOf(ctx context.Context, users []id.User) (map[id.User][]string, error)
}
