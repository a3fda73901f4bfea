package prommetrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kubebyon/kubebyon/ports/store"
)

const (
	// backlogKept is how long an answer of the store serves: however many read
	// the metrics, and however often, the store is asked no more than this.
	backlogKept = 5 * time.Second
	// backlogPatience is how long the store may take. Whoever reads the metrics
	// gets all others without it.
	backlogPatience = 2 * time.Second
)

// backlog tells what waits in the store.
type backlog struct {
	mu    sync.Mutex
	from  store.Store
	last  store.Backlog
	fails bool
	asked time.Time
	now   func() time.Time

	jobs, oldestJob, messages, oldestMessage, clusters, up *prometheus.Desc
}

func newBacklog() *backlog {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kubebyon_"+name, help, labels, nil)
	}
	return &backlog{
		now:           time.Now,
		jobs:          desc("jobs", "Jobs that are not done, in the whole installation.", "status"),
		oldestJob:     desc("jobs_oldest_pending_age_seconds", "Age of the oldest pending job; 0: none is pending."),
		messages:      desc("outbox_messages", "Messages that wait to be published, counted up to 10000."),
		oldestMessage: desc("outbox_oldest_message_age_seconds", "Age of the oldest message that waits to be published; 0: none does."),
		clusters:      desc("clusters", "Clusters of the whole installation.", "connection_status"),
		up:            desc("store_up", "Whether the store has told what waits in it."),
	}
}

func (b *backlog) watch(from store.Store) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.from, b.asked = from, time.Time{}
}

// Describe implements prometheus.Collector.
func (b *backlog) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{b.jobs, b.oldestJob, b.messages, b.oldestMessage, b.clusters, b.up} {
		out <- d
	}
}

// Collect implements prometheus.Collector. What the store has not told is left
// out: an old number would look like a new one.
func (b *backlog) Collect(out chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.from == nil {
		return
	}
	now := b.now()
	if b.asked.IsZero() || now.Sub(b.asked) >= backlogKept || now.Before(b.asked) {
		b.ask()
		b.asked = now
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if b.fails {
		gauge(b.up, 0)
		return
	}
	gauge(b.up, 1)
	for _, status := range []string{store.JobPending, store.JobRunning} { // also where there are none
		gauge(b.jobs, float64(b.last.Jobs[status]), status)
	}
	for status, n := range b.last.Clusters {
		gauge(b.clusters, float64(n), status)
	}
	gauge(b.messages, float64(b.last.Messages))
	gauge(b.oldestJob, age(now, b.last.OldestJob))
	gauge(b.oldestMessage, age(now, b.last.OldestMessage))
}

func (b *backlog) ask() {
	ctx, cancel := context.WithTimeout(context.Background(), backlogPatience)
	defer cancel()
	err := b.from.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		b.last, err = tx.Backlog(ctx)
		return err
	})
	b.fails = err != nil
}

func age(now time.Time, since *time.Time) float64 {
	if since == nil {
		return 0
	}
	return max(0, now.Sub(*since).Seconds())
}
