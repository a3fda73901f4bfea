package metering

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Deps are what a Sampler cannot work without.
type Deps struct {
	Store       store.Store
	Provisioner provision.Provisioner // measures if it is a provision.Meter
	Log         *slog.Logger
	Now         func() time.Time // the same in all processes: the lease is counted by it
	Name        string           // of this process
}

// Sampler may run in several processes; one of them measures.
type Sampler struct {
	deps Deps
	said string // the reason that the log has heard of last
}

// NewSampler refuses missing dependencies, so that wiring mistakes fail at start.
func NewSampler(d Deps) (*Sampler, error) {
	if d.Store == nil || d.Provisioner == nil || d.Log == nil || d.Now == nil || d.Name == "" {
		return nil, errors.New("metering: every field of Deps must be set")
	}
	return &Sampler{deps: d}, nil
}

const (
	leaseName = "control-plane-metrics"
	// lease outlasts the minute until it is renewed; the minute after that one
	// another process measures.
	lease = 90 * time.Second
	// patience is for one minute's work, so that the next one begins in time.
	patience = 50 * time.Second
	// measuring leaves time to write.
	measuring = 30 * time.Second

	// Bounds of one transaction and of one minute. Whatever is left waits for the
	// next minute.
	writeBatch  = 1000 // samples
	thinBatch   = 500  // clusters
	deleteBatch = 1000 // samples
	batches     = 20

	longest = 500 // characters of a reason
)

// Run measures on every minute until ctx ends; then it gives its lease back.
func (s *Sampler) Run(ctx context.Context) {
	ctx = actor.With(ctx, actor.Process())
	for ctx.Err() == nil {
		if err := s.Once(ctx); err != nil && ctx.Err() == nil {
			s.deps.Log.WarnContext(ctx, "what control planes use was not kept this minute", "err", err)
		}
		now := s.deps.Now()
		bell.Wait(ctx, nil, now.Truncate(fine).Add(fine).Sub(now))
	}
	if err := s.release(ctx); err != nil {
		s.deps.Log.WarnContext(ctx, "the lease for measuring was not given back", "err", err)
	}
}

// Once measures and writes down this minute, unless another process does, and
// thins what has become old. Repeated within the minute, it changes nothing.
func (s *Sampler) Once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	mine, err := s.acquire(ctx)
	if err != nil || !mine {
		return err
	}
	minute := s.deps.Now().Truncate(fine)
	usage, reason := s.measure(ctx)
	if err := s.write(ctx, minute, usage, reason); err != nil {
		return err
	}
	return s.thin(ctx)
}

func (s *Sampler) acquire(ctx context.Context) (mine bool, err error) {
	now := s.deps.Now()
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Leases().Acquire(ctx, []string{leaseName}, s.deps.Name, now, now.Add(lease))
		mine = len(got) > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("take the lease for measuring: %w", err)
	}
	return mine, nil
}

func (s *Sampler) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return tx.Leases().Release(ctx, []string{leaseName}, s.deps.Name)
	})
}

// measure returns why there is nothing to write, for people, when there is not.
func (s *Sampler) measure(ctx context.Context) (usage map[id.Cluster]provision.Usage, reason string) {
	ctx, cancel := context.WithTimeout(ctx, measuring)
	defer cancel()
	meter, ok := s.deps.Provisioner.(provision.Meter)
	if !ok {
		return nil, s.say(ctx, provision.Unmeasured(provision.NoMeter))
	}
	usage, err := meter.Usage(ctx)
	return usage, s.say(ctx, err)
}

// say puts a failure into a sentence, and tells the log of it once.
func (s *Sampler) say(ctx context.Context, err error) (reason string) {
	if err != nil {
		reason = "What control planes use could not be measured the last time; it is tried every minute."
		if named, ok := errors.AsType[*fault.Error](err); ok {
			reason = named.Msg
		}
		all := []rune(strings.ToValidUTF8(reason, "�"))
		reason = string(all[:min(len(all), longest)])
	}
	switch {
	case reason == s.said || errors.Is(err, context.Canceled): // no news, or this process ends
	case reason == "":
		s.deps.Log.InfoContext(ctx, "control planes are measured again")
	default:
		s.deps.Log.WarnContext(ctx, "control planes are not measured", "err", err)
	}
	s.said = reason
	return reason
}

func (s *Sampler) write(ctx context.Context, minute time.Time, usage map[id.Cluster]provision.Usage, why string) error {
	all := make([]store.ControlPlaneSample, 0, len(usage))
	for _, c := range slices.SortedFunc(maps.Keys(usage), func(a, b id.Cluster) int { return cmp.Compare(a.String(), b.String()) }) {
		u := usage[c]
		all = append(all, store.ControlPlaneSample{
			ClusterID: c, At: minute, Resolution: fine, Measurements: 1,
			CPUMilli: u.CPUMilli, MemoryMiB: u.MemoryMiB, PodsReady: int64(u.PodsReady), PodsTotal: int64(u.PodsTotal),
		})
	}
	for batch := range slices.Chunk(all, writeBatch) {
		err := s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.ControlPlaneSamples().Append(ctx, batch...)
			return err
		})
		if err != nil {
			return fmt.Errorf("write samples: %w", err)
		}
	}
	return s.state(ctx, why)
}

// state writes down why nothing is measured, or that it is, where that is news.
func (s *Sampler) state(ctx context.Context, why string) error {
	var known string
	err := s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		known, err = reason(ctx, tx)
		return err
	})
	if err == nil && known != why {
		err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
			return tx.Facts().Set(ctx, reasonFact, []byte(why))
		})
	}
	if err != nil {
		return fmt.Errorf("write down why nothing is measured: %w", err)
	}
	return nil
}

// thin makes room, so many transactions a minute: first sums for what is old,
// then nothing for what is older. Each may be done again, or by two at once.
func (s *Sampler) thin(ctx context.Context) error {
	now := s.deps.Now()
	thin := func(ctx context.Context, tx store.Tx) (int, error) {
		return tx.ControlPlaneSamples().Thin(ctx, fine, coarse, now.Add(-fineKept), thinBatch)
	}
	if err := s.repeat(ctx, thin); err != nil {
		return fmt.Errorf("thin samples: %w", err)
	}
	remove := func(ctx context.Context, tx store.Tx) (int, error) {
		return tx.ControlPlaneSamples().DeleteOlderThan(ctx, coarse, now.Add(-coarseKept), deleteBatch)
	}
	if err := s.repeat(ctx, remove); err != nil {
		return fmt.Errorf("remove old samples: %w", err)
	}
	return nil
}

func (s *Sampler) repeat(ctx context.Context, do func(ctx context.Context, tx store.Tx) (int, error)) error {
	for range batches {
		n := 0
		err := s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			n, err = do(ctx, tx)
			return err
		})
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}
