package memstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

type sampleKey struct {
	Cluster    id.Cluster
	At         time.Time
	Resolution time.Duration
}

type samples struct{ u *unit }

func keyOf(s store.ControlPlaneSample) sampleKey { return sampleKey{s.ClusterID, s.At, s.Resolution} }

func (s samples) Append(ctx context.Context, all ...store.ControlPlaneSample) (n int, err error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	for _, rec := range all {
		if rec, err = storable(rec); err != nil {
			return n, err
		}
		if s.u.sees(store.Everyone(), rec.ClusterID) && s.keep(rec) {
			n++
		}
	}
	return n, nil
}

// keep reports whether rec is new.
func (s samples) keep(rec store.ControlPlaneSample) bool {
	_, there := s.u.samples.get(keyOf(rec))
	if !there {
		s.u.samples.put(s.u, keyOf(rec), rec)
	}
	return !there
}

func (s samples) Steps(ctx context.Context, scope store.Scope, c id.Cluster, from, to time.Time, step time.Duration) ([]store.ControlPlaneSample, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	if !s.u.sees(scope, c) {
		return nil, nil
	}
	return summed(s.sorted(func(rec store.ControlPlaneSample) bool {
		return rec.ClusterID == c && !rec.At.Before(from) && rec.At.Before(to)
	}), step), nil
}

// sorted returns the wanted samples, the oldest first.
func (s samples) sorted(wanted func(store.ControlPlaneSample) bool) (out []store.ControlPlaneSample) {
	for _, rec := range s.u.samples.rows {
		if wanted(rec) {
			out = append(out, rec) // which holds no memory that could be shared
		}
	}
	slices.SortFunc(out, func(a, b store.ControlPlaneSample) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ClusterID.String(), b.ClusterID.String()))
	})
	return out
}

// summed adds up one cluster's samples, the oldest first, in spans of step.
func summed(all []store.ControlPlaneSample, step time.Duration) []store.ControlPlaneSample {
	var out []store.ControlPlaneSample
	for _, rec := range all {
		at := beginning(rec.At, step)
		if len(out) == 0 || !out[len(out)-1].At.Equal(at) {
			out = append(out, store.ControlPlaneSample{ClusterID: rec.ClusterID, At: at, Resolution: step})
		}
		sum := &out[len(out)-1]
		sum.Measurements += rec.Measurements
		sum.CPUMilli += rec.CPUMilli
		sum.MemoryMiB += rec.MemoryMiB
		sum.PodsReady += rec.PodsReady
		sum.PodsTotal += rec.PodsTotal
	}
	return out
}

// beginning is where the span of that length begins in which t lies, counted from 1970.
func beginning(t time.Time, span time.Duration) time.Time {
	return time.UnixMilli(t.UnixMilli() - t.UnixMilli()%span.Milliseconds()).UTC()
}

func (s samples) Thin(ctx context.Context, fine, coarse time.Duration, before time.Time, limit int) (n int, err error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	before = beginning(before, coarse)
	old := s.sorted(func(rec store.ControlPlaneSample) bool { return rec.Resolution == fine && rec.At.Before(before) })
	if len(old) == 0 {
		return 0, nil
	}
	span := beginning(old[0].At, coarse)
	chosen := map[id.Cluster][]store.ControlPlaneSample{}
	for _, rec := range old {
		if _, has := chosen[rec.ClusterID]; beginning(rec.At, coarse).Equal(span) && (has || len(chosen) < limit) {
			chosen[rec.ClusterID] = append(chosen[rec.ClusterID], rec)
		}
	}
	for _, of := range chosen {
		s.keep(summed(of, coarse)[0])
		for _, rec := range of {
			s.u.samples.remove(s.u, keyOf(rec))
			n++
		}
	}
	return n, nil
}

func (s samples) DeleteOlderThan(ctx context.Context, resolution time.Duration, t time.Time, limit int) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	old := s.sorted(func(rec store.ControlPlaneSample) bool { return rec.Resolution == resolution && rec.At.Before(t) })
	old = old[:max(0, min(limit, len(old)))]
	for _, rec := range old {
		s.u.samples.remove(s.u, keyOf(rec))
	}
	return len(old), nil
}
