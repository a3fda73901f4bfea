// Package tenants opens the way into a hosted cluster: the kubeconfig from
// provisioning, given to whatever talks to tenants.
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
}

// Open returns the tenant of a cluster. It fails with fault.Unavailable while
// there is no way in.
func (d Door) Open(ctx context.Context, cluster id.Cluster) (tenant.Tenant, error) {
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

// kubeconfig takes the way inside where there is one: users choose the published
// address, and the platform must neither depend on it nor be sent anywhere by it.
func (d Door) kubeconfig(ctx context.Context, cluster id.Cluster) (secret.Text, error) {
	if in, ok := d.Provisioner.(provision.Insider); ok {
		return in.Inside(ctx, cluster)
	}
	return d.Provisioner.Kubeconfig(ctx, cluster)
}
