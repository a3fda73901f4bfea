package overview_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/overview"
	"github.com/kubebyon/kubebyon/ports/store"
)

type world struct {
	*memstore.Store
	*overview.Service
	me, other id.User
}

// newWorld has two people with a cluster, a node and twelve deeds each, some of
// them about security, and one deed of the platform.
func newWorld(t *testing.T) world {
	t.Helper()
	w := world{Store: memstore.New(), me: coretest.NewUser(), other: coretest.NewUser()}
	var err error
	if w.Service, err = overview.New(w.Store); err != nil {
		t.Fatal(err)
	}
	random := coretest.Random()
	j := journal.Journal{Now: coretest.NewClock().Now, Random: random}
	err = w.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for i, u := range []id.User{w.me, w.other} {
			c := store.Cluster{
				ID: id.New[id.ClusterKind](coretest.Start, random()), OwnerUserID: u, VclusterName: fmt.Sprint("c", i),
				Status: []string{"ready", "error"}[i],
			}
			n := store.Node{
				ID: id.New[id.NodeKind](coretest.Start, random()), ClusterID: c.ID, Name: "w1", Status: "ready",
				CPUAllocatableMilli: 1000, MemoryAllocatableBytes: 1 << 30,
			}
			if err := tx.Clusters().Insert(ctx, &c); err != nil {
				return err
			}
			if err := tx.Nodes().Insert(ctx, n); err != nil {
				return err
			}
			who := actor.Actor{Type: actor.Person, UserID: u}
			for k := range 12 {
				e := journal.Event{Resource: "cluster", Action: []string{"create_requested", "looked_at"}[k%2], Message: fmt.Sprint(i, "/", k), ClusterID: c.ID}
				if err := j.WriteAs(ctx, tx, who, e); err != nil {
					return err
				}
			}
		}
		return j.WriteAs(ctx, tx, actor.Process(), journal.Event{Resource: "node", Action: "joined"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAnOverviewShowsWhatOneMaySeeAndWhatOneDid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for role, want := range map[actor.Role]int{actor.User: 1, actor.Operator: 2, actor.Admin: 2} {
		o, err := w.Overview(coretest.As(t.Context(), w.me, role))
		total := 0
		for _, n := range o.ClustersByStatus {
			total += n
		}
		if err != nil || total != want || o.Nodes.ByStatus["ready"] != want || o.Nodes.CPUAllocatableMilli != int64(want)*1000 || o.Nodes.MemoryAllocatableBytes != int64(want)<<30 {
			t.Errorf("%s sees %+v, %v", role, o, err)
		}
		if len(o.Recent) != 10 || o.Recent[0].Message != "0/11" || o.Recent[9].Message != "0/2" {
			t.Errorf("%s did %+v", role, o.Recent)
		}
	}
}

func TestActivitiesAreOnesOwnWhateverTheRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, role := range []actor.Role{actor.User, actor.Operator, actor.Admin} {
		got, err := w.Activities(coretest.As(t.Context(), w.other, role), overview.Filter{}, page.Query{})
		if err != nil || len(got.Items) != 12 {
			t.Errorf("%s: %d events, %v", role, len(got.Items), err)
		}
		for _, e := range got.Items {
			if e.ActorUserID != w.other {
				t.Errorf("%s sees what somebody else did: %+v", role, e)
			}
		}
	}
}

// TestWhoeverIsNoPersonDidNothing: the empty filter would mean everybody.
func TestWhoeverIsNoPersonDidNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, who := range map[string]actor.Actor{"machine": {Type: actor.Machine}, "process": actor.Process()} {
		ctx := actor.With(t.Context(), who)
		got, err := w.Activities(ctx, overview.Filter{}, page.Query{})
		o, oerr := w.Overview(ctx)
		if err != nil || oerr != nil || len(got.Items) != 0 || len(o.Recent) != 0 {
			t.Errorf("%s: %d events, %d recent, %v, %v", name, len(got.Items), len(o.Recent), err, oerr)
		}
	}
}

func TestFiltersApplyBeforeTheLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := coretest.As(t.Context(), w.me, actor.User)
	for name, c := range map[string]struct {
		f    overview.Filter
		want int
	}{
		"security": {overview.Filter{Category: "security"}, 6}, "action": {overview.Filter{Action: "looked_at"}, 6},
		"resource": {overview.Filter{ResourceType: "node"}, 0}, "unknown category": {overview.Filter{Category: "billing"}, 0},
		"all of them":               {overview.Filter{Category: "security", ResourceType: "cluster", Action: "create_requested"}, 6},
		"category and other action": {overview.Filter{Category: "security", Action: "looked_at"}, 0},
	} {
		got, err := w.Activities(ctx, c.f, page.Query{})
		if err != nil || len(got.Items) != c.want {
			t.Errorf("%s: %d events, %v, want %d", name, len(got.Items), err, c.want)
		}
	}
	first, err := w.Activities(ctx, overview.Filter{Category: "security"}, page.Query{Limit: 4})
	if err != nil || len(first.Items) != 4 || first.Next == "" {
		t.Fatalf("first page: %+v, %v", first, err)
	}
	rest, err := w.Activities(ctx, overview.Filter{Category: "security"}, page.Query{Limit: 4, Before: first.Next})
	if err != nil || len(rest.Items) != 2 || rest.Next != "" {
		t.Errorf("second page: %+v, %v", rest, err)
	}
}

func TestOnlyAdminsSeeWhatEverybodyDid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got, err := w.AllActivities(coretest.As(t.Context(), w.me, actor.Admin), overview.Filter{}, page.Query{})
	if err != nil || len(got.Items) != 25 {
		t.Errorf("an admin sees %d events, %v", len(got.Items), err)
	}
	if got, err := w.AllActivities(coretest.As(t.Context(), w.me, actor.Admin), overview.Filter{Category: "nonsense"}, page.Query{}); err != nil || len(got.Items) != 0 {
		t.Errorf("an unknown category gives %d events, %v", len(got.Items), err)
	}
	for _, role := range []actor.Role{actor.User, actor.Operator} {
		got, err := w.AllActivities(coretest.As(t.Context(), w.me, role), overview.Filter{}, page.Query{})
		if fault.CodeOf(err) != "forbidden" || len(got.Items) != 0 {
			t.Errorf("%s: %d events, %v", role, len(got.Items), err)
		}
	}
}

func TestNobodySeesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err1 := w.Overview(t.Context())
	_, err2 := w.Activities(t.Context(), overview.Filter{}, page.Query{})
	_, err3 := w.AllActivities(t.Context(), overview.Filter{}, page.Query{})
	for _, err := range []error{err1, err2, err3} {
		if fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("got %v", err)
		}
	}
	if _, err := overview.New(nil); err == nil {
		t.Error("a service without a store was made")
	}
}
