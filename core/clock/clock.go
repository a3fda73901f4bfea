// Package clock tells the time that all processes have in common: the store's.
// A lease is worth nothing when the processes that look at it disagree about
// when it ends, and the clocks of two machines may differ by any amount.
package clock

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/outage"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Clock asks the store from time to time and counts on from there, by a clock of
// its own that nobody sets.
type Clock struct {
	store store.Store
	log   *slog.Logger

	mu   sync.Mutex
	read time.Time // what the store said last
	when time.Time // when it did, here
	last time.Time // what Now said last
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(s store.Store, log *slog.Logger) (*Clock, error) {
	if s == nil || log == nil {
		return nil, errors.New("clock: a store and a log must be given")
	}
	return &Clock{store: s, log: log}, nil
}

const (
	every = 10 * time.Second // two oscillators drift apart by far less than a millisecond meanwhile
	again = time.Second
	// doubtful is how long an answer may take: the store's time is that of some
	// moment before the answer came, so that this clock is behind by at most as
	// much and never ahead.
	doubtful = time.Second
)

// Now is the store's time, in milliseconds. Before the first [Clock.Set] it is
// this process's. An answer that took long does not take it back: records are
// put in order by it.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.when.IsZero() {
		return time.Now().UTC().Truncate(time.Millisecond) //nolint:forbidigo // counted on by the monotonic clock, which nobody sets
	}
	at := c.read.Add(time.Since(c.when)).UTC().Truncate(time.Millisecond) //nolint:forbidigo // counted on by the monotonic clock, which nobody sets
	if at.Before(c.last) && c.last.Sub(at) <= doubtful {
		return c.last
	}
	c.last = at
	return at
}

// Set asks the store.
func (c *Clock) Set(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*doubtful)
	defer cancel()
	var read time.Time
	began := time.Now() //nolint:forbidigo // counted on by the monotonic clock, which nobody sets
	err := c.store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		began = time.Now() //nolint:forbidigo // as above; without the wait for a connection
		read, err = tx.Now(ctx)
		return err
	})
	when := time.Now() //nolint:forbidigo // counted on by the monotonic clock, which nobody sets
	if err != nil {
		return err
	}
	if when.Sub(began) > doubtful {
		return fault.Unavailable.New("store_busy", "The database takes too long to tell the time.")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read, c.when = read, when
	return nil
}

// Await returns when the store has told the time, or ctx has ended; then it
// reports false.
func (c *Clock) Await(ctx context.Context) bool {
	trouble := outage.New(c.log, c.Now)
	for ctx.Err() == nil {
		err := c.Set(ctx)
		if err == nil {
			trouble.Works(ctx, "the database tells the time again")
			return true
		}
		if ctx.Err() == nil {
			trouble.Failed(ctx, slog.LevelWarn, "the database does not tell the time; trying again", err)
		}
		bell.Wait(ctx, nil, again)
	}
	return false
}

// Run keeps the clock right until ctx ends.
func (c *Clock) Run(ctx context.Context) {
	for pause := every; bell.Wait(ctx, nil, pause); {
		pause = every
		if err := c.Set(ctx); err != nil {
			pause = again // it goes on by itself meanwhile
		}
	}
}
