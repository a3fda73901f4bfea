package rate_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/rate"
)

var start = time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC)

func TestABucketGivesItsBurstAtOnceAndItsRateOverTime(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	b := rate.New(10, 2)
	given, now := 0, start
	for range 100_000 {
		if b.Take(now, 1) {
			given++
		}
		now = now.Add(time.Duration(random.IntN(20)) * time.Millisecond)
	}
	want := 10 + 2*now.Sub(start).Seconds()
	t.Logf("seed %d: %d given in %v, at most %.0f", seed, given, now.Sub(start), want)
	if float64(given) > want || float64(given) < want-2 {
		t.Errorf("%d were given, want %.0f", given, want)
	}
}

func TestABucketFillsNoFurtherThanItsBurst(t *testing.T) {
	t.Parallel()
	b := rate.New(3, 1)
	b.Spend(start, 1)
	if b.Full(start) || b.Level(start.Add(time.Hour)) != 3 || !b.Full(start.Add(time.Hour)) {
		t.Errorf("it holds %v", b.Level(start.Add(time.Hour)))
	}
}

func TestADebtIsPaidBackFirst(t *testing.T) {
	t.Parallel()
	b := rate.New(3, 1)
	b.Spend(start, 10)
	if b.Take(start.Add(7*time.Second), 1) || b.Wait(start.Add(7*time.Second), 1) != time.Second || !b.Take(start.Add(8*time.Second), 1) {
		t.Errorf("after a debt it holds %v", b.Level(start.Add(8*time.Second)))
	}
	if b.Wait(start.Add(8*time.Second), 100) != 3*time.Second {
		t.Errorf("what never fits takes %v", b.Wait(start.Add(8*time.Second), 100))
	}
}

func TestAClockThatGoesBackGivesNothingAndTakesNothing(t *testing.T) {
	t.Parallel()
	b := rate.New(3, 1)
	b.Spend(start, 3)
	back := start.Add(-time.Hour)
	if b.Take(back, 1) || b.Level(back) != 0 || !b.Take(back.Add(time.Second), 1) {
		t.Errorf("it holds %v", b.Level(back.Add(time.Second)))
	}
}
