package notifications_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestALetterIsDeliveredOnceAndForgotten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.send("one")
		w.send("one") // asked for again
		if kept := coretest.Dump(w.store); strings.Contains(kept, code) || !strings.Contains(kept, "a***@example.com") {
			t.Errorf("a letter in the store: %s", kept)
		}
		defer w.run("a")()
		pass(3 * time.Second)
		got, d := w.out.received(), w.only()
		if len(got) != 1 || got[0].To != mailbox || !strings.Contains(got[0].Text, code) || got[0].ID != d.ID.String() || got[0].Data != nil {
			t.Errorf("received: %+v", got)
		}
		if d.Status != store.DeliveryDelivered || d.DeliveredAt == nil || d.Attempts != 1 || len(d.Sealed) > 0 || d.Target != "a***@example.com" {
			t.Errorf("the log: %+v", d)
		}
		if said := w.log.String(); strings.Contains(said, mailbox) || strings.Contains(said, code) {
			t.Errorf("logged: %s", said)
		}
	})
}

func TestALetterIsWrittenWithWhatItIsAbout(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		boom := errors.New("boom")
		err := w.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			if err := w.Send(ctx, tx, identity.Letter{To: mailbox, Template: "welcome", Key: "k"}); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) || len(w.deliveries()) > 0 {
			t.Errorf("%v, and there are %d deliveries", err, len(w.deliveries()))
		}
	})
}

func TestWithoutAMailServerNothingIsWritten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.deps.SMTP = func(context.Context, store.Tx) (notify.SMTP, bool, error) { return notify.SMTP{}, false, nil }
		w.remake()
		err := w.Send(t.Context(), nil, identity.Letter{To: mailbox, Template: "welcome"}) // nil: it would panic
		if !errors.Is(err, fault.Unavailable) || fault.CodeOf(err) != "mail_not_configured" {
			t.Errorf("%v", err)
		}
	})
}

// TestWhatMayPassIsTriedForAnHour, ever less often, and then given up.
func TestWhatMayPassIsTriedForAnHour(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		began := time.Now()
		var tries []time.Duration
		w.out.fails(func(_ context.Context, _ string, m notify.Message) error {
			tries = append(tries, time.Since(began))
			return notify.Passing("The mail server", "450 "+m.To+" is busy", 0)
		})
		w.welcome("one")
		defer w.run("a")()
		pass(3 * time.Hour)
		if n := len(tries); n < 8 || n > 12 || tries[n-1] < 30*time.Minute || tries[n-1] > 75*time.Minute || tries[2] > 30*time.Second {
			t.Errorf("tried at %v", tries)
		}
		if d := w.only(); d.Status != store.DeliveryDead || d.Attempts != len(tries) || len(d.Sealed) == 0 ||
			d.LastError != "The mail server could not take the message: 450 a***@example.com is busy." {
			t.Errorf("the log: %+v", d)
		}
		if said := w.log.String(); strings.Contains(said, mailbox) || !strings.Contains(said, "given up") {
			t.Errorf("logged: %s", said)
		}
	})
}

func TestATroubleThatPassesIsForgotten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var tries atomic.Int64
		w.out.fails(func(context.Context, string, notify.Message) error {
			switch tries.Add(1) {
			case 1:
				return notify.Passing("The mail server", "no", 0)
			case 2:
				panic("hunter2")
			case 3:
				return errors.New("password hunter2")
			}
			return nil
		})
		w.welcome("one")
		defer w.run("a")()
		pass(10 * time.Second)
		if d := w.only(); d.Status != store.DeliveryPending || strings.Contains(d.LastError, "hunter2") || d.LastError == "" {
			t.Errorf("on its way: %+v", d)
		}
		pass(10 * time.Minute)
		if d := w.only(); d.Status != store.DeliveryDelivered || d.Attempts != 4 || d.LastError != "" {
			t.Errorf("the log: %+v", d)
		}
	})
}

func TestWhatIsRefusedIsGivenUpAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.out.fails(func(context.Context, string, notify.Message) error {
			return notify.Refused("The mail server", "no such user")
		})
		w.welcome("one")
		defer w.run("a")()
		pass(3 * time.Second)
		if d := w.only(); d.Status != store.DeliveryDead || d.Attempts != 1 || !strings.Contains(d.LastError, "The mail server") {
			t.Errorf("%+v", d)
		}
	})
}

// TestASenderThatIsRefusedMayBeMended: a wrong password costs no message, and no
// code, that is still good when an administrator has set the right one.
func TestASenderThatIsRefusedMayBeMended(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.out.fails(func(context.Context, string, notify.Message) error {
			return notify.Locked("The mail server", "wrong password")
		})
		w.welcome("one")
		w.send("code")
		defer w.run("a")()
		pass(time.Minute)
		for _, d := range w.deliveries() {
			if d.Status != store.DeliveryPending || d.Attempts < 2 || !strings.Contains(d.LastError, "wrong password") {
				t.Errorf("%+v", d)
			}
		}
		w.out.fails(nil)
		pass(5 * time.Minute)
		if got := w.out.received(); len(got) != 2 {
			t.Errorf("after it was mended: %+v", got)
		}
		w.out.fails(func(context.Context, string, notify.Message) error {
			return notify.Locked("The mail server", "wrong password")
		})
		w.welcome("two")
		pass(2 * time.Hour)
		if d := w.deliveries()[0]; d.Status != store.DeliveryDead {
			t.Errorf("never mended: %+v", d)
		}
	})
}

func TestAServerIsLeftAloneForAsLongAsItSays(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var tries []time.Time
		w.out.fails(func(context.Context, string, notify.Message) error {
			tries = append(tries, time.Now())
			return notify.Passing("The mail server", "busy", 7*time.Minute)
		})
		w.welcome("one")
		stop := w.run("a")
		pass(8 * time.Minute)
		stop()
		if len(tries) != 2 || tries[1].Sub(tries[0]) < 7*time.Minute {
			t.Errorf("tried at %v", tries)
		}
	})
}

// TestAServerThatWantsToBeLeftAloneForLongKeepsNoMessage for longer than others.
func TestAServerThatWantsToBeLeftAloneForLongKeepsNoMessage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var tries []time.Duration
		began := time.Now()
		w.out.fails(func(context.Context, string, notify.Message) error {
			tries = append(tries, time.Since(began))
			return notify.Passing("The mail server", "busy", 24*time.Hour)
		})
		w.welcome("one")
		defer w.run("a")()
		pass(100 * time.Minute)
		if d := w.only(); d.Status != store.DeliveryDead || d.UpdatedAt.Sub(d.CreatedAt) < 45*time.Minute || d.UpdatedAt.Sub(d.CreatedAt) > 80*time.Minute {
			t.Errorf("tried at %v: %+v", tries, d)
		}
	})
}

// TestACodeIsNotDeliveredWhenItIsOfNoUse: neither tried again, nor found by a
// process that starts later.
func TestACodeIsNotDeliveredWhenItIsOfNoUse(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var last time.Duration
		began := time.Now()
		w.out.fails(func(context.Context, string, notify.Message) error {
			last = time.Since(began)
			return notify.Passing("The mail server", "busy", 0)
		})
		w.send("one")
		stop := w.run("a")
		pass(time.Hour)
		stop()
		if d := w.only(); d.Status != store.DeliveryDead || last > 10*time.Minute || last < time.Minute {
			t.Errorf("tried for %v: %+v", last, d)
		}
		w.out.fails(nil)
		w.send("two")
		pass(11 * time.Minute)
		defer w.run("a")()
		pass(5 * time.Second)
		if d := w.deliveries()[0]; d.Status != store.DeliveryDead || len(w.out.received()) > 0 || !strings.Contains(d.LastError, "10 minutes") {
			t.Errorf("a code that is old: %+v", d)
		}
	})
}

// forgetful is a store that loses what it is told while it is broken.
type forgetful struct {
	store.Store
	broken atomic.Bool
}

func (f *forgetful) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if f.broken.Load() {
		return fault.Unavailable.New("store_unavailable", "The database does not answer.")
	}
	return f.Store.InTx(ctx, do)
}

// TestADeliveryThatNobodyWroteDownIsRepeated under the same ID, by another
// process, when the lease of the first has run out.
func TestADeliveryThatNobodyWroteDownIsRepeated(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		dying := &forgetful{Store: w.store}
		w.welcome("one")
		w.deps.Store = dying
		w.remake()
		w.out.fails(func(context.Context, string, notify.Message) error { dying.broken.Store(true); return nil })
		stop := w.run("a")
		pass(5 * time.Second)
		stop()
		w.out.fails(nil)
		w.deps.Store = w.store
		w.remake()
		defer w.run("b")()
		pass(5 * time.Second)
		if got := w.out.received(); len(got) != 1 {
			t.Errorf("before the lease ran out: %+v", got)
		}
		pass(5 * time.Minute)
		if got := w.out.received(); len(got) != 2 || got[0].ID != got[1].ID {
			t.Errorf("received: %+v", got)
		}
		if d := w.only(); d.Status != store.DeliveryDelivered || d.Attempts != 2 {
			t.Errorf("the log: %+v", d)
		}
	})
}

func TestAProcessThatStopsGivesBackWhatItHas(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		hang := func(ctx context.Context, _ string, _ notify.Message) error { <-ctx.Done(); return ctx.Err() }
		w.out.fails(hang)
		for i := range 10 {
			w.welcome(fmt.Sprint(i))
		}
		stop := w.run("a")
		pass(2 * time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("it took %v to stop", took)
		}
		for _, d := range w.deliveries() {
			if d.Status != store.DeliveryPending || d.LeasedUntil != nil || d.DueAt.After(now()) {
				t.Errorf("left: %+v", d)
			}
		}
		w.out.fails(nil)
		defer w.run("b")()
		pass(3 * time.Second)
		if got := w.out.received(); len(got) != 10 {
			t.Errorf("the next process delivered %d", len(got))
		}
	})
}

// TestAChannelThatHangsHoldsUpNoOther, however many wait for it.
func TestAChannelThatHangsHoldsUpNoOther(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.setUp(func(c *notifications.Change) { c.Enabled = &[]string{"webhook"} })
		var hanging, most atomic.Int64
		w.out.fails(func(ctx context.Context, channel string, _ notify.Message) error {
			if channel == "email" {
				return nil
			}
			most.Store(max(most.Load(), hanging.Add(1)))
			defer hanging.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		})
		c := w.cluster()
		for range 300 {
			at := now()
			w.change(c.ID, func(c *clusters.Cluster) { c.Lose("Gone.", false, at) })
			w.change(c.ID, reach)
			pass(2 * time.Minute)
		}
		w.change(c.ID, lose)
		pass(5 * time.Minute)
		if n := len(w.deliveries()); n < 300 {
			t.Fatalf("only %d messages wait", n)
		}
		defer w.run("a")()
		pass(10 * time.Second)
		w.send("urgent")
		pass(3 * time.Second)
		got := w.out.received()
		if !slices.ContainsFunc(got, func(s sent) bool { return s.channel == "email" }) {
			t.Error("the code has not arrived")
		}
		if most.Load() > 4 {
			t.Errorf("%d deliveries at once through one channel", most.Load())
		}
		var touched int
		for _, d := range w.deliveries() {
			if d.Channel == "webhook" && d.Attempts > 0 {
				touched++
			}
		}
		if touched > 20 { // those on their way and the lane behind them
			t.Errorf("%d that cannot go out were claimed", touched)
		}
	})
}

func TestTheLogIsPruned(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.welcome("old")
		stop := w.run("a")
		pass(3 * time.Second)
		stop()
		pass(31 * 24 * time.Hour)
		w.welcome("new")
		n, err := w.Prune(t.Context(), 10)
		if d := w.only(); err != nil || n != 1 || d.Status != store.DeliveryPending {
			t.Errorf("%d, %v, %+v", n, err, d)
		}
	})
}

// TestWhatIsWrittenHereGoesOutAtOnce: all of it, without a moment of waiting.
func TestWhatIsWrittenHereGoesOutAtOnce(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		defer w.run("a")()
		pass(time.Second)
		for i, n := range []int{1, 1, 200} {
			before := len(w.out.received())
			for k := range n {
				w.welcome(fmt.Sprint(i, "/", k))
			}
			synctest.Wait()
			if got := len(w.out.received()) - before; got != n {
				t.Errorf("of %d messages %d went out at once", n, got)
			}
		}
	})
}

func TestALongQueueGoesOutWithoutPauses(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for k := range 200 {
			w.welcome(fmt.Sprint(k))
		}
		w.out.fails(func(context.Context, string, notify.Message) error { time.Sleep(100 * time.Millisecond); return nil })
		defer w.run("a")()
		pass(200/4*100*time.Millisecond + time.Millisecond) // four at a time
		if got := len(w.out.received()); got != 200 {
			t.Errorf("%d of 200 have gone out", got)
		}
	})
}

func TestWhatAnotherProcessWroteGoesOutSoon(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		defer w.run("a")()
		pass(time.Second)
		w.deps.Store = w.store // which rings no bell here
		w.remake()
		w.welcome("one")
		pass(5 * time.Second)
		if got := w.out.received(); len(got) != 1 {
			t.Errorf("received: %+v", got)
		}
	})
}

// TestTheBellIsRungWhenAMessageIsThere: not before, and not for anything else.
func TestTheBellIsRungWhenAMessageIsThere(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		isRung := func(c <-chan struct{}) bool {
			select {
			case <-c:
				return true
			default:
				return false
			}
		}
		rung := w.bell.C()
		w.tx(func(ctx context.Context, tx store.Tx) error {
			if err := w.Send(ctx, tx, identity.Letter{To: mailbox, Template: "welcome", Key: "k"}); err != nil {
				return err
			}
			if isRung(rung) {
				t.Error("before the commit")
			}
			return nil
		})
		if !isRung(rung) {
			t.Error("not after the commit")
		}
		rung = w.bell.C()
		w.tx(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().Claim(ctx, "a", "email", now(), now().Add(time.Minute), 1)
			return err
		})
		if isRung(rung) {
			t.Error("for no message")
		}
	})
}
