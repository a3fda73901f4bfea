// Package bus is where messages leave the process that wrote them and reach
// the one that acts on them.
//
// Delivery is at least once and order is not promised: a message is a hint to
// look at the store, which decides. Adapters are checked by [bustest.Run].
package bus

import (
	"context"
	"time"
)

// Message is one message on the wire. Consumers must tolerate seeing the same
// ID twice.
type Message struct {
	ID   string
	Type string // "cluster.job.v1"; a change of shape is a new version
	Key  string // what it is about; messages with one Key are published in the order they were written
	At   time.Time
	Body []byte // JSON, without secrets
}

// Publisher hands messages to the broker.
type Publisher interface {
	// Publish returns nil only once the broker has accepted every message. On
	// error the caller publishes all of them again, so accepting some is
	// allowed. It fails with fault.Invalid or fault.TooLarge when there is a
	// message among them that it will never take. It obeys ctx.
	Publish(ctx context.Context, msgs ...Message) error
}

// Handler acts on one message. An error asks for the message again, later.
type Handler func(ctx context.Context, m Message) error

// Subscriber takes messages from the broker.
type Subscriber interface {
	// Subscribe hands every message of one type to h, from up to concurrency
	// goroutines, until ctx ends; then it waits for the handlers that run and
	// returns nil. Subscribers of one type with one group share its messages.
	// A message is settled only after h returned nil. A panic in h counts as
	// an error. Returning early with an error means that the subscription
	// could not be made; a broker that goes away later is waited for.
	Subscribe(ctx context.Context, messageType, group string, concurrency int, h Handler) error
}

// Counts is what a Bus that is a Counter has seen since it was made.
type Counts struct {
	Published uint64 // messages that the broker has accepted
	Handled   uint64 // messages that a handler has settled
	Retried   uint64 // messages that a handler failed on, to come again
	Dead      uint64 // messages that were given up
	Connected uint64 // connections made to the broker
}

// Counter is what a Bus may be besides: it counts what passes through it.
type Counter interface {
	// Counts does not block, and no number in it ever becomes smaller.
	Counts() Counts
}

// Bus is both ends.
type Bus interface {
	Publisher
	Subscriber
}
