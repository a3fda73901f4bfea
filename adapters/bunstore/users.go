package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type userRow struct {
	bun.BaseModel `bun:"table:users,alias:u"`

	ID           key[id.UserKind] `bun:"id,pk"`
	Email        string           `bun:"email"`
	Name         string           `bun:"name"`
	AvatarURL    string           `bun:"avatar_url"`
	Role         string           `bun:"role"`
	Status       string           `bun:"status"`
	PasswordHash string           `bun:"password_hash"`
	CreatedAt    moment           `bun:"created_at"`
	UpdatedAt    moment           `bun:"updated_at"`
	LastLoginAt  *moment          `bun:"last_login_at"`
	Version      int64            `bun:"version"`
}

func toUserRow(u store.User) *userRow {
	return &userRow{
		ID: keyOf(u.ID), Email: u.Email, Name: u.Name, AvatarURL: u.AvatarURL, Role: u.Role, Status: u.Status,
		PasswordHash: u.PasswordHash, CreatedAt: at(u.CreatedAt), UpdatedAt: at(u.UpdatedAt),
		LastLoginAt: maybeAt(u.LastLoginAt), Version: u.Version,
	}
}

func (r userRow) record() store.User {
	return store.User{
		ID: r.ID.ID, Email: r.Email, Name: r.Name, AvatarURL: r.AvatarURL, Role: r.Role, Status: r.Status,
		PasswordHash: r.PasswordHash, CreatedAt: r.CreatedAt.time(), UpdatedAt: r.UpdatedAt.time(),
		LastLoginAt: r.LastLoginAt.maybe(), Version: r.Version,
	}
}

type users struct{ *unit }

func noUser() error { return notFound("user", "There is no such account.") }

func emailTaken() error {
	return fault.Conflict.New("email_taken", "There is an account with this e-mail address already.")
}

func (s users) Insert(ctx context.Context, rec store.User) error {
	row := toUserRow(rec)
	row.Version = 1
	return s.taken(s.insert(ctx, row), "users_email_key", emailTaken)
}

func (s users) Get(ctx context.Context, i id.User) (store.User, error) {
	return one[userRow](ctx, s.unit, noUser, func(q *bun.SelectQuery) { q.Where("u.id = ?", i.String()) })
}

func (s users) ByEmail(ctx context.Context, email string) (store.User, error) {
	if err := plain(email); err != nil {
		return store.User{}, err
	}
	return one[userRow](ctx, s.unit, noUser, func(q *bun.SelectQuery) { q.Where("u.email = ?", email) })
}

// Update leaves last_login_at to SetLastLogin, which does not raise the version:
// a record read before a sign-in must not take that back.
func (s users) Update(ctx context.Context, rec *store.User) error {
	row := toUserRow(*rec)
	row.Version++
	n, err := s.change(ctx, row, func(q *bun.UpdateQuery) {
		q.ExcludeColumn("id", "last_login_at").WherePK().Where("version = ?", rec.Version)
	})
	if err != nil {
		return s.taken(err, "users_email_key", emailTaken)
	}
	if n == 0 {
		return stale()
	}
	rec.Version = row.Version
	return nil
}

func (s users) SetLastLogin(ctx context.Context, i id.User, t time.Time) error {
	_, err := s.exec(ctx, "UPDATE users SET last_login_at = ? WHERE id = ?", at(t), i.String())
	return err
}

func (s users) List(ctx context.Context, q page.Query) (page.Of[store.User], error) {
	return list[userRow](ctx, s.unit, q, func(u store.User) string { return u.ID.String() }, func(*bun.SelectQuery) {})
}

func (s users) CountByRole(ctx context.Context, role string) (int, error) {
	if err := s.reads(); err != nil {
		return 0, err
	}
	if err := plain(role); err != nil {
		return 0, err
	}
	n, err := s.db.NewSelect().Table("users").Where("role = ?", role).Where("status <> ?", statusBanned).Count(ctx)
	return int(n), err
}

// statusBanned is the one status of accounts that the store knows.
const statusBanned = "banned"
