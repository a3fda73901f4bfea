package oteltrace

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Request begins the span of a request; what it returns ends it. The path and
// the query are never looked at: they hold tokens. A trusted proxy that sends a
// traceparent has its trace continued. Anybody else's is only a link: strangers
// decide neither what is sampled nor in whose trace a request is found.
func (t *Traces) Request(r *http.Request, trusted bool) (context.Context, func(method, route string, status int)) {
	ctx, given := r.Context(), under(r.Context(), r.Header.Get("Traceparent"))
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	if trusted {
		ctx = given
	} else if link := trace.LinkFromContext(given); link.SpanContext.IsRemote() {
		options = append(options, trace.WithLinks(link))
	}
	ctx, span := t.tracer.Start(ctx, "HTTP", options...)
	return ctx, func(method, route string, status int) {
		name := method
		if route != "" {
			name += " " + route
			span.SetAttributes(attribute.String("http.route", route))
		}
		span.SetName(name)
		span.SetAttributes(attribute.String("http.request.method", method), attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// Attempt begins the span of an attempt at a job, which belongs to the request
// that asked for it; what it returns ends it.
func (t *Traces) Attempt(ctx context.Context, job store.Job) (context.Context, func(outcome string, good bool)) {
	ctx, span := t.tracer.Start(under(ctx, job.Trace), "job "+job.Type, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("kubebyon.job.id", job.ID.String()), attribute.String("kubebyon.cluster.id", job.ClusterID.String()),
		attribute.String("kubebyon.job.type", job.Type), attribute.Int("kubebyon.job.attempt", job.AttemptCount)))
	return ctx, func(outcome string, good bool) {
		span.SetAttributes(attribute.String("kubebyon.job.outcome", outcome))
		if !good {
			span.SetStatus(codes.Error, outcome)
		}
		span.End()
	}
}

// Provision is a provision.Around.
func (t *Traces) Provision(ctx context.Context, call string) (context.Context, func(error)) {
	return t.within(ctx, "provision "+call)
}

// Tenant is a tenant.Around.
func (t *Traces) Tenant(ctx context.Context, call string) (context.Context, func(error)) {
	return t.within(ctx, "tenant "+call)
}

// Bus is a bus.Around. What is published was asked for by many: it is a trace of
// its own, with a link to each span that wrote a message. A message that is
// handled only tells that there may be something to do, and is none.
func (t *Traces) Bus(ctx context.Context, call string, msgs ...bus.Message) (context.Context, func(error)) {
	if call != bus.Publishing {
		return ctx, func(error) {}
	}
	return t.begin(ctx, "bus publish", trace.WithSpanKind(trace.SpanKindProducer), trace.WithLinks(writers(msgs)...),
		trace.WithAttributes(attribute.Int("messaging.batch.message_count", len(msgs))))
}

// writers are links to the spans that wrote messages, one to each.
func writers(msgs []bus.Message) (links []trace.Link) {
	known := map[string]bool{}
	for _, m := range msgs {
		from := writer(m.Body)
		if from == "" || known[from] {
			continue
		}
		known[from] = true
		if link := trace.LinkFromContext(under(context.Background(), from)); link.SpanContext.IsValid() {
			links = append(links, link)
		}
	}
	return links
}

// Store traces units of work, and lets every job and message that is written know
// the trace that it belongs to.
func (t *Traces) Store(s store.Store) store.Store { return traced{s, t} }

type traced struct {
	store.Store
	t *Traces
}

func (s traced) InTx(ctx context.Context, do func(ctx context.Context, tx store.Tx) error) error {
	ctx, done := s.t.within(ctx, "store write")
	err := s.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, tracedTx{tx}) })
	done(err)
	return err
}

func (s traced) View(ctx context.Context, do func(ctx context.Context, tx store.Tx) error) error {
	ctx, done := s.t.within(ctx, "store read")
	err := s.Store.View(ctx, do)
	done(err)
	return err
}

type tracedTx struct{ store.Tx }

func (x tracedTx) Jobs() store.Jobs { return tracedJobs{x.Tx.Jobs()} }

func (x tracedTx) Outbox() store.Outbox { return tracedOutbox{x.Tx.Outbox()} }

type tracedOutbox struct{ store.Outbox }

func (o tracedOutbox) Append(ctx context.Context, msgs ...store.OutboxMessage) error {
	msgs = slices.Clone(msgs)
	for i, m := range msgs {
		msgs[i].Body = written(m.Body, parent(ctx))
	}
	return o.Outbox.Append(ctx, msgs...)
}

// written puts a traceparent into the JSON object that a message is. Whoever reads
// it for something else does not look at it.
func written(body []byte, traceparent string) []byte {
	rest, isObject := bytes.CutPrefix(body, []byte("{"))
	if traceparent == "" || !isObject || bytes.HasPrefix(bytes.TrimSpace(rest), []byte("}")) {
		return body
	}
	return slices.Concat([]byte(`{"traceparent":"`+traceparent+`",`), rest)
}

// writer is the traceparent in a message; empty: it holds none.
func writer(body []byte) string {
	var m struct {
		Traceparent string `json:"traceparent"`
	}
	if json.Unmarshal(body, &m) != nil {
		return ""
	}
	return m.Traceparent
}

type tracedJobs struct{ store.Jobs }

func (s tracedJobs) Insert(ctx context.Context, j store.Job) error {
	if j.Trace == "" {
		j.Trace = parent(ctx)
	}
	return s.Jobs.Insert(ctx, j)
}
