package console

import (
	"strconv"
	"time"
)

const day = 24 * time.Hour

// relative says how long ago something was, as people do: in one unit, rounded
// down. A clock that lies a little behind the writer's says "just now".
func relative(ago time.Duration) string {
	for _, u := range [...]struct {
		length time.Duration
		name   string
	}{{365 * day, "year"}, {30 * day, "month"}, {7 * day, "week"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		switch n := int(ago / u.length); {
		case n == 1:
			return "1 " + u.name + " ago"
		case n > 1:
			return strconv.Itoa(n) + " " + u.name + "s ago"
		}
	}
	return "just now"
}
