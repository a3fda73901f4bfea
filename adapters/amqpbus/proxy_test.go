package amqpbus

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// mode is what a proxy does with bytes and connections.
type mode int

const (
	pass   mode = iota
	refuse      // new connections end at once
	stall       // nothing moves, nothing ends
	deaf        // what the broker says is lost
)

// proxy stands between a bus and the real broker.
type proxy struct {
	t        *testing.T
	listener net.Listener
	target   string
	running  sync.WaitGroup
	sent     atomic.Int64 // bytes that the broker got

	mu    sync.Mutex
	turn  *sync.Cond
	mode  mode
	conns map[net.Conn]bool
	over  bool
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: l, target: target, conns: map[net.Conn]bool{}}
	p.turn = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.over = true
		p.mu.Unlock()
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = m
	p.turn.Broadcast()
}

// cut ends every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
	p.turn.Broadcast()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil || !p.add(client, server) {
			client.Close()
			continue
		}
		p.running.Go(func() { p.carry(server, client, true) })
		p.running.Go(func() { p.carry(client, server, false) })
	}
}

func (p *proxy) add(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.mode == refuse {
		server.Close()
		return false
	}
	p.conns[client], p.conns[server] = true, true
	return true
}

func (p *proxy) carry(to, from net.Conn, up bool) {
	defer p.drop(to, from)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		m := p.wait(from)
		if m == stall {
			return // it was cut
		}
		if m == deaf && !up {
			continue
		}
		if up {
			p.sent.Add(int64(n))
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// wait returns the mode as soon as it lets anything through, or stall when the
// connection has been cut meanwhile.
func (p *proxy) wait(c net.Conn) mode {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.mode == stall && p.conns[c] {
		p.turn.Wait()
	}
	if !p.conns[c] {
		return stall
	}
	return p.mode
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		c.Close()
		delete(p.conns, c)
	}
	p.turn.Broadcast()
}
