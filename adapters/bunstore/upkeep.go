package bunstore

import (
	"context"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

type outboxRow struct {
	bun.BaseModel `bun:"table:outbox,alias:m"`

	ID   key[id.MessageKind] `bun:"id,pk"`
	Type string              `bun:"type"`
	Key  string              `bun:"key"`
	At   moment              `bun:"at"`
	Body []byte              `bun:"body"`
}

func toOutboxRow(m store.OutboxMessage) outboxRow {
	return outboxRow{ID: keyOf(m.ID), Type: m.Type, Key: m.Key, At: at(m.At), Body: blob(m.Body)}
}

func (r outboxRow) record() store.OutboxMessage {
	return store.OutboxMessage{ID: r.ID.ID, Type: r.Type, Key: r.Key, At: r.At.time(), Body: r.Body}
}

type outbox struct{ *unit }

func (s outbox) Append(ctx context.Context, msgs ...store.OutboxMessage) error {
	return appendRows(ctx, s.unit, msgs, toOutboxRow)
}

func (s outbox) Claim(ctx context.Context, n int) ([]store.OutboxMessage, error) {
	if err := s.writes(); err != nil || n <= 0 {
		return nil, err
	}
	var mine bool
	if err := s.db.NewRaw(s.engine.sql().claimOutbox).Scan(ctx, &mine); err != nil || !mine {
		return nil, err
	}
	return all[outboxRow](ctx, s.unit, func(q *bun.SelectQuery) { q.OrderExpr("m.seq").Limit(int64(n)) })
}

func (s outbox) Remove(ctx context.Context, ids ...id.Message) error {
	if len(ids) == 0 {
		return s.writes()
	}
	_, err := s.exec(ctx, "DELETE FROM outbox WHERE id IN (?)", bun.List(texts(ids)))
	return err
}

type replyRow struct {
	bun.BaseModel `bun:"table:replies,alias:r"`

	UserID      string `bun:"user_id,pk"` // part of the primary key, so never NULL
	Operation   string `bun:"operation,pk"`
	Key         string `bun:"key,pk"`
	RequestHash []byte `bun:"request_hash"`
	Sealed      []byte `bun:"sealed"`
	CreatedAt   moment `bun:"created_at"`
}

type replies struct{ *unit }

func noReply() error { return notFound("reply", "There is no such reply.") }

func (s replies) Get(ctx context.Context, k store.ReplyKey) (store.Reply, error) {
	if err := plain(k.Operation, k.Key); err != nil {
		return store.Reply{}, err
	}
	if err := s.reads(); err != nil {
		return store.Reply{}, err
	}
	var r replyRow
	err := s.db.NewSelect().Model(&r).Where("r.user_id = ?", k.User.String()).
		Where("r.operation = ?", k.Operation).Where("r.key = ?", k.Key).Scan(ctx)
	if noRows(err) {
		return store.Reply{}, noReply()
	}
	return store.Reply{ReplyKey: k, RequestHash: r.RequestHash, Sealed: r.Sealed, CreatedAt: r.CreatedAt.time()}, err
}

func (s replies) Insert(ctx context.Context, rec store.Reply) error {
	return s.taken(s.insert(ctx, &replyRow{
		UserID: rec.User.String(), Operation: rec.Operation, Key: rec.Key,
		RequestHash: blob(rec.RequestHash), Sealed: blob(rec.Sealed), CreatedAt: at(rec.CreatedAt),
	}), "", nil)
}

func (s replies) Delete(ctx context.Context, k store.ReplyKey) error {
	if err := plain(k.Operation, k.Key); err != nil {
		return err
	}
	_, err := s.exec(ctx, "DELETE FROM replies WHERE user_id = ? AND operation = ? AND key = ?", k.User.String(), k.Operation, k.Key)
	return err
}

// DeleteOlderThan picks its replies once, like sessions.DeleteExpired.
func (s replies) DeleteOlderThan(ctx context.Context, t time.Time, limit int) (int, error) {
	return s.exec(ctx, "WITH old AS MATERIALIZED (SELECT user_id, operation, key FROM replies WHERE created_at < ? LIMIT ?)"+
		" DELETE FROM replies WHERE (user_id, operation, key) IN (SELECT user_id, operation, key FROM old)", at(t), max(limit, 0))
}

type leaseRow struct {
	bun.BaseModel `bun:"table:leases,alias:l"`

	Name      string `bun:"name,pk"`
	Holder    string `bun:"holder"`
	HeldUntil moment `bun:"held_until"`
}

func (r leaseRow) record() store.Lease { return store.Lease{Name: r.Name, Holder: r.Holder} }

type leases struct{ *unit }

// Acquire takes the names in order, so that two who want the same ones do not
// wait for each other.
func (s leases) Acquire(ctx context.Context, names []string, holder string, now, until time.Time) ([]string, error) {
	if err := s.writes(); err != nil || len(names) == 0 {
		return nil, err
	}
	var rows []leaseRow
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		rows = append(rows, leaseRow{Name: name, Holder: holder, HeldUntil: at(until)})
	}
	if err := legible(&rows); err != nil {
		return nil, err
	}
	var got []string
	err := s.db.NewInsert().Model(&rows).
		On("CONFLICT (name) DO UPDATE").Set("holder = EXCLUDED.holder").Set("held_until = EXCLUDED.held_until").
		Where("l.holder = EXCLUDED.holder OR l.held_until <= ?", at(now)).
		Returning("name").Scan(ctx, &got)
	if noRows(err) {
		return nil, nil
	}
	return got, err
}

func (s leases) Release(ctx context.Context, names []string, holder string) error {
	if len(names) == 0 {
		return s.writes()
	}
	if err := plain(append(slices.Clone(names), holder)...); err != nil {
		return err
	}
	_, err := s.exec(ctx, "DELETE FROM leases WHERE name IN (?) AND holder = ?", bun.List(names), holder)
	return err
}

// Living walks the names from where the prefix begins to where it ends.
func (s leases) Living(ctx context.Context, prefix string, now time.Time) ([]store.Lease, error) {
	if err := plain(prefix); err != nil {
		return nil, err
	}
	return all[leaseRow](ctx, s.unit, func(q *bun.SelectQuery) {
		q.Where("l.name >= ?", prefix).Where("l.name <= ?", prefix+string(unicode.MaxRune)).Where("substr(l.name, 1, ?) = ?", utf8.RuneCountInString(prefix), prefix).
			Where("l.held_until > ?", at(now)).OrderExpr("l.name")
	})
}

// DeleteExpired picks its leases once, like sessions.DeleteExpired, and passes by
// those that others hold locked: they are being renewed, and waiting for several
// in no order could deadlock with Acquire.
func (s leases) DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error) {
	return s.exec(ctx, "WITH old AS MATERIALIZED (SELECT name FROM leases WHERE held_until < ? LIMIT ?"+s.engine.sql().skipLocked+")"+
		" DELETE FROM leases WHERE name IN (SELECT name FROM old)", at(t), max(limit, 0))
}

type factRow struct {
	bun.BaseModel `bun:"table:facts,alias:f"`

	Name  string `bun:"name,pk"`
	Value []byte `bun:"value"`
}

func (r factRow) record() []byte { return r.Value }

type facts struct{ *unit }

func noFact() error { return notFound("fact", "There is no such fact.") }

func (s facts) Get(ctx context.Context, name string) ([]byte, error) {
	if err := plain(name); err != nil {
		return nil, err
	}
	return one[factRow](ctx, s.unit, noFact, func(q *bun.SelectQuery) { q.Where("f.name = ?", name) })
}

func (s facts) Set(ctx context.Context, name string, value []byte) error {
	if err := s.writes(); err != nil {
		return err
	}
	row := &factRow{Name: name, Value: blob(value)}
	if err := legible(row); err != nil {
		return err
	}
	_, err := s.db.NewInsert().Model(row).On("CONFLICT (name) DO UPDATE").Set("value = EXCLUDED.value").Exec(ctx)
	return err
}
