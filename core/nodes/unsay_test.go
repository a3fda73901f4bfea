package nodes

import (
	"testing"
	"time"
)

// What was granted for a transaction that did not commit is granted again: that a
// machine joined and how much was left out is not lost with it.
func TestWhatWasNotWrittenIsStillToBeSaid(t *testing.T) {
	t.Parallel()
	p, now := NewPace(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for range ownAtOnce {
		p.speak("w1", "ready", false, now)
	}
	p.speak("w1", "ready", true, now)
	p.speak("w1", "not_ready", false, now)
	now = now.Add(time.Hour)
	failed := newSpeaker(p)
	first := failed.once("w1", func() said { return p.sumUp("w1", now) })
	again := failed.once("w1", func() said { t.Error("the pace was asked twice"); return said{} })
	if !first.ok || first.unsaid != 2 || !first.joined || first.before != "ready" || again.unsaid != 2 || p.owes() {
		t.Fatalf("granted %+v and %+v", first, again)
	}
	failed.unsay()
	second := newSpeaker(p).once("w1", func() said { return p.sumUp("w1", now) })
	if !second.ok || second.unsaid != 2 || !second.joined || second.before != "ready" {
		t.Errorf("after a transaction that failed: %+v", second)
	}
	declined := newSpeaker(p)
	for range ownAtOnce {
		p.speak("w1", "ready", false, now)
	}
	owed := p.own["w1"].unsaid
	declined.once("w1", func() said { return p.speak("w1", "ready", false, now) })
	if declined.unsay(); p.own["w1"].unsaid != owed {
		t.Errorf("what was declined counts although it was not written: %d, want %d", p.own["w1"].unsaid, owed)
	}
}
