package app

import (
	"context"
	"errors"
	"log/slog"
	"maps"
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

	began time.Time
	also  func(context.Context) map[string]error // what an embedder looks for; nil: nothing

	mu       sync.Mutex
	last     *look // nil: nobody has looked yet
	sighted  map[string]sighting
	draining bool
	end      context.CancelFunc // of background work
}

// look is one that all who come together share. Its outcome may be read when done
// is closed.
type look struct {
	at     time.Time
	done   chan struct{}
	checks map[string]error
}

// sighting is what is known of one thing.
type sighting struct {
	seen bool      // it has been there since this process began
	away bool      // the last time that it was looked for
	told time.Time // when the log was told that it is away
}

func newLookout(c Config) *lookout {
	return &lookout{log: c.part("readiness"), now: c.Now, began: c.Now(), also: c.HTTP.Ready, sighted: map[string]sighting{}}
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

// lookKept is for how long what was learnt is told to everybody who asks. Anyone
// may, and each look asks the database, the broker and the host.
const lookKept = time.Second

// check tells what is there, as of a second ago.
func (l *lookout) check(ctx context.Context) map[string]error {
	k, mine := l.share()
	if mine {
		l.look(ctx, k)
	}
	select {
	case <-k.done:
	case <-ctx.Done(): // it is not known
		return l.finish(ctx, nil)
	}
	return l.finish(ctx, k.checks)
}

// share returns the look that is under way or has just been, or a new one, which
// the caller has to take.
func (l *lookout) share() (k *look, mine bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if k := l.last; k != nil {
		select {
		case <-k.done:
			if age := now.Sub(k.at); age >= 0 && age < lookKept {
				return k, false
			}
		default:
			return k, false
		}
	}
	l.last = &look{done: make(chan struct{})}
	return l.last, true
}

// look asks all at once: one that hangs leaves the others their time. It goes on
// when whoever asked first has gone, for the others.
func (l *lookout) look(ctx context.Context, k *look) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	if end, ok := ctx.Deadline(); ok {
		limited, cancel = context.WithDeadline(limited, end)
		defer cancel()
	}
	checks := make(map[string]error, len(l.asked))
	var wg sync.WaitGroup
	var mu sync.Mutex
	for name, ask := range l.asked {
		wg.Go(func() {
			err := ask(limited)
			mu.Lock()
			defer mu.Unlock()
			checks[name] = err
		})
	}
	var also map[string]error
	if l.also != nil {
		also = l.also(limited)
	}
	wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, err := range checks {
		checks[name] = l.note(ctx, name, err)
	}
	for name, err := range also {
		if _, own := checks[name]; !own {
			checks[name] = err
		}
	}
	k.at, k.checks = l.now(), checks
	close(k.done)
}

// finish adds what is known of this process itself; checks are nil for a caller
// that has gone.
func (l *lookout) finish(ctx context.Context, checks map[string]error) map[string]error {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := maps.Clone(checks)
	if out == nil {
		out = map[string]error{}
		for name := range l.asked {
			out[name] = ctx.Err()
		}
	}
	if l.draining {
		out["server"] = errDraining
	}
	return out
}

// tellEvery is how often the log is told of the same thing.
const tellEvery = time.Minute

// strictFor is how long a process that has just begun waits for all before it says
// that it is ready.
const strictFor = time.Minute

// note keeps what was learnt. Only the database is needed for every answer: what
// else was there before and went, or does not come, is waited for by the jobs and
// not by requests. Were it otherwise for long, servers that are restarted while
// the broker is away would go out of service one after the other.
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
	now := l.now()
	if !s.away || now.Sub(s.told) >= tellEvery {
		s.told = now
		l.log.WarnContext(ctx, "something that is needed does not answer; waiting for it", "check", name, "err", err)
	}
	s.away = true
	if name != "database" && (s.seen || now.Sub(l.began) >= strictFor) {
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
