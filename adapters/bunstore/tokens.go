package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

type tokenRow struct {
	bun.BaseModel `bun:"table:tokens,alias:t"`

	ID                  key[id.TokenKind]   `bun:"id,pk"`
	ClusterID           key[id.ClusterKind] `bun:"cluster_id"`
	ValueHash           []byte              `bun:"value_hash"`
	DisplayPrefix       string              `bun:"display_prefix"`
	BootstrapID         string              `bun:"bootstrap_id"`
	BootstrapSecretName string              `bun:"bootstrap_secret_name"`
	Status              string              `bun:"status"`
	ClaimedNodeName     string              `bun:"claimed_node_name"`
	ClaimedKeyHash      string              `bun:"claimed_key_hash"`
	SecretInTenant      bool                `bun:"secret_in_tenant"`
	CreatedByUserID     key[id.UserKind]    `bun:"created_by_user_id"`
	UsedByNodeID        key[id.NodeKind]    `bun:"used_by_node_id"`
	ExpiresAt           moment              `bun:"expires_at"`
	CreatedAt           moment              `bun:"created_at"`
	UsedAt              *moment             `bun:"used_at"`
	RevokedAt           *moment             `bun:"revoked_at"`
	RevokedByUserID     key[id.UserKind]    `bun:"revoked_by_user_id"`
	Version             int64               `bun:"version"`
}

func toTokenRow(t store.Token) *tokenRow {
	return &tokenRow{
		ID: keyOf(t.ID), ClusterID: keyOf(t.ClusterID), ValueHash: blob(t.ValueHash), DisplayPrefix: t.DisplayPrefix,
		BootstrapID: t.BootstrapID, BootstrapSecretName: t.BootstrapSecretName, Status: t.Status,
		ClaimedNodeName: t.ClaimedNodeName, ClaimedKeyHash: t.ClaimedKeyHash, SecretInTenant: t.SecretInTenant,
		CreatedByUserID: keyOf(t.CreatedByUserID), UsedByNodeID: keyOf(t.UsedByNodeID),
		ExpiresAt: at(t.ExpiresAt), CreatedAt: at(t.CreatedAt), UsedAt: maybeAt(t.UsedAt),
		RevokedAt: maybeAt(t.RevokedAt), RevokedByUserID: keyOf(t.RevokedByUserID), Version: t.Version,
	}
}

func (r tokenRow) record() store.Token {
	return store.Token{
		ID: r.ID.ID, ClusterID: r.ClusterID.ID, ValueHash: r.ValueHash, DisplayPrefix: r.DisplayPrefix,
		BootstrapID: r.BootstrapID, BootstrapSecretName: r.BootstrapSecretName, Status: r.Status,
		ClaimedNodeName: r.ClaimedNodeName, ClaimedKeyHash: r.ClaimedKeyHash, SecretInTenant: r.SecretInTenant,
		CreatedByUserID: r.CreatedByUserID.ID, UsedByNodeID: r.UsedByNodeID.ID,
		ExpiresAt: r.ExpiresAt.time(), CreatedAt: r.CreatedAt.time(), UsedAt: r.UsedAt.maybe(),
		RevokedAt: r.RevokedAt.maybe(), RevokedByUserID: r.RevokedByUserID.ID, Version: r.Version,
	}
}

type tokens struct{ *unit }

// statusActive is the one status of tokens that the store knows.
const statusActive = "active"

func noToken() error { return notFound("token", "There is no such join token.") }

func (s tokens) Insert(ctx context.Context, rec store.Token) error {
	row := toTokenRow(rec)
	row.Version = 1
	return s.taken(s.insert(ctx, row), "", nil)
}

func (s tokens) Get(ctx context.Context, scope store.Scope, i id.Token) (store.Token, error) {
	return one[tokenRow](ctx, s.unit, noToken, func(q *bun.SelectQuery) {
		q.Where("t.id = ?", i.String())
		belonging(q, scope)
	})
}

func (s tokens) ByValueHash(ctx context.Context, hash []byte) (store.Token, error) {
	return one[tokenRow](ctx, s.unit, noToken, func(q *bun.SelectQuery) { q.Where("t.value_hash = ?", blob(hash)) })
}

func (s tokens) ByBootstrapID(ctx context.Context, c id.Cluster, bootstrapID string) (store.Token, error) {
	if err := plain(bootstrapID); err != nil {
		return store.Token{}, err
	}
	return one[tokenRow](ctx, s.unit, noToken, func(q *bun.SelectQuery) {
		q.Where("t.cluster_id = ?", c.String()).Where("t.bootstrap_id = ?", bootstrapID)
	})
}

func (s tokens) ByClaim(ctx context.Context, c id.Cluster, node string) (store.Token, error) {
	if err := plain(node); err != nil {
		return store.Token{}, err
	}
	return one[tokenRow](ctx, s.unit, noToken, func(q *bun.SelectQuery) {
		q.Where("t.cluster_id = ?", c.String()).Where("t.claimed_node_name = ?", node).
			Where("t.claimed_node_name <> ''"). // a token that nobody has claimed is nobody's claim
			OrderExpr("t.id DESC")
	})
}

func (s tokens) Update(ctx context.Context, rec *store.Token) error {
	row := toTokenRow(*rec)
	row.Version++
	n, err := s.change(ctx, row, nil, sameVersion, rec.Version)
	if err != nil {
		return s.taken(err, "", nil)
	}
	if n == 0 {
		return stale()
	}
	rec.Version = row.Version
	return nil
}

func (s tokens) CountActive(ctx context.Context, c id.Cluster, now time.Time, limit int) (n int, err error) {
	if err := s.reads(); err != nil || limit <= 0 {
		return 0, err
	}
	found := s.db.NewSelect().TableExpr("tokens AS t").ColumnExpr("1").Where("t.cluster_id = ?", c.String()).
		Where("t.status = ?", statusActive).Where("t.expires_at > ?", at(now)).Limit(int64(limit))
	err = s.db.NewSelect().TableExpr("(?) AS found", found).ColumnExpr("count(*)").Scan(ctx, &n)
	return n, err
}

func (s tokens) Leftover(ctx context.Context, c id.Cluster, now time.Time, limit int) ([]store.Token, error) {
	if limit <= 0 {
		return nil, s.reads()
	}
	return all[tokenRow](ctx, s.unit, func(q *bun.SelectQuery) {
		q.Where("t.cluster_id = ?", c.String()).Where("t.secret_in_tenant").
			Where("(t.status <> ? OR t.expires_at < ?)", statusActive, at(now)).
			OrderExpr("t.id").Limit(int64(limit))
	})
}
