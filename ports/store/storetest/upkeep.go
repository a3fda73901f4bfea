package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

func auditSubject() subject[store.AuditEvent] {
	return subject[store.AuditEvent]{
		name:   "AuditEvent",
		sample: func(w *world) store.AuditEvent { return w.newAuditEvent() },
		insert: func(ctx context.Context, tx store.Tx, e store.AuditEvent) error { return tx.Audit().Append(ctx, e) },
		get: func(ctx context.Context, tx store.Tx, e store.AuditEvent) (store.AuditEvent, error) {
			p, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{})
			return pick(p, err, "audit_event", func(o store.AuditEvent) bool { return o.ID == e.ID })
		},
		repeatable: true,
	}
}

var audit = checks{
	"AuditNeedsNobodyAndNothing": func(w *world) {
		e := w.newAuditEvent(func(e *store.AuditEvent) {
			e.ActorUserID, e.ClusterID, e.ResourceID, e.ClusterName, e.NodeName = id.User{}, id.Cluster{}, "", "", ""
		})
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Audit().Append(ctx, e) })
		w.read(func(ctx context.Context, tx store.Tx) error {
			p, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{})
			got, err := pick(p, err, "audit_event", func(o store.AuditEvent) bool { return o.ID == e.ID })
			same(w, got, e)
			return err
		})
	},
	"AuditFilters": func(w *world) {
		ann := newID[id.UserKind](w)
		event := func(resource, action string, security bool, by id.User) store.AuditEvent {
			return w.newAuditEvent(func(e *store.AuditEvent) {
				e.ResourceType, e.Action, e.Security, e.ActorUserID = resource, action, security, by
			})
		}
		a := event("cluster", "create", false, ann)
		b := event("session", "login", true, ann)
		c := event("session", "login", true, newID[id.UserKind](w))
		d := event("cluster", "delete", false, id.User{})
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Audit().Append(ctx))
			return tx.Audit().Append(ctx, d, b, a, c)
		})
		for name, ask := range map[string]struct {
			filter store.AuditFilter
			want   []store.AuditEvent
		}{
			"all":      {store.AuditFilter{}, []store.AuditEvent{d, c, b, a}},
			"actor":    {store.AuditFilter{Actor: ann}, []store.AuditEvent{b, a}},
			"security": {store.AuditFilter{SecurityOnly: true}, []store.AuditEvent{c, b}},
			"resource": {store.AuditFilter{ResourceType: "cluster"}, []store.AuditEvent{d, a}},
			"action":   {store.AuditFilter{Action: "login"}, []store.AuditEvent{c, b}},
			"together": {store.AuditFilter{Actor: ann, SecurityOnly: true, ResourceType: "session", Action: "login"}, []store.AuditEvent{b}},
			"none":     {store.AuditFilter{Actor: ann, Action: "delete"}, nil},
		} {
			var want []string
			for _, e := range ask.want {
				want = append(want, e.ID.String())
			}
			listed(w, name, func(e store.AuditEvent) string { return e.ID.String() }, want,
				func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.AuditEvent], error) {
					return tx.Audit().List(ctx, ask.filter, q)
				})
		}
	},
}

func outboxSubject() subject[store.OutboxMessage] {
	return subject[store.OutboxMessage]{
		name:   "OutboxMessage",
		sample: func(w *world) store.OutboxMessage { return w.newMessage() },
		insert: func(ctx context.Context, tx store.Tx, m store.OutboxMessage) error { return tx.Outbox().Append(ctx, m) },
		get: func(ctx context.Context, tx store.Tx, m store.OutboxMessage) (store.OutboxMessage, error) {
			all, err := tx.Outbox().Claim(ctx, 100)
			return pick(page.Of[store.OutboxMessage]{Items: all}, err, "message", func(o store.OutboxMessage) bool { return o.ID == m.ID })
		},
		repeatable: true,
	}
}

// waiting returns the ids of up to n messages that a claim gets.
func waiting(ctx context.Context, tx store.Tx, n int) (string, error) {
	all, err := tx.Outbox().Claim(ctx, n)
	var ids []string
	for _, m := range all {
		ids = append(ids, m.ID.String())
	}
	return strings.Join(ids, " "), err
}

func join(msgs ...store.OutboxMessage) string {
	var ids []string
	for _, m := range msgs {
		ids = append(ids, m.ID.String())
	}
	return strings.Join(ids, " ")
}

var outbox = checks{
	"OutboxKeepsTheOrderOfWriting": func(w *world) {
		var msgs []store.OutboxMessage
		for range 6 {
			msgs = append(msgs, w.newMessage())
		}
		// In one transaction and over several, whatever the ids say.
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Outbox().Append(ctx))
			return tx.Outbox().Append(ctx, msgs[3], msgs[1], msgs[5])
		})
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Outbox().Append(ctx, msgs[0]) })
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Outbox().Append(ctx, msgs[4]))
			return tx.Outbox().Append(ctx, msgs[2])
		})
		order := []store.OutboxMessage{msgs[3], msgs[1], msgs[5], msgs[0], msgs[4], msgs[2]}
		for _, n := range []int{0, 1, 4, 6, 100} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				got, err := waiting(ctx, tx, n)
				is(w, fmt.Sprintf("claim of %d", n), got, join(order[:min(n, 6)]...))
				return err
			})
		}
	},
	"OutboxForgetsOnlyWhatWasPublished": func(w *world) {
		a, b, c := w.newMessage(), w.newMessage(), w.newMessage()
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Outbox().Append(ctx, a, b, c) })
		_ = w.try(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Outbox().Remove(ctx, a.ID))
			return context.Canceled
		})
		w.tx(func(ctx context.Context, tx store.Tx) error {
			got, err := waiting(ctx, tx, 10)
			is(w, "after a rollback", got, join(a, b, c))
			w.must(err)
			w.must(tx.Outbox().Remove(ctx))
			return tx.Outbox().Remove(ctx, c.ID, a.ID, newID[id.MessageKind](w))
		})
		w.tx(func(ctx context.Context, tx store.Tx) error {
			got, err := waiting(ctx, tx, 10)
			is(w, "left", got, join(b))
			return err
		})
	},
	"OutboxCommitsWithItsChange": func(w *world) {
		c, m, boom := w.newCluster(w.user()), w.newMessage(), errors.New("boom")
		for _, end := range []error{boom, nil} {
			err := w.try(func(ctx context.Context, tx store.Tx) error {
				rec := c
				w.must(tx.Clusters().Insert(ctx, &rec))
				w.must(tx.Outbox().Append(ctx, m))
				return end
			})
			if !errors.Is(err, end) {
				w.Errorf("got %v, want %v", err, end)
			}
			w.tx(func(ctx context.Context, tx store.Tx) error {
				got, err := waiting(ctx, tx, 10)
				_, missing := tx.Clusters().Get(ctx, store.Everyone(), c.ID)
				is(w, "message and change go together", got == "", missing != nil)
				is(w, "both are there", got == "", end != nil)
				return err
			})
		}
	},
	"OutboxHasOneClaimant": func(w *world) {
		w.needsTwo()
		a, b := w.newMessage(), w.newMessage()
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Outbox().Append(ctx, a, b) })
		var second string
		var wait func() error
		w.tx(func(ctx context.Context, tx store.Tx) error {
			got, err := waiting(ctx, tx, 1)
			is(w, "first claim", got, join(a))
			var ended bool
			ended, wait = w.meanwhile(func(ctx context.Context, tx store.Tx) (err error) {
				second, err = waiting(ctx, tx, 1)
				return err
			})
			if ended {
				is(w, "claim beside another", second, "")
			}
			w.must(err)
			return tx.Outbox().Remove(ctx, a.ID)
		})
		w.must(wait())
		if second != "" && second != join(b) {
			w.Errorf("the second claim got %s, which was published", second)
		}
		w.tx(func(ctx context.Context, tx store.Tx) error {
			got, err := waiting(ctx, tx, 10)
			is(w, "claim after both", got, join(b))
			return err
		})
	},
	"OutboxIsPublishedOnceByManyRelays": func(w *world) {
		const n = 20
		for range n {
			w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Outbox().Append(ctx, w.newMessage()) })
		}
		published := make(chan string, 10*n)
		for _, err := range atOnce(4, func(int) error {
			deadline := time.Now().Add(patience)
			for len(published) < n && time.Now().Before(deadline) {
				var got []store.OutboxMessage
				err := w.try(func(ctx context.Context, tx store.Tx) (err error) {
					if got, err = tx.Outbox().Claim(ctx, 3); err != nil {
						return err
					}
					for _, m := range got {
						w.must(tx.Outbox().Remove(ctx, m.ID))
					}
					return nil
				})
				if err != nil {
					return err
				}
				for _, m := range got {
					published <- m.ID.String()
				}
			}
			return nil
		}) {
			w.must(err)
		}
		close(published)
		var all []string
		for m := range published {
			all = append(all, m)
		}
		slices.Sort(all)
		is(w, "published", len(all), n)
		is(w, "different ones", len(slices.Compact(all)), n)
	},
}

func replySubject() subject[store.Reply] {
	return subject[store.Reply]{
		name:   "Reply",
		sample: func(w *world) store.Reply { return w.newReply() },
		insert: func(ctx context.Context, tx store.Tx, r store.Reply) error { return tx.Replies().Insert(ctx, r) },
		get: func(ctx context.Context, tx store.Tx, r store.Reply) (store.Reply, error) {
			return tx.Replies().Get(ctx, r.ReplyKey)
		},
	}
}

var replies = checks{
	"ReplayedReplyConflicts": func(w *world) {
		r := w.newReply()
		w.oneWins(atOnce(8, func(int) error {
			return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Replies().Insert(ctx, r) })
		}), "already_exists")
	},
	"ReplyKeyHasThreeParts": func(w *world) {
		first := w.newReply()
		all := []store.Reply{first}
		for _, change := range []func(*store.Reply){
			func(r *store.Reply) { r.User = newID[id.UserKind](w) },
			func(r *store.Reply) { r.User = id.User{} },
			func(r *store.Reply) { r.Operation = "other" },
			func(r *store.Reply) { r.Key = "other" },
		} {
			all = append(all, w.newReply(func(r *store.Reply) { r.ReplyKey = first.ReplyKey }, change))
		}
		w.tx(func(ctx context.Context, tx store.Tx) error {
			for _, r := range all {
				_, err := tx.Replies().Get(ctx, r.ReplyKey)
				w.missing(err, "reply")
				w.must(tx.Replies().Insert(ctx, r))
			}
			return nil
		})
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Replies().Delete(ctx, first.ReplyKey))
			w.must(tx.Replies().Delete(ctx, first.ReplyKey))
			_, err := tx.Replies().Get(ctx, first.ReplyKey)
			w.missing(err, "reply")
			for _, r := range all[1:] {
				got, err := tx.Replies().Get(ctx, r.ReplyKey)
				w.must(err)
				same(w, got, r)
			}
			return nil
		})
	},
	"OldRepliesGoSoManyAtATime": func(w *world) {
		made := func(d time.Duration) store.Reply {
			r := w.newReply(func(r *store.Reply) { r.CreatedAt = after(d) })
			w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Replies().Insert(ctx, r) })
			return r
		}
		for range 3 {
			made(-time.Millisecond)
		}
		edge, young := made(0), made(time.Hour)
		for _, step := range []struct{ limit, want int }{{0, 0}, {2, 2}, {2, 1}, {2, 0}} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.Replies().DeleteOlderThan(ctx, start, step.limit)
				is(w, fmt.Sprintf("removed at most %d", step.limit), n, step.want)
				return err
			})
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, r := range []store.Reply{edge, young} {
				_, err := tx.Replies().Get(ctx, r.ReplyKey)
				w.must(err)
			}
			return nil
		})
	},
}

// acquire checks which leases a holder gets.
func (w *world) acquire(holder string, now time.Time, names string, want string) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Leases().Acquire(ctx, strings.Fields(names), holder, now, now.Add(term))
		slices.Sort(got)
		is(w, fmt.Sprintf("leases of %s at %s", holder, now), strings.Join(got, " "), want)
		return err
	})
}

func (w *world) living(prefix string, now time.Time, want string) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Leases().Living(ctx, prefix, now)
		var got []string
		for _, l := range all {
			got = append(got, l.Name+"="+l.Holder)
		}
		is(w, fmt.Sprintf("leases that begin with %q at %s", prefix, now), strings.Join(got, " "), want)
		return err
	})
}

func (w *world) release(holder, names string) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		return tx.Leases().Release(ctx, strings.Fields(names), holder)
	})
}

var leases = checks{
	"LeaseTakeover": func(w *world) {
		w.acquire("a", start, "x", "x")
		w.acquire("b", after(term-time.Millisecond), "x", "")
		w.acquire("b", after(term), "x", "x") // it has run out
		w.acquire("a", after(term), "x", "")
	},
	"LeaseIsRenewedByItsHolder": func(w *world) {
		w.acquire("a", start, "x", "x")
		w.acquire("a", after(term/2), "x", "x")
		w.acquire("b", after(term), "x", "")
		w.acquire("b", after(term+term/2), "x", "x")
	},
	"LeasesAreTakenOneByOne": func(w *world) {
		w.acquire("a", start, "", "")
		w.acquire("a", start, "y x x", "x y")
		w.acquire("b", start, "z y x w", "w z")
		w.acquire("a", start, "w x y z", "x y")
	},
	"LeaseIsReleasedByItsHolder": func(w *world) {
		w.acquire("a", start, "x y", "x y")
		w.release("b", "x y")
		w.release("b", "")
		w.acquire("b", start, "x y", "")
		w.release("a", "x nothing")
		w.acquire("b", start, "x y", "x")
	},
	"LivingLeasesAreFoundByPrefix": func(w *world) {
		w.acquire("a", start, "x x/1 x/2 xy w", "w x x/1 x/2 xy")
		w.acquire("b", after(term/2), "x/3 x/10 X/4 y 🙂/1", "X/4 x/10 x/3 y 🙂/1")
		w.release("a", "x/2")
		w.living("x/", after(term-time.Millisecond), "x/1=a x/10=b x/3=b")
		w.living("x", after(term-time.Millisecond), "x=a x/1=a x/10=b x/3=b xy=a")
		w.living("x/", after(term), "x/10=b x/3=b") // those of a have run out
		w.living("🙂", after(term), "🙂/1=b")
		w.living("", after(term), "X/4=b x/10=b x/3=b y=b 🙂/1=b")
		for _, prefix := range []string{"%", "x_", "_/", "x//", "z", "x/1="} {
			w.living(prefix, start, "")
		}
	},
	"ExpiredLeasesEndSoManyAtATime": func(w *world) {
		w.acquire("a", start.Add(-term-time.Millisecond), "x/1 x/2 x/3", "x/1 x/2 x/3")
		w.acquire("a", start.Add(-term), "y", "y") // at the edge
		w.acquire("b", start, "z", "z")
		for _, step := range []struct{ limit, want int }{{0, 0}, {2, 2}, {2, 1}, {2, 0}} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.Leases().DeleteExpired(ctx, start, step.limit)
				is(w, fmt.Sprintf("removed at most %d", step.limit), n, step.want)
				return err
			})
		}
		w.living("", start.Add(-term-time.Millisecond), "y=a z=b") // when all were held
	},
	"ALeaseThatIsBeingRenewedIsNotRemoved": func(w *world) {
		w.needsTwo()
		w.acquire("a", start, "x y", "x y")
		now := after(2 * term)
		var wait func() error
		w.tx(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Leases().Acquire(ctx, []string{"x"}, "a", now, now.Add(term))
			_, wait = w.meanwhile(func(ctx context.Context, tx store.Tx) error {
				_, err := tx.Leases().DeleteExpired(ctx, now, 10)
				return err
			})
			return err
		})
		w.must(wait())
		w.living("", start, "x=a")
	},
	"ALeaseThatHasRunOutIsStillATurn": func(w *world) {
		w.needsTwo()
		// As core/turn takes it: everybody is the same holder, and what was written
		// keeps the others waiting, although it runs out at once.
		take := func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Leases().Acquire(ctx, []string{"turn/x"}, "turn", start, start)
			return err
		}
		for range 2 { // when the row is new, and when it is there
			order := make(chan string, 2)
			var wait func() error
			w.tx(func(ctx context.Context, tx store.Tx) error {
				w.must(take(ctx, tx))
				var ended bool
				ended, wait = w.meanwhile(func(ctx context.Context, tx store.Tx) error {
					w.must(take(ctx, tx))
					order <- "second"
					return nil
				})
				is(w, "two have the turn", ended, false)
				order <- "first"
				return nil
			})
			w.must(wait())
			is(w, "order", <-order+" "+<-order, "first second")
		}
	},
	"TurnsCountRightly": func(w *world) {
		const n = 8
		for _, err := range atOnce(n, func(int) error {
			return w.try(func(ctx context.Context, tx store.Tx) error {
				if _, err := tx.Leases().Acquire(ctx, []string{"turn/count"}, "turn", start, start); err != nil {
					return err
				}
				had, err := tx.Facts().Get(ctx, "count")
				if err != nil && !errors.Is(err, fault.NotFound) {
					return err
				}
				return tx.Facts().Set(ctx, "count", append(had, 'x'))
			})
		}) {
			w.must(err)
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Facts().Get(ctx, "count")
			is(w, "counted", len(got), n)
			return err
		})
	},
	"LeaseHasOneHolderAtOnce": func(w *world) {
		got := make([]int, 8)
		for _, err := range atOnce(len(got), func(i int) error {
			names := []string{"x", "y", "z"}
			if i%2 == 0 {
				slices.Reverse(names)
			}
			return w.try(func(ctx context.Context, tx store.Tx) error {
				mine, err := tx.Leases().Acquire(ctx, names, fmt.Sprint(i), start, after(term))
				got[i] = len(mine)
				return err
			})
		}) {
			w.must(err)
		}
		sum := 0
		for _, n := range got {
			sum += n
		}
		is(w, "leases held", sum, 3)
	},
}

var facts = checks{
	"FactsAreReplaced": func(w *world) {
		w.read(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Facts().Get(ctx, "answer 🙂")
			w.missing(err, "fact")
			return nil
		})
		for _, value := range []string{"\x00\xff'\\", "", "another"} {
			given := []byte(value)
			w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Facts().Set(ctx, "answer 🙂", given) })
			if len(given) > 0 {
				given[0] = '!'
			}
			w.read(func(ctx context.Context, tx store.Tx) error {
				got, err := tx.Facts().Get(ctx, "answer 🙂")
				is(w, "fact", string(got), value)
				_, other := tx.Facts().Get(ctx, "answer")
				w.missing(other, "fact")
				return err
			})
		}
	},
	"FactsRollBack": func(w *world) {
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Facts().Set(ctx, "x", []byte("before")) })
		_ = w.try(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Facts().Set(ctx, "x", []byte("after")))
			_, err := tx.Leases().Acquire(ctx, []string{"x"}, "a", start, after(term))
			w.must(err)
			return context.Canceled
		})
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Facts().Get(ctx, "x")
			is(w, "fact", string(got), "before")
			return err
		})
		w.acquire("b", start, "x", "x")
	},
}
