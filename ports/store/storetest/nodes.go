package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

func tokenSubject() subject[store.Token] {
	return subject[store.Token]{
		name:   "Token",
		sample: func(w *world) store.Token { return w.newToken(w.cluster(w.user())) },
		insert: func(ctx context.Context, tx store.Tx, t store.Token) error { return tx.Tokens().Insert(ctx, t) },
		get: func(ctx context.Context, tx store.Tx, t store.Token) (store.Token, error) {
			return tx.Tokens().Get(ctx, store.Everyone(), t.ID)
		},
		update: func(ctx context.Context, tx store.Tx, t store.Token) error { return tx.Tokens().Update(ctx, &t) },
		sets:   []string{"Version"},
	}
}

func (w *world) getToken(i id.Token) (t store.Token) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) (err error) {
		t, err = tx.Tokens().Get(ctx, store.Everyone(), i)
		return err
	})
	return t
}

// seen checks which scopes find something of ann's cluster, before and after
// that cluster is deleted.
func (w *world) seen(ann store.User, c *store.Cluster, what string, get func(ctx context.Context, tx store.Tx, s store.Scope) error) {
	w.Helper()
	bob := w.user()
	w.cluster(bob)
	look := func(s store.Scope) (err error) {
		w.read(func(ctx context.Context, tx store.Tx) error {
			err = get(ctx, tx, s)
			return nil
		})
		return err
	}
	w.must(look(store.OwnedBy(ann.ID)))
	w.must(look(store.Everyone()))
	for _, s := range []store.Scope{{}, store.OwnedBy(bob.ID), store.OwnedBy(id.User{})} {
		w.missing(look(s), what)
	}
	w.bury(c)
	w.missing(look(store.OwnedBy(ann.ID)), what)
	w.missing(look(store.Everyone()), what)
}

var tokens = checks{
	"TokenScopeHidesOthers": func(w *world) {
		ann := w.user()
		c := w.cluster(ann)
		t := w.token(c)
		w.seen(ann, &c, "token", func(ctx context.Context, tx store.Tx, s store.Scope) error {
			_, err := tx.Tokens().Get(ctx, s, t.ID)
			return err
		})
	},
	"TokenIsFoundByEitherHalf": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		w.token(c)
		t := w.token(c)
		twin := w.token(other, func(o *store.Token) { o.BootstrapID = t.BootstrapID }) // unique in its cluster only
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Tokens().ByValueHash(ctx, t.ValueHash)
			w.must(err)
			same(w, got, t)
			got, err = tx.Tokens().ByBootstrapID(ctx, c.ID, t.BootstrapID)
			w.must(err)
			same(w, got, t)
			got, err = tx.Tokens().ByBootstrapID(ctx, other.ID, t.BootstrapID)
			w.must(err)
			same(w, got, twin)
			_, err = tx.Tokens().ByValueHash(ctx, []byte("other"))
			w.missing(err, "token")
			_, err = tx.Tokens().ByBootstrapID(ctx, c.ID, "other")
			w.missing(err, "token")
			_, err = tx.Tokens().Get(ctx, store.Everyone(), newID[id.TokenKind](w))
			w.missing(err, "token")
			return nil
		})
	},
	"TokenSecretsAreUnique": func(w *world) {
		c := w.cluster(w.user())
		a, b := w.token(c), w.token(c)
		for _, clash := range []func(*store.Token){
			func(t *store.Token) { t.ValueHash = a.ValueHash },
			func(t *store.Token) { t.BootstrapID = a.BootstrapID },
		} {
			t, changed := w.newToken(c, clash), b
			clash(&changed)
			w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Tokens().Insert(ctx, t) }), "already_exists")
			w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Tokens().Update(ctx, &changed) }), "already_exists")
		}
	},
	"TokenClaimIsTheNewest": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		claimed := func(c store.Cluster, node string) store.Token {
			return w.token(c, func(t *store.Token) { t.ClaimedNodeName = node })
		}
		claimed(c, "node-1")
		want := claimed(c, "node-1")
		claimed(c, "node-2")
		claimed(c, "")
		claimed(other, "node-1")
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Tokens().ByClaim(ctx, c.ID, "node-1")
			w.must(err)
			same(w, got, want)
			for _, node := range []string{"node-3", "NODE-1", ""} {
				_, err = tx.Tokens().ByClaim(ctx, c.ID, node)
				w.missing(err, "token")
			}
			return nil
		})
	},
	"TokenStaleVersionIsConflict": func(w *world) {
		first := w.token(w.cluster(w.user()))
		second := first
		first.Status = "used"
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Tokens().Update(ctx, &first) })
		is(w, "Version", first.Version, second.Version+1)
		version := second.Version
		w.stale(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Tokens().Update(ctx, &second) }))
		is(w, "Version after a refusal", second.Version, version)
		same(w, w.getToken(first.ID), first)
	},
	"ActiveTokensAreCounted": func(w *world) {
		c := w.cluster(w.user())
		with := func(c store.Cluster, status string, expires time.Duration) {
			w.token(c, func(t *store.Token) { t.Status, t.ExpiresAt = status, after(expires) })
		}
		for range 3 {
			with(c, "active", time.Millisecond)
		}
		with(c, "active", 0)
		with(c, "used", time.Hour)
		with(c, "revoked", time.Hour)
		with(w.cluster(w.user()), "active", time.Hour)
		w.read(func(ctx context.Context, tx store.Tx) error {
			for limit, want := range map[int]int{0: 0, 2: 2, 3: 3, 10: 3} {
				n, err := tx.Tokens().CountActive(ctx, c.ID, start, limit)
				w.must(err)
				is(w, fmt.Sprintf("active, up to %d", limit), n, want)
			}
			return nil
		})
	},
	"LeftoverIsOverAndHasASecret": func(w *world) {
		c := w.cluster(w.user())
		with := func(status string, secret bool, expires time.Duration) store.Token {
			return w.token(c, func(t *store.Token) { t.Status, t.SecretInTenant, t.ExpiresAt = status, secret, after(expires) })
		}
		want := []store.Token{
			with("used", true, time.Hour), with("revoked", true, -time.Hour), with("active", true, -time.Millisecond), with("expired", true, -time.Hour),
		}
		with("active", true, 0)
		with("active", true, time.Hour)
		with("used", false, time.Hour)
		with("active", false, -time.Hour)
		w.token(w.cluster(w.user()), func(t *store.Token) { t.Status, t.SecretInTenant = "used", true })
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, limit := range []int{0, 3, 10} {
				got, err := tx.Tokens().Leftover(ctx, c.ID, start, limit)
				w.must(err)
				is(w, fmt.Sprintf("leftover, at most %d", limit), len(got), min(limit, len(want)))
				for _, t := range got {
					i := slices.IndexFunc(want, func(o store.Token) bool { return o.ID == t.ID })
					if i < 0 {
						w.Errorf("%s (%s, %v, %s) is not left over", t.ID, t.Status, t.SecretInTenant, t.ExpiresAt)
						continue
					}
					same(w, t, want[i])
				}
			}
			return nil
		})
	},
}

func nodeSubject() subject[store.Node] {
	return subject[store.Node]{
		name:   "Node",
		sample: func(w *world) store.Node { return w.newNode(w.cluster(w.user())) },
		insert: func(ctx context.Context, tx store.Tx, n store.Node) error { return tx.Nodes().Insert(ctx, n) },
		get: func(ctx context.Context, tx store.Tx, n store.Node) (store.Node, error) {
			return tx.Nodes().Get(ctx, store.Everyone(), n.ID)
		},
		update: func(ctx context.Context, tx store.Tx, n store.Node) error { return tx.Nodes().Update(ctx, n) },
	}
}

func nodeID(n store.Node) string { return n.ID.String() }

func (w *world) listsNodes(what string, s store.Scope, f store.NodeFilter, want ...store.Node) {
	w.Helper()
	var ids []string
	for _, n := range want {
		ids = append(ids, nodeID(n))
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	listed(w, what, nodeID, ids, func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.Node], error) {
		return tx.Nodes().List(ctx, s, f, q)
	})
}

var nodes = checks{
	"NodeScopeHidesOthers": func(w *world) {
		ann := w.user()
		c := w.cluster(ann)
		n := w.node(c)
		w.seen(ann, &c, "node", func(ctx context.Context, tx store.Tx, s store.Scope) error {
			got, err := tx.Nodes().Get(ctx, s, n.ID)
			page, listErr := tx.Nodes().List(ctx, s, store.NodeFilter{}, page.Query{})
			totals, sumErr := tx.Nodes().Totals(ctx, s)
			w.must(errors.Join(listErr, sumErr))
			if err != nil {
				is(w, "listed to others", slices.ContainsFunc(page.Items, func(o store.Node) bool { return o.ID == n.ID }), false)
				is(w, "counted for others", totals.ByStatus[n.Status], 0)
				return err
			}
			same(w, got, n)
			is(w, "listed", len(page.Items), 1)
			is(w, "counted", totals.ByStatus[n.Status], 1)
			return nil
		})
	},
	"NodeNameIsTakenOncePerCluster": func(w *world) {
		c := w.cluster(w.user())
		a, b := w.node(c), w.node(c)
		named := func(n *store.Node) { n.Name = a.Name }
		n := w.newNode(c, named)
		w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Insert(ctx, n) }), "node_exists")
		named(&b)
		w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Update(ctx, b) }), "node_exists")
		twin := w.node(w.cluster(w.user()), named)
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Delete(ctx, a.ID) })
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Insert(ctx, n) })
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Nodes().ByName(ctx, c.ID, a.Name)
			w.must(err)
			same(w, got, n)
			got, err = tx.Nodes().ByName(ctx, twin.ClusterID, a.Name)
			w.must(err)
			same(w, got, twin)
			return nil
		})
	},
	"NodeThatNeverWasIsMissing": func(w *world) {
		c := w.cluster(w.user())
		n := w.newNode(c)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Nodes().Get(ctx, store.Everyone(), n.ID)
			w.missing(err, "node")
			_, err = tx.Nodes().ByName(ctx, c.ID, n.Name)
			w.missing(err, "node")
			w.missing(tx.Nodes().Update(ctx, n), "node")
			return tx.Nodes().Delete(ctx, n.ID)
		})
	},
	"NodesOfAClusterComeByName": func(w *world) {
		u := w.user()
		c, other := w.cluster(u), w.cluster(u)
		var want []string
		for _, name := range []string{"b", "a-1", "B", "a1", "ä", "a", "z"} {
			w.node(c, func(n *store.Node) { n.Name = name })
			want = append(want, name)
		}
		w.node(other)
		slices.Sort(want) // by bytes, whatever the database's locale
		w.read(func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Nodes().OfCluster(ctx, c.ID)
			var got []string
			for _, n := range all {
				got = append(got, n.Name)
			}
			if !slices.Equal(got, want) {
				w.Errorf("got %q, want %q", got, want)
			}
			none, emptyErr := tx.Nodes().OfCluster(ctx, newID[id.ClusterKind](w))
			is(w, "nodes of no cluster", len(none), 0)
			return errors.Join(err, emptyErr)
		})
	},
	"NodesArePutAllAtOnce": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		old, untouched := w.node(c), w.node(c)
		twin := w.node(other, func(n *store.Node) { n.Name = untouched.Name })
		fresh, changed := w.newNode(c), w.newNode(c, func(n *store.Node) { n.ID, n.CreatedAt, n.Name = old.ID, old.CreatedAt, "renamed" })
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Nodes().Put(ctx))
			return tx.Nodes().Put(ctx, fresh, changed)
		})
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, want := range []store.Node{fresh, changed, untouched, twin} {
				got, err := tx.Nodes().Get(ctx, store.Everyone(), want.ID)
				w.must(err)
				same(w, got, want)
			}
			return nil
		})
		clash := w.newNode(c, func(n *store.Node) { n.Name = untouched.Name })
		w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Put(ctx, w.newNode(c), clash) }), "node_exists")
		bad := w.newNode(c, func(n *store.Node) { n.Labels = map[string]string{"a": "\x00"} })
		w.fails(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Put(ctx, w.newNode(c), bad) }), fault.Invalid, fault.ValidationFailed)
		w.listsNodes("after refusals", store.Everyone(), store.NodeFilter{}, fresh, changed, untouched, twin)
		var many []store.Node
		for range 1000 {
			many = append(many, w.newNode(other))
		}
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Put(ctx, many...) })
		w.read(func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Nodes().OfCluster(ctx, other.ID)
			is(w, "nodes", len(all), 1001)
			return err
		})
	},
	"NodesAreFoundByTheirNames": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		named := func(c store.Cluster, name string) store.Node {
			return w.node(c, func(n *store.Node) { n.Name = name })
		}
		b, a := named(c, "b"), named(c, "a")
		named(c, "c")
		named(other, "a")
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Nodes().ByNames(ctx, c.ID, []string{"b", "a", "A", "nobody"})
			w.must(err)
			is(w, "found", len(got), 2)
			same(w, got[0], a)
			same(w, got[1], b)
			got, err = tx.Nodes().ByNames(ctx, c.ID, nil)
			is(w, "found without names", len(got), 0)
			return err
		})
	},
	"LostNodesAreMarkedTogether": func(w *world) {
		c, other := w.cluster(w.user()), w.cluster(w.user())
		with := func(c store.Cluster, status string) store.Node {
			return w.node(c, func(n *store.Node) { n.Status = status })
		}
		a, b, gone, far := with(c, "ready"), with(c, "pending"), with(c, "unknown"), with(other, "ready")
		at := after(time.Hour + time.Microsecond)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.Nodes().Lose(ctx, c.ID, "unknown", at)
			is(w, "lost", n, 2)
			return err
		})
		at = after(time.Hour)
		for _, n := range []*store.Node{&a, &b} {
			n.Status, n.OfflineAt, n.UpdatedAt = "unknown", &at, at
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, want := range []store.Node{a, b, gone, far} {
				got, err := tx.Nodes().Get(ctx, store.Everyone(), want.ID)
				w.must(err)
				same(w, got, want)
			}
			return nil
		})
	},
	"NodesAreDeletedTogether": func(w *world) {
		c := w.cluster(w.user())
		a, b, kept := w.node(c), w.node(c), w.node(c)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Nodes().Delete(ctx))
			return tx.Nodes().Delete(ctx, a.ID, newID[id.NodeKind](w), b.ID)
		})
		w.listsNodes("left", store.Everyone(), store.NodeFilter{}, kept)
	},
	"NodesOfAClusterGoTogether": func(w *world) {
		u := w.user()
		c, other := w.cluster(u), w.cluster(u)
		w.node(c)
		w.node(c)
		kept := w.node(other)
		for _, want := range []int{2, 0} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.Nodes().DeleteOfCluster(ctx, c.ID)
				is(w, "deleted", n, want)
				return err
			})
		}
		w.listsNodes("left", store.Everyone(), store.NodeFilter{}, kept)
	},
	"NodeFilters": func(w *world) {
		u := w.user()
		c, d := w.cluster(u), w.cluster(u)
		with := func(c store.Cluster, name, ip, status string) store.Node {
			return w.node(c, func(n *store.Node) { n.Name, n.InternalIP, n.Status = name, ip, status })
		}
		a, b := with(c, "Worker_1", "10.0.0.1", "ready"), with(c, "worker-2", "10.0.0.12", "unknown")
		e := with(d, "edge%", "fd00::1", "ready")
		mine := store.OwnedBy(u.ID)
		w.listsNodes("all", mine, store.NodeFilter{}, a, b, e)
		w.listsNodes("cluster", mine, store.NodeFilter{ClusterID: c.ID}, a, b)
		w.listsNodes("status", mine, store.NodeFilter{Status: "ready"}, a, e)
		w.listsNodes("both", mine, store.NodeFilter{ClusterID: d.ID, Status: "ready"}, e)
		w.listsNodes("no such cluster", mine, store.NodeFilter{ClusterID: newID[id.ClusterKind](w)})
		for search, want := range map[string][]store.Node{
			"WORKER": {a, b}, "r_1": {a}, "_": {a}, "%": {e}, `\`: nil, "0.0.1": {a, b}, "FD00": {e}, "linux": nil,
		} {
			w.listsNodes("search "+search, mine, store.NodeFilter{Search: search}, want...)
		}
		w.listsNodes("stranger", store.OwnedBy(w.user().ID), store.NodeFilter{ClusterID: c.ID, Search: "worker"})
	},
	"NodeTotalsAreSums": func(w *world) {
		u := w.user()
		c, gone := w.cluster(u), w.cluster(u)
		with := func(c store.Cluster, status string, cpu, memory int64) {
			w.node(c, func(n *store.Node) { n.Status, n.CPUAllocatableMilli, n.MemoryAllocatableBytes = status, cpu, memory })
		}
		with(c, "ready", 1000, 1<<40)
		with(c, "ready", 500, 1<<41)
		with(w.cluster(u), "unknown", 1, 0)
		with(gone, "ready", 9, 9)
		with(w.cluster(w.user()), "ready", 70, 700)
		w.bury(&gone)
		for name, ask := range map[string]struct {
			scope store.Scope
			want  store.NodeTotals
		}{
			"owner":    {store.OwnedBy(u.ID), store.NodeTotals{ByStatus: map[string]int{"ready": 2, "unknown": 1}, CPUAllocatableMilli: 1501, MemoryAllocatableBytes: 3 << 40}},
			"everyone": {store.Everyone(), store.NodeTotals{ByStatus: map[string]int{"ready": 3, "unknown": 1}, CPUAllocatableMilli: 1571, MemoryAllocatableBytes: 3<<40 + 700}},
			"nobody":   {store.Scope{}, store.NodeTotals{ByStatus: map[string]int{}}},
		} {
			w.read(func(ctx context.Context, tx store.Tx) error {
				got, err := tx.Nodes().Totals(ctx, ask.scope)
				if !reflect.DeepEqual(got, ask.want) {
					w.Errorf("%s: got %+v, want %+v", name, got, ask.want)
				}
				return err
			})
		}
	},
}

func nodeEventSubject() subject[store.NodeEvent] {
	return subject[store.NodeEvent]{
		name:   "NodeEvent",
		sample: func(w *world) store.NodeEvent { return w.newNodeEvent(w.cluster(w.user())) },
		insert: func(ctx context.Context, tx store.Tx, e store.NodeEvent) error { return tx.NodeEvents().Append(ctx, e) },
		get: func(ctx context.Context, tx store.Tx, e store.NodeEvent) (store.NodeEvent, error) {
			p, err := tx.NodeEvents().List(ctx, store.Everyone(), store.NodeEventFilter{}, page.Query{})
			return pick(p, err, "node_event", func(o store.NodeEvent) bool { return o.ID == e.ID })
		},
		repeatable: true,
	}
}

var nodeEvents = checks{
	"NodeEventScopeHidesOthers": func(w *world) {
		ann := w.user()
		c := w.cluster(ann)
		e := w.newNodeEvent(c)
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.NodeEvents().Append(ctx, e) })
		w.seen(ann, &c, "node_event", func(ctx context.Context, tx store.Tx, s store.Scope) error {
			p, err := tx.NodeEvents().List(ctx, s, store.NodeEventFilter{ClusterID: c.ID}, page.Query{})
			_, err = pick(p, err, "node_event", func(o store.NodeEvent) bool { return o.ID == e.ID })
			return err
		})
	},
	"NodeEventFilters": func(w *world) {
		u := w.user()
		c, d := w.cluster(u), w.cluster(u)
		n := newID[id.NodeKind](w)
		a := w.newNodeEvent(c, func(e *store.NodeEvent) { e.NodeID, e.Type = n, "joined" })
		b := w.newNodeEvent(c, func(e *store.NodeEvent) { e.NodeID, e.Type = n, "offline" })
		e := w.newNodeEvent(d, func(e *store.NodeEvent) { e.Type = "joined" })
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.NodeEvents().Append(ctx))
			return tx.NodeEvents().Append(ctx, b, e, a)
		})
		for name, ask := range map[string]struct {
			filter store.NodeEventFilter
			want   []store.NodeEvent
		}{
			"all":      {store.NodeEventFilter{}, []store.NodeEvent{e, b, a}},
			"cluster":  {store.NodeEventFilter{ClusterID: c.ID}, []store.NodeEvent{b, a}},
			"node":     {store.NodeEventFilter{NodeID: n}, []store.NodeEvent{b, a}},
			"type":     {store.NodeEventFilter{Type: "joined"}, []store.NodeEvent{e, a}},
			"together": {store.NodeEventFilter{ClusterID: c.ID, NodeID: n, Type: "joined"}, []store.NodeEvent{a}},
			"none":     {store.NodeEventFilter{ClusterID: d.ID, NodeID: n}, nil},
		} {
			var want []string
			for _, e := range ask.want {
				want = append(want, e.ID.String())
			}
			listed(w, name, func(e store.NodeEvent) string { return e.ID.String() }, want,
				func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.NodeEvent], error) {
					return tx.NodeEvents().List(ctx, store.OwnedBy(u.ID), ask.filter, q)
				})
		}
	},
	"OneBadEventSpoilsAll": func(w *world) {
		c := w.cluster(w.user())
		good, bad := w.newNodeEvent(c), w.newNodeEvent(c, func(e *store.NodeEvent) { e.Message = "\x00" })
		err := w.try(func(ctx context.Context, tx store.Tx) error { return tx.NodeEvents().Append(ctx, good, bad) })
		w.fails(err, fault.Invalid, fault.ValidationFailed)
		listed(w, "events", func(e store.NodeEvent) string { return e.ID.String() }, nil,
			func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.NodeEvent], error) {
				return tx.NodeEvents().List(ctx, store.Everyone(), store.NodeEventFilter{}, q)
			})
	},
}
