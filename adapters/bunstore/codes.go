package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/ports/store"
)

type codeRow struct {
	bun.BaseModel `bun:"table:codes,alias:w"`

	Address   string `bun:"address,pk"`
	Purpose   string `bun:"purpose,pk"`
	Hash      []byte `bun:"hash"`
	CreatedAt moment `bun:"created_at"`
	ExpiresAt moment `bun:"expires_at"`
	Tries     int    `bun:"tries"`
}

func (r codeRow) record() store.Code {
	return store.Code{
		Purpose: r.Purpose, Address: r.Address, Hash: r.Hash,
		CreatedAt: r.CreatedAt.time(), ExpiresAt: r.ExpiresAt.time(), Tries: r.Tries,
	}
}

type codes struct{ *unit }

func noCode() error { return notFound("code", "There is no such code.") }

func (s codes) Put(ctx context.Context, rec store.Code) error {
	return s.replace(ctx, &codeRow{
		Address: rec.Address, Purpose: rec.Purpose, Hash: blob(rec.Hash),
		CreatedAt: at(rec.CreatedAt), ExpiresAt: at(rec.ExpiresAt), Tries: rec.Tries,
	}, "address, purpose", "hash", "created_at", "expires_at", "tries")
}

func (s codes) Get(ctx context.Context, purpose, address string) (store.Code, error) {
	if err := plain(purpose, address); err != nil {
		return store.Code{}, err
	}
	return one[codeRow](ctx, s.unit, noCode, func(q *bun.SelectQuery) {
		q.Where("w.address = ?", address).Where("w.purpose = ?", purpose)
	})
}

// Try counts in the statement that asks whether there is a try left: of two at
// once, one waits for the other's row and counts on from there.
func (s codes) Try(ctx context.Context, purpose, address string, most int, now time.Time) (store.Code, error) {
	if err := s.writes(); err != nil {
		return store.Code{}, err
	}
	if err := plain(purpose, address); err != nil {
		return store.Code{}, err
	}
	var r codeRow
	err := s.db.NewRaw("UPDATE codes SET tries = tries + 1 WHERE address = ? AND purpose = ? AND tries < ? AND expires_at > ?"+
		" RETURNING "+columns[codeRow](s.unit), address, purpose, most, at(now)).Scan(ctx, &r)
	if noRows(err) {
		return store.Code{}, noCode()
	}
	return r.record(), err
}

func (s codes) Delete(ctx context.Context, purpose, address string) error {
	if err := plain(purpose, address); err != nil {
		return err
	}
	_, err := s.exec(ctx, "DELETE FROM codes WHERE address = ? AND purpose = ?", address, purpose)
	return err
}

// DeleteExpired picks its codes once, like sessions.DeleteExpired, and passes by
// those that others hold locked: they are being replaced.
func (s codes) DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error) {
	return s.exec(ctx, "WITH old AS MATERIALIZED (SELECT address, purpose FROM codes WHERE expires_at < ? LIMIT ?"+s.engine.sql().skipLocked+")"+
		" DELETE FROM codes WHERE (address, purpose) IN (SELECT address, purpose FROM old)", at(t), max(limit, 0))
}
