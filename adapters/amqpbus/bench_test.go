package amqpbus

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/bus"
)

// batch is how many messages the relay publishes in one transaction.
const batch = 100

// BenchmarkBatch publishes a batch and waits until all of it was handled, here
// and with plain watermill-amqp, in turns: the ratio means something on a busy
// machine too.
func BenchmarkBatch(b *testing.B) {
	for _, c := range []struct {
		name        string
		quorum      bool
		concurrency int
	}{{"one-worker", false, 1}, {"four-workers", false, 4}, {"quorum-four-workers", true, 4}} {
		b.Run(c.name, func(b *testing.B) {
			at := standard(b)
			ours, theirs := benchOurs(b, at, c.quorum, c.concurrency), benchWatermill(b, at, c.concurrency)
			ours()
			theirs()
			var took, plain time.Duration
			for b.Loop() {
				began := time.Now()
				ours()
				took += time.Since(began)
				began = time.Now()
				theirs()
				plain += time.Since(began)
			}
			n := float64(b.N * batch)
			b.ReportMetric(n/took.Seconds(), "msgs/s")
			b.ReportMetric(n/plain.Seconds(), "watermill-msgs/s")
			b.ReportMetric(plain.Seconds()/took.Seconds(), "x-watermill")
		})
	}
}

// BenchmarkOne is the time from one publish to its handler.
func BenchmarkOne(b *testing.B) {
	round := benchRound(b, standard(b), Config{}, 1, 1)
	for b.Loop() {
		round()
	}
}

func benchOurs(b *testing.B, at string, quorum bool, concurrency int) func() {
	return benchRound(b, at, Config{Quorum: quorum}, concurrency, batch)
}

// benchRound returns what publishes n messages and waits until they were handled.
func benchRound(b *testing.B, at string, c Config, concurrency, n int) func() {
	c.URL, c.Prefix, c.Log = secret.New(at), fmt.Sprintf("bench-%d-%d", os.Getpid(), serial.Add(1)), slog.New(slog.DiscardHandler)
	bb := start(b, c)
	for bb.Ping(b.Context()) != nil {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithCancel(b.Context())
	got, done := make(chan struct{}, n), make(chan struct{})
	var ready atomic.Bool
	go func() {
		defer close(done)
		_ = bb.Subscribe(ctx, kind, "g", concurrency, func(_ context.Context, m bus.Message) error {
			if m.Key == "probe" {
				ready.Store(true)
				return nil
			}
			got <- struct{}{}
			return nil
		})
	}()
	b.Cleanup(func() {
		cancel()
		<-done
		admin(b, at, func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(bb.config.queueName(kind, "g"), false, false, false)
			_ = ch.ExchangeDelete(bb.config.Prefix, false, false)
			return err
		})
	})
	for probe := (bus.Message{Type: kind, Key: "probe"}); !ready.Load(); time.Sleep(20 * time.Millisecond) {
		_ = bb.Publish(b.Context(), probe)
	}
	msgs := make([]bus.Message, n)
	for i := range msgs {
		msgs[i] = msg(fmt.Sprint(i))
		msgs[i].Body = make([]byte, 200)
	}
	return func() {
		if err := bb.Publish(b.Context(), msgs...); err != nil {
			b.Fatal(err)
		}
		for range n {
			<-got
		}
	}
}

// benchWatermill is watermill-amqp by itself, with confirms, and a subscription
// for each worker.
func benchWatermill(b *testing.B, at string, concurrency int) func() {
	name := fmt.Sprintf("bench-%d-%d", os.Getpid(), serial.Add(1))
	config := plainWatermill(at, name)
	config.Queue.GenerateName = func(string) string { return name }
	sub, err := wamqp.NewSubscriber(config, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	pub, err := wamqp.NewPublisher(config, watermill.NopLogger{})
	if err != nil {
		b.Fatal(err)
	}
	got, done := make(chan struct{}, batch), make(chan struct{}, concurrency)
	for range concurrency {
		messages, err := sub.Subscribe(b.Context(), kind)
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			for m := range messages {
				got <- struct{}{}
				m.Ack()
			}
			done <- struct{}{}
		}()
	}
	b.Cleanup(func() {
		_ = pub.Close()
		_ = sub.Close()
		for range concurrency {
			<-done
		}
		admin(b, at, func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(name, false, false, false)
			_ = ch.ExchangeDelete(name, false, false)
			return err
		})
	})
	msgs := make([]*message.Message, batch)
	for i := range msgs {
		msgs[i] = message.NewMessage(fmt.Sprint(i), make([]byte, 200))
	}
	return func() {
		if err := pub.Publish(kind, msgs...); err != nil {
			b.Fatal(err)
		}
		for range batch {
			<-got
		}
	}
}
