package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

func clusterSubject() subject[store.Cluster] {
	return subject[store.Cluster]{
		name:   "Cluster",
		sample: func(w *world) store.Cluster { return w.newCluster(w.user()) },
		insert: func(ctx context.Context, tx store.Tx, c store.Cluster) error { return tx.Clusters().Insert(ctx, &c) },
		get: func(ctx context.Context, tx store.Tx, c store.Cluster) (store.Cluster, error) {
			return tx.Clusters().Get(ctx, store.Everyone(), c.ID)
		},
		update: func(ctx context.Context, tx store.Tx, c store.Cluster) error { return tx.Clusters().Update(ctx, &c) },
		sets:   []string{"Number", "Version"},
		keeps:  []string{"OwnerUserID"},
	}
}

func clusterID(c store.Cluster) string { return c.ID.String() }

func (w *world) getCluster(c store.Cluster) (got store.Cluster) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) (err error) {
		got, err = tx.Clusters().Get(ctx, store.Everyone(), c.ID)
		return err
	})
	return got
}

func (w *world) insertCluster(c *store.Cluster) error {
	return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, c) })
}

func (w *world) updateCluster(c *store.Cluster) error {
	return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Update(ctx, c) })
}

// lists reads a list of clusters in pages.
func (w *world) lists(what string, s store.Scope, f store.ClusterFilter, want ...store.Cluster) {
	w.Helper()
	var ids []string
	for _, c := range want {
		ids = append(ids, clusterID(c))
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	listed(w, what, clusterID, ids, func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.Cluster], error) {
		return tx.Clusters().List(ctx, s, f, q)
	})
}

var clusters = checks{
	"ClusterNumbersRiseAndAreNeverUsedAgain": func(w *world) {
		u := w.user()
		a, b := w.cluster(u), w.cluster(u)
		w.bury(&b)
		boom := errors.New("boom")
		lost := w.newCluster(u)
		if err := w.try(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Clusters().Insert(ctx, &lost))
			return boom
		}); !errors.Is(err, boom) {
			w.Errorf("got %v, want %v", err, boom)
		}
		c := w.cluster(u)
		if a.Number <= 0 || b.Number <= a.Number || c.Number <= b.Number {
			w.Errorf("numbers are %d, %d, %d; want them to rise", a.Number, b.Number, c.Number)
		}
		is(w, "stored number", w.getCluster(c).Number, c.Number)
	},
	"ClusterNumbersAreUnique": func(w *world) {
		u := w.user()
		var mu sync.Mutex
		seen := map[int64]bool{}
		for _, err := range atOnce(16, func(int) error {
			c := w.newCluster(u)
			err := w.insertCluster(&c)
			mu.Lock()
			defer mu.Unlock()
			seen[c.Number] = true
			return err
		}) {
			w.must(err)
		}
		is(w, "different numbers", len(seen), 16)
	},
	"ClusterNameIsTakenOnce": func(w *world) {
		u := w.user()
		a, b := w.cluster(u), w.cluster(u)
		taken := func(c *store.Cluster) { c.VclusterName = a.VclusterName }
		c := w.newCluster(w.user(), taken)
		w.conflict(w.insertCluster(&c), "name_taken")
		version := b.Version
		taken(&b)
		w.conflict(w.updateCluster(&b), "name_taken")
		is(w, "Version after a refusal", b.Version, version)
		w.must(w.updateCluster(&a)) // its own name is not in its way
	},
	"ClusterNameIsTakenOnceAtOnce": func(w *world) {
		u := w.user()
		w.oneWins(atOnce(8, func(int) error {
			c := w.newCluster(u, func(c *store.Cluster) { c.VclusterName = "wanted" })
			return w.insertCluster(&c)
		}), "name_taken")
	},
	"DeletedNameIsFree": func(w *world) {
		u := w.user()
		for range 3 {
			c := w.newCluster(u, func(c *store.Cluster) { c.VclusterName = "again" })
			w.must(w.insertCluster(&c))
			w.bury(&c)
		}
	},
	"DeletedClusterIsHidden": func(w *world) {
		u := w.user()
		c := w.cluster(u)
		w.bury(&c)
		for _, s := range []store.Scope{store.Everyone(), store.OwnedBy(u.ID)} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				_, err := tx.Clusters().Get(ctx, s, c.ID)
				w.missing(err, "cluster")
				_, err = tx.Clusters().GetForUpdate(ctx, s, c.ID)
				w.missing(err, "cluster")
				n, err := tx.Clusters().CountByStatus(ctx, s, "")
				is(w, "counted", len(n), 0)
				return err
			})
			w.lists("deleted", s, store.ClusterFilter{})
			w.lists("deleted", s, store.ClusterFilter{Status: "deleted"})
		}
	},
	"ClusterScopeHidesOthers": func(w *world) {
		ann, bob := w.user(), w.user()
		a, b := w.cluster(ann), w.cluster(bob)
		for _, view := range []struct {
			name  string
			scope store.Scope
			sees  []store.Cluster
			not   []store.Cluster
		}{
			{"owner", store.OwnedBy(ann.ID), []store.Cluster{a}, []store.Cluster{b}},
			{"everyone", store.Everyone(), []store.Cluster{a, b}, nil},
			{"nobody", store.Scope{}, nil, []store.Cluster{a, b}},
			{"zero owner", store.OwnedBy(id.User{}), nil, []store.Cluster{a, b}},
			{"stranger", store.OwnedBy(w.user().ID), nil, []store.Cluster{a, b}},
		} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				for _, c := range view.sees {
					got, err := tx.Clusters().Get(ctx, view.scope, c.ID)
					w.must(err)
					same(w, got, c)
					got, err = tx.Clusters().GetForUpdate(ctx, view.scope, c.ID)
					w.must(err)
					same(w, got, c)
				}
				for _, c := range view.not {
					_, err := tx.Clusters().Get(ctx, view.scope, c.ID)
					w.missing(err, "cluster")
					_, err = tx.Clusters().GetForUpdate(ctx, view.scope, c.ID)
					w.missing(err, "cluster")
				}
				counts, err := tx.Clusters().CountByStatus(ctx, view.scope, "")
				is(w, view.name+" counts", counts["ready"], len(view.sees))
				return err
			})
			w.lists(view.name, view.scope, store.ClusterFilter{}, view.sees...)
		}
	},
	"ClusterThatNeverWasIsMissing": func(w *world) {
		w.tx(func(ctx context.Context, tx store.Tx) error {
			for _, i := range []id.Cluster{{}, newID[id.ClusterKind](w)} {
				_, err := tx.Clusters().Get(ctx, store.Everyone(), i)
				w.missing(err, "cluster")
				_, err = tx.Clusters().GetForUpdate(ctx, store.Everyone(), i)
				w.missing(err, "cluster")
			}
			return nil
		})
		c := w.newCluster(w.user())
		w.stale(w.updateCluster(&c))
	},
	"ClusterStaleVersionIsConflict": func(w *world) {
		first := w.cluster(w.user())
		second := first
		first.Name = "first"
		w.must(w.updateCluster(&first))
		is(w, "Version", first.Version, second.Version+1)
		version := second.Version
		w.stale(w.updateCluster(&second))
		is(w, "Version after a refusal", second.Version, version)
		second.Version = first.Version + 1 // nor does one from the future do
		w.stale(w.updateCluster(&second))
		same(w, w.getCluster(first), first)
	},
	"ClusterOriginsDoNotChange": func(w *world) {
		c := w.cluster(w.user())
		changed := c
		changed.Number, changed.OwnerUserID, changed.CreatedAt = 99, w.user().ID, after(time.Hour)
		w.must(w.updateCluster(&changed))
		got := w.getCluster(c)
		is(w, "Number", got.Number, c.Number)
		is(w, "OwnerUserID", got.OwnerUserID, c.OwnerUserID)
		is(w, "CreatedAt", got.CreatedAt, c.CreatedAt)
	},
	"FiftyWritersLoseNothing": func(w *world) {
		c := w.cluster(w.user(), func(c *store.Cluster) { c.Generation = 0 })
		for _, err := range atOnce(50, func(i int) error { return raise(w, c.ID, i%2 == 0) }) {
			w.must(err)
		}
		got := w.getCluster(c)
		is(w, "Generation", got.Generation, 50)
		is(w, "Version", got.Version, c.Version+50)
	},
	"ClusterFilters": func(w *world) {
		u := w.user()
		with := func(status string) store.Cluster {
			return w.cluster(u, func(c *store.Cluster) { c.Status = status })
		}
		a, b, c := with("ready"), with("error"), with("ready")
		w.lists("all", store.OwnedBy(u.ID), store.ClusterFilter{}, a, b, c)
		w.lists("ready", store.OwnedBy(u.ID), store.ClusterFilter{Status: "ready"}, a, c)
		w.lists("READY", store.OwnedBy(u.ID), store.ClusterFilter{Status: "READY"})
		w.lists("ready a", store.OwnedBy(u.ID), store.ClusterFilter{Status: "ready", Search: a.ID.String()}, a)
		w.read(func(ctx context.Context, tx store.Tx) error {
			counts, err := tx.Clusters().CountByStatus(ctx, store.OwnedBy(u.ID), "")
			is(w, "counts", fmt.Sprint(counts), fmt.Sprint(map[string]int{"ready": 2, "error": 1}))
			return err
		})
	},
	"ClusterSearchTakesPercentLiterally": func(w *world) {
		u := w.user()
		named := func(name, vcluster string) store.Cluster {
			return w.cluster(u, func(c *store.Cluster) {
				c.Name, c.VclusterName, c.Namespace, c.Status = name, vcluster, "hidden", "x"
				c.ControlPlaneHost, c.APIEndpoint = "hidden", "hidden"
			})
		}
		plain := named("Team Alpha", "alpha-1")
		percent := named("50% off_peak", "beta")
		slash := named(`C:\dir`, "gamma")
		quote := named(`it's "x" [a-z] * ?`, "delta")
		umlaut := named("ÜBER Ärger", "epsilon")
		all := []store.Cluster{plain, percent, slash, quote, umlaut}
		for search, want := range map[string][]store.Cluster{
			"":                                 all,
			"team a":                           {plain},
			"ALPHA-1":                          {plain},
			"eta":                              {percent},
			"%":                                {percent},
			"0% O":                             {percent},
			"%off":                             nil,
			"_":                                all, // in every id
			"f_p":                              {percent},
			"t_am":                             nil,
			`\`:                                {slash},
			`:\D`:                              {slash},
			`\\`:                               nil,
			"it's \"X\"":                       {quote},
			"[a-z]":                            {quote},
			"?":                                {quote},
			"über":                             {umlaut},
			"ÄR":                               {umlaut},
			"hidden":                           nil,
			"dir\ngamma":                       nil, // fields are not run together
			"dir\x1fgamma":                     nil,
			strings.ToUpper(slash.ID.String()): {slash},
			"cl_":                              all,
		} {
			w.lists("search "+search, store.OwnedBy(u.ID), store.ClusterFilter{Search: search}, want...)
		}
		w.lists("search by a stranger", store.OwnedBy(w.user().ID), store.ClusterFilter{Search: "cl_"})
	},
	"BadTextInQuestionsIsRefused": func(w *world) {
		w.tx(func(ctx context.Context, tx store.Tx) error {
			for name, ask := range questions(w) {
				for _, bad := range []string{"a\x00", "\xff"} {
					if err := ask(ctx, tx, bad); !errors.Is(err, fault.Invalid) {
						w.Errorf("%s: got %v, want %s", name, err, fault.Invalid)
					}
				}
			}
			return nil
		})
	},
	"ListPagesDoNotOverlap": func(w *world) {
		u := w.user()
		var want []store.Cluster
		for range 7 {
			want = append(want, w.cluster(u))
		}
		w.lists("all", store.Everyone(), store.ClusterFilter{}, want...)
		// What is added between two pages is newer than both, and shifts nothing.
		q := page.Query{Limit: 3}
		var seen []string
		for {
			var p page.Of[store.Cluster]
			w.read(func(ctx context.Context, tx store.Tx) (err error) {
				p, err = tx.Clusters().List(ctx, store.Everyone(), store.ClusterFilter{}, q)
				return err
			})
			for _, c := range p.Items {
				seen = append(seen, clusterID(c))
			}
			if p.Next == "" {
				break
			}
			w.cluster(u)
			q.Before = p.Next
		}
		is(w, "seen", len(seen), 7)
	},
	"ListLimitsAreClamped": func(w *world) {
		u := w.user()
		for range 3 {
			w.cluster(u)
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, limit := range []int{0, -1, 3, page.MaxLimit + 1, 1 << 30} {
				p, err := tx.Clusters().List(ctx, store.Everyone(), store.ClusterFilter{}, page.Query{Limit: limit})
				w.must(err)
				is(w, fmt.Sprintf("items with limit %d", limit), len(p.Items), 3)
				is(w, "Next", p.Next, "")
			}
			p, err := tx.Clusters().List(ctx, store.Everyone(), store.ClusterFilter{}, page.Query{Before: "cl_0"})
			is(w, "items before all", len(p.Items), 0)
			return err
		})
	},
	"ConnectableIsLiveAndReachableOnce": func(w *world) {
		u := w.user()
		with := func(change func(*store.Cluster)) store.Cluster { return w.cluster(u, change) }
		a := with(func(c *store.Cluster) { c.Status = "ready" })
		with(func(c *store.Cluster) { c.KubeconfigAvailableAt = nil })
		with(func(c *store.Cluster) { c.Status = "deleting" })
		gone := with(func(*store.Cluster) {})
		w.bury(&gone)
		b := with(func(c *store.Cluster) { c.Status = "error" })
		c := w.cluster(w.user())
		for _, ask := range []struct {
			after id.Cluster
			limit int
			want  []id.Cluster
		}{
			{id.Cluster{}, 10, []id.Cluster{a.ID, b.ID, c.ID}},
			{id.Cluster{}, 2, []id.Cluster{a.ID, b.ID}},
			{b.ID, 2, []id.Cluster{c.ID}},
			{c.ID, 2, nil},
			{id.Cluster{}, 0, nil},
		} {
			w.read(func(ctx context.Context, tx store.Tx) error {
				got, err := tx.Clusters().Connectable(ctx, ask.after, ask.limit)
				if !slices.Equal(got, ask.want) {
					w.Errorf("after %s, at most %d: got %v, want %v", ask.after, ask.limit, got, ask.want)
				}
				return err
			})
		}
	},
	"NamesIncludeTheDeleted": func(w *world) {
		u := w.user()
		a, b := w.cluster(u), w.cluster(u)
		w.cluster(u)
		w.bury(&b)
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Clusters().Names(ctx, []id.Cluster{a.ID, b.ID, newID[id.ClusterKind](w), a.ID, {}})
			w.must(err)
			is(w, "names", fmt.Sprint(got), fmt.Sprint(map[id.Cluster]string{a.ID: a.Name, b.ID: b.Name}))
			got, err = tx.Clusters().Names(ctx, nil)
			is(w, "names of none", len(got), 0)
			return err
		})
	},
}

// raise adds one to a cluster's generation, starting over when somebody else
// was first.
func raise(w *world, i id.Cluster, locked bool) error {
	for {
		err := w.try(func(ctx context.Context, tx store.Tx) error {
			read := tx.Clusters().Get
			if locked {
				read = tx.Clusters().GetForUpdate
			}
			c, err := read(ctx, store.Everyone(), i)
			if err != nil {
				return err
			}
			c.Generation++
			return tx.Clusters().Update(ctx, &c)
		})
		if fault.CodeOf(err) != "stale_version" {
			return err
		}
	}
}

// questions are all reads that take text from elsewhere.
func questions(w *world) map[string]func(ctx context.Context, tx store.Tx, text string) error {
	c, all := newID[id.ClusterKind](w), store.Everyone()
	return map[string]func(ctx context.Context, tx store.Tx, text string) error{
		"Users.ByEmail": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Users().ByEmail(ctx, s)
			return err
		},
		"Users.CountByRole": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Users().CountByRole(ctx, s)
			return err
		},
		"Users.List": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Users().List(ctx, store.UserFilter{}, page.Query{Before: s})
			return err
		},
		"Users.List by search": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Users().List(ctx, store.UserFilter{Search: s}, page.Query{})
			return err
		},
		"Users.List by status": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Users().List(ctx, store.UserFilter{Status: s}, page.Query{})
			return err
		},
		"Users.List by role": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Users().List(ctx, store.UserFilter{Role: s}, page.Query{})
			return err
		},
		"Codes.Get": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Codes().Get(ctx, "fine", s)
			return err
		},
		"Codes.Try": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Codes().Try(ctx, s, "fine", 1, start)
			return err
		},
		"Codes.Delete": func(ctx context.Context, tx store.Tx, s string) error { return tx.Codes().Delete(ctx, "fine", s) },
		"SSOIdentities.Get": func(ctx context.Context, tx store.Tx, s string) error {
			_, _, err := tx.SSOIdentities().Get(ctx, s, nil)
			return err
		},
		"SSOIdentities.Touch": func(ctx context.Context, tx store.Tx, s string) error {
			return tx.SSOIdentities().Touch(ctx, s, nil, start)
		},
		"SignIns.List": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.SignIns().List(ctx, id.User{}, page.Query{Before: s})
			return err
		},
		"Deliveries.Claim": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Deliveries().Claim(ctx, s, "email", start, start, 1)
			return err
		},
		"Deliveries.Claim of a channel": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Deliveries().Claim(ctx, "w", s, start, start, 1)
			return err
		},
		"Deliveries.Next": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Deliveries().Next(ctx, s)
			return err
		},
		"Deliveries.Settle": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Deliveries().Settle(ctx, store.Delivery{ID: newID[id.DeliveryKind](w)}, s)
			return err
		},
		"Deliveries.List by status": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Deliveries().List(ctx, store.DeliveryFilter{Status: s}, page.Query{})
			return err
		},
		"Deliveries.List by channel": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Deliveries().List(ctx, store.DeliveryFilter{Channel: s}, page.Query{})
			return err
		},
		"Deliveries.List by template": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Deliveries().List(ctx, store.DeliveryFilter{Template: s}, page.Query{})
			return err
		},
		"Deliveries.List before": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Deliveries().List(ctx, store.DeliveryFilter{}, page.Query{Before: s})
			return err
		},
		"Avatars.Get": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Avatars().Get(ctx, id.User{}, s)
			return err
		},
		"Clusters.List by search": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Clusters().List(ctx, all, store.ClusterFilter{Search: s}, page.Query{})
			return err
		},
		"Clusters.List by status": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Clusters().List(ctx, all, store.ClusterFilter{Status: s}, page.Query{})
			return err
		},
		"Clusters.List before": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Clusters().List(ctx, all, store.ClusterFilter{}, page.Query{Before: s})
			return err
		},
		"Clusters.CountByStatus": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Clusters().CountByStatus(ctx, all, s)
			return err
		},
		"Fleet.ByName": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Fleet().ByName(ctx, all, s)
			return err
		},
		"Fleet.List": func(ctx context.Context, tx store.Tx, s string) error {
			_, _, err := tx.Fleet().List(ctx, all, store.FleetFilter{Search: s}, 0, 10)
			return err
		},
		"Jobs.List": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Jobs().List(ctx, store.JobFilter{Status: s}, page.Query{})
			return err
		},
		"Jobs.Claim": func(ctx context.Context, tx store.Tx, s string) error {
			_, _, err := tx.Jobs().Claim(ctx, s, start, start)
			return err
		},
		"Tokens.ByBootstrapID": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Tokens().ByBootstrapID(ctx, c, s)
			return err
		},
		"Tokens.ByClaim": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Tokens().ByClaim(ctx, c, s)
			return err
		},
		"Nodes.ByName": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Nodes().ByName(ctx, c, s)
			return err
		},
		"Nodes.List": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Nodes().List(ctx, all, store.NodeFilter{Search: s}, page.Query{})
			return err
		},
		"NodeEvents.List": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.NodeEvents().List(ctx, all, store.NodeEventFilter{Type: s}, page.Query{})
			return err
		},
		"Audit.List": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Audit().List(ctx, store.AuditFilter{Action: s}, page.Query{})
			return err
		},
		"Replies.Get": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Replies().Get(ctx, store.ReplyKey{Key: s})
			return err
		},
		"Leases.Acquire": func(ctx context.Context, tx store.Tx, s string) error {
			_, err := tx.Leases().Acquire(ctx, []string{"fine", s}, "me", start, start)
			return err
		},
		"Facts.Get": func(ctx context.Context, tx store.Tx, s string) error { _, err := tx.Facts().Get(ctx, s); return err },
		"Facts.Set": func(ctx context.Context, tx store.Tx, s string) error { return tx.Facts().Set(ctx, s, nil) },
	}
}
