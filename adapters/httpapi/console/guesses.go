package console

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// guarded limits how often a wrong password may be tried in what is done with the
// ctx that it returns: whoever has stolen a session shall not find out the password with it.
func (h console) guarded(ctx context.Context) context.Context {
	return identity.WithGuard(ctx, h.guess)
}

// guess has only the look at a password take its turn: what is done after it may
// take its time.
func (h console) guess(ctx context.Context, look func() error) error {
	who, err := actor.From(ctx)
	if err != nil {
		return err
	}
	key := "password " + who.UserID.String()
	unlock, err := h.guesses.lock(ctx, key) // one guess at a time: many at once would all pass the look below
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.AuthLimit.Peek(ctx, key); err != nil {
		return err
	}
	err = look()
	if fault.CodeOf(err) == "password_incorrect" {
		_ = h.AuthLimit.Take(ctx, key) // this answer tells the password was wrong; the next may be a refusal
	}
	return err
}

// guesses lets those who share a key take turns. Its locks are few, and shared
// by keys that fall together: it grows with nobody.
type guesses struct {
	seed  maphash.Seed
	locks [64]chan struct{} // full while somebody has the turn
}

func newGuesses() *guesses {
	g := &guesses{seed: maphash.MakeSeed()}
	for i := range g.locks {
		g.locks[i] = make(chan struct{}, 1)
	}
	return g
}

// lock waits for the key's turn and returns what ends it. Whoever has gone waits
// no longer.
func (g *guesses) lock(ctx context.Context, key string) (unlock func(), err error) {
	l := g.locks[maphash.String(g.seed, key)%uint64(len(g.locks))]
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait to have a password checked: %w", ctx.Err())
	}
}
