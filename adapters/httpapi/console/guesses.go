package console

import (
	"context"
	"hash/maphash"
	"sync"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// guess limits how often a wrong password may be tried in do: whoever has stolen
// a session shall not find out the password with it.
func (h console) guess(ctx context.Context, do func() error) error {
	who, err := actor.From(ctx)
	if err != nil {
		return err
	}
	key := "password " + who.UserID.String()
	defer h.guesses.lock(key)() // one guess at a time: many at once would all pass the look below
	if err := h.AuthLimit.Peek(ctx, key); err != nil {
		return err
	}
	err = do()
	if fault.CodeOf(err) == "password_incorrect" {
		_ = h.AuthLimit.Take(ctx, key) // this answer tells the password was wrong; the next may be a refusal
	}
	return err
}

// guesses lets those who share a key take turns. Its locks are few, and shared
// by keys that fall together: it grows with nobody.
type guesses struct {
	seed  maphash.Seed
	locks [64]sync.Mutex
}

func newGuesses() *guesses { return &guesses{seed: maphash.MakeSeed()} }

// lock waits for the key's turn and returns what ends it.
func (g *guesses) lock(key string) (unlock func()) {
	l := &g.locks[maphash.String(g.seed, key)%uint64(len(g.locks))]
	l.Lock()
	return l.Unlock
}
