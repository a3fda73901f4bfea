package main

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

// metricsServer serves Prometheus on an address of its own: what it tells is
// for those who run the server, not for those who use it. Nil serves nothing.
type metricsServer struct {
	metrics *telemetry.Metrics
	server  *httpapi.HTTPServer
}

func (f *httpFlags) serveMetrics(ctx context.Context, log *slog.Logger) (*metricsServer, error) {
	if f.metricsAddr == "" {
		return nil, nil //nolint:nilnil // nil is a metricsServer that serves nothing
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.metricsAddr)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics on %s: %w; name another address with --metrics-addr", f.metricsAddr, err)
	}
	m := &metricsServer{metrics: telemetry.NewMetrics(version)}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.metrics.Handler())
	m.server = httpapi.NewServer(mux, log, f.limits())
	go func() { _ = m.server.Serve(l) }() // ends with stop
	return m, nil
}

func (m *metricsServer) observe() func(method, route string, status int, took time.Duration) {
	if m == nil {
		return nil
	}
	return m.metrics.Request
}

func (m *metricsServer) stop() {
	if m != nil {
		_ = m.server.Close()
	}
}
