package bunstore

import (
	"context"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type nodeEventRow struct {
	bun.BaseModel `bun:"table:node_events,alias:e"`

	ID         key[id.NodeEventKind] `bun:"id,pk"`
	ClusterID  key[id.ClusterKind]   `bun:"cluster_id"`
	NodeID     key[id.NodeKind]      `bun:"node_id"`
	NodeName   string                `bun:"node_name"`
	Type       string                `bun:"type"`
	OldStatus  string                `bun:"old_status"`
	NewStatus  string                `bun:"new_status"`
	Message    string                `bun:"message"`
	ObservedAt moment                `bun:"observed_at"`

	OwnerUserID ownerOf `bun:"owner_user_id"`
}

func toNodeEventRow(e store.NodeEvent) nodeEventRow {
	return nodeEventRow{
		ID: keyOf(e.ID), ClusterID: keyOf(e.ClusterID), NodeID: keyOf(e.NodeID), NodeName: e.NodeName, Type: e.Type,
		OldStatus: e.OldStatus, NewStatus: e.NewStatus, Message: e.Message, ObservedAt: at(e.ObservedAt),
		OwnerUserID: ownerOf{e.ClusterID},
	}
}

func (r nodeEventRow) record() store.NodeEvent {
	return store.NodeEvent{
		ID: r.ID.ID, ClusterID: r.ClusterID.ID, NodeID: r.NodeID.ID, NodeName: r.NodeName, Type: r.Type,
		OldStatus: r.OldStatus, NewStatus: r.NewStatus, Message: r.Message, ObservedAt: r.ObservedAt.time(),
	}
}

type nodeEvents struct{ *unit }

func (s nodeEvents) Append(ctx context.Context, events ...store.NodeEvent) error {
	return appendRows(ctx, s.unit, events, toNodeEventRow)
}

// appendRows writes records in one statement, in their order.
func appendRows[Rec, R any](ctx context.Context, u *unit, recs []Rec, toRow func(Rec) R) error {
	if len(recs) == 0 {
		return u.writes()
	}
	rows := make([]R, len(recs))
	for i, r := range recs {
		rows[i] = toRow(r)
	}
	return u.taken(u.insert(ctx, &rows), "", nil)
}

func (s nodeEvents) List(ctx context.Context, scope store.Scope, f store.NodeEventFilter, q page.Query) (page.Of[store.NodeEvent], error) {
	if err := plain(f.Type); err != nil {
		return page.Of[store.NodeEvent]{}, err
	}
	return list[nodeEventRow](ctx, s.unit, q, func(e store.NodeEvent) string { return e.ID.String() }, func(q *bun.SelectQuery) {
		belonging(q, scope)
		if f.ClusterID.IsZero() && f.NodeID.IsZero() {
			owned(q, scope)
		}
		if !f.ClusterID.IsZero() {
			q.Where("e.cluster_id = ?", f.ClusterID.String())
		}
		if !f.NodeID.IsZero() {
			q.Where("e.node_id = ?", f.NodeID.String())
		}
		if f.Type != "" {
			q.Where("e.type = ?", f.Type)
		}
	})
}

type auditRow struct {
	bun.BaseModel `bun:"table:audit_events,alias:a"`

	ID           key[id.AuditKind]   `bun:"id,pk"`
	OccurredAt   moment              `bun:"occurred_at"`
	ActorUserID  key[id.UserKind]    `bun:"actor_user_id"`
	ActorType    string              `bun:"actor_type"`
	ActorMethod  string              `bun:"actor_method"`
	ResourceType string              `bun:"resource_type"`
	ResourceID   string              `bun:"resource_id"`
	Action       string              `bun:"action"`
	Result       string              `bun:"result"`
	Message      string              `bun:"message"`
	ClusterID    key[id.ClusterKind] `bun:"cluster_id"`
	ClusterName  string              `bun:"cluster_name"`
	NodeName     string              `bun:"node_name"`
	Security     bool                `bun:"security"`
}

func toAuditRow(e store.AuditEvent) auditRow {
	return auditRow{
		ID: keyOf(e.ID), OccurredAt: at(e.OccurredAt), ActorUserID: keyOf(e.ActorUserID), ActorType: e.ActorType,
		ActorMethod: e.ActorMethod, ResourceType: e.ResourceType, ResourceID: e.ResourceID, Action: e.Action, Result: e.Result,
		Message: e.Message, ClusterID: keyOf(e.ClusterID), ClusterName: e.ClusterName, NodeName: e.NodeName, Security: e.Security,
	}
}

func (r auditRow) record() store.AuditEvent {
	return store.AuditEvent{
		ID: r.ID.ID, OccurredAt: r.OccurredAt.time(), ActorUserID: r.ActorUserID.ID, ActorType: r.ActorType,
		ActorMethod: r.ActorMethod, ResourceType: r.ResourceType, ResourceID: r.ResourceID, Action: r.Action, Result: r.Result,
		Message: r.Message, ClusterID: r.ClusterID.ID, ClusterName: r.ClusterName, NodeName: r.NodeName, Security: r.Security,
	}
}

type audit struct{ *unit }

func (s audit) Append(ctx context.Context, events ...store.AuditEvent) error {
	return appendRows(ctx, s.unit, events, toAuditRow)
}

func (s audit) List(ctx context.Context, f store.AuditFilter, q page.Query) (page.Of[store.AuditEvent], error) {
	if err := plain(f.ResourceType, f.Action); err != nil {
		return page.Of[store.AuditEvent]{}, err
	}
	if !f.SecurityOnly && f.ResourceType == "" && f.Action == "" {
		return s.ofKinds(ctx, f.Actor, nil, q)
	}
	kinds, err := s.kinds(ctx, f)
	if err != nil || len(kinds) == 0 {
		return page.Of[store.AuditEvent]{}, err
	}
	return s.ofKinds(ctx, f.Actor, kinds, q)
}

// auditKind is what filters tell audit events apart by. Triggers keep a table
// of all kinds that there are, a few dozen.
type auditKind struct {
	ResourceType string
	Action       string
	Security     bool
}

// kinds returns the kinds of events that f lets through.
func (s audit) kinds(ctx context.Context, f store.AuditFilter) (kinds []auditKind, err error) {
	if err := s.reads(); err != nil {
		return nil, err
	}
	q := s.db.NewSelect().TableExpr("audit_kinds AS k").ColumnExpr("k.resource_type, k.action, k.security")
	if f.SecurityOnly {
		q.Where("k.security")
	}
	if f.ResourceType != "" {
		q.Where("k.resource_type = ?", f.ResourceType)
	}
	if f.Action != "" {
		q.Where("k.action = ?", f.Action)
	}
	return kinds, q.Scan(ctx, &kinds)
}

// ofKinds lists the events of the given kinds, nil meaning all.
func (s audit) ofKinds(ctx context.Context, actor id.User, kinds []auditKind, q page.Query) (page.Of[store.AuditEvent], error) {
	idOf := func(e store.AuditEvent) string { return e.ID.String() }
	ofActor := func(q *bun.SelectQuery) {
		if !actor.IsZero() {
			q.Where("a.actor_user_id = ?", actor.String())
		}
	}
	if kinds == nil {
		return list[auditRow](ctx, s.unit, q, idOf, ofActor)
	}
	var each []func(*bun.SelectQuery)
	for _, k := range kinds {
		each = append(each, func(q *bun.SelectQuery) {
			q.Where("a.resource_type = ?", k.ResourceType).Where("a.action = ?", k.Action).Where("a.security = ?", k.Security)
			ofActor(q)
		})
	}
	return newestOf[auditRow](ctx, s.unit, q, idOf, each)
}
