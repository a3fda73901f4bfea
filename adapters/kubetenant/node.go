package kubetenant

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// What is kept of a Node: its texts come from whoever owns the tenant.
const (
	maxText      = 253
	maxMessage   = 500
	maxLabels    = 256
	maxLabel     = 253 + 1 + 63 // a prefix, a slash and a name
	maxLabelText = 8 << 10      // of all labels together
)

// nodeOf keeps of a Node what the platform shows.
func nodeOf(n *corev1.Node) tenant.Node {
	out := tenant.Node{
		Name:                        text.Clip(n.Name, maxText),
		UID:                         text.Clip(string(n.UID), maxText),
		Unschedulable:               n.Spec.Unschedulable,
		PodCIDR:                     text.Clip(n.Spec.PodCIDR, maxText),
		OSImage:                     text.Clip(n.Status.NodeInfo.OSImage, maxText),
		KubeletVersion:              text.Clip(n.Status.NodeInfo.KubeletVersion, maxText),
		ContainerRuntimeVersion:     text.Clip(n.Status.NodeInfo.ContainerRuntimeVersion, maxText),
		Labels:                      fewLabels(n.Labels),
		CPUAllocatableMilli:         n.Status.Allocatable.Cpu().MilliValue(),
		MemoryAllocatableBytes:      n.Status.Allocatable.Memory().Value(),
		EphemeralStorageAllocatable: n.Status.Allocatable.StorageEphemeral().Value(),
		CreatedAt:                   n.CreationTimestamp.UTC(),
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out.InternalIP = text.Clip(a.Address, maxText)
			break // the first is the primary one of a dual-stack node
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			out.Ready, out.ReadyMessage, out.ReadySince = conditionOf(c.Status), text.Clip(c.Message, maxMessage), c.LastTransitionTime.UTC()
		}
	}
	return out
}

func conditionOf(s corev1.ConditionStatus) tenant.Condition {
	switch c := tenant.Condition(s); c {
	case tenant.True, tenant.False, tenant.Unknown:
		return c
	case tenant.NoCondition:
	}
	return tenant.NoCondition
}

// fewLabels keeps the first labels that there is room for: the same at every
// look.
func fewLabels(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	kept, size := make(map[string]string, min(len(labels), maxLabels)), 0
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		v := labels[k]
		if len(kept) == maxLabels || size+len(k)+len(v) > maxLabelText || len(k) > maxLabel || len(v) > maxLabel {
			continue
		}
		kept[k] = v
		size += len(k) + len(v)
	}
	return kept
}

// digest is enough of a Node to tell another one from it.
type digest [sha256.Size]byte

// digestOf covers all that a Node shows; maps are printed in order.
func digestOf(n tenant.Node) digest { return sha256.Sum256(fmt.Appendf(nil, "%#v", n)) }
