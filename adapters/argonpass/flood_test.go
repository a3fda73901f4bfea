package argonpass

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// TestAFloodOfGuessesIsTurnedAway: so many work, so many wait, and the rest is
// told at once to come back; none of it takes more memory than the slots have.
func TestAFloodOfGuessesIsTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots, flood = 2, 1000
		h, err := New(slots)
		if err != nil {
			t.Fatal(err)
		}
		for range slots { // all at work
			if err := h.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var turnedAway, waited int
		var mu sync.Mutex
		var all sync.WaitGroup
		for range flood {
			all.Go(func() {
				_, _, err := h.Matches(ctx, "", secret.New("guess"))
				mu.Lock()
				defer mu.Unlock()
				switch f, ok := errors.AsType[*fault.Error](err); {
				case ok && f.Kind == fault.Exhausted && f.Code == "rate_limited" && f.RetryAfter >= time.Second:
					turnedAway++
				case errors.Is(err, context.Canceled):
					waited++
				default:
					t.Errorf("a guess in a flood: %v", err)
				}
			})
		}
		synctest.Wait()
		mu.Lock()
		if want := flood - slots*waitingPerSlot; turnedAway != want {
			t.Errorf("%d of %d were turned away, want %d", turnedAway, flood, want)
		}
		mu.Unlock()
		cancel()
		all.Wait()
		t.Logf("%d guesses at once for %d slots: %d turned away, %d waited until they gave up", flood, slots, turnedAway, waited)
		for range slots {
			h.leave()
		}
		if _, _, err := h.Matches(t.Context(), "", secret.New("guess")); err != nil || len(h.slots) > 0 || len(h.queue) > 0 {
			t.Errorf("after the flood: %v; %d at work, %d inside", err, len(h.slots), len(h.queue))
		}
	})
}
