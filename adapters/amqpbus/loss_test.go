package amqpbus

import (
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/bus"
)

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
	own.control(t, "eval", `catch rabbit_auth_backend_internal:delete_user(<<"weak">>, <<"test">>), rabbit_auth_backend_internal:add_user(<<"weak">>, <<"hunter2">>, <<"test">>), `+permissions("^$")+`, rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []}), application:set_env(rabbit, max_message_size, 100000).`)
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
