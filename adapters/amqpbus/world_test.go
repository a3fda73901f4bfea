package amqpbus

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
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
