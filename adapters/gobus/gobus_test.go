package gobus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBus(t *testing.T) {
	t.Parallel()
	const why = "the broker is in this process"
	bustest.Run(t, bustest.Harness{
		New: func(t *testing.T) bus.Bus {
			b := New(Config{Log: quiet(), Backoff: func(n int) time.Duration { return time.Duration(n) * 5 * time.Millisecond }})
			t.Cleanup(func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			})
			return b
		},
		Delivers:    5 * time.Second,
		WhyNoSecond: why, WhyNoCut: why, WhyNoRestart: why,
	})
}

func TestBackoffIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Log: quiet(), Backoff: func(n int) time.Duration { return time.Duration(n) * time.Minute }})
		var at []time.Duration
		start := time.Now()
		end := subscribe(t, b, func(context.Context, bus.Message) error {
			at = append(at, time.Since(start))
			if len(at) < 4 {
				return errors.New("not now")
			}
			return nil
		})
		publish(t, b, "1")
		time.Sleep(time.Hour)
		end()
		if want := []time.Duration{0, time.Minute, 3 * time.Minute, 6 * time.Minute}; !slices.Equal(at, want) {
			t.Errorf("attempts at %v, want %v", at, want)
		}
	})
}

func TestFullBufferIsUnavailable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Log: quiet(), Buffer: 3, Patience: time.Second})
		var handled atomic.Int32
		gate := make(chan struct{})
		end := subscribe(t, b, func(context.Context, bus.Message) error {
			<-gate
			handled.Add(1)
			return nil
		})
		publish(t, b, "1", "2", "3")
		start := time.Now()
		if err := b.Publish(t.Context(), messages("4")...); !errors.Is(err, fault.Unavailable) || time.Since(start) != time.Second {
			t.Errorf("%v after %v; want unavailable after a second", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := b.Publish(ctx, messages("4")...); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v; want the context's error", err)
		}
		close(gate)
		publish(t, b, "4", "5", "6", "7")
		synctest.Wait()
		if n := handled.Load(); n != 7 {
			t.Errorf("%d handled, want 7", n)
		}
		end()
	})
}

// TestPoisonTakesOnlyItsSlot: as many poisoned messages as there are slots less
// one, and the rest still flows through one handler.
func TestPoisonTakesOnlyItsSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Log: quiet(), Buffer: 4})
		var handled atomic.Int32
		end := subscribe(t, b, func(_ context.Context, m bus.Message) error {
			if strings.HasPrefix(m.ID, "poison") {
				panic("never")
			}
			handled.Add(1)
			return nil
		})
		publish(t, b, "poison1", "poison2", "poison3")
		for i := range 100 {
			publish(t, b, fmt.Sprint(i))
		}
		time.Sleep(time.Hour)
		if n := handled.Load(); n != 100 {
			t.Errorf("%d handled, want 100", n)
		}
		end()
	})
}

func TestClosedTakesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Log: quiet()})
		end := subscribe(t, b, func(context.Context, bus.Message) error { return nil })
		if err := errors.Join(b.Ping(t.Context()), b.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		end() // the subscription lasts as long as its context
		for what, err := range map[string]error{
			"Ping": b.Ping(t.Context()), "Publish": b.Publish(t.Context(), messages("1")...),
			"Subscribe": b.Subscribe(t.Context(), "t", "g", 1, func(context.Context, bus.Message) error { return nil }),
		} {
			if !errors.Is(err, fault.Unavailable) {
				t.Errorf("%s: %v; want unavailable", what, err)
			}
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	t.Parallel()
	for n := 1; n < 200; n++ {
		if d := backoff(n); d < 50*time.Millisecond || d > 30*time.Second {
			t.Errorf("after failure %d: %v", n, d)
		}
	}
}

// subscribe returns when the group is known; end returns when it has ended, and
// closes the bus.
func subscribe(t *testing.T, b *Bus, h bus.Handler) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Subscribe(ctx, "t", "g", 1, h) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := errors.Join(<-done, b.Close()); err != nil {
			t.Error(err)
		}
	}
}

func publish(t *testing.T, b *Bus, names ...string) {
	t.Helper()
	if err := b.Publish(t.Context(), messages(names...)...); err != nil {
		t.Errorf("publish %s: %v", names, err)
	}
}

func messages(names ...string) (out []bus.Message) {
	for _, n := range names {
		out = append(out, bus.Message{ID: n, Type: "t"})
	}
	return out
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func BenchmarkRoundTrip(b *testing.B) {
	bb := New(Config{Log: quiet()})
	defer bb.Close()
	ctx, cancel := context.WithCancel(b.Context())
	got, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_ = bb.Subscribe(ctx, "t", "g", 1, func(context.Context, bus.Message) error { got <- struct{}{}; return nil })
	}()
	for len(bb.groupsOf("t")) == 0 {
		time.Sleep(time.Millisecond)
	}
	for b.Loop() {
		if err := bb.Publish(b.Context(), bus.Message{Type: "t"}); err != nil {
			b.Fatal(err)
		}
		<-got
	}
	cancel()
	<-done
}
