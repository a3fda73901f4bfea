package store

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
)

// Token is a one-time join token. Its value is not kept, only its hash.
type Token struct {
	ID                  id.Token
	ClusterID           id.Cluster
	ValueHash           []byte // unique
	DisplayPrefix       string
	BootstrapID         string // public half of the bootstrap token; unique in its cluster
	BootstrapSecretName string
	Status              string
	ClaimedNodeName     string // the one machine whose certificate was approved
	ClaimedKeyHash      string
	SecretInTenant      bool // a bootstrap secret may exist and must be removed once the token is over
	CreatedByUserID     id.User
	UsedByNodeID        id.Node
	ExpiresAt           time.Time
	CreatedAt           time.Time
	UsedAt              *time.Time
	RevokedAt           *time.Time
	RevokedByUserID     id.User
	Version             int64 // set by the store, one higher on every Update
}

// Tokens stores join tokens. A Scope sees the tokens of clusters that it sees.
type Tokens interface {
	Insert(ctx context.Context, t Token) error
	// Get fails with fault.NotFound, also when the cluster is deleted.
	Get(ctx context.Context, s Scope, t id.Token) (Token, error)
	// ByValueHash fails with fault.NotFound.
	ByValueHash(ctx context.Context, hash []byte) (Token, error)
	// ByBootstrapID finds a cluster's token by its public half; fault.NotFound.
	ByBootstrapID(ctx context.Context, c id.Cluster, bootstrapID string) (Token, error)
	// ByClaim finds the newest token of a cluster whose ClaimedNodeName is node; fault.NotFound.
	ByClaim(ctx context.Context, c id.Cluster, node string) (Token, error)
	// Update replaces the row whose Version is t.Version and raises t.Version;
	// fault.Conflict, code stale_version, otherwise.
	Update(ctx context.Context, t *Token) error
	// CountActive counts a cluster's active tokens that expire after now, up to limit.
	CountActive(ctx context.Context, c id.Cluster, now time.Time, limit int) (int, error)
	// Leftover returns up to limit tokens of a cluster with SecretInTenant that
	// are not active, or that expired before now.
	Leftover(ctx context.Context, c id.Cluster, now time.Time, limit int) ([]Token, error)
}

// Node is a machine as last seen.
type Node struct {
	ID                          id.Node
	ClusterID                   id.Cluster
	Name                        string // unique in its cluster
	UID                         string // the Node object's
	Status                      string
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
	Source                      string
	LastSeenAt                  *time.Time
	ReadyAt                     *time.Time
	OfflineAt                   *time.Time
	CreatedAt                   time.Time
	UpdatedAt                   time.Time
}

// NodeFilter narrows a list. Zero fields do not.
type NodeFilter struct {
	ClusterID id.Cluster
	Status    string
	Search    string // part of the name or the internal address, whatever the case; %, _ and \ mean themselves
}

// NodeTotals sums a scope's nodes.
type NodeTotals struct {
	ByStatus               map[string]int
	CPUAllocatableMilli    int64
	MemoryAllocatableBytes int64
}

// Nodes stores node snapshots. A Scope sees the nodes of live clusters that it sees.
type Nodes interface {
	// Get fails with fault.NotFound.
	Get(ctx context.Context, s Scope, n id.Node) (Node, error)
	// ByName fails with fault.NotFound.
	ByName(ctx context.Context, c id.Cluster, name string) (Node, error)
	// ByNames returns those of the named nodes that a cluster has, by name.
	ByNames(ctx context.Context, c id.Cluster, names []string) ([]Node, error)
	// OfCluster returns all nodes of a cluster, by name.
	OfCluster(ctx context.Context, c id.Cluster) ([]Node, error)
	// Insert fails with fault.Conflict if the cluster has a node of that name.
	Insert(ctx context.Context, n Node) error
	// Update replaces the row with n.ID; fault.NotFound.
	Update(ctx context.Context, n Node) error
	// Put inserts the nodes whose ID is new and replaces the others, all in one
	// statement. No ID comes twice. It fails like Insert.
	Put(ctx context.Context, ns ...Node) error
	// Lose sets Status, and OfflineAt and UpdatedAt to at, on all nodes of a
	// cluster that have another Status, in one statement. It returns how many.
	Lose(ctx context.Context, c id.Cluster, status string, at time.Time) (int, error)
	// Delete removes snapshots; one that is gone is not an error.
	Delete(ctx context.Context, ns ...id.Node) error
	// DeleteOfCluster removes all snapshots of a cluster.
	DeleteOfCluster(ctx context.Context, c id.Cluster) (int, error)
	List(ctx context.Context, s Scope, f NodeFilter, q page.Query) (page.Of[Node], error)
	Totals(ctx context.Context, s Scope) (NodeTotals, error)
}

// NodeEvent is one entry of a node's health history.
type NodeEvent struct {
	ID         id.NodeEvent
	ClusterID  id.Cluster
	NodeID     id.Node
	NodeName   string
	Type       string
	OldStatus  string
	NewStatus  string
	Message    string
	ObservedAt time.Time
}

// NodeEventFilter narrows a list. Zero fields do not.
type NodeEventFilter struct {
	ClusterID id.Cluster
	NodeID    id.Node
	Type      string
}

// NodeEvents is append-only. A Scope sees the events of live clusters that it sees.
type NodeEvents interface {
	Append(ctx context.Context, e ...NodeEvent) error
	List(ctx context.Context, s Scope, f NodeEventFilter, q page.Query) (page.Of[NodeEvent], error)
}

// AuditEvent records that an actor did something. It is never changed.
type AuditEvent struct {
	ID           id.Audit
	OccurredAt   time.Time
	ActorUserID  id.User // zero: not a person
	ActorType    string
	ActorMethod  string
	ResourceType string
	ResourceID   string
	Action       string
	Result       string
	Message      string
	ClusterID    id.Cluster // zero: not about a cluster
	ClusterName  string
	NodeName     string
	Security     bool // belongs to category=security
}

// AuditFilter narrows a list. Zero fields do not.
type AuditFilter struct {
	Actor        id.User
	SecurityOnly bool
	ResourceType string
	Action       string
}

// Audit is append-only.
type Audit interface {
	Append(ctx context.Context, e ...AuditEvent) error
	List(ctx context.Context, f AuditFilter, q page.Query) (page.Of[AuditEvent], error)
}
