// Package nodes owns what is known of the machines in each cluster: the
// snapshot, the history of their health, and what people do to them. The
// tenant's API is the truth; the snapshot follows it.
package nodes

import (
	"maps"
	"time"

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

// observe returns rec as the tenant shows it now.
func observe(rec store.Node, seen tenant.Node, now time.Time) store.Node {
	status := statusOf(seen.Ready)
	rec.Name, rec.UID, rec.Unschedulable = seen.Name, seen.UID, seen.Unschedulable
	rec.InternalIP, rec.PodCIDR, rec.OSImage = seen.InternalIP, seen.PodCIDR, seen.OSImage
	rec.KubeletVersion, rec.ContainerRuntimeVersion = seen.KubeletVersion, seen.ContainerRuntimeVersion
	rec.Labels = maps.Clone(seen.Labels)
	rec.CPUAllocatableMilli, rec.MemoryAllocatableBytes = seen.CPUAllocatableMilli, seen.MemoryAllocatableBytes
	rec.EphemeralStorageAllocatable = seen.EphemeralStorageAllocatable
	rec.Source = Source
	if status != Unknown {
		rec.LastSeenAt = &now
	}
	if status == Ready && Status(rec.Status) != Ready {
		rec.ReadyAt, rec.OfflineAt = &now, nil
	}
	if status == Unknown && Status(rec.Status) != Unknown {
		rec.OfflineAt = &now
	}
	rec.Status, rec.UpdatedAt = string(status), now
	return rec
}

// same reports whether two snapshots show the same machine alike, times aside.
func same(a, b store.Node) bool {
	return a.UID == b.UID && a.Status == b.Status && a.Unschedulable == b.Unschedulable && a.InternalIP == b.InternalIP &&
		a.PodCIDR == b.PodCIDR && a.OSImage == b.OSImage && a.KubeletVersion == b.KubeletVersion &&
		a.ContainerRuntimeVersion == b.ContainerRuntimeVersion && a.CPUAllocatableMilli == b.CPUAllocatableMilli &&
		a.MemoryAllocatableBytes == b.MemoryAllocatableBytes && a.EphemeralStorageAllocatable == b.EphemeralStorageAllocatable &&
		maps.Equal(a.Labels, b.Labels)
}
