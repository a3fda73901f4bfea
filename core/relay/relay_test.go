package relay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/relay"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker remembers what it accepted.
type broker struct {
	mu    sync.Mutex
	got   []bus.Message
	tries int
	fails error
	hangs bool
	never string // the body that it will never take

	leaves int // after so many publishes it is away; 0: it stays
}

func (b *broker) Publish(ctx context.Context, msgs ...bus.Message) error {
	b.mu.Lock()
	b.tries++
	fails, hangs := b.fails, b.hangs
	if b.never != "" && fails == nil && slices.ContainsFunc(msgs, func(m bus.Message) bool { return string(m.Body) == b.never }) {
		fails = fault.TooLarge.New("message_too_large", "A message is too large.")
	}
	if b.leaves > 0 && b.tries > b.leaves {
		fails = fault.Unavailable.New("broker_unavailable", "It is away.")
	}
	if fails == nil && !hangs {
		b.got = append(b.got, msgs...)
	}
	b.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return fails
}

func (b *broker) set(fails error, hangs bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fails, b.hangs = fails, hangs
}

func (b *broker) bodies() (out []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.got {
		out = append(out, string(m.Body))
	}
	return out
}

type world struct {
	store  *memstore.Store
	broker *broker
	bell   *bell.Bell
	log    *coretest.Log
	random id.Random
}

func newWorld() *world {
	return &world{store: memstore.New(), broker: &broker{}, bell: &bell.Bell{}, log: &coretest.Log{}, random: coretest.Random()}
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func (w *world) relay(t *testing.T, s store.Store) *relay.Relay {
	t.Helper()
	r, err := relay.New(relay.Deps{Store: s, Publisher: w.broker, Log: w.log.Logger(), Now: now, Bell: w.bell})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (w *world) run(t *testing.T, s store.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	r := w.relay(t, s)
	wg.Go(func() { r.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

func (w *world) write(t *testing.T, bodies ...string) {
	t.Helper()
	err := w.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for _, b := range bodies {
			m := store.OutboxMessage{ID: id.New[id.MessageKind](now(), w.random()), Type: "test.v1", Key: "k", At: now(), Body: []byte(b)}
			if err := tx.Outbox().Append(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func numbered(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func TestARelayIsNotMadeWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	w := newWorld()
	full := relay.Deps{Store: w.store, Publisher: w.broker, Log: w.log.Logger(), Now: now, Bell: w.bell}
	for name, drop := range map[string]func(*relay.Deps){
		"Store": func(d *relay.Deps) { d.Store = nil }, "Publisher": func(d *relay.Deps) { d.Publisher = nil }, "Log": func(d *relay.Deps) { d.Log = nil },
		"Now": func(d *relay.Deps) { d.Now = nil }, "Bell": func(d *relay.Deps) { d.Bell = nil },
	} {
		d := full
		drop(&d)
		if _, err := relay.New(d); err == nil {
			t.Errorf("made without %s", name)
		}
	}
}

func TestMessagesGoOutOnceInTheOrderInWhichTheyWereWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.write(t, numbered(0, 250)...) // three batches
		w.run(t, w.store)
		synctest.Wait()
		w.write(t, numbered(250, 255)...)
		w.bell.Ring()
		began := time.Now()
		synctest.Wait()
		if got := w.broker.bodies(); !slices.Equal(got, numbered(0, 255)) || time.Since(began) != 0 {
			t.Errorf("after %v: %v", time.Since(began), got)
		}
		time.Sleep(time.Minute)
		if n := len(w.broker.bodies()); n != 255 {
			t.Errorf("%d messages went out", n)
		}
	})
}

func TestAMessageKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.write(t, "{}")
	if moved, err := w.relay(t, w.store).Once(t.Context()); moved != 1 || err != nil {
		t.Fatalf("moved %d, %v", moved, err)
	}
	m := w.broker.got[0]
	if _, err := id.Parse[id.MessageKind](m.ID); err != nil || m.Type != "test.v1" || m.Key != "k" || m.At.IsZero() || string(m.Body) != "{}" {
		t.Errorf("got %+v, %v", m, err)
	}
	if moved, err := w.relay(t, w.store).Once(t.Context()); moved != 0 || err != nil {
		t.Errorf("again: %d, %v", moved, err)
	}
}

func TestAMessageOfAnotherProcessGoesOutWithinASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.run(t, w.store)
		time.Sleep(300 * time.Millisecond)
		w.write(t, "x") // nobody rings here
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(w.broker.bodies()); n != 1 {
			t.Errorf("%d messages went out", n)
		}
	})
}

// crashing loses what a transaction did at its end, while crashes are left.
type crashing struct {
	store.Store
	left *int
}

func (c crashing) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return c.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if err := do(ctx, tx); err != nil || *c.left <= 0 {
			return err
		}
		*c.left--
		return errors.New("crashed before the commit")
	})
}

func TestACrashBetweenPublishAndRemovePublishesAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.write(t, numbered(0, 3)...)
		left := 1
		w.run(t, crashing{w.store, &left})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := w.broker.bodies(); !slices.Equal(got, append(numbered(0, 3), numbered(0, 3)...)) {
			t.Errorf("got %v", got)
		}
		if w.broker.got[0].ID != w.broker.got[3].ID {
			t.Error("repeated under another id: nobody could tell")
		}
	})
}

func TestABrokerThatFailsIsTriedAgainWithoutHasteAndNothingIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.broker.set(errors.New("refused"), false)
		w.write(t, numbered(0, 3)...)
		w.run(t, w.store)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.broker.tries; n < 10 || n > 60 || !strings.Contains(w.log.String(), "refused") {
			t.Errorf("tried %d times in a minute; logged %s", n, w.log)
		}
		w.broker.set(nil, false)
		time.Sleep(5 * time.Second)
		if got := w.broker.bodies(); !slices.Equal(got, numbered(0, 3)) {
			t.Errorf("got %v", got)
		}
	})
}

func TestAMessageThatNobodyTakesKeepsNoneBack(t *testing.T) {
	t.Parallel()
	for _, at := range []int{0, 57, 99, 249} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			all := numbered(0, 250)
			w.broker.never = all[at]
			w.write(t, all...)
			began := time.Now()
			stop := w.run(t, w.store)
			synctest.Wait()
			if got := w.broker.bodies(); !slices.Equal(got, slices.Delete(all, at, at+1)) || time.Since(began) != 0 {
				t.Errorf("without number %d, after %v: %v", at, time.Since(began), got)
			}
			time.Sleep(time.Minute)
			stop()
			said := w.log.String()
			if n := strings.Count(said, "message dropped"); n != 1 || !strings.Contains(said, "test.v1") || !strings.Contains(said, "msg_") || strings.Contains(said, "not published") {
				t.Errorf("the log says %d times that it is dropped:\n%s", n, said)
			}
			if left, err := w.relay(t, w.store).Once(t.Context()); left != 0 || err != nil {
				t.Errorf("%d are left, %v", left, err)
			}
		})
	}
}

// A broker that is away takes nobody's message for one that it never takes.
func TestABrokerThatGoesWhileItIsLookedForKeepsEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.broker.never = "2"
		w.write(t, numbered(0, 4)...)
		w.broker.leaves = 2 // after two publishes
		if moved, err := w.relay(t, w.store).Once(t.Context()); moved != 0 || !errors.Is(err, fault.Unavailable) {
			t.Fatalf("moved %d, %v", moved, err)
		}
		w.broker.leaves = 0
		if moved, err := w.relay(t, w.store).Once(t.Context()); moved != 4 || err != nil {
			t.Fatalf("moved %d, %v", moved, err)
		}
		if got := w.broker.bodies(); !slices.Equal(got, []string{"0", "1", "0", "1", "3"}) || strings.Count(w.log.String(), "message dropped") != 1 {
			t.Errorf("got %v; logged %s", got, w.log)
		}
	})
}

func TestTheLogIsToldOfABrokerThatIsAwayAtOnceThenSeldomAndWhenItIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.broker.set(errors.New("refused"), false)
		w.write(t, "x")
		w.run(t, w.store)
		count := func(away, back int) {
			t.Helper()
			synctest.Wait()
			said := w.log.String()
			if a, b := strings.Count(said, "messages not published"), strings.Count(said, "messages are published again"); a != away || b != back {
				t.Errorf("the log says %d times that it is away and %d times that it is back, want %d and %d:\n%s", a, b, away, back, said)
			}
		}
		count(1, 0)
		time.Sleep(30 * time.Second)
		count(1, 0)
		time.Sleep(time.Hour)
		count(61, 0)
		w.broker.set(nil, false)
		time.Sleep(time.Minute)
		count(61, 1)
		w.write(t, "y")
		time.Sleep(time.Minute)
		count(61, 1)
		w.broker.set(errors.New("refused"), false)
		w.write(t, "z")
		time.Sleep(10 * time.Second)
		count(62, 1)
	})
}

func TestABrokerThatHangsDoesNotHoldTheTransactionForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.broker.set(nil, true)
		w.write(t, "x")
		r := w.relay(t, w.store)
		began := time.Now()
		if moved, err := r.Once(t.Context()); !errors.Is(err, context.DeadlineExceeded) || moved != 0 || time.Since(began) > time.Minute {
			t.Errorf("after %v: %d, %v", time.Since(began), moved, err)
		}
	})
}

func TestStoppingEndsAPublishThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.broker.set(nil, true)
		w.write(t, "x")
		stop := w.run(t, w.store)
		synctest.Wait()
		began := time.Now()
		if stop(); time.Since(began) != 0 {
			t.Errorf("it took %v", time.Since(began))
		}
	})
}

func TestAJobShowsWhenItsMessageFirstWentOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		job := store.Job{ID: id.New[id.JobKind](now(), w.random()), Status: "pending"}
		write := func(typ string, body []byte) {
			err := w.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
				return tx.Outbox().Append(ctx, store.OutboxMessage{ID: id.New[id.MessageKind](now(), w.random()), Type: typ, At: now(), Body: body})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Insert(ctx, job) }); err != nil {
			t.Fatal(err)
		}
		notice, err := json.Marshal(clusters.JobNotice{JobID: job.ID})
		if err != nil {
			t.Fatal(err)
		}
		write("other.v1", notice)
		write(clusters.JobMessage, []byte(`{"job_id":"nonsense"}`)) // goes out like any other
		r := w.relay(t, w.store)
		published := func() *time.Time {
			if _, err := r.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := w.store.View(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
				job, err = tx.Jobs().Get(ctx, job.ID)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return job.PublishedAt
		}
		if at := published(); at != nil || len(w.broker.bodies()) != 2 {
			t.Errorf("published at %v by what was not its message", at)
		}
		first := now()
		for range 2 {
			write(clusters.JobMessage, notice)
			if at := published(); at == nil || !at.Equal(first) {
				t.Errorf("published at %v, want %v", at, first)
			}
			time.Sleep(time.Minute)
		}
	})
}
