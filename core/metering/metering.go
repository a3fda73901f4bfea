// Package metering keeps what control planes use: a [Sampler] measures all of
// them every minute and thins what has become old, and a [Service] tells what
// there is. What was not measured is a gap, never a zero.
//
// A sample is a sum and how many measurements are in it. A minute's has one; the
// fifteen minutes that take the place of a day's old ones have up to fifteen, so
// that means stay what they were.
package metering

import (
	"context"
	"errors"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// What is kept, and how closely.
const (
	fine       = time.Minute
	coarse     = 15 * time.Minute
	fineKept   = 24 * time.Hour
	coarseKept = 30 * 24 * time.Hour
)

// Window is a time up to now that a history may be of.
type Window string

// The windows that there are.
const (
	Hour     Window = "1h"
	SixHours Window = "6h"
	Day      Window = "24h"
	Week     Window = "7d"
)

// span is how long a window is, and how long one step of it. No window has more
// than 360 steps. A step that reaches back beyond fineKept holds coarse samples
// as wholes.
func (w Window) span() (length, step time.Duration, ok bool) {
	switch w {
	case Hour:
		return time.Hour, time.Minute, true
	case SixHours:
		return 6 * time.Hour, time.Minute, true
	case Day:
		return 24 * time.Hour, 5 * time.Minute, true
	case Week:
		return 7 * 24 * time.Hour, 30 * time.Minute, true
	}
	return 0, 0, false
}

// History is what a control plane used, oldest first. A step in which nothing was
// measured is not among the samples.
type History struct {
	Samples []Sample
	Step    time.Duration
	Reason  string // a plain sentence: why nothing is measured at the moment; empty: it is
}

// Sample is the mean of a step that begins at At.
type Sample struct {
	At        time.Time
	CPUMilli  int64
	MemoryMiB int64
	PodsReady int64
	PodsTotal int64
}

// Service reads; it changes nothing.
type Service struct {
	store store.Store
	now   func() time.Time
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(s store.Store, now func() time.Time) (*Service, error) {
	if s == nil || now == nil {
		return nil, errors.New("metering: a store and a clock are needed")
	}
	return &Service{s, now}, nil
}

// History returns what the control plane of a cluster used that the actor in ctx
// may see.
func (s *Service) History(ctx context.Context, c id.Cluster, w Window) (h History, err error) {
	length, step, ok := w.span()
	if !ok {
		var check fault.Check
		check.That(false, "query.window", "must be one of 1h, 6h, 24h and 7d")
		return h, check.Err()
	}
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return h, err
	}
	h.Step = step
	end := s.now().Truncate(step).Add(step) // the step that has begun is part of it
	err = s.store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.Clusters().Get(ctx, scope, c); err != nil {
			return err
		}
		sums, err := tx.ControlPlaneSamples().Steps(ctx, scope, c, end.Add(-length), end, step)
		if err != nil {
			return err
		}
		h.Samples = means(sums)
		h.Reason, err = reason(ctx, tx)
		return err
	})
	return h, err
}

func means(sums []store.ControlPlaneSample) (out []Sample) {
	for _, s := range sums {
		mean := func(sum int64) int64 { return (sum + s.Measurements/2) / max(s.Measurements, 1) }
		out = append(out, Sample{s.At, mean(s.CPUMilli), mean(s.MemoryMiB), mean(s.PodsReady), mean(s.PodsTotal)})
	}
	return out
}

// reasonFact is why the last measurement failed, for every process that tells;
// empty when it did not.
const reasonFact = "control-plane-metrics/reason"

func reason(ctx context.Context, tx store.Tx) (string, error) {
	text, err := tx.Facts().Get(ctx, reasonFact)
	if errors.Is(err, fault.NotFound) {
		return "", nil // nobody has measured yet
	}
	return string(text), err
}
