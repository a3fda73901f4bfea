// Package memtenant is tenants in memory: the reference for package tenant, and
// what tests of the core run on. A test gets a [Cluster], the hands inside a
// tenant, and makes happen there what machines and owners would do.
package memtenant

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Connector opens tenants that are made when first asked for.
type Connector struct {
	// Now, when it is set before the first use, lets tenants refuse bootstrap
	// tokens that have expired.
	Now func() time.Time

	mu       sync.Mutex
	clusters map[id.Cluster]*Cluster
}

var _ tenant.Connector = (*Connector)(nil)

// New returns a Connector whose tenants are empty and reachable.
func New() *Connector { return &Connector{clusters: map[id.Cluster]*Cluster{}} }

// Connect takes any kubeconfig but an empty one.
func (c *Connector) Connect(ctx context.Context, of id.Cluster, kubeconfig secret.Text) (tenant.Tenant, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if kubeconfig.IsZero() {
		return nil, fault.Invalid.New("kubeconfig_invalid", "There is no kubeconfig.")
	}
	return in{c.Cluster(of), c.Now}, nil
}

// Cluster returns the hands inside a tenant.
func (c *Connector) Cluster(of id.Cluster) *Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clusters[of] == nil {
		c.clusters[of] = newCluster()
	}
	return c.clusters[of]
}

// Cluster is one tenant as its machines and its owner see it. Its methods may
// be called from any goroutine, and work while the platform cannot reach it.
type Cluster struct {
	mu          sync.Mutex
	changed     bell.Bell
	unreachable bool
	prepared    int
	version     string
	endpoint    tenant.Endpoint

	nodes    map[string]tenant.Node
	requests []request // in the order in which they were made
	tokens   map[string]tenant.BootstrapToken
	pods     map[tenant.Pod]Pod
	guarded  map[string]int // apps that a budget protects, and how many do
	in       *contents
}

type request struct {
	tenant.JoinRequest
	verdict Verdict
}

// Verdict is what the platform has said to a join request.
type Verdict struct {
	Decided, Approved bool
	Reason            string
}

// Pod is a pod on a node.
type Pod struct {
	tenant.Pod
	Node      string
	App       string // for Protect
	DaemonSet bool
	Mirror    bool
	Finished  bool
	Unmanaged bool
	EmptyDir  bool
	Stuck     bool // does not end when evicted, unless the grace period is zero
}

func newCluster() *Cluster {
	return &Cluster{
		version:  "v1.36.3",
		endpoint: tenant.Endpoint{Server: "127.0.0.1:6443", CACert: []byte(authority), CACertHash: authorityHash, KubernetesVersion: "v1.36.3"},
		nodes:    map[string]tenant.Node{},
		tokens:   map[string]tenant.BootstrapToken{},
		pods:     map[tenant.Pod]Pod{},
		guarded:  map[string]int{},
		in:       newContents(),
	}
}

// update changes the tenant and wakes everyone who waits for a change.
func (c *Cluster) update(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.changed.Ring()
}

// read looks at the tenant.
func (c *Cluster) read(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// SetReachable lets the platform's calls through, or makes them fail and ends
// watches.
func (c *Cluster) SetReachable(reachable bool) { c.update(func() { c.unreachable = !reachable }) }

// SetVersion says what Probe tells.
func (c *Cluster) SetVersion(v string) { c.update(func() { c.version = v }) }

// SetEndpoint says what Endpoint tells.
func (c *Cluster) SetEndpoint(e tenant.Endpoint) { c.update(func() { c.endpoint = e }) }

// Prepared counts the calls of PrepareJoin.
func (c *Cluster) Prepared() (n int) { c.read(func() { n = c.prepared }); return n }

// PutNode adds or replaces a node.
func (c *Cluster) PutNode(n tenant.Node) { c.update(func() { c.nodes[n.Name] = cloned(n) }) }

// ChangeNode changes a node, and reports whether it was there.
func (c *Cluster) ChangeNode(name string, change func(*tenant.Node)) (found bool) {
	c.update(func() {
		n, ok := c.nodes[name]
		if found = ok; ok {
			n = cloned(n)
			change(&n)
			c.nodes[name] = n
		}
	})
	return found
}

// RemoveNode removes a node if it is there.
func (c *Cluster) RemoveNode(name string) { c.update(func() { delete(c.nodes, name) }) }

// Node returns a node as it is now.
func (c *Cluster) Node(name string) (n tenant.Node, ok bool) {
	c.read(func() { n, ok = c.nodes[name]; n = cloned(n) })
	return n, ok
}

// Submit makes a certificate request, as a machine with a join token does.
func (c *Cluster) Submit(r tenant.JoinRequest) {
	c.update(func() { c.requests = append(c.requests, request{JoinRequest: r}) })
}

// Withdraw deletes a request.
func (c *Cluster) Withdraw(name string) {
	c.update(func() {
		c.requests = slices.DeleteFunc(c.requests, func(r request) bool { return r.Name == name })
	})
}

// Verdict returns what the platform has said to a request.
func (c *Cluster) Verdict(name string) (v Verdict) {
	c.read(func() {
		if i := c.find(name); i >= 0 {
			v = c.requests[i].verdict
		}
	})
	return v
}

// find needs the lock.
func (c *Cluster) find(name string) int {
	return slices.IndexFunc(c.requests, func(r request) bool { return r.Name == name })
}

// Token returns a bootstrap token, expired ones as well.
func (c *Cluster) Token(tokenID string) (b tenant.BootstrapToken, ok bool) {
	c.read(func() { b, ok = c.tokens[tokenID] })
	return b, ok
}

// Tokens returns all bootstrap tokens, ordered by id.
func (c *Cluster) Tokens() (out []tenant.BootstrapToken) {
	c.read(func() { out = slices.Collect(maps.Values(c.tokens)) })
	slices.SortFunc(out, func(a, b tenant.BootstrapToken) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// PutPod adds or replaces a pod.
func (c *Cluster) PutPod(p Pod) { c.update(func() { c.pods[p.Pod] = p }) }

// RemovePod makes a pod end.
func (c *Cluster) RemovePod(p tenant.Pod) { c.update(func() { delete(c.pods, p) }) }

// HasPod tells whether a pod is there.
func (c *Cluster) HasPod(p tenant.Pod) (ok bool) { c.read(func() { _, ok = c.pods[p] }); return ok }

// Protect forbids evicting an app's pods until release is called.
func (c *Cluster) Protect(app string) (release func()) {
	c.update(func() { c.guarded[app]++ })
	return sync.OnceFunc(func() { c.update(func() { c.guarded[app]-- }) })
}

func cloned(n tenant.Node) tenant.Node {
	n.Labels = maps.Clone(n.Labels)
	return n
}

// in is what the platform gets: the tenant's API without the hands.
type in struct {
	c   *Cluster
	now func() time.Time
}

var _ tenant.Tenant = in{}

// call runs one request, all or nothing.
func (t in) call(ctx context.Context, request func() error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.c.update(func() {
		if t.c.unreachable {
			err = unreachable()
			return
		}
		err = request()
	})
	return err
}

func unreachable() error {
	return fault.Unavailable.New("cluster_unreachable", "The cluster's API server cannot be reached.")
}

func (t in) onNode(ctx context.Context, name string, request func(tenant.Node) error) error {
	return t.call(ctx, func() error {
		n, ok := t.c.nodes[name]
		if !ok {
			return fault.NotFound.New("node_not_found", "The cluster has no node of this name.")
		}
		return request(cloned(n))
	})
}

func (t in) Probe(ctx context.Context) (v string, err error) {
	err = t.call(ctx, func() error { v = t.c.version; return nil })
	return v, err
}

// Contents counts the namespaces that pods are in.
func (t in) Contents(ctx context.Context) (out tenant.Contents, err error) {
	err = t.call(ctx, func() error {
		in := map[string]bool{}
		for p := range t.c.pods {
			in[p.Namespace] = true
		}
		out = tenant.Contents{Nodes: len(t.c.nodes), Namespaces: len(in), Pods: len(t.c.pods)}
		return nil
	})
	return out, err
}

func (t in) PrepareJoin(ctx context.Context) error {
	return t.call(ctx, func() error { t.c.prepared++; return nil })
}

func (t in) Endpoint(ctx context.Context) (e tenant.Endpoint, err error) {
	err = t.call(ctx, func() error { e = t.c.endpoint; e.CACert = slices.Clone(e.CACert); return nil })
	return e, err
}

func (t in) Node(ctx context.Context, node string) (out tenant.Node, err error) {
	err = t.onNode(ctx, node, func(n tenant.Node) error { out = n; return nil })
	return out, err
}

func (t in) SetUnschedulable(ctx context.Context, node string, unschedulable bool) (out tenant.Node, err error) {
	err = t.onNode(ctx, node, func(n tenant.Node) error {
		n.Unschedulable = unschedulable
		t.c.nodes[node], out = n, cloned(n)
		return nil
	})
	return out, err
}

func (t in) DeleteNode(ctx context.Context, node string) error {
	return t.onNode(ctx, node, func(tenant.Node) error { delete(t.c.nodes, node); return nil })
}

// untilChange waits, and reports false at the end of ctx.
func untilChange(ctx context.Context, changed <-chan struct{}) bool {
	select {
	case <-ctx.Done():
		return false
	case <-changed:
		return true
	}
}
