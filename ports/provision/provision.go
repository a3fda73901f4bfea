// Package provision turns a wanted control plane into a running one.
//
// Every method may be called again with the same arguments, at any time and
// from two processes at once: callers retry, and never remember what they did.
// Adapters are checked by [provisiontest.Run].
package provision

import (
	"context"
	"errors"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// ErrAway is the cause of an error that says nothing about the one cluster: what
// the backend stands on cannot be reached at the moment, and people need do nothing
// about it but bring it back: a connection fails, a time is over, or it asks to come
// again later. The call may be repeated for as long as that lasts. What answers and
// refuses, or fails, is not away.
var ErrAway = errors.New("the backend cannot be reached")

// Provisioner runs control planes somewhere.
type Provisioner interface {
	// Apply makes the world move toward want and returns without waiting for
	// it to arrive; from then on Observe shows nothing of an earlier want. It
	// fails with fault.Invalid for a want that can never arrive, and then changes
	// nothing: also for one that Existed and is not there, which would come back
	// empty. While the cluster is being removed it fails with fault.Unavailable.
	// Apply after a failure tries again.
	Apply(ctx context.Context, want Want) error
	// Observe reports the world as it is, without blocking on the tenant. An
	// unknown cluster is Absent, not an error.
	Observe(ctx context.Context, cluster id.Cluster) (Observed, error)
	// Await blocks until the cluster's observation differs from seen, and
	// returns the new one; it returns ctx's error when ctx ends first. It may
	// return early with an unchanged observation.
	Await(ctx context.Context, cluster id.Cluster, seen Observed) (Observed, error)
	// Destroy removes the control plane with all its data and returns when
	// nothing is left, or with an error that says what blocks. Destroying an
	// absent cluster succeeds. What the provisioner did not make it leaves alone.
	Destroy(ctx context.Context, cluster id.Cluster) error
	// Kubeconfig returns an administrator's kubeconfig whose server is the
	// published endpoint. It fails with fault.Unavailable until there is one,
	// and with fault.NotFound for an unknown cluster.
	Kubeconfig(ctx context.Context, cluster id.Cluster) (secret.Text, error)
}

// Insider is what a Provisioner may be besides: it reaches its control planes by
// a way of its own, which is there whatever address their users chose.
type Insider interface {
	// Inside returns a kubeconfig for the platform alone. It fails as
	// [Provisioner.Kubeconfig] does, but needs no published endpoint, and never
	// leads to one. Without a way of its own, and to a control plane that is not the
	// one that was ready first, it fails with fault.Unavailable.
	Inside(ctx context.Context, cluster id.Cluster) (secret.Text, error)
}

// Meter is what a Provisioner may be besides: it measures what its control
// planes use.
type Meter interface {
	// Usage measures all control planes of the backend at once, by as many
	// questions as there are kinds of things to ask for, not control planes. Each
	// has an entry while anything of it is there that could use something; one that
	// runs and has not been measured yet is left out rather than said to use
	// nothing. Control planes of somebody else may be among them.
	//
	// A backend that cannot measure fails with a fault whose sentence tells people
	// why, such as [Unmeasured].
	Usage(ctx context.Context) (map[id.Cluster]Usage, error)
}

// Usage is what a control plane uses at a moment.
type Usage struct {
	CPUMilli  int64 // thousandths of a processor
	MemoryMiB int64
	PodsReady int // its processes, where the backend has no pods
	PodsTotal int
}

// NoMeter is the reason that there is where no Meter is.
const NoMeter = "This backend does not measure control planes."

// Unmeasured is what a Meter fails with that cannot measure, for a reason that
// is a plain sentence.
func Unmeasured(reason string, args ...any) *fault.Error {
	return fault.Unavailable.New("control_planes_not_measured", reason, args...)
}

// Catalog says what a backend can run.
type Catalog interface {
	// Versions returns the Kubernetes versions on offer, newest first, never
	// none. It does not block.
	Versions() []Version
}

// Version is a Kubernetes version on offer.
type Version struct {
	Name     string // "v1.36.3"
	Emulated bool   // a newer release that serves this minor's API
}

// AccessMode is how a control plane is reached from outside.
type AccessMode string

const (
	NodePort     AccessMode = "nodeport"
	LoadBalancer AccessMode = "loadbalancer"
	Ingress      AccessMode = "ingress"
)

// Want is a control plane as asked for.
type Want struct {
	ID                id.Cluster
	Name              string // the release and namespace: DNS-1123 label, at most 40 characters
	KubernetesVersion string
	Host              string   // name or address that clients use; empty: the backend's own
	Existed           bool     // it has been ready before: one that is not there is lost, not new
	FormerHosts       []string // earlier Hosts, oldest first, that joined nodes may still use
	CPURequestMilli   int64
	MemoryRequestMiB  int64
	Public            bool
	PublicMode        AccessMode // only when Public
}

// Phase is how far the world has come.
type Phase string

const (
	Absent   Phase = "absent"
	Pending  Phase = "pending"  // on its way
	Ready    Phase = "ready"    // its API server answers and its kubeconfig is there
	Failed   Phase = "failed"   // will not arrive by itself
	Removing Phase = "removing" // on its way out
)

// Stage is where a Pending cluster is. The texts are shown to people.
type Stage string

const (
	Queued              Stage = "queued"
	InstallingChart     Stage = "installing_chart"
	StartingPlane       Stage = "starting_control_plane"
	WaitingControlPlane Stage = "waiting_control_plane"
	ExportingKubeconfig Stage = "exporting_kubeconfig"
	WaitingAddress      Stage = "waiting_address" // it runs, and does not answer where it is published yet
	ConfiguringJoin     Stage = "configuring_join"
	Deleting            Stage = "deleting"
	Done                Stage = "done"
)

// Observed is a control plane as found. It is comparable.
//
// Waiting is told to people when a control plane takes long, or does not come in
// time. It is in plain sentences on one line, holds no secrets, and is the same as
// long as what it tells of is: no durations and no counters, or each look would be
// news to Await. It need not be anything wrong: who is on the way to Ready waits
// for one thing after the other.
type Observed struct {
	Phase       Phase
	Stage       Stage  // when Pending
	Reason      string // a plain sentence for people, when Failed or Removing
	Waiting     string // what it waits for, when Pending and that is known
	Endpoint    string // "https://host:port", when Ready
	Port        int    // the published port, when Ready
	Incarnation string // changes whenever the process or release behind it was replaced
}
