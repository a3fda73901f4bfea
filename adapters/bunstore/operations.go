package bunstore

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type operationRow struct {
	bun.BaseModel `bun:"table:operations,alias:o"`

	ID                key[id.OperationKind] `bun:"id,pk"`
	ClusterID         key[id.ClusterKind]   `bun:"cluster_id"`
	Type              string                `bun:"type"`
	Status            string                `bun:"status"`
	Stage             string                `bun:"stage"`
	RequestedByUserID key[id.UserKind]      `bun:"requested_by_user_id"`
	ErrorMessage      string                `bun:"error_message"`
	Generation        int64                 `bun:"generation"`
	StartedAt         *moment               `bun:"started_at"`
	FinishedAt        *moment               `bun:"finished_at"`
	CreatedAt         moment                `bun:"created_at"`
	UpdatedAt         moment                `bun:"updated_at"`
}

func toOperationRow(o store.Operation) *operationRow {
	return &operationRow{
		ID: keyOf(o.ID), ClusterID: keyOf(o.ClusterID), Type: o.Type, Status: o.Status, Stage: o.Stage,
		RequestedByUserID: keyOf(o.RequestedByUserID), ErrorMessage: o.ErrorMessage, Generation: o.Generation,
		StartedAt: maybeAt(o.StartedAt), FinishedAt: maybeAt(o.FinishedAt), CreatedAt: at(o.CreatedAt), UpdatedAt: at(o.UpdatedAt),
	}
}

func (r operationRow) record() store.Operation {
	return store.Operation{
		ID: r.ID.ID, ClusterID: r.ClusterID.ID, Type: r.Type, Status: r.Status, Stage: r.Stage,
		RequestedByUserID: r.RequestedByUserID.ID, ErrorMessage: r.ErrorMessage, Generation: r.Generation,
		StartedAt: r.StartedAt.maybe(), FinishedAt: r.FinishedAt.maybe(), CreatedAt: r.CreatedAt.time(), UpdatedAt: r.UpdatedAt.time(),
	}
}

type operations struct{ *unit }

func noOperation() error { return notFound("operation", "There is no such operation.") }

func (s operations) Insert(ctx context.Context, rec store.Operation) error {
	return s.taken(s.insert(ctx, toOperationRow(rec)), "", nil)
}

func (s operations) Get(ctx context.Context, i id.Operation) (store.Operation, error) {
	return one[operationRow](ctx, s.unit, noOperation, func(q *bun.SelectQuery) { q.Where("o.id = ?", i.String()) })
}

func (s operations) Update(ctx context.Context, rec store.Operation) error {
	n, err := s.change(ctx, toOperationRow(rec), nil, "")
	if err == nil && n == 0 {
		return noOperation()
	}
	return err
}

// starting sets what Begin sets.
func starting(status, at string) string {
	return "status = " + status + ", updated_at = " + at + ", started_at = COALESCE(o.started_at, CASE WHEN o.created_at > " + at + " THEN o.created_at ELSE " + at + " END)"
}

func (s operations) Begin(ctx context.Context, i id.Operation, status string, t time.Time) (store.Operation, error) {
	if err := s.writes(); err != nil {
		return store.Operation{}, err
	}
	if err := plain(status); err != nil {
		return store.Operation{}, err
	}
	var r operationRow
	err := s.hot("UPDATE operations AS o SET "+starting("?0", "?1")+" WHERE o.id = ?2 RETURNING "+columns[operationRow](s.unit),
		status, at(t), i.String()).Scan(ctx, &r)
	if noRows(err) {
		return store.Operation{}, noOperation()
	}
	return r.record(), err
}

func (s operations) List(ctx context.Context, c id.Cluster, q page.Query) (page.Of[store.Operation], error) {
	return list[operationRow](ctx, s.unit, q, func(o store.Operation) string { return o.ID.String() },
		func(q *bun.SelectQuery) { q.Where("o.cluster_id = ?", c.String()) })
}
