package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

func deliverySubject() subject[store.Delivery] {
	return subject[store.Delivery]{
		name: "Delivery",
		sample: func(w *world) store.Delivery {
			return finish(w, store.Delivery{ID: newID[id.DeliveryKind](w), UserID: w.user().ID}, nil)
		},
		insert: func(ctx context.Context, tx store.Tx, d store.Delivery) error { return tx.Deliveries().Insert(ctx, d) },
		get: func(ctx context.Context, tx store.Tx, d store.Delivery) (store.Delivery, error) {
			p, err := tx.Deliveries().List(ctx, store.DeliveryFilter{}, page.Query{})
			return pick(p, err, "delivery", func(o store.Delivery) bool { return o.ID == d.ID })
		},
		repeatable: true, // the second is left out
	}
}

// newDelivery is one that is pending, due and nobody's.
func (w *world) newDelivery(change ...func(*store.Delivery)) store.Delivery {
	return finish(w, store.Delivery{ID: newID[id.DeliveryKind](w), Channel: "email", Status: store.DeliveryPending, DueAt: start}, append([]func(*store.Delivery){
		func(d *store.Delivery) { d.Attempts, d.Holder, d.LeasedUntil, d.DeliveredAt = 0, "", nil, nil },
	}, change...))
}

func (w *world) delivery(change ...func(*store.Delivery)) store.Delivery {
	w.Helper()
	d := w.newDelivery(change...)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Deliveries().Insert(ctx, d) })
	return d
}

func dueAt(d time.Duration) func(*store.Delivery) {
	return func(o *store.Delivery) { o.DueAt = after(d) }
}

func (w *world) getDelivery(i id.Delivery) (got store.Delivery) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) error {
		p, err := tx.Deliveries().List(ctx, store.DeliveryFilter{}, page.Query{})
		got, err = pick(p, err, "delivery", func(o store.Delivery) bool { return o.ID == i })
		return err
	})
	return got
}

// claimed claims, and checks what comes of it.
func (w *world) claimed(holder string, now time.Time, n int, want ...store.Delivery) (got []store.Delivery) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) (err error) {
		got, err = tx.Deliveries().Claim(ctx, holder, "email", now, now.Add(term), n)
		return err
	})
	is(w, fmt.Sprintf("claimed by %s at %s", holder, now), idsOf(got), idsOf(want))
	return got
}

func idsOf(all []store.Delivery) string {
	var ids []string
	for _, d := range all {
		ids = append(ids, d.ID.String())
	}
	return strings.Join(ids, " ")
}

// settles settles, and checks whether it was the holder's to settle.
func (w *world) settles(d store.Delivery, holder string, want bool) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		ok, err := tx.Deliveries().Settle(ctx, d, holder)
		is(w, "settled by "+holder, ok, want)
		return err
	})
}

func (w *world) nextDelivery(want *time.Time) {
	w.Helper()
	all := map[string]time.Time{}
	if want != nil {
		all["email"] = *want
	}
	w.nextDeliveries(all, "email")
}

func (w *world) nextDeliveries(want map[string]time.Time, channels ...string) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Deliveries().Next(ctx, channels...)
		if !maps.Equal(got, want) {
			w.Errorf("the next deliveries through %v are at %v, want %v", channels, got, want)
		}
		return err
	})
}

var deliveries = checks{
	"DeliveriesAreClaimedWhenTheyAreDue": func(w *world) {
		now := start
		c, a, b := w.delivery(dueAt(0)), w.delivery(dueAt(-2*time.Hour)), w.delivery(dueAt(-time.Hour))
		w.delivery(dueAt(time.Millisecond))
		for _, status := range []string{store.DeliveryDelivered, store.DeliveryDead} {
			w.delivery(dueAt(-time.Hour), func(d *store.Delivery) { d.Status = status })
		}
		w.claimed("w", now, 0)
		got := w.claimed("w", now, 2, a, b)
		for i, want := range []store.Delivery{a, b} {
			want.Holder, want.LeasedUntil, want.Attempts, want.UpdatedAt = "w", new(now.Add(term)), 1, now
			same(w, got[i], want)
			same(w, w.getDelivery(want.ID), want)
		}
		w.claimed("other", now, 9, c)
		w.claimed("w", now, 9)
	},
	"DeliveryIsClaimedAgainWhenItsLeaseHasRunOut": func(w *world) {
		d := w.delivery()
		first := w.claimed("a", start, 1, d)[0]
		w.claimed("b", after(term-time.Millisecond), 1)
		second := w.claimed("b", after(term), 1, d)[0]
		is(w, "Attempts", second.Attempts, 2)
		w.settles(first, "a", false)
		same(w, w.getDelivery(d.ID), second)
		w.settles(second, "b", true)
	},
	"DeliveryIsItsHoldersUntilSomebodyElseHasIt": func(w *world) {
		d := w.claimed("a", start, 1, w.delivery())[0] // long ago
		d.Status = store.DeliveryDelivered
		w.settles(d, "b", false)
		w.settles(d, "", false)
		w.settles(d, "a", true)
		w.settles(d, "a", false)
		w.settles(d, "", false)
		gone := w.newDelivery()
		w.settles(gone, "", false)
	},
	"DeliveriesAreSettled": func(w *world) {
		for status, again := range map[string]bool{store.DeliveryPending: true, store.DeliveryDelivered: false, store.DeliveryDead: false} {
			made := w.delivery()
			d := w.claimed("a", start, 1, made)[0]
			d.Status, d.DueAt, d.LastError, d.UpdatedAt, d.DeliveredAt = status, after(time.Hour), "No.", after(time.Minute), new(after(time.Minute))
			want := d
			want.Holder, want.LeasedUntil = "", nil
			if status == store.DeliveryDelivered {
				want.Sealed = nil
			}
			d.Key, d.Template, d.Channel, d.Target, d.Sealed, d.Attempts = "other", "other", "other", "other", []byte("other"), 99 // not its to change
			w.settles(d, "a", true)
			same(w, w.getDelivery(d.ID), want)
			w.claimed("a", after(time.Hour-time.Millisecond), 9)
			if again {
				d = w.claimed("a", after(time.Hour), 9, made)[0]
				d.Status, d.Sealed = store.DeliveryDead, nil
				w.settles(d, "a", true)
				if got := w.getDelivery(d.ID); len(got.Sealed) > 0 {
					w.Errorf("what is not to be kept is: %q", got.Sealed)
				}
			}
			w.claimed("a", after(99*time.Hour), 9)
		}
	},
	"DeliveryIsRead": func(w *world) {
		d, gone := w.delivery(), w.newDelivery()
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Deliveries().Get(ctx, d.ID)
			same(w, got, d)
			_, missing := tx.Deliveries().Get(ctx, gone.ID)
			w.missing(missing, "delivery")
			return err
		})
	},
	"DeliveriesAreClaimedAChannelAtATime": func(w *world) {
		through := func(channel string, due time.Duration) store.Delivery {
			return w.delivery(dueAt(due), func(d *store.Delivery) { d.Channel = channel })
		}
		slack := through("slack", -time.Hour)
		through("slack", -2*time.Hour)
		mail := through("email", 0)
		through("telegram", time.Hour)
		w.claimed("a", start, 9, mail)
		w.claimed("a", start, 9)
		w.nextDeliveries(map[string]time.Time{"slack": after(-2 * time.Hour), "email": after(term)}, "slack", "email", "webhook")
		w.nextDeliveries(map[string]time.Time{"telegram": after(time.Hour)}, "telegram")
		w.nextDeliveries(nil)
		w.nextDeliveries(nil, "none")
		w.tx(func(ctx context.Context, tx store.Tx) error {
			first, err := tx.Deliveries().Claim(ctx, "b", "slack", start, after(term), 1)
			w.must(err)
			is(w, "the oldest of them", first[0].DueAt, after(-2*time.Hour))
			rest, err := tx.Deliveries().Claim(ctx, "b", "slack", start, after(term), 9)
			is(w, "the others", idsOf(rest), slack.ID.String())
			return err
		})
	},
	"DeadDeliveriesAreRevivedWhileTheyAreKept": func(w *world) {
		d := w.claimed("a", start, 1, w.delivery())[0]
		sealed := d.Sealed
		revives := func(i id.Delivery, want bool) {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				ok, err := tx.Deliveries().Revive(ctx, i, after(3*time.Hour))
				is(w, "revived", ok, want)
				return err
			})
		}
		forgets := func(before time.Duration, limit, want int) {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.Deliveries().Forget(ctx, after(before), limit)
				is(w, "forgotten", n, want)
				return err
			})
		}
		revives(d.ID, false) // it is pending
		d.Status, d.LastError, d.UpdatedAt = store.DeliveryDead, "No.", after(time.Hour)
		w.settles(d, "a", true)
		forgets(time.Hour, 9, 0)
		revives(d.ID, true)
		want := d
		want.Status, want.DueAt, want.UpdatedAt, want.Attempts, want.Holder, want.LeasedUntil = store.DeliveryPending, after(3*time.Hour), after(3*time.Hour), 0, "", nil
		same(w, w.getDelivery(d.ID), want)
		revives(d.ID, false)
		forgets(99*time.Hour, 9, 0) // it is on its way again
		d = w.claimed("b", after(3*time.Hour), 1, want)[0]
		is(w, "Attempts", d.Attempts, 1)
		d.Status, d.UpdatedAt = store.DeliveryDead, after(4*time.Hour)
		w.settles(d, "b", true)
		is(w, "kept", string(w.getDelivery(d.ID).Sealed), string(sealed))
		live := w.delivery(func(o *store.Delivery) { o.Channel = "slack" })
		forgets(99*time.Hour, 0, 0)
		forgets(99*time.Hour, 9, 1)
		forgets(99*time.Hour, 9, 0)
		is(w, "kept", len(w.getDelivery(d.ID).Sealed), 0)
		same(w, w.getDelivery(live.ID), live)
		revives(d.ID, false)
		revives(w.newDelivery().ID, false)
	},
	"DeliveriesAreHeldByTheirKeys": func(w *world) {
		one, two := w.delivery(), w.delivery()
		w.delivery()
		w.tx(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Deliveries().Hold(ctx, two.Key, "none", one.Key, two.Key)
			w.must(err)
			slices.SortFunc(got, func(a, b store.Delivery) int { return strings.Compare(a.ID.String(), b.ID.String()) })
			want := []store.Delivery{one, two}
			slices.SortFunc(want, func(a, b store.Delivery) int { return strings.Compare(a.ID.String(), b.ID.String()) })
			is(w, "held", idsOf(got), idsOf(want))
			same(w, got[0], want[0])
			none, err := tx.Deliveries().Hold(ctx)
			is(w, "without keys", len(none), 0)
			return err
		})
	},
	"SoManyDeadDeliveriesAreForgottenAtATime": func(w *world) {
		for range 5 {
			w.delivery(func(d *store.Delivery) { d.Status, d.UpdatedAt = store.DeliveryDead, after(-time.Hour) })
		}
		for _, want := range []int{2, 2, 1, 0} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.Deliveries().Forget(ctx, start, 2)
				is(w, "forgotten", n, want)
				return err
			})
		}
	},
	"DeliveriesAreClaimedOnceAtOnce": func(w *world) {
		var all []store.Delivery
		for range 20 {
			all = append(all, w.newDelivery())
		}
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Deliveries().Insert(ctx, all...) })
		got := make([][]store.Delivery, 8)
		for _, err := range atOnce(len(got), func(i int) error {
			return w.try(func(ctx context.Context, tx store.Tx) (err error) {
				got[i], err = tx.Deliveries().Claim(ctx, fmt.Sprint(i), "email", start, after(term), 3)
				return err
			})
		}) {
			w.must(err)
		}
		claimed := map[id.Delivery]int{}
		for _, d := range slices.Concat(got...) {
			claimed[d.ID]++
			is(w, "Attempts", d.Attempts, 1)
		}
		for i, n := range claimed {
			is(w, "claims of "+i.String(), n, 1)
		}
		w.tx(func(ctx context.Context, tx store.Tx) error {
			rest, err := tx.Deliveries().Claim(ctx, "rest", "email", start, after(term), 99)
			is(w, "all", len(rest)+len(claimed), len(all))
			return err
		})
	},
	"ClaimsOfDeliveriesDoNotWaitForEachOther": func(w *world) {
		w.needsTwo()
		a, b := w.delivery(dueAt(-time.Hour)), w.delivery()
		w.tx(func(ctx context.Context, tx store.Tx) error {
			mine, err := tx.Deliveries().Claim(ctx, "a", "email", start, after(term), 1)
			is(w, "first", idsOf(mine), a.ID.String())
			w.must(err)
			var others []store.Delivery
			_, wait := w.meanwhile(func(ctx context.Context, tx store.Tx) (err error) {
				others, err = tx.Deliveries().Claim(ctx, "b", "email", start, after(term), 9)
				return err
			})
			w.must(wait()) // before the first has ended
			is(w, "second", idsOf(others), b.ID.String())
			return nil
		})
	},
	"ARepeatedDeliveryIsLeftOut": func(w *world) {
		key := func(k string) func(*store.Delivery) { return func(d *store.Delivery) { d.Key = k } }
		first := w.delivery(key("welcome/1"))
		again, twin, fresh := w.newDelivery(key("welcome/1")), w.newDelivery(key("welcome/2")), w.newDelivery(key("welcome/2"))
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Deliveries().Insert(ctx))
			return tx.Deliveries().Insert(ctx, again, twin, fresh)
		})
		w.listsDeliveries("all", store.DeliveryFilter{}, first, twin)
		same(w, w.getDelivery(first.ID), first)
		d := w.claimed("a", start, 1, first)[0]
		d.Status = store.DeliveryDelivered
		w.settles(d, "a", true)
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Deliveries().Insert(ctx, again) })
		w.claimed("a", start, 9, twin)
		twice := w.newDelivery(func(d *store.Delivery) { d.ID = first.ID })
		w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Deliveries().Insert(ctx, twice) }), "already_exists")
	},
	"ARepeatedDeliveryIsLeftOutAtOnce": func(w *world) {
		for _, err := range atOnce(8, func(int) error {
			d := w.newDelivery(func(d *store.Delivery) { d.Key, d.Channel, d.Template = "welcome/1", "email", "welcome" })
			return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Deliveries().Insert(ctx, d) })
		}) {
			w.must(err)
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			p, err := tx.Deliveries().List(ctx, store.DeliveryFilter{}, page.Query{})
			is(w, "deliveries", len(p.Items), 1)
			return err
		})
	},
	"TheNextDeliveryIsKnown": func(w *world) {
		w.nextDelivery(nil)
		for _, status := range []string{store.DeliveryDelivered, store.DeliveryDead} {
			w.delivery(func(d *store.Delivery) { d.Status = status })
		}
		w.nextDelivery(nil)
		w.delivery(dueAt(time.Hour))
		w.nextDelivery(new(after(time.Hour)))
		first := w.delivery(dueAt(-time.Hour))
		w.nextDelivery(new(after(-time.Hour)))
		w.claimed("a", start, 1, first)
		w.nextDelivery(new(after(min(term, time.Hour)))) // when the lease runs out, or the other is due
		w.claimed("b", after(99*time.Hour), 1, first)
		w.nextDelivery(new(after(time.Hour)))
	},
	"DeliveryFilters": func(w *world) {
		ann, bob := w.user(), w.user()
		with := func(u store.User, channel, template, status string) store.Delivery {
			return w.delivery(func(d *store.Delivery) { d.UserID, d.Channel, d.Template, d.Status = u.ID, channel, template, status })
		}
		var all []store.Delivery
		for _, u := range []store.User{{}, ann, bob} {
			for _, channel := range []string{"email", "slack"} {
				for _, template := range []string{"welcome", "cluster-alert"} {
					for _, status := range []string{store.DeliveryDead, store.DeliveryPending, store.DeliveryDelivered} {
						all = append(all, with(u, channel, template, status))
					}
				}
			}
		}
		for _, user := range []id.User{{}, ann.ID} {
			for _, channel := range []string{"", "slack", "telegram"} {
				for _, template := range []string{"", "welcome", "other"} {
					for _, status := range []string{"", store.DeliveryDead, store.DeliveryPending, "other"} {
						f := store.DeliveryFilter{Status: status, Channel: channel, Template: template, User: user}
						var want []store.Delivery
						for _, d := range all {
							if (user.IsZero() || d.UserID == user) && (channel == "" || d.Channel == channel) &&
								(template == "" || d.Template == template) && (status == "" || d.Status == status) {
								want = append(want, d)
							}
						}
						w.listsDeliveries(fmt.Sprintf("%+v", f), f, want...)
					}
				}
			}
		}
	},
	"OldDeliveriesEndSoManyAtATime": func(w *world) {
		made := func(d time.Duration, status string) store.Delivery {
			return w.delivery(func(o *store.Delivery) { o.CreatedAt, o.Status = after(d), status })
		}
		waiting := made(-time.Hour, store.DeliveryPending)
		edge, live := made(0, store.DeliveryDead), made(time.Hour, store.DeliveryDelivered)
		made(-time.Millisecond, store.DeliveryDead)
		made(-time.Hour, store.DeliveryDelivered)
		made(-time.Hour, store.DeliveryDead)
		for _, step := range []struct{ limit, want int }{{0, 0}, {2, 2}, {2, 1}, {2, 0}} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.Deliveries().DeleteOlderThan(ctx, start, step.limit)
				is(w, fmt.Sprintf("removed at most %d", step.limit), n, step.want)
				return err
			})
		}
		w.listsDeliveries("left", store.DeliveryFilter{}, waiting, edge, live)
	},
	"DeliveriesToAnAccountThatIsGoneArePassedBy": func(w *world) {
		ann, bob := w.user(), w.user()
		to := func(u store.User) store.Delivery { return w.newDelivery(func(d *store.Delivery) { d.UserID = u.ID }) }
		mine, others, nobodys := to(ann), to(bob), to(store.User{})
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return tx.Deliveries().Insert(ctx, mine, others, nobodys)
		})
		claimed := w.claimed("a", start, 1, mine)[0]
		w.remove(ann.ID)
		claimed.Status = store.DeliveryDelivered
		w.settles(claimed, "a", false)
		more := to(bob)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return tx.Deliveries().Insert(ctx, to(ann), more, to(store.User{ID: newID[id.UserKind](w)}))
		})
		w.listsDeliveries("all", store.DeliveryFilter{}, others, nobodys, more)
		w.listsDeliveries("of who is gone", store.DeliveryFilter{User: ann.ID})
	},
	"DeliveriesRollBack": func(w *world) {
		d, boom := w.delivery(), errors.New("boom")
		err := w.try(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Deliveries().Claim(ctx, "a", "email", start, after(term), 1)
			w.must(err)
			got[0].Status = store.DeliveryDelivered
			_, err = tx.Deliveries().Settle(ctx, got[0], "a")
			w.must(err)
			return boom
		})
		if !errors.Is(err, boom) {
			w.Errorf("got %v", err)
		}
		same(w, w.getDelivery(d.ID), d)
	},
}

// listsDeliveries checks a list of deliveries, given oldest first.
func (w *world) listsDeliveries(what string, f store.DeliveryFilter, want ...store.Delivery) {
	w.Helper()
	var ids []string
	for _, d := range want {
		ids = append([]string{d.ID.String()}, ids...)
	}
	listed(w, what, func(d store.Delivery) string { return d.ID.String() }, ids,
		func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.Delivery], error) {
			return tx.Deliveries().List(ctx, f, q)
		})
}
