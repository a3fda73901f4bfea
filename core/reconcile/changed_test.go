package reconcile_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestWhatBecomesOfAClusterIsToldWithIt: in the transaction that writes it, with
// what was before.
func TestWhatBecomesOfAClusterIsToldWithIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var told []string
		tell := func(d *reconcile.Deps) {
			d.Changed = func(ctx context.Context, tx store.Tx, before, after store.Cluster) error {
				now, err := tx.Clusters().Get(ctx, store.Everyone(), after.ID)
				if err != nil || now.Status != after.Status {
					t.Errorf("told of %+v, but it is %+v, %v", after, now, err)
				}
				told = append(told, before.Name+" "+before.Status+" "+after.Status)
				return nil
			}
		}
		w.run(t, "w", tell)
		good := w.create(t, "good")
		w.untilStatus(t, good, clusters.Ready, time.Minute)
		w.planes.PlayAll(memprovision.Script{Fails: "The host is full."})
		bad := w.create(t, "bad")
		w.untilStatus(t, bad, clusters.Error, 24*time.Hour)
		want := []string{"good provisioning ready", "bad provisioning error"}
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

// TestWhatCannotBeToldIsNotWritten, but tried again.
func TestWhatCannotBeToldIsNotWritten(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var tries int
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) {
			d.Changed = func(context.Context, store.Tx, store.Cluster, store.Cluster) error {
				if tries++; tries == 1 {
					if s := w.status(t, c); s == clusters.Ready {
						t.Error("it is written before it is told")
					}
					return errors.New("nobody listens")
				}
				return nil
			}
		})
		w.untilStatus(t, c, clusters.Ready, time.Hour)
		if tries != 2 {
			t.Errorf("told %d times", tries)
		}
	})
}
