package tenant

import (
	"context"
	"errors"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Around is called before a call, by the method's name; what it returns is the
// context of the call, and what is called with its outcome.
type Around = func(ctx context.Context, call string) (context.Context, func(error))

// Intercept puts around about every call of the tenants that c opens, but for
// Watch, which lasts.
func Intercept(c Connector, around Around) Connector { return connector{c, around} }

type connector struct {
	inner  Connector
	around Around
}

func (c connector) Connect(ctx context.Context, cluster id.Cluster, kubeconfig secret.Text) (Tenant, error) {
	in, err := c.inner.Connect(ctx, cluster, kubeconfig)
	if err != nil {
		return nil, err
	}
	return intercepted{in, c.around}, nil
}

var errPanicked = errors.New("the tenant's client has panicked")

type intercepted struct {
	Tenant
	around Around
}

func (i intercepted) Probe(ctx context.Context) (version string, err error) {
	ctx, done := i.around(ctx, "Probe")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Probe(ctx)
}

func (i intercepted) Contents(ctx context.Context) (c Contents, err error) {
	ctx, done := i.around(ctx, "Contents")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Contents(ctx)
}

func (i intercepted) PrepareJoin(ctx context.Context) (err error) {
	ctx, done := i.around(ctx, "PrepareJoin")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.PrepareJoin(ctx)
}

func (i intercepted) Endpoint(ctx context.Context) (e Endpoint, err error) {
	ctx, done := i.around(ctx, "Endpoint")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Endpoint(ctx)
}

func (i intercepted) PutBootstrapToken(ctx context.Context, t BootstrapToken) (err error) {
	ctx, done := i.around(ctx, "PutBootstrapToken")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.PutBootstrapToken(ctx, t)
}

func (i intercepted) DeleteBootstrapToken(ctx context.Context, bootstrapID string) (err error) {
	ctx, done := i.around(ctx, "DeleteBootstrapToken")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.DeleteBootstrapToken(ctx, bootstrapID)
}

func (i intercepted) DecideJoin(ctx context.Context, seen JoinRequest, approve bool, reason string) (err error) {
	ctx, done := i.around(ctx, "DecideJoin")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.DecideJoin(ctx, seen, approve, reason)
}

func (i intercepted) Node(ctx context.Context, node string) (n Node, err error) {
	ctx, done := i.around(ctx, "Node")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Node(ctx, node)
}

func (i intercepted) SetUnschedulable(ctx context.Context, node string, unschedulable bool) (n Node, err error) {
	ctx, done := i.around(ctx, "SetUnschedulable")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.SetUnschedulable(ctx, node, unschedulable)
}

func (i intercepted) Drain(ctx context.Context, node string, o DrainOptions) (r DrainReport, err error) {
	ctx, done := i.around(ctx, "Drain")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Drain(ctx, node, o)
}

func (i intercepted) DeleteNode(ctx context.Context, node string) (err error) {
	ctx, done := i.around(ctx, "DeleteNode")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.DeleteNode(ctx, node)
}
