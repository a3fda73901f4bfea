package coretest

import (
	"context"
	"slices"
	"sync"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// Planes are control planes that do what a test says and no more.
type Planes struct {
	// Slow planes stay pending when applied, until Put says otherwise.
	Slow bool
	// OnApply, OnDestroy and OnKubeconfig run first, where they are set; what
	// they return ends the call.
	OnApply      func(ctx context.Context, w provision.Want) error
	OnDestroy    func(ctx context.Context, c id.Cluster) error
	OnKubeconfig func(ctx context.Context, c id.Cluster) error

	mu      sync.Mutex
	changed bell.Bell
	seen    map[id.Cluster]provision.Observed
	wants   map[id.Cluster][]provision.Want
}

var (
	_ provision.Provisioner = (*Planes)(nil)
	_ provision.Catalog     = (*Planes)(nil)
)

// Kubeconfig is in every plane's kubeconfig.
const Kubeconfig = "apiVersion: v1 # the-kubeconfig"

// Versions are two.
func (p *Planes) Versions() []provision.Version {
	return []provision.Version{{Name: "v1.36.3"}, {Name: "v1.35.0", Emulated: true}}
}

// Put makes a plane look like o.
func (p *Planes) Put(c id.Cluster, o provision.Observed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen, p.wants = map[id.Cluster]provision.Observed{}, map[id.Cluster][]provision.Want{}
	}
	p.seen[c] = o
	p.changed.Ring()
}

// Up is a plane that has arrived.
func Up() provision.Observed {
	return provision.Observed{Phase: provision.Ready, Endpoint: "https://127.0.0.1:6443", Port: 30443}
}

// Wants returns what was applied, oldest first.
func (p *Planes) Wants(c id.Cluster) []provision.Want {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.wants[c])
}

// Apply moves a plane toward want.
func (p *Planes) Apply(ctx context.Context, w provision.Want) error {
	if p.OnApply != nil {
		if err := p.OnApply(ctx, w); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	next := Up()
	if p.Slow {
		next = provision.Observed{Phase: provision.Pending, Stage: provision.InstallingChart}
	}
	p.Put(w.ID, next)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wants[w.ID] = append(p.wants[w.ID], w)
	return nil
}

// Observe looks.
func (p *Planes) Observe(ctx context.Context, c id.Cluster) (provision.Observed, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o, ok := p.seen[c]; ok {
		return o, ctx.Err()
	}
	return provision.Observed{Phase: provision.Absent}, ctx.Err()
}

// Await waits.
func (p *Planes) Await(ctx context.Context, c id.Cluster, seen provision.Observed) (provision.Observed, error) {
	for {
		changed := p.changed.C()
		if now, err := p.Observe(ctx, c); err != nil || now != seen {
			return now, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return seen, ctx.Err()
		}
	}
}

// Destroy removes a plane.
func (p *Planes) Destroy(ctx context.Context, c id.Cluster) error {
	if p.OnDestroy != nil {
		if err := p.OnDestroy(ctx, c); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.seen, c)
	p.changed.Ring()
	return ctx.Err()
}

// Kubeconfig is there for planes that have arrived or failed since.
func (p *Planes) Kubeconfig(ctx context.Context, c id.Cluster) (secret.Text, error) {
	if p.OnKubeconfig != nil {
		if err := p.OnKubeconfig(ctx, c); err != nil {
			return secret.Text{}, err
		}
	}
	o, err := p.Observe(ctx, c)
	switch {
	case err != nil:
		return secret.Text{}, err
	case o.Phase == provision.Absent:
		return secret.Text{}, fault.NotFound.New("control_plane_not_found", "There is no such control plane.")
	case o.Phase == provision.Pending:
		return secret.Text{}, fault.Unavailable.New("kubeconfig_pending", "There is no kubeconfig yet.")
	}
	return secret.New(Kubeconfig), nil
}
