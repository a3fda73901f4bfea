package prommetrics

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/store"
)

// work is what happens behind the API.
type work struct {
	attempts  *prometheus.HistogramVec
	attending prometheus.Gauge

	calls   *prometheus.HistogramVec
	calling *prometheus.GaugeVec

	published   *prometheus.CounterVec
	publishing  *prometheus.CounterVec
	handled     *prometheus.HistogramVec
	transaction *prometheus.HistogramVec

	delivered  *prometheus.CounterVec
	delivering *prometheus.GaugeVec

	following prometheus.Gauge
	acquired  prometheus.Counter
	restarted prometheus.Counter
	tenants   *prometheus.HistogramVec
}

// long are the buckets for what takes from milliseconds to minutes.
func long() []float64 {
	return []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
}

func newWork(r *prometheus.Registry) work {
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubebyon_" + name, Help: help, Buckets: long()}, labels)
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubebyon_" + name, Help: help}, labels)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "kubebyon_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubebyon_" + name, Help: help})
	}
	w := work{
		attempts:  histogram("job_attempt_duration_seconds", "How long attempts at jobs took, by the job's type and how they ended.", "type", "result"),
		attending: gauge("job_attempts_in_flight", "Attempts at jobs that this process is making."),
		calls:     histogram("provision_call_duration_seconds", "How long calls of the backend took that makes control planes.", "call", "result"),
		calling: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kubebyon_provision_calls_in_flight", Help: "Calls of the backend that makes control planes, under way.",
		}, []string{"call"}),
		published:   counters("relay_messages_published_total", "Messages that the broker has accepted, by type.", "type"),
		publishing:  counters("relay_publish_total", "Batches given to the broker, by result.", "result"),
		handled:     histogram("bus_handling_duration_seconds", "How long handling a message took, by type and result.", "type", "result"),
		transaction: histogram("store_transaction_duration_seconds", "How long units of work took in the store, with all tries.", "mode", "result"),
		delivered:   counters("notification_deliveries_total", "Attempts at handing over a message, by channel and how they ended.", "channel", "result"),
		delivering: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kubebyon_notification_deliveries_in_flight", Help: "Messages that this process is handing over.",
		}, []string{"channel"}),
		following: gauge("watch_tenants", "Tenants that this process follows."),
		acquired:  counter("watch_leases_acquired_total", "Leases of tenants that this process had not had before: new ones, handed over, or a dead process's."),
		restarted: counter("watch_restarts_total", "Watches of tenants that have ended and were begun anew."),
		tenants:   histogram("tenant_call_duration_seconds", "How long calls of tenants' APIs took.", "call", "result"),
	}
	r.MustRegister(w.attempts, w.attending, w.calls, w.calling, w.published, w.publishing, w.handled, w.transaction, w.delivered, w.delivering,
		w.following, w.acquired, w.restarted, w.tenants)
	return w
}

// Attempt is told that an attempt at a job of a type begins; what it returns is
// told how it ended, in a word of a fixed few.
func (m *Metrics) Attempt(jobType string) func(result string) {
	began := time.Now()
	m.work.attending.Inc()
	return func(result string) {
		m.work.attending.Dec()
		m.work.attempts.WithLabelValues(jobType, result).Observe(time.Since(began).Seconds())
	}
}

// Delivery is told that a message is being handed over through a channel; what it
// returns is told how that ended, in a word of a fixed few.
func (m *Metrics) Delivery(channel string) func(result string) {
	m.work.delivering.WithLabelValues(channel).Inc()
	return func(result string) {
		m.work.delivering.WithLabelValues(channel).Dec()
		m.work.delivered.WithLabelValues(channel, result).Inc()
	}
}

// Following is told how many tenants this process follows.
func (m *Metrics) Following(n int) { m.work.following.Set(float64(n)) }

// Acquired is told of leases that this process had not had before.
func (m *Metrics) Acquired(n int) { m.work.acquired.Add(float64(n)) }

// Restarted is told of a watch that ended.
func (m *Metrics) Restarted() { m.work.restarted.Inc() }

// Provision is a provision.Around.
func (m *Metrics) Provision(ctx context.Context, call string) (context.Context, func(error)) {
	began := time.Now()
	m.work.calling.WithLabelValues(call).Inc()
	return ctx, func(err error) {
		m.work.calling.WithLabelValues(call).Dec()
		m.work.calls.WithLabelValues(call, result(err)).Observe(time.Since(began).Seconds())
	}
}

// Tenant is a tenant.Around.
func (m *Metrics) Tenant(ctx context.Context, call string) (context.Context, func(error)) {
	began := time.Now()
	return ctx, func(err error) {
		m.work.tenants.WithLabelValues(call, result(err)).Observe(time.Since(began).Seconds())
	}
}

// Bus measures b, and asks it what it has counted whenever somebody reads the
// metrics, if it counts.
func (m *Metrics) Bus(b bus.Bus) bus.Bus {
	if c, ok := b.(bus.Counter); ok {
		m.traffic.watch(c)
	}
	return bus.Intercept(b, m.message)
}

func (m *Metrics) message(ctx context.Context, call string, msgs ...bus.Message) (context.Context, func(error)) {
	began := time.Now()
	return ctx, func(err error) {
		if call == bus.Handling {
			m.work.handled.WithLabelValues(msgs[0].Type, result(err)).Observe(time.Since(began).Seconds())
			return
		}
		m.work.publishing.WithLabelValues(result(err)).Inc()
		if err != nil {
			return
		}
		for _, msg := range msgs {
			m.work.published.WithLabelValues(msg.Type).Inc()
		}
	}
}

// result is a word for an outcome; an error's own text never becomes a label.
func result(err error) string {
	if err == nil {
		return "ok"
	}
	return "error"
}

// Store measures s, and asks it what waits and how its connections are used
// whenever somebody reads the metrics.
func (m *Metrics) Store(s store.Store) store.Store {
	m.backlog.watch(s)
	if p, ok := s.(pooled); ok {
		m.pools.watch(p)
	}
	return measured{s, m}
}

type measured struct {
	store.Store
	m *Metrics
}

func (s measured) InTx(ctx context.Context, do func(ctx context.Context, tx store.Tx) error) error {
	began := time.Now()
	err := s.Store.InTx(ctx, do)
	s.m.work.transaction.WithLabelValues("write", result(err)).Observe(time.Since(began).Seconds())
	return err
}

func (s measured) View(ctx context.Context, do func(ctx context.Context, tx store.Tx) error) error {
	began := time.Now()
	err := s.Store.View(ctx, do)
	s.m.work.transaction.WithLabelValues("read", result(err)).Observe(time.Since(began).Seconds())
	return err
}

// pooled is a store that keeps connections.
type pooled interface {
	Pools() map[string]sql.DBStats
}

// pools tells how connections to the database are used.
type pools struct {
	mu   sync.Mutex
	from pooled

	open, used, limit, waits, waited *prometheus.Desc
}

func newPools() *pools {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kubebyon_database_"+name, help, []string{"pool"}, nil)
	}
	return &pools{
		open: desc("connections_open", "Connections to the database."), used: desc("connections_in_use", "Connections that somebody uses."),
		limit: desc("connections_max", "How many connections there may be."), waits: desc("connection_waits_total", "Times that somebody had to wait for a connection."),
		waited: desc("connection_wait_seconds_total", "How long they have waited, all together."),
	}
}

func (p *pools) watch(from pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.from = from
}

// Describe implements prometheus.Collector.
func (p *pools) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.open, p.used, p.limit, p.waits, p.waited} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (p *pools) Collect(out chan<- prometheus.Metric) {
	p.mu.Lock()
	from := p.from
	p.mu.Unlock()
	if from == nil {
		return
	}
	for pool, s := range from.Pools() {
		out <- prometheus.MustNewConstMetric(p.open, prometheus.GaugeValue, float64(s.OpenConnections), pool)
		out <- prometheus.MustNewConstMetric(p.used, prometheus.GaugeValue, float64(s.InUse), pool)
		out <- prometheus.MustNewConstMetric(p.limit, prometheus.GaugeValue, float64(s.MaxOpenConnections), pool)
		out <- prometheus.MustNewConstMetric(p.waits, prometheus.CounterValue, float64(s.WaitCount), pool)
		out <- prometheus.MustNewConstMetric(p.waited, prometheus.CounterValue, s.WaitDuration.Seconds(), pool)
	}
}
