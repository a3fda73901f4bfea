package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

func fleetSubject() subject[store.FleetEntry] {
	return subject[store.FleetEntry]{
		name:   "FleetEntry",
		sample: func(w *world) store.FleetEntry { return w.newEntry(w.cluster(w.user())) },
		insert: func(ctx context.Context, tx store.Tx, e store.FleetEntry) error {
			e.Version = 0
			return tx.Fleet().Put(ctx, &e)
		},
		get:    entryOf,
		update: func(ctx context.Context, tx store.Tx, e store.FleetEntry) error { return tx.Fleet().Put(ctx, &e) },
		sets:   []string{"Version"},
	}
}

// entryOf reads an entry with its credential.
func entryOf(ctx context.Context, tx store.Tx, e store.FleetEntry) (store.FleetEntry, error) {
	m, err := tx.Fleet().Get(ctx, store.Everyone(), e.ClusterID)
	if err != nil {
		return store.FleetEntry{}, err
	}
	if m.Entry.Version == 0 {
		return store.FleetEntry{}, fault.NotFound.New("entry_not_found", "It is not there.")
	}
	if m.Entry.Sealed, err = tx.Fleet().Sealed(ctx, e.ClusterID); errors.Is(err, fault.NotFound) {
		err = nil
	}
	return m.Entry, err
}

func (w *world) newEntry(c store.Cluster, change ...func(*store.FleetEntry)) store.FleetEntry {
	return finish(w, store.FleetEntry{ClusterID: c.ID}, append([]func(*store.FleetEntry){func(e *store.FleetEntry) {
		e.Version, e.Default, e.Disabled = 0, false, false
	}}, change...))
}

func (w *world) entry(c store.Cluster, change ...func(*store.FleetEntry)) store.FleetEntry {
	w.Helper()
	e := w.newEntry(c, change...)
	w.must(w.putEntry(&e))
	return e
}

func (w *world) putEntry(e *store.FleetEntry) error {
	return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Fleet().Put(ctx, e) })
}

func (w *world) member(c id.Cluster) (m store.Member) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) (err error) {
		m, err = tx.Fleet().Get(ctx, store.Everyone(), c)
		return err
	})
	return m
}

// members checks a page of the fleet, and how many there are in all.
func (w *world) members(what string, s store.Scope, f store.FleetFilter, offset, limit, total int, want ...store.Cluster) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) error {
		got, n, err := tx.Fleet().List(ctx, s, f, offset, limit)
		is(w, what+": total", n, total)
		var names, wanted []string
		for _, m := range got {
			names = append(names, m.Cluster.VclusterName)
		}
		for _, c := range want {
			wanted = append(wanted, c.VclusterName)
		}
		is(w, what, strings.Join(names, " "), strings.Join(wanted, " "))
		return err
	})
}

var fleet = checks{
	"MemberIsTheClusterAndWhatIsKeptOfIt": func(w *world) {
		c := w.cluster(w.user())
		m := w.member(c.ID)
		same(w, m.Cluster, c)
		same(w, m.Entry, store.FleetEntry{ClusterID: c.ID})
		same(w, m.Contents, store.Contents{})
		is(w, "nodes", len(m.Nodes), 0)

		e := w.entry(c)
		counted := after(time.Minute)
		for _, pods := range []int{1, 50} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				return tx.Fleet().Count(ctx, c.ID, store.Contents{Namespaces: 4, Pods: pods, CountedAt: &counted})
			})
		}
		for _, status := range []string{"ready", "ready", "offline"} {
			w.node(c, func(n *store.Node) { n.Status = status })
		}
		w.node(w.cluster(w.user()))
		e.Sealed = nil
		m = w.member(c.ID)
		same(w, m.Entry, e)
		same(w, m.Contents, store.Contents{Namespaces: 4, Pods: 50, CountedAt: &counted})
		is(w, "nodes", fmt.Sprint(m.Nodes), fmt.Sprint(map[string]int{"ready": 2, "offline": 1}))
	},
	"MemberIsFoundByEachOfItsNames": func(w *world) {
		u := w.user()
		c, other := w.cluster(u), w.cluster(w.user())
		w.entry(c, func(e *store.FleetEntry) { e.Default = true })
		for _, s := range []store.Scope{store.Everyone(), store.OwnedBy(u.ID)} {
			w.read(func(ctx context.Context, tx store.Tx) error {
				for _, find := range ways(tx, c) {
					m, err := find(ctx, s)
					w.must(err)
					same(w, m.Cluster, c)
				}
				return nil
			})
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, find := range ways(tx, c) {
				for _, s := range []store.Scope{{}, store.OwnedBy(other.OwnerUserID)} {
					_, err := find(ctx, s)
					w.missing(err, "cluster")
				}
			}
			return nil
		})
		w.bury(&c)
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, find := range ways(tx, c) {
				_, err := find(ctx, store.Everyone())
				w.missing(err, "cluster")
			}
			_, err := tx.Fleet().Sealed(ctx, c.ID)
			w.missing(err, "credential")
			return nil
		})
	},
	"FleetIsListedByNumber": func(w *world) {
		u := w.user()
		a := w.cluster(u, func(c *store.Cluster) { c.Name, c.VclusterName = "One", "alpha" })
		b := w.cluster(u, func(c *store.Cluster) { c.Name, c.VclusterName = "Two", "beta" })
		gone := w.cluster(u, func(c *store.Cluster) { c.Name, c.VclusterName = "Gone", "gone" })
		w.bury(&gone)
		c := w.cluster(w.user(), func(c *store.Cluster) { c.Name, c.VclusterName = "One too", "gamma" })
		e := w.entry(b)
		w.members("all", store.Everyone(), store.FleetFilter{}, 0, 10, 3, a, b, c)
		w.members("first", store.Everyone(), store.FleetFilter{}, 0, 1, 3, a)
		w.members("second and third", store.Everyone(), store.FleetFilter{}, 1, 2, 3, b, c)
		w.members("beyond", store.Everyone(), store.FleetFilter{}, 3, 2, 3)
		w.members("none", store.Everyone(), store.FleetFilter{}, 0, 0, 3)
		w.members("mine", store.OwnedBy(u.ID), store.FleetFilter{}, 0, 10, 2, a, b)
		w.members("nobody's", store.Scope{}, store.FleetFilter{}, 0, 10, 0)
		w.members("one", store.Everyone(), store.FleetFilter{Search: "ONE"}, 0, 10, 2, a, c)
		w.members("second one", store.Everyone(), store.FleetFilter{Search: "one"}, 1, 10, 2, c)
		w.members("by vcluster name", store.Everyone(), store.FleetFilter{Search: "mm"}, 0, 10, 1, c)
		w.members("after the first", store.Everyone(), store.FleetFilter{After: a.ID}, 0, 1, 2, b)
		w.members("after a deleted one", store.Everyone(), store.FleetFilter{After: gone.ID}, 0, 9, 1, c)
		w.members("after none", store.Everyone(), store.FleetFilter{After: newID[id.ClusterKind](w)}, 0, 9, 0)
		w.members("percent", store.Everyone(), store.FleetFilter{Search: "%"}, 0, 10, 0)
		w.read(func(ctx context.Context, tx store.Tx) error {
			all, _, err := tx.Fleet().List(ctx, store.OwnedBy(u.ID), store.FleetFilter{}, 0, 10)
			e.Sealed = nil
			same(w, all[1].Entry, e)
			return err
		})
	},
	"FleetEntryStaleVersionIsConflict": func(w *world) {
		first := w.entry(w.cluster(w.user()))
		is(w, "Version", first.Version, 1)
		second, none := first, first
		none.Version = 0
		first.Description = "first"
		w.must(w.putEntry(&first))
		for _, e := range []*store.FleetEntry{&second, &none} {
			w.stale(w.putEntry(e))
		}
		fresh := w.newEntry(w.cluster(w.user()))
		fresh.Version = 1
		w.stale(w.putEntry(&fresh)) // it was never written
		first.Sealed = nil
		same(w, w.member(first.ClusterID).Entry, first)
	},
	"FleetCredentialStaysUnlessItIsReplaced": func(w *world) {
		e := w.entry(w.cluster(w.user()), func(e *store.FleetEntry) { e.Sealed = []byte("first") })
		sealed := func(want string) {
			w.Helper()
			w.read(func(ctx context.Context, tx store.Tx) error {
				got, err := tx.Fleet().Sealed(ctx, e.ClusterID)
				is(w, "credential", string(got), want)
				return err
			})
		}
		sealed("first")
		e.Sealed, e.Description = nil, "changed"
		w.must(w.putEntry(&e))
		sealed("first")
		e.Sealed = []byte("second")
		w.must(w.putEntry(&e))
		sealed("second")
		none := w.entry(w.cluster(w.user()), func(e *store.FleetEntry) { e.Sealed = nil })
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, i := range []id.Cluster{none.ClusterID, newID[id.ClusterKind](w)} {
				_, err := tx.Fleet().Sealed(ctx, i)
				w.missing(err, "credential")
			}
			all, err := tx.Fleet().AllSealed(ctx, id.Cluster{}, 10)
			is(w, "entries with a credential", len(all), 1)
			e.Sealed = []byte("second")
			same(w, all[0], e)
			w.must(err)
			all, err = tx.Fleet().AllSealed(ctx, e.ClusterID, 10)
			is(w, "entries after the last", len(all), 0)
			return err
		})
	},
	"OneClusterIsTheDefault": func(w *world) {
		u := w.user()
		byDefault := func(e *store.FleetEntry) { e.Default = true }
		a := w.entry(w.cluster(u), byDefault)
		b := w.newEntry(w.cluster(u), byDefault)
		w.conflict(w.putEntry(&b), "default_taken")
		w.must(w.putEntry(&a)) // it is not in its own way
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Fleet().NoDefault(ctx, after(time.Hour)))
			return tx.Fleet().Put(ctx, &b)
		})
		was := w.member(a.ClusterID).Entry
		is(w, "still the default", was.Default, false)
		is(w, "Version", was.Version, a.Version+1)
		is(w, "UpdatedAt", was.UpdatedAt, after(time.Hour))
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Fleet().NoDefault(ctx, start) })
		w.oneWins(atOnce(4, func(int) error {
			e := w.newEntry(w.cluster(u), byDefault)
			return w.putEntry(&e)
		}), "default_taken")
	},
	"RemovedEntryIsForgotten": func(w *world) {
		c := w.cluster(w.user())
		e := w.entry(c, func(e *store.FleetEntry) { e.Default = true })
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Fleet().Count(ctx, c.ID, store.Contents{Pods: 3, CountedAt: new(start)}))
			w.must(tx.Fleet().Remove(ctx, c.ID))
			return tx.Fleet().Remove(ctx, c.ID)
		})
		m := w.member(c.ID)
		same(w, m.Entry, store.FleetEntry{ClusterID: c.ID})
		same(w, m.Contents, store.Contents{})
		w.read(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Fleet().Sealed(ctx, c.ID)
			w.missing(err, "credential")
			_, err = tx.Fleet().Default(ctx, store.Everyone())
			w.missing(err, "cluster")
			return nil
		})
		e.Version = 0
		w.must(w.putEntry(&e))
	},
	"DisabledClusterIsNotConnectable": func(w *world) {
		u := w.user()
		a, b := w.cluster(u), w.cluster(u)
		e := w.entry(a, func(e *store.FleetEntry) { e.Disabled = true })
		w.entry(b)
		connectable := func(want ...id.Cluster) {
			w.Helper()
			w.read(func(ctx context.Context, tx store.Tx) error {
				got, err := tx.Clusters().Connectable(ctx, id.Cluster{}, 10)
				is(w, "connectable", fmt.Sprint(got), fmt.Sprint(want))
				return err
			})
		}
		connectable(b.ID)
		e.Disabled = false
		w.must(w.putEntry(&e))
		connectable(a.ID, b.ID)
	},
	"ClustersAreCountedByOrigin": func(w *world) {
		u := w.user()
		for _, origin := range []string{"hosted", "imported", "imported"} {
			w.cluster(u, func(c *store.Cluster) { c.Origin = origin })
		}
		for origin, want := range map[string]int{"": 3, "hosted": 1, "imported": 2, "other": 0} {
			w.read(func(ctx context.Context, tx store.Tx) error {
				counts, err := tx.Clusters().CountByStatus(ctx, store.OwnedBy(u.ID), origin)
				is(w, "clusters that are "+origin, counts["ready"], want)
				return err
			})
		}
	},
}

// ways are all in which a member can be asked for.
func ways(tx store.Tx, c store.Cluster) map[string]func(context.Context, store.Scope) (store.Member, error) {
	return map[string]func(context.Context, store.Scope) (store.Member, error){
		"id": func(ctx context.Context, s store.Scope) (store.Member, error) { return tx.Fleet().Get(ctx, s, c.ID) },
		"number": func(ctx context.Context, s store.Scope) (store.Member, error) {
			return tx.Fleet().ByNumber(ctx, s, c.Number)
		},
		"name": func(ctx context.Context, s store.Scope) (store.Member, error) {
			return tx.Fleet().ByName(ctx, s, c.VclusterName)
		},
		"default": func(ctx context.Context, s store.Scope) (store.Member, error) { return tx.Fleet().Default(ctx, s) },
	}
}
