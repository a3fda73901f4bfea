package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// ClusterOperation is one thing a person asked of a cluster, and how it went.
type ClusterOperation struct {
	ID                string          `json:"id" example:"op_06evjm9m80zy3f60rzw2n56twg"`
	ClusterID         string          `json:"cluster_id" example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	Type              string          `json:"type" enum:"create,update,delete"`
	Status            string          `json:"status" enum:"pending,running,succeeded,failed"`
	Stage             string          `json:"stage" doc:"How far it is." example:"waiting_control_plane"`
	RequestedByUserID *string         `json:"requested_by_user_id" example:"usr_06evjm9m80zy3f60rzw2n56twg"`
	ErrorMessage      *string         `json:"error_message" example:"The control plane did not start in time."`
	StartedAt         *operation.Time `json:"started_at" nullable:"true"`
	FinishedAt        *operation.Time `json:"finished_at" nullable:"true"`
	CreatedAt         operation.Time  `json:"created_at"`
	UpdatedAt         operation.Time  `json:"updated_at"`
}

// ClusterJob is the work that an operation gives to a worker.
type ClusterJob struct {
	ID           string          `json:"id" example:"job_06evjm9m80zy3f60rzw2n56twg"`
	ClusterID    string          `json:"cluster_id" example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	OperationID  string          `json:"operation_id" example:"op_06evjm9m80zy3f60rzw2n56twg"`
	Type         string          `json:"type" enum:"create,update,delete"`
	Status       string          `json:"status" enum:"pending,running,succeeded,failed"`
	AttemptCount int             `json:"attempt_count" example:"1"`
	PublishedAt  *operation.Time `json:"published_at" nullable:"true"`
	LeasedUntil  *operation.Time `json:"leased_until" nullable:"true"`
	WorkerID     *string         `json:"worker_id" example:"process-4f1c/0"`
	LastError    *string         `json:"last_error" example:"The control plane did not start in time."`
	StartedAt    *operation.Time `json:"started_at" nullable:"true"`
	FinishedAt   *operation.Time `json:"finished_at" nullable:"true"`
	CreatedAt    operation.Time  `json:"created_at"`
	UpdatedAt    operation.Time  `json:"updated_at"`
}

// ClusterHistory is what was asked of a cluster and what became of it, newest first.
type ClusterHistory struct {
	Operations []ClusterOperation `json:"operations" nullable:"false"`
	Jobs       []ClusterJob       `json:"jobs" nullable:"false"`
}

type historyIn struct {
	ClusterRef
	operation.Limit
}

type historyOut struct{ Body ClusterHistory }

func (h console) registerOperations() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listClusterOperations", Method: http.MethodGet, Path: "/api/console/clusters/{clusterID}/operations", Tags: []string{tagClusters},
		Summary: "See what was asked of a cluster", Description: "The latest operations on a cluster and the jobs that carry them out: why a cluster is not ready stands here.",
		Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"cluster_not_found"}, func(ctx context.Context, in *historyIn) (*historyOut, error) {
		i, err := in.id()
		if err != nil {
			return nil, err
		}
		past, err := h.Clusters.Operations(ctx, i, in.Size())
		return &historyOut{ClusterHistory{each(past.Operations.Items, showOperation), each(past.Jobs.Items, showJob)}}, err
	})
}

// ClusterJobList is one page of all clusters' jobs.
type ClusterJobList struct {
	Jobs       []ClusterJob `json:"jobs" nullable:"false"`
	NextCursor *string      `json:"next_cursor" doc:"null on the last page." example:"am9iXzA2ZXZqbTltODB6eTNmNjByencybjU2dHdn"`
}

type jobsIn struct {
	Status    string `query:"status" enum:"pending,running,succeeded,failed" doc:"Only jobs in this status."`
	ClusterID string `query:"cluster_id" doc:"Only jobs of this cluster, which may be deleted." example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	operation.Paged
}

type jobsOut struct{ Body ClusterJobList }

func (h console) registerJobs() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listClusterJobs", Method: http.MethodGet, Path: "/api/console/admin/cluster-jobs", Tags: []string{tagClusters},
		Summary: "See the queue of jobs", Description: "The jobs of all clusters, newest first, for administrators: what waits, who works on what until when, how often it was tried, and why it failed.",
		Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"validation_failed", "forbidden"}, h.jobs)
}

func (h console) jobs(ctx context.Context, in *jobsIn) (*jobsOut, error) {
	q, err := operation.Query[id.JobKind](in.Paged)
	if err != nil {
		return nil, err
	}
	cluster, err := operation.Filter[id.ClusterKind]("cluster_id", in.ClusterID)
	if err != nil {
		return nil, err
	}
	page, err := h.Clusters.Jobs(ctx, store.JobFilter{Status: in.Status, ClusterID: cluster}, q)
	return &jobsOut{ClusterJobList{each(page.Items, showJob), operation.Cursor(page.Next)}}, err
}

func showOperation(o store.Operation) ClusterOperation {
	return ClusterOperation{
		ID: o.ID.String(), ClusterID: o.ClusterID.String(), Type: o.Type, Status: o.Status, Stage: o.Stage,
		RequestedByUserID: orNull(o.RequestedByUserID.String()), ErrorMessage: orNull(o.ErrorMessage),
		StartedAt: operation.MaybeAt(o.StartedAt), FinishedAt: operation.MaybeAt(o.FinishedAt),
		CreatedAt: operation.At(o.CreatedAt), UpdatedAt: operation.At(o.UpdatedAt),
	}
}

func showJob(j store.Job) ClusterJob {
	return ClusterJob{
		ID: j.ID.String(), ClusterID: j.ClusterID.String(), OperationID: j.OperationID.String(), Type: j.Type, Status: j.Status,
		AttemptCount: j.AttemptCount, PublishedAt: operation.MaybeAt(j.PublishedAt), LeasedUntil: operation.MaybeAt(j.LeasedUntil),
		WorkerID: orNull(j.WorkerID), LastError: orNull(j.LastError),
		StartedAt: operation.MaybeAt(j.StartedAt), FinishedAt: operation.MaybeAt(j.FinishedAt),
		CreatedAt: operation.At(j.CreatedAt), UpdatedAt: operation.At(j.UpdatedAt),
	}
}
