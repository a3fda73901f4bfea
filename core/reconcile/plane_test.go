package reconcile_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/reconcile"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestABackendThatIsAwayIsWaitedForHoweverLong(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		away := time.Now().Add(20 * time.Minute)
		var tries atomic.Int64
		absent := hooked{Provisioner: w.planes, apply: func(context.Context, provision.Want) error {
			if tries.Add(1); time.Now().Before(away) {
				return fault.Unavailable.New("host_unreachable", "The host does not answer.").Because(provision.ErrAway)
			}
			return nil
		}}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = absent })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		jobs, ops := w.work(t)
		if jobs[0].Status != "pending" || jobs[0].LastError != "The host does not answer." || ops[0].ErrorMessage != "The host does not answer." {
			t.Errorf("after ten minutes: %+v, %+v", jobs[0], ops[0])
		}
		if n := tries.Load(); n > 200 {
			t.Errorf("it was tried %d times within ten minutes", n)
		}
		if got, _ := w.Get(w.ctx, c); got.LastErrorMessage != "The host does not answer." || got.Status != string(clusters.Provisioning) {
			t.Errorf("the cluster says %q, %s", got.LastErrorMessage, got.Status)
		}
		w.untilStatus(t, c, clusters.Ready, time.Hour)
		if jobs, _ = w.work(t); jobs[0].AttemptCount != 1 {
			t.Errorf("%d attempts were counted", jobs[0].AttemptCount)
		}
	})
}

// says is what a cluster tells people.
func (w *world) says(t *testing.T, c id.Cluster) string {
	t.Helper()
	got, err := w.Get(w.ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return got.LastErrorMessage
}

// TestAClusterSaysWhyItsJobIsTriedAgainUntilThatGoesOn: long before it is ready, and
// with the reason of the latest attempt.
func TestAClusterSaysWhyItsJobIsTriedAgainUntilThatGoesOn(t *testing.T) {
	for name, first := range map[string]error{
		"away": fault.Unavailable.New("host_unreachable", "The host does not answer.").Because(provision.ErrAway),
		"busy": fault.Unavailable.New("host_unreachable", "The host does not answer."),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.planes.PlayAll(memprovision.Script{Takes: 5 * time.Minute})
				var fails atomic.Pointer[error]
				fails.Store(&first)
				tries := hooked{Provisioner: w.planes, apply: func(context.Context, provision.Want) error { return *fails.Load() }}
				c := w.create(t, "demo")
				w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = tries })
				for _, next := range []struct {
					error
					says string
				}{{first, "The host does not answer."}, {fault.Unavailable.New("busy", "It is busy."), "It is busy."}, {nil, ""}} {
					fails.Store(&next.error)
					until(t, "so that it says "+next.says, 2*time.Minute, func() bool { return w.says(t, c) == next.says })
					if s := w.status(t, c); s != clusters.Provisioning {
						t.Errorf("it is %s", s)
					}
				}
			})
		})
	}
}

// TestAChangeThatIsTriedAgainLeavesAClusterReady, and it says why until it is done.
func TestAChangeThatIsTriedAgainLeavesAClusterReady(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, "demo")
		w.run(t, "w")
		w.untilStatus(t, c, clusters.Ready, time.Second)
		w.planes.PlayAll(memprovision.Script{ApplyError: fault.Unavailable.New("busy", "It is busy.")})
		host := "other.example"
		if _, err := w.Update(w.ctx, c, clusters.Settings{ControlPlaneHost: &host}); err != nil {
			t.Fatal(err)
		}
		until(t, "told", time.Second, func() bool { return w.says(t, c) == "It is busy." })
		time.Sleep(5 * time.Second)
		if s := w.status(t, c); s != clusters.Ready || w.says(t, c) != "It is busy." {
			t.Errorf("between attempts it is %s and says %q", s, w.says(t, c))
		}
		w.planes.PlayAll(memprovision.Script{})
		until(t, "taken back", time.Minute, func() bool { return w.says(t, c) == "" })
		if jobs, _ := w.work(t); jobs[1].Status != "succeeded" {
			t.Errorf("it is taken back while the job is %s", jobs[1].Status)
		}
	})
}

func TestAPermanentFailureIsToldAtOnceAndAnUpdateTriesAgain(t *testing.T) {
	for name, script := range map[string]memprovision.Script{
		"will not arrive": {Fails: "The image does not exist.", Takes: time.Second},
		"cannot arrive":   {ApplyError: fault.Invalid.New("bad_want", "The image does not exist.")},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				w.planes.PlayAll(script)
				c := w.create(t, "demo")
				w.run(t, "w")
				w.untilStatus(t, c, clusters.Error, 3*time.Second)
				got, _ := w.Get(w.ctx, c)
				jobs, _ := w.work(t)
				if got.LastErrorMessage != "The image does not exist." || got.ConnectionStatus != "error" || jobs[0].AttemptCount != 1 || jobs[0].LastError != "The image does not exist." {
					t.Errorf("%+v, %+v", got, jobs[0])
				}
				if ev := w.events(t); ev[len(ev)-1] != "create_failed failure by system" {
					t.Errorf("events %v", ev)
				}
				w.planes.PlayAll(memprovision.Script{})
				if _, err := w.Update(w.ctx, c, clusters.Settings{}); err != nil {
					t.Fatal(err)
				}
				w.untilStatus(t, c, clusters.Ready, 3*time.Second)
				if got, _ := w.Get(w.ctx, c); got.LastErrorMessage != "" || got.ConnectionStatus != "kubeconfig_pending" || got.ObservedGeneration != 2 {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

func TestAPlaneThatIsNeverReadyIsGivenUpWithWordsAtTheDeadline(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Never: true, Waits: "The image x cannot be pulled: not found."})
		c := w.create(t, "demo")
		w.run(t, "w")
		if took := w.untilStatus(t, c, clusters.Error, time.Hour); took < deadline || took > deadline+time.Second {
			t.Errorf("it took %v", took)
		}
		got, _ := w.Get(w.ctx, c)
		if got.LastErrorMessage != "The control plane did not get ready in time. It was at the stage starting_control_plane. The image x cannot be pulled: not found." {
			t.Errorf("it says %q", got.LastErrorMessage)
		}
	})
}

// blink is a provisioner that sees nothing any more when time is over.
type blink struct{ provision.Provisioner }

func (b blink) Observe(ctx context.Context, c id.Cluster) (provision.Observed, error) {
	<-time.After(deadline/8 + time.Second)
	if ctx.Err() != nil {
		return provision.Observed{}, ctx.Err()
	}
	return b.Provisioner.Observe(ctx, c)
}

// TestTheLastThatWasSeenIsToldWhenTimeRunsOutDuringALook.
func TestTheLastThatWasSeenIsToldWhenTimeRunsOutDuringALook(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Never: true})
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = blink{w.planes} })
		w.untilStatus(t, c, clusters.Error, time.Hour)
		if got, _ := w.Get(w.ctx, c); got.LastErrorMessage != "The control plane did not get ready in time. It was at the stage starting_control_plane." {
			t.Errorf("it says %q", got.LastErrorMessage)
		}
	})
}

func TestAnApplyThatHangsIsGivenUpAfterTheLastAttempt(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		hangs := hooked{Provisioner: w.planes, apply: func(ctx context.Context, _ provision.Want) error { <-ctx.Done(); return ctx.Err() }}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = hangs })
		w.untilStatus(t, c, clusters.Error, attempts*(deadline+time.Minute))
		if got, _ := w.Get(w.ctx, c); !strings.Contains(got.LastErrorMessage, "in time") {
			t.Errorf("it says %q", got.LastErrorMessage)
		}
		if jobs, _ := w.work(t); jobs[0].AttemptCount != attempts {
			t.Errorf("%d attempts were made", jobs[0].AttemptCount)
		}
	})
}

func TestARemovalThatIsBlockedSaysWhyAndIsTriedAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, "demo")
		w.run(t, "w")
		w.untilStatus(t, c, clusters.Ready, time.Second)
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			return tx.Nodes().Insert(ctx, store.Node{ID: id.New[id.NodeKind](now(), w.random()), ClusterID: c, Name: "w1"})
		})
		w.planes.PlayAll(memprovision.Script{DestroyError: fault.Unavailable.New("blocked", "A volume is still attached.")})
		if _, err := w.Delete(w.ctx, c); err != nil {
			t.Fatal(err)
		}
		until(t, "blocked twice", 10*time.Second, func() bool { jobs, _ := w.work(t); return jobs[1].AttemptCount >= 2 && jobs[1].Status == "pending" })
		jobs, ops := w.work(t)
		if jobs[1].LastError != "A volume is still attached." || ops[1].Stage != "queued" || ops[1].ErrorMessage != "A volume is still attached." || w.status(t, c) != clusters.Deleting || w.says(t, c) != "A volume is still attached." {
			t.Errorf("%+v, %+v, %s: %s", jobs[1], ops[1], w.status(t, c), w.says(t, c))
		}
		w.planes.PlayAll(memprovision.Script{})
		w.untilStatus(t, c, clusters.Deleted, time.Minute)
		w.tx(t, func(ctx context.Context, tx store.Tx) error {
			left, err := tx.Nodes().OfCluster(ctx, c)
			if len(left) != 0 {
				t.Errorf("%d nodes are left", len(left))
			}
			return err
		})
	})
}

func TestARemovalThatFailsForGoodCanBeAskedForAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.MaxAttempts = 2 })
		w.untilStatus(t, c, clusters.Ready, time.Second)
		w.planes.PlayAll(memprovision.Script{DestroyError: errors.New("no")})
		if _, err := w.Delete(w.ctx, c); err != nil {
			t.Fatal(err)
		}
		w.untilStatus(t, c, clusters.Error, time.Minute)
		w.planes.PlayAll(memprovision.Script{})
		if _, err := w.Delete(w.ctx, c); err != nil {
			t.Fatal(err)
		}
		w.untilStatus(t, c, clusters.Deleted, time.Second)
		if ev := w.events(t); !slices.Contains(ev, "delete_failed failure by system") {
			t.Errorf("events %v", ev)
		}
	})
}

// garbling is a provisioner that says things no store keeps about one cluster.
type garbling struct {
	provision.Provisioner
	of id.Cluster
}

func (g garbling) Observe(ctx context.Context, c id.Cluster) (provision.Observed, error) {
	seen, err := g.Provisioner.Observe(ctx, c)
	if c == g.of {
		seen.Endpoint = "https://\x00\xff"
	}
	return seen, err
}

// TestAnApplyThatTakesLongTellsHowFarItIs: a chart is installed while Apply is
// under way.
func TestAnApplyThatTakesLongTellsHowFarItIs(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var installing atomic.Bool
		slow := hooked{Provisioner: installs{w.planes, &installing}, apply: func(context.Context, provision.Want) error {
			installing.Store(true)
			time.Sleep(10 * time.Second)
			installing.Store(false)
			return nil
		}}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = slow })
		until(t, "told", 3*time.Second, func() bool { _, ops := w.work(t); return ops[0].Stage == "installing_chart" })
		w.untilStatus(t, c, clusters.Ready, time.Minute)
		if _, ops := w.work(t); ops[0].Stage != "done" {
			t.Errorf("in the end: %+v", ops[0])
		}
	})
}

type installs struct {
	provision.Provisioner
	now *atomic.Bool
}

func (i installs) Observe(ctx context.Context, c id.Cluster) (provision.Observed, error) {
	if i.now.Load() {
		return provision.Observed{Phase: provision.Pending, Stage: provision.InstallingChart}, nil
	}
	return i.Provisioner.Observe(ctx, c)
}

// hasty says at once that nothing has changed, as the port allows.
type hasty struct {
	provision.Provisioner
	looks atomic.Int64
}

func (h *hasty) Await(_ context.Context, _ id.Cluster, seen provision.Observed) (provision.Observed, error) {
	return seen, nil
}

func (h *hasty) Observe(ctx context.Context, c id.Cluster) (provision.Observed, error) {
	h.looks.Add(1)
	return h.Provisioner.Observe(ctx, c)
}

func TestAProvisionerThatAnswersAtOnceIsNotAskedAllTheTime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 10 * time.Second})
		h := &hasty{Provisioner: w.planes}
		c := w.create(t, "demo")
		w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = h })
		w.untilStatus(t, c, clusters.Ready, 20*time.Second)
		if n := h.looks.Load(); n > 100 {
			t.Errorf("asked %d times in ten seconds", n)
		}
	})
}

func TestAPlaneThatGoesAwayWhileItIsMadeIsMadeAgain(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.planes.PlayAll(memprovision.Script{Takes: 10 * time.Second})
		c := w.create(t, "demo")
		w.run(t, "w")
		time.Sleep(2 * time.Second)
		if err := w.planes.Destroy(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		w.untilStatus(t, c, clusters.Ready, time.Minute)
	})
}

// TestAnAttemptThatEndsBeforeItsPlaneIsAskedForSaysWhy, where that is known.
func TestAnAttemptThatEndsBeforeItsPlaneIsAskedForSaysWhy(t *testing.T) {
	for name, step := range map[string]struct {
		knows error
		says  string
	}{
		"known":   {fault.Unavailable.New("chart_unavailable", "The chart does not come."), "The chart does not come."},
		"unknown": {nil, "The control plane could not be asked for in time. The platform may be busy with others."},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				slow := hooked{Provisioner: w.planes, apply: func(ctx context.Context, _ provision.Want) error {
					<-ctx.Done()
					return errors.Join(step.knows, ctx.Err())
				}}
				c := w.create(t, "demo")
				w.run(t, "w", func(d *reconcile.Deps) { d.Provisioner = slow })
				until(t, "told", deadline+time.Second, func() bool { return w.says(t, c) != "" })
				if jobs, _ := w.work(t); w.says(t, c) != step.says || jobs[0].Status != "pending" || jobs[0].LastError != step.says {
					t.Errorf("it says %q, and %+v", w.says(t, c), jobs[0])
				}
			})
		})
	}
}
