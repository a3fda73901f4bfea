// Package fleet is every cluster that can be reached, hosted or imported, by
// number: which there are, what is known of them, and the way into each. It
// registers clusters that others run; the life of hosted ones is for package
// clusters, what people do inside for package workloads.
//
// An imported cluster is an ordinary record with an origin of its own: package
// watch follows it, its nodes are listed, its events are audited like those of
// the others. Nothing is made, changed or removed in it by registering it.
package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Deps are what a Service cannot work without.
type Deps struct {
	Store    store.Store
	Seal     seal.Sealer
	Door     tenants.Door
	Reader   tenant.Reader
	Clusters *clusters.Service // whose clusters are hosted
	Now      func() time.Time
	Random   id.Random
	// Committed is called after a change that watchers should look at; it does not
	// block.
	Committed func()
}

// Service is the only way for people to change the fleet.
type Service struct {
	deps    Deps
	journal journal.Journal
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Service, error) {
	if d.Store == nil || d.Seal == nil || d.Door.Provisioner == nil || d.Door.Connector == nil || d.Reader == nil ||
		d.Clusters == nil || d.Now == nil || d.Random == nil || d.Committed == nil {
		return nil, errors.New("fleet: every field of Deps must be set")
	}
	return &Service{deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}}, nil
}

// Status is what a cluster of the fleet is like for those who use it.
type Status string

const (
	Online  Status = "online"
	Offline Status = "offline" // it was reached once, or should be by now
	Unknown Status = "unknown" // nobody has looked yet, or nobody is to
)

// StatusOf says how a member is.
func StatusOf(m store.Member) Status {
	switch c := clusters.Of(m.Cluster); {
	case m.Entry.Disabled:
		return Unknown
	case c.Connection() == clusters.Reachable:
		return Online
	case c.Connection() == clusters.Unreachable, c.Connection() == clusters.ConnectionInError:
		return Offline
	}
	return Unknown
}

// readyNode is the status of a node that works, as package nodes writes it.
const readyNode = "ready"

// Nodes counts a member's nodes, and those that are ready.
func Nodes(m store.Member) (all, ready int) {
	for status, n := range m.Nodes {
		all += n
		if status == readyNode {
			ready += n
		}
	}
	return all, ready
}

// Get returns the cluster of a number that the actor may see.
func (s *Service) Get(ctx context.Context, number int64) (store.Member, error) {
	return s.read(ctx, func(ctx context.Context, tx store.Tx, scope store.Scope) (store.Member, error) {
		return tx.Fleet().ByNumber(ctx, scope, number)
	})
}

// Named returns the cluster of a name that the actor may see.
func (s *Service) Named(ctx context.Context, name string) (store.Member, error) {
	return s.read(ctx, func(ctx context.Context, tx store.Tx, scope store.Scope) (store.Member, error) {
		return tx.Fleet().ByName(ctx, scope, name)
	})
}

// Default returns the default cluster, if the actor may see it.
func (s *Service) Default(ctx context.Context) (store.Member, error) {
	return s.read(ctx, func(ctx context.Context, tx store.Tx, scope store.Scope) (store.Member, error) {
		return tx.Fleet().Default(ctx, scope)
	})
}

func (s *Service) read(ctx context.Context, find func(context.Context, store.Tx, store.Scope) (store.Member, error)) (m store.Member, err error) {
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return m, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		m, err = find(ctx, tx, scope)
		return err
	})
	return m, err
}

// MaxPage is how many clusters a page of a list may have.
const MaxPage = 10_000

// Page is a part of the fleet.
type Page struct {
	Members []store.Member
	Total   int
}

// List returns limit clusters that the actor may see after the first offset
// ones, by number, and how many there are in all.
func (s *Service) List(ctx context.Context, f store.FleetFilter, offset, limit int) (p Page, err error) {
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return p, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		p.Members, p.Total, err = tx.Fleet().List(ctx, scope, f, max(offset, 0), min(max(limit, 0), MaxPage))
		return err
	})
	return p, err
}

// Open returns the way into a cluster of the fleet that the actor may see. It
// fails with fault.Unavailable while there is none, and with fault.Conflict,
// code cluster_disabled, for one that is disabled.
func (s *Service) Open(ctx context.Context, m store.Member) (tenant.Tenant, error) {
	if m.Entry.Disabled {
		return nil, disabled()
	}
	return s.deps.Door.Open(ctx, m.Cluster.ID)
}

// registers refuses unless the actor in ctx may register clusters, and change
// what is registered: admins and operators.
func registers(ctx context.Context) (actor.Actor, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return who, err
	}
	if who.Role != actor.Admin && who.Role != actor.Operator {
		return who, access.Forbidden()
	}
	return who, nil
}
