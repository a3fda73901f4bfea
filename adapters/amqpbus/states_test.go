package amqpbus

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/bus"
)

const kind = "test.v1"

func msg(id string) bus.Message {
	return bus.Message{ID: id, Type: kind, Key: "key", At: time.Now(), Body: []byte(`{}`)}
}

// inbox is what a group has got, by message.
type inbox struct {
	mu   sync.Mutex
	seen map[string]int
}

func (i *inbox) add(m bus.Message) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen == nil {
		i.seen = map[string]int{}
	}
	i.seen[m.ID]++
	return i.seen[m.ID]
}

func (i *inbox) times(id string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.seen[id]
}

func (i *inbox) has(id string) bool { return i.times(id) > 0 }

// subscribe returns once messages reach the group; end returns once it has ended.
func (w *world) subscribe(t *testing.T, concurrency int, h bus.Handler) (end func()) {
	t.Helper()
	var reached atomic.Bool
	end = w.subscribeSoon(t, concurrency, func(ctx context.Context, m bus.Message) error {
		if m.Key == "probe" {
			reached.Store(true)
			return nil
		}
		return h(ctx, m)
	})
	probe := msg("probe")
	probe.Key = "probe"
	w.eventually(t, "messages reach the group", func() bool { _ = w.Publish(t.Context(), probe); return reached.Load() })
	return end
}

func (w *world) subscribeSoon(t *testing.T, concurrency int, h bus.Handler) (end func()) {
	t.Helper()
	w.groups.Store(w.config.queueName(kind, "g"), true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Subscribe(ctx, kind, "g", concurrency, h) }()
	end = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Subscribe: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Subscribe does not return")
		}
	})
	t.Cleanup(end)
	return end
}

// queueExists asks on a connection of its own: a refusal ends the channel.
func (w *world) queueExists(t *testing.T, name string) (is bool) {
	t.Helper()
	admin(t, w.at, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
		is = err == nil
		return nil
	})
	return is
}

// insist publishes as every caller does, until it is done.
func (w *world) insist(t *testing.T, msgs ...bus.Message) {
	t.Helper()
	w.eventually(t, "the messages are published", func() bool { return w.Publish(t.Context(), msgs...) == nil })
}

// wantFault also looks for the password in all that an error may show.
func wantFault(t *testing.T, err error, kind fault.Kind, code string) {
	t.Helper()
	if fault.KindOf(err) != kind || fault.CodeOf(err) != code {
		t.Errorf("got %v, want %s %s", err, kind, code)
	}
	if err != nil && strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2") {
		t.Error("the error shows the password")
	}
}

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

// TestASilentBrokerIsNoticed: by its missing heartbeats, when nobody asks it
// anything.
func TestASilentBrokerIsNoticed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for heartbeats that do not come")
	}
	w := newWorld(t, standard(t), Config{})
	w.proxy.set(stall)
	began := time.Now()
	w.eventually(t, "the silence is noticed", func() bool { return w.Ping(t.Context()) != nil })
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it was noticed after %v", took)
	}
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
		"":                                "is missing",
		"hunter2":                         "must look like",
		"http://u:hunter2@host":           "must look like",
		"amqp://u:hunter2@ho st/":         "must look like",
		"amqp://u:hunter2@host:99999/":    "port",
		"amqp://u:hunt%er2@host:hunter2/": "must look like",
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

func TestWhatTheBrokerCannotCarryIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	w.insist(t, msg("0"))
	before := w.Counts().Connected
	long := strings.Repeat("x", 256)
	for what, m := range map[string]bus.Message{
		"no type": {ID: "1"}, "long type": {Type: long}, "long id": {Type: kind, ID: long},
		"long key": {Type: kind, Key: strings.Repeat(long, 600)},
	} {
		if err := w.Publish(t.Context(), msg("0"), m); fault.CodeOf(err) != "bad_message" {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantFault(t, w.Publish(t.Context(), bus.Message{Type: kind, Body: make([]byte, maxBody+1)}), fault.TooLarge, "message_too_large")
	m := bus.Message{Type: long[:maxShort], ID: long[:maxShort], Key: strings.Repeat("k", maxKey), Body: make([]byte, maxBody)}
	if err := w.Publish(t.Context(), m); err != nil {
		t.Errorf("the largest message: %v", err)
	}
	if n := w.Counts().Connected; n != before {
		t.Errorf("%d connections were lost over it", n-before)
	}
	err := w.Subscribe(t.Context(), long, "g", 1, func(context.Context, bus.Message) error { return nil })
	wantFault(t, err, fault.Invalid, "bad_subscription")
}

// TestPoisonEndsInTheDeadQueue after a bounded number of tries, with a reason
// that shows nothing of the error's own text.
func TestPoisonEndsInTheDeadQueue(t *testing.T) {
	t.Parallel()
	var log notebook
	w := newWorld(t, standard(t), Config{MaxDeliveries: 4, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return time.Unix(0, 0) }})
	var tries inbox
	w.subscribe(t, 2, func(_ context.Context, m bus.Message) error {
		tries.add(m)
		switch m.ID {
		case "fault":
			return fmt.Errorf("step: %w", fault.NotFound.New("no_such_thing", "There is no such thing.").Because(errors.New("hunter2")))
		case "panic":
			panic("hunter2")
		}
		return errors.New("hunter2")
	})
	w.insist(t, msg("fault"), msg("panic"), msg("plain"))
	want := map[string]string{
		"fault": "no_such_thing: There is no such thing.", "panic": "handler_panicked: The handler panicked.", "plain": "internal: The log says more.",
	}
	for range len(want) {
		d := w.nextDead(t)
		id, _ := d.Headers[metaID].(string)
		if d.Headers[metaReason] != want[id] || d.Headers[metaGroup] != "g" || d.Headers[metaFailures] != "4" || d.Headers[metaType] != kind || d.Headers[metaDiedAt] != "1970-01-01T00:00:00Z" {
			t.Errorf("%s lies there with %v, want the reason %q", id, d.Headers, want[id])
		}
		for name := range d.Headers {
			if strings.HasPrefix(name, "x-") {
				t.Errorf("%s still has the broker's header %s", id, name)
			}
		}
		if n := tries.times(id); n != 4 {
			t.Errorf("%s was tried %d times, want 4", id, n)
		}
		delete(want, id)
	}
	w.eventually(t, "they are counted", func() bool { return w.Counts().Dead == 3 })
	w.eventually(t, "they are logged", func() bool { return strings.Count(log.String(), "level=ERROR") == 3 })
	if len(want) > 0 || w.Counts().Retried != 9 {
		t.Errorf("missing %v; %d retries, want 9", want, w.Counts().Retried)
	}
}

func (w *world) nextDead(t *testing.T) (d amqp.Delivery) {
	t.Helper()
	admin(t, w.at, func(ch *amqp.Channel) error {
		w.eventually(t, "a message is dead", func() bool {
			if !w.queueExists(t, w.config.deadQueue()) {
				return false
			}
			var ok bool
			d, ok, _ = ch.Get(w.config.deadQueue(), true)
			return ok
		})
		return nil
	})
	return d
}

// TestWhatNobodyCanReadIsDeadAtOnce, and what others add is no harm.
func TestWhatNobodyCanReadIsDeadAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	var got inbox
	w.subscribe(t, 1, func(_ context.Context, m bus.Message) error { got.add(m); return nil })
	good := amqp.Table{metaID: "good", metaType: kind, metaAt: "2026-01-02T03:04:05Z", "x-extra": int32(1), "other": amqp.Table{"a": "b"}}
	// Headers that just fit a frame, and would not with a reason beside them.
	huge := amqp.Table{"one": strings.Repeat("x", 55_000), "two": strings.Repeat("x", 55_000)}
	for i := range 1900 {
		huge[fmt.Sprint(1000+i)] = "x"
	}
	bad := []amqp.Table{
		nil, huge,
		{"x": int32(1)},
		{metaType: "other"},
		{metaType: int32(1)},
		{metaType: kind},
		{metaType: kind, metaAt: "soon"},
		{metaType: kind, metaAt: "2026-01-02T03:04:05Z", metaFailures: "often"},
		{metaType: kind, metaAt: "2026-01-02T03:04:05Z", metaFailures: "-1"},
	}
	admin(t, w.at, func(ch *amqp.Channel) error {
		var errs []error
		for _, headers := range append(bad, good) {
			errs = append(errs, ch.PublishWithContext(t.Context(), w.config.Prefix, kind, false, false, amqp.Publishing{Headers: headers, Body: []byte("text")}))
		}
		return errors.Join(errs...)
	})
	for range bad {
		if d := w.nextDead(t); d.Headers[metaReason] != "message_unreadable: The message cannot be read." || string(d.Body) != "text" {
			t.Errorf("dead with %v and %q", d.Headers, d.Body)
		}
	}
	w.eventually(t, "the good one arrives", func() bool { return got.has("good") })
	if len(got.seen) != 1 {
		t.Errorf("got %v, want the good one only", got.seen)
	}
}

// TestQueuesThatAreRemovedComeBack: an operator cleaned up.
func TestQueuesThatAreRemovedComeBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	var got inbox
	w.subscribe(t, 1, func(_ context.Context, m bus.Message) error {
		if n := got.add(m); n <= 2 && strings.HasPrefix(m.ID, "fails") {
			return errors.New("not yet")
		}
		return nil
	})
	// As many as make every channel declare, and miss, the queue of retries.
	const n = 3 * outlets
	fail := func(when string) {
		for i := range n {
			w.insist(t, msg(fmt.Sprintf("fails %s %d", when, i)))
		}
		for i := range n {
			id := fmt.Sprintf("fails %s %d", when, i)
			w.eventually(t, id+" is tried again", func() bool { return got.times(id) >= 3 })
		}
	}
	fail("before")
	admin(t, w.at, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(w.config.retryName(w.config.Delays[0]), false, false, false)
		return err
	})
	fail("after")
	admin(t, w.at, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(w.config.queueName(kind, "g"), false, false, false)
		return errors.Join(err, ch.ExchangeDelete(w.config.Prefix, false, false))
	})
	w.eventually(t, "group and exchange come back", func() bool { _ = w.Publish(t.Context(), msg("3")); return got.has("3") })
}

// TestRandomCutsLoseNothing under load: what Publish said is there arrives.
func TestRandomCutsLoseNothing(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rnd := mrand.New(mrand.NewPCG(seed, 1))
	w := newWorld(t, standard(t), Config{Patience: 2 * time.Second})
	var tried, got, sent inbox
	var failed atomic.Int64
	w.subscribe(t, 3, func(_ context.Context, m bus.Message) error {
		if m.Key == "fails" && tried.add(m) == 1 {
			return errors.New("once")
		}
		got.add(m)
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	var publishers sync.WaitGroup
	for p := range 4 {
		publishers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				batch := []bus.Message{msg(fmt.Sprintf("%d-%d-a", p, i)), msg(fmt.Sprintf("%d-%d-b", p, i))}
				if i%2 == 0 {
					batch[0].Key = "fails"
				}
				if w.Publish(ctx, batch...) != nil {
					failed.Add(1)
					sleep(ctx, 2*time.Millisecond)
					continue
				}
				sent.add(batch[0])
				sent.add(batch[1])
			}
		})
	}
	const cuts = 40
	for range cuts {
		switch rnd.IntN(4) {
		case 0:
			w.proxy.set(deaf)
			sleep(ctx, time.Duration(rnd.IntN(20))*time.Millisecond)
		case 1:
			w.proxy.set(stall)
			sleep(ctx, time.Duration(rnd.IntN(20))*time.Millisecond)
		case 2:
			w.proxy.set(refuse)
			w.proxy.cut()
			sleep(ctx, time.Duration(rnd.IntN(50))*time.Millisecond)
		}
		w.proxy.cut()
		w.proxy.set(pass)
		sleep(ctx, time.Duration(rnd.IntN(100))*time.Millisecond)
	}
	cancel()
	publishers.Wait()
	missing := func() (out []string) {
		for id := range sent.seen {
			if !got.has(id) {
				out = append(out, id)
			}
		}
		return out
	}
	for began := time.Now(); len(missing()) > 0 && time.Since(began) < time.Minute; time.Sleep(20 * time.Millisecond) {
	}
	if lost := missing(); len(lost) > 0 {
		t.Errorf("seed %d: %d of %d published messages are lost: %.10q", seed, len(lost), len(sent.seen), lost)
	}
	if failed.Load() == 0 || len(sent.seen) == 0 {
		t.Errorf("seed %d: %d messages published, %d refused: nothing was tested", seed, len(sent.seen), failed.Load())
	}
	t.Logf("seed %d: %d cuts, %d messages published, %d batches refused, %d connections", seed, cuts, len(sent.seen), failed.Load(), w.Counts().Connected)
}

// TestAKilledBrokerLosesNothing: messages that wait, that are being handled and
// that wait for their next try.
func TestAKilledBrokerLosesNothing(t *testing.T) {
	t.Parallel()
	own := needOwnBroker(t)
	w := newWorld(t, own.url(), Config{Delays: []time.Duration{2 * time.Second}})
	var first, got inbox
	entered := make(chan struct{})
	end := w.subscribe(t, 1, func(ctx context.Context, m bus.Message) error {
		if m.ID == "fails" {
			first.add(m)
			return errors.New("once")
		}
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	})
	w.insist(t, msg("fails"))
	w.eventually(t, "it is put off", func() bool { return w.Counts().Retried == 1 })
	w.insist(t, msg("held"), msg("waits1"), msg("waits2"))
	<-entered
	own.crash(t)
	end()
	w.subscribe(t, 1, func(_ context.Context, m bus.Message) error { got.add(m); return nil })
	for _, id := range []string{"fails", "held", "waits1", "waits2"} {
		w.eventually(t, id+" arrives", func() bool { return got.has(id) })
	}
}

// TestAFullBrokerIsSaid: it keeps the connection, and takes nothing. Beside it,
// a user without permissions, and a limit on messages: the questions to the
// broker are what takes long.
func TestAFullBrokerIsSaid(t *testing.T) {
	t.Parallel()
	own := needOwnBroker(t)
	own.turn.Lock()
	defer own.turn.Unlock()
	w := newWorld(t, own.url(), Config{})
	var got inbox
	w.subscribe(t, 1, func(_ context.Context, m bus.Message) error { got.add(m); return nil })
	w.insist(t, msg("0"))
	own.control(t, "eval", `rabbit_auth_backend_internal:add_user(<<"weak">>, <<"hunter2">>, <<"test">>), `+permissions("^$")+`, rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []}), application:set_env(rabbit, max_message_size, 100000).`)
	weak := weakWorld(t, own, &got)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := w.Publish(ctx, msg("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Publish to a full broker: %v; want the context's error", err)
	}
	w.eventually(t, "Ping says so", func() bool { return fault.CodeOf(w.Ping(t.Context())) == "broker_blocked" })
	wantFault(t, w.Publish(t.Context(), msg("2")), fault.Unavailable, "broker_blocked")
	wantFault(t, weak.Ping(t.Context()), fault.Unavailable, "broker_refused_permission")
	own.control(t, "eval", "rabbit_alarm:clear_alarm({resource_limit, memory, node()}), "+permissions(".*")+".")
	w.insist(t, msg("3"))
	weak.eventually(t, "the permissions are used", func() bool {
		_ = weak.Publish(t.Context(), msg("weak"))
		return got.has("weak") && weak.Ping(t.Context()) == nil
	})
	w.eventually(t, "messages flow again", func() bool { return got.has("1") && got.has("3") && w.Ping(t.Context()) == nil })

	w.proxy.cut() // a channel knows the limit of the time when it was opened
	w.insist(t, msg("3"))
	m := msg("large")
	m.Body = make([]byte, 200_000)
	wantFault(t, w.Publish(t.Context(), m), fault.TooLarge, "message_too_large")
	w.insist(t, msg("4"))
}

// permissions say what the user weak may do, in the broker's language.
func permissions(pattern string) string {
	return fmt.Sprintf(`rabbit_auth_backend_internal:set_permissions(<<"weak">>, <<"/">>, <<"%[1]s">>, <<"%[1]s">>, <<"%[1]s">>, <<"test">>)`, pattern)
}

// weakWorld is that of a user who may do nothing, which can be mended.
func weakWorld(t *testing.T, own *ownBroker, got *inbox) *world {
	t.Helper()
	w := newWorld(t, "amqp://weak:hunter2@"+own.address()+"/", Config{})
	w.at = own.url()
	w.subscribeSoon(t, 1, func(_ context.Context, m bus.Message) error { got.add(m); return nil })
	w.eventually(t, "the broker refuses", func() bool { return w.Ping(t.Context()) != nil })
	return w
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

// TestTLS: RabbitMQ behind somebody who speaks TLS for it, which also sees what
// the connection is called.
func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, ca := selfSigned(t)
	_, otherCA := selfSigned(t)
	w := newWorld(t, standard(t), Config{})
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := url.Parse(w.config.URL.Reveal())
	if err != nil {
		t.Fatal("bad URL")
	}
	var heard notebook
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { l.Close() })
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", plain.Host)
			if err != nil {
				client.Close()
				continue
			}
			copyTo := func(to interface{ Write([]byte) (int, error) }, from net.Conn) {
				defer client.Close()
				defer server.Close()
				buf := make([]byte, 4096)
				for {
					n, err := from.Read(buf)
					if err != nil {
						return
					}
					if _, err := to.Write(buf[:n]); err != nil {
						return
					}
				}
			}
			running.Go(func() { copyTo(both{server, &heard}, client) })
			running.Go(func() { copyTo(client, server) })
		}
	})
	at := *plain
	at.Scheme, at.Host = "amqps", l.Addr().String()
	try := func(t *testing.T, query string) *world {
		at := at
		at.RawQuery = query
		c := w.config
		c.URL, c.Name = secret.New(at.String()), "worker-7"
		return &world{Bus: start(t, c)}
	}
	good := try(t, "cacertfile="+ca)
	good.eventually(t, "it is connected", func() bool { return good.Ping(t.Context()) == nil })
	good.insist(t, msg("1"))
	for _, name := range []string{"worker-7 publish", "worker-7 consume"} {
		if !strings.Contains(heard.String(), name) {
			t.Errorf("no connection is called %q", name)
		}
	}
	for _, query := range []string{"", "cacertfile=" + otherCA, "cacertfile=/nowhere", "cacertfile=/dev/null", "certfile=/nowhere&keyfile=/nowhere"} {
		b := try(t, query)
		b.eventually(t, "TLS is refused with "+query, func() bool { return fault.CodeOf(b.Ping(t.Context())) == "broker_tls" })
	}
}

type both struct {
	to    net.Conn
	heard *notebook
}

func (b both) Write(p []byte) (int, error) {
	_, _ = b.heard.Write(p)
	return b.to.Write(p)
}

func selfSigned(t *testing.T) (c tls.Certificate, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, path
}

// TestWatermillTakesPart: what is on the wire is watermill-amqp's.
func TestWatermillTakesPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	var got inbox
	w.subscribe(t, 1, func(_ context.Context, m bus.Message) error { got.add(m); return nil })
	config := plainWatermill(w.at, w.config.Prefix)
	config.Queue.GenerateName = func(topic string) string { return w.config.Prefix + "." + topic + ".peer" }
	w.groups.Store(w.config.Prefix+"."+kind+".peer", true)
	sub, err := wamqp.NewSubscriber(config, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	theirs, err := sub.Subscribe(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	w.insist(t, msg("ours"))
	select {
	case m := <-theirs:
		if m.UUID != "ours" || m.Metadata[metaType] != kind || string(m.Payload) != "{}" {
			t.Errorf("watermill got %+v", m)
		}
		m.Ack()
	case <-time.After(time.Minute):
		t.Fatal("watermill got nothing")
	}
	pub, err := wamqp.NewPublisher(config, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	m := message.NewMessage("theirs", []byte("{}"))
	m.Metadata = message.Metadata{metaID: "theirs", metaType: kind, metaAt: "2026-01-02T03:04:05Z"}
	if err := pub.Publish(kind, m); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, "watermill's message arrives", func() bool { return got.has("theirs") })
}

// plainWatermill is how watermill-amqp is set up by itself.
func plainWatermill(at, exchange string) wamqp.Config {
	config := wamqp.NewDurablePubSubConfig(at, wamqp.GenerateQueueNameTopicName)
	config.Exchange = wamqp.ExchangeConfig{GenerateName: wamqp.GenerateExchangeNameConstant(exchange), Type: amqp.ExchangeDirect, Durable: true}
	config.QueueBind.GenerateRoutingKey = func(topic string) string { return topic }
	config.Publish.GenerateRoutingKey = func(topic string) string { return topic }
	config.Publish.ConfirmDelivery = true
	config.Publish.ChannelPoolSize = outlets
	return config
}
