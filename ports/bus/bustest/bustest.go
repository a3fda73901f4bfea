// Package bustest is the contract of package bus, as tests.
package bustest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/ports/bus"
)

// Harness adapts the suite to one adapter. A hook that is nil says why in the
// field after it.
type Harness struct {
	// New returns a bus in a world of its own, ready to use; it cleans up after
	// itself.
	New func(t *testing.T) bus.Bus
	// Delivers is how long a message may take to arrive, also after it has
	// failed three times, or after the broker was cut off.
	Delivers time.Duration
	// KeepsForNobody says whether messages of a type are kept until its first
	// subscriber comes. Those of a group that has once subscribed always are.
	KeepsForNobody bool

	// Second returns what another process would have of the same world.
	Second      func(t *testing.T, b bus.Bus) bus.Bus
	WhyNoSecond string
	// CutConnection breaks the connection to the broker. It may be made anew.
	CutConnection func(t *testing.T, b bus.Bus)
	WhyNoCut      string
	// RestartBroker stops the broker and starts it again.
	RestartBroker func(t *testing.T, b bus.Bus)
	WhyNoRestart  string
}

// Run checks everything package bus promises.
func Run(t *testing.T, h Harness) {
	for name, promise := range map[string]func(world){
		"PublishedIsDelivered":           publishedIsDelivered,
		"EveryMessageArrives":            everyMessageArrives,
		"BodiesAreYours":                 bodiesAreYours,
		"TypesStayApart":                 typesStayApart,
		"HandlerErrorRedelivers":         handlerErrorRedelivers,
		"PanicRedelivers":                panicRedelivers,
		"FailingIsNoSpinning":            failingIsNoSpinning,
		"PoisonDoesNotBlockOthers":       poisonDoesNotBlockOthers,
		"GroupSharesMessages":            groupSharesMessages,
		"TwoGroupsBothGet":               twoGroupsBothGet,
		"ConcurrencyIsBounded":           concurrencyIsBounded,
		"ConcurrencyIsUsed":              concurrencyIsUsed,
		"CancelWaitsForHandlers":         cancelWaitsForHandlers,
		"NoHandlerStartsAfterCancel":     noHandlerStartsAfterCancel,
		"UnsettledGoesToTheNext":         unsettledGoesToTheNext,
		"PublishAfterCancelWaits":        publishAfterCancelWaits,
		"NoHandlerKeepsOrDrops":          noHandlerKeepsOrDrops,
		"CanceledPublish":                canceledPublish,
		"CanceledSubscribe":              canceledSubscribe,
		"ImpossibleSubscriptionIsError":  impossibleSubscriptionIsError,
		"AnotherProcessGetsIt":           anotherProcessGetsIt,
		"CutConnectionLosesNothing":      cutConnectionLosesNothing,
		"RestartedBrokerLosesNothing":    restartedBrokerLosesNothing,
		"UnsettledSurvivesCutConnection": unsettledSurvivesCutConnection,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			promise(world{t, h})
		})
	}
}

const kind = "bustest.v1"

func publishedIsDelivered(w world) {
	b, got := w.New(w.T), make(chan bus.Message, 100)
	w.subscribe(b, kind, "g", 1, into(got))
	sent := bus.Message{
		ID: "msg_1", Type: kind, Key: "cl_1 ä/\"'", At: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
		Body: []byte(`{"text":"ü` + strings.Repeat("long", 1<<16) + `"}`),
	}
	w.publish(b, sent)
	m := w.receive(got)
	if m.ID != sent.ID || m.Type != sent.Type || m.Key != sent.Key || !m.At.Equal(sent.At) || !bytes.Equal(m.Body, sent.Body) {
		m.Body, sent.Body = m.Body[:min(20, len(m.Body))], sent.Body[:20]
		w.Errorf("sent %+v, got %+v", sent, m)
	}
}

func everyMessageArrives(w world) {
	const batches, batch = 10, 20
	b, got := w.New(w.T), make(chan bus.Message, batches*batch*4)
	w.subscribe(b, kind, "g", 4, into(got))
	w.publish(b) // of nothing
	for i := range batches {
		var msgs []bus.Message
		for j := range batch {
			msgs = append(msgs, message(fmt.Sprint(i*batch+j)))
		}
		w.publish(b, msgs...)
	}
	w.receiveAll(got, batches*batch)
}

func bodiesAreYours(w world) {
	b, got := w.New(w.T), make(chan string, 100)
	w.subscribe(b, kind, "g", 1, func(_ context.Context, m bus.Message) error {
		got <- string(m.Body)
		clear(m.Body)
		return errors.New("again")
	})
	m := message("1")
	m.Body = []byte("text")
	w.publish(b, m)
	clear(m.Body)
	for range 2 {
		if body := w.receiveText(got); body != "text" {
			w.Errorf("delivered %q, want what was published", body)
		}
	}
}

func typesStayApart(w world) {
	b, got := w.New(w.T), make(chan bus.Message, 100)
	w.subscribe(b, kind, "g", 1, into(got))
	w.subscribe(b, kind+"x", "g", 1, func(_ context.Context, m bus.Message) error {
		w.Errorf("a subscriber of another type got %s of type %s", m.ID, m.Type)
		return nil
	})
	w.publish(b, message("1"))
	w.receiveAll(got, 1)
}

func handlerErrorRedelivers(w world) {
	w.redelivers(func(int) error { return errors.New("not now") })
}

func panicRedelivers(w world) {
	w.redelivers(func(attempt int) error { panic(attempt) })
}

func (w world) redelivers(fail func(attempt int) error) {
	b, got := w.New(w.T), make(chan bus.Message, 100)
	var attempts, after atomic.Int32
	w.subscribe(b, kind, "g", 1, func(_ context.Context, m bus.Message) error {
		if m.ID == "after" {
			after.Add(1)
			return nil
		}
		if n := int(attempts.Add(1)); n <= 3 {
			return fail(n)
		}
		got <- m
		return nil
	})
	sent := message("1")
	w.publish(b, sent)
	if m := w.receive(got); m.ID != sent.ID || m.Key != sent.Key || !bytes.Equal(m.Body, sent.Body) {
		w.Errorf("sent %+v, redelivered %+v", sent, m)
	}
	w.publish(b, message("after"))
	w.until("the subscription goes on", func() bool { return after.Load() > 0 })
}

func failingIsNoSpinning(w world) {
	b := w.New(w.T)
	var attempts atomic.Int32
	w.subscribe(b, kind, "g", 1, func(context.Context, bus.Message) error {
		attempts.Add(1)
		return errors.New("never")
	})
	w.publish(b, message("poison"))
	w.until("a second attempt", func() bool { return attempts.Load() >= 2 })
	before := attempts.Load()
	time.Sleep(200 * time.Millisecond)
	if n := attempts.Load() - before; n > 100 {
		w.Errorf("%d attempts in 200 ms: there is no back-off", n)
	}
}

func poisonDoesNotBlockOthers(w world) {
	const others = 30
	b, got := w.New(w.T), make(chan bus.Message, others*4)
	w.subscribe(b, kind, "g", 1, func(_ context.Context, m bus.Message) error {
		switch m.ID {
		case "error":
			return errors.New("never")
		case "panic":
			panic("never")
		}
		got <- m
		return nil
	})
	w.publish(b, message("error"), message("panic"))
	for i := range others {
		w.publish(b, message(fmt.Sprint(i)))
	}
	w.receiveAll(got, others)
}

// groupSharesMessages holds the first message of each subscriber back until the
// other has one as well.
func groupSharesMessages(w world) {
	const n = 20
	b, got := w.New(w.T), make(chan bus.Message, n*4)
	both := newMeeting(2, w.Delivers)
	for range 2 {
		var first sync.Once
		w.subscribe(b, kind, "g", 1, func(_ context.Context, m bus.Message) error {
			first.Do(func() { both.attend() })
			got <- m
			return nil
		})
	}
	for i := range n {
		w.publish(b, message(fmt.Sprint(i)))
	}
	w.receiveAll(got, n)
	if !both.held() {
		w.Error("one subscriber of the group got nothing")
	}
	if again := len(got); again >= n {
		w.Errorf("%d of %d messages came more than once: the subscribers do not share", again, n)
	}
}

func twoGroupsBothGet(w world) {
	b, one, two := w.New(w.T), make(chan bus.Message, 100), make(chan bus.Message, 100)
	w.subscribe(b, kind, "one", 1, into(one))
	w.subscribe(b, kind, "two", 1, into(two))
	for i := range 10 {
		w.publish(b, message(fmt.Sprint(i)))
	}
	w.receiveAll(one, 10)
	w.receiveAll(two, 10)
}

func concurrencyIsBounded(w world) {
	const n, limit = 30, 3
	b, got := w.New(w.T), make(chan bus.Message, n*4)
	var running, most atomic.Int32
	w.subscribe(b, kind, "g", limit, func(_ context.Context, m bus.Message) error {
		now := running.Add(1)
		defer running.Add(-1)
		for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
		}
		time.Sleep(2 * time.Millisecond)
		got <- m
		return nil
	})
	for i := range n {
		w.publish(b, message(fmt.Sprint(i)))
	}
	w.receiveAll(got, n)
	if most.Load() > limit {
		w.Errorf("%d handlers at once, want at most %d", most.Load(), limit)
	}
}

func concurrencyIsUsed(w world) {
	b, all := w.New(w.T), newMeeting(3, w.Delivers)
	w.subscribe(b, kind, "g", 3, func(context.Context, bus.Message) error {
		all.attend()
		return nil
	})
	w.publish(b, message("1"), message("2"), message("3"))
	w.until("three handlers at once", all.held)
}

func cancelWaitsForHandlers(w world) {
	b, entered, leave := w.New(w.T), make(chan struct{}), make(chan struct{})
	var enter sync.Once
	var left atomic.Bool
	s := w.subscribe(b, kind, "g", 1, func(context.Context, bus.Message) error {
		enter.Do(func() { close(entered) })
		<-leave
		left.Store(true)
		return nil
	})
	w.publish(b, message("1"))
	w.closed(entered, "the handler runs")
	s.cancel()
	select {
	case <-s.done:
		w.Error("Subscribe returned while a handler ran")
	case <-time.After(100 * time.Millisecond):
	}
	close(leave)
	w.closed(s.done, "Subscribe returns")
	if !left.Load() {
		w.Error("Subscribe returned before its handler")
	}
}

// noHandlerStartsAfterCancel has many messages wait while some are handled.
func noHandlerStartsAfterCancel(w world) {
	const n, running = 60, 8
	b, leave, got := w.New(w.T), make(chan struct{}), make(chan bus.Message, n*4)
	var started atomic.Int32
	s := w.subscribe(b, kind, "g", running, func(context.Context, bus.Message) error {
		started.Add(1)
		<-leave
		return nil
	})
	for i := range n {
		w.publish(b, message(fmt.Sprint(i)))
	}
	w.until("all handlers run", func() bool { return started.Load() == running })
	s.cancel()
	close(leave)
	w.closed(s.done, "Subscribe returns")
	if late := started.Load() - running; late != 0 {
		w.Errorf("%d handlers started after the context had ended", late)
	}
	w.subscribe(b, kind, "g", 1, into(got))
	w.receiveAll(got, n-running)
}

func unsettledGoesToTheNext(w world) {
	b, entered, got := w.New(w.T), make(chan struct{}), make(chan bus.Message, 100)
	var enter sync.Once
	s := w.subscribe(b, kind, "g", 1, func(ctx context.Context, _ bus.Message) error {
		enter.Do(func() { close(entered) })
		<-ctx.Done()
		return ctx.Err()
	})
	w.publish(b, message("1"))
	w.closed(entered, "the handler runs")
	w.end(s)
	w.subscribe(b, kind, "g", 1, into(got))
	w.receiveAll(got, 1)
}

func publishAfterCancelWaits(w world) {
	b, got := w.New(w.T), make(chan bus.Message, 100)
	var late atomic.Int32
	var over atomic.Bool
	s := w.subscribe(b, kind, "g", 2, func(context.Context, bus.Message) error {
		if over.Load() {
			late.Add(1)
		}
		return nil
	})
	w.end(s)
	over.Store(true)
	w.publish(b, message("1"))
	time.Sleep(50 * time.Millisecond)
	if late.Load() != 0 {
		w.Error("a handler ran after Subscribe had returned")
	}
	w.subscribe(b, kind, "g", 1, into(got))
	w.receiveAll(got, 1)
}

func noHandlerKeepsOrDrops(w world) {
	b, got := w.New(w.T), make(chan bus.Message, 100)
	w.publish(b, message("1"))
	w.subscribe(b, kind, "g", 1, into(got))
	if w.KeepsForNobody {
		w.receiveAll(got, 1)
		return
	}
	w.publish(b, message("2"))
	if m := w.receive(got); m.ID != "2" {
		w.Errorf("got message %s, which was published before anyone had subscribed", m.ID)
	}
}

func canceledPublish(w world) {
	b := w.New(w.T)
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	start := time.Now()
	if err := b.Publish(ctx, message("1")); err != nil && !errors.Is(err, context.Canceled) {
		w.Errorf("%v; want it done, or context.Canceled", err)
	}
	if took := time.Since(start); took > time.Second {
		w.Errorf("Publish ignored its context for %v", took)
	}
}

func canceledSubscribe(w world) {
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	start := time.Now()
	if err := w.New(w.T).Subscribe(ctx, kind, "g", 1, func(context.Context, bus.Message) error { return nil }); err != nil {
		w.Errorf("%v; want nil", err)
	}
	if took := time.Since(start); took > w.Delivers {
		w.Errorf("Subscribe ignored its context for %v", took)
	}
}

func impossibleSubscriptionIsError(w world) {
	b := w.New(w.T)
	nop := func(context.Context, bus.Message) error { return nil }
	for what, try := range map[string]func(ctx context.Context) error{
		"no type":        func(ctx context.Context) error { return b.Subscribe(ctx, "", "g", 1, nop) },
		"no group":       func(ctx context.Context) error { return b.Subscribe(ctx, kind, "", 1, nop) },
		"no concurrency": func(ctx context.Context) error { return b.Subscribe(ctx, kind, "g", 0, nop) },
		"no handler":     func(ctx context.Context) error { return b.Subscribe(ctx, kind, "g", 1, nil) },
	} {
		ctx, cancel := context.WithTimeout(w.Context(), w.Delivers)
		if err := try(ctx); err == nil || ctx.Err() != nil {
			w.Errorf("%s: %v; want an error at once", what, err)
		}
		cancel()
	}
}

func anotherProcessGetsIt(w world) {
	if w.Second == nil {
		w.Skip(w.WhyNoSecond)
	}
	b, got := w.New(w.T), make(chan bus.Message, 100)
	w.subscribe(w.Second(w.T, b), kind, "g", 1, into(got))
	w.publish(b, message("1"))
	w.receiveAll(got, 1)
}

func cutConnectionLosesNothing(w world) {
	if w.CutConnection == nil {
		w.Skip(w.WhyNoCut)
	}
	w.losesNothing(w.CutConnection)
}

func restartedBrokerLosesNothing(w world) {
	if w.RestartBroker == nil {
		w.Skip(w.WhyNoRestart)
	}
	w.losesNothing(w.RestartBroker)
}

// losesNothing disturbs a bus between, during and after messages that it has
// accepted.
func (w world) losesNothing(disturb func(*testing.T, bus.Bus)) {
	const n = 60
	b, got := w.New(w.T), make(chan bus.Message, n*10)
	w.subscribe(b, kind, "g", 2, into(got))
	for i := range n {
		w.publish(b, message(fmt.Sprint(i)))
		if i%25 == 10 {
			disturb(w.T, b)
		}
	}
	w.receiveAll(got, n)
}

func unsettledSurvivesCutConnection(w world) {
	if w.CutConnection == nil {
		w.Skip(w.WhyNoCut)
	}
	b, got, entered, leave := w.New(w.T), make(chan bus.Message, 100), make(chan struct{}), make(chan struct{})
	var enter sync.Once
	w.subscribe(b, kind, "g", 1, func(_ context.Context, m bus.Message) (err error) {
		enter.Do(func() {
			close(entered)
			<-leave
			err = errors.New("cut off")
		})
		if err == nil {
			got <- m
		}
		return err
	})
	w.publish(b, message("1"))
	w.closed(entered, "the handler runs")
	w.CutConnection(w.T, b)
	close(leave)
	w.receiveAll(got, 1)
}

// world is one test.
type world struct {
	*testing.T
	Harness
}

func message(name string) bus.Message {
	return bus.Message{ID: name, Type: kind, Key: "key", At: time.Now(), Body: []byte(`{"name":"` + name + `"}`)}
}

func into(got chan<- bus.Message) bus.Handler {
	return func(_ context.Context, m bus.Message) error {
		got <- m
		return nil
	}
}

// subscription is a Subscribe that runs.
type subscription struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (w world) end(s subscription) {
	w.Helper()
	s.cancel()
	select {
	case <-s.done:
	case <-time.After(w.Delivers):
		w.Errorf("Subscribe has not returned %v after its context ended", w.Delivers)
	}
}

const probe = "bustest-probe"

// subscribe returns when messages reach the group, which it finds out by
// sending probes that it keeps from every handler.
func (w world) subscribe(b bus.Bus, messageType, group string, concurrency int, h bus.Handler) subscription {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	s, reached := subscription{cancel, make(chan struct{})}, make(chan struct{})
	var once sync.Once
	go func() {
		defer close(s.done)
		err := b.Subscribe(ctx, messageType, group, concurrency, func(ctx context.Context, m bus.Message) error {
			if m.Key == probe {
				once.Do(func() { close(reached) })
				return nil
			}
			return h(ctx, m)
		})
		if err != nil {
			w.Errorf("Subscribe returned %v, want nil", err)
		}
	}()
	w.Cleanup(func() { w.end(s) })
	for start := time.Now(); time.Since(start) < w.Delivers; {
		w.publish(b, bus.Message{ID: probe, Type: messageType, Key: probe, At: time.Now(), Body: []byte(`{}`)})
		select {
		case <-reached:
			return s
		case <-time.After(20 * time.Millisecond):
		}
	}
	w.Fatalf("no message reaches the group %s", group)
	return s
}

// publish tries again as long as the bus may take, as every caller does.
func (w world) publish(b bus.Bus, msgs ...bus.Message) {
	w.Helper()
	var err error
	for start := time.Now(); time.Since(start) < w.Delivers; time.Sleep(20 * time.Millisecond) {
		if err = b.Publish(w.Context(), msgs...); err == nil {
			return
		}
		if w.CutConnection == nil && w.RestartBroker == nil {
			break // nothing was disturbed
		}
	}
	w.Fatalf("Publish: %v", err)
}

func (w world) receive(got <-chan bus.Message) (m bus.Message) {
	w.Helper()
	select {
	case m = <-got:
	case <-time.After(w.Delivers):
		w.Fatalf("nothing arrived in %v", w.Delivers)
	}
	return m
}

func (w world) receiveText(got <-chan string) (s string) {
	w.Helper()
	select {
	case s = <-got:
	case <-time.After(w.Delivers):
		w.Fatalf("nothing arrived in %v", w.Delivers)
	}
	return s
}

// receiveAll waits for n different messages; any may come more than once.
func (w world) receiveAll(got <-chan bus.Message, n int) {
	w.Helper()
	seen, late := map[string]bool{}, time.After(w.Delivers)
	for len(seen) < n {
		select {
		case m := <-got:
			seen[m.ID] = true
		case <-late:
			w.Fatalf("%d of %d messages arrived in %v", len(seen), n, w.Delivers)
		}
	}
}

func (w world) closed(ch <-chan struct{}, what string) {
	w.Helper()
	select {
	case <-ch:
	case <-time.After(w.Delivers):
		w.Fatalf("waited %v: %s", w.Delivers, what)
	}
}

func (w world) until(what string, is func() bool) {
	w.Helper()
	for start := time.Now(); time.Since(start) < w.Delivers; time.Sleep(2 * time.Millisecond) {
		if is() {
			return
		}
	}
	w.Fatalf("waited %v: %s", w.Delivers, what)
}

// meeting lets nobody go until all are there, or it is too late.
type meeting struct {
	missing atomic.Int32
	all     chan struct{}
	late    time.Duration
}

func newMeeting(n int32, late time.Duration) *meeting {
	m := &meeting{all: make(chan struct{}), late: late}
	m.missing.Store(n)
	return m
}

func (m *meeting) attend() {
	if m.missing.Add(-1) == 0 {
		close(m.all)
	}
	select {
	case <-m.all:
	case <-time.After(m.late / 2):
	}
}

func (m *meeting) held() bool { return m.missing.Load() <= 0 }
