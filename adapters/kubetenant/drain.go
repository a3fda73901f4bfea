package kubetenant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

var errDrainTimeout = errors.New("the drain's time is over")

// Drain cordons a node and evicts its pods. (k8s.io/kubectl's drain.Helper is
// not used: it reports through callbacks and text, deletes finished pods, polls
// each pod, and waits five seconds after every refusal.)
func (t *cluster) Drain(ctx context.Context, node string, o tenant.DrainOptions) (tenant.DrainReport, error) {
	if o.Timeout <= 0 {
		return tenant.DrainReport{}, fault.Invalid.New(fault.ValidationFailed, "A drain needs a timeout.")
	}
	within, cancel := context.WithTimeoutCause(ctx, o.Timeout, errDrainTimeout)
	defer cancel()
	defer t.hold()()
	d := &drain{t: t, node: node, options: o, left: map[types.UID]*leaving{}, empty: make(chan struct{})}
	err := d.run(within)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(within), errDrainTimeout) {
		err = d.timedOut().Because(err)
	}
	return d.reported(), err
}

// drain is one drain under way. Its pods go away in the order in which they
// please: evictors ask for it, a watch sees it.
type drain struct {
	t       *cluster
	node    string
	options tenant.DrainOptions
	there   map[types.UID]bool // in the list that comes in

	mu     sync.Mutex
	report tenant.DrainReport
	left   map[types.UID]*leaving
	empty  chan struct{} // closed when nothing is left
}

// leaving is a pod that is to go.
type leaving struct {
	pod  tenant.Pod
	why  string // it is still there
	stop context.CancelFunc
}

func (d *drain) run(ctx context.Context) (err error) {
	if d.report.Node, err = d.t.Node(ctx, d.node); err != nil {
		return err
	}
	pods := d.pods()
	p, version, err := d.look(ctx, pods)
	if err != nil {
		return err // before anything is changed
	}
	if d.options.DryRun {
		d.report.Evicted = names(p.going)
		return nil
	}
	if d.report.Node, err = d.t.SetUnschedulable(ctx, d.node, true); err != nil {
		return err
	}
	if p, version, err = d.look(ctx, pods); err != nil { // again, now that no pod comes any more
		return err
	}
	pods.begin, pods.listed, pods.whole = d.begin, d.listed, d.whole
	return d.evictAll(ctx, p.going, func(ctx context.Context) error { return pods.follow(ctx, version) })
}

// look lists the node's pods and says what is to become of each.
func (d *drain) look(ctx context.Context, pods *feed[*corev1.Pod]) (p intent, version string, err error) {
	var found []*corev1.Pod
	pods.begin = func() { found = nil }
	pods.listed = func(_ context.Context, p *corev1.Pod) error { found = append(found, slim(p)); return nil }
	pods.whole = func(_ context.Context, all bool) error {
		if !all {
			return fault.Conflict.New("drain_blocked", "Nothing was evicted: the node has more than %d pods, which is more than can be drained at once.", pods.most)
		}
		return nil
	}
	if version, err = pods.refresh(ctx, d.t.config.CallTimeout); err != nil {
		return p, "", err
	}
	p = plan(found, d.options)
	d.report.Skipped = p.skipped
	return p, version, p.blocked()
}

// slim keeps of a pod what a drain asks about.
func slim(p *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.Namespace, Name: p.Name, UID: p.UID, DeletionTimestamp: p.DeletionTimestamp,
	}}
	if owner := metav1.GetControllerOfNoCopy(p); owner != nil {
		out.OwnerReferences = []metav1.OwnerReference{{Kind: clip(owner.Kind), Controller: owner.Controller}}
	}
	if _, ok := p.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		out.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: ""}
	}
	if hasEmptyDir(p) {
		out.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}
	out.Status.Phase = p.Status.Phase
	return out
}

func (d *drain) pods() *feed[*corev1.Pod] {
	here := "spec.nodeName=" + d.node
	api := d.t.core.Pods(metav1.NamespaceAll)
	return &feed[*corev1.Pod]{
		t: d.t, what: "pods", most: d.t.config.MaxPods, saw: d.saw, gone: d.gone,
		list: func(ctx context.Context, o metav1.ListOptions) ([]*corev1.Pod, metav1.ListMeta, error) {
			o.FieldSelector = here
			all, err := api.List(ctx, o)
			if err != nil {
				return nil, metav1.ListMeta{}, err
			}
			return pointers(all.Items), all.ListMeta, nil
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = here
			return api.Watch(ctx, o)
		},
	}
}

// evictAll returns when all pods are gone, something fails, or ctx ends.
func (d *drain) evictAll(ctx context.Context, going []*corev1.Pod, follow func(context.Context) error) error {
	if len(going) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	failed := make(chan error, len(going)+1)
	turns := make(chan struct{}, 8) // requests at a time
	for _, pod := range going {
		own := d.expect(ctx, pod)
		running.Go(func() {
			if err := d.evict(own, pod, turns); err != nil && own.Err() == nil {
				failed <- err
			}
		})
	}
	running.Go(func() { failed <- follow(ctx) })
	select {
	case <-d.empty:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// expect counts a pod among those left; the context that it returns ends when
// the pod is gone.
func (d *drain) expect(ctx context.Context, pod *corev1.Pod) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	own, stop := context.WithCancel(ctx)
	d.left[pod.UID] = &leaving{pod: name(pod), why: "not asked to go yet", stop: stop}
	return own
}

// evict asks for one pod to go until the API server agrees. It ends with ctx,
// which is when the pod is gone or the drain is over.
func (d *drain) evict(ctx context.Context, pod *corev1.Pod, turns chan struct{}) error {
	for wait := 200 * time.Millisecond; ; wait = min(wait*3/2, 5*time.Second) {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		why, err := d.ask(ctx, pod)
		<-turns
		if err != nil {
			return err
		}
		d.note(pod.UID, cmp.Or(why, "shutting down"))
		if why == "" || !pause(ctx, jittered(wait)) {
			return ctx.Err()
		}
	}
}

// ask requests one eviction. Why is what the API server has against it; then
// it is worth asking again. An error means that it did not answer.
func (d *drain) ask(ctx context.Context, pod *corev1.Pod) (why string, err error) {
	err = d.t.call(ctx, "evict pod", func(ctx context.Context) error {
		// The client's own retries would sleep for as long as the server proposes,
		// ten seconds for a budget that is a moment old.
		err := d.t.core.RESTClient().Post().MaxRetries(0).Namespace(pod.Namespace).Resource("pods").Name(pod.Name).
			SubResource("eviction").Body(d.eviction(pod)).Do(ctx).Error()
		switch {
		case apierrors.IsNotFound(err): // the watch tells in a moment
			return nil
		case apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause):
			why = "a PodDisruptionBudget forbids its eviction"
			return nil
		}
		if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
			why = "the cluster refuses its eviction: " + clip(status.Status().Message)
			return nil
		}
		return err
	})
	return why, err
}

// eviction is for this very pod, not for one that took its name meanwhile.
func (d *drain) eviction(pod *corev1.Pod) *policyv1.Eviction {
	o := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}}
	if g := d.options.GracePeriod; g != nil {
		seconds := int64((*g + time.Second - 1) / time.Second)
		o.GracePeriodSeconds = &seconds
	}
	return &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, DeleteOptions: o}
}

func (d *drain) saw(context.Context, *corev1.Pod) error { return nil }

func (d *drain) gone(_ context.Context, pod *corev1.Pod) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.went(pod.UID)
	return nil
}

func (d *drain) begin() { d.there = map[types.UID]bool{} }

func (d *drain) listed(_ context.Context, pod *corev1.Pod) error {
	d.there[pod.UID] = true
	return nil
}

// whole takes those for gone that a list no longer names, if it names all.
func (d *drain) whole(_ context.Context, all bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for uid := range d.left {
		if all && !d.there[uid] {
			d.went(uid)
		}
	}
	return nil
}

// went needs the lock.
func (d *drain) went(uid types.UID) {
	l, ok := d.left[uid]
	if !ok {
		return
	}
	l.stop()
	delete(d.left, uid)
	d.report.Evicted = append(d.report.Evicted, l.pod)
	if len(d.left) == 0 {
		close(d.empty)
	}
}

func (d *drain) note(uid types.UID, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l, ok := d.left[uid]; ok {
		l.why = why
	}
}

func (d *drain) reported() tenant.DrainReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.report
	for _, l := range d.left {
		out.Left = append(out.Left, l.pod)
	}
	slices.SortFunc(out.Evicted, byName)
	slices.SortFunc(out.Left, byName)
	return out
}

func (d *drain) timedOut() *fault.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var left []*leaving
	for _, l := range d.left {
		left = append(left, l)
	}
	slices.SortFunc(left, func(a, b *leaving) int { return byName(a.pod, b.pod) })
	if len(left) == 0 {
		return fault.Timeout.New("drain_timeout", "The drain had not begun to evict pods after %s.", d.options.Timeout)
	}
	var texts []string
	for _, l := range left {
		texts = append(texts, spelled(l.pod)+" ("+l.why+")")
	}
	return fault.Timeout.New("drain_timeout", "After %s, %s still on the node: %s.", d.options.Timeout, count(len(left), "pod is", "pods are"), listed(texts))
}

// intent sorts the pods of a node.
type intent struct {
	going     []*corev1.Pod
	skipped   []tenant.SkipPod
	unmanaged []tenant.Pod // need Force
	emptyDir  []tenant.Pod // need DeleteEmptyDir
}

func plan(pods []*corev1.Pod, o tenant.DrainOptions) (p intent) {
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return byName(name(a), name(b)) })
	for _, pod := range pods {
		if reason := reasonToSkip(pod); reason != "" {
			p.skipped = append(p.skipped, tenant.SkipPod{Pod: name(pod), Reason: reason})
			continue
		}
		p.going = append(p.going, pod)
		if pod.DeletionTimestamp != nil { // goes whether anybody drains or not
			continue
		}
		if !o.Force && metav1.GetControllerOfNoCopy(pod) == nil {
			p.unmanaged = append(p.unmanaged, name(pod))
		}
		if !o.DeleteEmptyDir && hasEmptyDir(pod) {
			p.emptyDir = append(p.emptyDir, name(pod))
		}
	}
	return p
}

func reasonToSkip(pod *corev1.Pod) string {
	if _, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		return "mirror pod"
	}
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && owner.Kind == "DaemonSet" {
		return "DaemonSet"
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return "finished"
	}
	return ""
}

func hasEmptyDir(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.EmptyDir != nil })
}

func (p intent) blocked() error {
	var why []string
	if n := len(p.unmanaged); n > 0 {
		why = append(why, fmt.Sprintf("%s no controller to bring it back, and needs force: %s", count(n, "pod has", "pods have"), listed(texts(p.unmanaged))))
	}
	if n := len(p.emptyDir); n > 0 {
		why = append(why, fmt.Sprintf("%s data in an emptyDir volume, and needs delete_emptydir_data: %s", count(n, "pod has", "pods have"), listed(texts(p.emptyDir))))
	}
	if len(why) == 0 {
		return nil
	}
	return fault.Conflict.New("drain_blocked", "Nothing was evicted: %s.", strings.Join(why, "; "))
}

func name(pod *corev1.Pod) tenant.Pod {
	return tenant.Pod{Namespace: pod.Namespace, Name: pod.Name}
}

func names(pods []*corev1.Pod) (out []tenant.Pod) {
	for _, pod := range pods {
		out = append(out, name(pod))
	}
	return out
}

func spelled(p tenant.Pod) string { return p.Namespace + "/" + p.Name }

func texts(pods []tenant.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, spelled(p))
	}
	return out
}

func byName(a, b tenant.Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// clip shortens what a tenant says.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…" // a copy, so that the rest is not kept
	}
	return strings.ToValidUTF8(s, "")
}
