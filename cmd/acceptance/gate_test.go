package acceptance_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// gate stands between a program and a service, so that the way between them can
// be cut while both live.
type gate struct {
	addr   string // where the programs find the service
	target string // where it is

	mu    sync.Mutex
	open  bool
	still chan struct{} // not nil: nothing passes until it is closed
	conns map[net.Conn]bool
	all   sync.WaitGroup
}

func newGate(t testing.TB, target string) *gate {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{addr: l.Addr().String(), target: target, open: true, conns: map[net.Conn]bool{}}
	g.all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.all.Go(func() { g.pass(c) })
		}
	})
	t.Cleanup(func() { l.Close(); g.cut(); g.move(); g.all.Wait() })
	return g
}

// cut ends every connection and lets none through.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = false
	for c := range g.conns {
		c.Close()
	}
}

// stall keeps the connections and lets nothing through, as a dead switch does.
func (g *gate) stall() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.still == nil {
		g.still = make(chan struct{})
	}
}

// move ends a stall.
func (g *gate) move() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.still != nil {
		close(g.still)
		g.still = nil
	}
}

// mend lets everything through.
func (g *gate) mend() {
	g.move()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
}

// admit notes a connection, unless the gate is cut.
func (g *gate) admit(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open {
		g.conns[c] = true
	}
	return g.open
}

func (g *gate) forget(c net.Conn) {
	c.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

func (g *gate) pass(c net.Conn) {
	defer g.forget(c)
	if !g.admit(c) {
		return
	}
	s, err := net.Dial("tcp", g.target)
	if err != nil {
		return
	}
	defer g.forget(s)
	if !g.admit(s) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { g.carry(s, c) })
	both.Go(func() { g.carry(c, s) })
	both.Wait()
}

// carry moves bytes until either end closes, and then closes both.
func (g *gate) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	_, _ = io.Copy(held{to, g}, from)
}

// held is a connection that waits out a stall before it writes.
type held struct {
	net.Conn
	g *gate
}

func (h held) Write(p []byte) (int, error) {
	h.g.mu.Lock()
	still := h.g.still
	h.g.mu.Unlock()
	if still != nil {
		<-still
	}
	return h.Conn.Write(p)
}
