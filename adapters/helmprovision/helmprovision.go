// Package helmprovision implements provision.Provisioner, provision.Catalog and
// provision.Insider on a host Kubernetes cluster: every cluster is a vCluster,
// installed with Helm into a namespace of its own.
package helmprovision

import (
	"context"
	"errors"
	"slices"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// Provisioner is safe for concurrent use, from Start to Stop.
type Provisioner struct {
	config Config
}

// New checks the Config. It touches nothing.
func New(c Config) (*Provisioner, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Provisioner{config: c}, nil
}

var errNotYet = fault.Unavailable.New("host_unreachable", "The host cluster is not being watched.")

// Start begins to watch the host cluster. It does not fail because that is away.
func (p *Provisioner) Start(context.Context) error { return nil }

// Stop ends what Start began.
func (p *Provisioner) Stop(context.Context) error { return nil }

// Ping says whether clusters can be provisioned, and why not.
func (p *Provisioner) Ping(context.Context) error { return errNotYet }

// Versions implements provision.Catalog.
func (p *Provisioner) Versions() []provision.Version { return slices.Clone(p.config.Versions) }

// Apply implements provision.Provisioner.
func (p *Provisioner) Apply(context.Context, provision.Want) error { return errNotYet }

// Observe implements provision.Provisioner.
func (p *Provisioner) Observe(context.Context, id.Cluster) (provision.Observed, error) {
	return provision.Observed{}, errNotYet
}

// Await implements provision.Provisioner.
func (p *Provisioner) Await(ctx context.Context, _ id.Cluster, _ provision.Observed) (provision.Observed, error) {
	<-ctx.Done()
	return provision.Observed{}, errors.Join(ctx.Err())
}

// Destroy implements provision.Provisioner.
func (p *Provisioner) Destroy(context.Context, id.Cluster) error { return errNotYet }

// Kubeconfig implements provision.Provisioner.
func (p *Provisioner) Kubeconfig(context.Context, id.Cluster) (secret.Text, error) {
	return secret.Text{}, errNotYet
}

// Inside implements provision.Insider.
func (p *Provisioner) Inside(context.Context, id.Cluster) (secret.Text, error) {
	return secret.Text{}, errNotYet
}
