// Package amqpbus implements bus.Bus over RabbitMQ 3.10 to 4.x.
//
// What is on the wire is watermill-amqp's: its marshaler writes the messages
// and its topology builder declares what they pass through, so that any program
// with watermill-amqp can take part. Its connection, publisher and subscriber
// are not used (v3.0.2): the connection's fields are read without the lock that
// a reconnect writes them under, closing a subscriber that is cut off waits for
// ever, Publish waits for each message alone without looking at its context,
// and Nack brings a message back at once. So connections, channels, confirms
// and retries are kept here, over amqp091-go.
//
// All messages go through one durable exchange, by their type; every group has
// a durable queue of its own. A message that failed waits in a queue that gives
// it back to its group's after a while. After too many failures, or when nobody
// can read it, it goes to the dead queue, where people find it with the reason.
package amqpbus

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/bus"
)

// Config may be zero but for URL and Log.
type Config struct {
	// URL is amqp:// or amqps://USER:PASSWORD@HOST:PORT/VHOST. RabbitMQ's query
	// parameters for TLS are understood: cacertfile, certfile, keyfile,
	// server_name_indication.
	URL secret.Text
	// Name is what the broker's tools show for the connections; "kubebyon".
	Name string
	Log  *slog.Logger
	// Now dates what goes to the dead queue; nil: time.Now.
	Now func() time.Time
	// Prefix begins the name of everything in the broker; "kubebyon".
	Prefix string
	// Delays is how long a message waits after its first, second, … failure; the
	// last is for all that follow. Nil: 1 s, 5 s, 30 s. Each is a queue.
	Delays []time.Duration
	// MaxDeliveries is how often a message is tried; 0: 20.
	MaxDeliveries int
	// Quorum makes the groups' queues quorum queues, which a cluster of brokers
	// replicates. Queues cannot be changed from one to the other.
	Quorum bool
	// Patience is how long the broker may take for one step; 0: 10 s.
	Patience time.Duration
	// Backoff is how long to wait after the n-th failure to connect, from 1;
	// nil: 200 ms, doubling to 5 s, spread by half.
	Backoff func(n int) time.Duration
}

// Bus is safe for concurrent use. Start and Stop must follow.
type Bus struct {
	config  Config
	uri     amqp.URI
	tls     bool
	publish *link
	consume *link
	outlets chan *outlet

	mu       sync.Mutex
	troubles map[string]error // subscriptions that the broker does not allow, by queue
	stop     context.CancelFunc
	running  sync.WaitGroup
	resting  sync.Mutex

	published, handled, retried, dead, connected atomic.Uint64
}

var (
	_ bus.Bus     = (*Bus)(nil)
	_ bus.Counter = (*Bus)(nil)
)

// New checks the configuration. It does not connect.
func New(c Config) (*Bus, error) {
	uri, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		return nil, fault.Invalid.New("bad_config", "The bus needs a log.")
	}
	c = c.withDefaults()
	if err := checkNames(c); err != nil {
		return nil, err
	}
	b := &Bus{config: c, uri: uri, tls: uri.Scheme == "amqps", troubles: map[string]error{}}
	b.publish, b.consume = newLink(b, "publish"), newLink(b, "consume")
	b.outlets = make(chan *outlet, outlets)
	for range outlets {
		b.outlets <- &outlet{}
	}
	return b, nil
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "kubebyon"
	}
	if c.Prefix == "" {
		c.Prefix = "kubebyon"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if len(c.Delays) == 0 {
		c.Delays = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}
	}
	if c.MaxDeliveries <= 0 {
		c.MaxDeliveries = 20
	}
	if c.Patience <= 0 {
		c.Patience = 10 * time.Second
	}
	if c.Backoff == nil {
		c.Backoff = backoff
	}
	return c
}

// parseURL never says what it was given: a password is in it.
func parseURL(u secret.Text) (amqp.URI, error) {
	refuse := func(rule string) (amqp.URI, error) {
		return amqp.URI{}, fault.Invalid.New("bad_broker_url", "The broker's URL %s.", rule)
	}
	if u.IsZero() {
		return refuse("is missing; it looks like amqp://USER:PASSWORD@HOST:5672/VHOST")
	}
	uri, err := amqp.ParseURI(u.Reveal())
	switch {
	case err != nil:
		return refuse("must look like amqp://USER:PASSWORD@HOST:5672/VHOST (or amqps://), with reserved characters of user and password percent-encoded and valid query parameters")
	case isCut(u):
		return refuse("has an @ behind what it gives as the host: write each / ? # @ of a user's name or password percent-encoded, as %2F %3F %23 %40")
	case uri.Port < 1 || uri.Port > 65535:
		return refuse("must have a port between 1 and 65535")
	case (uri.CertFile == "") != (uri.KeyFile == ""):
		return refuse("must give certfile and keyfile together")
	case uri.Scheme != "amqps" && (uri.CertFile != "" || uri.CACertFile != "" || uri.ServerName != ""):
		return refuse("gives TLS files but no TLS: it must start with amqps://")
	}
	for _, m := range uri.AuthMechanism {
		if m != "plain" {
			return refuse("may ask for the auth_mechanism plain only")
		}
	}
	return uri, nil
}

// isCut recognizes a URL whose user's name or password ends too early: what
// follows of a password would be taken for a virtual host, which errors name.
func isCut(text secret.Text) bool {
	u, err := url.Parse(text.Reveal())
	return err != nil || strings.Contains(u.EscapedPath()+u.EscapedFragment(), "@")
}

// Start connects in the background: a broker that is away is waited for.
func (b *Bus) Start(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stop != nil {
		return fault.Conflict.New("bus_started", "The bus has been started before.")
	}
	ctx, cancel := context.WithCancel(context.Background()) // Stop ends it, not the caller
	b.stop = cancel
	for _, l := range []*link{b.publish, b.consume} {
		b.running.Go(func() { l.keep(ctx) })
	}
	return nil
}

// Stop closes the connections. What is not settled by then comes again, here or
// elsewhere; subscriptions should have ended before.
func (b *Bus) Stop(ctx context.Context) error {
	b.mu.Lock()
	stop := b.stop
	if stop == nil {
		stop = func() {}
	}
	b.stop = stop
	b.mu.Unlock()
	stop()
	b.publish.end()
	b.consume.end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.running.Wait()
		b.rest()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		b.publish.kill()
		b.consume.kill()
		<-done
		return ctx.Err()
	}
}

// rest waits until nobody publishes any more.
func (b *Bus) rest() {
	b.resting.Lock()
	defer b.resting.Unlock()
	var all []*outlet
	for range outlets {
		all = append(all, <-b.outlets)
	}
	for _, o := range all {
		b.outlets <- o
	}
}

// Ping says whether messages are taken and handed out, and if not, what to do.
func (b *Bus) Ping(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, l := range []*link{b.publish, b.consume} {
		if err := l.trouble(); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, err := range b.troubles {
		return err
	}
	return nil
}

// Counts implements bus.Counter.
func (b *Bus) Counts() bus.Counts {
	return bus.Counts{
		Published: b.published.Load(), Handled: b.handled.Load(), Retried: b.retried.Load(), Dead: b.dead.Load(), Connected: b.connected.Load(),
	}
}

func (b *Bus) address() string { return net.JoinHostPort(b.uri.Host, itoa(b.uri.Port)) }
