package bunstore

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

type fleetRow struct {
	bun.BaseModel `bun:"table:fleet,alias:f"`

	ClusterID           key[id.ClusterKind] `bun:"cluster_id,pk"`
	Description         string              `bun:"description"`
	PrometheusURL       string              `bun:"prometheus_url"`
	Disabled            bool                `bun:"disabled"`
	Default             bool                `bun:"is_default"`
	Credential          string              `bun:"credential"`
	Sealed              []byte              `bun:"sealed"`
	CredentialExpiresAt *moment             `bun:"credential_expires_at"`
	UpdatedAt           moment              `bun:"updated_at"`
	Version             int64               `bun:"version"`
}

func (r fleetRow) record() store.FleetEntry {
	return store.FleetEntry{
		ClusterID: r.ClusterID.ID, Description: r.Description, PrometheusURL: r.PrometheusURL, Disabled: r.Disabled, Default: r.Default,
		Credential: r.Credential, Sealed: r.Sealed, CredentialExpiresAt: r.CredentialExpiresAt.maybe(), UpdatedAt: r.UpdatedAt.time(), Version: r.Version,
	}
}

type contentsRow struct {
	bun.BaseModel `bun:"table:fleet_contents,alias:fc"`

	ClusterID  key[id.ClusterKind] `bun:"cluster_id,pk"`
	Namespaces int                 `bun:"namespaces"`
	Pods       int                 `bun:"pods"`
	CountedAt  moment              `bun:"counted_at"`
}

type fleet struct{ *unit }

// defaultKey lets only one cluster be the default.
const defaultKey = "fleet_default_key"

func (s fleet) Get(ctx context.Context, scope store.Scope, i id.Cluster) (store.Member, error) {
	return s.one(ctx, scope, func(q *bun.SelectQuery) { q.Where("c.id = ?", i.String()) })
}

func (s fleet) ByNumber(ctx context.Context, scope store.Scope, number int64) (store.Member, error) {
	return s.one(ctx, scope, func(q *bun.SelectQuery) { q.Where("c.number = ?", number) })
}

func (s fleet) ByName(ctx context.Context, scope store.Scope, name string) (store.Member, error) {
	if err := plain(name); err != nil {
		return store.Member{}, err
	}
	return s.one(ctx, scope, func(q *bun.SelectQuery) { q.Where("c.vcluster_name = ?", name) })
}

func (s fleet) Default(ctx context.Context, scope store.Scope) (store.Member, error) {
	return s.one(ctx, scope, func(q *bun.SelectQuery) {
		q.Where("c.id = (SELECT f.cluster_id FROM fleet AS f WHERE f.is_default)")
	})
}

func (s fleet) one(ctx context.Context, scope store.Scope, narrow func(*bun.SelectQuery)) (store.Member, error) {
	c, err := one[clusterRow](ctx, s.unit, noCluster, func(q *bun.SelectQuery) {
		narrow(q)
		within(q, scope)
	})
	if err != nil {
		return store.Member{}, err
	}
	members, err := s.members(ctx, []store.Cluster{c})
	if err != nil {
		return store.Member{}, err
	}
	return members[0], nil
}

func (s fleet) List(ctx context.Context, scope store.Scope, f store.FleetFilter, offset, limit int) ([]store.Member, int, error) {
	if err := plain(f.Search); err != nil {
		return nil, 0, err
	}
	narrow := func(q *bun.SelectQuery) {
		within(q, scope)
		if !f.After.IsZero() {
			q.Where("c.number > (SELECT o.number FROM clusters AS o WHERE o.id = ?)", f.After.String())
		}
		if f.Search != "" {
			s.engine.sql().search(q, searchable(f.Search))
		}
	}
	if err := s.reads(); err != nil {
		return nil, 0, err
	}
	counted := s.db.NewSelect().Model((*clusterRow)(nil)).ColumnExpr("count(*) AS n")
	narrow(counted)
	total := 0
	if err := counted.Scan(ctx, &total); err != nil || limit <= 0 || offset < 0 || offset >= total {
		return nil, total, err
	}
	found, err := all[clusterRow](ctx, s.unit, func(q *bun.SelectQuery) {
		narrow(q)
		q.OrderExpr("c.number").Offset(int64(offset)).Limit(int64(limit))
	})
	if err != nil {
		return nil, 0, err
	}
	members, err := s.members(ctx, found)
	return members, total, err
}

// members reads what belongs to clusters, a question for each kind.
func (s fleet) members(ctx context.Context, of []store.Cluster) ([]store.Member, error) {
	if len(of) == 0 {
		return nil, nil
	}
	out, at := make([]store.Member, len(of)), make(map[id.Cluster]*store.Member, len(of))
	for i, c := range of {
		out[i] = store.Member{Cluster: c, Entry: store.FleetEntry{ClusterID: c.ID}, Nodes: map[string]int{}}
		at[c.ID] = &out[i]
	}
	ids := bun.List(texts(slices.Collect(maps.Keys(at))))
	entries, err := all[fleetRow](ctx, s.unit, func(q *bun.SelectQuery) { q.ExcludeColumn("sealed").Where("f.cluster_id IN (?)", ids) })
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		at[e.ClusterID].Entry = e
	}
	var contents []contentsRow
	if err := s.db.NewSelect().Model(&contents).Where("fc.cluster_id IN (?)", ids).Scan(ctx); err != nil {
		return nil, err
	}
	for _, c := range contents {
		counted := c.CountedAt.time()
		at[c.ClusterID.ID].Contents = store.Contents{Namespaces: c.Namespaces, Pods: c.Pods, CountedAt: &counted}
	}
	var nodes []struct {
		ClusterID key[id.ClusterKind]
		Status    string
		Nodes     int
	}
	err = s.db.NewSelect().TableExpr("node_totals AS t").ColumnExpr("t.cluster_id, t.status, t.nodes").
		Where("t.cluster_id IN (?)", ids).Where("t.nodes > 0").Scan(ctx, &nodes)
	for _, n := range nodes {
		at[n.ClusterID.ID].Nodes[n.Status] = n.Nodes
	}
	return out, err
}

func (s fleet) Put(ctx context.Context, rec *store.FleetEntry) error {
	row := &fleetRow{
		ClusterID: keyOf(rec.ClusterID), Description: rec.Description, PrometheusURL: rec.PrometheusURL, Disabled: rec.Disabled, Default: rec.Default,
		Credential: rec.Credential, Sealed: rec.Sealed, CredentialExpiresAt: maybeAt(rec.CredentialExpiresAt), UpdatedAt: at(rec.UpdatedAt), Version: rec.Version + 1,
	}
	n, err := s.write(ctx, row, rec.Version)
	if err != nil {
		return s.taken(err, defaultKey, defaultTaken)
	}
	if n == 0 {
		return stale()
	}
	rec.Version = row.Version
	return nil
}

func defaultTaken() error {
	return fault.Conflict.New("default_taken", "Another cluster is the default.")
}

func (s fleet) write(ctx context.Context, row *fleetRow, was int64) (int, error) {
	if err := s.writes(); err != nil {
		return 0, err
	}
	if err := legible(row); err != nil {
		return 0, err
	}
	if was == 0 {
		row.Sealed = blob(row.Sealed)
		return affected(s.db.NewInsert().Model(row).On("CONFLICT (cluster_id) DO NOTHING").Exec(ctx))
	}
	q := s.db.NewUpdate().Model(row).WherePK().Where("f.version = ?", was)
	if row.Sealed == nil {
		q.ExcludeColumn("sealed")
	}
	return affected(q.Exec(ctx))
}

func (s fleet) NoDefault(ctx context.Context, t time.Time) error {
	_, err := s.exec(ctx, "UPDATE fleet SET is_default = FALSE, updated_at = ?, version = version + 1 WHERE is_default", at(t))
	return err
}

func (s fleet) Sealed(ctx context.Context, c id.Cluster) ([]byte, error) {
	e, err := often[fleetRow](ctx, s.unit, noCredential, func(q *bun.SelectQuery, value func(any) any) {
		q.Where("f.cluster_id = ?", value(c.String())).Where("length(f.sealed) > 0").
			Where("EXISTS (SELECT 1 FROM clusters AS c WHERE c.id = f.cluster_id AND c.deleted_at IS NULL)")
	})
	return e.Sealed, err
}

func noCredential() error {
	return notFound("credential", "There is no credential for this cluster.")
}

func (s fleet) AllSealed(ctx context.Context, after id.Cluster, limit int) ([]store.FleetEntry, error) {
	return all[fleetRow](ctx, s.unit, func(q *bun.SelectQuery) {
		q.Where("f.cluster_id > ?", after.String()).Where("length(f.sealed) > 0").OrderExpr("f.cluster_id").Limit(int64(max(limit, 0)))
	})
}

func (s fleet) Count(ctx context.Context, c id.Cluster, contents store.Contents) error {
	if contents.CountedAt == nil {
		return nil
	}
	row := &contentsRow{ClusterID: keyOf(c), Namespaces: contents.Namespaces, Pods: contents.Pods, CountedAt: at(*contents.CountedAt)}
	return s.replace(ctx, row, "cluster_id", "namespaces", "pods", "counted_at")
}

func (s fleet) Remove(ctx context.Context, c id.Cluster) error {
	for _, table := range []string{"fleet", "fleet_contents"} {
		if _, err := s.exec(ctx, "DELETE FROM ? WHERE cluster_id = ?", bun.Ident(table), c.String()); err != nil {
			return err
		}
	}
	return nil
}
