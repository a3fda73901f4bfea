package store

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
)

// Statuses of deliveries.
const (
	DeliveryPending   = "pending"
	DeliveryDelivered = "delivered"
	DeliveryDead      = "dead" // given up
)

// Delivery is a message that is to reach somebody, and afterwards the log's
// entry about it.
type Delivery struct {
	ID          id.Delivery
	Key         string // unique: makes it harmless to ask for a message again
	Template    string
	Channel     string
	UserID      id.User // zero: to nobody's own target
	Target      string  // masked
	Sealed      []byte  // where to and with what, unreadable without the server's key; empty once nobody needs it
	Status      string
	Attempts    int // how often it was claimed
	DueAt       time.Time
	Holder      string     // who works on it
	LeasedUntil *time.Time // nil: nobody
	LastError   string
	CreatedAt   time.Time
	UpdatedAt   time.Time
	DeliveredAt *time.Time
}

// DeliveryFilter narrows a list; zero fields do not.
type DeliveryFilter struct {
	Status   string
	Channel  string
	Template string
	User     id.User
}

// Deliveries queue messages and keep the log of them.
type Deliveries interface {
	// Insert passes by a delivery whose Key is there already, whatever its status,
	// and one to an account that is gone.
	Insert(ctx context.Context, all ...Delivery) error
	// Get fails with fault.NotFound, code delivery_not_found.
	Get(ctx context.Context, i id.Delivery) (Delivery, error)
	// Hold returns the deliveries that have one of keys, in no order, and keeps
	// others from claiming and settling them until the transaction ends.
	Hold(ctx context.Context, keys ...string) ([]Delivery, error)
	// Claim gives holder, until then, up to n deliveries of a channel that are
	// pending, due at now, and nobody's, or whose lease has run out at now: those
	// first that have been due for longest. It counts an attempt of each. Two
	// transactions never get the same one, and neither waits for the other.
	Claim(ctx context.Context, holder, channel string, now, until time.Time, n int) ([]Delivery, error)
	// Settle writes Status, DueAt, LastError, UpdatedAt and DeliveredAt of a
	// delivery that holder has claimed and ends its lease. Sealed stays as it is if
	// the delivery is pending, or dead with a Sealed that is not empty; otherwise it
	// is erased. Settle reports false and changes nothing when the delivery is not
	// holder's any more. A lease that has run out is holder's until somebody else
	// claims the delivery.
	Settle(ctx context.Context, d Delivery, holder string) (bool, error)
	// Next returns when there will be something to claim of each of channels; of
	// what is left out there is nothing. It may have been already.
	Next(ctx context.Context, channels ...string) (map[string]time.Time, error)
	// Revive makes a delivery that is dead and has its Sealed still pending, due at
	// now, and counts its attempts anew. It reports false and changes nothing when
	// it is no such delivery.
	Revive(ctx context.Context, i id.Delivery, now time.Time) (bool, error)
	// Forget erases Sealed of at most limit deliveries that are dead and were
	// updated last before t.
	Forget(ctx context.Context, t time.Time, limit int) (int, error)
	// List pages through the deliveries that f lets through.
	List(ctx context.Context, f DeliveryFilter, q page.Query) (page.Of[Delivery], error)
	// DeleteOlderThan removes at most limit deliveries that are over and were made
	// before t.
	DeleteOlderThan(ctx context.Context, t time.Time, limit int) (int, error)
}
