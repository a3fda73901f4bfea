// Package clusters owns the life of a hosted control plane: who may have one,
// which states it passes through, and what is asked of it. It says what should
// run; package reconcile makes it so, and package watch says what is.
package clusters

import (
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Status is where a cluster is in its life.
//
//	provisioning ──▶ ready ◀──▶ error
//	      │            │          │
//	      ├────────────┼──────────┤
//	      │            ▼          │
//	      └───────▶ deleting ◀────┘
//	                │      ▲
//	                ▼      │
//	             deleted  error
//
// Deleting turns error when removal fails for good; deleting it again tries
// once more. Deleted is the end: the record stays for audit.
type Status string

const (
	Provisioning Status = "provisioning"
	Ready        Status = "ready"
	Error        Status = "error"
	Deleting     Status = "deleting"
	Deleted      Status = "deleted"
)

// Connection is whether the platform reaches the cluster's API.
type Connection string

const (
	ConnectionPending Connection = "pending"
	KubeconfigPending Connection = "kubeconfig_pending"
	Reachable         Connection = "reachable"
	Unreachable       Connection = "unreachable"
	ConnectionInError Connection = "error"
)

// Origin is where a cluster came from.
type Origin string

const (
	Hosted   Origin = "hosted"
	Imported Origin = "imported"
)

// OperationType is what was asked of a cluster.
type OperationType string

const (
	Create OperationType = "create"
	Update OperationType = "update"
	Delete OperationType = "delete"
)

// Progress is how far an operation or a job has come.
//
//	pending ──▶ running ──▶ succeeded
//	   ▲           │  └───▶ failed
//	   └───────────┘  (a job that is tried again)
type Progress string

const (
	Pending   Progress = store.JobPending
	Running   Progress = store.JobRunning
	Succeeded Progress = "succeeded"
	Failed    Progress = "failed"
)

// Cluster guards a stored cluster: its fields change only through methods that
// keep the life cycle, so a Cluster in hand is always a legal one.
type Cluster struct{ rec store.Cluster }

// Of guards a record that a store returned.
func Of(rec store.Cluster) Cluster { return Cluster{rec} }

// NewImported is a cluster that others run. It is ready by being registered;
// whether it is reachable, those who watch it will find out.
func NewImported(i id.Cluster, owner id.User, name, server string, now time.Time) Cluster {
	return Cluster{store.Cluster{
		ID: i, OwnerUserID: owner, Origin: string(Imported), Name: name, VclusterName: name,
		APIEndpoint: server, PublicAccessMode: string(provision.NodePort), Status: string(Ready), ConnectionStatus: string(ConnectionPending), KubeconfigAvailableAt: &now,
		Generation: 1, ObservedGeneration: 1, CreatedAt: now, UpdatedAt: now,
	}}
}

// Rename gives an imported cluster another name.
func (c *Cluster) Rename(name string, now time.Time) {
	c.rec.Name, c.rec.VclusterName, c.rec.UpdatedAt = name, name, now
}

// Tell records the version that an imported cluster says it has, and reports
// whether that is news.
func (c *Cluster) Tell(version string) bool {
	if version = text.Clip(version, maxVersion); c.rec.KubernetesVersion == version {
		return false
	}
	c.rec.KubernetesVersion = version
	return true
}

const maxVersion = 100

// Repoint records that an imported cluster is reached in another way from now
// on, of which nothing is known yet.
func (c *Cluster) Repoint(server string, now time.Time) {
	c.rec.APIEndpoint, c.rec.ConnectionStatus, c.rec.LastErrorMessage, c.rec.UpdatedAt = server, string(ConnectionPending), "", now
}

// ID identifies the cluster.
func (c Cluster) ID() id.Cluster { return c.rec.ID }

// Status is where the cluster is in its life.
func (c Cluster) Status() Status { return Status(c.rec.Status) }

// Connection is whether the platform reaches the cluster's API.
func (c Cluster) Connection() Connection { return Connection(c.rec.ConnectionStatus) }

// Record returns a copy for storing or display. Changing it changes nothing.
func (c Cluster) Record() store.Cluster {
	rec := c.rec
	rec.FormerHosts = slices.Clone(rec.FormerHosts)
	return rec
}

// Usable reports whether machines may join and the kubeconfig works.
func (c Cluster) Usable() bool { return c.Status() == Ready && c.Connection() == Reachable }

// Want is what the world should be brought to.
func (c Cluster) Want() provision.Want {
	return provision.Want{
		ID: c.rec.ID, Name: c.rec.VclusterName, KubernetesVersion: c.rec.KubernetesVersion,
		Existed: c.rec.KubeconfigAvailableAt != nil, Host: c.rec.ControlPlaneHost, FormerHosts: c.rec.FormerHosts,
		CPURequestMilli: c.rec.ControlPlaneCPURequestMilli, MemoryRequestMiB: c.rec.ControlPlaneMemoryRequestMiB,
		Public: c.rec.PublicAccessEnabled, PublicMode: provision.AccessMode(c.rec.PublicAccessMode),
	}
}

// Arrive records that the world has been brought to generation. It changes
// nothing on a cluster that is being deleted.
func (c *Cluster) Arrive(generation int64, seen provision.Observed, now time.Time) {
	if c.Status() == Deleting || c.Status() == Deleted {
		return
	}
	c.rec.ObservedGeneration = max(c.rec.ObservedGeneration, generation)
	c.rec.Status, c.rec.LastErrorMessage, c.rec.UpdatedAt = string(Ready), "", now
	c.rec.APIEndpoint = seen.Endpoint
	if c.rec.PublicAccessEnabled {
		c.rec.PublicAccessPort = seen.Port
	}
	if c.rec.KubeconfigAvailableAt == nil {
		c.rec.KubeconfigAvailableAt = &now
		c.rec.ConnectionStatus = string(KubeconfigPending)
	}
}

// maxReason bounds what is kept of a reason: it may come from a tenant.
const maxReason = 1000

// Fail records that the world could not be brought to what is wanted.
func (c *Cluster) Fail(reason string, now time.Time) {
	if c.Status() == Deleted {
		return
	}
	c.rec.Status, c.rec.LastErrorMessage, c.rec.UpdatedAt = string(Error), text.Clip(reason, maxReason), now
	if c.rec.KubeconfigAvailableAt == nil {
		c.rec.ConnectionStatus = string(ConnectionInError)
	}
}

// IsBehind reports whether the world has not been brought yet to what is wanted.
func (c Cluster) IsBehind() bool { return c.rec.ObservedGeneration != c.rec.Generation }

// Hold records why what is wanted has to wait. It reports whether that is news.
func (c *Cluster) Hold(reason string, now time.Time) bool {
	if reason = text.Clip(reason, maxReason); c.Status() == Deleted || c.rec.LastErrorMessage == reason {
		return false
	}
	c.rec.LastErrorMessage, c.rec.UpdatedAt = reason, now
	return true
}

// GoOn takes back what Hold recorded, unless something else has been since.
func (c *Cluster) GoOn(reason string, now time.Time) bool {
	if reason == "" || c.rec.LastErrorMessage != text.Clip(reason, maxReason) {
		return false
	}
	return c.Hold("", now)
}

// Vanish records that nothing of the cluster is left. Its name is free again.
func (c *Cluster) Vanish(now time.Time) {
	c.rec.Status, c.rec.LastErrorMessage, c.rec.UpdatedAt = string(Deleted), "", now
	c.rec.ConnectionStatus = string(Unreachable)
	c.rec.DeletedAt = &now
}

// observedEvery bounds how often a healthy cluster is written only to say so.
const observedEvery = 30 * time.Second

// Reach records that the API answered, and reports whether that is worth
// writing down.
func (c *Cluster) Reach(now time.Time) bool {
	if c.Status() == Deleting || c.Status() == Deleted {
		return false
	}
	fresh := c.rec.LastObservedAt != nil && now.Sub(*c.rec.LastObservedAt) < observedEvery && !now.Before(*c.rec.LastObservedAt)
	healed := c.Status() == Error && !c.IsBehind()
	if fresh && c.Connection() == Reachable && !healed {
		return false
	}
	c.rec.LastObservedAt = &now
	if c.Connection() != Reachable || healed {
		c.rec.ConnectionStatus, c.rec.UpdatedAt = string(Reachable), now
		if c.Status() == Ready || healed {
			c.rec.Status, c.rec.LastErrorMessage = string(Ready), ""
		}
	}
	return true
}

// Remark has a cluster that works tell something about itself, or, with no
// message, nothing any more; while it changes, what that waits for is worth more.
// It reports whether that is worth writing down.
func (c *Cluster) Remark(message string, now time.Time) bool {
	if message = text.Clip(message, maxReason); !c.Usable() || c.IsBehind() || c.rec.LastErrorMessage == message {
		return false
	}
	c.rec.LastErrorMessage, c.rec.UpdatedAt = message, now
	return true
}

// Lose records that the API does not answer and why. When the control plane
// itself has failed, the cluster is in error until it is reached again.
func (c *Cluster) Lose(reason string, planeFailed bool, now time.Time) bool {
	if c.Status() == Deleting || c.Status() == Deleted {
		return false
	}
	before := c.rec
	c.rec.ConnectionStatus = string(Unreachable)
	dies := planeFailed && c.Status() == Ready
	if dies || !c.IsBehind() || before.LastErrorMessage == "" { // else why a change waits, or has failed, is worth more
		c.rec.LastErrorMessage = text.Clip(reason, maxReason)
	}
	if dies {
		c.rec.Status = string(Error)
	}
	if before.ConnectionStatus == c.rec.ConnectionStatus && before.Status == c.rec.Status && before.LastErrorMessage == c.rec.LastErrorMessage {
		return false
	}
	c.rec.UpdatedAt = now
	return true
}
