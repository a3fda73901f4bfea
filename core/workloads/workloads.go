// Package workloads is what people see and do inside a cluster of the fleet:
// its namespaces, workloads, pods, their logs, services, configuration, storage.
// Nothing of it is kept here: it is read from the cluster's API when somebody
// asks, and written there in their name. What was written, or failed to be, is
// on record.
package workloads

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Deps are what a Service cannot work without.
type Deps struct {
	Store  store.Store
	Fleet  *fleet.Service
	Now    func() time.Time
	Random id.Random
}

// Service is the only way for people into clusters, but for the pass-through.
type Service struct {
	deps    Deps
	journal journal.Journal
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Service, error) {
	if d.Store == nil || d.Fleet == nil || d.Now == nil || d.Random == nil {
		return nil, errors.New("workloads: every field of Deps must be set")
	}
	return &Service{deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}}, nil
}

// Ref names an object of a cluster.
type Ref struct {
	Kind            Kind
	Namespace, Name string
}

// String is how messages and the audit stream name it.
func (r Ref) String() string {
	if r.Kind.Namespaced && r.Namespace != "" {
		return r.Namespace + "/" + r.Name
	}
	return r.Name
}

// List returns a part of the objects of a kind.
func (s *Service) List(ctx context.Context, cluster int64, k Kind, q tenant.Query) (tenant.Page, error) {
	ctx, _, in, err := s.enter(ctx, cluster)
	if err != nil {
		return tenant.Page{}, err
	}
	return in.List(ctx, k.Kind, q)
}

// Get returns one object.
func (s *Service) Get(ctx context.Context, cluster int64, r Ref) (tenant.Object, error) {
	ctx, _, in, err := s.enter(ctx, cluster)
	if err != nil {
		return nil, err
	}
	return in.Get(ctx, r.Kind.Kind, r.Namespace, r.Name)
}

// MaxTail is how many lines of a log can be asked for; DefaultTail how many
// there are without asking.
const (
	DefaultTail = 100
	MaxTail     = 5000
)

// Logs opens what a container has written. Whoever gets it closes it.
func (s *Service) Logs(ctx context.Context, cluster int64, q tenant.LogQuery) (io.ReadCloser, error) {
	ctx, _, in, err := s.enter(ctx, cluster)
	if err != nil {
		return nil, err
	}
	return in.Logs(ctx, q)
}

// enter opens a cluster that the actor may see; calls with the context that it
// returns are made in their name.
func (s *Service) enter(ctx context.Context, cluster int64) (context.Context, store.Member, tenant.Tenant, error) {
	who, _, err := access.Reads(ctx)
	if err != nil {
		return ctx, store.Member{}, nil, err
	}
	m, err := s.deps.Fleet.Get(ctx, cluster)
	if err != nil {
		return ctx, m, nil, err
	}
	name, err := s.nameOf(ctx, who)
	if err != nil {
		return ctx, m, nil, err
	}
	in, err := s.deps.Fleet.Open(ctx, m)
	return tenant.ActingFor(ctx, name), m, in, err
}

// nameOf is who a cluster's own audit should name; nobody for the platform.
func (s *Service) nameOf(ctx context.Context, who actor.Actor) (name string, err error) {
	if who.Type != actor.Person {
		return "", nil
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().Get(ctx, who.UserID)
		name = u.Email
		return err
	})
	return name, err
}

// mayWrite refuses unless who may change what is in a cluster that they can
// read: its owner, admins and operators.
func mayWrite(who actor.Actor, m store.Member) error {
	if who.Role == actor.Operator {
		return nil
	}
	return access.Manages(who, m.Cluster.OwnerUserID)
}
