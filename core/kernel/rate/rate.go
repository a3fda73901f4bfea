// Package rate bounds how much of something happens: how much at once, and how
// much over time.
package rate

import (
	"math"
	"time"
)

// Bucket holds up to Burst and fills at PerSecond. It begins full. It is told
// the time and never waits. It may not be used by two goroutines at once.
type Bucket struct {
	burst, perSecond, level float64
	at                      time.Time
}

// New returns a full bucket.
func New(burst, perSecond float64) *Bucket {
	return &Bucket{burst: burst, perSecond: perSecond, level: burst}
}

// Level is what may be taken now. It is negative while there is a debt.
func (b *Bucket) Level(now time.Time) float64 {
	if b.at.IsZero() || now.Before(b.at) { // a clock that went back gives nothing and takes nothing
		b.at = now
	}
	b.level = min(b.burst, b.level+now.Sub(b.at).Seconds()*b.perSecond)
	b.at = now
	return b.level
}

// Full reports whether nothing has been taken that has not come back.
func (b *Bucket) Full(now time.Time) bool { return b.Level(now) >= b.burst }

// Take takes n, or nothing when there is less.
func (b *Bucket) Take(now time.Time, n float64) bool {
	if b.Level(now) < n {
		return false
	}
	b.level -= n
	return true
}

// Spend takes n whether it is there or not.
func (b *Bucket) Spend(now time.Time, n float64) {
	b.Level(now)
	b.level -= n
}

// Wait is how long it takes until n is there, which is never more than Burst.
func (b *Bucket) Wait(now time.Time, n float64) time.Duration {
	missing := min(n, b.burst) - b.Level(now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(math.Ceil(missing / b.perSecond * float64(time.Second)))
}
