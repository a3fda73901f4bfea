package app

import (
	"context"
	"time"

	"go.uber.org/fx"
)

// starting gives what starts a context of its own. The one that fx gets is also
// that in which it stops what had started when something did not; if it ended with
// the time for the start, connections would stay open behind a start that came
// too late.
type starting struct {
	ctx context.Context //nolint:containedctx // that of the one call of Start, for hooks that fx calls in another
}

// run starts with hooks that end with ctx, and gives fx the time of a stop beyond.
func (s *starting) run(ctx context.Context, start func(context.Context) error) error {
	s.ctx = ctx
	whole, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	late := context.AfterFunc(ctx, func() {
		t := time.NewTimer(stopTimeout)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-whole.Done():
		}
	})
	defer late()
	return start(whole)
}

// about hands lifecycles out whose hooks start within the context of Start.
func (s *starting) about(lc fx.Lifecycle) fx.Lifecycle { return limited{lc, s} }

type limited struct {
	fx.Lifecycle
	starting *starting
}

func (l limited) Append(h fx.Hook) {
	if start := h.OnStart; start != nil {
		h.OnStart = func(context.Context) error {
			if err := l.starting.ctx.Err(); err != nil {
				return err
			}
			return start(l.starting.ctx)
		}
	}
	l.Lifecycle.Append(h)
}
