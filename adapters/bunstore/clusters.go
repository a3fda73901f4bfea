package bunstore

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type clusterRow struct {
	bun.BaseModel `bun:"table:clusters,alias:c"`

	ID                           key[id.ClusterKind] `bun:"id,pk"`
	Number                       int64               `bun:"number"`
	OwnerUserID                  key[id.UserKind]    `bun:"owner_user_id"`
	Origin                       string              `bun:"origin"`
	Name                         string              `bun:"name"`
	VclusterName                 string              `bun:"vcluster_name"`
	Namespace                    string              `bun:"namespace"`
	ControlPlaneHost             string              `bun:"control_plane_host"`
	FormerHosts                  document[[]string]  `bun:"former_hosts"`
	KubernetesVersion            string              `bun:"kubernetes_version"`
	WorkloadCPULimitMilli        int64               `bun:"workload_cpu_limit_milli"`
	WorkloadMemoryLimitMiB       int64               `bun:"workload_memory_limit_mib"`
	ControlPlaneCPURequestMilli  int64               `bun:"control_plane_cpu_request_milli"`
	ControlPlaneMemoryRequestMiB int64               `bun:"control_plane_memory_request_mib"`
	PublicAccessEnabled          bool                `bun:"public_access_enabled"`
	PublicAccessMode             string              `bun:"public_access_mode"`
	PublicAccessPort             int                 `bun:"public_access_port"`
	ManagedIngressEnabled        bool                `bun:"managed_ingress_enabled"`
	APIEndpoint                  string              `bun:"api_endpoint"`
	Status                       string              `bun:"status"`
	ConnectionStatus             string              `bun:"connection_status"`
	KubeconfigAvailableAt        *moment             `bun:"kubeconfig_available_at"`
	LastObservedAt               *moment             `bun:"last_observed_at"`
	LastErrorMessage             string              `bun:"last_error_message"`
	Generation                   int64               `bun:"generation"`
	ObservedGeneration           int64               `bun:"observed_generation"`
	CreatedAt                    moment              `bun:"created_at"`
	UpdatedAt                    moment              `bun:"updated_at"`
	DeletedAt                    *moment             `bun:"deleted_at"`
	Version                      int64               `bun:"version"`
	SearchText                   string              `bun:"search_text"`
}

func toClusterRow(c store.Cluster) *clusterRow {
	return &clusterRow{
		ID: keyOf(c.ID), Number: c.Number, OwnerUserID: keyOf(c.OwnerUserID), Origin: c.Origin,
		Name: c.Name, VclusterName: c.VclusterName, Namespace: c.Namespace,
		ControlPlaneHost: c.ControlPlaneHost, FormerHosts: listOf(c.FormerHosts), KubernetesVersion: c.KubernetesVersion,
		WorkloadCPULimitMilli: c.WorkloadCPULimitMilli, WorkloadMemoryLimitMiB: c.WorkloadMemoryLimitMiB,
		ControlPlaneCPURequestMilli: c.ControlPlaneCPURequestMilli, ControlPlaneMemoryRequestMiB: c.ControlPlaneMemoryRequestMiB,
		PublicAccessEnabled: c.PublicAccessEnabled, PublicAccessMode: c.PublicAccessMode, PublicAccessPort: c.PublicAccessPort,
		ManagedIngressEnabled: c.ManagedIngressEnabled, APIEndpoint: c.APIEndpoint,
		Status: c.Status, ConnectionStatus: c.ConnectionStatus, KubeconfigAvailableAt: maybeAt(c.KubeconfigAvailableAt),
		LastObservedAt: maybeAt(c.LastObservedAt), LastErrorMessage: c.LastErrorMessage,
		Generation: c.Generation, ObservedGeneration: c.ObservedGeneration,
		CreatedAt: at(c.CreatedAt), UpdatedAt: at(c.UpdatedAt), DeletedAt: maybeAt(c.DeletedAt), Version: c.Version,
		SearchText: searchable(c.Name, c.VclusterName, c.ID.String()),
	}
}

func (r clusterRow) record() store.Cluster {
	return store.Cluster{
		ID: r.ID.ID, Number: r.Number, OwnerUserID: r.OwnerUserID.ID, Origin: r.Origin,
		Name: r.Name, VclusterName: r.VclusterName, Namespace: r.Namespace,
		ControlPlaneHost: r.ControlPlaneHost, FormerHosts: r.FormerHosts.v, KubernetesVersion: r.KubernetesVersion,
		WorkloadCPULimitMilli: r.WorkloadCPULimitMilli, WorkloadMemoryLimitMiB: r.WorkloadMemoryLimitMiB,
		ControlPlaneCPURequestMilli: r.ControlPlaneCPURequestMilli, ControlPlaneMemoryRequestMiB: r.ControlPlaneMemoryRequestMiB,
		PublicAccessEnabled: r.PublicAccessEnabled, PublicAccessMode: r.PublicAccessMode, PublicAccessPort: r.PublicAccessPort,
		ManagedIngressEnabled: r.ManagedIngressEnabled, APIEndpoint: r.APIEndpoint,
		Status: r.Status, ConnectionStatus: r.ConnectionStatus, KubeconfigAvailableAt: r.KubeconfigAvailableAt.maybe(),
		LastObservedAt: r.LastObservedAt.maybe(), LastErrorMessage: r.LastErrorMessage,
		Generation: r.Generation, ObservedGeneration: r.ObservedGeneration,
		CreatedAt: r.CreatedAt.time(), UpdatedAt: r.UpdatedAt.time(), DeletedAt: r.DeletedAt.maybe(), Version: r.Version,
	}
}

type clusters struct{ *unit }

// statusDeleting is the one status of clusters that the store knows.
const statusDeleting = "deleting"

// nameKey lets only one live cluster have a vcluster name.
const nameKey = "clusters_live_vcluster_name_key"

func noCluster() error { return notFound("cluster", "There is no such cluster.") }

func nameTaken() error {
	return fault.Conflict.New("name_taken", "There is a cluster with this vcluster name already.")
}

func (s clusters) Insert(ctx context.Context, rec *store.Cluster) error {
	row := toClusterRow(*rec)
	if err := s.number(ctx, row); err != nil {
		return err
	}
	if err := s.insert(ctx, row); err != nil {
		return s.taken(err, nameKey, nameTaken)
	}
	rec.Number, rec.Version = row.Number, row.Version
	return nil
}

func (s clusters) number(ctx context.Context, row *clusterRow) error {
	if err := s.writes(); err != nil {
		return err
	}
	row.Version = 1
	return s.db.NewRaw(s.engine.sql().nextNumber).Scan(ctx, &row.Number)
}

func (s clusters) Get(ctx context.Context, scope store.Scope, i id.Cluster) (store.Cluster, error) {
	return often[clusterRow](ctx, s.unit, noCluster, func(q *bun.SelectQuery, value func(any) any) {
		q.Where("c.id = ?", value(i.String()))
		withinAs(q, scope, value)
	})
}

// GetForUpdate keeps others from changing the row, and lets them refer to it.
func (s clusters) GetForUpdate(ctx context.Context, scope store.Scope, i id.Cluster) (store.Cluster, error) {
	if err := s.writes(); err != nil {
		return store.Cluster{}, err
	}
	return one[clusterRow](ctx, s.unit, noCluster, func(q *bun.SelectQuery) {
		q.Where("c.id = ?", i.String())
		within(q, scope)
		if lock := s.engine.sql().forUpdate; lock != "" {
			q.For(lock)
		}
	})
}

// updating a cluster leaves some of it alone.
var updating = written{"number": kept, "owner_user_id": kept, "created_at": kept} //nolint:gochecknoglobals // a constant

// sameVersion is the condition that nobody has changed a row meanwhile.
const sameVersion = " AND version = ?"

func (s clusters) Update(ctx context.Context, rec *store.Cluster) error {
	row := toClusterRow(*rec)
	row.Version++
	n, err := s.change(ctx, row, updating, sameVersion, rec.Version)
	if err != nil {
		return s.taken(err, nameKey, nameTaken)
	}
	if n == 0 {
		return stale()
	}
	rec.Version = row.Version
	return nil
}

func (s clusters) List(ctx context.Context, scope store.Scope, f store.ClusterFilter, q page.Query) (page.Of[store.Cluster], error) {
	if err := plain(f.Status, f.Search); err != nil {
		return page.Of[store.Cluster]{}, err
	}
	return search[clusterRow](ctx, s.unit, q, f.Search, func(c store.Cluster) string { return c.ID.String() }, func(q *bun.SelectQuery) {
		within(q, scope)
		if f.Status != "" {
			q.Where("c.status = ?", f.Status)
		}
	}, func(*bun.SelectQuery) {})
}

func (s clusters) CountByStatus(ctx context.Context, scope store.Scope, origin string) (map[string]int, error) {
	if err := errors.Join(s.reads(), plain(origin)); err != nil {
		return nil, err
	}
	var rows []struct {
		Status string
		N      int
	}
	q := s.db.NewSelect().TableExpr("clusters AS c").ColumnExpr("c.status, count(*) AS n").GroupExpr("c.status")
	within(q, scope)
	if origin != "" {
		q.Where("c.origin = ?", origin)
	}
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, err
	}
	out := make(map[string]int, len(rows))
	for _, r := range rows {
		out[r.Status] = r.N
	}
	return out, nil
}

func (s clusters) Connectable(ctx context.Context, after id.Cluster, limit int) ([]id.Cluster, error) {
	if err := s.reads(); err != nil || limit <= 0 {
		return nil, err
	}
	var rows []struct{ ID key[id.ClusterKind] }
	err := s.db.NewSelect().TableExpr("clusters AS c").ColumnExpr("c.id").
		Where("c.deleted_at IS NULL").Where("c.kubeconfig_available_at IS NOT NULL").
		Where("c.status <> ?", statusDeleting).Where("c.id > ?", after.String()).
		Where("NOT EXISTS (SELECT 1 FROM fleet AS f WHERE f.cluster_id = c.id AND f.disabled)").
		OrderExpr("c.id").Limit(int64(limit)).Scan(ctx, &rows)
	if err != nil {
		return nil, err
	}
	var out []id.Cluster
	for _, r := range rows {
		out = append(out, r.ID.ID)
	}
	return out, nil
}

func (s clusters) Names(ctx context.Context, ids []id.Cluster) (map[id.Cluster]string, error) {
	out := make(map[id.Cluster]string, len(ids))
	if err := s.reads(); err != nil || len(ids) == 0 {
		return out, err
	}
	var rows []struct {
		ID   key[id.ClusterKind]
		Name string
	}
	err := s.db.NewSelect().TableExpr("clusters AS c").ColumnExpr("c.id, c.name").
		Where("c.id IN (?)", bun.List(texts(ids))).Scan(ctx, &rows)
	for _, r := range rows {
		out[r.ID.ID] = r.Name
	}
	return out, err
}
