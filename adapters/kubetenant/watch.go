package kubetenant

import (
	"cmp"
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
	requests := t.requestFeed(emit)
	nodesAt, err := nodes.refresh(ctx, t.config.CallTimeout)
	if err != nil {
		return err
	}
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

// nodeFeed remembers what it has handed on: a kubelet reports every few
// seconds, and mostly that nothing has changed.
func (t *cluster) nodeFeed(emit emitter) *feed[*corev1.Node] {
	known := map[string]tenant.Node{}
	f := &feed[*corev1.Node]{t: t, what: "nodes", watch: t.core.Nodes().Watch}
	f.list = func(ctx context.Context) ([]*corev1.Node, string, error) {
		all, err := t.core.Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, "", err
		}
		return pointers(all.Items), all.ResourceVersion, nil
	}
	f.saw = func(ctx context.Context, n *corev1.Node) error {
		now := nodeOf(n)
		if last, ok := known[now.Name]; ok && same(last, now) {
			return nil
		}
		known[now.Name] = now
		return emit(ctx, tenant.Change{Node: &now})
	}
	forget := func(ctx context.Context, name string) error {
		if _, ok := known[name]; !ok {
			return nil
		}
		delete(known, name)
		return emit(ctx, tenant.Change{Gone: name})
	}
	f.gone = func(ctx context.Context, n *corev1.Node) error { return forget(ctx, n.Name) }
	f.listed = func(ctx context.Context, all []*corev1.Node) error {
		slices.SortFunc(all, func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
		missing := maps.Clone(known)
		for _, n := range all {
			delete(missing, n.Name)
			if err := f.saw(ctx, n); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(missing)) {
			if err := forget(ctx, name); err != nil {
				return err
			}
		}
		return nil
	}
	return f
}

// requestFeed hands on every pending join request once.
func (t *cluster) requestFeed(emit emitter) *feed[*certificatesv1.CertificateSigningRequest] {
	known := map[types.UID]bool{}
	ours := metav1.ListOptions{FieldSelector: "spec.signerName=" + certificatesv1.KubeAPIServerClientKubeletSignerName}
	api := t.certs.CertificateSigningRequests()
	f := &feed[*certificatesv1.CertificateSigningRequest]{t: t, what: "certificate requests"}
	f.watch = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = ours.FieldSelector
		return api.Watch(ctx, o)
	}
	f.list = func(ctx context.Context) ([]*certificatesv1.CertificateSigningRequest, string, error) {
		all, err := api.List(ctx, ours)
		if err != nil {
			return nil, "", err
		}
		return pointers(all.Items), all.ResourceVersion, nil
	}
	f.gone = func(_ context.Context, r *certificatesv1.CertificateSigningRequest) error {
		delete(known, r.UID)
		return nil
	}
	f.saw = func(ctx context.Context, r *certificatesv1.CertificateSigningRequest) error {
		if !isPending(r) || known[r.UID] {
			return nil
		}
		known[r.UID] = true
		request, err := joinRequest(r)
		switch {
		case errors.Is(err, errForeign):
			return nil
		case err != nil:
			t.log.WarnContext(ctx, "ignored a certificate request of a join token", "request", r.Name, "user", r.Spec.Username, "err", err)
			return nil
		}
		return emit(ctx, tenant.Change{Request: &request})
	}
	f.listed = func(ctx context.Context, all []*certificatesv1.CertificateSigningRequest) error {
		present := map[types.UID]bool{}
		for _, r := range all {
			present[r.UID] = true
		}
		maps.DeleteFunc(known, func(uid types.UID, _ bool) bool { return !present[uid] })
		for _, r := range all {
			if err := f.saw(ctx, r); err != nil {
				return err
			}
		}
		return nil
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
