package bunstore

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

var t0 = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// spoil makes PostgreSQL fail a statement of tx with a code.
func spoil(ctx context.Context, t store.Tx, code string) error {
	_, err := t.(tx).u.db.ExecContext(ctx, "DO $$ BEGIN RAISE EXCEPTION 'spoiled' USING ERRCODE = '"+code+"'; END $$")
	return err
}

func TestSpoiledTransactionsAreTriedAgain(t *testing.T) {
	t.Parallel()
	s := openPostgres(t)
	for _, code := range []string{"40001", "40P01"} {
		tries := 0
		err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			if tries++; tries < 3 {
				return spoil(ctx, tx, code)
			}
			return nil
		})
		if err != nil || tries != 3 {
			t.Errorf("%s: %v after %d tries", code, err, tries)
		}
	}
}

func TestTryingAgainHasAnEnd(t *testing.T) {
	t.Parallel()
	s, tries := openPostgres(t), 0
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		tries++
		return spoil(ctx, tx, "40001")
	})
	if !errors.Is(err, fault.Unavailable) || fault.CodeOf(err) != "store_busy" || tries != attempts {
		t.Errorf("%v after %d tries", err, tries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tries = 0
	err = s.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		tries++
		defer cancel()
		return spoil(ctx, tx, "40001")
	})
	if !errors.Is(err, context.Canceled) || tries != 1 {
		t.Errorf("%v after %d tries with a context that ended", err, tries)
	}
}

func TestOtherFailuresAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	s, tries := openPostgres(t), 0
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		tries++
		return spoil(ctx, tx, "22012")
	})
	if err == nil || fault.KindOf(err) != fault.Internal || tries != 1 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

func TestALostConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	s := openPostgres(t)
	err := s.InTx(t.Context(), func(ctx context.Context, t store.Tx) error {
		_, err := t.(tx).u.db.ExecContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
		return err
	})
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want %s", err, fault.Unavailable)
	}
	if err := s.InTx(t.Context(), func(context.Context, store.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestGetForUpdateLocksTheRow against who would change it, not against who
// refers to it.
func TestGetForUpdateLocksTheRow(t *testing.T) {
	t.Parallel()
	s := openPostgres(t)
	u, c := id.New[id.UserKind](t0, [10]byte{1}), store.Cluster{ID: id.New[id.ClusterKind](t0, [10]byte{1})}
	c.OwnerUserID = u
	lock := func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), c.ID)
		return err
	}
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return errors.Join(tx.Users().Insert(ctx, store.User{ID: u}), tx.Clusters().Insert(ctx, &c))
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := lock(ctx, tx); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := s.InTx(short, lock); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("locked twice: %v", err)
		}
		return s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			return tx.Nodes().Insert(ctx, store.Node{ID: id.New[id.NodeKind](t0, [10]byte{1}), ClusterID: c.ID})
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAClosedStoreFails(t *testing.T) {
	forEach(t, func(t *testing.T, fresh string) {
		s, err := Open(t.Context(), Config{URL: fresh})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		nothing := func(context.Context, store.Tx) error { return nil }
		if s.Ping(t.Context()) == nil || s.InTx(t.Context(), nothing) == nil {
			t.Error("a closed store answers")
		}
	})
}

// TestTwoProcessesShareAFile: the second waits for the first.
func TestTwoProcessesShareAFile(t *testing.T) {
	t.Parallel()
	path := "sqlite:" + filepath.Join(t.TempDir(), "kubebyon.db")
	a, b := open(t, path), open(t, path)
	if err := a.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	err := a.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		go func() {
			done <- b.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error { return tx.Facts().Set(ctx, "x", []byte("b")) })
		}()
		time.Sleep(50 * time.Millisecond)
		return tx.Facts().Set(ctx, "x", []byte("a"))
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	err = a.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
		v, err := tx.Facts().Get(ctx, "x")
		if string(v) != "b" {
			t.Errorf("the fact is %q; b wrote last", v)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
