package kubetenant

import (
	"maps"
	"reflect"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubebyon/kubebyon/ports/tenant"
)

// nodeOf keeps of a Node what the platform shows.
func nodeOf(n *corev1.Node) tenant.Node {
	out := tenant.Node{
		Name:                        n.Name,
		UID:                         string(n.UID),
		Unschedulable:               n.Spec.Unschedulable,
		PodCIDR:                     n.Spec.PodCIDR,
		OSImage:                     n.Status.NodeInfo.OSImage,
		KubeletVersion:              n.Status.NodeInfo.KubeletVersion,
		ContainerRuntimeVersion:     n.Status.NodeInfo.ContainerRuntimeVersion,
		Labels:                      maps.Clone(n.Labels),
		CPUAllocatableMilli:         n.Status.Allocatable.Cpu().MilliValue(),
		MemoryAllocatableBytes:      n.Status.Allocatable.Memory().Value(),
		EphemeralStorageAllocatable: n.Status.Allocatable.StorageEphemeral().Value(),
		CreatedAt:                   n.CreationTimestamp.UTC(),
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out.InternalIP = a.Address
			break // the first is the primary one of a dual-stack node
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Ready, out.ReadyMessage, out.ReadySince = tenant.Condition(c.Status), c.Message, c.LastTransitionTime.UTC()
		}
	}
	return out
}

// same compares all that a Node shows. Times come from the API in UTC, without
// a monotonic reading, so equal times are deeply equal.
func same(a, b tenant.Node) bool { return reflect.DeepEqual(a, b) }
