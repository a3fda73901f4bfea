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
	SearchText   string           `bun:"search_text"`
}

func toUserRow(u store.User) *userRow {
	return &userRow{
		ID: keyOf(u.ID), Email: u.Email, Name: u.Name, AvatarURL: u.AvatarURL, Role: u.Role, Status: u.Status,
		PasswordHash: u.PasswordHash, CreatedAt: at(u.CreatedAt), UpdatedAt: at(u.UpdatedAt),
		LastLoginAt: maybeAt(u.LastLoginAt), Version: u.Version, SearchText: searchable(u.Email, u.Name),
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
	return one[userRow](ctx, s.unit, noUser, func(q *bun.SelectQuery) { q.Where("u.id = ?", i.String()).Where("u.removed_at IS NULL") })
}

func (s users) ByEmail(ctx context.Context, email string) (store.User, error) {
	if err := plain(email); err != nil {
		return store.User{}, err
	}
	return one[userRow](ctx, s.unit, noUser, func(q *bun.SelectQuery) { q.Where("u.email = ?", email).Where("u.removed_at IS NULL") })
}

// Update leaves last_login_at to SetLastLogin, which does not raise the version:
// a record read before a sign-in must not take that back.
func (s users) Update(ctx context.Context, rec *store.User) error {
	row := toUserRow(*rec)
	row.Version++
	n, err := s.change(ctx, row, written{"last_login_at": kept}, sameVersion, rec.Version)
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
	_, err := s.exec(ctx, "UPDATE users SET last_login_at = ? WHERE id = ? AND removed_at IS NULL", at(t), i.String())
	return err
}

func (s users) List(ctx context.Context, f store.UserFilter, q page.Query) (page.Of[store.User], error) {
	if err := plain(f.Search, f.Status, f.Role); err != nil {
		return page.Of[store.User]{}, err
	}
	return search[userRow](ctx, s.unit, q, f.Search, func(u store.User) string { return u.ID.String() }, func(q *bun.SelectQuery) {
		q.Where("u.removed_at IS NULL")
		if f.Status != "" {
			q.Where("u.status = ?", f.Status)
		}
		if f.Role != "" {
			q.Where("u.role = ?", f.Role)
		}
	}, func(*bun.SelectQuery) {})
}

func (s users) CountByRole(ctx context.Context, role string) (int, error) {
	if err := s.reads(); err != nil {
		return 0, err
	}
	if err := plain(role); err != nil {
		return 0, err
	}
	n, err := s.db.NewSelect().Table("users").Where("role = ?", role).Where("status <> ?", statusBanned).Where("removed_at IS NULL").Count(ctx)
	return int(n), err
}

// Statuses of accounts that the store knows.
const (
	statusBanned  = "banned"
	statusRemoved = "removed" // what others read who do not know of removed_at
)

// Remove changes the account's row first. From then on nobody adds what would
// have to go with it: see [unit.living].
func (s users) Remove(ctx context.Context, i id.User, t time.Time) error {
	if err := s.writes(); err != nil {
		return err
	}
	var email string
	q := s.db.NewSelect().TableExpr("users AS u").ColumnExpr("u.email").Where("u.id = ?", i.String()).Where("u.removed_at IS NULL")
	if s.engine.sql().forUpdate != "" {
		q.For("UPDATE")
	}
	err := q.Scan(ctx, &email)
	if noRows(err) {
		return noUser()
	}
	if err != nil {
		return err
	}
	// The identifier is no address, so that this one is free.
	_, err = s.exec(ctx, "UPDATE users SET email = id, name = '', avatar_url = '', role = '', status = ?0, password_hash = '', search_text = '',"+
		" last_login_at = NULL, updated_at = ?1, removed_at = ?1, version = version + 1 WHERE id = ?2", statusRemoved, at(t), i.String())
	if err != nil {
		return err
	}
	for _, table := range []string{"sessions", "api_keys", "sso_identities", "sign_ins", "avatars", "preferences", "deliveries", "replies"} {
		if _, err := s.exec(ctx, "DELETE FROM ? WHERE user_id = ?", bun.Ident(table), i.String()); err != nil {
			return err
		}
	}
	_, err = s.exec(ctx, "DELETE FROM codes WHERE address = ?", email)
	return err
}

// living fails unless there is an account for what is to become its own, and
// keeps it from being removed until the transaction ends.
func (u *unit) living(ctx context.Context, i id.User) error {
	if err := u.writes(); err != nil {
		return err
	}
	var there int
	q := u.db.NewSelect().TableExpr("users AS u").ColumnExpr("1").Where("u.id = ?", i.String()).Where("u.removed_at IS NULL")
	if lock := u.engine.sql().forReference; lock != "" {
		q.For(lock)
	}
	err := q.Scan(ctx, &there)
	if noRows(err) {
		return noUser()
	}
	return err
}
