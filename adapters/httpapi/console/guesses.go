package console

import (
	"hash/maphash"
	"sync"
)

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
