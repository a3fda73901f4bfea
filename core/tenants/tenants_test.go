package tenants_test

import (
	"context"
	"errors"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// reader notes the kubeconfig that it is given.
type reader struct {
	tenant.Connector
	given secret.Text
}

func (r *reader) Connect(ctx context.Context, c id.Cluster, k secret.Text) (tenant.Tenant, error) {
	r.given = k
	return r.Connector.Connect(ctx, c, k)
}

func TestTheDoorOpensWithTheKubeconfigOfProvisioning(t *testing.T) {
	t.Parallel()
	planes, r := &coretest.Planes{}, &reader{Connector: memtenant.New()}
	c := id.New[id.ClusterKind](coretest.Start, [10]byte{1})
	planes.Put(c, coretest.Up())
	in, err := tenants.Door{Provisioner: planes, Connector: r}.Open(t.Context(), c)
	if err != nil || r.given.Reveal() != coretest.Kubeconfig {
		t.Fatal(err)
	}
	if v, err := in.Probe(t.Context()); err != nil || v != "v1.36.3" {
		t.Errorf("%s, %v", v, err)
	}
}

func TestAClosedDoorIsUnavailableNeverAbsent(t *testing.T) {
	t.Parallel()
	planes := &coretest.Planes{}
	door := tenants.Door{Provisioner: planes, Connector: memtenant.New()}
	c := id.New[id.ClusterKind](coretest.Start, [10]byte{1})
	if _, err := door.Open(t.Context(), c); fault.KindOf(err) != fault.Unavailable || errors.Is(err, fault.NotFound) || fault.CodeOf(err) != "cluster_unreachable" {
		t.Errorf("no control plane: %v", err)
	}
	planes.Put(c, provision.Observed{Phase: provision.Pending})
	if _, err := door.Open(t.Context(), c); !errors.Is(err, fault.Unavailable) {
		t.Errorf("one on its way: %v", err)
	}
}
