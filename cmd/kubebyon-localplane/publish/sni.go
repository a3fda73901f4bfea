package publish

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Names passes TLS connections on by the name that the client asks for, as an ingress controller
// does with ssl-passthrough.
type Names struct {
	mu  sync.Mutex
	all map[string]named
}

type named struct {
	owner   string
	backend Backend
}

// NewNames knows no name.
func NewNames() *Names { return &Names{all: map[string]named{}} }

// Set gives owner exactly these names; it gets those that another has not.
func (n *Names) Set(owner string, wanted map[string]Backend) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, has := range n.all {
		if has.owner == owner {
			delete(n.all, name)
		}
	}
	for name, backend := range wanted {
		name = strings.ToLower(name)
		if _, taken := n.all[name]; !taken {
			n.all[name] = named{owner: owner, backend: backend}
		}
	}
}

func (n *Names) find(name string) string {
	n.mu.Lock()
	one, ok := n.all[strings.ToLower(name)]
	n.mu.Unlock()
	if !ok {
		return ""
	}
	return one.backend()
}

// Serve serves l until ctx ends.
func (n *Names) Serve(ctx context.Context, l net.Listener) {
	Serve(ctx, l, n.pass)
}

const helloPatience = 10 * time.Second

func (n *Names) pass(ctx context.Context, from net.Conn) {
	_ = from.SetReadDeadline(time.Now().Add(helloPatience))
	name, hello, err := readHello(ctx, from)
	if err != nil {
		return
	}
	_ = from.SetReadDeadline(time.Time{})
	to, err := dial(ctx, n.find(name))
	if err != nil {
		return
	}
	if _, err := to.Write(hello); err != nil {
		_ = to.Close()
		return
	}
	join(ctx, from, to)
}

// readHello gives the name that a client asks for, and all that was read to find it.
func readHello(ctx context.Context, c net.Conn) (name string, read []byte, err error) {
	var seen bytes.Buffer
	var found bool
	// The handshake ends as soon as the name is known: nothing is ever written.
	_ = tls.Server(onlyRead{Reader: io.TeeReader(c, &seen), Conn: c}, &tls.Config{
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name, found = h.ServerName, true
			return nil, errNameKnown
		},
	}).HandshakeContext(ctx)
	if !found {
		return "", nil, errNoHello
	}
	return name, seen.Bytes(), nil
}

var (
	errNameKnown = errors.New("the name is known")
	errNoHello   = errors.New("no client hello")
)

// onlyRead is a connection that swallows what is written: the alert that ends the handshake.
type onlyRead struct {
	io.Reader
	net.Conn
}

func (o onlyRead) Read(b []byte) (int, error)  { return o.Reader.Read(b) }
func (o onlyRead) Write(b []byte) (int, error) { return len(b), nil }
func (o onlyRead) Close() error                { return nil }

// pour copies until the end, and passes that on.
func pour(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
