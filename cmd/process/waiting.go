package process

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
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
