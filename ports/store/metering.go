package store

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// ControlPlaneSample is what a control plane used from At on for as long as
// Resolution. What was measured is kept as sums, so that means of any span are
// as exact as what they are made of.
type ControlPlaneSample struct {
	ClusterID    id.Cluster
	At           time.Time
	Resolution   time.Duration // whole seconds
	Measurements int64         // how many are summed up in what follows
	CPUMilli     int64
	MemoryMiB    int64
	PodsReady    int64
	PodsTotal    int64
}

// ControlPlaneSamples stores what control planes used. A Scope sees the samples
// of live clusters that it sees. Those of deleted clusters stay until they are
// too old, like all others.
type ControlPlaneSamples interface {
	// Append writes samples in one statement and returns how many were new. A
	// cluster that has one of the same At and Resolution keeps that one, so that
	// two who measure at once write once; samples of clusters that are unknown or
	// deleted are passed by.
	Append(ctx context.Context, samples ...ControlPlaneSample) (int, error)
	// Steps adds up a cluster's samples, from the one time on and before the other, in spans of
	// step, which is whole seconds: each has the time at which its span begins,
	// counted in steps since 1970, and step as its Resolution. Oldest first; a
	// span without samples is not among them.
	Steps(ctx context.Context, s Scope, c id.Cluster, from, to time.Time, step time.Duration) ([]ControlPlaneSample, error)
	// Thin replaces samples of the resolution fine by their sums in spans of
	// coarse that end at before or earlier: those of at most limit clusters, in the
	// oldest span that has any. It returns how many samples it removed; none are
	// left when it returns 0. A cluster that has a coarse sample of that span
	// already keeps that one as it is.
	Thin(ctx context.Context, fine, coarse time.Duration, before time.Time, limit int) (int, error)
	// DeleteOlderThan removes at most limit samples of a resolution whose At is before t.
	DeleteOlderThan(ctx context.Context, resolution time.Duration, t time.Time, limit int) (int, error)
}
