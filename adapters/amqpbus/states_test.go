package amqpbus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/bus"
)

// TestALostConfirmIsAnError: the broker has the message, and nobody knows.
func TestALostConfirmIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	var got inbox
	w.second(t).subscribe(t, 1, func(_ context.Context, m bus.Message) error { got.add(m); return nil })
	for range outlets {
		w.insist(t, msg("first")) // every channel is open
	}
	w.proxy.set(deaf)
	done := make(chan error, 1)
	go func() { done <- w.Publish(t.Context(), msg("second")) }()
	w.eventually(t, "the broker hands the message out", func() bool { return got.has("second") })
	select {
	case err := <-done:
		t.Fatalf("Publish returned %v before the confirm could arrive", err)
	default:
	}
	w.proxy.set(pass)
	w.proxy.cut()
	if err := <-done; !errors.Is(err, fault.Unavailable) {
		t.Errorf("Publish returned %v, want unavailable", err)
	}
	w.insist(t, msg("third"))
	w.eventually(t, "the bus goes on", func() bool { return got.has("third") })
}

// TestABatchIsSentBeforeItsFirstConfirm: one round trip for all.
func TestABatchIsSentBeforeItsFirstConfirm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	for range outlets {
		w.insist(t, msg("first")) // every channel is open
	}
	w.proxy.set(deaf)
	before, batch := w.proxy.sent.Load(), make([]bus.Message, 100)
	for i := range batch {
		batch[i] = msg(fmt.Sprint(i))
		batch[i].Body = make([]byte, 1000)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Publish(ctx, batch...) }()
	w.eventually(t, "the whole batch is sent", func() bool { return w.proxy.sent.Load()-before > 100_000 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Publish returned %v, want the context's error", err)
	}
}

// TestABrokerThatIsAwayIsWaitedFor: the process starts, says so and comes up.
func TestABrokerThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	w.proxy.set(refuse)
	late := &world{at: w.at, config: w.config, proxy: w.proxy, groups: w.groups}
	began := time.Now()
	late.Bus = start(t, w.config)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Start took %v without a broker", took)
	}
	late.eventually(t, "it was refused", func() bool { return fault.CodeOf(late.Ping(t.Context())) != "internal" })
	if err := late.Ping(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Ping: %v", err)
	}
	wantFault(t, late.Publish(t.Context(), msg("1")), fault.Unavailable, fault.CodeOf(late.Ping(t.Context())))
	var got inbox
	late.subscribeSoon(t, 1, func(_ context.Context, m bus.Message) error { got.add(m); return nil })
	w.proxy.set(pass)
	late.eventually(t, "the bus comes up", func() bool { return late.Ping(t.Context()) == nil })
	late.eventually(t, "the subscription comes up", func() bool { _ = late.Publish(t.Context(), msg("2")); return got.has("2") })
}

func TestNobodyListensIsUnavailable(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	b := start(t, Config{URL: secret.New("amqp://u:hunter2@" + at), Log: slog.New(slog.DiscardHandler), Backoff: func(int) time.Duration { return time.Millisecond }})
	for range 50 {
		wantFault(t, b.Ping(t.Context()), fault.Unavailable, "broker_unavailable")
		wantFault(t, b.Publish(t.Context(), msg("1")), fault.Unavailable, "broker_unavailable")
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := b.Subscribe(ctx, kind, "g", 1, func(context.Context, bus.Message) error { return nil }); err != nil {
		t.Errorf("Subscribe: %v; want nil when its context ends", err)
	}
}

// TestAStalledBrokerIsLeft: nothing answers and nothing is closed.
func TestAStalledBrokerIsLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{Patience: 500 * time.Millisecond})
	w.insist(t, msg("0"))
	w.proxy.set(stall)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := w.Publish(ctx, msg("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish: %v; want the context's error", err)
	}
	if err := w.Publish(t.Context(), msg("2")); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Publish: %v; want unavailable", err)
	}
	w.eventually(t, "the connection is given up", func() bool { return w.Bus.publish.trouble() != nil })
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to give up", took)
	}
	canceled, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := w.Subscribe(canceled, kind, "g", 1, func(context.Context, bus.Message) error { return nil }); err != nil {
		t.Errorf("Subscribe: %v; want nil", err)
	}
	w.proxy.set(pass)
	w.insist(t, msg("3"))
}

// TestASilentBrokerIsNoticed: by its missing heartbeats, on each connection, when
// nobody asks it anything. TestSilenceFromTheStartIsNoticed says after how long.
func TestASilentBrokerIsNoticed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for heartbeats that do not come")
	}
	w := newWorld(t, standard(t), Config{})
	w.proxy.set(stall)
	for _, l := range []*link{w.publish, w.consume} {
		w.eventually(t, "the silence is noticed by "+l.name, func() bool { return l.trouble() != nil })
	}
	wantFault(t, w.Ping(t.Context()), fault.Unavailable, "broker_unavailable")
}

func TestRefusalsAreSaid(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(standard(t))
	if err != nil {
		t.Fatal("the broker's URL cannot be parsed")
	}
	wrong, nowhere := *at, *at
	wrong.User = url.UserPassword("guest", "hunter2")
	nowhere.Path = "/no-such-vhost"
	for code, u := range map[string]url.URL{"broker_refused_credentials": wrong, "broker_refused_vhost": nowhere} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			var log notebook
			b := start(t, Config{URL: secret.New(u.String()), Log: slog.New(slog.NewTextHandler(&log, nil))})
			w := &world{Bus: b}
			w.eventually(t, "the broker refuses", func() bool { return fault.CodeOf(b.Ping(t.Context())) == code })
			wantFault(t, b.Ping(t.Context()), fault.Unavailable, code)
			wantFault(t, b.Publish(t.Context(), msg("1")), fault.Unavailable, code)
			w.eventually(t, "it is logged", func() bool { return strings.Contains(log.String(), "no connection") })
			if strings.Contains(log.String(), "hunter2") {
				t.Error("the log shows the password")
			}
		})
	}
}

type notebook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (n *notebook) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notebook) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// TestRefusalsAreTriedSlowly, but not what a cut handshake looks like.
func TestRefusalsAreTriedSlowly(t *testing.T) {
	t.Parallel()
	l := newLink(&Bus{}, "publish")
	late, cancel := context.WithCancel(t.Context())
	cancel()
	server := &amqp.Error{Code: amqp.AccessRefused, Reason: "ACCESS_REFUSED", Server: true}
	for what, c := range map[string]struct {
		err  error
		want bool
	}{
		"silent":            {l.whyNot(t.Context(), amqp.ErrCredentials, 3*time.Second), true},
		"said":              {l.whyNot(t.Context(), server, 0), true},
		"cut at sign-in":    {l.whyNot(t.Context(), amqp.ErrCredentials, time.Second), false},
		"cut at the vhost":  {l.whyNot(t.Context(), amqp.ErrVhost, 3*time.Second), false},
		"stalled":           {l.whyNot(late, amqp.ErrCredentials, 3*time.Second), false},
		"vhost":             {&amqp.Error{Code: amqp.NotAllowed, Server: true}, true},
		"certificate":       {&tls.CertificateVerificationError{Err: errors.New("no")}, true},
		"files":             {fmt.Errorf("%w: gone", errTLSFiles), true},
		"broker shuts down": {&amqp.Error{Code: amqp.ConnectionForced, Server: true}, false},
		"nobody there":      {errors.New("connection refused"), false},
	} {
		if isRefusal(c.err) != c.want {
			t.Errorf("%s: %v: a refusal %v, want %v", what, c.err, !c.want, c.want)
		}
	}
	for n := 1; n < 100; n++ {
		if d := backoff(n); d < 100*time.Millisecond || d > 5*time.Second {
			t.Errorf("after failure %d: %v", n, d)
		}
	}
}

func TestABadURLIsNotEchoed(t *testing.T) {
	t.Parallel()
	for u, want := range map[string]string{
		"":                                             "is missing",
		"hunter2":                                      "must look like",
		"http://u:hunter2@host":                        "must look like",
		"amqp://u:hunter2@ho st/":                      "must look like",
		"amqp://u:hunter2@host:99999/":                 "port",
		"amqp://host:/hunter2@host/":                   "percent-encoded",
		"amqp://host:12#hunter2@host/":                 "percent-encoded",
		"amqp://u:hunt%er2@host:hunter2/":              "must look like",
		"amqp://u:hunter2@host/?heartbeat=hunter2":     "must look like",
		"amqp://u:hunter2@host/?cacertfile=/x":         "amqps",
		"amqps://u:hunter2@host/?certfile=/x":          "together",
		"amqps://u:hunter2@host/?auth_mechanism=weird": "auth_mechanism",
	} {
		_, err := New(Config{URL: secret.New(u), Log: slog.New(slog.DiscardHandler)})
		wantFault(t, err, fault.Invalid, "bad_broker_url")
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want the rule about %q", u, err, want)
		}
	}
	for _, c := range []Config{
		{},
		{Log: slog.New(slog.DiscardHandler), Prefix: "amq.x"},
		{Log: slog.New(slog.DiscardHandler), Prefix: strings.Repeat("p", 200)},
		{Log: slog.New(slog.DiscardHandler), Delays: []time.Duration{-1}},
	} {
		c.URL = secret.New("amqp://u:hunter2@host")
		_, err := New(c)
		wantFault(t, err, fault.Invalid, "bad_config")
	}
}

// TestAQueueOfSomebodyElseIsSaid, and is no reason to wait.
func TestAQueueOfSomebodyElseIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	name := w.config.queueName(kind, "g")
	w.groups.Store(name, true)
	admin(t, w.at, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, true, false, false, false, nil)
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := w.Subscribe(ctx, kind, "g", 1, func(context.Context, bus.Message) error { return nil })
	wantFault(t, err, fault.Conflict, "broker_declared_otherwise")

	other := newWorld(t, standard(t), Config{})
	admin(t, w.at, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(other.config.Prefix, amqp.ExchangeFanout, true, false, false, false, nil)
	})
	wantFault(t, other.Publish(t.Context(), msg("1")), fault.Conflict, "broker_declared_otherwise")
}

// TestWhatPassesIsNotBlamedOnTheQueues: RabbitMQ has one code for much. Nobody is
// told to remove a queue over an acknowledgement.
func TestWhatPassesIsNotBlamedOnTheQueues(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	admin(t, w.at, func(ch *amqp.Channel) error {
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		if err := ch.Ack(99, false); err != nil {
			return err
		}
		select {
		case refused := <-closed:
			if refused == nil || refused.Code != amqp.PreconditionFailed {
				t.Errorf("RabbitMQ says %v", refused)
			}
			wantFault(t, explainChannel(refused), fault.Unavailable, "broker_unavailable")
		case <-time.After(time.Minute):
			t.Error("RabbitMQ takes any acknowledgement")
		}
		return nil
	})
}

func TestStoppedTakesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	entered := make(chan struct{})
	end := w.subscribe(t, 1, func(context.Context, bus.Message) error { close(entered); return nil })
	w.insist(t, msg("1"))
	<-entered
	wantFault(t, w.Start(t.Context()), fault.Conflict, "bus_started")
	if err := errors.Join(w.Stop(t.Context()), w.Stop(t.Context())); err != nil {
		t.Error(err)
	}
	wantFault(t, w.Ping(t.Context()), fault.Unavailable, "bus_stopped")
	wantFault(t, w.Publish(t.Context(), msg("2")), fault.Unavailable, "bus_stopped")
	wantFault(t, w.Subscribe(t.Context(), kind, "g", 1, func(context.Context, bus.Message) error { return nil }), fault.Unavailable, "bus_stopped")
	end() // the subscription lasts as long as its context
	never, err := New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := never.Stop(t.Context()); err != nil {
		t.Errorf("a bus that was never started: %v", err)
	}
}
