package keys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Kept is for how long a data key stays after another one has taken its place.
// Whatever is kept sealed for longer is sealed anew when the key is replaced, and
// belongs into [Keyring.anew]; answers (a day) and messages that are over before
// then are not.
const Kept = 30 * 24 * time.Hour

// Rotation is what a new data key has brought.
type Rotation struct {
	Key       string // the name of the key that seals from now on
	Anew      int    // values that were sealed anew
	Forgotten int    // data keys that nothing needed any more
	Keys      int    // data keys that there are now
}

// Rotate makes a data key that seals from now on, and seals anew what is kept for
// long. Other processes learn of it within half a minute, or when they meet it. It
// may be called beside running servers, by several at once, and again after a
// crash: each call makes one key.
func (k *Keyring) Rotate(ctx context.Context) (out Rotation, err error) {
	if err := k.open(ctx); err != nil {
		return out, err
	}
	// What an earlier rotation did not get to seal anew must not lose its key.
	if _, err := k.anew(ctx); err != nil {
		return out, err
	}
	k.passes("sealed anew before")
	err = k.change(ctx, func(ctx context.Context, tx store.Tx, r *keyseal.Ring) (*keyseal.Ring, error) {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		if r, out.Forgotten, err = r.Forget(now.Add(-Kept)); err != nil {
			return nil, err
		}
		if r, err = r.Rotate(now); err != nil {
			return nil, err
		}
		return r, record(ctx, tx, now, "rotate_data_key", r.Primary(), "A new data key seals from now on.")
	})
	if err != nil {
		return out, err
	}
	k.passes("ring written")
	r := k.held.Load().ring
	out.Key, out.Keys = r.Primary(), r.Len()
	out.Anew, err = k.anew(ctx)
	k.passes("sealed anew")
	if err != nil {
		return out, fmt.Errorf("the new data key is in use, but not all could be sealed with it; run this again: %w", err)
	}
	return out, nil
}

// record writes into the audit stream that a key was replaced, by its name. Who
// did so is known to the operating system only.
func record(ctx context.Context, tx store.Tx, now time.Time, action, key, message string) error {
	j := journal.Journal{Now: func() time.Time { return now }, Random: func() (b [10]byte) {
		_, _ = rand.Read(b[:]) // never fails
		return b
	}}
	return j.WriteAs(ctx, tx, actor.Process(), journal.Event{Resource: "encryption_key", Action: action, ResourceID: key, Message: message})
}

// anew seals with the newest data key what is kept for longer than [Kept], and
// returns how many values were not yet.
func (k *Keyring) anew(ctx context.Context) (n int, err error) {
	check, err := k.checkAnew(ctx)
	if err != nil {
		return check, err
	}
	settings, err := k.settingsAnew(ctx)
	if err != nil {
		return check + settings, err
	}
	fleet, err := k.fleetAnew(ctx)
	return check + settings + fleet, err
}

// checkAnew is about the value that tells whether a key is the right one.
func (k *Keyring) checkAnew(ctx context.Context) (n int, err error) {
	err = k.store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		n = 0
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		if err := turn.Take(ctx, tx, seal.KeyCheck, now); err != nil {
			return err
		}
		known, err := tx.Facts().Get(ctx, seal.KeyCheck)
		if errors.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		sealed, err := k.sealedAnew(ctx, seal.KeyCheck, known)
		if err != nil || sealed == nil {
			return err
		}
		n = 1
		return tx.Facts().Set(ctx, seal.KeyCheck, sealed)
	})
	return n, err
}

// settingsTries is how often the settings are begun when others write them.
const settingsTries = 5

// settingsAnew is about the secrets that administrators have set.
func (k *Keyring) settingsAnew(ctx context.Context) (n int, err error) {
	for range settingsTries {
		err = k.store.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			n, err = k.settingsIn(ctx, tx)
			return err
		})
		if fault.CodeOf(err) != "stale_version" {
			return n, err
		}
	}
	return 0, err
}

func (k *Keyring) settingsIn(ctx context.Context, tx store.Tx) (n int, err error) {
	all, err := tx.Settings().All(ctx)
	if err != nil {
		return 0, err
	}
	for _, s := range all {
		if len(s.Sealed) == 0 {
			continue
		}
		sealed, err := k.sealedAnew(ctx, "settings/"+s.Name, s.Sealed)
		if isLost(err) {
			// Its key has gone: the other sections must not lose theirs for it.
			k.log.WarnContext(ctx, "a section of the settings does not open, and is left as it is", "section", s.Name, "err", err)
			continue
		}
		if err != nil {
			return 0, err
		}
		if sealed == nil {
			continue
		}
		s.Sealed = sealed
		if err := tx.Settings().Put(ctx, &s); err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// fleetPage is how many credentials of clusters are sealed anew at a time.
const fleetPage = 100

// fleetAnew is about the credentials of imported clusters.
func (k *Keyring) fleetAnew(ctx context.Context) (n int, err error) {
	var after id.Cluster
	for {
		var page []store.FleetEntry
		err := k.store.View(ctx, func(ctx context.Context, tx store.Tx) error {
			page, err = tx.Fleet().AllSealed(ctx, after, fleetPage)
			return err
		})
		if err != nil || len(page) == 0 {
			return n, err
		}
		for _, e := range page {
			done, err := k.entryAnew(ctx, e.ClusterID)
			n += done
			if err != nil {
				return n, err
			}
			after = e.ClusterID
		}
	}
}

func (k *Keyring) entryAnew(ctx context.Context, c id.Cluster) (n int, err error) {
	for range settingsTries {
		err = k.store.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			n, err = k.entryIn(ctx, tx, c)
			return err
		})
		if fault.CodeOf(err) != "stale_version" {
			return n, err
		}
	}
	return 0, err
}

func (k *Keyring) entryIn(ctx context.Context, tx store.Tx, c id.Cluster) (int, error) {
	m, err := tx.Fleet().Get(ctx, store.Everyone(), c)
	if errors.Is(err, fault.NotFound) {
		return 0, nil // it has been removed meanwhile
	}
	if err != nil {
		return 0, err
	}
	known, err := tx.Fleet().Sealed(ctx, c)
	if errors.Is(err, fault.NotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	sealed, err := k.sealedAnew(ctx, fleet.Purpose(c), known)
	if isLost(err) {
		k.log.WarnContext(ctx, "the credential of a cluster does not open, and is left as it is", "cluster", c.String(), "err", err)
		return 0, nil
	}
	if err != nil || sealed == nil {
		return 0, err
	}
	m.Entry.Sealed = sealed
	return 1, tx.Fleet().Put(ctx, &m.Entry)
}

// isLost tells what will never open from what does not at the moment.
func isLost(err error) bool {
	switch fault.CodeOf(err) {
	case "unknown_key", "wrong_key", "broken_seal":
		return true
	}
	return false
}

// sealedAnew returns nil for what the newest data key has sealed.
func (k *Keyring) sealedAnew(ctx context.Context, purpose string, sealed []byte) ([]byte, error) {
	r, err := k.ring()
	if err == nil && !r.Opens(sealed) { // somebody rotates beside us
		r, err = k.look(ctx, sealed)
	}
	if err != nil || r.IsNewest(sealed) {
		return nil, err
	}
	plain, err := r.Open(ctx, purpose, sealed)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", purpose, err)
	}
	return r.Seal(ctx, purpose, plain)
}

// ChangeMaster wraps the ring by another master key, and puts that into the key
// file if the old one is in one. Running servers go on with the keys that they
// have. It reports false when the ring was wrapped by that key already, and may be
// called again after a crash.
func (k *Keyring) ChangeMaster(ctx context.Context, to Master) (changed bool, err error) {
	err = k.inTurn(ctx, func(ctx context.Context, tx store.Tx, wrapped []byte) (err error) {
		if changed = keyseal.MasterOf(wrapped) != to.ID(); !changed {
			_, err := keyseal.Unwrap(ctx, to.key, wrapped)
			return err
		}
		k.passes("turn taken")
		ring, err := k.unwrap(ctx, wrapped)
		if err != nil {
			return err
		}
		if wrapped, err = ring.Wrap(ctx, to.key); err != nil {
			return err
		}
		if k.master.file != "" {
			if err := keyseal.WriteFile(k.master.next(to.ID()), to.key); err != nil {
				return fmt.Errorf("write the new key beside %s: %w", k.master.file, err)
			}
		}
		k.passes("new key written")
		err = tx.Facts().Set(ctx, ringFact, wrapped)
		if now, wrong := tx.Now(ctx); err == nil {
			if err = wrong; err == nil {
				err = record(ctx, tx, now, "rotate_master_key", to.ID(), "The data keys are wrapped by another master key.")
			}
		}
		k.passes("ring written, not committed")
		return err
	})
	k.passes("committed")
	if err != nil || k.master.file == "" {
		return changed, err
	}
	err = k.inTurn(ctx, func(context.Context, store.Tx, []byte) error {
		k.passes("key file replaced")
		return nil
	})
	if err != nil {
		return changed, fmt.Errorf("the ring of data keys is wrapped by the new key, but it is not in the key file yet; the next start puts it there: %w", err)
	}
	return changed, nil
}
