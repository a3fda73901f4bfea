package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
)

// Drain turns readiness off, so that nobody sends new requests here while the
// last ones are answered, and ends background work: jobs and watches are given
// back at once, for other processes to go on with. It comes before Stop.
func (a *App) Drain() { a.lookout.drain() }

// Ready says of each thing that the platform needs whether it is there. An error
// that is httpapi.Degraded keeps nobody from being answered.
func (a *App) Ready(ctx context.Context) map[string]error { return a.lookout.check(ctx) }

// lookout knows whether all that the platform needs is there, tells the log when
// that changes, and ends background work.
type lookout struct {
	log   *slog.Logger
	now   func() time.Time
	asked map[string]func(context.Context) error

	mu       sync.Mutex
	sighted  map[string]sighting
	draining bool
	end      context.CancelFunc // of background work
}

// sighting is what is known of one thing.
type sighting struct {
	seen bool      // it has been there since this process began
	away bool      // the last time that it was looked for
	told time.Time // when the log was told that it is away
}

func newLookout(c Config) *lookout {
	return &lookout{log: c.part("readiness"), now: c.Now, sighted: map[string]sighting{}}
}

func (l *lookout) watch(b backends) {
	l.asked = map[string]func(context.Context) error{"database": b.Store.Ping, "broker": pingOf(b.Bus), "backend": pingOf(b.Provisioner)}
}

// pingOf is what a backend may add to its port to take part in readiness.
func pingOf(backend any) func(context.Context) error {
	if p, ok := backend.(interface {
		Ping(ctx context.Context) error
	}); ok {
		return p.Ping
	}
	return func(context.Context) error { return nil }
}

var errDraining = errors.New("the server is stopping")

// check asks all at once: one that hangs leaves the others their time.
func (l *lookout) check(ctx context.Context) map[string]error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	checks := map[string]error{}
	for name, ask := range l.asked {
		wg.Go(func() {
			err := ask(ctx)
			mu.Lock()
			defer mu.Unlock()
			checks[name] = err
		})
	}
	wg.Wait()
	if errors.Is(ctx.Err(), context.Canceled) { // whoever asked has gone, and nothing was learnt
		return checks
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, err := range checks {
		checks[name] = l.note(ctx, name, err)
	}
	if l.draining {
		checks["server"] = errDraining
	}
	return checks
}

// tellEvery is how often the log is told of the same thing.
const tellEvery = time.Minute

// note keeps what was learnt. Only the database is needed for every answer: what
// else was there before and went is waited for by the jobs, not by requests.
func (l *lookout) note(ctx context.Context, name string, err error) error {
	s := l.sighted[name]
	defer func() { l.sighted[name] = s }()
	if err == nil {
		if s.away {
			l.log.InfoContext(ctx, "it answers again", "check", name)
		}
		s = sighting{seen: true}
		return nil
	}
	if now := l.now(); !s.away || now.Sub(s.told) >= tellEvery {
		s.told = now
		l.log.WarnContext(ctx, "something that is needed does not answer; waiting for it", "check", name, "err", err)
	}
	s.away = true
	if s.seen && name != "database" {
		return httpapi.Degraded(err)
	}
	return err
}

const (
	firstLook   = 2 * time.Second // connections take a moment
	lookEvery   = 10 * time.Second
	lookTimeout = 5 * time.Second
)

// run looks also when nobody asks.
func (l *lookout) run(ctx context.Context) {
	for pause := firstLook; bell.Wait(ctx, nil, pause); pause = lookEvery {
		limited, cancel := context.WithTimeout(ctx, lookTimeout)
		l.check(limited)
		cancel()
	}
}

// begin returns the context of background work, which has ended already when the
// platform is draining.
func (l *lookout) begin(ctx context.Context) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, l.end = context.WithCancel(ctx)
	if l.draining {
		l.end()
	}
	return ctx
}

func (l *lookout) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draining = true
	if l.end != nil {
		l.end()
	}
}
