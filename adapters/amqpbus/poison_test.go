package amqpbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/bus"
)

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
