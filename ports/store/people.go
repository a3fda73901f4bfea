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
	// List pages through the accounts that f lets through.
	List(ctx context.Context, f UserFilter, q page.Query) (page.Of[User], error)
	// CountByRole counts accounts that are not banned.
	CountByRole(ctx context.Context, role string) (int, error)
	// Remove ends an account for good: no read finds it afterwards, and its
	// address is free. Its row stays, so that what refers to it still does, but
	// address, name, avatar, role and hash are erased; and everything else that is
	// the person's goes in the same call: sessions, API keys, identities at
	// providers, codes sent to the address, sign-ins, avatar, preferences,
	// messages on their way and in the log, and remembered answers. Identifiers remain, in the audit trail and on what the
	// account has made. It fails with fault.NotFound.
	Remove(ctx context.Context, u id.User, at time.Time) error
}

// UserFilter narrows a list; zero fields do not.
type UserFilter struct {
	Search string // part of the address or the name, whatever the case; %, _ and \ mean themselves
	Status string
	Role   string
}

// SignIn is one try to sign in, whether or not it succeeded.
type SignIn struct {
	ID        id.SignIn
	UserID    id.User // zero: by nobody known
	At        time.Time
	IP        string
	UserAgent string
	Method    string
	Result    string
}

// SignIns are what an account's history of sign-ins is read from.
type SignIns interface {
	// Append passes by a sign-in to an account that is gone: its history went with
	// it.
	Append(ctx context.Context, i SignIn) error
	// List returns those of one account; of the zero user there are none.
	List(ctx context.Context, u id.User, q page.Query) (page.Of[SignIn], error)
	// DeleteOlderThan removes at most limit sign-ins from before t.
	DeleteOlderThan(ctx context.Context, t time.Time, limit int) (int, error)
}

// Avatar is an account's picture.
type Avatar struct {
	UserID      id.User
	Tag         string // names the picture: another Body has another Tag
	ContentType string
	Body        []byte
	UpdatedAt   time.Time
}

// Avatars store one picture an account.
type Avatars interface {
	// Put writes or replaces. It fails with fault.NotFound, code user_not_found,
	// when the account is gone.
	Put(ctx context.Context, a Avatar) error
	// Get fails with fault.NotFound, also when the account's picture has another tag.
	Get(ctx context.Context, u id.User, tag string) (Avatar, error)
	// Delete removes a picture; one that is gone is not an error.
	Delete(ctx context.Context, u id.User) error
}

// Preferences say on which channels a person wants to hear of things, and where.
type Preferences struct {
	UserID         id.User
	Email          bool
	Slack          bool
	SlackTarget    string
	Telegram       bool
	TelegramChatID string
	UpdatedAt      time.Time
}

// AllPreferences stores the preferences of each account that has chosen some.
type AllPreferences interface {
	// Get fails with fault.NotFound.
	Get(ctx context.Context, u id.User) (Preferences, error)
	// Put writes or replaces. It fails with fault.NotFound, code user_not_found,
	// when the account is gone.
	Put(ctx context.Context, p Preferences) error
}
