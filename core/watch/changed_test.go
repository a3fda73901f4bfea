package watch_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestWhatBecomesOfAClusterIsToldWithIt: in the transaction that writes it, with
// what was before, and with nothing written when the telling fails.
func TestWhatBecomesOfAClusterIsToldWithIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		var told []string
		mute := errors.New("mute")
		var fails error
		w.run(t, "s", func(d *watch.Deps) {
			d.Changed = func(ctx context.Context, tx store.Tx, before, after store.Cluster) error {
				now, err := tx.Clusters().Get(ctx, store.Everyone(), c)
				if err != nil || now.ConnectionStatus != after.ConnectionStatus || now.Status != after.Status {
					t.Errorf("told of %+v, but it is %+v, %v", after, now, err)
				}
				if before.ConnectionStatus != after.ConnectionStatus {
					told = append(told, before.ConnectionStatus+" "+after.ConnectionStatus)
				}
				return fails
			}
		})
		until(t, "reachable", time.Minute, w.is(t, c, "ready", "reachable"))
		w.inside(c).SetReachable(false)
		until(t, "unreachable", 5*time.Minute, w.is(t, c, "ready", "unreachable"))
		want := []string{"kubeconfig_pending reachable", "reachable unreachable"}
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		fails = mute
		w.inside(c).SetReachable(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !w.is(t, c, "ready", "unreachable")() || len(told) == len(want) {
			t.Errorf("what could not be told is written: %+v, told %q", w.cluster(t, c), told)
		}
		fails = nil
		until(t, "reachable", 5*time.Minute, w.is(t, c, "ready", "reachable"))
	})
}
