// Package nodes owns what is known of the machines in each cluster: the
// snapshot, the history of their health, and what people do to them. The
// tenant's API is the truth; the snapshot follows it.
package nodes

import (
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Status is a machine's health.
//
//	          ┌────▶ ready ◀────┐
//	pending ──┤        ▲        ├──▶ unknown
//	          └────▶ not_ready ◀┘
//
// Any of them may turn into any other: the tenant decides.
type Status string

const (
	Pending  Status = "pending"   // has not said anything yet
	Ready    Status = "ready"     // takes pods
	NotReady Status = "not_ready" // says that it cannot
	Unknown  Status = "unknown"   // the machine or the tenant's API is silent
)

// EventType is a kind of entry in the health history.
type EventType string

const (
	EventJoined   EventType = "joined"
	EventReady    EventType = "ready"
	EventNotReady EventType = "not_ready"
	EventPending  EventType = "pending"
	EventOffline  EventType = "offline"
	EventDeleted  EventType = "deleted"
)

// Source is where a node came from.
const Source = "byon"

func statusOf(c tenant.Condition) Status {
	switch c {
	case tenant.True:
		return Ready
	case tenant.False:
		return NotReady
	case tenant.Unknown:
		return Unknown
	case tenant.NoCondition:
	}
	return Pending
}

func eventFor(s Status) EventType {
	switch s {
	case Ready:
		return EventReady
	case NotReady:
		return EventNotReady
	case Unknown:
		return EventOffline
	case Pending:
	}
	return EventPending
}

// What a tenant says is not to be trusted with size or content: its owner can
// make Node objects that no machine stands behind.
const (
	maxNodes   = 5000 // in a cluster, as many as Kubernetes supports
	maxText    = 253
	maxLabels  = 256
	maxLabel   = 253 + 1 + 63 // a prefix, a slash and a name
	maxMessage = 500
	maxAmount  = 1 << 48 // so that the sum over all nodes is still a number
)

// IsName reports whether Kubernetes would take text as the name of a node.
func IsName(text string) bool { return len(text) <= maxText && nameRE.MatchString(text) }

var nameRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`) //nolint:gochecknoglobals // a constant

// observe returns rec as the tenant shows it now.
func observe(rec store.Node, seen tenant.Node, now time.Time) store.Node {
	status := statusOf(seen.Ready)
	rec.Name, rec.UID, rec.Unschedulable = seen.Name, text.Clip(seen.UID, maxText), seen.Unschedulable
	rec.InternalIP, rec.PodCIDR = text.Clip(seen.InternalIP, maxText), text.Clip(seen.PodCIDR, maxText)
	rec.OSImage, rec.KubeletVersion = text.Clip(seen.OSImage, maxText), text.Clip(seen.KubeletVersion, maxText)
	rec.ContainerRuntimeVersion = text.Clip(seen.ContainerRuntimeVersion, maxText)
	rec.Labels = clipLabels(seen.Labels)
	rec.CPUAllocatableMilli, rec.MemoryAllocatableBytes = clipAmount(seen.CPUAllocatableMilli), clipAmount(seen.MemoryAllocatableBytes)
	rec.EphemeralStorageAllocatable = clipAmount(seen.EphemeralStorageAllocatable)
	rec.Source = Source
	if status != Unknown {
		rec.LastSeenAt = &now
	}
	if status == Ready && Status(rec.Status) != Ready {
		rec.ReadyAt = &now
	}
	if status != Unknown {
		rec.OfflineAt = nil
	}
	if status == Unknown && Status(rec.Status) != Unknown {
		rec.OfflineAt = &now
	}
	rec.Status, rec.UpdatedAt = string(status), now
	return rec
}

func clipAmount(n int64) int64 { return min(max(n, 0), maxAmount) }

// clipLabels leaves out labels that Kubernetes would not take, and those over
// the limit: always the same ones, or every look would be news.
func clipLabels(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	kept := make(map[string]string, min(len(labels), maxLabels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		v := labels[k]
		if len(kept) < maxLabels && text.Clip(k, maxLabel) == k && text.Clip(v, maxLabel) == v {
			kept[k] = v
		}
	}
	return kept
}

// same reports whether two snapshots show the same machine alike, times aside.
func same(a, b store.Node) bool {
	return a.UID == b.UID && a.Status == b.Status && a.Unschedulable == b.Unschedulable && a.InternalIP == b.InternalIP &&
		a.PodCIDR == b.PodCIDR && a.OSImage == b.OSImage && a.KubeletVersion == b.KubeletVersion &&
		a.ContainerRuntimeVersion == b.ContainerRuntimeVersion && a.CPUAllocatableMilli == b.CPUAllocatableMilli &&
		a.MemoryAllocatableBytes == b.MemoryAllocatableBytes && a.EphemeralStorageAllocatable == b.EphemeralStorageAllocatable &&
		maps.Equal(a.Labels, b.Labels)
}
