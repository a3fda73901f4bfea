package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// waiting tells the log and the probes what a start waits for.
type waiting struct {
	log  *slog.Logger
	said string
	at   time.Time

	mu  sync.Mutex
	why error
}

// sayEvery is how often the log is told the same.
const sayEvery = time.Minute

// Await calls do until it succeeds, fails with what waiting does not mend, or ctx
// ends, for at most limit, if that is not 0. Meanwhile the log says why it waits.
func Await(ctx context.Context, log *slog.Logger, limit time.Duration, do func(context.Context) error) error {
	return (&waiting{log: log}).until(ctx, limit, nil, do)
}

// until is Await that also ends, with its error, when broken has one.
func (w *waiting) until(ctx context.Context, limit time.Duration, broken <-chan error, do func(context.Context) error) error {
	trying, cancel := within(ctx, limit)
	defer cancel()
	for n := 1; ; n++ {
		err := do(trying)
		if err == nil || ctx.Err() != nil || !errors.Is(err, fault.Unavailable) && trying.Err() == nil {
			return err
		}
		w.note(ctx, err)
		select {
		case err := <-broken:
			return err
		case <-trying.Done():
		case <-time.After(pause(n)):
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if trying.Err() != nil {
			return overdue(limit, err)
		}
	}
}

func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// pause before try n+1 doubles from half a second to five, and is spread by half.
func pause(n int) time.Duration {
	d := min(500*time.Millisecond<<min(n-1, 4), 5*time.Second)
	return d/2 + rand.N(d/2) //nolint:gosec // spreading load needs no secrecy
}

func overdue(limit time.Duration, err error) error {
	return fmt.Errorf("it did not start within %v: %w", limit, err)
}

var errNotLooked = errors.New("it has not been looked for yet")

func (w *waiting) note(ctx context.Context, err error) {
	w.mu.Lock()
	w.why = err
	w.mu.Unlock()
	if text := err.Error(); text != w.said || time.Since(w.at) >= sayEvery {
		w.said, w.at = text, time.Now()
		w.log.WarnContext(ctx, "cannot start yet; waiting for what is away, and trying again", "err", err)
	}
}

// ready is the readiness of a platform that has not started: only the database
// keeps one from starting.
func (w *waiting) ready(context.Context) map[string]error {
	w.mu.Lock()
	defer w.mu.Unlock()
	checks := map[string]error{"server": errNotLooked, "database": w.why}
	if w.why == nil {
		checks["database"] = errNotLooked
	}
	return checks
}
