// Package telemetry gives the server's programs the metrics that they serve, and
// the traces that they send.
package telemetry

import (
	"context"
	"log/slog"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/oteltrace"
	"github.com/kubebyon/kubebyon/adapters/prommetrics"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Metrics counts and times what the server does.
type Metrics = prommetrics.Metrics

// NewMetrics makes metrics of a program of that version.
func NewMetrics(version string) *Metrics { return prommetrics.New(version) }

// Traces are sent to a collector. Nil is none.
type Traces = oteltrace.Traces

// NewTraces returns nil unless the environment names a collector, by
// OpenTelemetry's own names. Stop must follow.
func NewTraces(ctx context.Context, service, version string, log *slog.Logger) (*Traces, error) {
	if !oteltrace.Wanted() {
		return nil, nil //nolint:nilnil // nil is a Traces that makes none
	}
	return oteltrace.New(ctx, service, version, log)
}

// Log has every line say which trace it belongs to.
func Log(next slog.Handler) slog.Handler { return oteltrace.Log(next) }

// Observe makes metrics and traces of what a platform does; either may be nil.
func Observe(m *Metrics, t *Traces) app.Observe {
	var o app.Observe
	if m != nil {
		o = measured(m)
	}
	if t != nil {
		o = traced(o, t)
	}
	return o
}

func measured(m *Metrics) app.Observe {
	return app.Observe{
		Request: m.Request,
		Attempt: func(ctx context.Context, job store.Job) (context.Context, func(reconcile.Outcome)) {
			done := m.Attempt(job.Type)
			return ctx, func(o reconcile.Outcome) { done(string(o)) }
		},
		Delivery: notifications.Observer{Begun: func(channel string) func(notifications.Outcome) {
			done := m.Delivery(channel)
			return func(o notifications.Outcome) { done(string(o)) }
		}},
		Watch: watch.Observer{Following: m.Following, Acquired: m.Acquired, Restarted: m.Restarted},
		Store: m.Store, Provision: m.Provision, Tenant: m.Tenant, Bus: m.Bus,
	}
}

// traced puts traces around what o does.
func traced(o app.Observe, t *Traces) app.Observe {
	inner := o
	o.Request = httpapi.Observer(t.Request).Around(inner.Request)
	o.Attempt = func(ctx context.Context, job store.Job) (context.Context, func(reconcile.Outcome)) {
		ctx, end := t.Attempt(ctx, job)
		done := func(reconcile.Outcome) {}
		if inner.Attempt != nil {
			ctx, done = inner.Attempt(ctx, job)
		}
		return ctx, func(o reconcile.Outcome) {
			done(o)
			end(string(o), isGood(o))
		}
	}
	o.Store = func(s store.Store) store.Store {
		if inner.Store != nil {
			s = inner.Store(s)
		}
		return t.Store(s)
	}
	o.Provision, o.Tenant = both(t.Provision, inner.Provision), both(t.Tenant, inner.Tenant)
	o.Bus = func(b bus.Bus) bus.Bus {
		if inner.Bus != nil {
			b = inner.Bus(b)
		}
		return bus.Intercept(b, t.Bus)
	}
	return o
}

// isGood tells what is no error: a process that ends and a cluster that is
// deleted while it is made are nobody's fault.
func isGood(o reconcile.Outcome) bool {
	return o == reconcile.Succeeded || o == reconcile.Superseded || o == reconcile.Interrupted
}

type around = func(ctx context.Context, call string) (context.Context, func(error))

func both(outer, inner around) around {
	if inner == nil {
		return outer
	}
	return func(ctx context.Context, call string) (context.Context, func(error)) {
		ctx, end := outer(ctx, call)
		ctx, done := inner(ctx, call)
		return ctx, func(err error) { done(err); end(err) }
	}
}
