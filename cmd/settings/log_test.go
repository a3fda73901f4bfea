package settings

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestADurationHasItsUnitInTheLog, in both formats: as a number it is anybody's
// guess.
func TestADurationHasItsUnitInTheLog(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text"} {
		var out strings.Builder
		log := slog.New((&Log{format: format}).handler(&out, false)).With("limit", time.Minute)
		log.Info("x", "took", 1500123456*time.Nanosecond, slog.Group("g", "behind", -2345678*time.Nanosecond), "short", 42*time.Microsecond, "n", 1500123456)
		got := strings.NewReplacer(`"`, "", ":", "=").Replace(out.String())
		for _, want := range []string{"took=1.5s", "limit=1m0s", "behind=-2.346ms", "short=42µs", "n=1500123456"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %s in %s", format, want, out.String())
			}
		}
	}
}
