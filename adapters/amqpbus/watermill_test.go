package amqpbus

import (
	"context"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/ports/bus"
)

// TestWatermillTakesPart: what is on the wire is watermill-amqp's.
func TestWatermillTakesPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, standard(t), Config{})
	var got inbox
	w.subscribe(t, 1, func(_ context.Context, m bus.Message) error { got.add(m); return nil })
	config := plainWatermill(w.at, w.config.Prefix)
	config.Queue.GenerateName = func(topic string) string { return w.config.Prefix + "." + topic + ".peer" }
	w.groups.Store(w.config.Prefix+"."+kind+".peer", true)
	sub, err := wamqp.NewSubscriber(config, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	theirs, err := sub.Subscribe(t.Context(), kind)
	if err != nil {
		t.Fatal(err)
	}
	w.insist(t, msg("ours"))
	select {
	case m := <-theirs:
		if m.UUID != "ours" || m.Metadata[metaType] != kind || string(m.Payload) != "{}" {
			t.Errorf("watermill got %+v", m)
		}
		m.Ack()
	case <-time.After(time.Minute):
		t.Fatal("watermill got nothing")
	}
	pub, err := wamqp.NewPublisher(config, watermill.NopLogger{})
	if err != nil {
		t.Fatal(err)
	}
	defer pub.Close()
	m := message.NewMessage("theirs", []byte("{}"))
	m.Metadata = message.Metadata{metaID: "theirs", metaType: kind, metaAt: "2026-01-02T03:04:05Z"}
	if err := pub.Publish(kind, m); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, "watermill's message arrives", func() bool { return got.has("theirs") })
}

// plainWatermill is how watermill-amqp is set up by itself.
func plainWatermill(at, exchange string) wamqp.Config {
	config := wamqp.NewDurablePubSubConfig(at, wamqp.GenerateQueueNameTopicName)
	config.Exchange = wamqp.ExchangeConfig{GenerateName: wamqp.GenerateExchangeNameConstant(exchange), Type: amqp.ExchangeDirect, Durable: true}
	config.QueueBind.GenerateRoutingKey = func(topic string) string { return topic }
	config.Publish.GenerateRoutingKey = func(topic string) string { return topic }
	config.Publish.ConfirmDelivery = true
	config.Publish.ChannelPoolSize = outlets
	return config
}
