// Package tenant is what the platform does inside one tenant cluster, with the
// administrator's kubeconfig that provisioning gave it.
//
// Every call obeys its context and fails with fault.Unavailable when the
// tenant's API server does not answer. Adapters are checked by
// [tenanttest.Run].
package tenant

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Connector opens tenants.
type Connector interface {
	// Connect prepares to talk to a cluster; it sends nothing yet. The same
	// kubeconfig may give the same Tenant again. A kubeconfig that cannot be
	// used fails with fault.Invalid, and the error holds none of its text.
	Connect(ctx context.Context, cluster id.Cluster, kubeconfig secret.Text) (Tenant, error)
}

// Tenant is one cluster.
type Tenant interface {
	Health
	Joining
	Nodes
	Objects
}

// Health tells whether the tenant answers.
type Health interface {
	// Probe asks the API server for /readyz and its version ("v1.36.3"). Not
	// ready fails with fault.Unavailable and the reason.
	Probe(ctx context.Context) (version string, err error)
	// Contents counts what is in the cluster, without reading it.
	Contents(ctx context.Context) (Contents, error)
	// Watch lists nodes and pending certificate requests of join tokens, hands
	// each to sink, then a Change with Synced, then every change as it
	// happens, until ctx ends (it returns ctx's error) or the tenant stops
	// answering (fault.Unavailable). Calls of sink do not overlap; an error
	// from sink ends the watch with it. A quiet connection that has died is
	// noticed within 15 seconds.
	Watch(ctx context.Context, sink func(Change) error) error
}

// Contents is how much there is in a cluster.
type Contents struct{ Nodes, Namespaces, Pods int }

// Change is one thing that Watch saw; exactly one field is set.
type Change struct {
	Node    *Node        // added or changed
	Gone    string       // the name of a deleted node
	Request *JoinRequest // a machine asks for its certificate
	Excess  *Excess      // there is more than is followed, or no longer
	Synced  bool         // the lists are complete: nodes not named so far do not exist
}

// Excess tells that a tenant has more of something than a watch follows.
type Excess struct {
	What string // "nodes"
	Most int    // that are followed; zero: all are, again
}

// Node is a machine as the tenant's API shows it.
type Node struct {
	Name                        string
	UID                         string
	Ready                       Condition
	ReadyMessage                string
	Unschedulable               bool
	InternalIP                  string
	PodCIDR                     string
	OSImage                     string
	KubeletVersion              string
	ContainerRuntimeVersion     string
	Labels                      map[string]string
	CPUAllocatableMilli         int64
	MemoryAllocatableBytes      int64
	EphemeralStorageAllocatable int64 // bytes
	CreatedAt                   time.Time
	ReadySince                  time.Time // when the Ready condition last changed; zero without one
}

// Condition is the state of a node's Ready condition.
type Condition string

const (
	NoCondition Condition = ""
	True        Condition = "True"
	False       Condition = "False"
	Unknown     Condition = "Unknown"
)

// JoinRequest is a CertificateSigningRequest made with a join token.
type JoinRequest struct {
	Name      string // of the CertificateSigningRequest
	UID       string // its; a request made anew under the same name has another
	Bootstrap string // the bootstrap token's id: six characters
	NodeName  string
	KeyHash   string // SHA-256 of the request's public key, hex: tells one machine from another
}

// Joining is what makes a machine a node.
type Joining interface {
	// PrepareJoin makes the objects that a join with the platform's tokens
	// needs beyond those that every kubeadm cluster has. It may be repeated.
	PrepareJoin(ctx context.Context) error
	// Endpoint returns what a machine must know to find and trust the cluster.
	Endpoint(ctx context.Context) (Endpoint, error)
	// PutBootstrapToken makes the bootstrap token usable until expiry, replacing
	// one with the same id. When it returns, the token authenticates and
	// cluster-info is signed with it.
	PutBootstrapToken(ctx context.Context, t BootstrapToken) error
	// DeleteBootstrapToken makes a bootstrap token useless. An absent one is fine.
	DeleteBootstrapToken(ctx context.Context, bootstrapID string) error
	// DecideJoin approves or denies the certificate request that was seen. One
	// that is gone or already decided is fine; one that has taken its name since
	// is another, and stays undecided.
	DecideJoin(ctx context.Context, seen JoinRequest, approve bool, reason string) error
}

// Endpoint is where a cluster is reached, and the authority it must show.
type Endpoint struct {
	Server            string // "host:port"
	CACert            []byte // PEM
	CACertHash        string // "sha256:…" of the public key, as kubeadm pins it
	KubernetesVersion string // "v1.36.3"
}

// BootstrapToken lets one machine ask for a certificate.
type BootstrapToken struct {
	ID          string      // six characters of a–z and 0–9
	Secret      secret.Text // sixteen of them
	Expires     time.Time
	Description string
}

// Nodes is what the platform does to nodes. Every call fails with
// fault.NotFound for a node that does not exist.
type Nodes interface {
	// Node reads a node as it is now.
	Node(ctx context.Context, node string) (Node, error)
	SetUnschedulable(ctx context.Context, node string, unschedulable bool) (Node, error)
	// Drain cordons the node and evicts its pods through the eviction API,
	// honouring PodDisruptionBudgets; DaemonSet and mirror pods are skipped.
	// Pods without a controller need Force, pods with emptyDir volumes need
	// DeleteEmptyDir: else it fails with fault.Conflict, code drain_blocked,
	// and nothing has changed. When Timeout passes,
	// it fails with fault.Timeout, code drain_timeout, whose message names what is left; the
	// report then says what has gone. With DryRun nothing changes.
	Drain(ctx context.Context, node string, o DrainOptions) (DrainReport, error)
	// DeleteNode removes the Node object.
	DeleteNode(ctx context.Context, node string) error
}

// DrainOptions say how to drain.
type DrainOptions struct {
	GracePeriod    *time.Duration // nil: each pod's own
	Timeout        time.Duration  // for the whole drain; positive
	DeleteEmptyDir bool
	Force          bool
	DryRun         bool
}

// DrainReport says what a drain did.
type DrainReport struct {
	Node    Node
	Evicted []Pod     // gone from the node (or that would go, with DryRun), ordered by namespace and name
	Skipped []SkipPod // left alone on purpose
	Left    []Pod     // still there when the time ran out
}

// Pod names a pod.
type Pod struct{ Namespace, Name string }

// SkipPod is a pod that a drain leaves alone, and why.
type SkipPod struct {
	Pod
	Reason string // "DaemonSet", "mirror pod", "finished"
}
