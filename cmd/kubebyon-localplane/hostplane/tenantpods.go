package hostplane

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/tenants"
)

// licenceMessage has the words by which people find out what the real image wants.
const licenceMessage = "private nodes: this is a vCluster pro feature that is not available in the open source vcluster or disabled in your license"

const crashMessage = "the control plane was told to crash (" + behaveAnnotation + ")"

// runTenant sees to the plane of a tenant's pod, and says what a kubelet would see.
func (b *box) runTenant(ctx context.Context, pod *corev1.Pod, l *life) (sight, error) {
	how := b.behaviour(pod)
	if now, fails := b.failsToStart(pod, l, how); fails {
		return now, b.dropTenant(pod)
	}
	if l.want == nil && l.badImage == "" {
		missing, err := b.readConfig(ctx, pod, l)
		if err != nil {
			return sight{}, err
		}
		if missing != "" {
			b.events.Event(pod, corev1.EventTypeWarning, "FailedMount", missing)
			return sight{waiting: &waiting{reason: "ContainerCreating", inInit: true}, again: mountPatience}, nil
		}
	}
	if l.badImage != "" {
		return b.noImage(l, l.badImage, true), nil
	}
	want := *l.want
	want.Delay = how.delay
	if err := b.tenants.Hold(ctx, tenantOf(pod), string(pod.UID), want); err != nil {
		return sight{}, err
	}
	return seen(b.tenants.State(tenantOf(pod))), nil
}

// seen is a plane as its pod's kubelet sees it.
func seen(s tenants.State) sight {
	switch s.Phase {
	case tenants.Ready:
		return sight{started: true, ready: true}
	case tenants.Failed:
		return sight{ended: &ended{exitCode: 1, message: s.Reason, at: s.Since, times: s.Restarts, pause: tenants.Backoff(s.Restarts)}}
	case tenants.Stopped, tenants.Starting:
		return sight{}
	}
	return sight{}
}

// failsToStart is the misbehaviour that needs no plane.
func (b *box) failsToStart(pod *corev1.Pod, l *life, how behaviour) (sight, bool) {
	switch how.word {
	case imagePullError:
		return b.noImage(l, pod.Spec.Containers[0].Image, false), true
	case noLicence:
		return b.crashAgain(l, licenceMessage), true
	case crash:
		if how.times > 0 && l.ends >= how.times && !b.Now().Before(l.endedAt.Add(tenants.Backoff(l.ends))) {
			return sight{}, false
		}
		return b.crashAgain(l, crashMessage), true
	case wellBehaved, slow, never, noSecret, badSecret:
	}
	return sight{}, false
}

// noImage is the second time what the kubelet says after its first attempt.
func (b *box) noImage(l *life, image string, inInit bool) sight {
	reason, message := "ErrImagePull", fmt.Sprintf("failed to pull and unpack image %q: not found", image)
	again := 2 * time.Second
	if l.pullTries > 0 {
		reason, message, again = "ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", image, message), 0
	}
	l.pullTries++
	return sight{waiting: &waiting{reason: reason, message: message, inInit: inInit}, again: again}
}

// crashAgain counts an end each time that the pause after the last one is over.
func (b *box) crashAgain(l *life, message string) sight {
	due := l.endedAt.Add(tenants.Backoff(l.ends))
	if l.ends == 0 || !b.Now().Before(due) {
		l.ends, l.endedAt = l.ends+1, b.Now()
		due = l.endedAt.Add(tenants.Backoff(l.ends))
	}
	return sight{
		ended: &ended{exitCode: 1, message: message, at: l.endedAt, times: l.ends, pause: tenants.Backoff(l.ends)},
		again: due.Sub(b.Now()),
	}
}

// readConfig reads what the chart wrote, once in a pod's life: what changes later is for the
// next pod. It says what is missing if the pod cannot start.
func (b *box) readConfig(ctx context.Context, pod *corev1.Pod, l *life) (missing string, err error) {
	name := tenantOf(pod)
	secretName := "vc-config-" + name.Release
	secret, err := b.client.CoreV1().Secrets(pod.Namespace).Get(ctx, secretName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Sprintf("MountVolume.SetUp failed for volume \"vcluster-config\" : secret %q not found", secretName), nil
	}
	if err != nil {
		return "", err
	}
	values, err := parseValues(secret.Data[configKey])
	if err != nil {
		return fmt.Sprintf("The Secret %s cannot be read: %v", secretName, err), nil
	}
	version, err := values.version()
	if err != nil {
		l.badImage = initImage(pod)
		b.events.Event(pod, corev1.EventTypeWarning, "Failed", refusal.Sentence(err))
		return "", nil
	}
	services, err := b.tenantServices(ctx, name)
	if err != nil {
		return "", err
	}
	san, public, err := b.reachedAs(ctx, services, name, values)
	if err != nil {
		return "", err
	}
	b.mu.Lock() // whoever writes the kubeconfig looks at it too
	defer b.mu.Unlock()
	l.want = &tenants.Want{
		Name: name.Release, Version: version, Public: cmp.Or(values.public(), public), SANs: san,
		PodCIDR: values.podCIDR(), ServiceCIDR: values.serviceCIDR(),
		Light: b.LightTenants || b.annotated(pod, lightAnnotation) == "true", NoFsync: b.NoFsync,
	}
	l.server, l.context, l.insecure = values.server(), values.ExportKubeConfig.Context, values.ExportKubeConfig.Insecure
	return "", nil
}

func initImage(pod *corev1.Pod) string {
	if len(pod.Spec.InitContainers) > 0 {
		return pod.Spec.InitContainers[0].Image
	}
	return pod.Spec.Containers[0].Image
}

// annotated is the pod's annotation, or else its namespace's.
func (b *box) annotated(pod *corev1.Pod, key string) string {
	if value, ok := pod.Annotations[key]; ok {
		return value
	}
	if namespace, err := b.namespaces.Get(pod.Namespace); err == nil {
		return namespace.Annotations[key]
	}
	return ""
}

// tenantServices asks the API itself: a Service made just before the pod may not have been told
// of yet, and its address belongs into the certificate.
func (b *box) tenantServices(ctx context.Context, name tenants.Name) ([]*corev1.Service, error) {
	all, err := b.client.CoreV1().Services(name.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var out []*corev1.Service
	for i := range all.Items {
		s := &all.Items[i]
		if s.Spec.Selector[appLabel] == tenantApp && s.Spec.Selector[releaseLabel] == name.Release {
			out = append(out, s)
		}
	}
	return out, nil
}

// reachedAs lists the names and addresses that the certificate is for, and the host:port that
// clients are told when the values do not say one.
func (b *box) reachedAs(ctx context.Context, services []*corev1.Service, name tenants.Name, v chartValues) (san []string, public string, err error) {
	inCluster := name.Release + "." + name.Namespace
	san = append(v.names(), b.nodeAddress(), name.Release, inCluster, inCluster+".svc", inCluster+".svc.cluster.local")
	public = inCluster + ".svc:443"
	for _, s := range services {
		if s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone {
			san = append(san, s.Spec.ClusterIP)
		}
		switch s.Spec.Type {
		case corev1.ServiceTypeLoadBalancer:
			address, err := b.loadBalancer(ctx, s)
			if err != nil {
				return nil, "", err
			}
			san, public = append(san, address), join(address, s.Spec.Ports[0].Port)
		case corev1.ServiceTypeNodePort:
			public = join(b.nodeAddress(), s.Spec.Ports[0].NodePort)
		case corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName:
		}
	}
	return valid(san), public, nil
}

// valid leaves out what a certificate cannot be for.
func valid(names []string) []string {
	var out []string
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" {
			out = append(out, n)
		}
	}
	return out
}

// dealTenant tells a tenant's pods what has become of its plane, and removes its data once
// nobody has a claim to it.
func (b *box) dealTenant(t thing) error {
	name := tenants.Name{Namespace: t.namespace, Release: t.name}
	selector := labels.SelectorFromSet(labels.Set{releaseLabel: t.name})
	pods, err := b.pods.Pods(t.namespace).List(selector)
	if err != nil {
		return err
	}
	alive := map[string]bool{}
	for _, pod := range pods {
		if isTenant(pod) {
			alive[string(pod.UID)] = true
			b.add(aPod, pod)
		}
	}
	for _, holder := range b.tenants.Holders(name) {
		if !alive[holder] { // it was deleted by force
			b.tenants.LetGo(name, holder)
		}
	}
	if state := b.tenants.State(name); state.Phase == tenants.Ready {
		b.meter.of(state.PID) // so that the first who asks has an answer
		b.queue.AddAfter(thing{aKubeconfig, t.namespace, t.name}, b.SecretDelay)
	}
	if len(alive) > 0 {
		return nil
	}
	claims, err := b.claims.PersistentVolumeClaims(t.namespace).List(selector)
	if err != nil || len(claims) > 0 {
		return err
	}
	return b.tenants.Forget(name)
}
