package bunstore

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type deliveryRow struct {
	bun.BaseModel `bun:"table:deliveries,alias:z"`

	ID          key[id.DeliveryKind] `bun:"id,pk"`
	Key         string               `bun:"key"`
	Template    string               `bun:"template"`
	Channel     string               `bun:"channel"`
	UserID      key[id.UserKind]     `bun:"user_id"`
	Target      string               `bun:"target"`
	Sealed      []byte               `bun:"sealed"`
	Status      string               `bun:"status"`
	Attempts    int                  `bun:"attempts"`
	DueAt       moment               `bun:"due_at"`
	Holder      string               `bun:"holder"`
	LeasedUntil *moment              `bun:"leased_until"`
	LastError   string               `bun:"last_error"`
	CreatedAt   moment               `bun:"created_at"`
	UpdatedAt   moment               `bun:"updated_at"`
	DeliveredAt *moment              `bun:"delivered_at"`
}

func toDeliveryRow(d store.Delivery) deliveryRow {
	return deliveryRow{
		ID: keyOf(d.ID), Key: d.Key, Template: d.Template, Channel: d.Channel, UserID: keyOf(d.UserID), Target: d.Target,
		Sealed: blob(d.Sealed), Status: d.Status, Attempts: d.Attempts, DueAt: at(d.DueAt), Holder: d.Holder,
		LeasedUntil: maybeAt(d.LeasedUntil), LastError: d.LastError, CreatedAt: at(d.CreatedAt), UpdatedAt: at(d.UpdatedAt),
		DeliveredAt: maybeAt(d.DeliveredAt),
	}
}

func (r deliveryRow) record() store.Delivery {
	return store.Delivery{
		ID: r.ID.ID, Key: r.Key, Template: r.Template, Channel: r.Channel, UserID: r.UserID.ID, Target: r.Target,
		Sealed: r.Sealed, Status: r.Status, Attempts: r.Attempts, DueAt: r.DueAt.time(), Holder: r.Holder,
		LeasedUntil: r.LeasedUntil.maybe(), LastError: r.LastError, CreatedAt: r.CreatedAt.time(), UpdatedAt: r.UpdatedAt.time(),
		DeliveredAt: r.DeliveredAt.maybe(),
	}
}

// deliveryKind is what filters tell deliveries apart by, besides their status.
type deliveryKind struct {
	bun.BaseModel `bun:"table:delivery_kinds,alias:dk"`

	Channel  string `bun:"channel,pk"`
	Template string `bun:"template,pk"`
}

type deliveries struct{ *unit }

// Insert sends the same statements whether the accounts are there or not: whoever
// asks for a code for somebody's address shall not tell by the time it takes. So
// it is the database that passes by what is to nobody.
func (s deliveries) Insert(ctx context.Context, recs ...store.Delivery) error {
	if err := s.writes(); err != nil {
		return err
	}
	rows := make([]deliveryRow, 0, len(recs))
	for _, d := range recs {
		rows = append(rows, toDeliveryRow(d))
	}
	if err := legible(&rows); err != nil {
		return err
	}
	if err := s.holdRecipients(ctx, recs); err != nil {
		return err
	}
	for _, r := range rows {
		if _, err := s.exec(ctx, "INSERT INTO delivery_kinds (channel, template) SELECT ?1, ?2 WHERE "+living+" ON CONFLICT DO NOTHING",
			r.UserID, r.Channel, r.Template); err != nil {
			return err
		}
	}
	for _, r := range rows {
		_, err := s.exec(ctx, "INSERT INTO deliveries (id, key, template, channel, user_id, target, sealed, status, attempts, due_at, holder, leased_until, last_error, created_at, updated_at, delivered_at)"+
			" SELECT ?1, ?2, ?3, ?4, ?0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15 WHERE "+living+" ON CONFLICT (key) DO NOTHING",
			r.UserID, r.ID, r.Key, r.Template, r.Channel, r.Target, r.Sealed, r.Status, r.Attempts, r.DueAt, r.Holder, orNothing(r.LeasedUntil), r.LastError, r.CreatedAt, r.UpdatedAt, orNothing(r.DeliveredAt))
		if err := s.taken(err, "", nil); err != nil {
			return err
		}
	}
	return nil
}

// living is whether ?0 is nobody or an account that is there.
const living = "(?0 IS NULL OR EXISTS (SELECT 1 FROM users AS u WHERE u.id = ?0 AND u.removed_at IS NULL))"

// orNothing is for bun, which would ask a nil pointer how to be written.
func orNothing(m *moment) any {
	if m == nil {
		return nil
	}
	return *m
}

// holdRecipients keeps the accounts that are there from being removed until the
// transaction ends.
func (s deliveries) holdRecipients(ctx context.Context, recs []store.Delivery) error {
	var ids []id.User
	for _, d := range recs {
		if !d.UserID.IsZero() {
			ids = append(ids, d.UserID)
		}
	}
	lock := s.engine.sql().forReference
	if len(ids) == 0 || lock == "" { // SQLite has one writer
		return nil
	}
	var held []string
	return s.db.NewSelect().TableExpr("users AS u").ColumnExpr("u.id").Where("u.id IN (?)", bun.List(texts(ids))).
		Where("u.removed_at IS NULL").For(lock).Scan(ctx, &held)
}

func noDelivery() error { return notFound("delivery", "There is no such message in the log.") }

func (s deliveries) Get(ctx context.Context, i id.Delivery) (store.Delivery, error) {
	return one[deliveryRow](ctx, s.unit, noDelivery, func(q *bun.SelectQuery) { q.Where("z.id = ?", i.String()) })
}

func (s deliveries) Hold(ctx context.Context, keys ...string) ([]store.Delivery, error) {
	if err := s.writes(); err != nil || len(keys) == 0 {
		return nil, err
	}
	if err := plain(keys...); err != nil {
		return nil, err
	}
	var rows []deliveryRow
	// In the order of the index, so that two that hold the same take turns.
	q := s.db.NewSelect().Model(&rows).Where("z.key IN (?)", bun.List(keys)).OrderExpr("z.key")
	if lock := s.engine.sql().forUpdate; lock != "" {
		q.For(lock)
	}
	err := q.Scan(ctx)
	return records(rows), err
}

// Claim passes by what others are claiming or settling: they have it locked.
func (s deliveries) Claim(ctx context.Context, holder, channel string, now, until time.Time, n int) ([]store.Delivery, error) {
	if err := s.writes(); err != nil || n <= 0 {
		return nil, err
	}
	if err := plain(holder, channel); err != nil {
		return nil, err
	}
	var rows []deliveryRow
	err := s.db.NewRaw("WITH due AS MATERIALIZED (SELECT id FROM deliveries WHERE status = 'pending' AND channel = ?4 AND due_at <= ?0 AND (leased_until IS NULL OR leased_until <= ?0)"+
		" ORDER BY due_at, id LIMIT ?3"+s.engine.sql().skipLocked+")"+
		" UPDATE deliveries SET holder = ?1, leased_until = ?2, attempts = attempts + 1, updated_at = ?0 WHERE id IN (SELECT id FROM due)"+
		" RETURNING "+columns[deliveryRow](s.unit), at(now), holder, at(until), n, channel).Scan(ctx, &rows)
	if err != nil {
		return nil, err
	}
	out := records(rows)
	slices.SortFunc(out, func(a, b store.Delivery) int {
		return cmp.Or(a.DueAt.Compare(b.DueAt), cmp.Compare(a.ID.String(), b.ID.String()))
	})
	return out, nil
}

func (s deliveries) Settle(ctx context.Context, rec store.Delivery, holder string) (bool, error) {
	if err := s.writes(); err != nil {
		return false, err
	}
	row := toDeliveryRow(rec)
	if err := legible(&row); err != nil {
		return false, err
	}
	if err := plain(holder); err != nil {
		return false, err
	}
	n, err := s.exec(ctx, "UPDATE deliveries SET status = ?0, due_at = ?1, last_error = ?2, updated_at = ?3, delivered_at = ?4,"+
		" sealed = CASE WHEN ?8 THEN sealed ELSE ?5 END, holder = '', leased_until = NULL"+
		" WHERE id = ?6 AND holder = ?7 AND leased_until IS NOT NULL",
		row.Status, row.DueAt, row.LastError, row.UpdatedAt, orNothing(row.DeliveredAt), blob(nil), row.ID, holder, keepsSealed(rec))
	return n > 0, err
}

func keepsSealed(d store.Delivery) bool {
	return d.Status == store.DeliveryPending || d.Status == store.DeliveryDead && len(d.Sealed) > 0
}

// Next passes by what is being worked on: as many as there are workers.
func (s deliveries) Next(ctx context.Context, channels ...string) (map[string]time.Time, error) {
	if err := s.reads(); err != nil || len(channels) == 0 {
		return nil, err
	}
	if err := plain(channels...); err != nil {
		return nil, err
	}
	first := func(channel, column, condition string) *bun.SelectQuery {
		return s.db.NewSelect().TableExpr("deliveries AS z").ColumnExpr("z.channel, ? AS at", bun.Ident(column)).
			Where("z.status = 'pending'").Where("z.channel = ?", channel).Where(condition).OrderExpr("?", bun.Ident(column)).Limit(1)
	}
	var each []string
	var queries []any
	for _, c := range channels {
		each = append(each, "SELECT channel, at FROM (?) AS free", "SELECT channel, at FROM (?) AS leased")
		queries = append(queries, first(c, "z.due_at", "z.leased_until IS NULL"), first(c, "z.leased_until", "z.leased_until IS NOT NULL"))
	}
	var rows []struct {
		Channel string
		At      moment
	}
	err := s.db.NewRaw(strings.Join(each, " UNION ALL "), queries...).Scan(ctx, &rows)
	next := map[string]time.Time{}
	for _, r := range rows {
		if at, has := next[r.Channel]; !has || r.At.time().Before(at) {
			next[r.Channel] = r.At.time()
		}
	}
	return next, err
}

func (s deliveries) Revive(ctx context.Context, i id.Delivery, now time.Time) (bool, error) {
	n, err := s.exec(ctx, "UPDATE deliveries SET status = 'pending', due_at = ?0, updated_at = ?0, attempts = 0"+
		" WHERE id = ?1 AND status = 'dead' AND length(sealed) > 0", at(now), i.String())
	return n > 0, err
}

func (s deliveries) Forget(ctx context.Context, t time.Time, limit int) (int, error) {
	return s.exec(ctx, "WITH old AS MATERIALIZED (SELECT id FROM deliveries WHERE updated_at < ? AND status = 'dead' AND length(sealed) > 0 LIMIT ?"+s.engine.sql().skipLocked+")"+
		" UPDATE deliveries SET sealed = ? WHERE id IN (SELECT id FROM old)", at(t), max(limit, 0), blob(nil))
}

// statuses of deliveries are all that there are.
var statuses = []string{store.DeliveryPending, store.DeliveryDelivered, store.DeliveryDead} //nolint:gochecknoglobals // a constant

func (s deliveries) List(ctx context.Context, f store.DeliveryFilter, q page.Query) (page.Of[store.Delivery], error) {
	if err := plain(f.Status, f.Channel, f.Template); err != nil {
		return page.Of[store.Delivery]{}, err
	}
	idOf := func(d store.Delivery) string { return d.ID.String() }
	ofUser := func(q *bun.SelectQuery) {
		if !f.User.IsZero() {
			q.Where("z.user_id = ?", f.User.String())
		}
	}
	if f.Status == "" && f.Channel == "" && f.Template == "" {
		return list[deliveryRow](ctx, s.unit, q, idOf, ofUser)
	}
	kinds, err := s.kinds(ctx, f)
	if err != nil || len(kinds) == 0 {
		return page.Of[store.Delivery]{}, err
	}
	among := statuses
	if f.Status != "" {
		among = []string{f.Status}
	}
	var each []func(*bun.SelectQuery)
	for _, k := range kinds {
		for _, status := range among {
			each = append(each, func(q *bun.SelectQuery) {
				q.Where("z.channel = ?", k.Channel).Where("z.template = ?", k.Template).Where("z.status = ?", status)
				ofUser(q)
			})
		}
	}
	return newestOf[deliveryRow](ctx, s.unit, q, idOf, each)
}

func (s deliveries) kinds(ctx context.Context, f store.DeliveryFilter) (kinds []deliveryKind, err error) {
	if err := s.reads(); err != nil {
		return nil, err
	}
	q := s.db.NewSelect().Model(&kinds)
	if f.Channel != "" {
		q.Where("dk.channel = ?", f.Channel)
	}
	if f.Template != "" {
		q.Where("dk.template = ?", f.Template)
	}
	return kinds, q.Scan(ctx)
}

func (s deliveries) DeleteOlderThan(ctx context.Context, t time.Time, limit int) (int, error) {
	return s.exec(ctx, "WITH old AS MATERIALIZED (SELECT id FROM deliveries WHERE created_at < ? AND status <> 'pending' LIMIT ?"+s.engine.sql().skipLocked+")"+
		" DELETE FROM deliveries WHERE id IN (SELECT id FROM old)", at(t), max(limit, 0))
}
