package metering_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/metering"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

var windows = []metering.Window{metering.Hour, metering.SixHours, metering.Day, metering.Week} //nolint:gochecknoglobals // a constant

func TestMissingDependenciesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), coretest.NewClock().Now)
	for name, spoil := range map[string]func(*metering.Deps){
		"store": func(d *metering.Deps) { d.Store = nil }, "provisioner": func(d *metering.Deps) { d.Provisioner = nil },
		"log": func(d *metering.Deps) { d.Log = nil }, "clock": func(d *metering.Deps) { d.Now = nil }, "name": func(d *metering.Deps) { d.Name = "" },
	} {
		d := w.deps("a")
		spoil(&d)
		if _, err := metering.NewSampler(d); err == nil {
			t.Errorf("a sampler without a %s is made", name)
		}
	}
	if _, err := metering.New(nil, w.now); err == nil {
		t.Error("a service without a store is made")
	}
	if _, err := metering.New(w.store, nil); err == nil {
		t.Error("a service without a clock is made")
	}
}

func TestEveryMinuteIsMeasuredOnTheMinute(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster(t, w.ann)
		time.Sleep(20 * time.Second) // it starts within a minute
		stop := run(t, w.sampler(t, w.deps("a")))
		synctest.Wait()
		first := w.now().Truncate(time.Minute)
		w.using(300, 512, 1, 2)
		time.Sleep(4*time.Minute + 50*time.Second)
		stop()
		got := w.history(t, w.ann, c.ID, metering.Hour)
		want := metering.History{Step: time.Minute, Samples: []metering.Sample{{At: first, CPUMilli: 125, MemoryMiB: 256, PodsReady: 1, PodsTotal: 1}}}
		for i := 1; i <= 5; i++ {
			want.Samples = append(want.Samples, metering.Sample{At: first.Add(time.Duration(i) * time.Minute), CPUMilli: 300, MemoryMiB: 512, PodsReady: 1, PodsTotal: 2})
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if log := w.log.String(); log != "" {
			t.Errorf("the log says %s", log)
		}
	})
}

// run runs a sampler until stop is called, and the test's end at the latest.
func run(t *testing.T, s *metering.Sampler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func TestOneOfTwoProcessesMeasures(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster(t, w.ann)
		a, b := &counting{Provisioner: w.planes}, &counting{Provisioner: w.planes}
		deps := w.deps("a")
		deps.Provisioner = a
		stopA := run(t, w.sampler(t, deps))
		synctest.Wait()
		deps = w.deps("b")
		deps.Provisioner = b
		run(t, w.sampler(t, deps))
		time.Sleep(10*time.Minute + time.Second)
		if a.times.Load() != 11 || b.times.Load() != 0 {
			t.Errorf("one has measured %d times and the other %d; want 11 and 0", a.times.Load(), b.times.Load())
		}
		stopA() // it gives its lease back
		time.Sleep(5 * time.Minute)
		if b.times.Load() != 5 {
			t.Errorf("the other one has measured %d times since; want 5", b.times.Load())
		}
		kept := w.kept(t, c.ID)
		for i, s := range kept {
			if s.Measurements != 1 || i > 0 && s.At.Sub(kept[i-1].At) != time.Minute {
				t.Errorf("sample %d has %d measurements, of %v", i, s.Measurements, s.At)
			}
		}
		if len(kept) != 16 {
			t.Errorf("%d minutes are kept, want 16", len(kept))
		}
	})
}

// counting counts how often it measures.
type counting struct {
	provision.Provisioner
	times atomic.Int64
}

func (c *counting) Usage(ctx context.Context) (map[id.Cluster]provision.Usage, error) {
	c.times.Add(1)
	return c.Provisioner.(provision.Meter).Usage(ctx)
}

func TestAProcessThatDiedCostsAMinute(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster(t, w.ann)
		if err := w.sampler(t, w.deps("dead")).Once(w.bg); err != nil { // and never again
			t.Fatal(err)
		}
		run(t, w.sampler(t, w.deps("b")))
		time.Sleep(4*time.Minute + time.Second)
		var at []int
		kept := w.kept(t, c.ID)
		for _, s := range kept {
			at = append(at, int(s.At.Sub(kept[0].At)/time.Minute))
		}
		if want := []int{0, 2, 3, 4}; !slices.Equal(at, want) {
			t.Errorf("minutes %v are kept, want %v: a gap stays a gap", at, want)
		}
	})
}

func TestTwoSamplersWriteEachMinuteOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster(t, w.ann)
		for _, name := range []string{"a", "b"} {
			deps := w.deps(name) // both believe that they have the lease
			deps.Store = spoiled{Store: w.store, leases: func(l store.Leases) store.Leases { return generous{l} }}
			run(t, w.sampler(t, deps))
		}
		time.Sleep(20*time.Minute + time.Second)
		kept := w.kept(t, c.ID)
		for _, s := range kept {
			if s.Measurements != 1 {
				t.Errorf("%v is kept %d times", s.At, s.Measurements)
			}
		}
		if len(kept) != 21 {
			t.Errorf("%d minutes are kept, want 21", len(kept))
		}
	})
}

func TestACrashBetweenWritingAndThinningIsHarmless(t *testing.T) {
	t.Parallel()
	clock := coretest.NewClock()
	w := newWorld(t.Context(), clock.Now)
	c := w.cluster(t, w.ann)
	crash := w.deps("a")
	crash.Store = spoiled{Store: w.store, samples: func(s store.ControlPlaneSamples) store.ControlPlaneSamples { return crashing{s} }}
	dying, healthy := w.sampler(t, crash), w.sampler(t, w.deps("a"))
	var sum int64
	for i := range int64(60) {
		w.using(i, 2*i, 1, 1)
		sum += i
		if err := dying.Once(w.bg); !errors.Is(err, errBoom) {
			t.Fatalf("got %v, want %v", err, errBoom)
		}
		if err := dying.Once(w.bg); !errors.Is(err, errBoom) { // started again within the minute
			t.Fatal(err)
		}
		clock.Move(time.Minute)
	}
	clock.Move(25 * time.Hour)
	w.planes.Unmeasured(errBoom)
	for range 3 {
		_ = dying.Once(w.bg)
		if err := healthy.Once(w.bg); err != nil {
			t.Fatal(err)
		}
		kept := w.kept(t, c.ID)
		var cpu, n int64
		for _, s := range kept {
			cpu, n = cpu+s.CPUMilli, n+s.Measurements
		}
		if cpu != sum || n != 60 || len(kept) > 5 { // the first hour of tests begins within a quarter
			t.Errorf("%d samples hold %d measurements with a sum of %d; want %d and 60 in five", len(kept), n, cpu, sum)
		}
	}
}

func TestAReasonIsStatedByEveryProcess(t *testing.T) {
	t.Parallel()
	clock := coretest.NewClock()
	w := newWorld(t.Context(), clock.Now)
	c := w.cluster(t, w.ann)
	s := w.sampler(t, w.deps("a"))
	bare := w.deps("a")
	bare.Provisioner = struct{ provision.Provisioner }{w.planes} // no Meter
	for _, step := range []struct {
		err     error
		sampler *metering.Sampler
		want    string
	}{
		{provision.Unmeasured("The host has no metrics API."), s, "The host has no metrics API."},
		{errors.New("dial 10.0.0.1:6443: secret-thing"), s, "What control planes use could not be measured the last time; it is tried every minute."},
		{provision.Unmeasured("%s", strings.Repeat("ü", 600)+"\xff"), s, strings.Repeat("ü", 500)},
		{nil, w.sampler(t, bare), "This backend does not measure control planes."},
		{nil, s, ""},
	} {
		w.planes.Unmeasured(step.err)
		for range 3 {
			clock.Move(time.Minute)
			if err := step.sampler.Once(w.bg); err != nil {
				t.Fatal(err)
			}
		}
		h := w.history(t, w.ann, c.ID, metering.Hour)
		if h.Reason != step.want || (len(h.Samples) > 0) != (step.want == "") {
			t.Errorf("after %v: %d samples and the reason %q, want %q", step.err, len(h.Samples), h.Reason, step.want)
		}
	}
	log := w.log.String()
	for text, times := range map[string]int{"control planes are not measured": 4, "control planes are measured again": 1, "secret-thing": 1} {
		if n := strings.Count(log, text); n != times {
			t.Errorf("the log says %q %d times, want %d", text, n, times)
		}
	}
}

func TestAMeterThatHangsCostsItsMinuteOnly(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.cluster(t, w.ann)
		deps := w.deps("a")
		hang := &hanging{Provisioner: w.planes}
		deps.Provisioner = hang
		stop := run(t, w.sampler(t, deps))
		time.Sleep(3*time.Minute + 59*time.Second)
		stop()
		if n := len(w.kept(t, c.ID)); hang.times.Load() != 4 || n != 2 {
			t.Errorf("measured %d times and kept %d, want 4 and 2", hang.times.Load(), n)
		}
	})
}

// hanging does not answer every other time.
type hanging struct {
	provision.Provisioner
	times atomic.Int64
}

func (h *hanging) Usage(ctx context.Context) (map[id.Cluster]provision.Usage, error) {
	if h.times.Add(1)%2 == 1 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.Provisioner.(provision.Meter).Usage(ctx)
}

func TestEndingIsNoFailureOfMeasuring(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.cluster(t, w.ann)
		deps := w.deps("a")
		deps.Provisioner = &hanging{Provisioner: w.planes}
		stop := run(t, w.sampler(t, deps))
		synctest.Wait()
		stop()
		if log := w.log.String(); log != "" {
			t.Errorf("the log says %s", log)
		}
		// The lease is free at once.
		if err := w.sampler(t, w.deps("b")).Once(w.bg); err != nil {
			t.Fatal(err)
		}
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			living, err := tx.Leases().Living(ctx, "control-plane-metrics", w.now())
			if len(living) != 1 || living[0].Holder != "b" {
				t.Errorf("the lease is with %v", living)
			}
			return err
		})
	})
}

func TestStrangersSeeNoCluster(t *testing.T) {
	t.Parallel()
	clock := coretest.NewClock()
	w := newWorld(t.Context(), clock.Now)
	c := w.cluster(t, w.ann)
	if err := w.sampler(t, w.deps("a")).Once(w.bg); err != nil {
		t.Fatal(err)
	}
	for _, window := range windows {
		for _, who := range []struct {
			user id.User
			role actor.Role
			sees bool
		}{
			{w.ann, actor.User, true}, {w.bob, actor.User, false}, {w.bob, actor.Operator, true}, {w.bob, actor.Admin, true}, {id.User{}, actor.User, false},
		} {
			h, err := w.ask(t, who.user, who.role, c.ID, window)
			switch {
			case who.sees && (err != nil || len(h.Samples) != 1):
				t.Errorf("%v sees %v, %v", who, h, err)
			case !who.sees && (fault.CodeOf(err) != "cluster_not_found" || len(h.Samples) != 0):
				t.Errorf("%v sees %v, %v", who, h, err)
			}
		}
	}
	s, err := metering.New(w.store, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.History(t.Context(), c.ID, metering.Hour); err == nil {
		t.Error("nobody in particular sees a history")
	}
	c.DeletedAt = new(w.now())
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Update(ctx, &c) })
	if _, err := w.ask(t, w.ann, actor.User, c.ID, metering.Hour); fault.CodeOf(err) != "cluster_not_found" {
		t.Errorf("a deleted cluster: %v", err)
	}
}

func TestOtherWindowsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t.Context(), coretest.NewClock().Now)
	c := w.cluster(t, w.ann)
	for _, window := range []metering.Window{"", "2h", "1H", "-1h", "30d"} {
		if _, err := w.ask(t, w.ann, actor.User, c.ID, window); !errors.Is(err, fault.Invalid) {
			t.Errorf("window %q: %v", window, err)
		}
	}
}

// TestNoWindowHasMoreThan360Samples looks at a cluster that was measured every
// minute for more than a month, when thinning is two hours late.
func TestNoWindowHasMoreThan360Samples(t *testing.T) {
	t.Parallel()
	clock := coretest.NewClock()
	w := newWorld(t.Context(), clock.Now)
	c := w.cluster(t, w.ann)
	var all []store.ControlPlaneSample
	for age, resolution := 31*24*time.Hour, 15*time.Minute; age > 0; age -= resolution {
		if age == 26*time.Hour {
			resolution = time.Minute
		}
		n := int64(resolution / time.Minute)
		all = append(all, store.ControlPlaneSample{
			ClusterID: c.ID, At: clock.Now().Truncate(15 * time.Minute).Add(15*time.Minute - age), Resolution: resolution,
			Measurements: n, CPUMilli: 100 * n, MemoryMiB: 200 * n, PodsReady: n, PodsTotal: n,
		})
	}
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.ControlPlaneSamples().Append(ctx, all...)
		return err
	})
	clock.Move(clock.Now().Truncate(15 * time.Minute).Add(15 * time.Minute).Sub(clock.Now()))
	w.using(100, 200, 1, 1)
	most := map[metering.Window]int{metering.Hour: 60, metering.SixHours: 360, metering.Day: 288, metering.Week: 336}
	check := func() {
		t.Helper()
		for _, window := range windows {
			h := w.history(t, w.ann, c.ID, window)
			if len(h.Samples) != most[window] {
				t.Errorf("%s has %d samples, want %d", window, len(h.Samples), most[window])
			}
			for _, got := range h.Samples {
				if got.CPUMilli != 100 || got.MemoryMiB != 200 || got.PodsReady != 1 || got.PodsTotal != 1 {
					t.Fatalf("%s: %+v", window, got)
				}
			}
		}
	}
	s := w.sampler(t, w.deps("a"))
	for range 3 {
		if err := s.Once(w.bg); err != nil {
			t.Fatal(err)
		}
		check()
		clock.Move(time.Minute)
	}
	// A day and these minutes, and quarters for 29 days, of which one has just gone.
	if n, want := len(w.kept(t, c.ID)), 24*60+3+29*24*4-1; n != want {
		t.Errorf("%d samples are kept; want %d", n, want)
	}
}

func TestRowsOfDeletedClustersGoInTheEnd(t *testing.T) {
	t.Parallel()
	clock := coretest.NewClock()
	w := newWorld(t.Context(), clock.Now)
	c := w.cluster(t, w.ann)
	s := w.sampler(t, w.deps("a"))
	once := func() {
		t.Helper()
		if err := s.Once(w.bg); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		once()
		clock.Move(time.Minute)
	}
	if err := w.planes.Destroy(w.bg, c.ID); err != nil {
		t.Fatal(err)
	}
	c.DeletedAt = new(w.now())
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Update(ctx, &c) })
	for _, step := range []struct {
		after   time.Duration
		samples int
	}{{0, 20}, {25 * time.Hour, 2}, {29 * 24 * time.Hour, 0}} {
		clock.Move(step.after)
		once()
		back := c // looked at as if it were not deleted
		back.DeletedAt = nil
		w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Update(ctx, &back) })
		if n := len(w.kept(t, c.ID)); n != step.samples {
			t.Errorf("%v later %d samples are kept, want %d", step.after, n, step.samples)
		}
		back.DeletedAt = c.DeletedAt
		w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Update(ctx, &back) })
		c = back
	}
}
