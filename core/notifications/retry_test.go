package notifications_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

func refuse(context.Context, string, notify.Message) error {
	return notify.Refused("The mail server", "no such user")
}

// dead has a letter given up.
func (w *world) dead(write func(key string)) store.Delivery {
	w.t.Helper()
	w.out.fails(refuse)
	write(fmt.Sprint("dead/", len(w.deliveries())))
	stop := w.run("dying")
	pass(time.Second)
	stop()
	w.out.fails(nil)
	d := w.deliveries()[0]
	if d.Status != store.DeliveryDead {
		w.t.Fatalf("not given up: %+v", d)
	}
	return d
}

func (w *world) refuses(i id.Delivery, code string) {
	w.t.Helper()
	if d, err := w.Retry(w.ctx, i); fault.CodeOf(err) != code || d.Status != "" {
		w.t.Errorf("sent again: %+v, %v; want %s", d, err, code)
	}
}

func TestWhatWasGivenUpIsSentAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.dead(w.welcome)
		pass(6 * 24 * time.Hour)
		if n, err := w.Forget(t.Context(), 10); n != 0 || err != nil {
			t.Errorf("forgot %d, %v", n, err)
		}
		defer w.run("a")()
		again, err := w.Retry(w.ctx, d.ID)
		if err != nil || again.Status != store.DeliveryPending || again.Attempts != 0 || again.ID != d.ID {
			t.Fatalf("%+v, %v", again, err)
		}
		pass(0)
		if got := w.out.received(); len(got) != 1 || got[0].ID != d.ID.String() || got[0].To != mailbox {
			t.Errorf("received: %+v", got)
		}
		if d := w.only(); d.Status != store.DeliveryDelivered || d.Attempts != 1 || len(d.Sealed) > 0 {
			t.Errorf("the log: %+v", d)
		}
		w.refuses(d.ID, "delivery_not_dead")
	})
}

// TestWhatIsSentAgainHasItsTriesAnew, whatever its age.
func TestWhatIsSentAgainHasItsTriesAnew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.dead(w.welcome)
		pass(5 * 24 * time.Hour)
		tries := 0
		w.out.fails(func(context.Context, string, notify.Message) error {
			if tries++; tries < 3 {
				return notify.Passing("The mail server", "busy", 0)
			}
			return nil
		})
		if _, err := w.Retry(w.ctx, d.ID); err != nil {
			t.Fatal(err)
		}
		defer w.run("a")()
		pass(time.Hour)
		if d := w.only(); d.Status != store.DeliveryDelivered || tries != 3 {
			t.Errorf("after %d tries: %+v", tries, d)
		}
	})
}

func TestWhatIsNotSentAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.refuses(id.Delivery{}, "delivery_not_found")
		d := w.dead(w.send)
		if len(d.Sealed) > 0 {
			t.Error("a code is kept")
		}
		w.refuses(d.ID, "delivery_not_kept")
		if kept := coretest.Dump(w.store); strings.Contains(kept, code) {
			t.Errorf("the store: %s", kept)
		}
		d = w.dead(w.welcome)
		if _, err := w.Retry(coretest.As(t.Context(), w.ada, actor.User), d.ID); !errors.Is(err, fault.Denied) {
			t.Errorf("by somebody: %v", err)
		}
		pass(7*24*time.Hour + time.Second)
		if n, err := w.Forget(t.Context(), 10); n != 1 || err != nil {
			t.Errorf("forgot %d, %v", n, err)
		}
		w.refuses(d.ID, "delivery_not_kept")
		// What had lost its reason says nothing of use.
		c := w.cluster()
		w.change(c.ID, lose)
		w.change(c.ID, reach)
		defer w.run("a")()
		pass(10 * time.Minute)
		for _, d := range w.deliveries() {
			if d.Template == "cluster-alert" {
				w.refuses(d.ID, "delivery_not_kept")
			}
		}
	})
}

// TestWhatIsSentAgainIsTriedAsWhatIsNew: soon at first, and as often.
func TestWhatIsSentAgainIsTriedAsWhatIsNew(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := w.dead(w.welcome)
		pass(5 * 24 * time.Hour)
		began := time.Now()
		var tries []time.Duration
		w.out.fails(func(context.Context, string, notify.Message) error {
			tries = append(tries, time.Since(began))
			return notify.Passing("The mail server", "busy", 0)
		})
		if _, err := w.Retry(w.ctx, d.ID); err != nil {
			t.Fatal(err)
		}
		defer w.run("a")()
		pass(90 * time.Minute)
		if n := len(tries); n < 8 || tries[2] > 30*time.Second || tries[n-1] < 25*time.Minute || tries[n-1] > 75*time.Minute || w.only().Status != store.DeliveryDead {
			t.Errorf("tried at %v: %+v", tries, w.only())
		}
	})
}

// TestAMessageOnItsWayReachesNobodyElse: not a target that the person has
// changed, and nobody who was banned.
func TestAMessageOnItsWayReachesNobodyElse(t *testing.T) {
	for name, change := range map[string]func(*world){
		"another chat": func(w *world) { w.prefer(notifications.Wish{TelegramChatID: new("515151")}) },
		"banned":       func(w *world) { w.give(identity.Banned) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.setUp(func(c *notifications.Change) { c.TelegramChatID = new("") })
				w.prefer(notifications.Wish{Email: new(false), Telegram: new(true), TelegramChatID: new(chat)})
				w.tx(func(ctx context.Context, tx store.Tx) error {
					return w.OrderPaid(ctx, tx, w.ada, notify.OrderPaid{Order: "ord_1", Plan: "Team", Amount: "12.00 EUR", At: now()})
				})
				change(w)
				defer w.run("a")()
				pass(time.Minute)
				if d := w.only(); d.Status != store.DeliveryDead || !strings.Contains(d.LastError, "not the person's own any more") || len(w.out.received()) > 0 {
					t.Errorf("%+v, received %+v", d, w.out.received())
				}
			})
		})
	}
}

// give gives Ada's account a status.
func (w *world) give(status identity.Status) {
	w.t.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().Get(ctx, w.ada)
		if u.Status = string(status); err == nil {
			err = tx.Users().Update(ctx, &u)
		}
		return err
	})
}

// TestNothingIsSentAgainToATargetThatIsNotThePersonsOwn any more.
func TestNothingIsSentAgainToATargetThatIsNotThePersonsOwn(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.setUp()
		w.prefer(notifications.Wish{Email: new(false), Telegram: new(true), TelegramChatID: new(chat)})
		d := w.dead(func(string) {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				return w.OrderPaid(ctx, tx, w.ada, notify.OrderPaid{Order: "ord_1", Plan: "Team", Amount: "12.00 EUR", At: now()})
			})
		})
		w.prefer(notifications.Wish{TelegramChatID: new("515151")})
		w.refuses(d.ID, "delivery_target_gone")
		w.prefer(notifications.Wish{TelegramChatID: new(chat)})
		w.give(identity.Banned)
		w.refuses(d.ID, "delivery_target_gone")
		w.give(identity.Active)
		if _, err := w.Retry(w.ctx, d.ID); err != nil {
			t.Error(err)
		}
	})
}
