package process

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/app/telemetry"
)

// Metrics serves Prometheus on an address of its own: what it tells is for those
// who run the server, not for those who use it. Nil serves nothing.
type Metrics struct {
	metrics *telemetry.Metrics
	server  *httpapi.HTTPServer
}

// ServeMetrics listens on addr until Stop; on an empty one it does nothing.
func ServeMetrics(ctx context.Context, log *slog.Logger, addr, version string, limits httpapi.Limits) (*Metrics, error) {
	if addr == "" {
		return nil, nil //nolint:nilnil // nil is a Metrics that serves nothing
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics on %s: %w; name another address with --metrics-addr", addr, err)
	}
	m := &Metrics{metrics: telemetry.NewMetrics(version)}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.metrics.Handler())
	m.server = httpapi.NewServer(mux, log, limits)
	go func() { _ = m.server.Serve(l) }() // ends with Stop
	return m, nil
}

// Observe is told of every answer of the API; nil: nobody listens.
func (m *Metrics) Observe() func(method, route string, status int, took time.Duration) {
	if m == nil {
		return nil
	}
	return m.metrics.Request
}

// Stop closes the listener.
func (m *Metrics) Stop() {
	if m != nil {
		_ = m.server.Close()
	}
}
