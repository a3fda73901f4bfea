package clock_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/clock"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// elsewhere is a store whose clock is off, that takes its time, or is away.
type elsewhere struct {
	store.Store
	off, slow atomic.Int64
	away      atomic.Bool
}

func (e *elsewhere) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if e.away.Load() {
		return errors.New("away")
	}
	return e.Store.View(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, elsewhereTx{tx, e}) })
}

type elsewhereTx struct {
	store.Tx
	e *elsewhere
}

func (t elsewhereTx) Now(ctx context.Context) (time.Time, error) {
	at, err := t.Tx.Now(ctx)
	time.Sleep(time.Duration(t.e.slow.Load())) // of the bubble's time
	return at.Add(time.Duration(t.e.off.Load())), err
}

func inBubble(t *testing.T, test func(t *testing.T, e *elsewhere, c *clock.Clock)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := &elsewhere{Store: memstore.New()}
		c, err := clock.New(e, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		test(t, e, c)
	})
}

func off(c *clock.Clock) time.Duration { return time.Until(c.Now()).Round(time.Millisecond) }

func TestItTellsTheStoresTimeAndGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, e *elsewhere, c *clock.Clock) {
		e.off.Store(int64(time.Hour))
		if !c.Await(t.Context()) || off(c) != time.Hour {
			t.Errorf("off by %v", off(c))
		}
		time.Sleep(time.Minute)
		if off(c) != time.Hour {
			t.Errorf("a minute later off by %v", off(c))
		}
	})
}

func TestItIsNeverAheadOfTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, e *elsewhere, c *clock.Clock) {
		e.slow.Store(int64(500 * time.Millisecond))
		if err := c.Set(t.Context()); err != nil || off(c) != -500*time.Millisecond {
			t.Errorf("off by %v: %v", off(c), err)
		}
		e.slow.Store(int64(1500 * time.Millisecond))
		if err := c.Set(t.Context()); err == nil || off(c) != -500*time.Millisecond {
			t.Errorf("an answer that came too late was taken: off by %v", off(c))
		}
	})
}

func TestASlowAnswerDoesNotTakeItBack(t *testing.T) {
	inBubble(t, func(t *testing.T, e *elsewhere, c *clock.Clock) {
		if err := c.Set(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.slow.Store(int64(500 * time.Millisecond))
		set := make(chan error)
		go func() { set <- c.Set(t.Context()) }()
		time.Sleep(400 * time.Millisecond)
		before := c.Now()
		if err := <-set; err != nil || c.Now().Before(before) {
			t.Errorf("it went back from %v to %v: %v", before, c.Now(), err)
		}
		time.Sleep(time.Second)
		if off(c) != -500*time.Millisecond {
			t.Errorf("off by %v", off(c))
		}
	})
}

func TestItWaitsForTheStoreAndFollowsIt(t *testing.T) {
	inBubble(t, func(t *testing.T, e *elsewhere, c *clock.Clock) {
		e.away.Store(true)
		e.off.Store(int64(time.Hour))
		time.AfterFunc(10*time.Second, func() { e.away.Store(false) })
		began := time.Now()
		if !c.Await(t.Context()) || off(c) != time.Hour || time.Since(began) > 12*time.Second {
			t.Errorf("after %v off by %v", time.Since(began), off(c))
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		e.off.Store(-int64(time.Hour))
		time.Sleep(11 * time.Second)
		if off(c) != -time.Hour {
			t.Errorf("the store's clock was set, and this one is off by %v", off(c))
		}
		e.away.Store(true)
		time.Sleep(time.Minute)
		if off(c) != -time.Hour {
			t.Errorf("without the store it is off by %v", off(c))
		}
		cancel()
		<-ended
		if c.Await(ctx) {
			t.Error("it waits beyond its context")
		}
	})
}
