package httpapi

import (
	"container/list"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// gate counts the open connections of a server and keeps them within limits.
type gate struct {
	limits Limits
	log    *slog.Logger

	mu     sync.Mutex
	open   int
	of     map[netip.Addr]int
	idle   *list.List // of *guarded; the longest idle first
	warned time.Time
	freed  chan struct{} // holds a token when a connection has ended
}

func newGate(l Limits, log *slog.Logger) *gate {
	return &gate{limits: l, log: log, of: map[netip.Addr]int{}, idle: list.New(), freed: make(chan struct{}, 1)}
}

func (g *gate) guard(l net.Listener) net.Listener {
	return &guardedListener{Listener: l, gate: g, closed: make(chan struct{})}
}

type guardedListener struct {
	net.Listener
	gate   *gate
	close  sync.Once
	closed chan struct{}
}

// Close also ends an Accept that waits for room.
func (l *guardedListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

func (l *guardedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		in := &guarded{Conn: c, gate: l.gate, from: client(c)}
		if l.gate.enter(in, l.closed) {
			return in, nil
		}
		_ = c.Close() // nobody has spoken yet
	}
}

// client is whom a connection counts for. An IPv6 client has a whole /64.
func client(c net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	a := at.Addr().Unmap().WithZone("")
	if a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().Addr()
	}
	return a
}

// enter makes room for a connection, and waits for it if it has to. It reports
// false when the connection is not to be served.
func (g *gate) enter(in *guarded, closed <-chan struct{}) bool {
	for {
		out, ok := g.admit(in)
		switch {
		case ok:
			return true
		case out != nil:
			_ = out.Close() // its client sees what it would after the idle timeout
		case g.over(in):
			return false
		default:
			select {
			case <-g.freed:
			case <-closed:
				return false
			}
		}
	}
}

// admit counts a connection if there is room. Else it names an idle one that
// should make room, if there is one.
func (g *gate) admit(in *guarded) (out *guarded, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOver(in) {
		g.warn("a client has as many connections as one may have", in.from)
		return g.longestIdle(func(c *guarded) bool { return c.from == in.from }), false
	}
	if g.open >= g.limits.Connections {
		g.warn("as many connections are open as may be", in.from)
		return g.longestIdle(func(*guarded) bool { return true }), false
	}
	g.open++
	g.of[in.from]++
	return nil, true
}

func (g *gate) over(in *guarded) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.isOver(in)
}

func (g *gate) isOver(in *guarded) bool {
	return g.of[in.from] >= g.limits.PerClient &&
		!slices.ContainsFunc(g.limits.Proxies, func(n netip.Prefix) bool { return n.Contains(in.from) })
}

func (g *gate) longestIdle(fits func(*guarded) bool) *guarded {
	for e := g.idle.Front(); e != nil; e = e.Next() {
		if c, _ := e.Value.(*guarded); fits(c) {
			g.forget(c)
			return c
		}
	}
	return nil
}

func (g *gate) forget(c *guarded) {
	if c.idle != nil {
		g.idle.Remove(c.idle)
		c.idle = nil
	}
}

const warnEvery = time.Minute

// warn tells whoever runs the server, now and then, that it is full.
func (g *gate) warn(what string, from netip.Addr) {
	if now := time.Now(); now.Sub(g.warned) > warnEvery {
		g.warned = now
		g.log.Warn(what, "open", g.open, "from", from.String())
	}
}

// note follows what http.Server says of a connection.
func (g *gate) note(c net.Conn, state http.ConnState) {
	if in, ok := c.(*guarded); ok && (state == http.StateIdle || state == http.StateActive) {
		in.handled.Store(false)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.forget(in)
		if state == http.StateIdle && !in.left {
			in.idle = g.idle.PushBack(in)
			g.wake() // whoever waits may take its place
		}
	}
}

func (g *gate) leave(c *guarded) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.left {
		return
	}
	c.left = true
	g.forget(c)
	g.open--
	if g.of[c.from]--; g.of[c.from] <= 0 {
		delete(g.of, c.from)
	}
	g.wake()
}

func (g *gate) wake() {
	select {
	case g.freed <- struct{}{}:
	default:
	}
}

// guarded is a connection that was counted.
type guarded struct {
	net.Conn
	gate *gate
	from netip.Addr

	idle *list.Element // its place among the idle; of the gate's lock
	left bool          // likewise

	handled atomic.Bool // a handler has been given the request: the answer is its own
}

type connKey struct{}

// known lets handlers' requests tell which connection they came by.
func known(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// handled is h, and its answers are left as they are.
func handled(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*guarded); ok {
			c.handled.Store(true)
		}
		h.ServeHTTP(w, r)
	})
}

// Close makes room for another.
func (c *guarded) Close() error {
	defer c.gate.leave(c)
	return c.Conn.Close()
}

// CloseWrite lets a client read the answer before it learns that it was too
// much to read.
func (c *guarded) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Write mends the answers that net/http gives by itself.
func (c *guarded) Write(b []byte) (int, error) {
	if c.handled.Load() {
		return c.Conn.Write(b)
	}
	mended, ok := mend(b)
	if !ok {
		return c.Conn.Write(b)
	}
	if _, err := c.Conn.Write(mended); err != nil {
		return 0, err
	}
	return len(b), nil
}
