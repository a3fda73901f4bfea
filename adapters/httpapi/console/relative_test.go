package console

import (
	"testing"
	"time"
)

func TestRelative(t *testing.T) {
	t.Parallel()
	for ago, want := range map[time.Duration]string{
		-time.Second: "just now", 0: "just now", 59 * time.Second: "just now", time.Minute: "1 minute ago", 119 * time.Second: "1 minute ago",
		3 * time.Minute: "3 minutes ago", time.Hour: "1 hour ago", 47 * time.Hour: "1 day ago", 13 * day: "1 week ago", 14 * day: "2 weeks ago",
		29 * day: "4 weeks ago", 30 * day: "1 month ago", 364 * day: "12 months ago", 365 * day: "1 year ago", 800 * day: "2 years ago",
	} {
		if got := relative(ago); got != want {
			t.Errorf("%s is %q, want %q", ago, got, want)
		}
	}
}
