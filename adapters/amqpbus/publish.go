package amqpbus

import (
	"context"
	"errors"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/bus"
)

// outlets is how many channels publish at once.
const outlets = 4

// outlet is one channel that publishes, for one caller at a time.
type outlet struct {
	conn     *amqp.Connection
	channel  *amqp.Channel
	closed   chan *amqp.Error
	returned chan amqp.Return
	declared map[place]bool
}

// letter is a message with its address. One that must arrive is sent alone.
type letter struct {
	to   place
	key  string
	must bool
	amqp.Publishing
}

// Publish implements bus.Publisher. All messages are sent before the first
// confirm is waited for. Messages of a type to which nobody has ever subscribed
// are dropped.
func (b *Bus) Publish(ctx context.Context, msgs ...bus.Message) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	letters := make([]letter, 0, len(msgs))
	for _, m := range msgs {
		p, err := toWire(m)
		if err != nil {
			return err
		}
		letters = append(letters, letter{to: b.config.trunk(), key: m.Type, Publishing: p})
	}
	if len(letters) == 0 {
		return nil
	}
	if err := b.send(ctx, letters); err != nil {
		return err
	}
	b.published.Add(uint64(len(letters)))
	return nil
}

// send returns when all letters are confirmed, or ctx or the patience ends.
// amqp091-go obeys no context while it writes, so that it writes elsewhere: in
// as many goroutines as there are outlets, which end with the connection at the
// latest.
func (b *Bus) send(ctx context.Context, letters []letter) error {
	if err := b.publish.trouble(); err != nil {
		return err
	}
	late := time.NewTimer(b.config.Patience)
	defer late.Stop()
	var o *outlet
	select {
	case o = <-b.outlets:
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return b.tooLate()
	}
	done := make(chan error, 1)
	go func() {
		err := b.transmit(o, letters)
		b.outlets <- o
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return b.tooLate()
	}
}

func (b *Bus) tooLate() error {
	if err := b.publish.trouble(); err != nil {
		return err
	}
	return fault.Unavailable.New("broker_slow", "RabbitMQ did not confirm the messages within %v.", b.config.Patience)
}

func (b *Bus) transmit(o *outlet, letters []letter) error {
	defer b.publish.watch()()
	if err := b.open(o); err != nil {
		return explainChannel(err)
	}
	for _, l := range letters {
		if o.declared[l.to] {
			continue
		}
		if err := b.config.declare(o.channel, l.to); err != nil {
			return explainChannel(err)
		}
		o.declared[l.to] = true
	}
	var confirms []*amqp.DeferredConfirmation
	for _, l := range letters {
		c, err := o.channel.PublishWithDeferredConfirm(l.to.exchange, l.key, l.must, false, l.Publishing)
		if err != nil {
			return explainChannel(errors.Join(why(o.closed), err))
		}
		confirms = append(confirms, c)
	}
	return o.confirmed(confirms)
}

// open makes sure of a channel on the connection that there is.
func (b *Bus) open(o *outlet) error {
	conn := b.publish.current()
	if conn == nil {
		return amqp.ErrClosed
	}
	if o.conn == conn && o.channel != nil && !o.channel.IsClosed() {
		return nil
	}
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	*o = outlet{
		conn: conn, channel: ch, declared: map[place]bool{},
		closed:   ch.NotifyClose(make(chan *amqp.Error, 1)),
		returned: ch.NotifyReturn(make(chan amqp.Return, 1)),
	}
	return nil
}

// confirmed waits until the broker has accepted or refused everything, or is
// gone.
func (o *outlet) confirmed(confirms []*amqp.DeferredConfirmation) error {
	for _, c := range confirms {
		if c.Wait() {
			continue
		}
		if o.channel.IsClosed() {
			return explainChannel(errors.Join(why(o.closed), amqp.ErrClosed))
		}
		return fault.Unavailable.New("broker_refused_message", "RabbitMQ did not take the message.")
	}
	select {
	case r, open := <-o.returned:
		if open {
			clear(o.declared) // somebody removed the queue
			return fault.Unavailable.New("broker_queue_missing", "A queue of the bus is missing in RabbitMQ; it is declared anew.").Because(errors.New(r.ReplyText))
		}
	default:
	}
	return nil
}

// why says why a channel was closed, if the broker said so.
func why(closed <-chan *amqp.Error) error {
	select {
	case err := <-closed:
		if err != nil {
			return err
		}
	default:
	}
	return nil
}

// explainChannel says for people what the broker objects to.
func explainChannel(err error) error {
	refused, is := errors.AsType[*amqp.Error](err)
	switch {
	case is && refused.Code == amqp.PreconditionFailed && strings.Contains(refused.Reason, "message size"):
		return fault.TooLarge.New("message_too_large", "A message is larger than RabbitMQ takes.").Because(err)
	case is && refused.Code == amqp.PreconditionFailed && strings.Contains(refused.Reason, "inequivalent arg"):
		return fault.Conflict.New("broker_declared_otherwise", "A queue or an exchange of the bus is in RabbitMQ with other properties: remove it there, or choose another prefix.").Because(err)
	case is && refused.Code == amqp.AccessRefused:
		return fault.Unavailable.New("broker_refused_permission", "RabbitMQ does not let this user configure, write and read what the bus needs: give it these permissions.").Because(err)
	}
	// Other failed preconditions pass: an acknowledgement that took too long, a
	// queue that is just being deleted.
	return fault.Unavailable.New("broker_unavailable", "RabbitMQ does not answer; messages wait until it does.").Because(err)
}

// current returns the connection, nil when there is none.
func (l *link) current() *amqp.Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// watch cuts a silent broker off, unless it said that it is silent for a while.
func (l *link) watch() (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(l.bus.config.Patience)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if !l.isBlocked() {
					l.kill()
					return
				}
			}
		}
	}()
	return func() { close(done) }
}

func (l *link) isBlocked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.blocked
}
