// Package outage tells a log of trouble that lasts: at once, then seldom, and when
// it is over. What is tried every second would fill the log otherwise, and bury
// what matters.
package outage

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// Every is how often the log is told of the same trouble.
	Every = time.Minute
	// News is how long another error waits that follows one that was told.
	News = 10 * time.Second
)

// Teller knows one thing that may be in trouble. It is safe for concurrent use.
type Teller struct {
	log *slog.Logger
	now func() time.Time

	mu          sync.Mutex
	since, told time.Time // the former is zero: there is no trouble
	said        string
	unsaid      int // times that the log was not told of
}

// New returns a Teller for something that is well.
func New(log *slog.Logger, now func() time.Time) *Teller { return &Teller{log: log, now: now} }

// Failed is called whenever it does not work, with what that means for whoever
// reads the log.
func (t *Teller) Failed(ctx context.Context, level slog.Level, what string, err error, more ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, text := t.now(), err.Error()
	if t.since.IsZero() {
		t.since = now
	} else if quiet := now.Sub(t.told); quiet >= 0 && quiet < Every && (text == t.said || quiet < News) {
		t.unsaid++
		return
	}
	more = append(more, "err", err)
	if lasts := now.Sub(t.since); lasts > 0 {
		more = append(more, "for", lasts, "not_told", t.unsaid)
	}
	t.log.Log(ctx, level, what, more...)
	t.told, t.said, t.unsaid = now, text, 0
}

// Works is called whenever it works, with what the log is told after trouble.
func (t *Teller) Works(ctx context.Context, what string, more ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since.IsZero() {
		return
	}
	t.log.InfoContext(ctx, what, append(more, "after", t.now().Sub(t.since), "not_told", t.unsaid)...)
	t.since, t.unsaid = time.Time{}, 0
}
