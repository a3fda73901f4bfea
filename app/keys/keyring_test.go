package keys

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/bunstore/postgrestest"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/seal/sealtest"
	"github.com/kubebyon/kubebyon/ports/store"
)

func master(key byte) Master {
	return Master{key: keyseal.New([32]byte{key}), from: "the key in " + Variable}
}

func process(s store.Store, key byte) *Keyring {
	return NewKeyring(s, master(key), slog.New(slog.DiscardHandler))
}

func started(t *testing.T, s store.Store, key byte) *Keyring {
	t.Helper()
	k := process(s, key)
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	return k
}

func TestKeyring(t *testing.T) {
	t.Parallel()
	one, two := memstore.New(), memstore.New()
	sealtest.Run(t, sealtest.Harness{
		New:      func(t *testing.T) seal.Sealer { return started(t, one, 1) },
		Stranger: func(t *testing.T) seal.Sealer { return started(t, two, 2) },
		Rotated: func(t *testing.T) (seal.Sealer, seal.Sealer) {
			s := memstore.New()
			older := started(t, s, 1)
			if changed, err := process(s, 1).ChangeMaster(t.Context(), master(3)); !changed || err != nil {
				t.Fatal(changed, err)
			}
			newer := started(t, s, 3)
			if _, err := newer.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			return older, newer
		},
	})
}

// stores are those that an installation may have.
func stores(t *testing.T, do func(t *testing.T, s store.Store)) {
	t.Helper()
	for name, open := range map[string]func(t *testing.T) store.Store{
		"memory": func(*testing.T) store.Store { return memstore.New() },
		"sqlite": func(t *testing.T) store.Store {
			t.Helper()
			return migrated(t, "sqlite:"+filepath.Join(t.TempDir(), "kubebyon.db"))
		},
		"postgres": func(t *testing.T) store.Store { t.Helper(); return migrated(t, postgrestest.Schema(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			do(t, open(t))
		})
	}
}

func migrated(t *testing.T, at string) store.Store {
	t.Helper()
	s := openStore(t, at)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTheRingIsMadeOnce by processes that start together on an empty database.
func TestTheRingIsMadeOnce(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s store.Store) {
		var all sync.WaitGroup
		keyrings := make([]*Keyring, 6)
		for i := range keyrings {
			keyrings[i] = process(s, 1)
			t.Cleanup(keyrings[i].Stop)
			all.Go(func() {
				if err := keyrings[i].Start(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		it, want := sealed(t, keyrings[0], "text"), derived(t, keyrings[0])
		for _, k := range keyrings {
			check(t, k, it, "text", want)
			if n := k.held.Load().ring.Len(); n != 1 {
				t.Errorf("%d data keys, want 1", n)
			}
		}
	})
}

// TestTwoRotationsAtOnce make two keys, and what was sealed under each opens in
// every process, also within a transaction.
func TestTwoRotationsAtOnce(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s store.Store) {
		server := started(t, s, 1)
		writeCheck(t, s, server)
		want := derived(t, server)
		var all sync.WaitGroup
		values := make([][]byte, 4)
		for i := range values {
			all.Go(func() {
				k := process(s, 1)
				if _, err := k.Rotate(t.Context()); err != nil {
					t.Error(err)
					return
				}
				values[i] = sealed(t, k, "text")
			})
		}
		all.Wait()
		for _, it := range values {
			err := s.InTx(t.Context(), func(ctx context.Context, _ store.Tx) error {
				_, err := server.Open(ctx, "p", it)
				return err
			})
			if err != nil {
				t.Errorf("in a transaction: %v", err)
			}
			check(t, server, it, "text", want)
		}
		if n := server.held.Load().ring.Len(); n != 5 {
			t.Errorf("%d data keys, want 5", n)
		}
		last := process(s, 1)
		if out, err := last.Rotate(t.Context()); err != nil || out.Keys != 6 || out.Anew != 1 || out.Forgotten != 0 {
			t.Errorf("one more: %+v, %v", out, err)
		}
		if known := fact(t, s, seal.KeyCheck); !last.held.Load().ring.IsNewest(known) {
			t.Error("the check of the keys was not sealed anew")
		}
	})
}

func fact(t *testing.T, s store.Store, name string) (v []byte) {
	t.Helper()
	err := s.View(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		v, err = tx.Facts().Get(ctx, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func setFact(t *testing.T, s store.Store, name string, value []byte) {
	t.Helper()
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Facts().Set(ctx, name, value) })
	if err != nil {
		t.Fatal(err)
	}
}

// writeCheck does what a server does once its keys are open.
func writeCheck(t *testing.T, s store.Store, k seal.Sealer) {
	t.Helper()
	it, err := k.Seal(t.Context(), seal.KeyCheck, []byte(seal.KeyCheck))
	if err != nil {
		t.Fatal(err)
	}
	setFact(t, s, seal.KeyCheck, it)
}

// TestAServerFollows: a process that meets no new key learns of it all the same,
// and seals with it.
func TestAServerFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		server := process(s, 1)
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer server.Stop()
		admin := process(s, 1)
		if _, err := admin.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if admin.held.Load().ring.IsNewest(sealed(t, server, "text")) {
			t.Fatal("it knew at once: nothing is tested")
		}
		time.Sleep(lookEvery + time.Second)
		synctest.Wait()
		if !admin.held.Load().ring.IsNewest(sealed(t, server, "text")) {
			t.Error("after half a minute it still seals with the older key")
		}
	})
}

// TestServersGoOnWithoutTheNewMasterKey, say once what they need, and cannot
// start again without.
func TestServersGoOnWithoutTheNewMasterKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, log := memstore.New(), new(coretest.Log)
		server := NewKeyring(s, master(1), log.Logger())
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer server.Stop()
		it, want := sealed(t, server, "text"), derived(t, server)
		admin := process(s, 1)
		if changed, err := admin.ChangeMaster(t.Context(), master(2)); err != nil || !changed {
			t.Fatal(changed, err)
		}
		if changed, err := admin.ChangeMaster(t.Context(), master(2)); err != nil || changed {
			t.Errorf("the same again: %v, %v", changed, err)
		}
		time.Sleep(10 * lookEvery)
		synctest.Wait()
		check(t, server, it, "text", want)
		next := process(s, 2)
		if err := next.open(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(t, next, sealed(t, server, "later"), "later", want)
		if n := strings.Count(log.String(), "needs="+master(2).ID()); n != 1 {
			t.Errorf("it was said %d times:\n%s", n, log)
		}
		if err := process(s, 1).Start(t.Context()); fault.CodeOf(err) != "wrong_key" {
			t.Errorf("the old master key starts: %v", err)
		}
		if _, err := admin.ChangeMaster(t.Context(), master(3)); fault.CodeOf(err) != "wrong_key" {
			t.Errorf("the old master key changes: %v", err)
		}
		if _, err := admin.Rotate(t.Context()); fault.CodeOf(err) != "wrong_key" {
			t.Errorf("the old master key rotates: %v", err)
		}
	})
}

// TestAWrongMasterKeyIsToldAtOnce, by its name, and changes nothing.
func TestAWrongMasterKeyIsToldAtOnce(t *testing.T) {
	t.Parallel()
	ring := memstore.New()
	k := started(t, ring, 1)
	writeCheck(t, ring, k)
	older := memstore.New() // that an earlier version has written
	writeCheck(t, older, keyseal.New([32]byte{1}))
	for name, s := range map[string]*memstore.Store{"with a ring": ring, "without": older} {
		before := coretest.Dump(s)
		err := process(s, 2).Start(t.Context())
		want := "The key in KUBEBYON_SECRET_KEY (id " + master(2).ID() + ") is not the one that this installation's secrets are sealed with (id " + master(1).ID() + ")"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
		if coretest.Dump(s) != before {
			t.Errorf("%s: the store was changed", name)
		}
	}
}

// TestAnUpgradeKeepsEverything that an earlier version has sealed and derived,
// through every change of a key.
func TestAnUpgradeKeepsEverything(t *testing.T) {
	t.Parallel()
	s, earlier := memstore.New(), keyseal.New([32]byte{1})
	writeCheck(t, s, earlier)
	old, err := earlier.Seal(t.Context(), "p", []byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := earlier.Derive(t.Context(), "p", []byte("input"))
	if err != nil {
		t.Fatal(err)
	}
	check(t, started(t, s, 1), old, "old", want)
	if _, err := process(s, 1).Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := process(s, 1).ChangeMaster(t.Context(), master(2)); err != nil {
		t.Fatal(err)
	}
	k := started(t, s, 2)
	check(t, k, old, "old", want)
}

// TestALostRingIsNotMadeAnew: what it sealed would be lost without a word.
func TestALostRingIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	whole := memstore.New()
	k := started(t, whole, 1)
	s := memstore.New()
	writeCheck(t, s, k)
	before := coretest.Dump(s)
	if err := process(s, 1).Start(t.Context()); fault.CodeOf(err) != "ring_missing" {
		t.Errorf("without its ring: %v", err)
	}
	if coretest.Dump(s) != before {
		t.Error("the store was changed")
	}
	for _, damaged := range [][]byte{{}, []byte("rubbish"), append(bytes.Clone(fact(t, whole, ringFact)), 0)} {
		setFact(t, s, ringFact, damaged)
		if err := process(s, 1).Start(t.Context()); fault.CodeOf(err) != "ring_damaged" && fault.CodeOf(err) != "wrong_key" {
			t.Errorf("with a damaged ring: %v", err)
		}
		if !bytes.Equal(fact(t, s, ringFact), damaged) {
			t.Error("a damaged ring was replaced")
		}
	}
}

// TestDataKeysAreForgottenAMonthLater, and not while something needs them.
func TestDataKeysAreForgottenAMonthLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		k := process(s, 1)
		rotate := func(forgotten, anew int) {
			t.Helper()
			if out, err := k.Rotate(t.Context()); err != nil || out.Forgotten != forgotten || out.Anew != anew {
				t.Errorf("%+v, %v; want %d forgotten, %d sealed anew", out, err, forgotten, anew)
			}
		}
		rotate(0, 0)
		writeCheck(t, s, k)
		it := sealed(t, k, "text")
		rotate(0, 1)
		time.Sleep(Kept - time.Hour)
		rotate(0, 1)
		if _, err := k.Open(t.Context(), "p", it); err != nil {
			t.Errorf("a month later: %v", err)
		}
		time.Sleep(2 * time.Hour)
		kept := fact(t, s, seal.KeyCheck)
		setFact(t, s, seal.KeyCheck, []byte("damaged"))
		if _, err := k.Rotate(t.Context()); err == nil {
			t.Error("rotated although something cannot be sealed anew")
		}
		setFact(t, s, seal.KeyCheck, kept)
		if _, err := k.Open(t.Context(), "p", it); err != nil {
			t.Errorf("its key was forgotten by a rotation that failed: %v", err)
		}
		rotate(2, 1)
		if _, err := k.Open(t.Context(), "p", it); fault.CodeOf(err) != "unknown_key" {
			t.Errorf("more than a month later: %v", err)
		}
		if got, err := k.Open(t.Context(), seal.KeyCheck, fact(t, s, seal.KeyCheck)); err != nil || string(got) != seal.KeyCheck {
			t.Errorf("what is kept for long: %q, %v", got, err)
		}
	})
}

// TestTwoMasterKeysAtOnce come one after the other into one key file.
func TestTwoMasterKeysAtOnce(t *testing.T) {
	t.Parallel()
	i := newInstallation(t, filepath.Join(t.TempDir(), "data"))
	server := i.start(t)
	defer server.Stop()
	it, want := sealed(t, server, "text"), derived(t, server)
	var all sync.WaitGroup
	for n := range byte(6) {
		k := i.keyring(t)
		all.Go(func() {
			if changed, err := k.ChangeMaster(t.Context(), master(10+n)); err != nil || !changed {
				t.Error(changed, err)
			}
		})
	}
	all.Wait()
	i.alone(t)
	k := i.start(t)
	defer k.Stop()
	check(t, k, it, "text", want)
	if _, err := k.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(t, server, sealed(t, k, "later"), "later", want) // it finds the new key in the file
}

// TestNothingWaitsForAKeyThatIsNotThere: a value that names no key of the ring is
// told from one whose key cannot be looked for.
func TestNothingWaitsForAKeyThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := memstore.New()
	k, stranger := started(t, s, 1), started(t, memstore.New(), 1)
	it := sealed(t, stranger, "text")
	if _, err := k.Open(t.Context(), "p", it); fault.CodeOf(err) != "unknown_key" {
		t.Errorf("a stranger's value: %v", err)
	}
	k.looking <- struct{}{} // somebody waits for the database
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Open(ctx, "p", it); !errors.Is(err, context.Canceled) {
		t.Errorf("its caller has gone: %v", err)
	}
	if _, err := k.Open(t.Context(), "p", it); !errors.Is(err, fault.Unavailable) {
		t.Errorf("the database does not answer: %v", err)
	}
	<-k.looking
	if _, err := process(s, 1).Open(t.Context(), "p", it); !errors.Is(err, fault.Unavailable) {
		t.Errorf("before the start: %v", err)
	}
}
