package tenant

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Around is called before a call, by the method's name; what it returns is the
// context of the call, and what is called with its outcome.
type Around = func(ctx context.Context, call string) (context.Context, func(error))

// Intercept puts around about every call of the tenants that c opens, but for
// Watch, which lasts. Of Logs and Passage it hears until they are open.
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

func (i intercepted) List(ctx context.Context, k Kind, q Query) (p Page, err error) {
	ctx, done := i.around(ctx, "List")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.List(ctx, k, q)
}

func (i intercepted) Get(ctx context.Context, k Kind, namespace, name string) (o Object, err error) {
	ctx, done := i.around(ctx, "Get")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Get(ctx, k, namespace, name)
}

func (i intercepted) Create(ctx context.Context, k Kind, namespace string, o Object) (made Object, err error) {
	ctx, done := i.around(ctx, "Create")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Create(ctx, k, namespace, o)
}

func (i intercepted) Replace(ctx context.Context, k Kind, namespace, name string, o Object) (now Object, err error) {
	ctx, done := i.around(ctx, "Replace")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Replace(ctx, k, namespace, name, o)
}

func (i intercepted) Patch(ctx context.Context, k Kind, namespace, name string, patch Object) (now Object, err error) {
	ctx, done := i.around(ctx, "Patch")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Patch(ctx, k, namespace, name, patch)
}

func (i intercepted) Delete(ctx context.Context, k Kind, namespace, name string, o DeleteOptions) (err error) {
	ctx, done := i.around(ctx, "Delete")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Delete(ctx, k, namespace, name, o)
}

func (i intercepted) Logs(ctx context.Context, q LogQuery) (r io.ReadCloser, err error) {
	ctx, done := i.around(ctx, "Logs")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Logs(ctx, q)
}

func (i intercepted) Passage(ctx context.Context) (base *url.URL, rt http.RoundTripper, err error) {
	ctx, done := i.around(ctx, "Passage")
	err = errPanicked // until the call returns
	defer func() { done(err) }()
	return i.Tenant.Passage(ctx)
}
