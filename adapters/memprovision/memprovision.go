// Package memprovision pretends to run control planes: it implements
// provision.Provisioner and provision.Catalog in memory, and does as a Script
// says. It is what other packages' tests run on, and the plainest code that
// keeps the port's promises. Nothing listens at its endpoints.
package memprovision

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// Script says how one attempt to bring a cluster up goes. The zero Script
// succeeds at once.
type Script struct {
	Takes        time.Duration // until it is ready, or has failed
	Fails        string        // the reason why it fails instead, a sentence
	Waits        string        // what it waits for until then, a sentence
	Never        bool          // it stays pending
	ApplyError   error         // what Apply returns instead of doing anything
	DestroyError error         // what Destroy returns instead of doing anything
}

// Config may be zero.
type Config struct {
	Versions []provision.Version // newest first; empty: v1.36.3 and an emulated v1.35.0
	Host     string              // of clusters that want none; empty: 127.0.0.1
}

// Provisioner is safe for concurrent use. It has no goroutine of its own.
type Provisioner struct {
	config  Config
	changed bell.Bell

	mu       sync.Mutex
	script   func(provision.Want) Script
	clusters map[id.Cluster]*cluster
	applied  []provision.Want
	ports    int // given out so far
	lives    int // begun so far
	usage    func(id.Cluster) provision.Usage
	unusable error // what Usage returns instead
}

type cluster struct {
	want      provision.Want
	seen      provision.Observed
	port      int
	authority string      // empty until somebody asks for the kubeconfig
	next      *time.Timer // what happens next; nil: nothing
}

// New returns a Provisioner that succeeds at once, until Play.
func New(c Config) *Provisioner {
	if len(c.Versions) == 0 {
		c.Versions = []provision.Version{{Name: "v1.36.3"}, {Name: "v1.35.0", Emulated: true}}
	}
	c.Host = cmp.Or(c.Host, "127.0.0.1")
	return &Provisioner{
		config: c, script: func(provision.Want) Script { return Script{} }, clusters: map[id.Cluster]*cluster{},
		usage: func(id.Cluster) provision.Usage {
			return provision.Usage{CPUMilli: 125, MemoryMiB: 256, PodsReady: 1, PodsTotal: 1}
		},
	}
}

// Play replaces the script of every attempt that begins from now on, and of
// every Destroy.
func (p *Provisioner) Play(script func(provision.Want) Script) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.script = script
}

// PlayAll replaces the script by one that is the same for every cluster.
func (p *Provisioner) PlayAll(s Script) { p.Play(func(provision.Want) Script { return s }) }

// Applied returns every want that Apply accepted, oldest first, with repetitions.
func (p *Provisioner) Applied() []provision.Want {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.applied)
}

// Clusters returns what is wanted of each cluster that is not absent.
func (p *Provisioner) Clusters() map[id.Cluster]provision.Want {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Collect(func(yield func(id.Cluster, provision.Want) bool) {
		for i, c := range p.clusters {
			if !yield(i, c.want) {
				return
			}
		}
	})
}

// Use says what each control plane that is ready uses from now on; until then it
// is an eighth of a processor and 256 MiB in one pod.
func (p *Provisioner) Use(of func(id.Cluster) provision.Usage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.usage = of
}

// Unmeasured makes Usage fail; nil makes it work again.
func (p *Provisioner) Unmeasured(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unusable = err
}

// Usage implements provision.Meter. What is not ready has one pod that is not,
// and uses nothing.
func (p *Provisioner) Usage(ctx context.Context) (map[id.Cluster]provision.Usage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := cmp.Or(ctx.Err(), p.unusable); err != nil {
		return nil, err
	}
	out := make(map[id.Cluster]provision.Usage, len(p.clusters))
	for i, c := range p.clusters {
		out[i] = provision.Usage{PodsTotal: 1}
		if c.seen.Phase == provision.Ready {
			out[i] = p.usage(i)
		}
	}
	return out, nil
}

// Kill ends the process behind a cluster; another one starts as the script says.
func (p *Provisioner) Kill(i id.Cluster) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clusters[i]; c != nil {
		p.begin(c, p.script(c.want))
	}
}

// Versions implements provision.Catalog.
func (p *Provisioner) Versions() []provision.Version { return slices.Clone(p.config.Versions) }

// Apply implements provision.Provisioner.
func (p *Provisioner) Apply(ctx context.Context, want provision.Want) error {
	if err := want.Check(p.config.Versions); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	script := p.script(want)
	if err := cmp.Or(ctx.Err(), script.ApplyError); err != nil {
		return err
	}
	want.FormerHosts = slices.Clone(want.FormerHosts)
	c := p.clusters[want.ID]
	if c == nil && want.Existed {
		return fault.Invalid.New("data_gone", "Nothing is left of this control plane. Delete the cluster.")
	}
	p.applied = append(p.applied, want)
	if c == nil {
		p.ports++
		c = &cluster{port: 20000 + p.ports}
		p.clusters[want.ID] = c
	}
	same := same(c.want, want)
	c.want = want
	if !same || c.seen.Phase == provision.Failed {
		p.begin(c, script)
	}
	return nil
}

// same tells whether a running control plane for one want serves another as well.
func same(a, b provision.Want) bool {
	return a.ID == b.ID && a.KubernetesVersion == b.KubernetesVersion && a.Host == b.Host && slices.Equal(a.FormerHosts, b.FormerHosts)
}

// begin starts an attempt, in place of the one before.
func (p *Provisioner) begin(c *cluster, s Script) {
	if c.next != nil {
		c.next.Stop()
		c.next = nil
	}
	p.lives++
	incarnation := fmt.Sprint(p.lives)
	p.show(c, provision.Observed{Phase: provision.Pending, Stage: provision.StartingPlane, Waiting: s.Waits, Incarnation: incarnation})
	switch {
	case s.Never:
	case s.Takes <= 0:
		p.end(c, s)
	default:
		c.next = time.AfterFunc(s.Takes/2, func() {
			p.later(c, incarnation, func() {
				waiting := c.seen
				waiting.Stage = provision.WaitingControlPlane
				p.show(c, waiting)
				c.next = time.AfterFunc(s.Takes-s.Takes/2, func() { p.later(c, incarnation, func() { p.end(c, s) }) })
			})
		})
	}
}

// later does what a timer was set for, unless another attempt has begun since.
func (p *Provisioner) later(c *cluster, incarnation string, do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clusters[c.want.ID] == c && c.seen.Incarnation == incarnation {
		do()
	}
}

func (p *Provisioner) end(c *cluster, s Script) {
	o := provision.Observed{Phase: provision.Failed, Reason: s.Fails, Incarnation: c.seen.Incarnation}
	if s.Fails == "" {
		o.Phase, o.Stage, o.Port = provision.Ready, provision.Done, c.port
		o.Endpoint = fmt.Sprintf("https://%s:%d", bracketed(cmp.Or(c.want.Host, p.config.Host)), c.port)
	}
	p.show(c, o)
}

func (p *Provisioner) show(c *cluster, o provision.Observed) {
	c.seen = o
	p.changed.Ring()
}

// Observe implements provision.Provisioner.
func (p *Provisioner) Observe(ctx context.Context, i id.Cluster) (provision.Observed, error) {
	return p.look(i), ctx.Err()
}

func (p *Provisioner) look(i id.Cluster) provision.Observed {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clusters[i]; c != nil {
		return c.seen
	}
	return provision.Observed{Phase: provision.Absent}
}

// Await implements provision.Provisioner.
func (p *Provisioner) Await(ctx context.Context, i id.Cluster, seen provision.Observed) (provision.Observed, error) {
	for {
		rung := p.changed.C()
		if now := p.look(i); now != seen {
			return now, ctx.Err()
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return provision.Observed{}, ctx.Err()
		}
	}
}

// Destroy implements provision.Provisioner.
func (p *Provisioner) Destroy(ctx context.Context, i id.Cluster) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clusters[i]
	if c == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	if err := p.script(c.want).DestroyError; err != nil {
		return err
	}
	if c.next != nil {
		c.next.Stop()
	}
	delete(p.clusters, i)
	p.changed.Ring()
	return nil
}

// Kubeconfig implements provision.Provisioner.
func (p *Provisioner) Kubeconfig(ctx context.Context, i id.Cluster) (secret.Text, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.clusters[i]
	switch {
	case ctx.Err() != nil:
		return secret.Text{}, ctx.Err()
	case c == nil:
		return secret.Text{}, fault.NotFound.New("control_plane_not_found", "There is no such control plane.")
	case c.seen.Phase != provision.Ready:
		return secret.Text{}, fault.Unavailable.New("control_plane_not_ready", "The control plane is not ready yet.")
	}
	if c.authority == "" {
		c.authority = newAuthority()
	}
	return kubeconfig(c.want.Name, c.seen.Endpoint, c.authority), nil
}

func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
