package app_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/adapters/amqpbus"
	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clock"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/core/relay"
	"github.com/kubebyon/kubebyon/ports/store"
)

// BenchmarkJobs is what the relay and two workers carry through PostgreSQL and
// RabbitMQ, with control planes that are there at once, beside a message's plain
// round trip with watermill-amqp:
//
//	drain    jobs a second, of 3000 that wait: nothing but relay and workers runs; at
//	         least 500 are wanted
//	paced    250 jobs a second, each asked for by a transaction of its own: how long
//	         after it was due the job is done; for 99 of 100 within a second
//	plain    one message published with confirm, and received
func BenchmarkJobs(b *testing.B) {
	b.Run("drain", func(b *testing.B) {
		const jobs, wanted = 3000, 500
		var took time.Duration
		for range b.N {
			s := newJobSite(b, time.Minute)
			s.createAll(b, jobs)
			used, began := s.processors(b), time.Now()
			s.begin(b)
			s.await(b, jobs)
			took += time.Since(began)
			s.report(b, used, jobs)
		}
		rate := float64(b.N) * jobs / took.Seconds()
		b.ReportMetric(rate, "jobs/s")
		if rate < wanted {
			b.Errorf("%.0f jobs a second, want at least %d", rate, wanted)
		}
	})
	b.Run("paced", func(b *testing.B) {
		const jobs, rate = 2500, 250
		for range b.N {
			s := newJobSite(b, time.Minute)
			used := s.processors(b)
			s.begin(b)
			s.createPaced(b, jobs, rate)
			s.await(b, jobs)
			s.report(b, used, jobs)
			took := s.latencies()
			p99 := took[len(took)*99/100]
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(p99.Microseconds())/1000, "p99-ms")
			if p99 > time.Second {
				b.Errorf("99 of 100 jobs were done within %v, want a second", p99)
			}
		}
	})
	b.Run("plain", plainRoundTrip)
}

// jobSite is a server that writes and relays jobs, and two workers.
type jobSite struct {
	url      string
	service  *clusters.Service
	relay    *relay.Relay
	bus      *amqpbus.Bus
	workers  []*reconcile.Worker
	clocks   []*clock.Clock
	planes   *workload
	stores   []*mortal
	person   context.Context //nolint:containedctx // who asks
	sequence atomic.Int64

	mu        sync.Mutex
	committed map[id.Cluster]time.Time
	done      map[id.Cluster]time.Time
	count     atomic.Int64
}

func newJobSite(tb testing.TB, lease time.Duration) *jobSite {
	tb.Helper()
	s := &jobSite{
		url: emptySchema(tb, []string{"application_name=jobs-bench", "synchronous_commit=on"}), planes: &workload{Provisioner: memprovision.New(memprovision.Config{}), at: map[id.Cluster]int{}},
		committed: map[id.Cluster]time.Time{}, done: map[id.Cluster]time.Time{},
	}
	c := systemClock
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	outbox := &bell.Bell{}
	var err error
	prefix := "jobs-" + strings.ToLower(rand.Text()[:10])
	tb.Cleanup(func() { removeFromBroker(tb, prefix) })
	s.bus, err = amqpbus.New(amqpbus.Config{URL: secret.New(brokerURL()), Log: log, Prefix: prefix})
	must(tb, err)
	must(tb, s.bus.Start(tb.Context()))
	tb.Cleanup(func() { must(tb, s.bus.Stop(context.WithoutCancel(tb.Context()))) })
	server := s.open(tb, true)
	owner := id.New[id.UserKind](c(), randomID())
	must(tb, server.InTx(tb.Context(), func(ctx context.Context, tx store.Tx) error {
		return tx.Users().Insert(ctx, store.User{ID: owner, Email: "bench@example.org", Role: "admin", Status: "active", CreatedAt: c(), UpdatedAt: c()})
	}))
	s.person = actor.With(tb.Context(), actor.Actor{Type: actor.Person, UserID: owner, Role: actor.Admin})
	s.service, err = clusters.New(clusters.Deps{
		Store: server, Seal: keyseal.New([32]byte{}), Provisioner: s.planes, Catalog: s.planes, Now: c, Random: randomID, MaxPerUser: 1 << 30,
		CheckPassword: func(context.Context, secret.Text) error { return nil }, Committed: outbox.Ring,
	})
	must(tb, err)
	s.relay, err = relay.New(relay.Deps{Store: server, Publisher: s.bus, Log: log, Now: c, Bell: outbox})
	must(tb, err)
	for i := range 3 {
		db := &mortal{Store: s.open(tb, false)}
		shared, err := clock.New(db, log)
		must(tb, err)
		w, err := reconcile.New(reconcile.Deps{
			Store: told{db, s}, Provisioner: s.planes, Log: log, Clock: shared, Random: randomID, Jobs: &bell.Bell{}, Settled: func() {},
			Name: fmt.Sprint("worker-", i), Concurrency: 4, Lease: lease, MaxAttempts: 50, Deadline: time.Minute,
		})
		must(tb, err)
		s.workers, s.clocks, s.stores = append(s.workers, w), append(s.clocks, shared), append(s.stores, db)
	}
	return s
}

func (s *jobSite) open(tb testing.TB, migrate bool) *bunstore.Store {
	tb.Helper()
	db, err := bunstore.Open(tb.Context(), bunstore.Config{URL: s.url, MaxConns: 16})
	must(tb, err)
	tb.Cleanup(func() { must(tb, db.Close()) })
	if migrate {
		must(tb, db.Migrate(tb.Context()))
	}
	return db
}

// begin runs the relay and two workers until the test ends.
func (s *jobSite) begin(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	var running sync.WaitGroup
	running.Go(func() { s.relay.Run(ctx) })
	tb.Cleanup(func() { cancel(); running.Wait() })
	s.run(tb, 0)
	s.run(tb, 1)
}

// run runs a worker until the test ends.
func (s *jobSite) run(tb testing.TB, i int) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	var running sync.WaitGroup
	running.Go(func() { s.workers[i].Run(ctx) })
	running.Go(func() { s.clocks[i].Run(ctx) })
	running.Go(func() {
		if err := s.bus.Subscribe(ctx, clusters.JobMessage, "workers", 4, s.workers[i].Heard); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() { cancel(); running.Wait() })
}

func (s *jobSite) createAll(tb testing.TB, n int) {
	tb.Helper()
	var asking sync.WaitGroup
	slots := make(chan struct{}, 8)
	for range n {
		slots <- struct{}{}
		asking.Go(func() { defer func() { <-slots }(); s.create(tb, time.Time{}) })
	}
	asking.Wait()
}

// createPaced asks for so many a second, and dates each from when it was due: what
// holds up the asking counts too.
func (s *jobSite) createPaced(tb testing.TB, n, rate int) {
	tb.Helper()
	var asking sync.WaitGroup
	slots := make(chan struct{}, 16)
	began := time.Now()
	for i := range n {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		slots <- struct{}{}
		asking.Go(func() { defer func() { <-slots }(); s.create(tb, due) })
	}
	asking.Wait()
}

func (s *jobSite) create(tb testing.TB, due time.Time) {
	c, err := s.service.Create(s.person, clusters.Request{Name: fmt.Sprint("c", s.sequence.Add(1))})
	if err != nil {
		tb.Error(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.committed[c.ID] = due
}

func (s *jobSite) await(tb testing.TB, n int) {
	tb.Helper()
	for began := time.Now(); s.count.Load() < int64(n); time.Sleep(time.Millisecond) {
		if tb.Failed() || time.Since(began) > 2*time.Minute {
			tb.Fatalf("%d of %d jobs are done", s.count.Load(), n)
		}
	}
}

func (s *jobSite) latencies() (out []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, at := range s.done {
		out = append(out, at.Sub(s.committed[c]))
	}
	slices.Sort(out)
	return out
}

// told notes when the transaction is committed that ends a job.
type told struct {
	store.Store
	site *jobSite
}

func (t told) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	var ended id.Cluster
	err := t.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return do(ctx, toldTx{tx, &ended})
	})
	if err == nil && !ended.IsZero() {
		t.site.count.Add(1)
		t.site.mu.Lock()
		defer t.site.mu.Unlock()
		t.site.done[ended] = time.Now()
	}
	return err
}

type toldTx struct {
	store.Tx
	ended *id.Cluster
}

func (t toldTx) Jobs() store.Jobs { return toldJobs{t.Tx.Jobs(), t.ended} }

type toldJobs struct {
	store.Jobs
	ended *id.Cluster
}

func (t toldJobs) Conclude(ctx context.Context, c store.Conclusion, worker string) error {
	*t.ended = c.Job.ClusterID
	return t.Jobs.Conclude(ctx, c, worker)
}

func (t toldJobs) Settle(ctx context.Context, j store.Job, worker string) error {
	if j.FinishedAt != nil {
		*t.ended = j.ClusterID
	}
	return t.Jobs.Settle(ctx, j, worker)
}

func plainRoundTrip(b *testing.B) {
	conf := wamqp.NewDurablePubSubConfig(brokerURL(), func(topic string) string { return topic })
	conf.Publish.ConfirmDelivery = true
	topic := "plain-" + strings.ToLower(rand.Text()[:10])
	conf.Queue.AutoDelete = true
	p, err := wamqp.NewPublisher(conf, watermill.NopLogger{})
	must(b, err)
	s, err := wamqp.NewSubscriber(conf, watermill.NopLogger{})
	must(b, err)
	messages, err := s.Subscribe(b.Context(), topic)
	must(b, err)
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for range b.N {
		began := time.Now()
		must(b, p.Publish(topic, message.NewMessage(watermill.NewUUID(), []byte("{}"))))
		(<-messages).Ack()
		took = append(took, time.Since(began))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	must(b, p.Close())
	must(b, s.Close())
}

// removeFromBroker deletes what a bus has left there: all of it outlives the bus.
func removeFromBroker(tb testing.TB, prefix string) {
	tb.Helper()
	conn, err := amqp.Dial(brokerURL())
	must(tb, err)
	defer conn.Close()
	ch, err := conn.Channel()
	must(tb, err)
	names := []string{prefix, prefix + ".dead", prefix + ".group.cluster.job.v1/workers"}
	for _, wait := range []string{"1s", "5s", "30s"} {
		names = append(names, prefix+".retry."+wait)
	}
	for _, name := range names { // what is not there counts as deleted
		_, err := ch.QueueDelete(name, false, false, false)
		must(tb, err)
		must(tb, ch.ExchangeDelete(name, false, false))
	}
}

func brokerURL() string {
	if u := os.Getenv("KUBEBYON_TEST_AMQP_URL"); u != "" {
		return u
	}
	return "amqp://guest:guest@127.0.0.1:5672/"
}

func randomID() (b [10]byte) {
	_, _ = rand.Read(b[:]) // it never fails
	return b
}

func systemClock() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
