package app

import (
	"context"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Observe is what metrics and traces are made from. What is nil is not called;
// the zero value is nobody. Package app/telemetry fills it in.
type Observe struct {
	// Request is told of every request to the API.
	Request httpapi.Observer
	// Attempt begins before an attempt at a job.
	Attempt func(ctx context.Context, job store.Job) (context.Context, func(reconcile.Outcome))
	Watch   watch.Observer
	// Delivery is told of the messages that go out.
	Delivery notifications.Observer

	Store     func(store.Store) store.Store
	Provision provision.Around
	Tenant    tenant.Around
	Bus       func(bus.Bus) bus.Bus
}

// guests keeps the Reader of what is intercepted.
type guests struct {
	tenant.Connector
	tenant.Reader
}

// about puts o about the backends. What they are besides their ports they stay.
func (o Observe) about(b backends) backends {
	if o.Store != nil {
		b.Store = o.Store(b.Store)
	}
	if o.Provision != nil {
		b.Provisioner = provision.Intercept(b.Provisioner, o.Provision)
	}
	if o.Tenant != nil {
		b.Tenants = tenant.Intercept(b.Tenants, o.Tenant)
		b.Guests = guests{tenant.Intercept(b.Guests, o.Tenant), b.Guests}
	}
	if o.Bus != nil {
		b.Bus = o.Bus(b.Bus)
	}
	return b
}
