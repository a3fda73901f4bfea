package identity_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/once"
	"github.com/kubebyon/kubebyon/ports/store"
)

// as returns ctx speaking for an account that has signed in.
func (w *world) as(t *testing.T, u store.User) context.Context {
	t.Helper()
	return coretest.As(t.Context(), u.ID, actor.Role(u.Role))
}

func (w *world) key(t *testing.T, u store.User, days *int64) identity.MintedAPIKey {
	t.Helper()
	m, err := w.CreateAPIKey(w.as(t, u), "ci", days)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAnAPIKeySpeaksForItsAccountUntilItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	m := w.key(t, u, new(int64(2)))
	if !strings.HasPrefix(m.Value, "kbk_") || len(m.Value) != 47 || m.Key.DisplayPrefix != m.Value[:10] || !m.Key.ExpiresAt.Equal(w.Now().Add(48*time.Hour)) {
		t.Errorf("made %+v", m.Key)
	}
	if dump := w.dump() + w.log.String(); strings.Contains(dump, m.Value) || strings.Contains(dump, m.Value[10:]) {
		t.Error("the value is kept")
	}
	value := secret.New(m.Value)
	who, got, err := w.APIKey(t.Context(), value)
	if err != nil || who.UserID != u.ID || who.Method != actor.ByAPIKey || !who.Session.IsZero() || got.ID != u.ID {
		t.Errorf("%+v, %v", who, err)
	}
	refused := func(what string) {
		t.Helper()
		if _, _, err := w.APIKey(t.Context(), value); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.edit(t, u.ID, func(u *store.User) { u.Status = string(identity.Banned) })
	refused("banned")
	w.edit(t, u.ID, func(u *store.User) { u.Status = string(identity.Active) })
	if _, _, err := w.APIKey(t.Context(), value); err != nil {
		t.Errorf("let in again: %v", err)
	}
	w.Move(48 * time.Hour)
	refused("expired")

	lasting := w.key(t, u, nil)
	value = secret.New(lasting.Value)
	w.Move(20 * 365 * 24 * time.Hour)
	if _, _, err := w.APIKey(t.Context(), value); err != nil {
		t.Errorf("a key that does not run out: %v", err)
	}
	for range 2 {
		if err := w.DeleteAPIKey(w.as(t, u), lasting.Key.ID); err != nil {
			t.Error(err)
		}
	}
	refused("deleted")
	if got := strings.Join(w.events(t), ", "); got != "user/create success by system, api_key/create success by user, api_key/create success by user, api_key/delete success by user" {
		t.Errorf("recorded %s", got)
	}
}

func TestAPIKeysAreTheirOwnersAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve := w.account(t), w.member(t, "eve@example.org", actor.Admin)
	m := w.key(t, ada, nil)
	if all, err := w.APIKeys(w.as(t, eve), page.Query{}); err != nil || len(all.Items) != 0 {
		t.Errorf("another sees %+v, %v", all, err)
	}
	before := w.dump()
	if err := w.DeleteAPIKey(w.as(t, eve), m.Key.ID); err != nil || w.dump() != before {
		t.Errorf("another's key: %v", err)
	}
	if all, err := w.APIKeys(w.as(t, ada), page.Query{}); err != nil || len(all.Items) != 1 || all.Items[0].ID != m.Key.ID {
		t.Errorf("the owner sees %+v, %v", all, err)
	}
}

func (w *world) member(t *testing.T, email string, r actor.Role) store.User {
	t.Helper()
	u, err := w.Create(t.Context(), identity.NewAccount{Email: email, Role: r, Password: secret.New(password)})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestWhatAnAPIKeyCannotBe(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	ctx, before := w.as(t, u), w.dump()
	for _, c := range []struct {
		name, at string
		days     *int64
	}{
		{"", "body.name", nil},
		{" \t", "body.name", nil},
		{strings.Repeat("é", 101), "body.name", nil},
		{"a\nb", "body.name", nil},
		{"ci", "body.expires_in_days", new(int64(0))},
		{"ci", "body.expires_in_days", new(int64(-1))},
		{"ci", "body.expires_in_days", new(int64(3651))},
	} {
		if _, err := w.CreateAPIKey(ctx, c.name, c.days); strings.Join(fields(err), " ") != c.at {
			t.Errorf("%q for %v days: %v", c.name, c.days, err)
		}
	}
	byKey := actor.With(t.Context(), actor.Actor{Type: actor.Person, Method: actor.ByAPIKey, UserID: u.ID, Role: actor.User})
	if _, err := w.CreateAPIKey(byKey, "more", nil); fault.CodeOf(err) != "session_required" {
		t.Errorf("by key: %v", err)
	}
	if err := w.DeleteAPIKey(byKey, id.APIKey{}); fault.CodeOf(err) != "session_required" {
		t.Errorf("by key: %v", err)
	}
	if _, err := w.CreateAPIKey(t.Context(), "more", nil); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("by nobody: %v", err)
	}
	if w.dump() != before {
		t.Error("a refusal changed something")
	}
	if _, err := w.CreateAPIKey(ctx, strings.Repeat("é", 100), new(int64(identity.MaxAPIKeyDays))); err != nil {
		t.Errorf("the most: %v", err)
	}
}

func TestNobodyHasMoreAPIKeysThanOneMay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	var wg sync.WaitGroup
	for range identity.MaxAPIKeys + 10 {
		wg.Go(func() {
			if _, err := w.CreateAPIKey(w.as(t, u), "ci", nil); err != nil && fault.CodeOf(err) != "too_many_api_keys" {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(w.dump(), "DisplayPrefix"); n != identity.MaxAPIKeys {
		t.Errorf("%d keys", n)
	}
	w.key(t, w.member(t, "eve@example.org", actor.User), nil)
}

func TestARepeatedRequestMakesOneAPIKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := once.With(w.as(t, w.account(t)), once.Request{Operation: "createAPIKey", Key: "k", Body: []byte("{}")})
	first, err := w.CreateAPIKey(ctx, "ci", nil)
	again, err2 := w.CreateAPIKey(ctx, "ci", nil)
	if err != nil || err2 != nil || again.Value != first.Value || again.Key.ID != first.Key.ID {
		t.Errorf("%v, %v, the same: %v", err, err2, again.Value == first.Value)
	}
	if n := strings.Count(w.dump(), "DisplayPrefix"); n != 1 || strings.Contains(w.dump(), first.Value) {
		t.Errorf("%d keys, or the value is kept", n)
	}
}

// TestUsesOfAPIKeysAreRecordedOnceAMinute, and no request waits for that.
func TestUsesOfAPIKeysAreRecordedOnceAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	key, quiet := w.key(t, u, nil), w.key(t, u, nil)
	before := w.dump()
	use := func() {
		t.Helper()
		if _, _, err := w.APIKey(t.Context(), secret.New(key.Value)); err != nil {
			t.Fatal(err)
		}
	}
	use()
	if w.dump() != before {
		t.Error("a request wrote its use")
	}
	stopped := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	go func() { w.RecordKeyUses(ctx); close(stopped) }()
	lastUse := func(want time.Time) {
		t.Helper()
		var got *time.Time
		for late := time.Now().Add(10 * time.Second); time.Now().Before(late); time.Sleep(time.Millisecond) {
			if got = w.used(t, key.Key); got != nil && got.Equal(want) {
				return
			}
		}
		t.Fatalf("last used %v, want %v", got, want)
	}
	first := w.Now()
	lastUse(first)
	w.Move(time.Minute - time.Millisecond)
	use()
	w.Move(time.Millisecond)
	use()
	stop()
	<-stopped // it writes what it knows before it ends
	lastUse(first.Add(time.Minute))
	if got := w.used(t, quiet.Key); got != nil {
		t.Errorf("a key that was not used was last used %v", got)
	}
}

func (w *world) used(t *testing.T, k store.APIKey) (at *time.Time) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		got, _, err := tx.APIKeys().ByValueHash(ctx, k.ValueHash)
		at = got.LastUsedAt
		return err
	})
	return at
}

// TestUsesThatCannotBeWrittenAreToldInTheLog and told again by the next request.
func TestUsesThatCannotBeWrittenAreToldInTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.key(t, w.account(t), nil)
	s := w.over(t, &refusing{Store: w.store})
	if _, _, err := s.APIKey(t.Context(), secret.New(key.Value)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.RecordKeyUses(ctx)
	if !strings.Contains(w.log.String(), "not written down when API keys were used") || strings.Contains(w.log.String(), key.Value) {
		t.Errorf("the log: %s", w.log.String())
	}
}

// refusing is a store that takes no writes.
type refusing struct{ store.Store }

func (refusing) InTx(context.Context, func(context.Context, store.Tx) error) error {
	return fault.Unavailable.New("store_busy", "Busy.")
}
