package process

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/telemetry"
)

// Telemetry is what a process tells those who run it: metrics, on an address of
// their own, and traces, which it sends to where OpenTelemetry's variables say.
type Telemetry struct {
	log     *slog.Logger
	metrics *telemetry.Metrics // nil: nobody listens
	server  *httpapi.HTTPServer
	traces  *telemetry.Traces // nil: none are made
}

// Observe serves metrics on addr, unless it is empty, and sends traces, if the
// environment says where to. Stop must follow.
func Observe(ctx context.Context, log *slog.Logger, addr string, b Build, limits httpapi.Limits) (t *Telemetry, err error) {
	t = &Telemetry{log: log}
	if t.traces, err = telemetry.NewTraces(ctx, b.Name, b.Version, log.With("part", "traces")); err != nil {
		return nil, err
	}
	if addr == "" {
		return t, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		t.Stop()
		return nil, fmt.Errorf("listen for metrics on %s: %w; name another address with --metrics-addr", addr, err)
	}
	t.metrics = telemetry.NewMetrics(b.Version)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", t.metrics.Handler())
	t.server = httpapi.NewServer(mux, log, limits)
	go func() { _ = t.server.Serve(l) }() // ends with Stop
	return t, nil
}

// Apply has a platform tell what it does.
func (t *Telemetry) Apply(c *app.Config) {
	c.Observe = telemetry.Observe(t.metrics, t.traces)
}

// flushTimeout is how long the collector may take for what is left.
const flushTimeout = 5 * time.Second

// Stop closes the listener and sends what is left of traces. It comes after the
// platform has stopped.
func (t *Telemetry) Stop() {
	if t.server != nil {
		_ = t.server.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := t.traces.Stop(ctx); err != nil {
		t.log.Warn("the last traces are not sent", "err", err)
	}
}
