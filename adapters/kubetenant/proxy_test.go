package kubetenant_test

import (
	"net"
	"sync"
	"testing"
)

// wire is a TCP connection's way to the control plane that a test can cut
// without disturbing others.
type wire struct {
	to, at string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	silent   bool
	running  sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	w := &wire{to: to, at: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	w.listen(t)
	t.Cleanup(func() {
		w.close()
		w.running.Wait()
	})
	return w
}

func (w *wire) listen(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", w.at)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener, w.at = l, l.Addr().String()
	w.running.Go(func() { w.accept(l) })
}

func (w *wire) accept(l net.Listener) {
	for {
		from, err := l.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", w.to)
		if err != nil {
			from.Close()
			continue
		}
		w.mu.Lock()
		w.conns[from], w.conns[to] = true, true
		w.mu.Unlock()
		w.running.Go(func() { w.pump(from, to) })
		w.running.Go(func() { w.pump(to, from) })
	}
}

// pump passes bytes on; while the wire is silent it swallows them.
func (w *wire) pump(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		silent := w.silent
		w.mu.Unlock()
		if n > 0 && !silent {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener.Close()
	for c := range w.conns {
		c.Close()
	}
	clear(w.conns)
}

func (w *wire) cut(t *testing.T, silent bool) (heal func()) {
	if silent {
		w.setSilent(true)
		return func() { w.setSilent(false); w.close(); w.listen(t) }
	}
	w.close()
	return func() { w.listen(t) }
}

func (w *wire) setSilent(silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = silent
}
