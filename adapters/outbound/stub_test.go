package outbound

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// errStopped ends a connection that the guard would have let through: no test
// here sends a byte to a public address.
var errStopped = errors.New("stopped by the test")

// world is a Client with names of its own, and without a network but for what
// is admitted.
type world struct {
	*Client
	mu     sync.Mutex
	passed []netip.AddrPort // what the guard let through
	asked  int              // questions to the resolver
}

// newWorld resolves names: each is asked for in turn, and the last answer stays.
func newWorld(t *testing.T, names map[string][][]string, cfg Config) *world {
	t.Helper()
	w := &world{}
	cfg.Resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go w.serveNames(theirs, names)
		return ours, nil
	}}
	w.Client = New(cfg)
	local := newGuard(nil)
	w.base = transport(cfg, func(network, address string, conn syscall.RawConn) error {
		if err := w.guard.control(network, address, conn); err != nil {
			return err
		}
		to := netip.MustParseAddrPort(address)
		w.mu.Lock()
		w.passed = append(w.passed, to)
		w.mu.Unlock()
		if local.checkAddr(to.Addr()) == nil {
			return errStopped
		}
		return nil
	})
	return w
}

func (w *world) let() []netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.passed
}

// serveNames speaks DNS over a stream: each message after its length.
func (w *world) serveNames(conn net.Conn, names map[string][][]string) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		answer := w.answer(question, names)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

func (w *world) answer(question []byte, names map[string][][]string) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		panic(err)
	}
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	sets, known := names[strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")]
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, text := range w.turn(sets, q.Type) {
		a := netip.MustParseAddr(text)
		h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out
}

// turn counts the questions for A: each comes with one for AAAA.
func (w *world) turn(sets [][]string, kind dnsmessage.Type) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(sets) == 0 {
		return nil
	}
	now := sets[min(w.asked, len(sets)-1)]
	if kind == dnsmessage.TypeA {
		w.asked++
	}
	return now
}
