package amqpbus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/bus"
)

// subscription is one Subscribe. Its workers last as long as it, over any
// number of connections, so that its concurrency holds.
type subscription struct {
	messageType, group string
	concurrency        int
	handler            bus.Handler

	work    chan amqp.Delivery
	channel *amqp.Channel // of the last session
	made    bool          // it worked at least once
}

// Subscribe implements bus.Subscriber. The broker keeps a group's messages from
// its first subscription on. It hands out one message for each free worker, so
// that none waits behind a slow one while another process is idle.
func (b *Bus) Subscribe(ctx context.Context, messageType, group string, concurrency int, h bus.Handler) error {
	if messageType == "" || group == "" || concurrency < 1 || concurrency > 1<<15 || h == nil {
		return fault.Invalid.New("bad_subscription", "A subscription needs a type, a group, a concurrency of at least 1 and a handler.")
	}
	if len(messageType) > maxShort || len(b.config.queueName(messageType, group)) > maxShort {
		return fault.Invalid.New("bad_subscription", "The names of type and group are too long for a queue.")
	}
	if b.consume.isEnded() {
		return errStopped()
	}
	s := &subscription{messageType: messageType, group: group, concurrency: concurrency, handler: h, work: make(chan amqp.Delivery)}
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() {
			for d := range s.work {
				b.handle(ctx, s, d)
			}
		})
	}
	err := b.pump(ctx, s)
	close(s.work)
	workers.Wait()
	b.leave(s)
	b.setTrouble(s, nil)
	return err
}

// pump brings messages to the workers until ctx ends.
func (b *Bus) pump(ctx context.Context, s *subscription) error {
	log := b.config.Log.With("type", s.messageType, "group", s.group)
	for n := 1; ctx.Err() == nil; n++ {
		began, err := b.session(ctx, s)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // that is how a subscription ends
		case b.consume.isEnded():
			<-ctx.Done()
			return nil
		case !s.made && errors.Is(err, fault.Conflict):
			return fmt.Errorf("subscribe %s to %s: %w", s.group, s.messageType, err)
		case began:
			n = 1
		}
		b.setTrouble(s, err)
		wait := b.config.Backoff(n)
		log.WarnContext(ctx, "subscription interrupted; trying again", "wait", wait, "err", err)
		sleep(ctx, wait)
	}
	return nil
}

// session takes messages from one channel for as long as it lasts.
func (b *Bus) session(ctx context.Context, s *subscription) (began bool, err error) {
	conn, err := b.consume.await(ctx)
	if err != nil {
		return false, err
	}
	b.leave(s)
	var deliveries <-chan amqp.Delivery
	var closed chan *amqp.Error
	err = b.consume.guarded(func() error {
		deliveries, closed, err = b.begin(conn, s)
		return err
	})
	if err != nil {
		return false, explainChannel(err)
	}
	s.made = true
	b.setTrouble(s, nil)
	for {
		select {
		case <-ctx.Done():
			return true, nil
		case d, open := <-deliveries:
			if !open {
				return true, explainChannel(errors.Join(why(closed), amqp.ErrClosed))
			}
			select {
			case s.work <- d:
			case <-ctx.Done(): // the broker has it again with the channel's end
				return true, nil
			}
		}
	}
}

func (b *Bus) begin(conn *amqp.Connection, s *subscription) (<-chan amqp.Delivery, chan *amqp.Error, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, nil, err
	}
	s.channel = ch
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	p := b.config.groupPlace(s.messageType, s.group)
	if err := b.config.declare(ch, p); err != nil {
		return nil, nil, err
	}
	if err := ch.Qos(s.concurrency, 0, false); err != nil {
		return nil, nil, err
	}
	deliveries, err := ch.Consume(p.queue, "", false, false, false, false, nil)
	return deliveries, closed, err
}

// leave gives back what nobody has settled.
func (b *Bus) leave(s *subscription) {
	if s.channel == nil {
		return
	}
	_ = b.consume.guarded(s.channel.Close) // whatever it says, the channel is done with
	s.channel = nil
}

func (b *Bus) setTrouble(s *subscription, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := b.config.queueName(s.messageType, s.group)
	delete(b.troubles, name)
	if code := fault.CodeOf(err); code == "broker_declared_otherwise" || code == "broker_refused_permission" {
		b.troubles[name] = err
	}
}

// handle settles a message, or sees to it that it comes again.
func (b *Bus) handle(ctx context.Context, s *subscription, d amqp.Delivery) {
	if ctx.Err() != nil {
		return // for whoever comes next, when the channel closes
	}
	m, failures, err := fromWire(d, s.messageType)
	if err != nil {
		b.bury(ctx, s, d, 1, fault.Invalid.New("message_unreadable", "The message cannot be read.").Because(err))
		return
	}
	err = try(ctx, s.handler, m)
	switch {
	case err == nil:
		b.handled.Add(1)
		b.settle(ctx, s, d)
	case ctx.Err() != nil:
		// It was interrupted, which is no failure.
	case failures+1 >= b.config.MaxDeliveries:
		b.bury(ctx, s, d, failures+1, err)
	default:
		b.retry(ctx, s, d, failures+1, err)
	}
}

// try turns a panic into an error.
func try(ctx context.Context, h bus.Handler, m bus.Message) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.Internal.New("handler_panicked", "The handler panicked.").Because(fmt.Errorf("%v\n%s", p, debug.Stack()))
		}
	}()
	return h(ctx, m)
}

func (b *Bus) settle(ctx context.Context, s *subscription, d amqp.Delivery) {
	if err := d.Ack(false); err != nil {
		b.config.Log.DebugContext(ctx, "the connection went before a message was settled; it comes again", "type", s.messageType, "message", d.MessageId, "err", err)
	}
}

// retry puts the message into the queue that gives it back after a while.
func (b *Bus) retry(ctx context.Context, s *subscription, d amqp.Delivery, failures int, cause error) {
	wait := b.config.Delays[min(failures, len(b.config.Delays))-1]
	b.config.Log.WarnContext(ctx, "message not handled; trying again", "type", s.messageType, "message", d.MessageId, "failures", failures, "wait", wait, "err", cause)
	moved := b.move(ctx, s, d, letter{
		to: b.config.retryPlace(wait), key: b.config.queueName(s.messageType, s.group), must: true,
		Publishing: again(d, metaFailures, strconv.Itoa(failures)),
	})
	if moved {
		b.retried.Add(1)
	}
}

// bury puts the message where people look for it.
func (b *Bus) bury(ctx context.Context, s *subscription, d amqp.Delivery, failures int, cause error) {
	moved := b.move(ctx, s, d, letter{
		to: b.config.deadPlace(), key: b.config.deadQueue(), must: true,
		Publishing: again(d, metaFailures, strconv.Itoa(failures), metaGroup, s.group, metaReason, reason(cause),
			metaType, s.messageType, metaDiedAt, b.config.Now().UTC().Format("2006-01-02T15:04:05Z07:00")),
	})
	if moved {
		b.dead.Add(1)
		b.config.Log.ErrorContext(ctx, "message given up", "type", s.messageType, "group", s.group, "message", d.MessageId,
			"deliveries", failures, "queue", b.config.deadQueue(), "err", cause)
	}
}

// reason is short, and holds no text of which nobody knows what is in it.
func reason(err error) string {
	if f, is := errors.AsType[*fault.Error](err); is {
		return f.Code + ": " + f.Msg
	}
	return "internal: The log says more."
}

// move hands the message over to another queue before it settles it here: it
// may be there twice, never not at all.
func (b *Bus) move(ctx context.Context, s *subscription, d amqp.Delivery, l letter) bool {
	err := b.send(context.WithoutCancel(ctx), []letter{l})
	if err == nil {
		b.settle(ctx, s, d)
		return true
	}
	b.config.Log.WarnContext(ctx, "message not moved; it stays where it is", "type", s.messageType, "message", d.MessageId, "to", l.to.queue, "err", err)
	sleep(ctx, b.config.Delays[0])
	_ = d.Nack(false, true) // when the connection is gone, so is the delivery
	return false
}

func (l *link) isEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}
