package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestAWorkerIsNotMadeWithoutWhatItNeeds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for name, drop := range map[string]func(*reconcile.Deps){
			"Store": func(d *reconcile.Deps) { d.Store = nil }, "Provisioner": func(d *reconcile.Deps) { d.Provisioner = nil },
			"Log": func(d *reconcile.Deps) { d.Log = nil }, "Clock": func(d *reconcile.Deps) { d.Clock = nil }, "Random": func(d *reconcile.Deps) { d.Random = nil },
			"Jobs": func(d *reconcile.Deps) { d.Jobs = nil }, "Settled": func(d *reconcile.Deps) { d.Settled = nil }, "Name": func(d *reconcile.Deps) { d.Name = "" },
			"Concurrency": func(d *reconcile.Deps) { d.Concurrency = 0 }, "Lease": func(d *reconcile.Deps) { d.Lease = 0 }, "MaxAttempts": func(d *reconcile.Deps) { d.MaxAttempts = 0 }, "Deadline": func(d *reconcile.Deps) { d.Deadline = 0 },
		} {
			d := w.deps("w")
			drop(&d)
			if _, err := reconcile.New(d); err == nil {
				t.Errorf("made without %s", name)
			}
		}
	})
}

func TestAClusterThatIsAskedForBecomesReadyStageByStage(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 4 * time.Second})
		c := w.create(t, "demo")
		w.run(t, "w")
		var stages []string
		until(t, "ready", 10*time.Second, func() bool {
			_, ops := w.work(t)
			if s := ops[0].Status + "/" + ops[0].Stage; !slices.Contains(stages, s) {
				stages = append(stages, s)
			}
			return w.status(t, c) == clusters.Ready && w.settled.Load() == 1
		})
		if got := strings.Join(stages, " "); got != "running/starting_control_plane running/waiting_control_plane succeeded/done" {
			t.Errorf("stages %s", got)
		}
		got, err := w.Get(w.ctx, c)
		if err != nil || got.APIEndpoint == "" || got.ObservedGeneration != 1 || got.KubeconfigAvailableAt == nil || got.ConnectionStatus != "kubeconfig_pending" {
			t.Errorf("got %+v, %v", got, err)
		}
		jobs, ops := w.work(t)
		if j := jobs[0]; j.Status != "succeeded" || j.AttemptCount != 1 || j.LastError != "" || j.FinishedAt == nil || j.LeasedUntil != nil || j.WorkerID != "" {
			t.Errorf("job %+v", j)
		}
		if o := ops[0]; o.StartedAt == nil || o.FinishedAt == nil || o.ErrorMessage != "" {
			t.Errorf("operation %+v", o)
		}
		if ev := w.events(t); !slices.Equal(ev, []string{"create_requested success by user", "create_succeeded success by system"}) {
			t.Errorf("events %v", ev)
		}
	})
}

func TestAPassingErrorIsToldAndTriedAgainEverMoreSlowly(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var tries []time.Time
		flaky := hooked{Provisioner: w.planes, apply: func(context.Context, provision.Want) error {
			if tries = append(tries, time.Now()); len(tries) <= 5 {
				return fault.Unavailable.New("host_busy", "The host does not answer.")
			}
			return nil
		}}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = flaky })
		until(t, "failed once", time.Second, func() bool { return len(tries) == 1 })
		jobs, ops := w.work(t)
		if jobs[0].Status != "pending" || jobs[0].LastError != "The host does not answer." || ops[0].Status != "pending" || ops[0].Stage != "queued" || ops[0].ErrorMessage != "The host does not answer." {
			t.Errorf("after the first: %+v, %+v", jobs[0], ops[0])
		}
		if w.status(t, c) != clusters.Provisioning {
			t.Errorf("the cluster is %s already", w.status(t, c))
		}
		w.untilStatus(t, c, clusters.Ready, time.Hour)
		for i := 1; i < len(tries); i++ {
			most := time.Second << (i - 1)
			if gap := tries[i].Sub(tries[i-1]); gap < most/2-time.Millisecond || gap > most+20*time.Millisecond {
				t.Errorf("the pause before try %d was %v", i+1, gap)
			}
		}
		jobs, ops = w.work(t)
		if jobs[0].AttemptCount != 6 || jobs[0].LastError != "" || ops[0].ErrorMessage != "" {
			t.Errorf("in the end: %+v, %+v", jobs[0], ops[0])
		}
	})
}

func TestAnErrorThatStaysEndsTheJobAfterTheLastAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{ApplyError: fmt.Errorf("helm: password=hunter2: %w", errors.New("refused"))})
		c := w.create(t, "demo")
		w.run(t, "w")
		w.untilStatus(t, c, clusters.Error, time.Hour)
		jobs, ops := w.work(t)
		if jobs[0].Status != "failed" || jobs[0].AttemptCount != attempts || ops[0].Status != "failed" || ops[0].ErrorMessage == "" {
			t.Errorf("%+v, %+v", jobs[0], ops[0])
		}
		if dump := coretest.Dump(w.store); strings.Contains(dump, "hunter2") || strings.Contains(dump, "refused") {
			t.Error("the text of an unknown error is shown to people")
		}
		if !strings.Contains(w.log.String(), "refused") {
			t.Error("the log does not say what happened")
		}
	})
}

func TestAJobOfAVanishedClusterIsDone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, "demo")
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), c)
			gone := clusters.Of(rec)
			gone.Vanish(now())
			rec = gone.Record()
			return errors.Join(err, tx.Clusters().Update(ctx, &rec))
		})
		w.run(t, "w")
		until(t, "done", time.Second, func() bool { jobs, _ := w.work(t); return jobs[0].Status == "succeeded" })
		if len(w.planes.Applied()) != 0 {
			t.Error("a plane was made for nobody")
		}
	})
}

// TestAJobWhoseRecordsAreBrokenEnds: one without an operation, one of a type
// that nobody knows, one whose control plane says what no store takes.
func TestAJobWhoseRecordsAreBrokenEnds(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, odd, garbled := w.create(t, "a"), w.create(t, "b"), w.create(t, "c")
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Jobs().List(ctx, store.JobFilter{}, page.Query{})
			for _, j := range all.Items {
				if j.ClusterID == garbled {
					continue
				}
				_, _, err2 := tx.Jobs().ClaimOf(ctx, j.ClusterID, "me", now(), now().Add(lease))
				if j.ClusterID == c {
					j.OperationID = id.New[id.OperationKind](now(), w.random())
				} else {
					j.Type = "frobnicate"
				}
				err = errors.Join(err, err2, tx.Jobs().Settle(ctx, j, "me"))
			}
			return err
		})
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = garbling{w.planes, garbled} })
		until(t, "they have ended", time.Hour, func() bool {
			jobs := w.queue(t)
			return jobs[0].FinishedAt != nil && jobs[1].FinishedAt != nil && jobs[2].FinishedAt != nil
		})
		jobs := w.queue(t)
		for i, attempt := range []int{attempts, 1, 1} {
			if jobs[i].Status != "failed" || jobs[i].AttemptCount != attempt || jobs[i].LastError == "" {
				t.Errorf("job %d: %+v", i, jobs[i])
			}
		}
		if got := w.status(t, odd); got != clusters.Error {
			t.Errorf("the cluster whose job nobody understands is %s", got)
		}
	})
}

// queue is work for jobs whose operations may be missing.
func (w *world) queue(t *testing.T) (jobs []store.Job) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Jobs().List(ctx, store.JobFilter{}, page.Query{})
		jobs = all.Items
		slices.Reverse(jobs)
		return err
	})
	return jobs
}
