package hostplane

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/tenants"
)

// Labels that the chart gives a control plane's pods.
const (
	appLabel     = "app"
	tenantApp    = "vcluster"
	releaseLabel = "release"
)

// mountPatience is between two looks for a Secret that is not there.
const mountPatience = 2 * time.Second

// life is what the box remembers of a pod, as a kubelet would.
type life struct {
	began     time.Time
	ip        string
	want      *tenants.Want // what the configuration asked for when the pod started
	server    string        // of the exported kubeconfig
	context   string
	insecure  bool
	badImage  string    // why it cannot be pulled
	pullTries int       // of an image that is not there
	ends      int       // of a container that crashes
	endedAt   time.Time // last
}

// lifeOf begins one with the first look at a pod.
func (b *box) lifeOf(pod *corev1.Pod) *life {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lives[pod.UID]
	if l == nil {
		l = &life{began: b.Now(), ip: pod.Status.PodIP}
		if pod.Status.StartTime != nil {
			l.began = pod.Status.StartTime.Time
		}
		if l.ip == "" {
			b.nextIP++
			l.ip = podIP(b.nextIP)
		}
		for _, s := range pod.Status.ContainerStatuses {
			l.ends = max(l.ends, int(s.RestartCount))
		}
		b.lives[pod.UID] = l
	}
	return l
}

func (b *box) forget(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.lives, uid)
}

// podIP numbers addresses of the pod network: nobody routes them, and EndpointSlices refuse
// those of the loopback network, where the planes listen.
func podIP(n int) string {
	return netip.AddrFrom4([4]byte{10, 244, byte(n / 250), byte(n%250 + 2)}).String() //nolint:gosec // n is small
}

func podNumber(ip string) int {
	a, err := netip.ParseAddr(ip)
	if err != nil || !a.Is4() {
		return 0
	}
	four := a.As4()
	return int(four[2])*250 + int(four[3]) - 2
}

func isTenant(pod *corev1.Pod) bool {
	return pod.Labels[appLabel] == tenantApp && pod.Labels[releaseLabel] != ""
}

func tenantOf(pod *corev1.Pod) tenants.Name {
	return tenants.Name{Namespace: pod.Namespace, Release: pod.Labels[releaseLabel]}
}

// dealPod is scheduler and kubelet in turn.
func (b *box) dealPod(ctx context.Context, t thing) error {
	pod, err := b.pods.Pods(t.namespace).Get(t.name)
	if err != nil {
		return err
	}
	switch {
	case pod.DeletionTimestamp != nil:
		return b.endPod(ctx, pod)
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return b.dropTenant(pod)
	case pod.Spec.NodeName == "":
		return b.schedule(ctx, pod)
	case pod.Spec.NodeName != nodeName:
		return nil
	default:
		return b.runPod(ctx, pod)
	}
}

// endPod lets the plane end before the pod is gone.
func (b *box) endPod(ctx context.Context, pod *corev1.Pod) error {
	if isTenant(pod) && !b.tenants.LetGo(tenantOf(pod), string(pod.UID)) {
		return nil // comes back when it has stopped
	}
	err := b.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err == nil || apierrors.IsNotFound(err) {
		b.forget(pod.UID)
	}
	return err
}

func (b *box) dropTenant(pod *corev1.Pod) error {
	if isTenant(pod) {
		b.tenants.LetGo(tenantOf(pod), string(pod.UID))
	}
	return nil
}

// schedule binds a pod to the only node, once its volumes are there.
func (b *box) schedule(ctx context.Context, pod *corev1.Pod) error {
	how := b.behaviour(pod)
	if how.word == never {
		return b.unschedulable(ctx, pod, "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
	}
	missing, err := b.unboundClaim(pod)
	if err != nil {
		return err
	}
	if missing != "" {
		return b.unschedulable(ctx, pod, missing)
	}
	return b.client.CoreV1().Pods(pod.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: nodeName},
	}, metav1.CreateOptions{})
}

// unboundClaim says which of a pod's claims has no volume yet.
func (b *box) unboundClaim(pod *corev1.Pod) (string, error) {
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		claim, err := b.claims.PersistentVolumeClaims(pod.Namespace).Get(v.PersistentVolumeClaim.ClaimName)
		if apierrors.IsNotFound(err) {
			return fmt.Sprintf("persistentvolumeclaim %q not found", v.PersistentVolumeClaim.ClaimName), nil
		}
		if err != nil {
			return "", err
		}
		if claim.Status.Phase != corev1.ClaimBound {
			return "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.", nil
		}
	}
	return "", nil
}

func (b *box) unschedulable(ctx context.Context, pod *corev1.Pod, message string) error {
	status := pod.Status.DeepCopy()
	status.Phase = corev1.PodPending
	b.condition(status, corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable, message)
	if !equality.Semantic.DeepEqual(*status, pod.Status) {
		b.events.Event(pod, corev1.EventTypeWarning, "FailedScheduling", message)
	}
	return b.saveStatus(ctx, pod, status)
}

// behaviour is how the pod shall fail. A word that nobody knows is told, and nothing else.
func (b *box) behaviour(pod *corev1.Pod) behaviour {
	if !isTenant(pod) {
		return behaviour{}
	}
	var ofNamespace map[string]string
	if namespace, err := b.namespaces.Get(pod.Namespace); err == nil {
		ofNamespace = namespace.Annotations
	}
	how, err := behaves(pod.Labels[releaseLabel], pod.Annotations, ofNamespace, b.Rules)
	if err != nil {
		b.events.Event(pod, corev1.EventTypeWarning, "UnknownBehaviour", refusal.Sentence(err))
		return behaviour{}
	}
	return how
}

// runPod brings the pod's processes and its status to what they should be.
func (b *box) runPod(ctx context.Context, pod *corev1.Pod) error {
	l := b.lifeOf(pod)
	now := hollow(pod)
	if isTenant(pod) {
		var err error
		if now, err = b.runTenant(ctx, pod, l); err != nil {
			return err
		}
	}
	if now.again > 0 {
		b.queue.AddAfter(thing{aPod, pod.Namespace, pod.Name}, now.again)
	}
	return b.saveStatus(ctx, pod, b.statusOf(pod, l, now))
}

// hollow is a pod that only seems to run: for ever, or until it is done.
func hollow(pod *corev1.Pod) sight {
	if pod.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		return sight{done: true}
	}
	return sight{started: true, ready: true}
}

func (b *box) saveStatus(ctx context.Context, pod *corev1.Pod, status *corev1.PodStatus) error {
	if equality.Semantic.DeepEqual(*status, pod.Status) {
		return nil
	}
	changed := pod.DeepCopy()
	changed.Status = *status
	_, err := b.client.CoreV1().Pods(pod.Namespace).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	return err
}
