package reconcile

import (
	"encoding/binary"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestThePauseDoublesToAMinuteAndIsSpreadByHalf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		attempt := rapid.IntRange(-1, 1000).Draw(t, "attempt")
		chance := rapid.Uint64().Draw(t, "chance")
		w := &Worker{deps: Deps{Random: func() (b [10]byte) { binary.BigEndian.PutUint64(b[:], chance); return b }}}
		most := time.Minute
		if attempt < 7 {
			most = time.Second << max(attempt-1, 0)
		}
		if got := w.backoff(attempt); got < most/2 || got >= most {
			t.Fatalf("attempt %d: %v, want %v to %v", attempt, got, most/2, most)
		}
	})
}

func TestTheSpreadUsesItsWholeRange(t *testing.T) {
	t.Parallel()
	for chance, want := range map[uint64]time.Duration{0: 30 * time.Second, 1 << 63: 45 * time.Second, 1<<64 - 1: time.Minute} {
		w := &Worker{deps: Deps{Random: func() (b [10]byte) { binary.BigEndian.PutUint64(b[:], chance); return b }}}
		if got := w.backoff(50); (got - want).Abs() > 10*time.Millisecond {
			t.Errorf("chance %x: %v, want %v", chance, got, want)
		}
	}
}
