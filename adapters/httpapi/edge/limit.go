package edge

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Limit is how often something may be done by one client.
type Limit struct {
	Window     time.Duration // after each, one more is allowed
	Burst      int           // as many at once
	MaxEntries int           // clients remembered; the longest unseen is forgotten
}

// Or returns l with what is not set taken from d.
func (l Limit) Or(d Limit) Limit {
	if l.Window <= 0 {
		l.Window = d.Window
	}
	if l.Burst <= 0 {
		l.Burst = d.Burst
	}
	if l.MaxEntries <= 0 {
		l.MaxEntries = d.MaxEntries
	}
	return l
}

// Limiter enforces a Limit within this process.
type Limiter struct{ gcra *throttled.GCRARateLimiterCtx }

// NewLimiter needs every field of l to be positive.
func NewLimiter(l Limit, now func() time.Time) (*Limiter, error) {
	if l.Window <= 0 || l.Burst <= 0 || l.MaxEntries <= 0 {
		return nil, errors.New("rate limit: window, burst and number of entries must be positive")
	}
	store, err := memstore.New(l.MaxEntries)
	if err != nil {
		return nil, fmt.Errorf("rate limit: %w", err)
	}
	store.SetTimeNow(now)
	gcra, err := throttled.NewGCRARateLimiterCtx(throttled.WrapStoreWithContext(store), throttled.RateQuota{
		MaxRate: throttled.PerDuration(1, l.Window), MaxBurst: l.Burst - 1,
	})
	if err != nil {
		return nil, fmt.Errorf("rate limit: %w", err)
	}
	return &Limiter{gcra}, nil
}

// Take counts one and refuses when that is too many.
func (l *Limiter) Take(ctx context.Context, key string) error { return l.ask(ctx, key, 1) }

// Peek refuses when Take would, and counts nothing.
func (l *Limiter) Peek(ctx context.Context, key string) error { return l.ask(ctx, key, 0) }

func (l *Limiter) ask(ctx context.Context, key string, count int) error {
	limited, result, err := l.gcra.RateLimitCtx(ctx, key, count)
	if err != nil { // so many at once for one key that the store gave up counting them
		return rateLimited(time.Second)
	}
	if limited || (count == 0 && result.RetryAfter > 0) {
		return rateLimited(result.RetryAfter)
	}
	return nil
}

func rateLimited(wait time.Duration) error {
	e := fault.Exhausted.New("rate_limited", "Too many requests. Wait before the next.")
	e.RetryAfter = max(wait, time.Second)
	return e
}

// ClientKey is what one client is counted by. An IPv6 client has a whole /64.
func ClientKey(ctx context.Context) string {
	ip := Of(ctx).IP
	if ip.Is6() {
		return netip.PrefixFrom(ip, 64).Masked().String()
	}
	return ip.String()
}
