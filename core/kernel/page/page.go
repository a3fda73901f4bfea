// Package page describes one page of a listing, newest first. Identifiers sort
// by age, so the last id seen is the whole cursor, and no row is skipped or
// repeated when others are inserted meanwhile.
package page

const (
	DefaultLimit = 100
	MaxLimit     = 500
)

// Query asks for at most Limit items older than the item with id Before.
type Query struct {
	Limit  int
	Before string // empty: from the newest
}

// Clamp returns q with a limit that a store may trust.
func (q Query) Clamp() Query {
	if q.Limit <= 0 {
		q.Limit = DefaultLimit
	}
	q.Limit = min(q.Limit, MaxLimit)
	return q
}

// Of is one page. Next is empty on the last, else the Before of the next.
type Of[T any] struct {
	Items []T
	Next  string
}

// Cut turns up to limit+1 rows into a page: stores fetch one row more than
// asked, and that row's presence is what proves there is a next page.
func Cut[T any](rows []T, limit int, id func(T) string) Of[T] {
	if len(rows) <= limit {
		return Of[T]{Items: rows}
	}
	return Of[T]{Items: rows[:limit], Next: id(rows[limit-1])}
}
