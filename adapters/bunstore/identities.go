package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"

	"github.com/kubebyon/kubebyon/ports/store"
)

type identityRow struct {
	bun.BaseModel `bun:"table:sso_identities,alias:i"`

	Provider    string           `bun:"provider,pk"`
	SubjectHash []byte           `bun:"subject_hash,pk"`
	UserID      key[id.UserKind] `bun:"user_id"`
	CreatedAt   moment           `bun:"created_at"`
	LastUsedAt  moment           `bun:"last_used_at"`

	User *userRow `bun:"rel:belongs-to,join:user_id=id"`
}

// identityOf is an identity with its user.
type identityOf struct {
	store.SSOIdentity
	user store.User
}

func (r identityRow) record() identityOf {
	return identityOf{
		SSOIdentity: store.SSOIdentity{
			Provider: r.Provider, SubjectHash: r.SubjectHash, UserID: r.UserID.ID,
			CreatedAt: r.CreatedAt.time(), LastUsedAt: r.LastUsedAt.time(),
		},
		user: r.User.record(),
	}
}

type identities struct{ *unit }

func noIdentity() error { return notFound("sso_identity", "Nobody has this sign-in.") }

func (s identities) Insert(ctx context.Context, rec store.SSOIdentity) error {
	if err := s.living(ctx, rec.UserID); err != nil {
		return err
	}
	err := s.insert(ctx, &identityRow{
		Provider: rec.Provider, SubjectHash: blob(rec.SubjectHash), UserID: keyOf(rec.UserID),
		CreatedAt: at(rec.CreatedAt), LastUsedAt: at(rec.LastUsedAt),
	})
	if _, taken := s.engine.unique(err); taken {
		return fault.Conflict.New("identity_taken", "This sign-in belongs to an account already, or the account has another one of the same provider.")
	}
	return err
}

func (s identities) Get(ctx context.Context, provider string, subjectHash []byte) (store.SSOIdentity, store.User, error) {
	if err := plain(provider); err != nil {
		return store.SSOIdentity{}, store.User{}, err
	}
	both, err := one[identityRow](ctx, s.unit, noIdentity, func(q *bun.SelectQuery) {
		q.Relation("User").Where("i.provider = ?", provider).Where("i.subject_hash = ?", blob(subjectHash)).Where(`"user".removed_at IS NULL`)
	})
	return both.SSOIdentity, both.user, err
}

func (s identities) Touch(ctx context.Context, provider string, subjectHash []byte, t time.Time) error {
	if err := plain(provider); err != nil {
		return err
	}
	_, err := s.exec(ctx, "UPDATE sso_identities SET last_used_at = ? WHERE provider = ? AND subject_hash = ?", at(t), provider, blob(subjectHash))
	return err
}

func (s identities) ProvidersOf(ctx context.Context, users []id.User) (map[id.User][]string, error) {
	out := make(map[id.User][]string, len(users))
	if err := s.reads(); err != nil || len(users) == 0 {
		return out, err
	}
	var rows []struct {
		UserID   key[id.UserKind]
		Provider string
	}
	err := s.db.NewSelect().TableExpr("sso_identities AS i").ColumnExpr("i.user_id, i.provider").
		Where("i.user_id IN (?)", bun.List(texts(users))).OrderExpr("i.user_id, i.provider").Scan(ctx, &rows)
	for _, r := range rows {
		out[r.UserID.ID] = append(out[r.UserID.ID], r.Provider)
	}
	return out, err
}
