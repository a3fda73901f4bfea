package amqpbus

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/outage"
)

// heartbeat makes amqp091-go give up a peer that is silent for one and a half
// times as long.
const heartbeat = 10 * time.Second

// After stubborn failures in a row that a person has to mend, the next try waits
// for slow.
const (
	stubborn = 4
	slow     = 15 * time.Second
)

// silence is what RabbitMQ waits at least before it closes the socket of whoever
// has given a wrong password. A socket that closed earlier was just cut.
const silence = 2 * time.Second

// link keeps one connection to the broker, and makes it anew.
type link struct {
	bus  *Bus
	name string

	mu      sync.Mutex
	conn    *amqp.Connection // nil while there is none
	socket  net.Conn
	changed chan struct{} // closed with the next change of conn or ended
	blocked bool          // the broker takes nothing at the moment
	err     error         // why there is no connection
	ended   bool
}

func newLink(b *Bus, name string) *link {
	return &link{
		bus: b, name: name, changed: make(chan struct{}),
		err: fault.Unavailable.New("broker_unavailable", "The connection to RabbitMQ has not been made yet."),
	}
}

func backoff(n int) time.Duration {
	d := min(200*time.Millisecond<<min(n-1, 16), 5*time.Second)
	return d/2 + rand.N(d/2) //nolint:gosec // spreading load needs no secrecy
}

func itoa(n int) string { return strconv.Itoa(n) }

func errStopped() error {
	return fault.Unavailable.New("bus_stopped", "Messages are not taken any more.")
}

// keep holds a connection until ctx ends.
func (l *link) keep(ctx context.Context) {
	log := l.bus.config.Log.With("connection", l.name)
	trouble := outage.New(log, l.bus.config.Now)
	failures, refusals := 0, 0
	for ctx.Err() == nil {
		conn, socket, err := l.dial(ctx)
		if err == nil {
			l.bus.connected.Add(1)
			failures, refusals = 0, 0
			log.InfoContext(ctx, "connected to RabbitMQ")
			trouble.Works(ctx, "RabbitMQ is there again")
			err = l.hold(ctx, conn, socket)
		}
		if ctx.Err() != nil {
			return
		}
		l.set(nil, nil, explain(err))
		failures++
		wait := l.bus.config.Backoff(failures)
		if refusals++; !isRefusal(err) {
			refusals = 0
		}
		if refusals >= stubborn {
			wait = max(wait, slow)
		}
		trouble.Failed(ctx, slog.LevelWarn, "no connection to RabbitMQ; trying again", err, "wait", wait)
		sleep(ctx, wait)
	}
}

// hold waits until the connection ends, and says why.
func (l *link) hold(ctx context.Context, conn *amqp.Connection, socket net.Conn) error {
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	l.set(conn, socket, nil)
	for {
		select {
		case <-ctx.Done():
			l.set(nil, nil, errStopped())
			_ = conn.CloseDeadline(time.Now().Add(time.Second)) // the broker may be gone
			_ = socket.Close()
			return ctx.Err()
		case b, open := <-blocked:
			if !open {
				blocked = nil
				continue
			}
			l.bus.config.Log.WarnContext(ctx, "RabbitMQ says whether it takes messages", "connection", l.name, "blocked", b.Active, "reason", b.Reason)
			l.setBlocked(b.Active)
		case err := <-closed:
			_ = socket.Close()
			if err == nil {
				return errors.New("the connection was closed")
			}
			return err
		}
	}
}

// dial connects, signs in and opens the virtual host.
func (l *link) dial(ctx context.Context) (*amqp.Connection, net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.bus.config.Patience)
	defer cancel()
	socket, err := l.bus.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	conn, err := l.greet(ctx, socket)
	if err != nil {
		_ = socket.Close()
		return nil, nil, err
	}
	return conn, socket, nil
}

// greet signs in over a new socket, and opens the virtual host.
func (l *link) greet(ctx context.Context, socket net.Conn) (*amqp.Connection, error) {
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	uri := l.bus.uri
	began := time.Now()
	conn, err := amqp.Open(socket, amqp.Config{
		SASL:       []amqp.Authentication{uri.PlainAuth()},
		Vhost:      uri.Vhost,
		Heartbeat:  heartbeat,
		FrameSize:  128 << 10,
		Locale:     "en_US",
		Properties: amqp.Table{"product": "KubeBYON", "connection_name": l.bus.config.Name + " " + l.name},
	})
	if err != nil {
		return nil, l.whyNot(ctx, err, time.Since(began))
	}
	// Open ends by clearing the deadlines, and so also the one that its own
	// goroutine may already have set for the next heartbeat. Without this one a
	// broker that falls silent before it has said anything more is waited for,
	// for ever. It fails only for a socket that is closed, which hold notices.
	_ = socket.SetReadDeadline(time.Now().Add(conn.Config.Heartbeat * 3 / 2))
	return conn, nil
}

// whyNot corrects amqp091-go, which takes every end of a handshake for a refusal.
func (l *link) whyNot(ctx context.Context, err error, took time.Duration) error {
	_, said := errors.AsType[*amqp.Error](err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("RabbitMQ did not finish the handshake: %w", ctx.Err())
	case said && errors.Is(err, amqp.ErrVhost), said && errors.Is(err, amqp.ErrCredentials) && took < silence:
		return errors.New("the connection ended during the handshake")
	}
	return err
}

func (b *Bus) connect(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{KeepAlive: 10 * time.Second}
	if !b.tls {
		return d.DialContext(ctx, "tcp", b.address())
	}
	config, err := b.tlsConfig()
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{NetDialer: &d, Config: config}).DialContext(ctx, "tcp", b.address())
}

// tlsConfig reads the files each time: certificates are renewed in place.
func (b *Bus) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: b.uri.ServerName}
	if b.uri.CACertFile != "" {
		pem, err := os.ReadFile(b.uri.CACertFile)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errTLSFiles, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: cacertfile holds no certificate", errTLSFiles)
		}
	}
	if b.uri.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(b.uri.CertFile, b.uri.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errTLSFiles, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

var errTLSFiles = errors.New("the TLS files of the broker's URL cannot be used")

// explain says for people why there is no connection.
func explain(err error) error {
	said := func(code, sentence string) error { return fault.Unavailable.New(code, "%s", sentence).Because(err) }
	refused, isRefused := errors.AsType[*amqp.Error](err)
	_, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.Is(err, errTLSFiles):
		return said("broker_tls", "The files with certificates for RabbitMQ cannot be used: check cacertfile, certfile and keyfile of its URL.")
	case isCert:
		return said("broker_tls", "RabbitMQ's certificate is not trusted: give the right cacertfile in its URL.")
	case isRefused && refused.Code == amqp.NotAllowed:
		return said("broker_refused_vhost", "RabbitMQ has no such virtual host, or the user may not use it: check the end of its URL and the user's permissions.")
	case isRefused && refused.Code == amqp.AccessRefused:
		return said("broker_refused_credentials", "RabbitMQ refused the user name or the password: check its URL.")
	}
	return said("broker_unavailable", "RabbitMQ does not answer; messages wait until it does.")
}

// isRefusal tells what time alone will hardly mend.
func isRefusal(err error) bool { return fault.CodeOf(explain(err)) != "broker_unavailable" }

func (l *link) set(conn *amqp.Connection, socket net.Conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conn, l.socket, l.err, l.blocked = conn, socket, err, false
	l.announce()
}

func (l *link) setBlocked(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocked = is
	l.announce()
}

func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended, l.err = true, errStopped()
	l.announce()
}

// announce wakes whoever waits for a change; mu is held.
func (l *link) announce() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// kill ends the connection without asking the broker.
func (l *link) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socket != nil {
		_ = l.socket.Close()
	}
}

func (l *link) trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended, l.conn == nil:
		return l.err
	case l.blocked:
		return errBlocked()
	}
	return nil
}

func errBlocked() error {
	return fault.Unavailable.New("broker_blocked", "RabbitMQ takes no messages at the moment: it is short of memory or disk.")
}

// await returns the connection, once there is one.
func (l *link) await(ctx context.Context) (*amqp.Connection, error) {
	for {
		l.mu.Lock()
		conn, changed, ended := l.conn, l.changed, l.ended
		l.mu.Unlock()
		switch {
		case ended:
			return nil, errStopped()
		case conn != nil && !conn.IsClosed():
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		case <-time.After(time.Second): // the connection has closed, and keep has yet to see it
		}
	}
}

// guarded does one exchange with the broker, for which amqp091-go has no
// deadline. Whoever does not answer in time is cut off.
func (l *link) guarded(step func() error) error {
	late := time.AfterFunc(l.bus.config.Patience, l.kill)
	defer late.Stop()
	return step()
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
