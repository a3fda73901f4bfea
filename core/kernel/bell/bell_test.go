package bell_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestARingWakesEverybodyWhoTookTheBellBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bell.Bell
		woken := make(chan bool, 3)
		for range 3 {
			rung := b.C()
			go func() { woken <- bell.Wait(t.Context(), rung, time.Hour) }()
		}
		synctest.Wait()
		began := time.Now()
		b.Ring()
		for range 3 {
			if !<-woken {
				t.Error("woken, but told that the context ended")
			}
		}
		if time.Since(began) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
	})
}

func TestARingBetweenTakingAndWaitingIsNotLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b bell.Bell
		rung := b.C()
		b.Ring()
		b.Ring() // nobody there: does not block
		began := time.Now()
		if !bell.Wait(t.Context(), rung, time.Hour) || time.Since(began) != 0 {
			t.Errorf("waited %v for what had happened", time.Since(began))
		}
		if bell.Wait(t.Context(), b.C(), time.Minute); time.Since(began) != time.Minute {
			t.Errorf("a ring was heard twice, after %v", time.Since(began))
		}
	})
}

// TestNoWorkIsLeftLyingHoweverRingsFall has a worker that looks only when rung,
// and as many ringers as can be.
func TestNoWorkIsLeftLyingHoweverRingsFall(t *testing.T) {
	t.Parallel()
	var b bell.Bell
	var mu sync.Mutex
	todo, done := 0, 0
	const ringers, each = 8, 500
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for {
			rung := b.C()
			mu.Lock()
			done += todo
			todo = 0
			all := done == ringers*each
			mu.Unlock()
			if all {
				return
			}
			select {
			case <-rung:
			case <-t.Context().Done():
				t.Error("a ring was lost")
				return
			}
		}
	}()
	for range ringers {
		go func() {
			for range each {
				mu.Lock()
				todo++
				mu.Unlock()
				b.Ring()
			}
		}()
	}
	select {
	case <-finished:
	case <-time.After(30 * time.Second):
		t.Errorf("a ring was lost: %d of %d done", done, ringers*each)
	}
}

func TestWaitEndsByItselfAndWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !bell.Wait(t.Context(), nil, time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("waited %v", time.Since(began))
		}
		if !bell.Wait(t.Context(), nil, -time.Hour) || time.Since(began) != time.Minute {
			t.Error("a time that has passed was waited for")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if bell.Wait(ctx, nil, time.Hour) || time.Since(began) != time.Minute+time.Second {
			t.Error("the end of the context was not heeded")
		}
		closed := make(chan struct{})
		close(closed)
		for range 100 { // a select picks any that is ready: the context's end must win
			if bell.Wait(ctx, closed, 0) {
				t.Fatal("an ended context counts as woken")
			}
		}
	})
}
