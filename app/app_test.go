package app_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/adapters/argonpass"
	"github.com/kubebyon/kubebyon/adapters/gobus"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/outside"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// inMemory backs every port with its reference.
func inMemory(t testing.TB) fx.Option {
	t.Helper()
	hasher, err := argonpass.New(2)
	if err != nil {
		t.Fatal(err)
	}
	return fx.Options(
		memstore.Module, memprovision.Module, gobus.Module,
		app.Use[tenant.Connector](memtenant.New()),
		app.Use[seal.Sealer](keyseal.New([32]byte{1})),
		app.Use[passwords.Hasher](hasher), outsiders(t),
	)
}

// outsiders backs the ports behind which others are, on this machine too.
func outsiders(t testing.TB) fx.Option {
	t.Helper()
	o, err := outside.Modules(outside.Config{OnThisMachine: true})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func admin(ctx context.Context) context.Context {
	now, random := time.Now(), [10]byte{1}
	return actor.With(ctx, actor.Actor{Type: actor.Person, Method: actor.BySession, UserID: id.New[id.UserKind](now, random), Role: actor.Admin})
}

// account is a context in which an administrator with an account in p acts.
func account(t *testing.T, p *app.App) context.Context {
	t.Helper()
	u, err := p.Identity.Create(t.Context(), identity.NewAccount{Email: "ada@example.org", Role: actor.Admin, Password: secret.New("correct horse battery")})
	if err != nil {
		t.Fatal(err)
	}
	return actor.With(t.Context(), actor.Actor{Type: actor.Person, Method: actor.BySession, UserID: u.ID, Role: actor.Admin})
}

func TestClusterBecomesReachable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := app.New(app.Config{}, inMemory(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer stop(t, p)
		ctx := account(t, p)
		c, err := p.Clusters.Create(ctx, clusters.Request{Name: "demo"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if c, err = p.Clusters.Get(ctx, c.ID); err != nil || c.ConnectionStatus != string(clusters.Reachable) {
			t.Errorf("after a second the cluster is %q, %v", c.ConnectionStatus, err)
		}
	})
}

// counting counts what is applied through it.
type counting struct {
	provision.Provisioner
	applied *atomic.Int32
}

func (c counting) Apply(ctx context.Context, w provision.Want) error {
	c.applied.Add(1)
	return c.Provisioner.Apply(ctx, w)
}

func TestBackendsAreReplacedAndWrapped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var applied atomic.Int32
		mine := memprovision.New(memprovision.Config{})
		p, err := app.New(app.Config{}, inMemory(t),
			app.Replace[provision.Provisioner](counting{mine, &applied}),
			app.Wrap(func(s store.Store) store.Store { return wrapped{s} }))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer stop(t, p)
		if _, err := p.Clusters.Create(account(t, p), clusters.Request{Name: "demo"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if applied.Load() == 0 || len(mine.Clusters()) != 1 {
			t.Errorf("the replaced provisioner was asked %d times and has %d clusters", applied.Load(), len(mine.Clusters()))
		}
		w := httptest.NewRecorder()
		p.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
		if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("readiness over the wrapped store: %d %s", w.Code, w.Body)
		}
	})
}

// wrapped is a store that cannot be reached, and says too much about it.
type wrapped struct{ store.Store }

func (wrapped) Ping(context.Context) error { return errPassword }

var errPassword = errString("dial tcp 10.0.0.7: password hunter2")

type errString string

func (e errString) Error() string { return string(e) }

func TestMissingBackendIsNamed(t *testing.T) {
	t.Parallel()
	_, err := app.New(app.Config{}, memstore.Module, memprovision.Module, gobus.Module)
	if err == nil || !strings.Contains(err.Error(), "missing type") {
		t.Errorf("got %v", err)
	}
	_, err = app.New(app.Config{}, inMemory(t), memstore.Module)
	if err == nil || !strings.Contains(err.Error(), "already provided") {
		t.Errorf("two backends for one port: %v", err)
	}
}

func TestWrongKeyStopsTheStart(t *testing.T) {
	t.Parallel()
	kept := memstore.New()
	start := func(key byte) error {
		p, err := app.New(app.Config{}, inMemory(t), app.Replace[store.Store](kept), app.Replace[seal.Sealer](keyseal.New([32]byte{key})))
		if err != nil {
			t.Fatal(err)
		}
		defer stop(t, p)
		return p.Start(t.Context())
	}
	if err := start(1); err != nil {
		t.Fatal(err)
	}
	if err := start(2); err == nil || !strings.Contains(err.Error(), "the secret key is not the one") {
		t.Errorf("started with another key: %v", err)
	}
	if err := start(1); err != nil {
		t.Errorf("the right key does not work any more: %v", err)
	}
}

func TestFirstAdminIsMadeOnce(t *testing.T) {
	t.Parallel()
	kept := memstore.New()
	var handed []string
	for range 2 {
		p, err := app.New(app.Config{FirstAdmin: app.FirstAdmin{HandOver: func(email string, _ secret.Text) error {
			handed = append(handed, email)
			return nil
		}}}, inMemory(t), app.Replace[store.Store](kept))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop(t, p)
	}
	if len(handed) != 1 || handed[0] != "admin@kubebyon.local" {
		t.Errorf("passwords were handed over for %v", handed)
	}
}

// TestTheFirstPasswordIsGivenOutOnce: of processes that start together on an
// empty database, one gives out a password, and that one lets its reader in.
func TestTheFirstPasswordIsGivenOutOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const processes = 4
		kept := memstore.New()
		var mu sync.Mutex
		var given []secret.Text
		handOver := func(_ string, password secret.Text) error {
			time.Sleep(time.Second) // so that all others are there before the account is
			mu.Lock()
			defer mu.Unlock()
			given = append(given, password)
			return nil
		}
		var apps [processes]*app.App
		var wg sync.WaitGroup
		for i := range apps {
			var err error
			apps[i], err = app.New(app.Config{FirstAdmin: app.FirstAdmin{HandOver: handOver}}, inMemory(t), app.Replace[store.Store](kept))
			if err != nil {
				t.Fatal(err)
			}
			defer stop(t, apps[i])
			wg.Go(func() {
				if err := apps[i].Start(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(given) != 1 {
			t.Fatalf("%d passwords were given out by %d processes", len(given), processes)
		}
		for i, a := range apps {
			if _, _, err := a.Identity.SignIn(t.Context(), "admin@kubebyon.local", given[0], identity.Client{}); err != nil {
				t.Errorf("the password that was given out does not open process %d: %v", i, err)
			}
		}
	})
}

// TestADeathBeforeTheFirstAccountHoldsNobodyUp: a process that dies, or cannot
// give the password out, leaves the next start free to do so.
func TestADeathBeforeTheFirstAccountHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := memstore.New()
		start := func(ctx context.Context, name string, handOver func(string, secret.Text) error) error {
			p, err := app.New(app.Config{Name: name, FirstAdmin: app.FirstAdmin{HandOver: handOver}}, inMemory(t), app.Replace[store.Store](kept))
			if err != nil {
				t.Fatal(err)
			}
			defer stop(t, p)
			return p.Start(ctx)
		}
		if err := start(t.Context(), "a", func(string, secret.Text) error { return errPassword }); !errors.Is(err, errPassword) {
			t.Errorf("started without giving the password out: %v", err)
		}
		dying, cancel := context.WithCancel(t.Context())
		if err := start(dying, "b", func(string, secret.Text) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("started while it died: %v", err)
		}
		given := 0
		began := time.Now()
		if err := start(t.Context(), "c", func(string, secret.Text) error { given++; return nil }); err != nil || given != 1 {
			t.Errorf("%v; %d passwords were given out", err, given)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("the next process waited %v", took)
		}
	})
}

// TestWhatIsWrongWithTheKeyIsTold: a database that is away or damaged is not a
// wrong key, and nobody shall look for another one.
func TestWhatIsWrongWithTheKeyIsTold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(t *testing.T, kept *memstore.Store) store.Store
		want string
	}{
		"damaged": {func(t *testing.T, kept *memstore.Store) store.Store {
			err := kept.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
				v, err := tx.Facts().Get(ctx, "secret-key-check")
				if err != nil {
					return err
				}
				v[len(v)-1] ^= 1
				return tx.Facts().Set(ctx, "secret-key-check", v)
			})
			if err != nil {
				t.Fatal(err)
			}
			return kept
		}, "is damaged"},
		"out of reach": {func(_ *testing.T, kept *memstore.Store) store.Store { return away{kept} }, "read the secret key's check: the database is away"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kept := memstore.New()
			start := func(s store.Store) error {
				p, err := app.New(app.Config{}, inMemory(t), app.Replace(s))
				if err != nil {
					t.Fatal(err)
				}
				defer stop(t, p)
				return p.Start(t.Context())
			}
			if err := start(kept); err != nil {
				t.Fatal(err)
			}
			if err := start(c.harm(t, kept)); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "is not the one") {
				t.Errorf("got %v", err)
			}
		})
	}
}

type away struct{ store.Store }

func (away) InTx(context.Context, func(context.Context, store.Tx) error) error { return errAway }

const errAway = errString("the database is away")

func TestDrainTurnsReadinessOff(t *testing.T) {
	t.Parallel()
	p, err := app.New(app.Config{}, inMemory(t))
	if err != nil {
		t.Fatal(err)
	}
	ready := func() int {
		w := httptest.NewRecorder()
		p.Handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
		return w.Code
	}
	if got := ready(); got != http.StatusOK {
		t.Errorf("ready: %d", got)
	}
	p.Drain()
	if got := ready(); got != http.StatusServiceUnavailable {
		t.Errorf("draining: %d", got)
	}
}

// TestOneHousekeepingRemovesAllThatIsOld: more than one batch of it.
func TestOneHousekeepingRemovesAllThatIsOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const many = 3500
		kept := memstore.New()
		now := time.Now().UTC()
		u := store.User{ID: id.New[id.UserKind](now, [10]byte{}), Email: "a@example.com", CreatedAt: now}
		tx := func(do func(ctx context.Context, tx store.Tx) error) {
			t.Helper()
			if err := kept.InTx(t.Context(), do); err != nil {
				t.Fatal(err)
			}
		}
		tx(func(ctx context.Context, tx store.Tx) error { return tx.Users().Insert(ctx, u) })
		put := func(from, n int, at time.Time) {
			t.Helper()
			tx(func(ctx context.Context, tx store.Tx) error {
				var names []string
				for i := from; i < from+n; i++ {
					name := strconv.Itoa(i)
					names = append(names, "test/"+name)
					ses := id.New[id.SessionKind](now, [10]byte{byte(i >> 8), byte(i)})
					if err := errors.Join(
						tx.Sessions().Insert(ctx, store.Session{ID: ses, UserID: u.ID, TokenHash: []byte(name), CreatedAt: at, ExpiresAt: at, EndsAt: at}),
						tx.Replies().Insert(ctx, store.Reply{ReplyKey: store.ReplyKey{User: u.ID, Operation: "o", Key: name}, CreatedAt: at}),
					); err != nil {
						return err
					}
				}
				_, err := tx.Leases().Acquire(ctx, names, "test", at, at)
				return err
			})
		}
		put(0, many, now.Add(-30*24*time.Hour))
		put(many, 2, now.Add(time.Hour))                  // these stay
		tx(func(ctx context.Context, tx store.Tx) error { // and this one, for it ran out a short while ago
			_, err := tx.Leases().Acquire(ctx, []string{"test/recent"}, "test", now, now.Add(-30*time.Minute))
			return err
		})
		p, err := app.New(app.Config{}, inMemory(t), app.Replace[store.Store](kept))
		if err != nil {
			t.Fatal(err)
		}
		defer stop(t, p)
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // the first housekeeping comes soon
		synctest.Wait()
		tx(func(ctx context.Context, tx store.Tx) error {
			end := now.Add(24 * time.Hour)
			sessions, err := tx.Sessions().DeleteExpired(ctx, end, 2*many)
			replies, err2 := tx.Replies().DeleteOlderThan(ctx, end, 2*many)
			leases, err3 := tx.Leases().Living(ctx, "test/", now.Add(-365*24*time.Hour))
			if sessions != 2 || replies != 2 || len(leases) != 3 {
				t.Errorf("%d sessions, %d answers and %d leases are left, want 2, 2 and 3", sessions, replies, len(leases))
			}
			return errors.Join(err, err2, err3)
		})
	})
}

// swept counts housekeepings.
type swept struct {
	store.Store
	times *atomic.Int32
}

func (s swept) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, sweptTx{tx, s.times}) })
}

type sweptTx struct {
	store.Tx
	times *atomic.Int32
}

func (tx sweptTx) Sessions() store.Sessions { return sweptSessions{tx.Tx.Sessions(), tx.times} }

type sweptSessions struct {
	store.Sessions
	times *atomic.Int32
}

func (s sweptSessions) DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error) {
	s.times.Add(1)
	return s.Sessions.DeleteExpired(ctx, t, limit)
}

// TestOneProcessKeepsHouseForAll: and another one does once that has gone.
func TestOneProcessKeepsHouseForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept := swept{memstore.New(), new(atomic.Int32)}
		var all []*app.App
		for range 3 {
			p, err := app.New(app.Config{}, inMemory(t), app.Replace[store.Store](kept))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, p)
			if err := p.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute) // so that the first one is first
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if n := kept.times.Swap(0); n != 3 {
			t.Errorf("%d times house was kept within 23 minutes", n)
		}
		stop(t, all[0])
		time.Sleep(22 * time.Minute)
		synctest.Wait()
		if n := kept.times.Load(); n == 0 || n > 3 {
			t.Errorf("%d times house was kept after one had gone", n)
		}
		stop(t, all[1])
		stop(t, all[2])
	})
}

func stop(t testing.TB, p *app.App) {
	t.Helper()
	if err := p.Stop(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}
