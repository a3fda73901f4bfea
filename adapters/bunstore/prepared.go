package bunstore

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
)

// What is asked or written often has its arguments sent beside the statement, so
// that the statement's text is always the same and PostgreSQL need not parse and
// plan it each time, which costs several times what running it does. It finds
// its rows by a key: a plan that is kept must be right however the tables grow.

// often is [one] for the reads that nearly every request makes. Arguments that go
// through value are sent beside the statement.
func often[R row[Rec], Rec any](ctx context.Context, u *unit, missing func() error, narrow func(q *bun.SelectQuery, value func(any) any)) (Rec, error) {
	return one[R](ctx, u, missing, func(q *bun.SelectQuery) { narrow(q, u.prepared(q)) })
}

// prepared has q sent with those arguments beside it that go through value.
func (u *unit) prepared(q *bun.SelectQuery) (value func(any) any) {
	if u.prepares == nil {
		return asItIs
	}
	p := &prepared{IConn: u.prepares}
	q.Conn(p)
	return p.value
}

func asItIs(v any) any { return v }

// hot is a raw statement, with its arguments beside it.
func (u *unit) hot(query string, args ...any) *bun.RawQuery {
	if u.prepares == nil {
		return u.db.NewRaw(query, args...)
	}
	p := &prepared{IConn: u.prepares}
	values := make([]any, len(args))
	for i, v := range args {
		values[i] = p.value(v)
	}
	return u.db.NewRaw(query, values...).Conn(p)
}

// prepared runs one statement whose arguments it has collected.
type prepared struct {
	bun.IConn
	args []any
	err  error // about an argument
}

// sendable is a column that a driver must be told how to send.
type sendable interface{ sent() (any, error) }

// value returns what stands for v in the statement.
func (p *prepared) value(v any) any {
	if o, is := v.(ownerOf); is {
		return bun.Safe(o.around(p.send(o.cluster.String())))
	}
	if c, is := v.(sendable); is {
		var err error
		v, err = c.sent()
		p.err = errors.Join(p.err, err)
	}
	return bun.Safe(p.send(v))
}

func (p *prepared) send(v any) (name string) {
	p.args = append(p.args, v)
	return "$" + strconv.Itoa(len(p.args))
}

// QueryContext is what bun runs the statement with.
func (p *prepared) QueryContext(ctx context.Context, query string, _ ...any) (*sql.Rows, error) {
	if p.err != nil {
		return nil, p.err
	}
	return p.IConn.QueryContext(ctx, query, p.all()...)
}

// ExecContext is what bun runs the statement with.
func (p *prepared) ExecContext(ctx context.Context, query string, _ ...any) (sql.Result, error) {
	if p.err != nil {
		return nil, p.err
	}
	return p.IConn.ExecContext(ctx, query, p.all()...)
}

// all are the arguments, after one that tells pgx to prepare.
func (p *prepared) all() []any { return append([]any{pgx.QueryExecModeCacheStatement}, p.args...) }
