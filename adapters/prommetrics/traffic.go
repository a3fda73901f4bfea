package prommetrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kubebyon/kubebyon/ports/bus"
)

// traffic tells what a bus has counted. There is none of it where messages stay
// inside the process.
type traffic struct {
	mu   sync.Mutex
	from bus.Counter

	messages, connections *prometheus.Desc
}

func newTraffic() *traffic {
	return &traffic{
		messages: prometheus.NewDesc("kubebyon_bus_messages_total",
			"Messages that the broker has accepted, and those that were handled here, failed to come again, or given up: what is dead waits for people.", []string{"event"}, nil),
		connections: prometheus.NewDesc("kubebyon_bus_connections_total", "Connections made to the broker; many mean that it is lost often.", nil, nil),
	}
}

func (t *traffic) watch(from bus.Counter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.from = from
}

// Describe implements prometheus.Collector.
func (t *traffic) Describe(out chan<- *prometheus.Desc) { out <- t.messages; out <- t.connections }

// Collect implements prometheus.Collector.
func (t *traffic) Collect(out chan<- prometheus.Metric) {
	t.mu.Lock()
	from := t.from
	t.mu.Unlock()
	if from == nil {
		return
	}
	c := from.Counts()
	for event, n := range map[string]uint64{"published": c.Published, "handled": c.Handled, "retried": c.Retried, "dead": c.Dead} {
		out <- prometheus.MustNewConstMetric(t.messages, prometheus.CounterValue, float64(n), event)
	}
	out <- prometheus.MustNewConstMetric(t.connections, prometheus.CounterValue, float64(c.Connected))
}
