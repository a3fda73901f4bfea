package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

// Backend says where a connection goes to: host:port, or nothing when there is nobody.
type Backend func() string

// Board holds the listeners of all Services. Each owner has its own; what another owner has
// already is refused.
type Board struct {
	ctx context.Context //nolint:containedctx // of the listeners' whole life
	mu  sync.Mutex
	all map[string]map[string]*forwarder // by owner, then by address
	run sync.WaitGroup
}

// NewBoard makes a board whose listeners close with ctx.
func NewBoard(ctx context.Context) *Board {
	return &Board{ctx: ctx, all: map[string]map[string]*forwarder{}}
}

// Set gives owner exactly these listeners, by host:port. It keeps those that are there, and says
// of each that it could not open why.
func (b *Board) Set(owner string, wanted map[string]Backend) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	have := b.all[owner]
	for address, f := range have {
		if _, still := wanted[address]; !still {
			f.close()
			delete(have, address)
		}
	}
	if len(wanted) == 0 {
		delete(b.all, owner)
		return nil
	}
	if have == nil {
		have = map[string]*forwarder{}
		b.all[owner] = have
	}
	var errs []error
	for address, backend := range wanted {
		if f := have[address]; f != nil {
			f.set(backend)
			continue
		}
		f, err := b.open(address, backend)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		have[address] = f
	}
	return errors.Join(errs...)
}

// Owners are those that have listeners.
func (b *Board) Owners() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []string
	for owner := range maps.Keys(b.all) {
		out = append(out, owner)
	}
	return out
}

// Wait returns when all connections are closed, after ctx has ended.
func (b *Board) Wait() { b.run.Wait() }

func (b *Board) open(address string, backend Backend) (*forwarder, error) {
	l, err := Listen(b.ctx, address)
	if err != nil {
		return nil, err
	}
	f := &forwarder{listener: l, backend: backend}
	b.run.Go(func() { f.serve(b.ctx) })
	return f, nil
}

// Listen listens, and says plainly why it cannot.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, refusal.New("The address %s is taken by another process.", address).Because(err)
	case errors.Is(err, syscall.EACCES):
		return nil, refusal.New("The address %s may not be listened on: ports below 1024 need root, or sysctl -w net.ipv4.ip_unprivileged_port_start=443.", address).Because(err)
	default:
		return nil, refusal.New("The address %s cannot be listened on: %v.", address, err).Because(err)
	}
}

// forwarder passes the connections of one listener on.
type forwarder struct {
	listener net.Listener
	mu       sync.Mutex
	backend  Backend
}

func (f *forwarder) set(backend Backend) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backend = backend
}

func (f *forwarder) target() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.backend()
}

func (f *forwarder) close() { _ = f.listener.Close() }

func (f *forwarder) serve(ctx context.Context) {
	Serve(ctx, f.listener, func(ctx context.Context, from net.Conn) {
		to, err := dial(ctx, f.target())
		if err != nil {
			return
		}
		join(ctx, from, to)
	})
}

// Serve gives each connection to handle, which need not close it, until ctx ends or the listener
// is closed. It returns when all of them are done.
func Serve(ctx context.Context, l net.Listener, handle func(ctx context.Context, c net.Conn)) {
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select { // out of descriptors, most likely: others may be returned meanwhile
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		open.Go(func() {
			defer c.Close() //nolint:errcheck // nothing is buffered
			handle(ctx, c)
		})
	}
}

const dialPatience = 5 * time.Second

var errNobody = errors.New("nobody serves it")

func dial(ctx context.Context, address string) (net.Conn, error) {
	if address == "" {
		return nil, errNobody
	}
	d := net.Dialer{Timeout: dialPatience}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return c, nil
}

// join copies both ways until both are done, or ctx is. One way ends before the other: a client
// may be done asking and still wait for the answer.
func join(ctx context.Context, a, b net.Conn) {
	defer b.Close() //nolint:errcheck // nothing is buffered
	defer context.AfterFunc(ctx, func() { _, _ = a.Close(), b.Close() })()
	var both sync.WaitGroup
	both.Go(func() { pour(a, b) })
	both.Go(func() { pour(b, a) })
	both.Wait()
}
