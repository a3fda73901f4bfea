package store

import "time"

// Backlog is what waits, for whoever watches over the installation.
type Backlog struct {
	Jobs          map[string]int // that are pending or running, by status
	OldestJob     *time.Time     // when the oldest pending one was made; nil: none is pending
	Messages      int            // in the outbox, counted up to MostBacklog
	OldestMessage *time.Time     // when the oldest of them was written; nil: there is none
	Clusters      map[string]int // that are not deleted, by connection status
}

// MostBacklog is how far messages are counted.
const MostBacklog = 10_000
