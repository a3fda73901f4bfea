// Package nodes owns what is known of the machines in each cluster: the
// snapshot, the history of their health, and what people do to them. The
// tenant's API is the truth; the snapshot follows it.
package nodes

import (
	"crypto/sha256"
	"fmt"
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
	// maxLabelText is the sum of all labels of a node: a real one's take some
	// hundred bytes, and every list of nodes shows them.
	maxLabelText = 8 << 10
	maxAmount    = 1 << 48 // so that the sum over all nodes is still a number
)

// IsName reports whether Kubernetes would take text as the name of a node.
func IsName(text string) bool { return len(text) <= maxText && nameRE.MatchString(text) }

var nameRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`) //nolint:gochecknoglobals // a constant

// clipped keeps of a node what there is room for.
func clipped(n tenant.Node) tenant.Node {
	for _, s := range []*string{&n.UID, &n.InternalIP, &n.PodCIDR, &n.OSImage, &n.KubeletVersion, &n.ContainerRuntimeVersion} {
		*s = text.Clip(*s, maxText)
	}
	n.ReadyMessage = text.Clip(n.ReadyMessage, maxMessage)
	n.Labels = clipLabels(n.Labels)
	for _, a := range []*int64{&n.CPUAllocatableMilli, &n.MemoryAllocatableBytes, &n.EphemeralStorageAllocatable} {
		*a = min(max(*a, 0), maxAmount)
	}
	return n
}

// observe returns rec as the tenant shows it now. What is seen has been clipped.
func observe(rec store.Node, seen tenant.Node, now time.Time) store.Node {
	status := statusOf(seen.Ready)
	rec.Name, rec.UID, rec.Unschedulable = seen.Name, seen.UID, seen.Unschedulable
	rec.InternalIP, rec.PodCIDR = seen.InternalIP, seen.PodCIDR
	rec.OSImage, rec.KubeletVersion, rec.ContainerRuntimeVersion = seen.OSImage, seen.KubeletVersion, seen.ContainerRuntimeVersion
	rec.Labels = seen.Labels
	rec.CPUAllocatableMilli, rec.MemoryAllocatableBytes = seen.CPUAllocatableMilli, seen.MemoryAllocatableBytes
	rec.EphemeralStorageAllocatable = seen.EphemeralStorageAllocatable
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

// clipLabels leaves out labels that Kubernetes would not take, and those over
// the limit: always the same ones, or every look would be news.
func clipLabels(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	kept, size := make(map[string]string, min(len(labels), maxLabels)), 0
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		v := labels[k]
		if len(kept) < maxLabels && size+len(k)+len(v) <= maxLabelText && text.Clip(k, maxLabel) == k && text.Clip(v, maxLabel) == v {
			kept[k] = v
			size += len(k) + len(v)
		}
	}
	return kept
}

// markOf is alike for two snapshots that show the same machine alike, times
// aside.
func markOf(n store.Node) (m mark) {
	h := sha256.New()
	write := func(s string) {
		_, _ = fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	for _, s := range []string{n.UID, n.Status, n.InternalIP, n.PodCIDR, n.OSImage, n.KubeletVersion, n.ContainerRuntimeVersion} {
		write(s)
	}
	_, _ = fmt.Fprint(h, n.Unschedulable, " ", n.CPUAllocatableMilli, " ", n.MemoryAllocatableBytes, " ", n.EphemeralStorageAllocatable, " ")
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		write(k)
		write(n.Labels[k])
	}
	h.Sum(m[:0])
	return m
}
