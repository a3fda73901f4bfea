package metering_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/metering"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// TestEveryWindowTellsTheMeans measures after any sequence of pauses, and
// compares with all that was ever measured.
func TestEveryWindowTellsTheMeans(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		clock := coretest.NewClock()
		w := newWorld(t.Context(), clock.Now)
		c := w.cluster(r, w.ann)
		s := w.sampler(r, w.deps("a"))
		measured := map[time.Time]provision.Usage{}
		for range rapid.IntRange(1, 60).Draw(r, "measurements") {
			clock.Move(pauses().Draw(r, "pause"))
			u := usages().Draw(r, "usage")
			w.planes.Use(func(id.Cluster) provision.Usage { return u })
			if err := s.Once(w.bg); err != nil {
				r.Fatal(err)
			}
			if minute := clock.Now().Truncate(time.Minute); measured[minute] == (provision.Usage{}) {
				measured[minute] = u // the first in a minute stays
			}
		}
		for _, window := range windows {
			h := w.history(r, w.ann, c.ID, window)
			want := expected(measured, clock.Now(), window, h.Step)
			if len(h.Samples) > 360 || !slices.Equal(h.Samples, want) {
				r.Fatalf("%s in steps of %v:\ngot  %v\nwant %v", window, h.Step, h.Samples, want)
			}
		}
	})
}

func pauses() *rapid.Generator[time.Duration] {
	second, minute, hour := time.Second, time.Minute, time.Hour
	between := func(from, to time.Duration) *rapid.Generator[time.Duration] {
		return rapid.Map(rapid.Int64Range(from.Milliseconds(), to.Milliseconds()), func(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond })
	}
	return rapid.OneOf(rapid.Just(minute), between(0, 2*minute), between(second, hour), between(hour, 40*hour))
}

func usages() *rapid.Generator[provision.Usage] {
	return rapid.Custom(func(r *rapid.T) provision.Usage {
		pods := rapid.IntRange(1, 5).Draw(r, "pods")
		return provision.Usage{
			CPUMilli: rapid.Int64Range(0, 1<<30).Draw(r, "cpu"), MemoryMiB: rapid.Int64Range(0, 1<<20).Draw(r, "memory"),
			PodsReady: rapid.IntRange(0, pods).Draw(r, "ready"), PodsTotal: pods,
		}
	})
}

// expected is the plainest way to tell a window.
func expected(measured map[time.Time]provision.Usage, now time.Time, window metering.Window, step time.Duration) (out []metering.Sample) {
	length := map[metering.Window]time.Duration{metering.Hour: time.Hour, metering.SixHours: 6 * time.Hour, metering.Day: 24 * time.Hour, metering.Week: 7 * 24 * time.Hour}[window]
	for at := now.Truncate(step).Add(step - length); !at.After(now); at = at.Add(step) {
		var n, cpu, memory, ready, pods int64
		for minute, u := range measured {
			if !minute.Before(at) && minute.Before(at.Add(step)) {
				n, cpu, memory, ready, pods = n+1, cpu+u.CPUMilli, memory+u.MemoryMiB, ready+int64(u.PodsReady), pods+int64(u.PodsTotal)
			}
		}
		if n > 0 {
			rounded := func(sum int64) int64 { return (2*sum + n) / (2 * n) }
			out = append(out, metering.Sample{At: at, CPUMilli: rounded(cpu), MemoryMiB: rounded(memory), PodsReady: rounded(ready), PodsTotal: rounded(pods)})
		}
	}
	return out
}
