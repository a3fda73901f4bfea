package outage_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/outage"
)

// TestTroubleIsToldAtOnceThenSeldomAndWhenItIsOver, however often it is met.
func TestTroubleIsToldAtOnceThenSeldomAndWhenItIsOver(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	teller := outage.New(slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now })
	said := func() (lines []string) {
		defer out.Reset()
		for line := range strings.Lines(out.String()) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), "level=")
			lines = append(lines, line)
		}
		return lines
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if got := said(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s it says:\n%s\nwant\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	fails := func(err error) { teller.Failed(t.Context(), slog.LevelError, "not done", err, "worker", "a") }
	down := errors.New("down")

	teller.Works(t.Context(), "done again")
	expect("before any trouble")
	for range 90 { // a minute and a half, and one more
		fails(down)
		now = now.Add(time.Second)
	}
	expect("for a minute and a half", `ERROR msg="not done" worker=a err=down`, `ERROR msg="not done" worker=a err=down for=1m0s not_told=59`)
	fails(errors.New("refused"))
	expect("of another error", `ERROR msg="not done" worker=a err=refused for=1m30s not_told=29`)
	for i := range 20 { // each of its own, as those that name a port
		fails(fmt.Errorf("port %d", i))
		now = now.Add(time.Second)
	}
	expect("of errors that change all the time", `ERROR msg="not done" worker=a err="port 10" for=1m40s not_told=10`)
	teller.Works(t.Context(), "done again", "worker", "a")
	teller.Works(t.Context(), "done again")
	expect("when it is over", `INFO msg="done again" worker=a after=1m50s not_told=9`)
	fails(down)
	expect("the next time", `ERROR msg="not done" worker=a err=down`)
	now = now.Add(-time.Hour)
	fails(down)
	if got := said(); len(got) != 1 {
		t.Errorf("after a clock that went back it says %q", got)
	}
}
