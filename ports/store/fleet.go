package store

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// FleetEntry is what is kept of a cluster beside its own record: of every one
// that was imported, and of hosted ones about which there is something to keep.
type FleetEntry struct {
	ClusterID     id.Cluster
	Description   string
	PrometheusURL string
	Disabled      bool
	Default       bool   // of one at most
	Credential    string // its kind; empty where provisioning has it
	Sealed        []byte // the credential, unreadable without the server's key
	// CredentialExpiresAt is nil for one that does not, or does not say so.
	CredentialExpiresAt *time.Time
	UpdatedAt           time.Time
	Version             int64 // set by the store, one higher on every Put; 0: it was never put
}

// Contents is how much there is in a cluster, as last counted.
type Contents struct {
	Namespaces int
	Pods       int
	CountedAt  *time.Time // nil: never
}

// Member is a cluster of the fleet.
type Member struct {
	Cluster  Cluster
	Entry    FleetEntry // without Sealed; the zero one but for ClusterID where there is none
	Contents Contents
	Nodes    map[string]int // by status
}

// FleetFilter narrows a list. Zero fields do not.
type FleetFilter struct {
	After  id.Cluster // those with a higher number than this one's
	Search string     // part of the name, the vcluster name or the id, whatever the case; %, _ and \ mean themselves
}

// Fleet stores what belongs to clusters of every origin. Lists are by rising
// Number: whoever pages through them counts pages.
type Fleet interface {
	// Get fails with fault.NotFound, code cluster_not_found, also for a deleted
	// cluster.
	Get(ctx context.Context, s Scope, c id.Cluster) (Member, error)
	// ByNumber is Get by the cluster's Number.
	ByNumber(ctx context.Context, s Scope, number int64) (Member, error)
	// ByName is Get by the VclusterName.
	ByName(ctx context.Context, s Scope, name string) (Member, error)
	// Default is Get of the one that is the default.
	Default(ctx context.Context, s Scope) (Member, error)
	// List returns limit members after the first offset ones, and how many there
	// are in all.
	List(ctx context.Context, s Scope, f FleetFilter, offset, limit int) (members []Member, total int, err error)
	// Put writes an entry whose Version is e.Version, 0 for a new one, and raises
	// e.Version; fault.Conflict, code stale_version, otherwise, and code
	// default_taken if another cluster is the default. It leaves Sealed as it is
	// where e.Sealed is nil.
	Put(ctx context.Context, e *FleetEntry) error
	// NoDefault takes the default from whichever cluster has it, and raises the
	// entry's Version.
	NoDefault(ctx context.Context, at time.Time) error
	// Sealed returns a live cluster's credential; fault.NotFound, code
	// credential_not_found, where there is none.
	Sealed(ctx context.Context, c id.Cluster) ([]byte, error)
	// AllSealed returns up to limit entries that have a Sealed, with it, by rising
	// ClusterID after the given one.
	AllSealed(ctx context.Context, after id.Cluster, limit int) ([]FleetEntry, error)
	// Count writes what is in a cluster, and no Version.
	Count(ctx context.Context, c id.Cluster, contents Contents) error
	// Remove forgets an entry, what was counted and all; one that is not there is
	// fine.
	Remove(ctx context.Context, c id.Cluster) error
}
