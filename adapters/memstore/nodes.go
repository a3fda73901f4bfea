package memstore

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// active tokens may still be used.
const active = "active"

type tokens struct{ u *unit }

func tokenID(t store.Token) string { return t.ID.String() }

func noToken() error { return notFound("token", "There is no such join token.") }

func (s tokens) Insert(ctx context.Context, rec store.Token) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if _, taken := s.u.tokens.get(rec.ID); taken {
		return exists()
	}
	if err := s.free(rec); err != nil {
		return err
	}
	rec.Version = 1
	s.u.tokens.put(s.u, rec.ID, rec)
	return nil
}

func (s tokens) free(rec store.Token) error {
	_, taken := s.u.tokens.find(func(t store.Token) bool {
		return t.ID != rec.ID && (bytes.Equal(t.ValueHash, rec.ValueHash) || t.ClusterID == rec.ClusterID && t.BootstrapID == rec.BootstrapID)
	})
	if taken {
		return exists()
	}
	return nil
}

func (s tokens) Get(ctx context.Context, scope store.Scope, i id.Token) (store.Token, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Token{}, err
	}
	t, ok := s.u.tokens.get(i)
	if !ok || !s.u.sees(scope, t.ClusterID) {
		return store.Token{}, noToken()
	}
	return t, nil
}

func (s tokens) one(ctx context.Context, wanted func(store.Token) bool) (store.Token, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Token{}, err
	}
	rows := s.u.tokens.sorted(tokenID, wanted)
	if len(rows) == 0 {
		return store.Token{}, noToken()
	}
	return rows[len(rows)-1], nil
}

func (s tokens) ByValueHash(ctx context.Context, hash []byte) (store.Token, error) {
	return s.one(ctx, func(t store.Token) bool { return bytes.Equal(t.ValueHash, hash) })
}

func (s tokens) ByBootstrapID(ctx context.Context, c id.Cluster, bootstrapID string) (store.Token, error) {
	if err := plain(bootstrapID); err != nil {
		return store.Token{}, err
	}
	return s.one(ctx, func(t store.Token) bool { return t.ClusterID == c && t.BootstrapID == bootstrapID })
}

func (s tokens) ByClaim(ctx context.Context, c id.Cluster, node string) (store.Token, error) {
	if err := plain(node); err != nil {
		return store.Token{}, err
	}
	return s.one(ctx, func(t store.Token) bool { return node != "" && t.ClusterID == c && t.ClaimedNodeName == node })
}

func (s tokens) Update(ctx context.Context, rec *store.Token) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	next, err := storable(*rec)
	if err != nil {
		return err
	}
	have, ok := s.u.tokens.get(rec.ID)
	if !ok || have.Version != rec.Version {
		return stale()
	}
	if err := s.free(next); err != nil {
		return err
	}
	next.Version++
	s.u.tokens.put(s.u, next.ID, next)
	rec.Version = next.Version
	return nil
}

func (s tokens) CountActive(ctx context.Context, c id.Cluster, now time.Time, limit int) (int, error) {
	if err := s.u.reads(ctx); err != nil {
		return 0, err
	}
	rows := s.u.tokens.sorted(tokenID, func(t store.Token) bool {
		return t.ClusterID == c && t.Status == active && t.ExpiresAt.After(now)
	})
	return max(0, min(limit, len(rows))), nil
}

func (s tokens) Leftover(ctx context.Context, c id.Cluster, now time.Time, limit int) ([]store.Token, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	rows := s.u.tokens.sorted(tokenID, func(t store.Token) bool {
		return t.ClusterID == c && t.SecretInTenant && (t.Status != active || t.ExpiresAt.Before(now))
	})
	return rows[:max(0, min(limit, len(rows)))], nil
}

type nodes struct{ u *unit }

func nodeID(n store.Node) string { return n.ID.String() }

func noNode() error { return notFound("node", "There is no such node.") }

func (s nodes) Get(ctx context.Context, scope store.Scope, i id.Node) (store.Node, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Node{}, err
	}
	n, ok := s.u.nodes.get(i)
	if !ok || !s.u.sees(scope, n.ClusterID) {
		return store.Node{}, noNode()
	}
	return n, nil
}

func (s nodes) ByName(ctx context.Context, c id.Cluster, name string) (store.Node, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Node{}, err
	}
	if err := plain(name); err != nil {
		return store.Node{}, err
	}
	n, ok := s.u.nodes.find(func(n store.Node) bool { return n.ClusterID == c && n.Name == name })
	if !ok {
		return store.Node{}, noNode()
	}
	return n, nil
}

func (s nodes) ByNames(ctx context.Context, c id.Cluster, names []string) ([]store.Node, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	if err := plain(names...); err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(names))
	for _, n := range names {
		wanted[n] = true
	}
	return s.u.nodes.sorted(func(n store.Node) string { return n.Name }, func(n store.Node) bool { return n.ClusterID == c && wanted[n.Name] }), nil
}

func (s nodes) OfCluster(ctx context.Context, c id.Cluster) ([]store.Node, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	return s.u.nodes.sorted(func(n store.Node) string { return n.Name }, func(n store.Node) bool { return n.ClusterID == c }), nil
}

func (s nodes) Insert(ctx context.Context, rec store.Node) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if _, taken := s.u.nodes.get(rec.ID); taken {
		return exists()
	}
	if err := s.free(rec); err != nil {
		return err
	}
	s.u.nodes.put(s.u, rec.ID, rec)
	return nil
}

func (s nodes) free(rec store.Node) error {
	_, taken := s.u.nodes.find(func(n store.Node) bool {
		return n.ID != rec.ID && n.ClusterID == rec.ClusterID && n.Name == rec.Name
	})
	if taken {
		return fault.Conflict.New("node_exists", "The cluster has a node of this name already.")
	}
	return nil
}

func (s nodes) Update(ctx context.Context, rec store.Node) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if _, ok := s.u.nodes.get(rec.ID); !ok {
		return noNode()
	}
	if err := s.free(rec); err != nil {
		return err
	}
	s.u.nodes.put(s.u, rec.ID, rec)
	return nil
}

func (s nodes) Put(ctx context.Context, recs ...store.Node) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	for _, rec := range recs {
		rec, err := storable(rec)
		if err != nil {
			return err
		}
		if err := s.free(rec); err != nil {
			return err
		}
		s.u.nodes.put(s.u, rec.ID, rec)
	}
	return nil
}

func (s nodes) Lose(ctx context.Context, c id.Cluster, status string, at time.Time) (n int, err error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	if err := plain(status); err != nil {
		return 0, err
	}
	at = at.UTC().Truncate(time.Millisecond)
	for _, rec := range s.u.nodes.sorted(nodeID, func(n store.Node) bool { return n.ClusterID == c && n.Status != status }) {
		rec.Status, rec.OfflineAt, rec.UpdatedAt = status, &at, at
		s.u.nodes.put(s.u, rec.ID, detached(rec))
		n++
	}
	return n, nil
}

func (s nodes) Delete(ctx context.Context, ids ...id.Node) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	for _, i := range ids {
		s.u.nodes.remove(s.u, i)
	}
	return nil
}

func (s nodes) DeleteOfCluster(ctx context.Context, c id.Cluster) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	return s.u.nodes.removeSome(s.u, len(s.u.nodes.rows), func(n store.Node) bool { return n.ClusterID == c }), nil
}

func (s nodes) List(ctx context.Context, scope store.Scope, f store.NodeFilter, q page.Query) (page.Of[store.Node], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.Node]{}, err
	}
	if err := plain(f.Status, f.Search); err != nil {
		return page.Of[store.Node]{}, err
	}
	return newest(maps.Values(s.u.nodes.rows), q, nodeID, func(n store.Node) bool {
		return s.u.sees(scope, n.ClusterID) && (f.ClusterID.IsZero() || n.ClusterID == f.ClusterID) &&
			(f.Status == "" || n.Status == f.Status) && contains(f.Search, n.Name, n.InternalIP)
	})
}

func (s nodes) Totals(ctx context.Context, scope store.Scope) (store.NodeTotals, error) {
	sum := store.NodeTotals{ByStatus: map[string]int{}}
	if err := s.u.reads(ctx); err != nil {
		return sum, err
	}
	for _, n := range s.u.nodes.rows {
		if s.u.sees(scope, n.ClusterID) {
			sum.ByStatus[n.Status]++
			sum.CPUAllocatableMilli += n.CPUAllocatableMilli
			sum.MemoryAllocatableBytes += n.MemoryAllocatableBytes
		}
	}
	return sum, nil
}

type nodeEvents struct{ u *unit }

func (s nodeEvents) Append(ctx context.Context, events ...store.NodeEvent) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	for _, e := range events {
		e, err := storable(e)
		if err != nil {
			return err
		}
		s.u.nodeEvents.append(e)
	}
	return nil
}

func (s nodeEvents) List(ctx context.Context, scope store.Scope, f store.NodeEventFilter, q page.Query) (page.Of[store.NodeEvent], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.NodeEvent]{}, err
	}
	if err := plain(f.Type); err != nil {
		return page.Of[store.NodeEvent]{}, err
	}
	return newest(slices.Values(s.u.nodeEvents.rows), q, func(e store.NodeEvent) string { return e.ID.String() },
		func(e store.NodeEvent) bool {
			return s.u.sees(scope, e.ClusterID) && (f.ClusterID.IsZero() || e.ClusterID == f.ClusterID) &&
				(f.NodeID.IsZero() || e.NodeID == f.NodeID) && (f.Type == "" || e.Type == f.Type)
		})
}
