package helmprovision

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// window is what this process sees of the host cluster: a copy, kept by one
// watch for each kind of object, of all that belongs to control planes and of
// nothing else.
type window struct {
	host  *host
	news  *news
	kinds map[string]cache.SharedIndexInformer
	now   func() time.Time
	keys  *keyring

	mu      sync.Mutex
	denied  map[string]denied // by kind: why it cannot be watched
	silent  int               // signs of life in a row that did not come
	silence error
	synced  bool
	stopped chan struct{}
	end     context.CancelFunc
	living  sync.WaitGroup
}

type denied struct {
	err error
	at  time.Time
}

const (
	byCluster   = "cluster"
	byNamespace = cache.NamespaceIndex

	pulseEvery = 3 * time.Second
	// A watch that may not be opened is tried again within this time.
	deniedFor = 45 * time.Second
	// Signs of life in a row that must fail before the host counts as away.
	silentAfter = 3
)

func newWindow(h *host, selector string, news *news, now func() time.Time) *window {
	ours := informers.NewSharedInformerFactoryWithOptions(h.watching, 0, informers.WithTransform(slim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }))
	planes := informers.NewSharedInformerFactoryWithOptions(h.watching, 0, informers.WithTransform(slim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "app=vcluster" }))
	keys := informers.NewSharedInformerFactoryWithOptions(h.watching, 0, informers.WithTransform(slim),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = "app=vcluster,vcluster-name" }))
	w := &window{host: h, news: news, now: now, keys: newKeyring(), denied: map[string]denied{}, stopped: make(chan struct{})}
	w.kinds = map[string]cache.SharedIndexInformer{
		"namespaces":   ours.Core().V1().Namespaces().Informer(),
		"pods":         planes.Core().V1().Pods().Informer(),
		"services":     planes.Core().V1().Services().Informer(),
		"statefulsets": planes.Apps().V1().StatefulSets().Informer(),
		"deployments":  planes.Apps().V1().Deployments().Informer(),
		"secrets":      keys.Core().V1().Secrets().Informer(),
	}
	return w
}

// slim drops what nobody here reads.
func slim(o any) (any, error) {
	if m, err := meta.Accessor(o); err == nil {
		m.SetManagedFields(nil)
	}
	if s, ok := o.(*corev1.Secret); ok {
		delete(s.Data, "client-key") // the kubeconfig holds it as well
	}
	return o, nil
}

// open begins to watch. ctx ends it.
func (w *window) open(ctx context.Context) error {
	ctx, w.end = context.WithCancel(klog.NewContext(ctx, logr.Discard()))
	if err := w.kinds["namespaces"].AddIndexers(cache.Indexers{byCluster: clusterOf}); err != nil {
		return err
	}
	for kind, informer := range w.kinds {
		if err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { w.deny(kind, err) }); err != nil {
			return err
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: w.added, UpdateFunc: w.updated, DeleteFunc: w.deleted}); err != nil {
			return err
		}
		w.living.Go(func() { informer.RunWithContext(ctx) })
	}
	w.living.Go(func() { w.pulse(ctx) })
	return nil
}

func (w *window) close() {
	w.end()
	w.living.Wait()
}

func clusterOf(o any) ([]string, error) {
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	return []string{m.GetLabels()[labelCluster]}, nil
}

func (w *window) added(o any) { w.news.ring(w.about(o)) }

func (w *window) updated(before, after any) {
	was, is := w.about(before), w.about(after)
	w.news.ring(is)
	if was != is {
		w.news.ring(was)
	}
}

func (w *window) deleted(o any) {
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	if s, ok := o.(*corev1.Secret); ok {
		w.keys.drop(s)
	}
	w.news.ring(w.about(o))
}

// about is the id of the cluster that an object belongs to, as far as that is seen.
func (w *window) about(o any) string {
	m, err := meta.Accessor(o)
	if err != nil {
		return ""
	}
	if name := m.GetNamespace(); name != "" {
		n, _, _ := w.kinds["namespaces"].GetStore().GetByKey(name)
		if m, err = meta.Accessor(n); err != nil {
			return ""
		}
	}
	return m.GetLabels()[labelCluster]
}

func (w *window) deny(kind string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.denied[kind] = denied{err, w.now()}
}

// pulse asks for a sign of life again and again: a watch that hears nothing does
// not tell a quiet host from one that is away.
func (w *window) pulse(ctx context.Context) {
	for {
		err := w.host.answers(ctx)
		if apierrors.IsForbidden(err) { // an answer
			err = nil
		}
		w.heard(err)
		if !bell.Wait(ctx, nil, pulseEvery) {
			return
		}
	}
}

func (w *window) heard(err error) {
	synced := w.hasAll()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent++; err == nil {
		w.silent = 0
	}
	w.silence = err
	if synced && !w.synced {
		w.synced = true
		w.news.ringAll()
	}
}

func (w *window) hasAll() bool {
	for _, informer := range w.kinds {
		if !informer.HasSynced() {
			return false
		}
	}
	return true
}

// clear reports why what is seen may not be trusted, or nil.
func (w *window) clear() error {
	all := w.hasAll()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, kind := range []string{"namespaces", "pods", "services", "statefulsets", "deployments", "secrets"} {
		d, ok := w.denied[kind]
		isRight := ok && (apierrors.IsForbidden(d.err) || apierrors.IsUnauthorized(d.err))
		if isRight && (w.now().Sub(d.at) < deniedFor || !w.kinds[kind].HasSynced()) {
			return told(d.err, "watch "+kind)
		}
	}
	if w.silent >= silentAfter || w.silent > 0 && !all {
		if w.silence != nil && !isAway(w.silence) && !errors.Is(w.silence, context.Canceled) {
			return told(w.silence, "ask the host cluster for a sign of life")
		}
		return away("The host cluster cannot be reached.").Because(errors.Join(provision.ErrAway, w.silence))
	}
	if !all {
		return away("The host cluster is being read for the first time.")
	}
	return nil
}

// await waits until what is seen can be trusted, for a while.
func (w *window) await(ctx context.Context, most time.Duration) error {
	deadline := time.NewTimer(most)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := w.clear()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}

// scene is all that is seen of one control plane. Nothing in it may be changed.
type scene struct {
	namespace   *corev1.Namespace
	service     *corev1.Service
	statefulSet *appsv1.StatefulSet
	deployment  *appsv1.Deployment
	pods        []*corev1.Pod // sorted by name
	secret      *corev1.Secret
	key         key   // what the secret holds
	unusable    error // why it holds none that can be used, for people
}

func (w *window) namespaceOf(cluster id.Cluster) *corev1.Namespace {
	found, _ := w.kinds["namespaces"].GetIndexer().ByIndex(byCluster, cluster.String())
	if len(found) == 0 {
		return nil
	}
	return found[0].(*corev1.Namespace) //nolint:forcetypeassert // what the informer holds
}

// shows reports whether what is seen of a namespace, or that there is none, is no
// older than a version of it. Versions that cannot be compared are not waited for.
func (w *window) shows(n *corev1.Namespace, version string) bool {
	seen := w.kinds["namespaces"].LastSyncResourceVersion()
	if n != nil {
		seen = n.ResourceVersion
	}
	has, err := strconv.ParseUint(seen, 10, 64)
	needs, err2 := strconv.ParseUint(version, 10, 64)
	return err != nil || err2 != nil || has >= needs
}

func (w *window) scene(cluster id.Cluster) scene {
	s := scene{namespace: w.namespaceOf(cluster)}
	if s.namespace == nil {
		return s
	}
	name := s.namespace.Name
	s.service, _ = one[*corev1.Service](w, "services", name, name)
	s.statefulSet, _ = one[*appsv1.StatefulSet](w, "statefulsets", name, name)
	s.deployment, _ = one[*appsv1.Deployment](w, "deployments", name, name)
	s.readKey(w)
	found, _ := w.kinds["pods"].GetIndexer().ByIndex(byNamespace, name)
	for _, o := range found {
		if pod, ok := o.(*corev1.Pod); ok && pod.Labels["release"] == name {
			s.pods = append(s.pods, pod)
		}
	}
	slices.SortFunc(s.pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return s
}

func (s *scene) readKey(w *window) {
	find := func() (*corev1.Secret, bool) {
		return one[*corev1.Secret](w, "secrets", s.namespace.Name, "vc-"+s.namespace.Name)
	}
	found, ok := find()
	if !ok {
		return
	}
	s.secret = found
	s.key, s.unusable = w.keys.read(found, func() bool { now, _ := find(); return now == found })
}

func one[T any](w *window, kind, namespace, name string) (t T, ok bool) {
	o, exists, err := w.kinds[kind].GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !exists {
		return t, false
	}
	t, ok = o.(T)
	return t, ok
}

// workload returns the marks of what runs the control plane, whichever kind it
// is.
func (s scene) workload() metav1.Object {
	switch {
	case s.statefulSet != nil:
		return s.statefulSet
	case s.deployment != nil:
		return s.deployment
	}
	return nil
}

func (s scene) note(name string) string {
	if s.namespace == nil {
		return ""
	}
	return s.namespace.Annotations[name]
}

// isInstalled reports whether the workload is that of what is wanted.
func (s scene) isInstalled() bool {
	hash, work := s.note(noteHash), s.workload()
	return hash != "" && work != nil && work.GetAnnotations()[noteHash] == hash
}

// inEffect is where the control plane is published as it is installed, be it as an
// earlier want asked for. It is empty before the first time.
func (s scene) inEffect() string {
	if s.isInstalled() {
		return s.note(noteEndpoint)
	}
	return s.note(noteInEffect)
}
