package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
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
	return s.taken(s.insert(ctx, toSessionRow(rec)), "", nil)
}

func (s sessions) ByTokenHash(ctx context.Context, hash []byte) (store.Session, store.User, error) {
	both, err := often[sessionRow](ctx, s.unit, noSession, func(q *bun.SelectQuery, value func(any) any) {
		q.Relation("User").Where("s.token_hash = ?", value(blob(hash)))
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

type apiKeyRow struct {
	bun.BaseModel `bun:"table:api_keys,alias:k"`

	ID            key[id.APIKeyKind] `bun:"id,pk"`
	UserID        key[id.UserKind]   `bun:"user_id"`
	Name          string             `bun:"name"`
	DisplayPrefix string             `bun:"display_prefix"`
	ValueHash     []byte             `bun:"value_hash"`
	CreatedAt     moment             `bun:"created_at"`
	ExpiresAt     *moment            `bun:"expires_at"`
	LastUsedAt    *moment            `bun:"last_used_at"`

	User *userRow `bun:"rel:belongs-to,join:user_id=id"`
}

func toAPIKeyRow(k store.APIKey) *apiKeyRow {
	return &apiKeyRow{
		ID: keyOf(k.ID), UserID: keyOf(k.UserID), Name: k.Name, DisplayPrefix: k.DisplayPrefix, ValueHash: blob(k.ValueHash),
		CreatedAt: at(k.CreatedAt), ExpiresAt: maybeAt(k.ExpiresAt), LastUsedAt: maybeAt(k.LastUsedAt),
	}
}

// apiKeyOf is an API key with its user, where that was asked for.
type apiKeyOf struct {
	store.APIKey
	user store.User
}

func (r apiKeyRow) record() apiKeyOf {
	out := apiKeyOf{APIKey: store.APIKey{
		ID: r.ID.ID, UserID: r.UserID.ID, Name: r.Name, DisplayPrefix: r.DisplayPrefix, ValueHash: r.ValueHash,
		CreatedAt: r.CreatedAt.time(), ExpiresAt: r.ExpiresAt.maybe(), LastUsedAt: r.LastUsedAt.maybe(),
	}}
	if r.User != nil {
		out.user = r.User.record()
	}
	return out
}

type apiKeys struct{ *unit }

func noAPIKey() error { return notFound("api_key", "There is no such API key.") }

func (s apiKeys) Insert(ctx context.Context, rec store.APIKey) error {
	return s.taken(s.insert(ctx, toAPIKeyRow(rec)), "", nil)
}

func (s apiKeys) ByValueHash(ctx context.Context, hash []byte) (store.APIKey, store.User, error) {
	both, err := often[apiKeyRow](ctx, s.unit, noAPIKey, func(q *bun.SelectQuery, value func(any) any) {
		q.Relation("User").Where("k.value_hash = ?", value(blob(hash)))
	})
	return both.APIKey, both.user, err
}

func (s apiKeys) Touch(ctx context.Context, i id.APIKey, t time.Time) error {
	_, err := s.exec(ctx, "UPDATE api_keys SET last_used_at = ? WHERE id = ?", at(t), i.String())
	return err
}

func (s apiKeys) List(ctx context.Context, user id.User, q page.Query) (page.Of[store.APIKey], error) {
	found, err := list[apiKeyRow](ctx, s.unit, q, func(k apiKeyOf) string { return k.ID.String() },
		func(q *bun.SelectQuery) { q.Where("k.user_id = ?", user.String()) })
	out := page.Of[store.APIKey]{Next: found.Next}
	for _, k := range found.Items {
		out.Items = append(out.Items, k.APIKey)
	}
	return out, err
}

func (s apiKeys) Delete(ctx context.Context, user id.User, i id.APIKey) (bool, error) {
	n, err := s.exec(ctx, "DELETE FROM api_keys WHERE id = ? AND user_id = ?", i.String(), user.String())
	return n > 0, err
}
