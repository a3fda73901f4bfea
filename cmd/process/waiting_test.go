package process

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errAway   = fault.Unavailable.New("database_unavailable", "The database is away.")
	errWrong  = errors.New("the key is wrong")
	errBroken = errors.New("the listener is broken")
)

// TestOnlyWhatWaitingMendsIsWaitedFor, and for no longer than was said, than the
// process is wanted and than its listener works.
func TestOnlyWhatWaitingMendsIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit, stopped, broken time.Duration // 0: never
		away                   time.Duration // until then it is away
		then                   error
		want                   error
		ends                   time.Duration // at the latest
	}{
		"there at once":         {},
		"there after a while":   {away: time.Minute, ends: time.Minute + 5*time.Second},
		"wrong at once":         {then: errWrong, want: errWrong},
		"wrong when it is back": {away: time.Minute, then: errWrong, want: errWrong, ends: time.Minute + 5*time.Second},
		"back too late":         {away: time.Hour, limit: time.Minute, want: errAway, ends: time.Minute},
		"stopped meanwhile":     {away: time.Hour, limit: time.Minute, stopped: time.Second, want: context.Canceled, ends: time.Second},
		"listener lost":         {away: time.Hour, broken: time.Second, want: errBroken, ends: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				if c.stopped > 0 {
					defer time.AfterFunc(c.stopped, stop).Stop()
				}
				broken := make(chan error, 1)
				if c.broken > 0 {
					defer time.AfterFunc(c.broken, func() { broken <- errBroken }).Stop()
				}
				w, tries := &waiting{log: slog.New(slog.DiscardHandler)}, 0
				err := w.until(ctx, c.limit, broken, func(context.Context) error {
					if tries++; time.Since(began) < c.away {
						return errAway
					}
					return c.then
				})
				if took := time.Since(began); !errors.Is(err, c.want) || c.want == nil && err != nil || took > c.ends {
					t.Errorf("it ends after %v with %v, want %v after %v", took, err, c.want, c.ends)
				}
				if why := w.ready(ctx)["database"]; tries > 1 && !errors.Is(why, errAway) {
					t.Errorf("meanwhile readiness names %v", why)
				}
			})
		})
	}
}
