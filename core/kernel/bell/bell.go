// Package bell wakes everyone who waits for something to happen in this
// process. A ring is a hint: it may be missed by other processes and may mean
// nothing, so whoever waits on a bell also looks again after a while.
package bell

import (
	"context"
	"sync"
	"time"
)

// Bell may be rung from any goroutine. The zero Bell is ready.
type Bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// Ring wakes everyone who took C before. It does not block.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// C is closed by the next Ring. Take it before looking at what the bell is
// about, so that nothing that happens after the look is missed.
func (b *Bell) C() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

// Wait returns when rung is closed, d has passed, or ctx has ended; then it
// reports false.
func Wait(ctx context.Context, rung <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rung:
	case <-t.C:
	}
	return ctx.Err() == nil
}
