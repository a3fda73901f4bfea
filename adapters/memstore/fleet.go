package memstore

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

type fleet struct{ u *unit }

func (s fleet) Get(ctx context.Context, scope store.Scope, i id.Cluster) (store.Member, error) {
	return s.one(ctx, scope, func(c store.Cluster) bool { return c.ID == i })
}

func (s fleet) ByNumber(ctx context.Context, scope store.Scope, number int64) (store.Member, error) {
	return s.one(ctx, scope, func(c store.Cluster) bool { return c.Number == number })
}

func (s fleet) ByName(ctx context.Context, scope store.Scope, name string) (store.Member, error) {
	if err := plain(name); err != nil {
		return store.Member{}, err
	}
	return s.one(ctx, scope, func(c store.Cluster) bool { return c.VclusterName == name })
}

func (s fleet) Default(ctx context.Context, scope store.Scope) (store.Member, error) {
	return s.one(ctx, scope, func(c store.Cluster) bool { return s.u.fleet.rows[c.ID].Default })
}

func (s fleet) one(ctx context.Context, scope store.Scope, wanted func(store.Cluster) bool) (store.Member, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Member{}, err
	}
	c, ok := s.u.clusters.find(func(c store.Cluster) bool { return s.u.sees(scope, c.ID) && wanted(c) })
	if !ok {
		return store.Member{}, noCluster()
	}
	return s.member(c), nil
}

func (s fleet) member(c store.Cluster) store.Member {
	m := store.Member{Cluster: c, Entry: store.FleetEntry{ClusterID: c.ID}, Nodes: map[string]int{}}
	if e, ok := s.u.fleet.get(c.ID); ok {
		m.Entry, m.Entry.Sealed = e, nil
	}
	m.Contents, _ = s.u.contents.get(c.ID)
	for _, n := range s.u.nodes.rows {
		if n.ClusterID == c.ID {
			m.Nodes[n.Status]++
		}
	}
	return m
}

func (s fleet) List(ctx context.Context, scope store.Scope, f store.FleetFilter, offset, limit int) ([]store.Member, int, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, 0, err
	}
	if err := plain(f.Search); err != nil {
		return nil, 0, err
	}
	after, known := s.u.clusters.get(f.After)
	found := s.u.clusters.sorted(clusterID, func(c store.Cluster) bool {
		return s.u.sees(scope, c.ID) && (f.After.IsZero() || known && c.Number > after.Number) && contains(f.Search, c.Name, c.VclusterName, c.ID.String())
	})
	slices.SortFunc(found, func(a, b store.Cluster) int { return cmp.Compare(a.Number, b.Number) })
	if limit <= 0 || offset < 0 || offset >= len(found) {
		return nil, len(found), nil
	}
	var out []store.Member
	for _, c := range found[offset:min(offset+limit, len(found))] {
		out = append(out, s.member(c))
	}
	return out, len(found), nil
}

func (s fleet) Put(ctx context.Context, rec *store.FleetEntry) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	next, err := storable(*rec)
	if err != nil {
		return err
	}
	have, _ := s.u.fleet.get(rec.ClusterID)
	if have.Version != rec.Version { // none has the version 0
		return stale()
	}
	_, other := s.u.fleet.find(func(e store.FleetEntry) bool { return e.Default && e.ClusterID != next.ClusterID })
	if next.Default && other {
		return fault.Conflict.New("default_taken", "Another cluster is the default.")
	}
	if next.Sealed == nil {
		next.Sealed = have.Sealed
	}
	next.Version++
	s.u.fleet.put(s.u, next.ClusterID, next)
	rec.Version = next.Version
	return nil
}

func (s fleet) NoDefault(ctx context.Context, at time.Time) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if e, ok := s.u.fleet.find(func(e store.FleetEntry) bool { return e.Default }); ok {
		e.Default, e.UpdatedAt = false, at.UTC().Truncate(time.Millisecond)
		e.Version++
		s.u.fleet.put(s.u, e.ClusterID, e)
	}
	return nil
}

func (s fleet) Sealed(ctx context.Context, c id.Cluster) ([]byte, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	e, _ := s.u.fleet.get(c)
	if len(e.Sealed) == 0 || !s.u.sees(store.Everyone(), c) {
		return nil, notFound("credential", "There is no credential for this cluster.")
	}
	return e.Sealed, nil
}

func (s fleet) AllSealed(ctx context.Context, after id.Cluster, limit int) ([]store.FleetEntry, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	found := sorted(maps.Values(s.u.fleet.rows), func(e store.FleetEntry) string { return e.ClusterID.String() }, func(e store.FleetEntry) bool {
		return len(e.Sealed) > 0 && e.ClusterID.String() > after.String()
	})
	return found[:min(max(limit, 0), len(found))], nil
}

func (s fleet) Count(ctx context.Context, c id.Cluster, contents store.Contents) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if contents.CountedAt == nil {
		return nil
	}
	contents, err := storable(contents)
	if err != nil {
		return err
	}
	s.u.contents.put(s.u, c, contents)
	return nil
}

func (s fleet) Remove(ctx context.Context, c id.Cluster) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	s.u.fleet.remove(s.u, c)
	s.u.contents.remove(s.u, c)
	return nil
}
