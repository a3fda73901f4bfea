package operation

import (
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Time is a moment as clients see it: RFC 3339, UTC, milliseconds.
type Time struct{ t time.Time }

const timeFormat = "2006-01-02T15:04:05.000Z"

// At is t for clients.
func At(t time.Time) Time { return Time{t} }

// MaybeAt is t for clients, null where there is none. Fields of this type need
// the tag nullable:"true".
func MaybeAt(t *time.Time) *Time {
	if t == nil {
		return nil
	}
	return &Time{*t}
}

// MarshalJSON writes exactly three digits, which time.Time's own does not.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(t.t.UTC().Format(`"` + timeFormat + `"`)), nil
}

// Schema is a date-time to huma.
func (Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: "string", Format: "date-time", Examples: []any{"2026-04-23T07:50:00.000Z"}}
}
