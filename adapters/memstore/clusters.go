package memstore

import (
	"context"
	"maps"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// deleting clusters are not connected to any more.
const deleting = "deleting"

// sees reports whether a scope includes a cluster and what belongs to it.
func (s *state) sees(scope store.Scope, i id.Cluster) bool {
	c, ok := s.clusters.rows[i]
	return ok && c.DeletedAt == nil && scope.Sees(c.OwnerUserID)
}

type clusters struct{ u *unit }

func clusterID(c store.Cluster) string { return c.ID.String() }

func noCluster() error { return notFound("cluster", "There is no such cluster.") }

func (s clusters) Insert(ctx context.Context, rec *store.Cluster) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	next, err := storable(*rec)
	if err != nil {
		return err
	}
	if _, taken := s.u.clusters.get(next.ID); taken {
		return exists()
	}
	if err := s.free(next); err != nil {
		return err
	}
	s.u.lastNumber++
	next.Number, next.Version = s.u.lastNumber, 1
	s.u.clusters.put(s.u, next.ID, next)
	rec.Number, rec.Version = next.Number, next.Version
	return nil
}

// free refuses a name that another live cluster has.
func (s clusters) free(rec store.Cluster) error {
	_, taken := s.u.clusters.find(func(c store.Cluster) bool {
		return c.ID != rec.ID && c.VclusterName == rec.VclusterName && c.DeletedAt == nil
	})
	if taken && rec.DeletedAt == nil {
		return fault.Conflict.New("name_taken", "There is a cluster with this vcluster name already.")
	}
	return nil
}

func (s clusters) Get(ctx context.Context, scope store.Scope, i id.Cluster) (store.Cluster, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Cluster{}, err
	}
	if !s.u.sees(scope, i) {
		return store.Cluster{}, noCluster()
	}
	c, _ := s.u.clusters.get(i)
	return c, nil
}

func (s clusters) GetForUpdate(ctx context.Context, scope store.Scope, i id.Cluster) (store.Cluster, error) {
	if err := s.u.writes(ctx); err != nil {
		return store.Cluster{}, err
	}
	return s.Get(ctx, scope, i)
}

func (s clusters) Update(ctx context.Context, rec *store.Cluster) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	next, err := storable(*rec)
	if err != nil {
		return err
	}
	have, ok := s.u.clusters.get(rec.ID)
	if !ok || have.Version != rec.Version {
		return stale()
	}
	if err := s.free(next); err != nil {
		return err
	}
	next.Number, next.OwnerUserID, next.CreatedAt = have.Number, have.OwnerUserID, have.CreatedAt
	next.Version++
	s.u.clusters.put(s.u, next.ID, next)
	rec.Version = next.Version
	return nil
}

func (s clusters) List(ctx context.Context, scope store.Scope, f store.ClusterFilter, q page.Query) (page.Of[store.Cluster], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.Cluster]{}, err
	}
	if err := plain(f.Status, f.Search); err != nil {
		return page.Of[store.Cluster]{}, err
	}
	return newest(maps.Values(s.u.clusters.rows), q, clusterID, func(c store.Cluster) bool {
		return s.u.sees(scope, c.ID) && (f.Status == "" || c.Status == f.Status) &&
			contains(f.Search, c.Name, c.VclusterName, c.ID.String())
	})
}

// contains reports whether one of texts has part in it, whatever the case.
func contains(part string, texts ...string) bool {
	part = strings.ToLower(part)
	for _, t := range texts {
		if strings.Contains(strings.ToLower(t), part) {
			return true
		}
	}
	return false
}

func (s clusters) CountByStatus(ctx context.Context, scope store.Scope, origin string) (map[string]int, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	if err := plain(origin); err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, c := range s.u.clusters.rows {
		if s.u.sees(scope, c.ID) && (origin == "" || c.Origin == origin) {
			out[c.Status]++
		}
	}
	return out, nil
}

func (s clusters) Connectable(ctx context.Context, after id.Cluster, limit int) ([]id.Cluster, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	rows := s.u.clusters.sorted(clusterID, func(c store.Cluster) bool {
		return c.DeletedAt == nil && c.KubeconfigAvailableAt != nil && c.Status != deleting && !s.u.fleet.rows[c.ID].Disabled && c.ID.String() > after.String()
	})
	var out []id.Cluster
	for _, c := range rows[:max(0, min(limit, len(rows)))] {
		out = append(out, c.ID)
	}
	return out, nil
}

func (s clusters) Names(ctx context.Context, ids []id.Cluster) (map[id.Cluster]string, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	out := map[id.Cluster]string{}
	for _, i := range ids {
		if c, ok := s.u.clusters.get(i); ok {
			out[i] = c.Name
		}
	}
	return out, nil
}
