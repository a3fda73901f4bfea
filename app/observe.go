package app

import (
	"context"
	"net/http"

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
	// Request begins before a request is answered. It is told whether a trusted
	// proxy sent it, whose headers may be believed; what it returns is the
	// request's context, and what is called with its answer.
	Request func(r *http.Request, trusted bool) (context.Context, func(method, route string, status int))
	// Attempt begins before an attempt at a job.
	Attempt func(ctx context.Context, job store.Job) (context.Context, func(reconcile.Outcome))
	Watch   watch.Observer

	Store     func(store.Store) store.Store
	Provision provision.Around
	Tenant    tenant.Around
	Bus       func(bus.Bus) bus.Bus
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
	}
	if o.Bus != nil {
		b.Bus = o.Bus(b.Bus)
	}
	return b
}

type requestObserver = func(r *http.Request, trusted bool) (context.Context, func(method, route string, status int))

// aroundRequest puts outer about inner; either may be nil.
func aroundRequest(outer, inner requestObserver) requestObserver {
	switch {
	case outer == nil:
		return inner
	case inner == nil:
		return outer
	}
	return func(r *http.Request, trusted bool) (context.Context, func(method, route string, status int)) {
		ctx, end := outer(r, trusted)
		ctx, done := inner(r.WithContext(ctx), trusted)
		return ctx, func(method, route string, status int) {
			done(method, route, status)
			end(method, route, status)
		}
	}
}
