package bus_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/ports/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errFull = errors.New("full")

// deaf publishes nothing, and hands one message to whoever subscribes.
type deaf struct{}

func (deaf) Publish(context.Context, ...bus.Message) error { return errFull }

func (deaf) Subscribe(ctx context.Context, _, _ string, _ int, h bus.Handler) error {
	return h(ctx, bus.Message{ID: "2"})
}

type pinged struct{ deaf }

func (pinged) Ping(context.Context) error { return nil }

func TestIntercepterHearsOfEverythingAndHidesNothing(t *testing.T) {
	t.Parallel()
	for _, inner := range []bus.Bus{deaf{}, pinged{}} {
		var heard []string
		b := bus.Intercept(inner, func(ctx context.Context, call string, msgs ...bus.Message) (context.Context, func(error)) {
			return ctx, func(err error) {
				for _, m := range msgs {
					if call += " " + m.ID; err != nil {
						call += " failed"
					}
				}
				heard = append(heard, call)
			}
		})
		if err := b.Publish(t.Context(), bus.Message{ID: "1"}); !errors.Is(err, errFull) {
			t.Error(err)
		}
		if err := b.Subscribe(t.Context(), "t", "g", 1, func(context.Context, bus.Message) error { return nil }); err != nil {
			t.Error(err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = b.Subscribe(t.Context(), "t", "g", 1, func(context.Context, bus.Message) error { panic("no") })
		}()
		if want := []string{"publish 1 failed", "handle 2", "handle 2 failed"}; !slices.Equal(heard, want) {
			t.Errorf("heard %q", heard)
		}
		type pinger interface {
			Ping(ctx context.Context) error
		}
		_, was := inner.(pinger)
		if _, is := b.(pinger); is != was {
			t.Errorf("can be pinged: %t, was %t", is, was)
		}
	}
}

type panicking struct{ bus.Bus }

func (panicking) Publish(context.Context, ...bus.Message) error { panic("on purpose") }

// What panics while it publishes ends as what failed, and panics on.
func TestIntercepterTellsOfAPanicWhilePublishing(t *testing.T) {
	t.Parallel()
	var got error
	b := bus.Intercept(panicking{}, func(ctx context.Context, _ string, _ ...bus.Message) (context.Context, func(error)) {
		return ctx, func(err error) { got = err }
	})
	defer func() {
		if recover() == nil || got == nil {
			t.Errorf("the panic is gone, or the call ended with %v", got)
		}
	}()
	_ = b.Publish(t.Context())
}
