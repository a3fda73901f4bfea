package keys

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

const (
	ringFact  = "key-ring"
	lookEvery = 30 * time.Second // so that a key that was replaced soon seals no more

	// lookLimit is how long Open waits for a ring with a key that it does not
	// know. Its caller may hold a connection to the database meanwhile, and this
	// takes another one: if all are held by such callers, they fail and it heals.
	lookLimit = 2 * time.Second
)

// Keyring implements seal.Sealer with the ring of data keys that the store holds.
// It is safe for concurrent use between Start and Stop.
type Keyring struct {
	store  store.Store
	log    *slog.Logger
	held   atomic.Pointer[held]
	stop   context.CancelFunc
	ended  sync.WaitGroup
	passes func(point string) // told of the points between which a crash is tried

	looking chan struct{} // taken by whoever reads or changes the ring; guards what follows
	master  Master
	warned  string // the master key that the log has been told to ask for
}

// held is a ring, and what the store said when it was read.
type held struct {
	ring    *keyseal.Ring
	wrapped []byte
}

// NewKeyring returns a Keyring that has no keys before Start.
func NewKeyring(s store.Store, m Master, log *slog.Logger) *Keyring {
	return &Keyring{store: s, master: m, log: log, stop: func() {}, passes: func(string) {}, looking: make(chan struct{}, 1)}
}

// Start opens the ring, and makes it on a database that has none; of processes
// that start together, one does. It refuses a master key that is not the one that
// the ring is wrapped by. Stop must follow when it succeeds.
func (k *Keyring) Start(ctx context.Context) error {
	if err := k.open(ctx); err != nil {
		return err
	}
	ctx, k.stop = context.WithCancel(context.WithoutCancel(ctx))
	k.ended.Go(func() { k.follow(ctx) })
	return nil
}

// Stop ends what Start has begun. The keys stay.
func (k *Keyring) Stop() {
	k.stop()
	k.ended.Wait()
}

// open is Start without what goes on after it.
func (k *Keyring) open(ctx context.Context) error {
	wrapped, err := k.read(ctx)
	if errors.Is(err, fault.NotFound) || err == nil && !k.master.isSettled(keyseal.MasterOf(wrapped)) {
		err = k.change(ctx, func(_ context.Context, _ store.Tx, r *keyseal.Ring) (*keyseal.Ring, error) { return r, nil })
		return err
	}
	if err != nil {
		return err
	}
	return k.hold(ctx, wrapped)
}

// read asks the store for the ring, and fails with fault.NotFound if it has none.
func (k *Keyring) read(ctx context.Context) (wrapped []byte, err error) {
	err = k.store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		wrapped, err = tx.Facts().Get(ctx, ringFact)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the ring of data keys: %w", err)
	}
	return wrapped, nil
}

func (k *Keyring) hold(ctx context.Context, wrapped []byte) error {
	ring, err := k.unwrap(ctx, wrapped)
	if err == nil {
		k.held.Store(&held{ring, wrapped})
	}
	return err
}

func (k *Keyring) unwrap(ctx context.Context, wrapped []byte) (*keyseal.Ring, error) {
	ring, err := keyseal.Unwrap(ctx, k.master.key, wrapped)
	switch fault.CodeOf(err) {
	case "wrong_key":
		return nil, k.master.notTheOne(keyseal.MasterOf(wrapped))
	case "broken_seal":
		return nil, fault.Internal.New("ring_damaged", "The ring of data keys in the database is damaged; restore the database from a backup.")
	}
	return ring, err
}

// change replaces the ring by what do makes of it; the same ring is left as it
// is. Those that change it take turns, and whoever comes first makes it.
func (k *Keyring) change(ctx context.Context, do func(context.Context, store.Tx, *keyseal.Ring) (*keyseal.Ring, error)) error {
	var now *held
	err := k.inTurn(ctx, func(ctx context.Context, tx store.Tx, wrapped []byte) error {
		before, err := k.unwrap(ctx, wrapped)
		if err != nil {
			return err
		}
		after, err := do(ctx, tx, before)
		if err != nil {
			return err
		}
		if after != before {
			if wrapped, err = after.Wrap(ctx, k.master.key); err != nil {
				return err
			}
			if err := tx.Facts().Set(ctx, ringFact, wrapped); err != nil {
				return fmt.Errorf("write the ring of data keys: %w", err)
			}
		}
		now = &held{after, wrapped}
		return nil
	})
	if err == nil {
		k.held.Store(now)
	}
	return err
}

// inTurn runs do while nobody else changes the ring or the key file, with the
// ring as it is wrapped.
func (k *Keyring) inTurn(ctx context.Context, do func(ctx context.Context, tx store.Tx, wrapped []byte) error) error {
	if err := k.take(ctx); err != nil {
		return err
	}
	defer k.give()
	return k.store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return fmt.Errorf("ask the database for the time: %w", err)
		}
		if err := turn.Take(ctx, tx, ringFact, now); err != nil {
			return err
		}
		wrapped, err := tx.Facts().Get(ctx, ringFact)
		if errors.Is(err, fault.NotFound) {
			wrapped, err = k.make(ctx, tx)
		}
		if err != nil {
			return err
		}
		if err := k.master.settle(keyseal.MasterOf(wrapped)); err != nil {
			return err
		}
		return do(ctx, tx, wrapped)
	})
}

// make writes the first ring. A database that an earlier version has written has
// the check of its key: a ring under another one would hide that the key is wrong.
func (k *Keyring) make(ctx context.Context, tx store.Tx) ([]byte, error) {
	known, err := tx.Facts().Get(ctx, seal.KeyCheck)
	if err == nil {
		err = k.checkOlder(ctx, known)
	}
	if err != nil && !errors.Is(err, fault.NotFound) {
		return nil, err
	}
	ring, err := keyseal.NewRing(k.master.key)
	if err != nil {
		return nil, err
	}
	wrapped, err := ring.Wrap(ctx, k.master.key)
	if err != nil {
		return nil, err
	}
	return wrapped, tx.Facts().Set(ctx, ringFact, wrapped)
}

func (k *Keyring) checkOlder(ctx context.Context, known []byte) error {
	if keyseal.IsOfRing(known) {
		return fault.Internal.New("ring_missing", "The ring of data keys that this installation's secrets are sealed with is missing; restore the database from a backup.")
	}
	_, err := k.master.key.Open(ctx, seal.KeyCheck, known)
	if fault.CodeOf(err) == "wrong_key" {
		return k.master.notTheOne(keyseal.MasterOf(known))
	}
	return err
}

// follow reads the ring again and again, for keys that other processes made.
func (k *Keyring) follow(ctx context.Context) {
	for bell.Wait(ctx, nil, lookEvery) {
		if _, err := k.look(ctx, nil); err != nil && ctx.Err() == nil {
			k.log.WarnContext(ctx, "it is not known whether there is a new data key; looking again", "err", err)
		}
	}
}

// look reads the ring anew unless the one that is held opens a value.
func (k *Keyring) look(ctx context.Context, sealed []byte) (*keyseal.Ring, error) {
	limited, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	r, err := k.lookUntil(limited, sealed)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fault.Unavailable.New("store_busy", "The keys could not be read in time. Try again.").Because(err)
	}
	return r, err
}

func (k *Keyring) lookUntil(ctx context.Context, sealed []byte) (*keyseal.Ring, error) {
	if err := k.take(ctx); err != nil {
		return nil, err
	}
	defer k.give()
	have := k.held.Load()
	if sealed != nil && have.ring.Opens(sealed) {
		return have.ring, nil
	}
	wrapped, err := k.read(ctx)
	if err != nil || bytes.Equal(wrapped, have.wrapped) {
		return have.ring, err
	}
	id := keyseal.MasterOf(wrapped)
	if err := k.master.adopt(id); err != nil {
		return nil, err
	}
	if id != k.master.ID() {
		k.warn(ctx, id)
		if sealed != nil {
			return nil, k.master.outlived(id)
		}
		return have.ring, nil
	}
	if err := k.hold(ctx, wrapped); err != nil {
		return nil, err
	}
	return k.held.Load().ring, nil
}

func (k *Keyring) take(ctx context.Context) error {
	select {
	case k.looking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *Keyring) give() { <-k.looking }

// warn says once that this process works with a ring that others have left.
func (k *Keyring) warn(ctx context.Context, id string) {
	if k.warned != id {
		k.warned = id
		k.log.WarnContext(ctx, "the master key was replaced: this process goes on with the keys that it has, does not learn of new ones, and needs the new master key when it starts again; start it soon",
			"has", k.master.ID(), "needs", id)
	}
}

func (k *Keyring) ring() (*keyseal.Ring, error) {
	if h := k.held.Load(); h != nil {
		return h.ring, nil
	}
	return nil, fault.Unavailable.New("starting", "The keys are not open yet. Try again.")
}

// Seal implements seal.Sealer.
func (k *Keyring) Seal(ctx context.Context, purpose string, plain []byte) ([]byte, error) {
	r, err := k.ring()
	if err != nil {
		return nil, err
	}
	return r.Seal(ctx, purpose, plain)
}

// Open implements seal.Sealer. It looks for a key that it does not know.
func (k *Keyring) Open(ctx context.Context, purpose string, sealed []byte) ([]byte, error) {
	r, err := k.ring()
	if err == nil && !r.Opens(sealed) {
		r, err = k.look(ctx, sealed)
	}
	if err != nil {
		return nil, err
	}
	return r.Open(ctx, purpose, sealed)
}

// Derive implements seal.Sealer.
func (k *Keyring) Derive(ctx context.Context, purpose string, input []byte) ([]byte, error) {
	r, err := k.ring()
	if err != nil {
		return nil, err
	}
	return r.Derive(ctx, purpose, input)
}

var _ seal.Sealer = (*Keyring)(nil)
