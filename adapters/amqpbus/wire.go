package amqpbus

import (
	"bytes"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/bus"
)

// What a message may measure. A name longer than a short string, or headers
// that do not fit a frame, would end the connection for everyone; bodies stay
// well under what RabbitMQ 4 takes by default, 16 MiB.
const (
	maxShort   = 255
	maxKey     = 4 << 10
	maxHeaders = 64 << 10
	maxBody    = 8 << 20
)

// The metadata in which watermill carries what it has no field for; those
// after metaAt are about what became of the message.
const (
	metaID       = "id"
	metaType     = "type"
	metaKey      = "key"
	metaAt       = "at"
	metaFailures = "failures"
	metaReason   = "reason"
	metaGroup    = "group"
	metaDiedAt   = "died_at"
)

// How many messages wait for a group, and how much the dead queue keeps for how
// long; the oldest make room. All of these are the queues' for good: RabbitMQ
// refuses to declare a queue with other properties than it has.
const (
	groupMost = 250_000
	deadMost  = 10_000
	deadFor   = 14 * 24 * time.Hour
)

func (c Config) deadQueue() string { return c.Prefix + ".dead" }

func (c Config) retryName(d time.Duration) string { return c.Prefix + ".retry." + d.String() }

// queueName tells every type and group apart, whatever is in them.
func (c Config) queueName(messageType, group string) string {
	return c.Prefix + ".group." + url.PathEscape(messageType) + "/" + url.PathEscape(group)
}

func checkNames(c Config) error {
	if len(c.Prefix) > 100 || strings.HasPrefix(c.Prefix, "amq.") {
		return fault.Invalid.New("bad_config", "The prefix of the broker's names has at most 100 characters and does not begin with amq., which is the broker's.")
	}
	for _, d := range c.Delays {
		if d < time.Millisecond || d > 24*time.Hour {
			return fault.Invalid.New("bad_config", "A delay before the next try is between a millisecond and a day.")
		}
	}
	return nil
}

// marshaler is watermill-amqp's, with the properties that the broker's own
// tools show.
var marshaler = wamqp.DefaultMarshaler{PostprocessPublishing: func(p amqp.Publishing) amqp.Publishing {
	p.ContentType = "application/json"
	p.MessageId, _ = p.Headers[metaID].(string)
	p.Type, _ = p.Headers[metaType].(string)
	return p
}}

// toWire copies the body, which the caller may change once Publish returned.
func toWire(m bus.Message) (amqp.Publishing, error) {
	switch {
	case m.Type == "" || len(m.Type) > maxShort || len(m.ID) > maxShort || len(m.Key) > maxKey:
		return amqp.Publishing{}, fault.Invalid.New("bad_message", "A message needs a type; type and id have at most %d bytes, and the key %d.", maxShort, maxKey)
	case len(m.Body) > maxBody:
		return amqp.Publishing{}, fault.TooLarge.New("message_too_large", "A message has at most %d MiB.", maxBody>>20)
	}
	msg := message.NewMessage(m.ID, bytes.Clone(m.Body))
	msg.Metadata = message.Metadata{metaID: m.ID, metaType: m.Type, metaKey: m.Key, metaAt: m.At.Format(time.RFC3339Nano)}
	return marshaler.Marshal(msg)
}

// fromWire copies the body, which the next try needs unchanged.
func fromWire(d amqp.Delivery, messageType string) (m bus.Message, failures int, err error) {
	d.Headers = ours(d.Headers)
	if d.Headers[metaType] != messageType {
		return m, 0, errors.New("it does not say that it is of this type")
	}
	msg, err := marshaler.Unmarshal(d)
	if err != nil {
		return m, 0, err
	}
	at, err := time.Parse(time.RFC3339Nano, msg.Metadata[metaAt])
	if err != nil {
		return m, 0, errors.New("it does not say when it was written")
	}
	if n := msg.Metadata[metaFailures]; n != "" {
		if failures, err = strconv.Atoi(n); err != nil || failures < 0 {
			return m, 0, errors.New("it does not say how often it failed")
		}
	}
	m = bus.Message{ID: msg.Metadata[metaID], Type: messageType, Key: msg.Metadata[metaKey], At: at, Body: bytes.Clone(msg.Payload)}
	return m, failures, nil
}

// ours leaves out the headers that the broker adds, which watermill's marshaler
// takes for a broken message, and any that others made so large that ours would
// not fit beside them.
func ours(headers amqp.Table) amqp.Table {
	out, size := amqp.Table{}, 0
	for name, value := range headers {
		text, is := value.(string)
		if !is || strings.HasPrefix(name, "x-") || len(text) > maxKey || size > maxHeaders {
			continue
		}
		size += len(name) + len(text)
		out[name] = text
	}
	return out
}

// again is the same message, with more in its headers.
func again(d amqp.Delivery, more ...string) amqp.Publishing {
	headers := ours(d.Headers)
	for i := 0; i+1 < len(more); i += 2 {
		headers[more[i]] = more[i+1]
	}
	return amqp.Publishing{
		Headers: headers, Body: d.Body, DeliveryMode: amqp.Persistent,
		ContentType: d.ContentType, MessageId: d.MessageId, Type: d.Type,
	}
}

// place is something in the broker that messages pass through.
type place struct{ exchange, kind, queue, key string }

func (c Config) trunk() place { return place{exchange: c.Prefix, kind: amqp.ExchangeDirect} }

func (c Config) groupPlace(messageType, group string) place {
	return place{c.Prefix, amqp.ExchangeDirect, c.queueName(messageType, group), messageType}
}

func (c Config) retryPlace(d time.Duration) place {
	return place{c.retryName(d), amqp.ExchangeFanout, c.retryName(d), ""}
}

func (c Config) deadPlace() place { return place{queue: c.deadQueue()} }

func (c Config) arguments(p place) amqp.Table {
	args := amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic, amqp.QueueMaxLenArg: int64(groupMost)}
	if c.Quorum {
		args[amqp.QueueTypeArg] = amqp.QueueTypeQuorum
		// RabbitMQ 4 drops what came back twenty times, be it from workers that
		// were stopped. Failures are counted here.
		args["x-delivery-limit"] = int64(1_000_000)
	}
	if p.queue == c.deadQueue() {
		args[amqp.QueueMaxLenArg] = int64(deadMost)
		args[amqp.QueueMessageTTLArg] = deadFor.Milliseconds()
	}
	for _, d := range c.Delays {
		if p.queue == c.retryName(d) {
			// Without a routing key of its own a message keeps the one that it
			// came with, which is the name of its group's queue.
			args[amqp.QueueMessageTTLArg] = d.Milliseconds()
			args["x-dead-letter-exchange"] = ""
		}
	}
	return args
}

// declare makes sure that a place is there.
func (c Config) declare(ch *amqp.Channel, p place) error {
	topology := wamqp.DefaultTopologyBuilder{}
	config := wamqp.Config{
		Exchange: wamqp.ExchangeConfig{Type: p.kind, Durable: true},
		Queue:    wamqp.QueueConfig{Durable: true, Arguments: c.arguments(p)},
	}
	if p.queue == "" {
		return topology.ExchangeDeclare(ch, p.exchange, config)
	}
	params := wamqp.BuildTopologyParams{Topic: p.key, QueueName: p.queue, ExchangeName: p.exchange, RoutingKey: p.key}
	return topology.BuildTopology(ch, params, config, watermill.NopLogger{})
}
