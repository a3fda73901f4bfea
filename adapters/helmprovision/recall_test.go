package helmprovision

import (
	"testing"
	"time"
)

// TestTimeInWhichNobodyLookedDoesNotCount against a published endpoint.
func TestTimeInWhichNobodyLookedDoesNotCount(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r, c := newRecall(func() time.Time { return now }), newID()
	for _, step := range []struct{ passes, waited time.Duration }{
		{0, 0},
		{20 * time.Second, 20 * time.Second},
		{25 * time.Second, 45 * time.Second},
		{time.Hour, 0},
		{10 * time.Second, 10 * time.Second},
		{-time.Minute, 0}, // a clock that was set back
	} {
		now = now.Add(step.passes)
		if ok, waited := r.probed(c, "endpoint"); ok || waited != step.waited {
			t.Errorf("after %s more it waited for %s, want %s", step.passes, waited, step.waited)
		}
	}
	r.note(c, "endpoint", true)
	now = now.Add(time.Hour)
	if ok, _ := r.probed(c, "endpoint"); !ok {
		t.Error("an answer is forgotten because nobody looked")
	}
}
