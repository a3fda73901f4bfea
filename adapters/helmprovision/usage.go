package helmprovision

import (
	"context"
	"encoding/json"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metricsv1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// podMetrics is where the host cluster's metrics API tells of pods, if it has one.
const podMetrics = "/apis/metrics.k8s.io/v1beta1/pods"

// Usage implements provision.Meter: one list of the metrics of all control
// planes' pods, beside the pods themselves, which are watched anyway.
func (p *Provisioner) Usage(ctx context.Context) (map[id.Cluster]provision.Usage, error) {
	if err := errors.Join(ctx.Err(), p.alive()); err != nil {
		return nil, err
	}
	if err := p.window.await(ctx, patience); err != nil {
		return nil, err
	}
	used, err := p.host.usage(ctx)
	if err != nil {
		return nil, err
	}
	out := map[id.Cluster]provision.Usage{}
	for _, o := range p.window.kinds["namespaces"].GetStore().List() {
		n, ok := o.(*corev1.Namespace)
		if !ok {
			continue
		}
		cluster, err := id.Parse[id.ClusterKind](n.Labels[labelCluster])
		if err != nil {
			continue // somebody has changed the label
		}
		if u, ok := usageOf(p.window.scene(cluster).pods, used); ok {
			out[cluster] = u
		}
	}
	return out, nil
}

// usageOf adds up a control plane's pods. It reports false when there are none, or
// when one runs that has not been measured yet.
func usageOf(pods []*corev1.Pod, used map[string]corev1.ResourceList) (u provision.Usage, ok bool) {
	var cpu, memory resource.Quantity
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue // it is over; another one has taken its place
		}
		of, measured := used[pod.Namespace+"/"+pod.Name]
		if !measured && runs(pod) {
			return u, false
		}
		cpu.Add(of[corev1.ResourceCPU])
		memory.Add(of[corev1.ResourceMemory])
		u.PodsTotal++
		if isReady(pod) {
			u.PodsReady++
		}
	}
	u.CPUMilli, u.MemoryMiB = max(0, cpu.MilliValue()), max(0, (memory.Value()+1<<19)>>20)
	return u, u.PodsTotal > 0
}

func runs(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil {
			return true
		}
	}
	return false
}

// usage asks the metrics API what each pod of a control plane uses, by namespace
// and name.
func (h *host) usage(ctx context.Context) (map[string]corev1.ResourceList, error) {
	text, err := h.client.CoreV1().RESTClient().Get().AbsPath(podMetrics).Param("labelSelector", "app=vcluster").
		SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unmeasured(err)
	}
	var list metricsv1.PodMetricsList
	if err := json.Unmarshal(text, &list); err != nil || list.Kind != "PodMetricsList" {
		return nil, provision.Unmeasured("The host cluster's metrics API does not answer with a list of pods' metrics. Look after what serves metrics.k8s.io there.").Because(err)
	}
	out := make(map[string]corev1.ResourceList, len(list.Items))
	for _, item := range list.Items {
		sum := corev1.ResourceList{}
		for _, c := range item.Containers {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				q := sum[name]
				q.Add(c.Usage[name])
				sum[name] = q
			}
		}
		out[item.Namespace+"/"+item.Name] = sum
	}
	return out, nil
}

// unmeasured tells a host cluster that has no metrics API from one that does not
// let KubeBYON ask it, and from one that is away.
func unmeasured(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded): // the client's own
		return provision.Unmeasured("The host cluster did not answer in time what control planes use.").Because(err)
	case apierrors.IsNotFound(err):
		return provision.Unmeasured("The host cluster has no metrics API, so what control planes use is not measured. Install metrics-server on it.").Because(err)
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return provision.Unmeasured("What control planes use is not measured: KubeBYON lacks the right to list pods.metrics.k8s.io on the host cluster. Give its account this right.").Because(err)
	case apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err), apierrors.IsTooManyRequests(err):
		return provision.Unmeasured("The host cluster's metrics API does not answer at the moment. Look after its metrics-server.").Because(err)
	}
	return told(err, "measure control planes")
}
