package once_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/once"
	"github.com/kubebyon/kubebyon/ports/store"
)

// answer holds what answers hold: a secret, an id and times.
type answer struct {
	N      int
	Secret string
	ID     id.Cluster
	At     *time.Time
}

type world struct {
	*memstore.Store
	clock *coretest.Clock
	desk  once.Desk
	me    id.User
	calls int
}

func newWorld() *world {
	w := &world{Store: memstore.New(), clock: coretest.NewClock(), me: coretest.NewUser()}
	w.desk = once.Desk{Store: w.Store, Seal: keyseal.New([32]byte{}), Now: w.clock.Now}
	return w
}

func (w *world) ask(ctx context.Context, user id.User, operation, key, body string) (answer, error) {
	return once.Do(once.With(ctx, once.Request{Operation: operation, Key: key, Body: []byte(body)}), w.desk, user, w.do)
}

// do makes one thing: a fact that names how often it was called.
func (w *world) do(ctx context.Context, tx store.Tx) (answer, error) {
	w.calls++
	at := w.clock.Now()
	out := answer{w.calls, fmt.Sprintf("kbt_secret_%d", w.calls), id.New[id.ClusterKind](at, [10]byte{byte(w.calls)}), &at}
	return out, tx.Facts().Set(ctx, fmt.Sprint("made", w.calls), nil)
}

func TestTheSameRequestGetsTheFirstAnswerAgainSecretsToo(t *testing.T) {
	t.Parallel()
	w := newWorld()
	first, err := w.ask(t.Context(), w.me, "POST /tokens", "k1", "body")
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Move(once.Remembered - time.Millisecond)
	again, err := w.ask(t.Context(), w.me, "POST /tokens", "k1", "body")
	if err != nil || again.N != first.N || again.Secret != first.Secret || again.ID != first.ID || !again.At.Equal(*first.At) || w.calls != 1 {
		t.Errorf("again: %+v, %v after %d calls; first: %+v", again, err, w.calls, first)
	}
	if dump := coretest.Dump(w.Store); strings.Contains(dump, first.Secret) || !strings.Contains(dump, "k1") {
		t.Errorf("the store holds the secret in the open: %s", dump)
	}
}

func TestAKeyServesOnceForEachUserOperationAndKey(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for i, err := range []error{
		second(w.ask(t.Context(), w.me, "a", "k", "body")), second(w.ask(t.Context(), w.me, "b", "k", "body")),
		second(w.ask(t.Context(), w.me, "a", "l", "body")), second(w.ask(t.Context(), coretest.NewUser(), "a", "k", "body")),
	} {
		if err != nil || w.calls != 4 {
			t.Errorf("%d: %v after %d calls", i, err, w.calls)
		}
	}
}

func second(_ answer, err error) error { return err }

func TestAnotherBodyUnderTheSameKeyIsAMismatchAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, _ = w.ask(t.Context(), w.me, "a", "k", "body")
	before := coretest.Dump(w.Store)
	got, err := w.ask(t.Context(), w.me, "a", "k", "other")
	if fault.KindOf(err) != fault.Conflict || fault.CodeOf(err) != "idempotency_mismatch" || got != (answer{}) || w.calls != 1 {
		t.Errorf("got %+v, %v after %d calls", got, err, w.calls)
	}
	if coretest.Dump(w.Store) != before {
		t.Error("a refusal changed the store")
	}
}

func TestWithoutAKeyEveryRequestIsNew(t *testing.T) {
	t.Parallel()
	w := newWorld()
	for n := range 3 {
		if got, err := once.Do(t.Context(), w.desk, w.me, w.do); err != nil || got.N != n+1 {
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func TestAnAnswerIsForgottenAfterADay(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, _ = w.ask(t.Context(), w.me, "a", "k", "body")
	w.clock.Move(once.Remembered)
	if got, err := w.ask(t.Context(), w.me, "a", "k", "quite another"); err != nil || got.N != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	w.clock.Move(once.Remembered - time.Millisecond)
	if got, err := w.ask(t.Context(), w.me, "a", "k", "quite another"); err != nil || got.N != 2 {
		t.Errorf("the new answer was not remembered: %+v, %v", got, err)
	}
	w.clock.Move(-48 * time.Hour)
	if got, err := w.ask(t.Context(), w.me, "a", "k", "quite another"); err != nil || got.N != 2 {
		t.Errorf("a clock that goes back made a second thing: %+v, %v", got, err)
	}
}

func TestWhatFailedIsNotRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld()
	before := coretest.Dump(w.Store)
	no := errors.New("no")
	ctx := once.With(t.Context(), once.Request{Operation: "a", Key: "k", Body: []byte("body")})
	got, err := once.Do(ctx, w.desk, w.me, func(ctx context.Context, tx store.Tx) (answer, error) {
		out, _ := w.do(ctx, tx)
		return out, no
	})
	if !errors.Is(err, no) || got != (answer{}) || coretest.Dump(w.Store) != before || w.calls != 1 {
		t.Errorf("got %+v, %v after %d calls", got, err, w.calls)
	}
	if got, err := w.ask(t.Context(), w.me, "a", "k", "body"); err != nil || got.N != 2 {
		t.Errorf("the next try got %+v, %v", got, err)
	}
}

func TestDuplicatesSideBySideMakeOneThing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	var wg sync.WaitGroup
	got := make([]answer, 20)
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = w.ask(t.Context(), w.me, "a", "k", "body"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, a := range got {
		if w.calls != 1 || a.Secret != got[0].Secret {
			t.Errorf("%d calls; answers %+v and %+v", w.calls, a, got[0])
		}
	}
}

// readCommitted lets a transaction not see what another one commits beside it
// until it collides with it, as a database does that runs them side by side.
type readCommitted struct {
	store.Store
	beside func() // commits just after the first look
}

type blindTx struct {
	store.Tx
	s *readCommitted
}

type blindReplies struct {
	store.Replies
	s *readCommitted
}

func (s *readCommitted) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if s.beside == nil {
		return s.Store.InTx(ctx, do)
	}
	beside := s.beside
	s.beside = nil
	beside()
	return s.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, blindTx{tx, s}) })
}

func (t blindTx) Replies() store.Replies { return blindReplies{t.Tx.Replies(), t.s} }

func (blindReplies) Get(context.Context, store.ReplyKey) (store.Reply, error) {
	return store.Reply{}, fault.NotFound.New("reply_not_found", "There is no such reply.")
}

func TestADuplicateThatCollidesGetsTheOthersAnswer(t *testing.T) {
	t.Parallel()
	for name, collide := range map[string]func(*world) error{
		"on the answer":        func(*world) error { return nil },
		"on what both make":    func(*world) error { return fault.Conflict.New("name_taken", "Taken.") },
		"on what both may use": func(*world) error { return fault.Conflict.New("quota_exceeded", "Enough.") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			racing := &readCommitted{Store: w.Store}
			var first answer
			racing.beside = func() { first, _ = w.ask(t.Context(), w.me, "a", "k", "body") }
			late := w.desk
			late.Store = racing
			ctx := once.With(t.Context(), once.Request{Operation: "a", Key: "k", Body: []byte("body")})
			got, err := once.Do(ctx, late, w.me, func(ctx context.Context, tx store.Tx) (answer, error) {
				return answer{N: 99}, collide(w)
			})
			if err != nil || got.Secret != first.Secret || first.Secret == "" {
				t.Errorf("got %+v, %v, want %+v", got, err, first)
			}
		})
	}
}

func TestAConflictOfItsOwnIsToldAndTriedTwiceAtMost(t *testing.T) {
	t.Parallel()
	w := newWorld()
	ctx := once.With(t.Context(), once.Request{Operation: "a", Key: "k", Body: []byte("body")})
	calls := 0
	_, err := once.Do(ctx, w.desk, w.me, func(context.Context, store.Tx) (answer, error) {
		calls++
		return answer{}, fault.Conflict.New("name_taken", "Taken.")
	})
	if fault.CodeOf(err) != "name_taken" || calls > 2 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}

func TestAnAnswerThatCannotBeOpenedIsAnErrorNotASecondThing(t *testing.T) {
	t.Parallel()
	w := newWorld()
	_, _ = w.ask(t.Context(), w.me, "a", "k", "body")
	w.desk.Seal = keyseal.New([32]byte{1}) // the server's key was changed
	if got, err := w.ask(t.Context(), w.me, "a", "k", "body"); fault.KindOf(err) != fault.Internal || got != (answer{}) || w.calls != 1 {
		t.Errorf("got %+v, %v after %d calls", got, err, w.calls)
	}
}
