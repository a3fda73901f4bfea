package reconcile_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestALostMessageDelaysAJobButDoesNotLoseIt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		silent := func(d *reconcile.Deps) { d.Jobs = newBell() }
		w.run(t, "w", silent)
		synctest.Wait()
		time.Sleep(time.Second)
		if took := w.untilStatus(t, w.create(t, "demo"), clusters.Ready, time.Minute); took > 5*time.Second || took == 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// notice is what the relay would send about a cluster's job.
func notice(t *testing.T, c id.Cluster) bus.Message {
	t.Helper()
	body, err := json.Marshal(clusters.JobNotice{ClusterID: c})
	if err != nil {
		t.Fatal(err)
	}
	return bus.Message{Type: clusters.JobMessage, Body: body}
}

func TestAMessageHandsOverItsJobAndIsSettledWhenTheJobIsTaken(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: time.Minute})
		worker := w.worker(t, "w", func(d *reconcile.Deps) { d.Jobs = newBell() })
		w.runs(t, worker)
		synctest.Wait()
		c := w.create(t, "demo")
		began := time.Now()
		if err := worker.Heard(t.Context(), notice(t, c)); err != nil {
			t.Fatal(err)
		}
		jobs, ops := w.work(t)
		if took := time.Since(began); took != 0 || jobs[0].Status != "running" || jobs[0].LeasedUntil == nil || ops[0].Status != "running" {
			t.Errorf("after %v: %+v, %+v", took, jobs[0], ops[0])
		}
		w.untilStatus(t, c, clusters.Ready, 2*time.Minute)
		if err := worker.Heard(t.Context(), notice(t, c)); err != nil { // repeated
			t.Fatal(err)
		}
		if jobs, _ := w.work(t); jobs[0].AttemptCount != 1 {
			t.Errorf("a repeated message made another attempt: %+v", jobs[0])
		}
	})
}

func TestAMessageThatNoHandIsFreeForStaysWithTheBroker(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: time.Minute})
		silent := func(d *reconcile.Deps) { d.Jobs, d.Concurrency = newBell(), 2 }
		busy := w.worker(t, "busy", silent)
		w.runs(t, busy)
		synctest.Wait()
		a, b, third := w.create(t, "a"), w.create(t, "b"), w.create(t, "c")
		for _, c := range []id.Cluster{a, b} {
			if err := busy.Heard(t.Context(), notice(t, c)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, broker := context.WithTimeout(t.Context(), time.Second) // that wants it back
		defer broker()
		if err := busy.Heard(ctx, notice(t, third)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a message for which there was no hand was settled: %v", err)
		}
		idle := w.worker(t, "idle", silent)
		w.runs(t, idle)
		began := time.Now()
		if err := idle.Heard(t.Context(), notice(t, third)); err != nil || time.Since(began) > 0 {
			t.Errorf("the idle one: %v after %v", err, time.Since(began))
		}
		if jobs, _ := w.work(t); jobs[2].Status != "running" || !strings.HasPrefix(jobs[2].WorkerID, "idle/") {
			t.Errorf("%+v", jobs[2])
		}
	})
}

func TestAMessageThatNobodyUnderstandsIsDroppedAndTold(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		worker := w.worker(t, "w")
		w.runs(t, worker)
		for _, body := range []string{"", "{", `{"cluster_id":7}`, `{"cluster_id":"op_1"}`, "{}", "\xff"} {
			if err := worker.Heard(t.Context(), bus.Message{ID: "m1", Body: []byte(body)}); err != nil {
				t.Errorf("%q is asked for again: %v", body, err)
			}
		}
		if n := strings.Count(w.log.String(), "not understood"); n != 6 {
			t.Errorf("told %d times", n)
		}
		w.untilStatus(t, w.create(t, "demo"), clusters.Ready, 3*time.Second)
	})
}

func TestAMessageIsHeldWhileTheStoreIsAway(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		down := &faulty{Store: w.store}
		worker := w.worker(t, "w", func(d *reconcile.Deps) { d.Store, d.Jobs = down, newBell() })
		w.runs(t, worker)
		synctest.Wait()
		c := w.create(t, "demo")
		down.broken.Store(true)
		time.AfterFunc(10*time.Second, func() { down.broken.Store(false) })
		if err := worker.Heard(t.Context(), notice(t, c)); err != nil {
			t.Error(err)
		}
		w.untilStatus(t, c, clusters.Ready, time.Second)
		down.broken.Store(true)
		began := time.Now()
		if err := worker.Heard(t.Context(), notice(t, c)); !errors.Is(err, errDown) || time.Since(began) > time.Minute {
			t.Errorf("held for %v: %v", time.Since(began), err)
		}
		down.broken.Store(false)
	})
}

// TestWhatAMessageTellsOfGoesFirst: nobody looks for the oldest job meanwhile, but
// not for long.
func TestWhatAMessageTellsOfGoesFirst(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: time.Second})
		worker := w.worker(t, "w")
		w.create(t, "busy with")
		w.runs(t, worker)
		synctest.Wait()
		w.create(t, "untold")
		told := []id.Cluster{w.create(t, "a"), w.create(t, "b"), w.create(t, "c"), w.create(t, "d"), w.create(t, "e")}
		for _, c := range told { // a broker hands out one at a time
			if err := worker.Heard(t.Context(), notice(t, c)); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "all done", time.Minute, func() bool {
			jobs, _ := w.work(t)
			return !slices.ContainsFunc(jobs, func(j store.Job) bool { return j.FinishedAt == nil })
		})
		jobs, _ := w.work(t)
		untold, first := jobs[1], jobs[2]
		if !first.StartedAt.Before(*untold.StartedAt) {
			t.Errorf("it was looked for at %v, before what a message told of at %v", untold.StartedAt, first.StartedAt)
		}
		if waited := untold.StartedAt.Sub(untold.CreatedAt); waited > 4*time.Second {
			t.Errorf("it was looked for only after %v", waited)
		}
	})
}
