// Package kubetenant reaches into tenant clusters through their Kubernetes API,
// with client-go. It owns the connections to them, and knows how a join, a
// drain and a watch are done in terms of Kubernetes objects. What to do with
// what it sees, and where kubeconfigs come from, is for others to say.
//
// Tenants are not trusted: whoever owns one may write anything into it, and the
// machines that join send certificate requests of their own making. So
// everything that leaves this package for a join script or a decision is parsed
// strictly first.
package kubetenant

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Config says how to talk to tenants. The zero Config is a good one.
type Config struct {
	QPS   float32 // requests a second to one tenant (50)
	Burst int     // and at once (100)

	CallTimeout time.Duration // one request, all attempts together (10 s)
	DialTimeout time.Duration // TCP, and again for TLS (4 s)
	// PingAfter is how long a connection may be quiet before it is asked whether
	// it lives, PingTimeout how long it has to answer (4 s each). With
	// DialTimeout they add up to less than the 15 seconds that a watch has to
	// notice a dead tenant.
	PingAfter, PingTimeout time.Duration
	TokenTimeout           time.Duration // for a bootstrap token to become usable (10 s)
	Resync                 time.Duration // between two full lists of a watch (10 min)

	// What one tenant may say: in an answer, in a page of a list, in an event of
	// a watch (4, 32 and 4 MiB), and at once and over time (128 MiB and 8 MiB a
	// second).
	MaxObjectBytes, MaxPageBytes, MaxEventBytes int64
	BytesAtOnce, BytesPerSecond                 float64
	// What is held of a list, and sent of a log that is not followed (64 and 8 MiB).
	MaxListBytes, MaxLogBytes int64
	// What of it is followed (5000 nodes, 5000 certificate requests, 5000 pods of
	// a node), and how many objects are asked for at a time (500).
	MaxNodes, MaxRequests, MaxPods, PageSize int
	ListTimeout                              time.Duration // for all pages of a list (60 s)

	MaxOpen   int           // tenants whose connections are kept (1024)
	IdleAfter time.Duration // when an unused one is let go (10 min)

	// Guests are clusters that others run: machines do not join them through the
	// platform, and its credential may be allowed little.
	Guests bool
	// Control is asked for each connection with the address that it would be made
	// to, as by [net.Dialer.Control]. Nil: every address will do.
	Control func(network, address string, conn syscall.RawConn) error

	Log *slog.Logger     // nothing is logged without
	Now func() time.Time // time.Now
}

func (c Config) withDefaults() Config {
	setDefault(&c.QPS, 50)
	setDefault(&c.Burst, 100)
	setDefault(&c.CallTimeout, 10*time.Second)
	setDefault(&c.DialTimeout, 4*time.Second)
	setDefault(&c.PingAfter, 4*time.Second)
	setDefault(&c.PingTimeout, 4*time.Second)
	setDefault(&c.TokenTimeout, 10*time.Second)
	setDefault(&c.Resync, 10*time.Minute)
	setDefault(&c.MaxObjectBytes, 4<<20)
	setDefault(&c.MaxPageBytes, 32<<20)
	setDefault(&c.MaxEventBytes, 4<<20)
	setDefault(&c.BytesAtOnce, 128<<20)
	setDefault(&c.BytesPerSecond, 8<<20)
	setDefault(&c.MaxListBytes, 64<<20)
	setDefault(&c.MaxLogBytes, 8<<20)
	setDefault(&c.MaxNodes, 5000)
	setDefault(&c.MaxRequests, 5000)
	setDefault(&c.MaxPods, 5000)
	setDefault(&c.PageSize, 500)
	setDefault(&c.ListTimeout, time.Minute)
	setDefault(&c.MaxOpen, 1024)
	setDefault(&c.IdleAfter, 10*time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Connector keeps one set of connections to each tenant, shared by all who talk
// to it.
type Connector struct {
	config Config

	mu   sync.Mutex
	open map[id.Cluster]*cluster
}

var _ tenant.Connector = (*Connector)(nil)

// New returns a Connector that has connected to nothing yet.
func New(c Config) *Connector {
	return &Connector{config: c.withDefaults(), open: map[id.Cluster]*cluster{}}
}

// Connect returns the tenant that a kubeconfig leads to.
func (c *Connector) Connect(ctx context.Context, of id.Cluster, kubeconfig secret.Text) (tenant.Tenant, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fingerprint := sha256.Sum256([]byte(kubeconfig.Reveal()))
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.open[of]
	if last == nil || last.fingerprint != fingerprint {
		fresh, err := c.config.open(of, kubeconfig)
		if err != nil {
			return nil, err
		}
		fresh.fingerprint = fingerprint
		c.open[of] = fresh
		if last != nil {
			last.release()
		}
		last = fresh
	}
	last.touch()
	c.trim()
	return last, nil
}

// trim lets go of connections that nobody has used for long, and of the least
// recently used while there are too many. Whoever still holds a tenant can go
// on using it; only the next Connect starts anew.
func (c *Connector) trim() {
	before := c.config.Now().Add(-c.config.IdleAfter)
	for of, t := range c.open {
		if used, busy := t.lastUsed(); !busy && used.Before(before) {
			c.drop(of)
		}
	}
	for len(c.open) > c.config.MaxOpen {
		c.drop(c.stalest())
	}
}

func (c *Connector) stalest() (of id.Cluster) {
	var oldest time.Time
	for candidate, t := range c.open {
		if used, _ := t.lastUsed(); of.IsZero() || used.Before(oldest) {
			of, oldest = candidate, used
		}
	}
	return of
}

func (c *Connector) drop(of id.Cluster) {
	c.open[of].release()
	delete(c.open, of)
}

// Close lets go of every connection that is not in use. Calls that are under
// way end by their own contexts.
func (c *Connector) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for of := range c.open {
		c.drop(of)
	}
}

func invalidKubeconfig(sentence string) error {
	return fault.Invalid.New("kubeconfig_invalid", "%s", sentence)
}
