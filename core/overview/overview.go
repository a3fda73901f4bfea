// Package overview reads what a person wants to see first: what they have, how
// it is, and what happened.
package overview

import (
	"context"
	"errors"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Service reads; it changes nothing.
type Service struct{ store store.Store }

// New refuses a missing store, so that wiring mistakes fail at start.
func New(s store.Store) (*Service, error) {
	if s == nil {
		return nil, errors.New("overview: a store is needed")
	}
	return &Service{s}, nil
}

// Overview is the state of everything that the actor may see.
type Overview struct {
	ClustersByStatus map[string]int
	Nodes            store.NodeTotals
	Recent           []store.AuditEvent // the actor's own, newest first
}

const recent = 10

// Overview sums up for the actor in ctx.
func (s *Service) Overview(ctx context.Context) (o Overview, err error) {
	who, scope, err := access.Reads(ctx)
	if err != nil {
		return o, err
	}
	err = s.store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		if o.ClustersByStatus, err = tx.Clusters().CountByStatus(ctx, scope, ""); err != nil {
			return err
		}
		if o.Nodes, err = tx.Nodes().Totals(ctx, scope); err != nil {
			return err
		}
		if who.UserID.IsZero() {
			return nil // no filter would not mean "own": it would mean everybody's
		}
		latest, err := tx.Audit().List(ctx, store.AuditFilter{Actor: who.UserID}, page.Query{Limit: recent})
		o.Recent = latest.Items
		return err
	})
	return o, err
}

// Filter narrows activities. A category other than "security" and "" matches
// nothing, so that a client which knows more categories than this server works.
type Filter struct {
	Category     string
	ResourceType string
	Action       string
}

// Activities returns what the actor in ctx did, newest first.
func (s *Service) Activities(ctx context.Context, f Filter, q page.Query) (page.Of[store.AuditEvent], error) {
	who, _, err := access.Reads(ctx)
	if err != nil || who.UserID.IsZero() {
		return page.Of[store.AuditEvent]{}, err
	}
	return s.list(ctx, f, store.AuditFilter{Actor: who.UserID}, q)
}

// AllActivities returns what anybody did, newest first, for admins.
func (s *Service) AllActivities(ctx context.Context, f Filter, q page.Query) (page.Of[store.AuditEvent], error) {
	if _, err := access.Administers(ctx); err != nil {
		return page.Of[store.AuditEvent]{}, err
	}
	return s.list(ctx, f, store.AuditFilter{}, q)
}

func (s *Service) list(ctx context.Context, f Filter, a store.AuditFilter, q page.Query) (out page.Of[store.AuditEvent], err error) {
	switch f.Category {
	case "":
	case "security":
		a.SecurityOnly = true
	default:
		return out, nil
	}
	a.ResourceType, a.Action = f.ResourceType, f.Action
	err = s.store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.Audit().List(ctx, a, q.Clamp())
		return err
	})
	return out, err
}
