package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type apiKeyRow struct {
	bun.BaseModel `bun:"table:api_keys,alias:k"`

	ID            key[id.APIKeyKind] `bun:"id,pk"`
	UserID        key[id.UserKind]   `bun:"user_id"`
	Number        int64              `bun:"number"`
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
		ID: keyOf(k.ID), UserID: keyOf(k.UserID), Number: k.Number, Name: k.Name, DisplayPrefix: k.DisplayPrefix, ValueHash: blob(k.ValueHash),
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
		ID: r.ID.ID, UserID: r.UserID.ID, Number: r.Number, Name: r.Name, DisplayPrefix: r.DisplayPrefix, ValueHash: r.ValueHash,
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
	if err := s.living(ctx, rec.UserID); err != nil {
		return err
	}
	return s.taken(s.insert(ctx, toAPIKeyRow(rec)), "", nil)
}

func (s apiKeys) ByValueHash(ctx context.Context, hash []byte) (store.APIKey, store.User, error) {
	both, err := often[apiKeyRow](ctx, s.unit, noAPIKey, func(q *bun.SelectQuery, value func(any) any) {
		q.Relation("User").Where("k.value_hash = ?", value(blob(hash))).Where(`"user".removed_at IS NULL`)
	})
	return both.APIKey, both.user, err
}

func (s apiKeys) Touch(ctx context.Context, i id.APIKey, t, unless time.Time) error {
	_, err := s.exec(ctx, "UPDATE api_keys SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)", at(t), i.String(), at(unless))
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

func (s apiKeys) CountOfUser(ctx context.Context, user id.User) (int, error) {
	if err := s.reads(); err != nil {
		return 0, err
	}
	n, err := s.db.NewSelect().TableExpr("api_keys AS k").Where("k.user_id = ?", user.String()).Count(ctx)
	return int(n), err
}

func (s apiKeys) LastNumber(ctx context.Context, user id.User) (n int64, err error) {
	if err := s.reads(); err != nil {
		return 0, err
	}
	err = s.db.NewSelect().TableExpr("api_keys AS k").ColumnExpr("coalesce(max(k.number), 0)").Where("k.user_id = ?", user.String()).Scan(ctx, &n)
	return n, err
}

func (s apiKeys) Delete(ctx context.Context, user id.User, i id.APIKey) (bool, error) {
	n, err := s.exec(ctx, "DELETE FROM api_keys WHERE id = ? AND user_id = ?", i.String(), user.String())
	return n > 0, err
}

func (s apiKeys) DeleteOfUser(ctx context.Context, user id.User) (int, error) {
	return s.exec(ctx, "DELETE FROM api_keys WHERE user_id = ?", user.String())
}
