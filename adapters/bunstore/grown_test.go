package bunstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestGrownListsMissNothing compares lists of a grown database, page by page,
// with what is found by looking at every row, for random filters and texts.
// KUBEBYON_TEST_SEED gives the same ones again.
func TestGrownListsMissNothing(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if given, err := strconv.ParseUint(os.Getenv("KUBEBYON_TEST_SEED"), 10, 64); err == nil {
		seed = given
	}
	t.Logf("KUBEBYON_TEST_SEED=%d", seed)
	for name, open := range map[string]func(testing.TB) *Store{"SQLite": openSQLite, "Postgres": openPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			g := fill(t, s, size{users: 20, clusters: 600, nodes: 1500, nodeEvents: 100, audits: 3000})
			c := comparison{T: t, s: s, g: g, random: rand.New(rand.NewPCG(seed, 0))}
			c.load()
			for range 60 {
				c.compareClusters()
				c.compareNodes()
				c.compareAudit()
			}
			t.Logf("%d lists, %d of them with something in them, of %d items", c.lists, c.full, c.items)
			if c.full < 30 {
				t.Error("most lists are empty: the comparison shows little")
			}
		})
	}
}

type comparison struct {
	*testing.T
	s                  *Store
	g                  grown
	random             *rand.Rand
	clusters           []clusterRow // all tables as they are, newest first
	nodes              []nodeRow
	events             []auditRow
	live               map[id.Cluster]id.User
	lists, full, items int
}

func (c *comparison) load() {
	c.Helper()
	ctx := c.Context()
	err := errors.Join(c.s.reader.NewSelect().Model(&c.clusters).Order("id DESC").Scan(ctx),
		c.s.reader.NewSelect().Model(&c.nodes).Order("id DESC").Scan(ctx), c.s.reader.NewSelect().Model(&c.events).Order("id DESC").Scan(ctx))
	if err != nil {
		c.Fatal(err)
	}
	c.live = map[id.Cluster]id.User{}
	for _, r := range c.clusters {
		if r.DeletedAt == nil {
			c.live[r.ID.ID] = r.OwnerUserID.ID
		}
	}
}

func pick[T any](c *comparison, of ...T) T { return of[c.random.IntN(len(of))] }

func (c *comparison) scope() store.Scope {
	everyone, big := store.Everyone(), store.OwnedBy(c.g.user(bigOwner))
	return pick(c, everyone, everyone, everyone, big, big, store.OwnedBy(c.g.user(5)), store.Scope{})
}

// text is part of what some row has in it, or nothing, or what nothing has.
func (c *comparison) text() string {
	r := []rune(pick(c, c.clusters[c.random.IntN(len(c.clusters))].SearchText, c.nodes[c.random.IntN(len(c.nodes))].SearchText, "needle-3", "", "zz"))
	if len(r) == 0 {
		return ""
	}
	from := c.random.IntN(len(r))
	return strings.ToUpper(strings.ReplaceAll(string(r[from:min(len(r), from+1+c.random.IntN(9))]), "\x1f", " "))
}

func (c *comparison) compareClusters() {
	scope, f := c.scope(), store.ClusterFilter{Status: pick(c, "", "", "ready", "error"), Search: c.text()}
	var want []string
	for _, r := range c.clusters {
		if r.DeletedAt == nil && scope.Sees(r.OwnerUserID.ID) && (f.Status == "" || f.Status == r.Status) && strings.Contains(r.SearchText, strings.ToLower(f.Search)) {
			want = append(want, r.ID.String())
		}
	}
	comparePages(c, fmt.Sprintf("clusters %+v %+v", scope, f), want, func(r store.Cluster) string { return r.ID.String() }, func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.Cluster], error) {
		return tx.Clusters().List(ctx, scope, f, q)
	})
}

func (c *comparison) compareNodes() {
	scope := c.scope()
	f := store.NodeFilter{Status: pick(c, "", "", "ready", "unknown"), Search: c.text(), ClusterID: pick(c, id.Cluster{}, id.Cluster{}, id.Cluster{}, c.g.cluster(5))}
	var want []string
	for _, r := range c.nodes {
		owner, live := c.live[r.ClusterID.ID]
		if live && scope.Sees(owner) && (f.Status == "" || f.Status == r.Status) && (f.ClusterID.IsZero() || f.ClusterID == r.ClusterID.ID) &&
			strings.Contains(r.SearchText, strings.ToLower(f.Search)) {
			want = append(want, r.ID.String())
		}
	}
	comparePages(c, fmt.Sprintf("nodes %+v %+v", scope, f), want, func(r store.Node) string { return r.ID.String() },
		func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.Node], error) {
			return tx.Nodes().List(ctx, scope, f, q)
		})
}

func (c *comparison) compareAudit() {
	f := store.AuditFilter{
		Actor: pick(c, id.User{}, c.g.user(bigOwner), c.g.user(admin), c.g.user(7)), SecurityOnly: pick(c, true, false),
		ResourceType: pick(c, "", "node", "api_key", "token", "none"), Action: pick(c, "", "cordon", "revoke", "none"),
	}
	var want []string
	for _, r := range c.events {
		if (f.Actor.IsZero() || f.Actor == r.ActorUserID.ID) && (!f.SecurityOnly || r.Security) &&
			(f.ResourceType == "" || f.ResourceType == r.ResourceType) && (f.Action == "" || f.Action == r.Action) {
			want = append(want, r.ID.String())
		}
	}
	comparePages(c, fmt.Sprintf("audit %+v", f), want, func(r store.AuditEvent) string { return r.ID.String() },
		func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.AuditEvent], error) {
			return tx.Audit().List(ctx, f, q)
		})
}

// comparePages reads up to six pages.
func comparePages[T any](c *comparison, what string, want []string, idOf func(T) string,
	list func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[T], error),
) {
	c.Helper()
	q := page.Query{Limit: pick(c, 1, 40, 100, 500)}
	var got []string
	for range 6 {
		var p page.Of[T]
		err := c.s.View(c.Context(), func(ctx context.Context, tx store.Tx) (err error) { p, err = list(ctx, tx, q); return err })
		if err != nil {
			c.Fatalf("%s: %v", what, err)
		}
		for _, r := range p.Items {
			got = append(got, idOf(r))
		}
		if q.Before = p.Next; q.Before == "" {
			break
		}
	}
	if q.Before != "" {
		want = want[:min(len(got), len(want))]
	}
	if !slices.Equal(got, want) {
		c.Errorf("%s, pages of %d: %d items, want %d", what, q.Limit, len(got), len(want))
	}
	c.lists++
	c.items += len(want)
	if len(want) > 0 {
		c.full++
	}
}

// TestTotalsFollowNodes changes nodes at random and adds them up itself.
func TestTotalsFollowNodes(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if given, err := strconv.ParseUint(os.Getenv("KUBEBYON_TEST_SEED"), 10, 64); err == nil {
		seed = given
	}
	t.Logf("KUBEBYON_TEST_SEED=%d", seed)
	for name, open := range map[string]func(testing.TB) *Store{"SQLite": openSQLite, "Postgres": openPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			g := fill(t, s, size{users: 10, clusters: 50, nodes: 200, nodeEvents: 1, audits: 1})
			random := rand.New(rand.NewPCG(seed, 0))
			for range 150 {
				changeSomeNode(t, s, g, random)
			}
			var nodes []nodeRow
			if err := s.reader.NewSelect().Model(&nodes).Where("cluster_id IN (SELECT id FROM clusters WHERE deleted_at IS NULL)").Scan(t.Context(), &nodes); err != nil {
				t.Fatal(err)
			}
			want := store.NodeTotals{ByStatus: map[string]int{}}
			for _, n := range nodes {
				want.ByStatus[n.Status]++
				want.CPUAllocatableMilli += n.CPUAllocatableMilli
				want.MemoryAllocatableBytes += n.MemoryAllocatableBytes
			}
			var got store.NodeTotals
			err := s.View(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
				got, err = tx.Nodes().Totals(ctx, store.Everyone())
				return err
			})
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("the totals are %v, %v; the nodes are %v", got, err, want)
			}
			t.Logf("150 changes; %v", got)
		})
	}
}

func changeSomeNode(t *testing.T, s *Store, g grown, random *rand.Rand) {
	t.Helper()
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		n, err := tx.Nodes().Get(ctx, store.Everyone(), g.node(random.IntN(200)))
		if err != nil {
			return nil //nolint:nilerr // one that is gone
		}
		n.Status = []string{"ready", "not_ready", "unknown"}[random.IntN(3)]
		n.CPUAllocatableMilli, n.MemoryAllocatableBytes = random.Int64N(9000), random.Int64N(1<<40)
		switch random.IntN(12) {
		case 0:
			return tx.Nodes().Delete(ctx, n.ID)
		case 1:
			_, err := tx.Nodes().DeleteOfCluster(ctx, n.ClusterID)
			return err
		case 2:
			_, err := tx.Nodes().Lose(ctx, n.ClusterID, "unknown", soon)
			return err
		case 3:
			n.ID, n.Name = numbered[id.NodeKind]("node", 1000+random.IntN(1<<30)), fmt.Sprint("new-", random.IntN(1<<30))
			return tx.Nodes().Insert(ctx, n)
		case 4:
			return tx.Nodes().Put(ctx, n)
		}
		return tx.Nodes().Update(ctx, n)
	})
	if err != nil {
		t.Fatal(err)
	}
}
