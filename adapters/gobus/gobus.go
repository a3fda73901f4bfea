// Package gobus implements bus.Bus inside one process, over watermill's
// gochannel. A message lives as long as the process: what must outlive it is in
// the store.
//
// gochannel hands every message to every subscription, keeps one goroutine a
// message for as long as it is unsettled, and repeats a refused one at once. So
// a group is one subscription, whose messages the group's handlers share and
// which lasts as long as the Bus; the group's slots bound its messages; and
// refusing waits.
package gobus

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/bus"
)

// Config may be zero but for Log.
type Config struct {
	Log *slog.Logger
	// Buffer is how many messages may wait for one group; 0: 1024.
	Buffer int
	// Patience is how long Publish waits for a full buffer; 0: a second.
	// Callers may hold a database transaction open meanwhile.
	Patience time.Duration
	// Backoff is how long to wait after a message's n-th failure, from 1;
	// nil: 100 ms, doubling to 30 s, spread by half.
	Backoff func(n int) time.Duration
}

// Bus is safe for concurrent use. Close must follow.
type Bus struct {
	config  Config
	channel *gochannel.GoChannel

	mu     sync.Mutex
	groups map[string]map[string]*group // by message type and name
	serial int                          // of the last message
	closed bool
}

// New returns a Bus. It starts nothing until somebody subscribes.
func New(c Config) *Bus {
	if c.Buffer <= 0 {
		c.Buffer = 1024
	}
	if c.Patience <= 0 {
		c.Patience = time.Second
	}
	if c.Backoff == nil {
		c.Backoff = backoff
	}
	return &Bus{
		config: c,
		// A buffer as large as the group's slots: gochannel never blocks.
		channel: gochannel.NewGoChannel(gochannel.Config{OutputChannelBuffer: int64(c.Buffer)}, watermill.NopLogger{}),
		groups:  map[string]map[string]*group{},
	}
}

func backoff(n int) time.Duration {
	d := min(100*time.Millisecond<<min(n-1, 16), 30*time.Second)
	return d/2 + rand.N(d/2) //nolint:gosec // spreading load needs no secrecy
}

// Close drops every message that is not settled. Handlers go on until the
// contexts of their subscriptions end.
func (b *Bus) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	return b.channel.Close()
}

// Ping says whether the Bus takes messages.
func (b *Bus) Ping(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return errClosed()
	}
	return nil
}

func errClosed() error {
	return fault.Unavailable.New("bus_closed", "Messages are not taken any more.")
}

// group is everyone who shares the messages of one type under one name.
type group struct {
	topic    string
	messages <-chan *message.Message
	slots    chan struct{} // one taken for each message that is not settled

	mu       sync.Mutex
	failures map[string]int // by message, for those that have failed
}

// Publish implements bus.Publisher. Messages of a type to which nobody has
// subscribed yet are dropped; those for a group that nobody is in at the moment
// wait for it. When a group is too far behind, it fails with fault.Unavailable.
func (b *Bus) Publish(ctx context.Context, msgs ...bus.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.Ping(ctx); err != nil {
		return err
	}
	for _, m := range msgs {
		for _, g := range b.groupsOf(m.Type) {
			if err := b.publish(ctx, g, m); err != nil {
				return fmt.Errorf("publish %s for %s: %w", m.Type, g.topic, err)
			}
		}
	}
	return nil
}

func (b *Bus) groupsOf(messageType string) (out []*group) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.groups[messageType] {
		out = append(out, g)
	}
	return out
}

func (b *Bus) publish(ctx context.Context, g *group, m bus.Message) error {
	if err := b.takeSlot(ctx, g); err != nil {
		return err
	}
	if err := b.channel.Publish(g.topic, b.toWire(m)); err != nil {
		<-g.slots
		return errClosed()
	}
	return nil
}

func (b *Bus) takeSlot(ctx context.Context, g *group) error {
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(b.config.Patience)
	defer late.Stop()
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return fault.Unavailable.New("bus_full", "Messages come faster than they are worked on.")
	}
}

// Subscribe implements bus.Subscriber. A group is known from its first
// subscription on, for as long as the Bus lives.
func (b *Bus) Subscribe(ctx context.Context, messageType, groupName string, concurrency int, h bus.Handler) error {
	if messageType == "" || groupName == "" || concurrency < 1 || h == nil {
		return fault.Invalid.New("bad_subscription", "A subscription needs a type, a group, a concurrency of at least 1 and a handler.")
	}
	g, err := b.join(messageType, groupName)
	if err != nil {
		return err
	}
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() { b.work(ctx, g, h) })
	}
	workers.Wait()
	return nil
}

func (b *Bus) join(messageType, name string) (*group, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errClosed()
	}
	if g := b.groups[messageType][name]; g != nil {
		return g, nil
	}
	g := &group{topic: messageType + "/" + name, slots: make(chan struct{}, b.config.Buffer), failures: map[string]int{}}
	// Close ends it, not the first subscriber's context.
	messages, err := b.channel.Subscribe(context.Background(), g.topic)
	if err != nil {
		return nil, errClosed()
	}
	g.messages = messages
	if b.groups[messageType] == nil {
		b.groups[messageType] = map[string]*group{}
	}
	b.groups[messageType][name] = g
	return g, nil
}

func (b *Bus) work(ctx context.Context, g *group, h bus.Handler) {
	for {
		select {
		case <-ctx.Done():
			return
		case msg, open := <-g.messages:
			if !open {
				<-ctx.Done()
				return
			}
			if ctx.Err() != nil {
				msg.Nack() // for whoever comes next
				return
			}
			b.handle(ctx, g, msg, h)
		}
	}
}

// handle settles a message, or sees to it that it comes again. It does not wait
// itself: the next message need not suffer.
func (b *Bus) handle(ctx context.Context, g *group, msg *message.Message, h bus.Handler) {
	m := fromWire(msg)
	err := try(ctx, h, m)
	switch {
	case err == nil:
		g.settle(msg)
	case ctx.Err() != nil:
		msg.Nack() // it was interrupted, which is no failure
	default:
		n := g.fail(msg)
		wait := b.config.Backoff(n)
		b.config.Log.WarnContext(ctx, "message not handled; trying again", "type", m.Type, "message", m.ID, "failures", n, "wait", wait, "err", err)
		time.AfterFunc(wait, func() { msg.Nack() })
	}
}

// try turns a panic into an error.
func try(ctx context.Context, h bus.Handler, m bus.Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("handler panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return h(ctx, m)
}

func (g *group) settle(msg *message.Message) {
	g.mu.Lock()
	delete(g.failures, msg.UUID)
	g.mu.Unlock()
	msg.Ack()
	<-g.slots
}

func (g *group) fail(msg *message.Message) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures[msg.UUID]++
	return g.failures[msg.UUID]
}

// The metadata in which watermill carries what it has no field for.
const (
	metaID   = "id"
	metaType = "type"
	metaKey  = "key"
	metaAt   = "at"
)

// toWire gives the message an identity of its own: the same bus.Message may be
// published twice.
func (b *Bus) toWire(m bus.Message) *message.Message {
	b.mu.Lock()
	b.serial++
	serial := b.serial
	b.mu.Unlock()
	msg := message.NewMessage(strconv.Itoa(serial), bytes.Clone(m.Body))
	msg.Metadata = message.Metadata{metaID: m.ID, metaType: m.Type, metaKey: m.Key, metaAt: m.At.Format(time.RFC3339Nano)}
	return msg
}

// fromWire copies the body, which the next attempt needs unchanged.
func fromWire(msg *message.Message) bus.Message {
	at, _ := time.Parse(time.RFC3339Nano, msg.Metadata[metaAt]) // toWire wrote it
	return bus.Message{ID: msg.Metadata[metaID], Type: msg.Metadata[metaType], Key: msg.Metadata[metaKey], At: at, Body: bytes.Clone(msg.Payload)}
}
