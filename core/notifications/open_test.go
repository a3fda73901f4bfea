package notifications_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// awaySealer is one whose keys are away while err is set.
type awaySealer struct {
	seal.Sealer
	err error
}

func (s *awaySealer) Open(ctx context.Context, purpose string, sealed []byte) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Sealer.Open(ctx, purpose, sealed)
}

// TestAKeyThatIsAwayIsNoLostMessage: what passes makes nothing unreadable.
func TestAKeyThatIsAwayIsNoLostMessage(t *testing.T) {
	for name, err := range map[string]error{
		"busy":     fault.Unavailable.New("store_busy", "The keys could not be read in time."),
		"starting": fault.Unavailable.New("starting", "The keys are not open yet."),
		"unknown":  fault.Internal.New("unknown_key", "A newer key."),
		"canceled": context.Canceled,
		"late":     context.DeadlineExceeded,
		"broken":   errors.New("read the ring of data keys: no connection"),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				away := &awaySealer{Sealer: w.deps.Seal, err: err}
				dead := w.dead(w.welcome)
				w.deps.Seal = away
				w.remake()
				if d, got := w.Retry(w.ctx, dead.ID); got == nil || fault.KindOf(got) == fault.Conflict || d.Status != "" {
					t.Errorf("sent again: %+v, %v", d, got)
				}
				w.welcome("one")
				stop := w.run("a")
				pass(time.Minute)
				if d := w.deliveries()[0]; d.Status != store.DeliveryPending || d.Attempts < 2 || len(d.Sealed) == 0 {
					t.Errorf("while the key is away: %+v", d)
				}
				stop()
				away.err = nil
				defer w.run("b")()
				pass(10 * time.Minute)
				if d := w.deliveries()[0]; d.Status != store.DeliveryDelivered || len(w.out.received()) != 1 {
					t.Errorf("when it is back: %+v", d)
				}
			})
		})
	}
}

// TestWhatWillNeverOpenIsGivenUpAtOnce.
func TestWhatWillNeverOpenIsGivenUpAtOnce(t *testing.T) {
	for name, sealer := range map[string]func(*world) seal.Sealer{
		"another key": func(*world) seal.Sealer { return keyseal.New([32]byte{2}) },
		"damaged": func(w *world) seal.Sealer {
			return &awaySealer{w.deps.Seal, fault.Internal.New("broken_seal", "It does not open.")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.welcome("one")
				w.deps.Seal = sealer(w)
				w.remake()
				defer w.run("a")()
				pass(time.Second)
				d := w.only()
				if d.Status != store.DeliveryDead || d.Attempts != 1 || !strings.Contains(d.LastError, "damaged") {
					t.Errorf("%+v", d)
				}
				w.refuses(d.ID, "delivery_not_kept")
			})
		})
	}
}

// TestAMessageOfANewerServerIsLeftToIt: an older one, which runs beside it for a
// while, does not give up what it does not understand.
func TestAMessageOfANewerServerIsLeftToIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		one := store.Delivery{
			ID: id.New[id.DeliveryKind](now(), w.random()), Key: "newer", Template: "newer", Channel: "email",
			Status: store.DeliveryPending, DueAt: now(), CreatedAt: now(), UpdatedAt: now(),
		}
		var err error
		if one.Sealed, err = w.deps.Seal.Seal(t.Context(), "delivery/"+one.ID.String(), []byte(`{"to":"a@example.com","data":{}}`)); err != nil {
			t.Fatal(err)
		}
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Deliveries().Insert(ctx, one) })
		defer w.run("a")()
		pass(time.Minute)
		if d := w.only(); d.Status != store.DeliveryPending || d.Attempts < 2 || !strings.Contains(d.LastError, "newer") {
			t.Errorf("%+v", d)
		}
	})
}
