package keyseal

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Ring is the data keys of an installation, in the open: a Tink keyset of
// AES-256-GCM keys, of which the primary one seals and each one opens. It
// implements seal.Sealer, never changes, and is safe for concurrent use.
//
// What it sealed is a format byte and Tink's cipher text, which begins with the
// data key's id and has the purpose as associated data.
//
// Its root is the master key that it was first wrapped by, and stays the same
// for ever: Derive goes by it, and so do values from before there were rings.
type Ring struct {
	root     *Sealer
	keys     *keyset.Handle
	aead     tink.AEAD
	primary  uint32
	replaced map[uint32]time.Time // when a data key ceased to be the primary one
}

const (
	ringFormat  = 2
	ringVersion = 1
	ringPurpose = "key-ring"
	tinkHeader  = 5 // Tink's format byte and the key's id
)

// MaxDataKeys is how many data keys a ring may hold.
const MaxDataKeys = 100

// NewRing makes a ring with one data key.
func NewRing(root *Sealer) (*Ring, error) {
	keys, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("make a data key: %w", err)
	}
	return newRing(root, keys, nil)
}

func newRing(root *Sealer, keys *keyset.Handle, replaced map[uint32]time.Time) (*Ring, error) {
	a, err := aead.New(keys)
	if err != nil {
		return nil, fmt.Errorf("set up the data keys: %w", err)
	}
	return &Ring{root: root, keys: keys, aead: a, primary: keys.KeysetInfo().GetPrimaryKeyId(), replaced: replaced}, nil
}

// wrappedRing is what is sealed, as one value: its parts cannot be mixed with
// those of another time.
type wrappedRing struct {
	Version  int              `json:"version"`
	Root     []byte           `json:"root"`
	Keys     []byte           `json:"keys"`
	Replaced map[uint32]int64 `json:"replaced,omitempty"` // in milliseconds
}

// Wrap seals the ring with a master key.
func (r *Ring) Wrap(ctx context.Context, master *Sealer) ([]byte, error) {
	var keys bytes.Buffer
	// In the open for as long as it takes to seal them with all else.
	if err := insecurecleartextkeyset.Write(r.keys, keyset.NewBinaryWriter(&keys)); err != nil {
		return nil, fmt.Errorf("write the data keys: %w", err)
	}
	w := wrappedRing{Version: ringVersion, Root: r.root.key[:], Keys: keys.Bytes(), Replaced: map[uint32]int64{}}
	for id, at := range r.replaced {
		w.Replaced[id] = at.UnixMilli()
	}
	plain, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("write the ring of data keys: %w", err)
	}
	return master.Seal(ctx, ringPurpose, plain)
}

// Unwrap opens a ring that Wrap returned. It fails with the code wrong_key for
// another master key, and broken_seal for what is damaged.
func Unwrap(ctx context.Context, master *Sealer, wrapped []byte) (*Ring, error) {
	plain, err := master.Open(ctx, ringPurpose, wrapped)
	if err != nil {
		return nil, err
	}
	var w wrappedRing
	if err := json.Unmarshal(plain, &w); err != nil || w.Version != ringVersion || len(w.Root) != keySize {
		return nil, fault.Internal.New("ring_not_known",
			"The ring of data keys was written by a newer KubeBYON; run that version, or restore a backup.")
	}
	keys, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(w.Keys)))
	if err != nil {
		return nil, fmt.Errorf("read the data keys: %w", err)
	}
	replaced := make(map[uint32]time.Time, len(w.Replaced))
	for id, at := range w.Replaced {
		replaced[id] = time.UnixMilli(at).UTC()
	}
	return newRing(New([keySize]byte(w.Root)), keys, replaced)
}

// MasterOf names the master key that a ring was wrapped by, as [Sealer.ID] does;
// "" says that it is no wrapped ring.
func MasterOf(wrapped []byte) string {
	if len(wrapped) < header+overlay || wrapped[0] != format {
		return ""
	}
	return hex.EncodeToString(wrapped[1:header])
}

// IsOfRing reports whether a value was sealed by a ring, whichever it was.
func IsOfRing(sealed []byte) bool { return len(sealed) > 0 && sealed[0] == ringFormat }

// Rotate returns a ring with one more data key, which seals from now on.
func (r *Ring) Rotate(now time.Time) (*Ring, error) {
	if r.keys.Len() >= MaxDataKeys {
		return nil, fault.Conflict.New("too_many_data_keys",
			"There are %d data keys, which is the most, and values sealed with them may still be there. Wait some days before the next one.", MaxDataKeys)
	}
	keys := keyset.NewManagerFromHandle(r.keys)
	id, err := keys.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = keys.SetPrimary(id)
	}
	if err != nil {
		return nil, fmt.Errorf("make a data key: %w", err)
	}
	replaced := r.replacedBut(nil)
	replaced[r.primary] = now
	return r.with(keys, replaced)
}

// Forget returns a ring without the data keys that were replaced before t, and
// how many those are.
func (r *Ring) Forget(t time.Time) (*Ring, int, error) {
	keys, gone := keyset.NewManagerFromHandle(r.keys), map[uint32]bool{}
	for id, at := range r.replaced {
		if !at.Before(t) {
			continue
		}
		if err := keys.Delete(id); err != nil {
			return nil, 0, fmt.Errorf("remove a data key: %w", err)
		}
		gone[id] = true
	}
	next, err := r.with(keys, r.replacedBut(gone))
	return next, len(gone), err
}

func (r *Ring) replacedBut(gone map[uint32]bool) map[uint32]time.Time {
	out := map[uint32]time.Time{}
	for id, at := range r.replaced {
		if !gone[id] {
			out[id] = at
		}
	}
	return out
}

func (r *Ring) with(keys *keyset.Manager, replaced map[uint32]time.Time) (*Ring, error) {
	h, err := keys.Handle()
	if err != nil {
		return nil, fmt.Errorf("change the data keys: %w", err)
	}
	return newRing(r.root, h, replaced)
}

// Len is how many data keys there are.
func (r *Ring) Len() int { return r.keys.Len() }

// Primary names the data key that seals: eight hexadecimal digits.
func (r *Ring) Primary() string { return fmt.Sprintf("%08x", r.primary) }

// IsNewest reports whether a value was sealed with the primary data key.
func (r *Ring) IsNewest(sealed []byte) bool {
	id, ok := dataKeyOf(sealed)
	return ok && id == r.primary
}

// Opens reports whether the ring has the key that a value names.
func (r *Ring) Opens(sealed []byte) bool {
	id, ok := dataKeyOf(sealed)
	return !ok || r.has(id)
}

func (r *Ring) has(id uint32) bool {
	if _, ok := r.replaced[id]; ok {
		return true
	}
	return id == r.primary
}

// dataKeyOf is the id that Tink has put before the cipher text.
func dataKeyOf(sealed []byte) (id uint32, ok bool) {
	if !IsOfRing(sealed) || len(sealed) < 1+tinkHeader+overlay {
		return 0, false
	}
	return binary.BigEndian.Uint32(sealed[2:]), true
}

// Seal implements seal.Sealer.
func (r *Ring) Seal(_ context.Context, purpose string, plain []byte) ([]byte, error) {
	text, err := r.aead.Encrypt(plain, []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return append([]byte{ringFormat}, text...), nil
}

// Open implements seal.Sealer, also for what the root has sealed. Its error has
// the code unknown_key for a data key that the ring does not have, wrong_key for
// another root, and broken_seal for any other value that does not open.
func (r *Ring) Open(ctx context.Context, purpose string, sealed []byte) ([]byte, error) {
	if !IsOfRing(sealed) {
		return r.root.Open(ctx, purpose, sealed)
	}
	id, ok := dataKeyOf(sealed)
	if !ok {
		return nil, broken()
	}
	if !r.has(id) {
		return nil, fault.Internal.New("unknown_key", "A sealed value names the data key %08x, which this installation's ring of keys does not have.", id)
	}
	plain, err := r.aead.Decrypt(sealed[1:], []byte(purpose))
	if err != nil {
		return nil, broken()
	}
	return plain, nil
}

// Derive implements seal.Sealer.
func (r *Ring) Derive(ctx context.Context, purpose string, input []byte) ([]byte, error) {
	return r.root.Derive(ctx, purpose, input)
}

// Format implements fmt.Formatter: the data keys are nobody's to see.
func (r *Ring) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "ring of %d data keys, primary %s", r.Len(), r.Primary())
}
