package kubetenant

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/rate"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Watch hands on nodes and join requests as they are and as they change.
func (t *cluster) Watch(ctx context.Context, sink func(tenant.Change) error) error {
	defer t.hold()()
	err := t.relay(ctx, sink)
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return err
}

// relay lists both kinds itself, then lets a goroutine follow each; sink is
// called by relay's own goroutine alone.
func (t *cluster) relay(ctx context.Context, sink func(tenant.Change) error) error {
	hand := func(_ context.Context, c tenant.Change) error { return sink(c) }
	emit := func(ctx context.Context, c tenant.Change) error { return hand(ctx, c) }
	nodes := t.nodeFeed(emit)
	nodesAt, err := nodes.refresh(ctx, t.config.CallTimeout)
	if t.config.Guests && fault.CodeOf(err) == accessRefused {
		return t.stare(ctx, sink)
	}
	if err != nil {
		return err
	}
	if t.config.Guests {
		if err := sink(tenant.Change{Synced: true}); err != nil {
			return err
		}
		return nodes.follow(ctx, nodesAt)
	}
	requests := t.requestFeed(emit)
	requestsAt, err := requests.refresh(ctx, t.config.CallTimeout)
	if err != nil {
		return err
	}
	if err := sink(tenant.Change{Synced: true}); err != nil {
		return err
	}
	changes := make(chan tenant.Change)
	hand = func(ctx context.Context, c tenant.Change) error {
		select {
		case changes <- c:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return merge(ctx, changes, sink,
		func(ctx context.Context) error { return nodes.follow(ctx, nodesAt) },
		func(ctx context.Context) error { return requests.follow(ctx, requestsAt) })
}

// stare is a watch of a cluster that does not show its nodes: there are none,
// and whether it answers, others ask.
func (t *cluster) stare(ctx context.Context, sink func(tenant.Change) error) error {
	if err := sink(tenant.Change{Synced: true}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// merge runs sources until the first of them, or sink, fails; all have ended
// when it returns.
func merge(ctx context.Context, changes <-chan tenant.Change, sink func(tenant.Change) error, sources ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	ends := make(chan error, len(sources))
	for _, run := range sources {
		running.Go(func() { ends <- run(ctx) })
	}
	for {
		select {
		case c := <-changes:
			if err := sink(c); err != nil {
				return err
			}
		case err := <-ends:
			return err
		}
	}
}

type emitter func(context.Context, tenant.Change) error

// crowd tells, once, when there is more of something than is followed, and when
// there no longer is.
type crowd struct {
	what string
	most int
	told bool
	emit emitter
}

func (c *crowd) is(ctx context.Context, too bool) error {
	if too == c.told {
		return nil
	}
	c.told = too
	e := tenant.Excess{What: c.what}
	if too {
		e.Most = c.most
	}
	return c.emit(ctx, tenant.Change{Excess: &e})
}

// nodeFeed remembers what it has handed on: a kubelet reports every few
// seconds, and mostly that nothing has changed.
func (t *cluster) nodeFeed(emit emitter) *feed[*corev1.Node] {
	known := map[string]digest{}
	var missing map[string]bool
	most := &crowd{what: "nodes", most: t.config.MaxNodes, emit: emit}
	f := &feed[*corev1.Node]{t: t, what: most.what, most: most.most, watch: t.core.Nodes().Watch}
	f.sooner = func() bool { return most.told }
	f.list = func(ctx context.Context, o metav1.ListOptions) ([]*corev1.Node, metav1.ListMeta, error) {
		all, err := t.core.Nodes().List(ctx, o)
		if err != nil {
			return nil, metav1.ListMeta{}, err
		}
		return pointers(all.Items), all.ListMeta, nil
	}
	hand := func(ctx context.Context, n *corev1.Node) error {
		now := nodeOf(n)
		mark := digestOf(now)
		if known[now.Name] == mark {
			return nil
		}
		known[now.Name] = mark
		return emit(ctx, tenant.Change{Node: &now})
	}
	f.saw = func(ctx context.Context, n *corev1.Node) error {
		if _, ok := known[n.Name]; !ok && len(known) >= most.most {
			return most.is(ctx, true)
		}
		if !isNodeName(n.Name) {
			return nil
		}
		return hand(ctx, n)
	}
	forget := func(ctx context.Context, name string) error {
		if _, ok := known[name]; !ok {
			return nil
		}
		delete(known, name)
		return emit(ctx, tenant.Change{Gone: name})
	}
	f.gone = func(ctx context.Context, n *corev1.Node) error { return forget(ctx, n.Name) }
	f.begin = func() {
		missing = map[string]bool{}
		for name := range known {
			missing[name] = true
		}
	}
	f.listed = func(ctx context.Context, n *corev1.Node) error {
		delete(missing, n.Name)
		if !isNodeName(n.Name) {
			return nil
		}
		return hand(ctx, n) // what is beyond the bound now is missing in a moment
	}
	f.whole = func(ctx context.Context, all bool) error {
		for _, name := range slices.Sorted(maps.Keys(missing)) {
			if err := forget(ctx, name); err != nil {
				return err
			}
		}
		return most.is(ctx, !all)
	}
	return f
}

// requestFeed hands on every pending join request once.
func (t *cluster) requestFeed(emit emitter) *feed[*certificatesv1.CertificateSigningRequest] {
	known := map[types.UID]bool{}
	var missing map[types.UID]bool
	var skipped bool // one, since the last list began
	ours := "spec.signerName=" + certificatesv1.KubeAPIServerClientKubeletSignerName
	api := t.certs.CertificateSigningRequests()
	most := &crowd{what: "certificate requests", most: t.config.MaxRequests, emit: emit}
	odd := rate.New(10, 0.1) // lines in the log about requests that are none
	f := &feed[*certificatesv1.CertificateSigningRequest]{t: t, what: most.what, most: most.most}
	f.sooner = func() bool { return most.told }
	f.watch = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = ours
		return api.Watch(ctx, o)
	}
	f.list = func(ctx context.Context, o metav1.ListOptions) ([]*certificatesv1.CertificateSigningRequest, metav1.ListMeta, error) {
		o.FieldSelector = ours
		all, err := api.List(ctx, o)
		if err != nil {
			return nil, metav1.ListMeta{}, err
		}
		return pointers(all.Items), all.ListMeta, nil
	}
	f.gone = func(_ context.Context, r *certificatesv1.CertificateSigningRequest) error {
		delete(known, r.UID)
		return nil
	}
	f.saw = func(ctx context.Context, r *certificatesv1.CertificateSigningRequest) error {
		if !isPending(r) {
			delete(known, r.UID) // and never will be again
			return nil
		}
		if known[r.UID] {
			return nil
		}
		if len(known) >= most.most {
			skipped = true
			return most.is(ctx, true)
		}
		known[r.UID] = true
		request, err := joinRequest(r)
		switch {
		case errors.Is(err, errForeign):
			return nil
		case err != nil:
			if odd.Take(t.config.Now(), 1) {
				t.log.WarnContext(ctx, "ignored a certificate request of a join token", "request", clip(r.Name), "user", clip(r.Spec.Username), "err", err)
			}
			return nil
		}
		return emit(ctx, tenant.Change{Request: &request})
	}
	f.begin = func() { missing, skipped = maps.Clone(known), false }
	f.listed = func(ctx context.Context, r *certificatesv1.CertificateSigningRequest) error {
		delete(missing, r.UID)
		return f.saw(ctx, r)
	}
	f.whole = func(ctx context.Context, all bool) error {
		for uid := range missing {
			delete(known, uid)
		}
		return most.is(ctx, !all || skipped)
	}
	return f
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
