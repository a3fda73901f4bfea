package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

type sessionRow struct {
	bun.BaseModel `bun:"table:sessions,alias:s"`

	ID        key[id.SessionKind] `bun:"id,pk"`
	UserID    key[id.UserKind]    `bun:"user_id"`
	TokenHash []byte              `bun:"token_hash"`
	CreatedAt moment              `bun:"created_at"`
	ExpiresAt moment              `bun:"expires_at"`
	EndsAt    moment              `bun:"ends_at"`
	IP        string              `bun:"ip"`
	UserAgent string              `bun:"user_agent"`

	User *userRow `bun:"rel:belongs-to,join:user_id=id"`
}

func toSessionRow(s store.Session) *sessionRow {
	return &sessionRow{
		ID: keyOf(s.ID), UserID: keyOf(s.UserID), TokenHash: blob(s.TokenHash), CreatedAt: at(s.CreatedAt),
		ExpiresAt: at(s.ExpiresAt), EndsAt: at(s.EndsAt), IP: s.IP, UserAgent: s.UserAgent,
	}
}

// sessionOf is a session with its user.
type sessionOf struct {
	store.Session
	user store.User
}

func (r sessionRow) record() sessionOf {
	return sessionOf{
		Session: store.Session{
			ID: r.ID.ID, UserID: r.UserID.ID, TokenHash: r.TokenHash, CreatedAt: r.CreatedAt.time(),
			ExpiresAt: r.ExpiresAt.time(), EndsAt: r.EndsAt.time(), IP: r.IP, UserAgent: r.UserAgent,
		},
		user: r.User.record(),
	}
}

type sessions struct{ *unit }

func noSession() error { return notFound("session", "There is no such session.") }

func (s sessions) Insert(ctx context.Context, rec store.Session) error {
	if err := s.living(ctx, rec.UserID); err != nil {
		return err
	}
	return s.taken(s.insert(ctx, toSessionRow(rec)), "", nil)
}

func (s sessions) ByTokenHash(ctx context.Context, hash []byte) (store.Session, store.User, error) {
	both, err := often[sessionRow](ctx, s.unit, noSession, func(q *bun.SelectQuery, value func(any) any) {
		q.Relation("User").Where("s.token_hash = ?", value(blob(hash))).Where(`"user".removed_at IS NULL`)
	})
	return both.Session, both.user, err
}

func (s sessions) Extend(ctx context.Context, i id.Session, expiresAt time.Time) error {
	_, err := s.exec(ctx, "UPDATE sessions SET expires_at = ? WHERE id = ?", at(expiresAt), i.String())
	return err
}

func (s sessions) Delete(ctx context.Context, i id.Session) error {
	_, err := s.exec(ctx, "DELETE FROM sessions WHERE id = ?", i.String())
	return err
}

func (s sessions) DeleteOfUser(ctx context.Context, user id.User, except id.Session) (int, error) {
	return s.exec(ctx, "DELETE FROM sessions WHERE user_id = ? AND id <> ?", user.String(), except.String())
}

// DeleteExpired picks its sessions once: a subquery in IN may be run for each row
// and pick others every time.
func (s sessions) DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error) {
	return s.exec(ctx, "WITH old AS MATERIALIZED (SELECT id FROM sessions WHERE expires_at < ?0 OR ends_at < ?0 LIMIT ?1)"+
		" DELETE FROM sessions WHERE id IN (SELECT id FROM old)", at(t), max(limit, 0))
}
