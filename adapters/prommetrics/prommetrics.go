// Package prommetrics counts and times what the server does, for Prometheus.
//
// Labels are route patterns and fixed words, never what a client sent: the
// number of series is bounded, and nothing secret becomes one.
package prommetrics

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	work     work
	backlog  *backlog
	pools    *pools
	traffic  *traffic
}

// New makes a registry of its own, so that an embedder's stays theirs.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubebyon_http_request_duration_seconds", Help: "How long answers took, by route and class of status; none: broken off before there was one.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}, []string{"method", "route", "status"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kubebyon_build_info", Help: "Always 1; the label is the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.work, m.backlog, m.pools, m.traffic = newWork(m.registry), newBacklog(), newPools(), newTraffic()
	m.registry.MustRegister(m.backlog, m.pools, m.traffic, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.requests, build)
	return m
}

// Request is told that a request begins; what it returns is told of its answer.
func (m *Metrics) Request(r *http.Request, _ bool) (context.Context, func(method, route string, status int)) {
	began := time.Now()
	return r.Context(), func(method, route string, status int) {
		m.requests.WithLabelValues(method, route, class(status)).Observe(time.Since(began).Seconds())
	}
}

// class is the first digit of a status, as in "2xx".
func class(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}

// Handler serves the metrics as Prometheus reads them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}
