package provisiontest

import (
	"context"
	"errors"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func measuresWhatRuns(w world) {
	p := w.New(w.T)
	meter := w.meter(p)
	one, two := w.want(), w.want()
	w.apply(p, one)
	w.apply(p, two)
	w.await(p, one.ID, provision.Ready)
	w.await(p, two.ID, provision.Ready)
	all := w.measuredUntil(meter, "both", func(all map[id.Cluster]provision.Usage) bool {
		return all[one.ID].PodsReady > 0 && all[two.ID].PodsReady > 0
	})
	for _, i := range []id.Cluster{one.ID, two.ID} {
		u := all[i]
		if u.CPUMilli < 0 || u.CPUMilli > 1_000_000 || u.MemoryMiB <= 0 || u.MemoryMiB > 1<<20 || u.PodsReady > u.PodsTotal {
			w.Errorf("a control plane that is ready uses %+v", u)
		}
	}
	w.destroy(p, one.ID)
	all = w.measuredUntil(meter, "the one that is left", func(all map[id.Cluster]provision.Usage) bool {
		_, there := all[one.ID]
		return !there
	})
	if _, there := all[two.ID]; !there {
		w.Error("with one control plane removed, the other one is not measured")
	}
}

func measuresNothingWhereNothingIs(w world) {
	p, unknown := w.New(w.T), w.want().ID
	all, err := w.meter(p).Usage(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if u, there := all[unknown]; there {
		w.Errorf("an unknown control plane uses %+v", u)
	}
}

func measuringEndsWithItsContext(w world) {
	meter := w.meter(w.New(w.T))
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	if all, err := meter.Usage(ctx); !errors.Is(err, context.Canceled) {
		w.Errorf("got %v and %v, want %v", all, err, context.Canceled)
	}
}

func (w world) meter(p provision.Provisioner) provision.Meter {
	w.Helper()
	if w.WhyNoMeter != "" {
		w.Skip(w.WhyNoMeter)
	}
	meter, ok := p.(provision.Meter)
	if !ok {
		w.Fatal("it does not measure, and does not say why")
	}
	return meter
}

// measuredUntil asks again and again: a backend may take a while to measure what
// has just come.
func (w world) measuredUntil(meter provision.Meter, what string, is func(map[id.Cluster]provision.Usage) bool) (all map[id.Cluster]provision.Usage) {
	w.Helper()
	for start := time.Now(); time.Since(start) < w.Arrives; time.Sleep(min(w.Arrives/100, 250*time.Millisecond)) {
		var err error
		if all, err = meter.Usage(w.Context()); err != nil {
			w.Fatalf("Usage: %v", err)
		}
		if is(all) {
			return all
		}
	}
	w.Fatalf("after %v the control planes use %v, want %s", w.Arrives, all, what)
	return nil
}
