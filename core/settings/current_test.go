package settings_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestAChangeIsSeenElsewhereInTwoSeconds, and at once where it was made.
func TestAChangeIsSeenElsewhereInTwoSeconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.over(t, func(*settings.Deps) {})
	if w.now(t, w.Service).RegistrationEnabled || w.now(t, other).RegistrationEnabled {
		t.Fatal("it is open")
	}
	w.set(t, settings.Change{RegistrationEnabled: new(true)})
	if !w.now(t, w.Service).RegistrationEnabled {
		t.Error("the process that made the change does not see it")
	}
	w.Move(2 * time.Second)
	now := w.now(t, other)
	if !now.RegistrationEnabled || now.Version(settings.InGeneral) != 1 || now.Version(settings.InSMTP) != 0 {
		t.Errorf("after two seconds the other process has version %d", now.Version(settings.InGeneral))
	}
}

// TestTheStoreIsAskedOnceASecond, whoever and how many ask.
func TestTheStoreIsAskedOnceASecond(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 3 {
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { w.now(t, w.Service) })
		}
		wg.Wait()
		w.Move(time.Second)
	}
	if n := w.store.views.Load(); n != 3 {
		t.Errorf("in three seconds the store was asked %d times", n)
	}
	w.Move(-time.Hour) // somebody sets the clock
	w.now(t, w.Service)
	if n := w.store.views.Load(); n != 4 {
		t.Errorf("after the clock was set back the store was asked %d times", n-3)
	}
}

// TestTheLastSettingsServeAMinute when the store has gone, and a day when it has
// come back.
func TestTheLastSettingsServeAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	away := fault.Unavailable.New("store_unavailable", "The database does not answer.")
	w.store.meet(func(context.Context) error { return away })
	if _, err := w.Current(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("without ever having read: %v", err)
	}
	w.store.meet(nil)
	w.Move(time.Second)
	w.set(t, everything())
	w.now(t, w.Service)
	w.store.meet(func(context.Context) error { return away })
	asked := w.store.views.Load()
	for range 59 {
		w.Move(time.Second)
		if got := w.now(t, w.Service); got.SMTP.Password.Reveal() != "secret mail ä" {
			t.Fatal("other settings")
		}
		w.now(t, w.Service)
	}
	if n := w.store.views.Load() - asked; n != 59 {
		t.Errorf("a store that is away was asked %d times in 59 seconds", n)
	}
	w.Move(time.Second)
	if _, err := w.Current(t.Context()); fault.CodeOf(err) != "store_unavailable" {
		t.Errorf("after a minute: %v", err)
	}
	w.store.meet(nil)
	w.Move(time.Second)
	w.now(t, w.Service)
}

// TestNobodyWaitsLongForTheStore: a read that hangs ends after a second, one is
// under way at a time, and whoever gives up waiting stops nobody else.
func TestNobodyWaitsLongForTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.over(t, func(d *settings.Deps) { d.Now = time.Now })
		w.now(t, s)
		asked := w.store.views.Load()
		w.store.meet(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		time.Sleep(time.Second)
		began := time.Now()
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { // begins the read for all
			if _, err := s.Current(t.Context()); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		for range 20 {
			wg.Go(func() {
				if _, err := s.Current(t.Context()); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if _, err := s.Current(impatient); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 200*time.Millisecond {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != time.Second || w.store.views.Load() != asked+1 {
			t.Errorf("it took %v, and the store was asked %d times", took, w.store.views.Load()-asked)
		}
		if _, err := s.Current(t.Context()); err != nil || time.Since(began) != time.Second {
			t.Errorf("right afterwards: %v after %v", err, time.Since(began))
		}
	})
}

// TestAReadThatCrossesAWriteIsNotTheLast: what was read before this process wrote
// is not taken for what is there now.
func TestAReadThatCrossesAWriteIsNotTheLast(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	reading, written := make(chan struct{}), make(chan struct{})
	slow := &crossed{Store: w.store.Store, reading: reading, written: written}
	s := w.over(t, func(d *settings.Deps) { d.Store = slow })
	done := make(chan struct{})
	go func() { defer close(done); _, _ = s.Current(t.Context()) }()
	<-reading
	if _, err := s.Update(w.ctx, settings.Change{RegistrationEnabled: new(true)}); err != nil {
		t.Fatal(err)
	}
	close(written)
	<-done
	if !w.now(t, s).RegistrationEnabled {
		t.Error("what was read before the change is in use after it")
	}
}

// crossed answers its first read late.
type crossed struct {
	store.Store
	met              atomic.Bool
	reading, written chan struct{}
}

func (c *crossed) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	err := c.Store.View(ctx, do)
	if c.met.CompareAndSwap(false, true) {
		close(c.reading)
		<-c.written
	}
	return err
}

// TestAnUnreadableSectionStandsAlone: its key is not there, or it is damaged.
func TestAnUnreadableSectionStandsAlone(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*store.Setting){
		"another key":  func(s *store.Setting) { s.Sealed = sealedBy(t, 2, s.Name) },
		"another name": func(s *store.Setting) { s.Sealed = sealedBy(t, 1, "hcaptcha") },
		"damaged":      func(s *store.Setting) { s.Sealed = []byte("x") },
		"no JSON":      func(s *store.Setting) { s.Value = []byte("{") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.set(t, everything())
			w.spoil(t, "smtp", spoil)
			now := w.now(t, w.over(t, func(*settings.Deps) {}))
			err := now.Check(settings.InSMTP)
			if fault.CodeOf(err) != "settings_unreadable" || !strings.Contains(err.Error(), "smtp") || !now.SMTP.Password.IsZero() {
				t.Errorf("%v, password %v", err, now.SMTP.Password.IsZero())
			}
			if now.Check(settings.InStripe) != nil || now.Stripe.WebhookSecret.Reveal() != "secret-webhook" || len(now.Unreadable()) != 1 {
				t.Errorf("the others: %v", now.Unreadable())
			}
			w.repair(t, name)
		})
	}
}

func (w *world) spoil(t *testing.T, name string, how func(*store.Setting)) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Settings().All(ctx)
		for _, s := range all {
			if s.Name == name {
				how(&s)
				return tx.Settings().Put(ctx, &s)
			}
		}
		return errors.Join(err, errors.New("there is no such section"))
	})
}

func sealedBy(t *testing.T, key byte, section string) []byte {
	t.Helper()
	sealed, err := keyseal.New([32]byte{key}).Seal(t.Context(), "settings/"+section, []byte(`{"password":"other"}`))
	if err != nil {
		t.Error(err)
	}
	return sealed
}

func (w *world) repair(t *testing.T, how string) {
	t.Helper()
	before := w.records(t)
	w.set(t, settings.Change{RegistrationEnabled: new(false)}) // says nothing of it
	if _, err := w.Update(w.ctx, smtp(settings.SMTPChange{Enabled: new(true), Host: new("mail.example.com"), From: new("a@b.c"), Username: new("x")})); fault.CodeOf(err) != fault.ValidationFailed {
		t.Errorf("it is on without its password: %v", err)
	}
	off := w.set(t, smtp(settings.SMTPChange{Enabled: new(false)}))
	if how != "no JSON" && off.Check(settings.InSMTP) == nil {
		t.Error("it is readable without a new password")
	}
	for i, r := range w.records(t) {
		if string(r.Sealed) != string(before[i].Sealed) {
			t.Errorf("the secrets of %s were written", r.Name)
		}
	}
	if seen := w.now(t, w.Service); how != "no JSON" && len(seen.Unreadable()) != 1 {
		t.Error("it became readable by itself")
	}
	now := w.set(t, smtp(settings.SMTPChange{Enabled: new(true), Host: new("mail.example.com"), From: new("a@b.c"), Username: new("x"), Password: newSecret("new")}))
	if now.Check(settings.InSMTP) != nil {
		t.Error(now.Check(settings.InSMTP))
	}
	now = w.now(t, w.over(t, func(*settings.Deps) {}))
	if now.Check(settings.InSMTP) != nil || now.SMTP.Password.Reveal() != "new" || len(now.Unreadable()) != 0 {
		t.Errorf("after new secrets: %v", now.Check(settings.InSMTP))
	}
}

// TestTheLogSaysOnceWhatIsUnreadable.
func TestTheLogSaysOnceWhatIsUnreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set(t, everything())
	w.spoil(t, "stripe", func(s *store.Setting) { s.Sealed = []byte("x") })
	for range 5 {
		w.Move(time.Second)
		w.now(t, w.Service)
	}
	if n := strings.Count(w.log.String(), "section=stripe"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, w.log)
	}
}

// TestAKeyThatIsAwayIsNoLostKey: what passes makes nothing unreadable.
func TestAKeyThatIsAwayIsNoLostKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set(t, everything())
	busy := &busySealer{}
	s := w.over(t, func(d *settings.Deps) { d.Seal = busy })
	if _, err := s.Current(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	if _, err := s.Update(w.ctx, smtp(settings.SMTPChange{Password: newSecret("x")})); !errors.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
}

type busySealer struct{ keyseal.Sealer }

func (*busySealer) Open(context.Context, string, []byte) ([]byte, error) {
	return nil, fault.Unavailable.New("store_busy", "The keys could not be read in time.")
}
