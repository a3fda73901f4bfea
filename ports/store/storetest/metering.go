package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

const quarter = 15 * time.Minute

// noon is where spans of any length begin that divides an hour.
var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

// sample is one measurement, whose values are all different.
func sample(c store.Cluster, t time.Time, resolution time.Duration) store.ControlPlaneSample {
	n := t.UnixMilli() / 1000 % 86400 // a second of the day
	return store.ControlPlaneSample{
		ClusterID: c.ID, At: t.UTC().Truncate(time.Millisecond), Resolution: resolution, Measurements: 1,
		CPUMilli: n, MemoryMiB: 2 * n, PodsReady: 3, PodsTotal: 4,
	}
}

// eachMinute returns a cluster's samples of the minutes from noon on.
func eachMinute(c store.Cluster, minutes ...int) (out []store.ControlPlaneSample) {
	for _, m := range minutes {
		out = append(out, sample(c, noon.Add(time.Duration(m)*time.Minute), time.Minute))
	}
	return out
}

func (w *world) measured(samples ...store.ControlPlaneSample) (n int) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) (err error) {
		n, err = tx.ControlPlaneSamples().Append(ctx, samples...)
		return err
	})
	return n
}

// steps reads what everybody sees of a cluster for two days from noon on.
func (w *world) steps(c store.Cluster, step time.Duration) (out []store.ControlPlaneSample) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) (err error) {
		out, err = tx.ControlPlaneSamples().Steps(ctx, store.Everyone(), c.ID, noon, noon.Add(48*time.Hour), step)
		return err
	})
	return out
}

func (w *world) thin(before time.Time, limit int) (n int) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) (err error) {
		n, err = tx.ControlPlaneSamples().Thin(ctx, time.Minute, quarter, before, limit)
		return err
	})
	return n
}

// minutes tells when samples begin, in minutes after noon, and how many
// measurements are in each.
func minutes(all []store.ControlPlaneSample) string {
	var out []string
	for _, s := range all {
		out = append(out, fmt.Sprintf("%v:%d", s.At.Sub(noon).Minutes(), s.Measurements))
	}
	return strings.Join(out, " ")
}

// total adds up what was measured, whenever it was.
func total(all []store.ControlPlaneSample) (sum store.ControlPlaneSample) {
	for _, s := range all {
		sum.Measurements += s.Measurements
		sum.CPUMilli += s.CPUMilli
		sum.MemoryMiB += s.MemoryMiB
		sum.PodsReady += s.PodsReady
		sum.PodsTotal += s.PodsTotal
	}
	return sum
}

var controlPlaneSamples = checks{
	"SamplesComeBackAsTheyWere": func(w *world) {
		c := w.cluster(w.user())
		want := eachMinute(c, 0, 1, 3, 60)
		want[1].CPUMilli, want[1].MemoryMiB, want[1].PodsReady, want[1].PodsTotal = 0, 0, 0, 0
		want[2].CPUMilli = 1 << 40
		is(w, "new", w.measured(want[3], want[1], want[0], want[2]), 4)
		is(w, "nothing", w.measured(), 0)
		got := w.steps(c, time.Minute)
		if !slices.Equal(got, want) { // in UTC, the oldest first, and nothing where nothing was measured
			w.Errorf("got %v, want %v", got, want)
		}
	},
	"ASampleIsWrittenOnce": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		is(w, "new", w.measured(eachMinute(c, 0, 1)...), 2)
		again := eachMinute(c, 1, 2)
		again[0].CPUMilli = 7
		is(w, "new when repeated", w.measured(append(again, eachMinute(other, 1)...)...), 2)
		coarse := sample(c, noon, quarter) // another resolution is another sample
		is(w, "new when coarse", w.measured(coarse), 1)
		is(w, "all", minutes(w.steps(c, time.Minute)), "0:2 1:1 2:1")
		is(w, "sum", total(w.steps(c, time.Hour)), total(append(eachMinute(c, 0, 1, 2), coarse)))
	},
	"TwoWhoMeasureAtOnceWriteOnce": func(w *world) {
		var all []store.ControlPlaneSample
		c, other := w.cluster(w.user()), w.cluster(w.user())
		for _, of := range []store.Cluster{c, other} {
			all = append(all, eachMinute(of, 0, 1, 2, 3)...)
		}
		written := make([]int, 6)
		for _, err := range atOnce(len(written), func(i int) error {
			return w.try(func(ctx context.Context, tx store.Tx) (err error) {
				written[i], err = tx.ControlPlaneSamples().Append(ctx, all...)
				return err
			})
		}) {
			w.must(err)
		}
		sum := 0
		for _, n := range written {
			sum += n
		}
		is(w, "written", sum, len(all))
		is(w, "kept", minutes(w.steps(other, time.Minute)), "0:1 1:1 2:1 3:1")
	},
	"SamplesOfNobodyArePassedBy": func(w *world) {
		ann := w.user()
		c, gone, unknown := w.cluster(ann), w.cluster(ann), w.newCluster(ann)
		w.bury(&gone)
		is(w, "new", w.measured(slices.Concat(eachMinute(unknown, 0), eachMinute(gone, 0), eachMinute(c, 0))...), 1)
		is(w, "live", minutes(w.steps(c, time.Minute)), "0:1")
		is(w, "deleted", minutes(w.steps(gone, time.Minute)), "")
		is(w, "unknown", minutes(w.steps(unknown, time.Minute)), "")
	},
	"SampleScopeHidesOthers": func(w *world) {
		ann, bob := w.user(), w.user()
		c := w.cluster(ann)
		w.cluster(bob)
		w.measured(eachMinute(c, 0)...)
		look := func(s store.Scope) (n int) {
			w.read(func(ctx context.Context, tx store.Tx) error {
				got, err := tx.ControlPlaneSamples().Steps(ctx, s, c.ID, noon, noon.Add(time.Hour), time.Minute)
				n = len(got)
				return err
			})
			return n
		}
		is(w, "ann's", look(store.OwnedBy(ann.ID)), 1)
		is(w, "everyone's", look(store.Everyone()), 1)
		for _, s := range []store.Scope{{}, store.OwnedBy(bob.ID), store.OwnedBy(id.User{})} {
			is(w, "a stranger's", look(s), 0)
		}
		w.bury(&c)
		is(w, "ann's, once deleted", look(store.OwnedBy(ann.ID)), 0)
		is(w, "everyone's, once deleted", look(store.Everyone()), 0)
	},
	"SamplesAreAddedUpInSteps": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		all := eachMinute(c, 0, 1, 4, 5, 9, 30)
		w.measured(append(all, eachMinute(other, 2, 3)...)...)
		got := w.steps(c, 5*time.Minute)
		is(w, "steps", minutes(got), "0:3 5:2 30:1")
		for i, of := range [][]store.ControlPlaneSample{all[:3], all[3:5], all[5:]} {
			want := total(of)
			want.ClusterID, want.At, want.Resolution = c.ID, got[i].At, 5*time.Minute
			is(w, "step", got[i], want)
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			edges, err := tx.ControlPlaneSamples().Steps(ctx, store.Everyone(), c.ID, noon.Add(time.Minute), noon.Add(9*time.Minute), 5*time.Minute)
			is(w, "from on, and before to", minutes(edges), "0:2 5:1")
			return err
		})
	},
	"ThinningKeepsTheSums": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		all := eachMinute(c, 0, 1, 14, 15, 16, 44, 45, 59)
		theirs := eachMinute(other, 3, 4)
		w.measured(slices.Concat(all, theirs)...)
		before := w.steps(c, time.Hour)
		for _, removed := range []int{5, 2, 1, 0} { // 45 lies in a span that is not over
			is(w, "removed", w.thin(noon.Add(46*time.Minute), 10), removed)
		}
		is(w, "kept", minutes(w.steps(c, time.Minute)), "0:3 15:2 30:1 45:1 59:1")
		is(w, "kept of the other", minutes(w.steps(other, time.Minute)), "0:2")
		is(w, "sum", total(w.steps(c, time.Hour)), total(before))
		is(w, "sum of the other", total(w.steps(other, time.Hour)), total(theirs))
		is(w, "first span", total(w.steps(c, quarter)[:1]), total(all[:3]))
	},
	"ThinningGoesSoManyClustersAtATime": func(w *world) {
		ann := w.user()
		var all []store.Cluster
		for range 5 {
			c := w.cluster(ann)
			w.measured(eachMinute(c, 0, 1, 2, 20)...)
			all = append(all, c)
		}
		clusters := 0
		for clusters < 5 {
			n := w.thin(noon.Add(quarter), 2)
			if n == 0 || n > 2*3 || n%3 != 0 {
				w.Fatalf("removed %d samples of at most two clusters with three each", n)
			}
			clusters += n / 3
		}
		is(w, "removed in the end", w.thin(noon.Add(quarter), 2), 0)
		is(w, "removed at most none", w.thin(noon.Add(time.Hour), 0), 0)
		for _, c := range all {
			is(w, "kept", minutes(w.steps(c, time.Minute)), "0:3 20:1")
		}
	},
	"ThinningThatFailsIsDoneAgain": func(w *world) {
		c, boom := w.cluster(w.user()), errors.New("boom")
		w.measured(eachMinute(c, 0, 1, 2)...)
		err := w.try(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.ControlPlaneSamples().Thin(ctx, time.Minute, quarter, noon.Add(time.Hour), 10)
			is(w, "removed", n, 3)
			w.must(err)
			return boom
		})
		is(w, "error", errors.Is(err, boom), true)
		is(w, "after a rollback", minutes(w.steps(c, time.Minute)), "0:1 1:1 2:1")
		is(w, "removed", w.thin(noon.Add(time.Hour), 10), 3)
		is(w, "removed again", w.thin(noon.Add(time.Hour), 10), 0)
		// What comes late does not replace what is made of many.
		w.measured(eachMinute(c, 1)...)
		is(w, "removed late", w.thin(noon.Add(time.Hour), 10), 1)
		is(w, "kept", minutes(w.steps(c, time.Minute)), "0:3")
	},
	"TwoWhoThinAtOnceThinOnce": func(w *world) {
		ann := w.user()
		c := w.cluster(ann)
		all := eachMinute(c, 0, 1, 2, 15, 16)
		w.measured(all...)
		removed := make([]int, 4)
		for _, err := range atOnce(len(removed), func(i int) error {
			return w.try(func(ctx context.Context, tx store.Tx) (err error) {
				removed[i], err = tx.ControlPlaneSamples().Thin(ctx, time.Minute, quarter, noon.Add(time.Hour), 10)
				return err
			})
		}) {
			w.must(err)
		}
		for w.thin(noon.Add(time.Hour), 10) > 0 {
		}
		is(w, "kept", minutes(w.steps(c, time.Minute)), "0:3 15:2")
		is(w, "sum", total(w.steps(c, time.Hour)), total(all))
	},
	"OldSamplesGoSoManyAtATime": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		w.measured(slices.Concat(eachMinute(c, 0, 1, 2, 3), eachMinute(other, 1), []store.ControlPlaneSample{sample(c, noon, quarter)})...)
		w.bury(&other)
		for _, step := range []struct{ limit, want int }{{0, 0}, {2, 2}, {2, 1}, {2, 0}} { // 2 is at the edge
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.ControlPlaneSamples().DeleteOlderThan(ctx, time.Minute, noon.Add(2*time.Minute), step.limit)
				is(w, fmt.Sprintf("removed at most %d", step.limit), n, step.want)
				return err
			})
		}
		is(w, "kept", minutes(w.steps(c, time.Minute)), "0:1 2:1 3:1")
	},
}
