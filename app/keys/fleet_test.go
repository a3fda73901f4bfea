package keys

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestCredentialsOfClustersAreSealedAnew with a new data key, but for those whose
// key has gone already; nothing else of their entries changes.
func TestCredentialsOfClustersAreSealedAnew(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, s store.Store) {
		t.Helper()
		k := started(t, s, 1)
		owner := coretest.NewAccount(t.Context(), s, actor.Operator)
		random := coretest.Random()
		var made []store.FleetEntry
		for _, name := range []string{"guest", "lost", "hosted"} {
			at := time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC)
			c := clusters.NewImported(id.New[id.ClusterKind](at, random()), owner, name, "https://203.0.113.10", at).Record()
			e := store.FleetEntry{ClusterID: c.ID, Description: name, UpdatedAt: at}
			var err error
			switch name {
			case "guest":
				e.Sealed, err = k.Seal(t.Context(), fleet.Purpose(c.ID), []byte("secret"))
			case "lost":
				e.Sealed, err = keyseal.New([32]byte{9}).Seal(t.Context(), fleet.Purpose(c.ID), []byte("lost"))
			}
			if err != nil {
				t.Fatal(err)
			}
			err = s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
				if err := tx.Clusters().Insert(ctx, &c); err != nil {
					return err
				}
				return tx.Fleet().Put(ctx, &e)
			})
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, e)
		}
		if out, err := process(s, 1).Rotate(t.Context()); err != nil || out.Anew != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		for i, e := range made {
			now, sealed := entryOf(t, s, e.ClusterID)
			if i > 0 {
				if !bytes.Equal(sealed, e.Sealed) || now.Version != e.Version {
					t.Errorf("%s was written", e.Description)
				}
				continue
			}
			plain, err := k.Open(t.Context(), fleet.Purpose(e.ClusterID), sealed)
			if err != nil || string(plain) != "secret" || bytes.Equal(sealed, e.Sealed) || now.Description != "guest" || now.Version != e.Version+1 {
				t.Errorf("%q, %v, %+v", plain, err, now)
			}
		}
	})
}

func entryOf(t *testing.T, s store.Store, c id.Cluster) (e store.FleetEntry, sealed []byte) {
	t.Helper()
	err := s.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
		m, err := tx.Fleet().Get(ctx, store.Everyone(), c)
		if err != nil {
			return err
		}
		e = m.Entry
		if sealed, err = tx.Fleet().Sealed(ctx, c); e.Description == "hosted" {
			err = nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, sealed
}
