// Package tenants opens the way into a cluster: into a hosted one with the
// kubeconfig from provisioning, into an imported one with its own.
package tenants

import (
	"context"
	"errors"
	"fmt"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Door opens tenants.
type Door struct {
	Provisioner provision.Provisioner
	Connector   tenant.Connector
	// Imported returns the kubeconfig of a cluster that others run; ok is false
	// for one that is hosted. Nil: there are none.
	Imported func(ctx context.Context, cluster id.Cluster) (kubeconfig secret.Text, ok bool, err error)
	// Guests connects to clusters that others run, whose addresses somebody chose.
	// Nil: Connector does.
	Guests tenant.Connector
}

// Open returns the tenant of a cluster. It fails with fault.Unavailable while
// there is no way in.
func (d Door) Open(ctx context.Context, cluster id.Cluster) (tenant.Tenant, error) {
	if d.Imported != nil {
		if kubeconfig, ok, err := d.Imported(ctx, cluster); ok || err != nil {
			return d.guest(ctx, cluster, kubeconfig, err)
		}
	}
	kubeconfig, err := d.kubeconfig(ctx, cluster)
	if errors.Is(err, fault.NotFound) {
		return nil, fault.Unavailable.New("cluster_unreachable", "The control plane of this cluster is not there.").Because(err)
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	in, err := d.Connector.Connect(ctx, cluster, kubeconfig)
	if errors.Is(err, fault.Invalid) { // the platform's own kubeconfig: nothing that the caller could mend
		return nil, fault.Unavailable.New("cluster_unreachable", "The platform has no working way into this cluster.").Because(err)
	}
	return in, err
}

// Guest connects with a kubeconfig that somebody has brought.
func (d Door) Guest(ctx context.Context, cluster id.Cluster, kubeconfig secret.Text) (tenant.Tenant, error) {
	if d.Guests != nil {
		return d.Guests.Connect(ctx, cluster, kubeconfig)
	}
	return d.Connector.Connect(ctx, cluster, kubeconfig)
}

func (d Door) guest(ctx context.Context, cluster id.Cluster, kubeconfig secret.Text, err error) (tenant.Tenant, error) {
	if err != nil {
		return nil, fmt.Errorf("read the credential: %w", err)
	}
	in, err := d.Guest(ctx, cluster, kubeconfig)
	if errors.Is(err, fault.Invalid) { // it was good when it was registered
		return nil, fault.Unavailable.New("cluster_unreachable", "The registered credential does not lead into this cluster any more. Register it anew.").Because(err)
	}
	return in, err
}

// kubeconfig takes the way inside where there is one: users choose the published
// address, and the platform must neither depend on it nor be sent anywhere by it.
func (d Door) kubeconfig(ctx context.Context, cluster id.Cluster) (secret.Text, error) {
	if in, ok := d.Provisioner.(provision.Insider); ok {
		return in.Inside(ctx, cluster)
	}
	return d.Provisioner.Kubeconfig(ctx, cluster)
}
