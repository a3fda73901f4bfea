package amqpbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/bus/bustest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	stopOwnBroker()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func TestBus(t *testing.T) {
	t.Parallel()
	suite(t, Config{})
}

// TestBusOverQuorumQueues leaves out what takes a broker of its own.
func TestBusOverQuorumQueues(t *testing.T) {
	t.Parallel()
	suite(t, Config{Quorum: true})
}

func suite(t *testing.T, c Config) {
	var worlds sync.Map // of buses
	h := bustest.Harness{
		Delivers: time.Minute,
		New: func(t *testing.T) bus.Bus {
			at := standard(t)
			if strings.HasSuffix(t.Name(), "/RestartedBrokerLosesNothing") {
				at = needOwnBroker(t).url()
			}
			w := newWorld(t, at, c)
			worlds.Store(w.Bus, w)
			return w.Bus
		},
		Second: func(t *testing.T, b bus.Bus) bus.Bus {
			w, _ := worlds.Load(b)
			return w.(*world).second(t).Bus
		},
		CutConnection: func(_ *testing.T, b bus.Bus) {
			w, _ := worlds.Load(b)
			w.(*world).proxy.cut()
		},
		RestartBroker: func(t *testing.T, _ bus.Bus) { needOwnBroker(t).restart(t) },
	}
	if c.Quorum {
		h.RestartBroker, h.WhyNoRestart = nil, "TestBus restarts it, and so much costs half a minute"
	}
	bustest.Run(t, h)
}

// standard is the broker that is shared with others, who must not notice.
func standard(t testing.TB) string {
	t.Helper()
	at := os.Getenv("KUBEBYON_TEST_AMQP_URL")
	if at == "" && os.Getenv("CI") != "" {
		t.Fatal("KUBEBYON_TEST_AMQP_URL is not set")
	}
	if at == "" {
		t.Skip("KUBEBYON_TEST_AMQP_URL is not set")
	}
	return at
}

var serial atomic.Int64

// world is a bus behind a proxy, with names of its own in the broker.
type world struct {
	*Bus
	proxy  *proxy
	at     string // the broker's URL, without the proxy
	config Config
	groups *sync.Map // queues to remove
}

func newWorld(t *testing.T, at string, c Config) *world {
	t.Helper()
	if c.Prefix == "" {
		c.Prefix = fmt.Sprintf("test-%d-%d", os.Getpid(), serial.Add(1))
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Delays == nil {
		c.Delays = []time.Duration{20 * time.Millisecond, 50 * time.Millisecond}
	}
	if c.Backoff == nil {
		c.Backoff = func(int) time.Duration { return 20 * time.Millisecond }
	}
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal("the broker's URL cannot be parsed")
	}
	w := &world{proxy: newProxy(t, u.Host), at: at, config: c, groups: &sync.Map{}}
	u.Host = w.proxy.address()
	w.config.URL = secret.New(u.String())
	t.Cleanup(func() { w.sweep(t) })
	w.Bus = start(t, w.config)
	w.eventually(t, "the bus is connected", func() bool { return w.Ping(t.Context()) == nil })
	return w
}

// second is what another process has of the same world.
func (w *world) second(t *testing.T) *world {
	t.Helper()
	c := w.config
	c.URL = secret.New(w.at)
	s := &world{proxy: w.proxy, at: w.at, config: c, Bus: start(t, c), groups: w.groups}
	s.eventually(t, "the bus is connected", func() bool { return s.Ping(t.Context()) == nil })
	return s
}

func start(t testing.TB, c Config) *Bus {
	t.Helper()
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

// admin does something to the broker as somebody else would.
func admin(t testing.TB, at string, do func(*amqp.Channel) error) {
	t.Helper()
	conn, err := amqp.Dial(at)
	if err != nil {
		t.Errorf("the broker cannot be reached: %T", err)
		return
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err == nil {
		err = do(ch)
	}
	if err != nil {
		t.Error(err)
	}
}

// sweep removes what the world has left in the broker.
func (w *world) sweep(t testing.TB) {
	t.Helper()
	if b := theBroker.broker; b != nil && b.url() == w.at {
		return // it ends with its broker, which somebody may be restarting
	}
	c := w.config
	queues := []string{c.deadQueue(), c.queueName("bustest.v1", "g"), c.queueName("bustest.v1x", "g"), c.queueName("bustest.v1", "one"), c.queueName("bustest.v1", "two")}
	exchanges := []string{c.Prefix}
	for _, d := range c.Delays {
		queues, exchanges = append(queues, c.retryName(d)), append(exchanges, c.retryName(d))
	}
	w.groups.Range(func(name, _ any) bool {
		queues = append(queues, name.(string))
		return true
	})
	admin(t, w.at, func(ch *amqp.Channel) error {
		var errs []error
		for _, q := range queues {
			_, err := ch.QueueDelete(q, false, false, false)
			errs = append(errs, err)
		}
		for _, e := range exchanges {
			errs = append(errs, ch.ExchangeDelete(e, false, false))
		}
		return errors.Join(errs...)
	})
}

// patience is for a broker that starts beside tests that keep processors and the
// disk busy.
const patience = 4 * time.Minute

func (w *world) eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); time.Since(start) < patience; time.Sleep(5 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("waited %s: %s", patience, what)
}
