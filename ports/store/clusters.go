package store

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
)

// Cluster is a cluster as stored. Only core/clusters gives it meaning.
type Cluster struct {
	ID          id.Cluster
	Number      int64 // set by Insert: unique, rising, never used again
	OwnerUserID id.User
	Origin      string

	Name              string
	VclusterName      string // unique among clusters without DeletedAt
	Namespace         string
	ControlPlaneHost  string
	FormerHosts       []string
	KubernetesVersion string

	WorkloadCPULimitMilli        int64
	WorkloadMemoryLimitMiB       int64
	ControlPlaneCPURequestMilli  int64
	ControlPlaneMemoryRequestMiB int64

	PublicAccessEnabled bool
	PublicAccessMode    string
	PublicAccessPort    int

	ManagedIngressEnabled bool

	APIEndpoint           string
	Status                string
	ConnectionStatus      string
	KubeconfigAvailableAt *time.Time
	LastObservedAt        *time.Time
	LastErrorMessage      string

	Generation         int64 // raised by every change of what is wanted
	ObservedGeneration int64 // the Generation that the world was last brought to

	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt *time.Time
	Version   int64 // set by the store, one higher on every Update
}

// ClusterFilter narrows a list. Zero fields do not.
type ClusterFilter struct {
	Status string
	Search string // part of the name, the vcluster name or the id, whatever the case; %, _ and \ mean themselves
}

// Clusters stores clusters. Deleted ones are read only by the calls that say so.
type Clusters interface {
	// Insert sets c.Number and c.Version. It fails with fault.Conflict, code
	// name_taken, if a live cluster has the VclusterName.
	Insert(ctx context.Context, c *Cluster) error
	// Get fails with fault.NotFound, also for a deleted cluster.
	Get(ctx context.Context, s Scope, c id.Cluster) (Cluster, error)
	// GetForUpdate is Get with the row locked until the transaction ends, where
	// the database has row locks.
	GetForUpdate(ctx context.Context, s Scope, c id.Cluster) (Cluster, error)
	// Update replaces the row whose Version is c.Version and raises c.Version. It
	// fails with fault.Conflict, code stale_version, if somebody else updated
	// the row first, and with name_taken like Insert. ID, Number, OwnerUserID
	// and CreatedAt do not change.
	Update(ctx context.Context, c *Cluster) error
	// List leaves deleted clusters out.
	List(ctx context.Context, s Scope, f ClusterFilter, q page.Query) (page.Of[Cluster], error)
	// CountByStatus counts clusters that are not deleted, all or those of an origin.
	CountByStatus(ctx context.Context, s Scope, origin string) (map[string]int, error)
	// Connectable lists the ids of live clusters whose kubeconfig has been
	// available and that are neither being deleted nor disabled in the fleet: those
	// that are watched.
	// Ascending ids after the given one, at most limit.
	Connectable(ctx context.Context, after id.Cluster, limit int) ([]id.Cluster, error)
	// Names returns the names of the given clusters, deleted ones included.
	Names(ctx context.Context, ids []id.Cluster) (map[id.Cluster]string, error)
}

// Operation is one thing a person asked of a cluster, and how it went.
type Operation struct {
	ID                id.Operation
	ClusterID         id.Cluster
	Type              string
	Status            string
	Stage             string
	RequestedByUserID id.User
	ErrorMessage      string
	Generation        int64 // of the cluster when it was asked
	StartedAt         *time.Time
	FinishedAt        *time.Time
	CreatedAt         time.Time
	UpdatedAt         time.Time
}

// Operations stores operations. A cluster's row guards its operations: they
// are read by whoever may read the cluster.
type Operations interface {
	Insert(ctx context.Context, o Operation) error
	// Get fails with fault.NotFound.
	Get(ctx context.Context, o id.Operation) (Operation, error)
	// Update replaces the row; fault.NotFound.
	Update(ctx context.Context, o Operation) error
	// Begin sets Status and UpdatedAt, and StartedAt where it is not set, and
	// returns the row; fault.NotFound. Nothing starts before its CreatedAt, which
	// may be from a process whose clock is ahead.
	Begin(ctx context.Context, o id.Operation, status string, at time.Time) (Operation, error)
	// List returns the newest operations of a cluster.
	List(ctx context.Context, c id.Cluster, q page.Query) (page.Of[Operation], error)
}

// Job is work on a cluster for a worker.
type Job struct {
	ID           id.Job
	ClusterID    id.Cluster
	OperationID  id.Operation
	Type         string
	Status       string
	AttemptCount int
	PublishedAt  *time.Time
	NotBefore    time.Time // not run earlier
	LeasedUntil  *time.Time
	WorkerID     string
	LastError    string
	Trace        string // of the request that asked for it, as a W3C traceparent; empty: none
	StartedAt    *time.Time
	FinishedAt   *time.Time
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Taken is a job that has been claimed, and what belongs to it.
type Taken struct {
	Job       Job
	Operation Operation
	Cluster   *Cluster // nil: it is deleted
}

// Conclusion is how a job ended, and what became of that to which it belongs.
type Conclusion struct {
	Job       Job
	Operation Operation
	Cluster   Cluster
	Event     AuditEvent
}

// Job states that the store itself knows.
const (
	JobPending = "pending"
	JobRunning = "running"
)

// JobFilter narrows a list. Zero fields do not.
type JobFilter struct {
	Status    string
	ClusterID id.Cluster
}

// Jobs stores jobs.
type Jobs interface {
	Insert(ctx context.Context, j Job) error
	// Get fails with fault.NotFound.
	Get(ctx context.Context, j id.Job) (Job, error)
	// Claim takes the oldest job that may run at now: one that is pending with
	// NotBefore not after now, or running with its lease run out, whose cluster
	// has no other running job with a live lease and no older unfinished job.
	// It makes the job running, leased to worker until until, with one attempt
	// more, and StartedAt set, not before CreatedAt, if it was not. ok is false when there is none.
	// Two transactions never both get one job, nor two jobs of one cluster.
	Claim(ctx context.Context, worker string, now, until time.Time) (j Job, ok bool, err error)
	// ClaimOf is Claim of that cluster's job alone. It waits for transactions that
	// have written to the job, so that one which is about to let it go is not
	// missed.
	ClaimOf(ctx context.Context, c id.Cluster, worker string, now, until time.Time) (j Job, ok bool, err error)
	// Take is ClaimOf and, in the same question, what a worker does next: it begins
	// the job's operation like Operations.Begin, and reads the cluster. After an
	// error the transaction is to be given up: what it wrote may be half of it.
	Take(ctx context.Context, c id.Cluster, worker, status string, now, until time.Time) (t Taken, ok bool, err error)
	// NextAt returns the earliest time at which a job that cannot be claimed at
	// now might become claimable by time alone (NotBefore or a lease's end).
	NextAt(ctx context.Context, now time.Time) (t time.Time, ok bool, err error)
	// Renew moves the lease of a running job that worker holds. It fails with
	// fault.Conflict, code lease_lost, if worker no longer holds it.
	Renew(ctx context.Context, j id.Job, worker string, until time.Time) error
	// Settle replaces a running job that worker holds; lease_lost otherwise.
	Settle(ctx context.Context, j Job, worker string) error
	// Conclude is Settle, Operations.Update, Clusters.Update and Audit.Append in one
	// question, and fails like the first of them that does, without saying what
	// c.Cluster's version is then. After an error the transaction is to be given up,
	// as after one of Take.
	Conclude(ctx context.Context, c Conclusion, worker string) error
	// MarkPublished sets PublishedAt where it is not set.
	MarkPublished(ctx context.Context, at time.Time, jobs ...id.Job) error
	// ReleaseWorker makes the running jobs of a worker pending again, due now.
	ReleaseWorker(ctx context.Context, worker string, now time.Time) (int, error)
	List(ctx context.Context, f JobFilter, q page.Query) (page.Of[Job], error)
}
