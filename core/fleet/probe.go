package fleet

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// probeTimeout is how long a cluster has to answer when it is tried.
const probeTimeout = 10 * time.Second

// Probe is what a cluster answered when it was tried.
type Probe struct {
	Version  string
	Contents tenant.Contents
	Latency  time.Duration
}

// Test asks a cluster of the fleet whether it answers. It fails with
// fault.Unavailable and the reason if it does not.
func (s *Service) Test(ctx context.Context, number int64) (store.Member, Probe, error) {
	m, err := s.Get(ctx, number)
	if err != nil {
		return m, Probe{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	in, err := s.Open(ctx, m)
	if err != nil {
		return m, Probe{}, err
	}
	p, err := s.probe(ctx, in)
	return m, p, err
}

// TestNew asks a cluster that is not of the fleet, with a credential that is not
// kept.
func (s *Service) TestNew(ctx context.Context, c Credential) (Probe, error) {
	who, err := registers(ctx)
	if err != nil {
		return Probe{}, err
	}
	to, _, err := s.resolve(who, c)
	if err != nil {
		return Probe{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	in, err := s.deps.Door.Guest(ctx, id.New[id.ClusterKind](s.deps.Now(), s.deps.Random()), to.Kubeconfig)
	if err != nil {
		return Probe{}, err
	}
	return s.probe(ctx, in)
}

func (s *Service) probe(ctx context.Context, in tenant.Tenant) (p Probe, err error) {
	began := s.deps.Now()
	if p.Version, err = in.Probe(ctx); err != nil {
		return p, err
	}
	p.Latency = s.deps.Now().Sub(began)
	p.Contents, err = in.Contents(ctx)
	return p, err
}
