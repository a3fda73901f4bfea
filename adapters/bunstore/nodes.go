package bunstore

import (
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type nodeRow struct {
	bun.BaseModel `bun:"table:nodes,alias:n"`

	ID                          key[id.NodeKind]            `bun:"id,pk"`
	ClusterID                   key[id.ClusterKind]         `bun:"cluster_id"`
	Name                        string                      `bun:"name"`
	UID                         string                      `bun:"uid"`
	Status                      string                      `bun:"status"`
	Unschedulable               bool                        `bun:"unschedulable"`
	InternalIP                  string                      `bun:"internal_ip"`
	PodCIDR                     string                      `bun:"pod_cidr"`
	OSImage                     string                      `bun:"os_image"`
	KubeletVersion              string                      `bun:"kubelet_version"`
	ContainerRuntimeVersion     string                      `bun:"container_runtime_version"`
	Labels                      document[map[string]string] `bun:"labels"`
	CPUAllocatableMilli         int64                       `bun:"cpu_allocatable_milli"`
	MemoryAllocatableBytes      int64                       `bun:"memory_allocatable_bytes"`
	EphemeralStorageAllocatable int64                       `bun:"ephemeral_storage_allocatable"`
	Source                      string                      `bun:"source"`
	LastSeenAt                  *moment                     `bun:"last_seen_at"`
	ReadyAt                     *moment                     `bun:"ready_at"`
	OfflineAt                   *moment                     `bun:"offline_at"`
	CreatedAt                   moment                      `bun:"created_at"`
	UpdatedAt                   moment                      `bun:"updated_at"`
	SearchText                  string                      `bun:"search_text"`
	OwnerUserID                 ownerOf                     `bun:"owner_user_id"`
}

func toNodeRow(n store.Node) *nodeRow {
	return &nodeRow{
		ID: keyOf(n.ID), ClusterID: keyOf(n.ClusterID), Name: n.Name, UID: n.UID, Status: n.Status, Unschedulable: n.Unschedulable,
		InternalIP: n.InternalIP, PodCIDR: n.PodCIDR, OSImage: n.OSImage, KubeletVersion: n.KubeletVersion,
		ContainerRuntimeVersion: n.ContainerRuntimeVersion, Labels: mapOf(n.Labels), CPUAllocatableMilli: n.CPUAllocatableMilli,
		MemoryAllocatableBytes: n.MemoryAllocatableBytes, EphemeralStorageAllocatable: n.EphemeralStorageAllocatable,
		Source: n.Source, LastSeenAt: maybeAt(n.LastSeenAt), ReadyAt: maybeAt(n.ReadyAt), OfflineAt: maybeAt(n.OfflineAt),
		CreatedAt: at(n.CreatedAt), UpdatedAt: at(n.UpdatedAt), SearchText: searchable(n.Name, n.InternalIP),
		OwnerUserID: ownerOf{n.ClusterID},
	}
}

func (r nodeRow) record() store.Node {
	return store.Node{
		ID: r.ID.ID, ClusterID: r.ClusterID.ID, Name: r.Name, UID: r.UID, Status: r.Status, Unschedulable: r.Unschedulable,
		InternalIP: r.InternalIP, PodCIDR: r.PodCIDR, OSImage: r.OSImage, KubeletVersion: r.KubeletVersion,
		ContainerRuntimeVersion: r.ContainerRuntimeVersion, Labels: r.Labels.v, CPUAllocatableMilli: r.CPUAllocatableMilli,
		MemoryAllocatableBytes: r.MemoryAllocatableBytes, EphemeralStorageAllocatable: r.EphemeralStorageAllocatable,
		Source: r.Source, LastSeenAt: r.LastSeenAt.maybe(), ReadyAt: r.ReadyAt.maybe(), OfflineAt: r.OfflineAt.maybe(),
		CreatedAt: r.CreatedAt.time(), UpdatedAt: r.UpdatedAt.time(),
	}
}

type nodes struct{ *unit }

func noNode() error { return notFound("node", "There is no such node.") }

func nodeExists() error {
	return fault.Conflict.New("node_exists", "The cluster has a node of this name already.")
}

func (s nodes) Get(ctx context.Context, scope store.Scope, i id.Node) (store.Node, error) {
	return one[nodeRow](ctx, s.unit, noNode, func(q *bun.SelectQuery) {
		q.Where("n.id = ?", i.String())
		belonging(q, scope)
	})
}

func (s nodes) ByName(ctx context.Context, c id.Cluster, name string) (store.Node, error) {
	if err := plain(name); err != nil {
		return store.Node{}, err
	}
	return one[nodeRow](ctx, s.unit, noNode, func(q *bun.SelectQuery) {
		q.Where("n.cluster_id = ?", c.String()).Where("n.name = ?", name)
	})
}

func (s nodes) ByNames(ctx context.Context, c id.Cluster, names []string) ([]store.Node, error) {
	if err := plain(names...); err != nil || len(names) == 0 {
		return nil, errors.Join(err, s.reads())
	}
	return all[nodeRow](ctx, s.unit, func(q *bun.SelectQuery) {
		q.Where("n.cluster_id = ?", c.String()).Where("n.name IN (?)", bun.List(names)).OrderExpr("n.name")
	})
}

func (s nodes) OfCluster(ctx context.Context, c id.Cluster) ([]store.Node, error) {
	return all[nodeRow](ctx, s.unit, func(q *bun.SelectQuery) {
		q.Where("n.cluster_id = ?", c.String()).OrderExpr("n.name")
	})
}

func (s nodes) Insert(ctx context.Context, rec store.Node) error {
	return s.taken(s.insert(ctx, toNodeRow(rec)), "nodes_name_key", nodeExists)
}

func (s nodes) Update(ctx context.Context, rec store.Node) error {
	n, err := s.change(ctx, toNodeRow(rec), written{"owner_user_id": kept}, "")
	if err == nil && n == 0 {
		return noNode()
	}
	return s.taken(err, "nodes_name_key", nodeExists)
}

func (s nodes) Put(ctx context.Context, recs ...store.Node) error {
	if err := s.writes(); err != nil || len(recs) == 0 {
		return err
	}
	rows := make([]*nodeRow, len(recs))
	for i, r := range recs {
		rows[i] = toNodeRow(r)
		if err := legible(rows[i]); err != nil {
			return err
		}
	}
	_, err := s.db.NewInsert().Model(&rows).On("CONFLICT (id) DO UPDATE").Exec(ctx) // of every column
	return s.taken(err, "nodes_name_key", nodeExists)
}

func (s nodes) Lose(ctx context.Context, c id.Cluster, status string, t time.Time) (int, error) {
	if err := plain(status); err != nil {
		return 0, err
	}
	return s.exec(ctx, "UPDATE nodes SET status = ?, offline_at = ?, updated_at = ? WHERE cluster_id = ? AND status <> ?",
		status, at(t), at(t), c.String(), status)
}

func (s nodes) Delete(ctx context.Context, ids ...id.Node) error {
	if len(ids) == 0 {
		return s.writes()
	}
	_, err := s.exec(ctx, "DELETE FROM nodes WHERE id IN (?)", bun.List(texts(ids)))
	return err
}

func (s nodes) DeleteOfCluster(ctx context.Context, c id.Cluster) (int, error) {
	return s.exec(ctx, "DELETE FROM nodes WHERE cluster_id = ?", c.String())
}

func (s nodes) List(ctx context.Context, scope store.Scope, f store.NodeFilter, q page.Query) (page.Of[store.Node], error) {
	if err := plain(f.Status, f.Search); err != nil {
		return page.Of[store.Node]{}, err
	}
	return search[nodeRow](ctx, s.unit, q, f.Search, func(n store.Node) string { return n.ID.String() }, func(q *bun.SelectQuery) {
		if f.ClusterID.IsZero() {
			owned(q, scope)
		} else {
			q.Where("n.cluster_id = ?", f.ClusterID.String())
		}
		if f.Status != "" {
			q.Where("n.status = ?", f.Status)
		}
	}, func(q *bun.SelectQuery) { belonging(q, scope) })
}

// Totals adds up what triggers keep for each cluster.
func (s nodes) Totals(ctx context.Context, scope store.Scope) (store.NodeTotals, error) {
	out := store.NodeTotals{ByStatus: map[string]int{}}
	if err := s.reads(); err != nil {
		return out, err
	}
	var rows []struct {
		Status      string
		N           int
		CPU, Memory int64
	}
	q := s.db.NewSelect().TableExpr("node_totals AS t").Join("JOIN clusters AS c ON c.id = t.cluster_id").
		ColumnExpr("t.status, CAST(sum(t.nodes) AS bigint) AS n").
		ColumnExpr("CAST(sum(t.cpu_allocatable_milli) AS bigint) AS cpu, CAST(sum(t.memory_allocatable_bytes) AS bigint) AS memory").
		GroupExpr("t.status")
	within(q, scope)
	if err := q.Scan(ctx, &rows); err != nil {
		return out, err
	}
	for _, r := range rows {
		out.ByStatus[r.Status] = r.N
		out.CPUAllocatableMilli += r.CPU
		out.MemoryAllocatableBytes += r.Memory
	}
	return out, nil
}
