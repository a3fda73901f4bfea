package bunstore

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/ports/store"
)

type settingRow struct {
	bun.BaseModel `bun:"table:settings,alias:y"`

	Name      string `bun:"name,pk"`
	Value     []byte `bun:"value"`
	Sealed    []byte `bun:"sealed"`
	Version   int64  `bun:"version"`
	UpdatedAt moment `bun:"updated_at"`
}

func (r settingRow) record() store.Setting {
	return store.Setting{Name: r.Name, Value: r.Value, Sealed: r.Sealed, Version: r.Version, UpdatedAt: r.UpdatedAt.time()}
}

type settings struct{ *unit }

func (s settings) All(ctx context.Context) ([]store.Setting, error) {
	return all[settingRow](ctx, s.unit, func(q *bun.SelectQuery) { q.OrderExpr("y.name") })
}

func (s settings) Put(ctx context.Context, rec *store.Setting) error {
	row := &settingRow{
		Name: rec.Name, Value: blob(rec.Value), Sealed: blob(rec.Sealed), Version: rec.Version + 1, UpdatedAt: at(rec.UpdatedAt),
	}
	n, err := s.write(ctx, row, rec.Version)
	if err != nil {
		return err
	}
	if n == 0 {
		return stale()
	}
	rec.Version = row.Version
	return nil
}

func (s settings) write(ctx context.Context, row *settingRow, was int64) (int, error) {
	if err := s.writes(); err != nil {
		return 0, err
	}
	if err := legible(row); err != nil {
		return 0, err
	}
	if was == 0 {
		return affected(s.db.NewInsert().Model(row).On("CONFLICT (name) DO NOTHING").Exec(ctx))
	}
	return s.exec(ctx, "UPDATE settings SET value = ?, sealed = ?, version = ?, updated_at = ? WHERE name = ? AND version = ?",
		row.Value, row.Sealed, row.Version, row.UpdatedAt, row.Name, was)
}
