package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
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
	trying, cancel := within(ctx, limit)
	defer cancel()
	w := &waiting{log: log}
	for n := 1; ; n++ {
		err := do(trying)
		if err == nil || ctx.Err() != nil || !errors.Is(err, fault.Unavailable) && trying.Err() == nil {
			return err
		}
		w.note(ctx, err)
		if !bell.Wait(trying, nil, pause(n)) {
			return errors.Join(ctx.Err(), overdue(limit, err))
		}
	}
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
