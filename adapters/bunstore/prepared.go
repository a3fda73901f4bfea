package bunstore

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
)

// often is [one] for the reads that nearly every request makes. Arguments that go
// through value are sent beside the statement, so that its text is always the
// same and PostgreSQL need not parse and plan it each time, which costs several
// times what running it does.
func often[R row[Rec], Rec any](ctx context.Context, u *unit, missing func() error, narrow func(q *bun.SelectQuery, value func(any) any)) (Rec, error) {
	return one[R](ctx, u, missing, func(q *bun.SelectQuery) {
		if u.prepares == nil {
			narrow(q, asItIs)
			return
		}
		p := &prepared{DB: u.prepares, args: []any{pgx.QueryExecModeCacheStatement}}
		narrow(q.Conn(p), p.value)
	})
}

func asItIs(v any) any { return v }

// prepared runs one statement whose arguments it has collected.
type prepared struct {
	*sql.DB
	args []any // the first tells pgx to prepare
}

// value returns what stands for v in the statement.
func (p *prepared) value(v any) any {
	p.args = append(p.args, v)
	return bun.Safe("$" + strconv.Itoa(len(p.args)-1))
}

// QueryContext is what bun runs the statement with.
func (p *prepared) QueryContext(ctx context.Context, query string, _ ...any) (*sql.Rows, error) {
	return p.DB.QueryContext(ctx, query, p.args...)
}
