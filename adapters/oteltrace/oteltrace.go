// Package oteltrace sends traces to an OpenTelemetry collector: of requests, of
// attempts at jobs, of what the relay publishes, and of the calls of the store,
// of tenants and of whatever makes control planes that these cause.
//
// A span says which call it is and how it ended, in words of a fixed few; it
// holds no argument, no path, no text of an error and no identifier but those of
// jobs and clusters. So nothing secret can be in one.
package oteltrace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Traces makes spans. Nil makes none.
type Traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// Wanted reports whether the environment names a collector.
func Wanted() bool {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

const (
	// mostSpans wait to be sent. More are dropped: whoever is traced never waits
	// for the collector.
	mostSpans = 4096
	// sendTimeout bounds one attempt to send and all that follow it.
	sendTimeout = 5 * time.Second
)

// New reads where to send traces, and everything else about them, from the
// environment, by OpenTelemetry's own names (OTEL_…). It connects to nothing
// yet, and nothing waits for the collector later.
func New(ctx context.Context, service, version string, log *slog.Logger) (*Traces, error) {
	if err := check(); err != nil {
		return nil, err
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv()) // the environment has the last word
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", errResource)
	}
	out, err := otlptracehttp.New(ctx,
		otlptracehttp.WithTimeout(sendTimeout),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: 2 * time.Second, MaxElapsedTime: sendTimeout}))
	if err != nil {
		return nil, errors.New("OTEL_EXPORTER_OTLP_…: traces cannot be sent as the environment says") // its own text may hold a header's value
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithResource(about),
		sdktrace.WithBatcher(&quiet{SpanExporter: out, log: log}, sdktrace.WithMaxQueueSize(mostSpans), sdktrace.WithExportTimeout(2*sendTimeout)))
	return &Traces{p, p.Tracer("github.com/kubebyon/kubebyon")}, nil
}

var errResource = errors.New("must be like key=value,key=value")

// check refuses what the library would complain of and then ignore. No error
// repeats a value: a URL may hold a password.
func check() error {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"} {
		u, err := url.Parse(os.Getenv(name))
		if err != nil || u.String() != "" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			return fmt.Errorf("%s: must be like http://collector.example.com:4318", name)
		}
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if p := os.Getenv(name); p != "" && p != "http/protobuf" {
			return fmt.Errorf("%s: must be http/protobuf, the one protocol in which traces are sent", name)
		}
	}
	return nil
}

// quiet tells the log, now and then, that traces are not taken, and nobody else:
// the library would write to a log of its own.
type quiet struct {
	sdktrace.SpanExporter
	log *slog.Logger

	mu   sync.Mutex
	told time.Time
}

func (q *quiet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := time.Now(); err != nil && now.Sub(q.told) >= time.Minute {
		q.told = now
		q.log.WarnContext(ctx, "traces are not taken by the collector and are dropped", "spans", len(spans), "err", cause(err))
	}
	return nil
}

// cause leaves the URL out, which may hold a password.
func cause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return errRefused
}

var errRefused = errors.New("it refuses them")

// Stop sends what is left, for as long as ctx lasts.
func (t *Traces) Stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// begin makes a span and returns what ends it.
func (t *Traces) begin(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, func(error)) {
	ctx, span := t.tracer.Start(ctx, name, options...)
	return ctx, func(err error) {
		if err != nil {
			fail(span, err)
		}
		span.End()
	}
}

// within is begin, for what is not worth a trace of its own: a process looks at
// its store and its tenants all the time.
func (t *Traces) within(ctx context.Context, name string) (context.Context, func(error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, func(error) {}
	}
	return t.begin(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
}

// fail tells what kind of error it was. Its text may hold anything.
func fail(span trace.Span, err error) {
	word := fault.CodeOf(err)
	switch {
	case word != "":
	case errors.Is(err, context.Canceled):
		word = "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		word = "deadline_exceeded"
	default:
		word = "internal"
	}
	span.SetStatus(codes.Error, word)
	span.SetAttributes(attribute.String("error.type", word))
}

// carrier is a traceparent: all that goes from one process to the next. A trace
// state or baggage could hold what a client wrote.
type carrier struct{ traceparent string }

func (c *carrier) Get(key string) string {
	if key == "traceparent" {
		return c.traceparent
	}
	return ""
}

func (c *carrier) Set(key, value string) {
	if key == "traceparent" {
		c.traceparent = value
	}
}

func (*carrier) Keys() []string { return []string{"traceparent"} }

// parent is the traceparent of the span in ctx; empty: there is none.
func parent(ctx context.Context) string {
	var c carrier
	propagation.TraceContext{}.Inject(ctx, &c)
	return c.traceparent
}

// under returns ctx as one in which spans belong to a traceparent. One that is
// malformed is none.
func under(ctx context.Context, traceparent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, &carrier{traceparent})
}

// Log writes beside every line which trace and span it belongs to.
func Log(next slog.Handler) slog.Handler { return logHandler{next} }

type logHandler struct{ slog.Handler }

func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		r.AddAttrs(slog.String("trace_id", s.TraceID().String()), slog.String("span_id", s.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
