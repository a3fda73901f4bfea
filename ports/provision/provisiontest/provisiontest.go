// Package provisiontest is the contract of package provision, as tests.
package provisiontest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// Harness adapts the suite to one adapter. A hook that is nil says why in the
// field after it.
type Harness struct {
	// New returns a provisioner in a world of its own, ready to use; it cleans
	// up after itself.
	New func(t *testing.T) provision.Provisioner
	// Want is one that arrives. Each test gives it an ID and a Name.
	Want provision.Want
	// Arrives is how long a cluster may take to become ready, or absent.
	Arrives time.Duration

	// Break makes every attempt to start the named cluster fail, until heal.
	Break func(t *testing.T, p provision.Provisioner, name string) (heal func())
	// WhyNoBreak: such as "the backend cannot be made to fail".
	WhyNoBreak string
	// Kill ends the process behind a ready cluster without warning.
	Kill      func(t *testing.T, p provision.Provisioner, cluster id.Cluster)
	WhyNoKill string
	// Restart ends p and returns a provisioner that takes over its world.
	Restart      func(t *testing.T, p provision.Provisioner) provision.Provisioner
	WhyNoRestart string
	// OtherHost is a Host other than Want's that clients may use as well.
	OtherHost      string
	WhyNoOtherHost string
	// WhyNoMeter: the provisioner is no provision.Meter, or there is nothing here
	// that it could measure with. Empty: it measures.
	WhyNoMeter string
}

// Run checks everything package provision promises.
func Run(t *testing.T, h Harness) {
	for name, promise := range map[string]func(world){
		"ArrivesAndLeaves":                  arrivesAndLeaves,
		"ApplyTwiceIsOnce":                  applyTwiceIsOnce,
		"ManyAppliesAreOne":                 manyAppliesAreOne,
		"UnknownIsAbsent":                   unknownIsAbsent,
		"DestroyTwice":                      destroyTwice,
		"DestroyAtOnceLeavesNothing":        destroyAtOnceLeavesNothing,
		"AwaitWakesOnChange":                awaitWakesOnChange,
		"AwaitEndsWithItsContext":           awaitEndsWithItsContext,
		"CanceledContext":                   canceledContext,
		"TwoClustersDoNotMix":               twoClustersDoNotMix,
		"KubeconfigOnlyWhenReady":           kubeconfigOnlyWhenReady,
		"ApplyDuringDestroy":                applyDuringDestroy,
		"AppliedAgainAfterDestroyIsAnother": appliedAgainAfterDestroyIsAnother,
		"ImpossibleWantIsInvalid":           impossibleWantIsInvalid,
		"LostIsNotMadeAnew":                 lostIsNotMadeAnew,
		"ImpossibleChangeChangesNothing":    impossibleChangeChangesNothing,
		"EndpointSurvivesReapply":           endpointSurvivesReapply,
		"HostCanChange":                     hostCanChange,
		"FailureHasAReason":                 failureHasAReason,
		"ApplyHealsFailure":                 applyHealsFailure,
		"DestroyEndsFailure":                destroyEndsFailure,
		"KilledComesBack":                   killedComesBack,
		"SurvivesRestart":                   survivesRestart,
		"DestroyWorksAfterRestart":          destroyWorksAfterRestart,
		"MeasuresWhatRuns":                  measuresWhatRuns,
		"MeasuringEndsWithItsContext":       measuringEndsWithItsContext,
		"MeasuresNothingWhereNothingIs":     measuresNothingWhereNothingIs,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			promise(world{t, h})
		})
	}
}

func arrivesAndLeaves(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	ready := w.await(p, want.ID, provision.Ready)
	if ready.Stage != "" && ready.Stage != provision.Done || ready.Reason != "" {
		w.Errorf("ready, with stage %q and reason %q", ready.Stage, ready.Reason)
	}
	if ready.Port < 1 || ready.Port > 65535 || !strings.HasPrefix(ready.Endpoint, "https://") || ready.Incarnation == "" {
		w.Errorf("ready without an https endpoint, a port or an incarnation: %+v", ready)
	}
	w.destroy(p, want.ID)
	if o := w.observe(p, want.ID); o != (provision.Observed{Phase: provision.Absent}) {
		w.Errorf("after Destroy: %+v, want absent and nothing else", o)
	}
}

func applyTwiceIsOnce(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	w.apply(p, want)
	before := w.await(p, want.ID, provision.Ready)
	w.apply(p, want)
	if after := w.await(p, want.ID, provision.Ready); after != before {
		w.Errorf("applying the same again turned %+v into %+v", before, after)
	}
}

func manyAppliesAreOne(w world) {
	p, want := w.New(w.T), w.want()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { w.apply(p, want) })
	}
	all.Wait()
	w.await(p, want.ID, provision.Ready)
	w.destroy(p, want.ID)
	w.staysAbsent(p, want.ID)
}

func unknownIsAbsent(w world) {
	p, unknown := w.New(w.T), w.want().ID
	if o := w.observe(p, unknown); o != (provision.Observed{Phase: provision.Absent}) {
		w.Errorf("Observe: %+v; want absent and nothing else", o)
	}
	if _, err := p.Kubeconfig(w.Context(), unknown); !errors.Is(err, fault.NotFound) {
		w.Errorf("Kubeconfig: %v; want not_found", err)
	}
	w.destroy(p, unknown)
}

func destroyTwice(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	w.await(p, want.ID, provision.Ready)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { w.destroy(p, want.ID) })
	}
	all.Wait()
	w.destroy(p, want.ID)
	w.await(p, want.ID, provision.Absent)
}

func destroyAtOnceLeavesNothing(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	w.destroy(p, want.ID)
	w.staysAbsent(p, want.ID)
}

func awaitWakesOnChange(w world) {
	p, want := w.New(w.T), w.want()
	ctx, cancel := context.WithTimeout(w.Context(), 2*w.Arrives)
	defer cancel()
	phases := make(chan provision.Phase, 1000)
	follow := func() error {
		defer close(phases)
		for seen := (provision.Observed{Phase: provision.Absent}); ; {
			next, err := p.Await(ctx, want.ID, seen)
			if err != nil {
				return err
			}
			if next.Phase != seen.Phase {
				phases <- next.Phase
			}
			if seen = next; seen.Phase == provision.Ready {
				return nil
			}
		}
	}
	var following sync.WaitGroup
	following.Go(func() {
		if err := follow(); err != nil {
			w.Errorf("Await: %v", err)
		}
	})
	w.apply(p, want)
	following.Wait()
	var last provision.Phase
	for phase := range phases {
		if last = phase; phase != provision.Pending && phase != provision.Ready {
			w.Errorf("on its way it was %q", phase)
		}
	}
	if last != provision.Ready {
		w.Errorf("the last phase seen is %q, want ready", last)
	}
}

func awaitEndsWithItsContext(w world) {
	p, want := w.New(w.T), w.want()
	ctx, cancel := context.WithTimeout(w.Context(), 200*time.Millisecond)
	defer cancel()
	start, seen := time.Now(), provision.Observed{Phase: provision.Absent}
	for looks := 1; ; looks++ {
		next, err := p.Await(ctx, want.ID, seen)
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				w.Errorf("Await: %v; want context.DeadlineExceeded", err)
			}
			break
		}
		if next != seen {
			w.Fatalf("nothing happens, and Await returns %+v", next)
		}
		if looks == 100 {
			w.Fatal("nothing happens, and Await returned 100 times")
		}
	}
	if took := time.Since(start); took > 2*time.Second {
		w.Errorf("Await outlived its context by %v", took)
	}
}

func canceledContext(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	seen := w.await(p, want.ID, provision.Ready)
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Apply":      func() error { return p.Apply(ctx, want) },
		"Observe":    func() error { _, err := p.Observe(ctx, want.ID); return err },
		"Await":      func() error { _, err := p.Await(ctx, want.ID, seen); return err },
		"Kubeconfig": func() error { _, err := p.Kubeconfig(ctx, want.ID); return err },
		"Destroy":    func() error { return p.Destroy(ctx, want.ID) },
	} {
		start := time.Now()
		err := call()
		if took := time.Since(start); took > time.Second {
			w.Errorf("%s ignored its context for %v", name, took)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			w.Errorf("%s: %v; want it done, or context.Canceled", name, err)
		}
	}
}

func twoClustersDoNotMix(w world) {
	p, one, two := w.New(w.T), w.want(), w.want()
	w.apply(p, one)
	w.apply(p, two)
	a, b := w.await(p, one.ID, provision.Ready), w.await(p, two.ID, provision.Ready)
	if a.Endpoint == b.Endpoint {
		w.Errorf("both are at %s", a.Endpoint)
	}
	if w.kubeconfig(p, one.ID) == w.kubeconfig(p, two.ID) {
		w.Error("both have the same kubeconfig")
	}
	w.destroy(p, one.ID)
	if after := w.observe(p, two.ID); after != b {
		w.Errorf("destroying one turned the other from %+v into %+v", b, after)
	}
}

func kubeconfigOnlyWhenReady(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	early, err := p.Kubeconfig(w.Context(), want.ID)
	if err != nil && !errors.Is(err, fault.Unavailable) {
		w.Errorf("on its way: %v; want it, or unavailable", err)
	}
	ready := w.await(p, want.ID, provision.Ready)
	if err == nil && !strings.Contains(early.Reveal(), ready.Endpoint) {
		w.Errorf("on its way it gave a kubeconfig, but not one for %s", ready.Endpoint)
	}
	if text := w.kubeconfig(p, want.ID); !strings.Contains(text, ready.Endpoint) {
		w.Errorf("the kubeconfig does not name the endpoint %s", ready.Endpoint)
	}
	w.destroy(p, want.ID)
	if _, err := p.Kubeconfig(w.Context(), want.ID); !errors.Is(err, fault.NotFound) {
		w.Errorf("after Destroy: %v; want not_found", err)
	}
}

// applyDuringDestroy lets the two race. Either may win; nothing half-made may
// stay, and Apply may only say that it has to be tried again.
func applyDuringDestroy(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	var all sync.WaitGroup
	all.Go(func() { w.destroy(p, want.ID) })
	for range 4 {
		all.Go(func() {
			err := p.Apply(w.Context(), want)
			if err != nil && !errors.Is(err, fault.Unavailable) && !errors.Is(err, fault.Conflict) {
				w.Errorf("Apply during Destroy: %v; want success, unavailable or conflict", err)
			}
		})
	}
	all.Wait()
	if o := w.observe(p, want.ID); o.Phase != provision.Absent {
		w.await(p, want.ID, provision.Ready) // Apply came last
	}
	w.destroy(p, want.ID)
	w.staysAbsent(p, want.ID)
}

func appliedAgainAfterDestroyIsAnother(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	w.await(p, want.ID, provision.Ready)
	before := w.authority(p, want.ID)
	w.destroy(p, want.ID)
	w.apply(p, want)
	w.await(p, want.ID, provision.Ready)
	if w.authority(p, want.ID) == before {
		w.Error("the new cluster has the destroyed one's certificate authority: something was left")
	}
}

func impossibleWantIsInvalid(w world) {
	p := w.New(w.T)
	for name, spoil := range impossible {
		want := w.want()
		given := want.ID
		spoil(&want)
		if err := p.Apply(w.Context(), want); !errors.Is(err, fault.Invalid) {
			w.Errorf("%s: %v; want invalid", name, err)
		}
		if o := w.observe(p, given); o.Phase != provision.Absent {
			w.Errorf("%s: refused, but then %q", name, o.Phase)
		}
	}
}

func lostIsNotMadeAnew(w world) {
	p, want := w.New(w.T), w.want()
	want.Existed = true
	if err := p.Apply(w.Context(), want); !errors.Is(err, fault.Invalid) {
		w.Errorf("Apply of a control plane that existed and is not there: %v; want invalid", err)
	}
	if o := w.observe(p, want.ID); o.Phase != provision.Absent {
		w.Errorf("lost, but then %q", o.Phase)
	}
}

func impossibleChangeChangesNothing(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	before := w.await(p, want.ID, provision.Ready)
	for name, spoil := range impossible {
		changed := want
		spoil(&changed)
		if err := p.Apply(w.Context(), changed); !errors.Is(err, fault.Invalid) {
			w.Errorf("%s: %v; want invalid", name, err)
		}
		if after := w.observe(p, want.ID); after != before {
			w.Errorf("%s: refused, but %+v became %+v", name, before, after)
		}
	}
}

var impossible = map[string]func(*provision.Want){
	"no ID":               func(w *provision.Want) { w.ID = id.Cluster{} },
	"no name":             func(w *provision.Want) { w.Name = "" },
	"a name in capitals":  func(w *provision.Want) { w.Name = "Production" },
	"a name with a slash": func(w *provision.Want) { w.Name = "../../etc" },
	"a name with a dash":  func(w *provision.Want) { w.Name = "-a" },
	"a name too long":     func(w *provision.Want) { w.Name = strings.Repeat("a", 41) },
	"no version":          func(w *provision.Want) { w.KubernetesVersion = "" },
	"an unknown version":  func(w *provision.Want) { w.KubernetesVersion = "v0.99.0" },
	"a URL as host":       func(w *provision.Want) { w.Host = "https://example.com" },
	"a host with a port":  func(w *provision.Want) { w.Host = "example.com:6443" },
	"spaces as host":      func(w *provision.Want) { w.Host = "my cluster" },
	"an option as host":   func(w *provision.Want) { w.Host = "--dir" },
	"a bad former host":   func(w *provision.Want) { w.FormerHosts = []string{"example.com", "a b"} },
	"negative memory":     func(w *provision.Want) { w.MemoryRequestMiB = -1 },
	"negative CPU":        func(w *provision.Want) { w.CPURequestMilli = -1 },
}

func endpointSurvivesReapply(w world) {
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	before, authority := w.await(p, want.ID, provision.Ready), w.authority(p, want.ID)
	want.FormerHosts = []string{"former.example.com"}
	want.CPURequestMilli, want.MemoryRequestMiB = want.CPURequestMilli+100, want.MemoryRequestMiB+128
	w.apply(p, want)
	after := w.await(p, want.ID, provision.Ready)
	if after.Endpoint != before.Endpoint || after.Port != before.Port {
		w.Errorf("the endpoint moved from %s to %s", before.Endpoint, after.Endpoint)
	}
	if w.authority(p, want.ID) != authority {
		w.Error("the certificate authority changed: joined nodes are lost")
	}
}

func hostCanChange(w world) {
	if w.OtherHost == "" {
		w.Skip(w.WhyNoOtherHost)
	}
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	before, authority := w.await(p, want.ID, provision.Ready), w.authority(p, want.ID)
	if want.Host != "" {
		want.FormerHosts = append(want.FormerHosts, want.Host)
	}
	want.Host = w.OtherHost
	w.apply(p, want)
	after := w.await(p, want.ID, provision.Ready)
	if !strings.Contains(after.Endpoint, w.OtherHost) || after.Port != before.Port {
		w.Errorf("host %s wanted, and the endpoint went from %s to %s", w.OtherHost, before.Endpoint, after.Endpoint)
	}
	if !strings.Contains(w.kubeconfig(p, want.ID), after.Endpoint) {
		w.Errorf("the kubeconfig does not name the new endpoint %s", after.Endpoint)
	}
	if w.authority(p, want.ID) != authority {
		w.Error("the certificate authority changed: joined nodes are lost")
	}
}

func failureHasAReason(w world) {
	p, want, _ := w.broken()
	o := w.await(p, want.ID, provision.Failed)
	if !strings.HasSuffix(o.Reason, ".") || o.Endpoint != "" || o.Port != 0 {
		w.Errorf("failed: %+v; want a sentence as reason and no endpoint", o)
	}
	if _, err := p.Kubeconfig(w.Context(), want.ID); !errors.Is(err, fault.Unavailable) {
		w.Errorf("the kubeconfig of a failed cluster: %v; want unavailable", err)
	}
}

func applyHealsFailure(w world) {
	p, want, heal := w.broken()
	w.await(p, want.ID, provision.Failed)
	heal()
	w.apply(p, want)
	// Whoever applied looks next, and must not take the old failure for a new one.
	if o := w.observe(p, want.ID); o.Phase == provision.Failed {
		w.Errorf("right after Apply it is still failed: %s", o.Reason)
	}
	w.await(p, want.ID, provision.Ready)
}

func destroyEndsFailure(w world) {
	p, want, _ := w.broken()
	w.await(p, want.ID, provision.Failed)
	w.destroy(p, want.ID)
	w.staysAbsent(p, want.ID)
}

func killedComesBack(w world) {
	if w.Kill == nil {
		w.Skip(w.WhyNoKill)
	}
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	before, authority := w.await(p, want.ID, provision.Ready), w.authority(p, want.ID)
	w.Kill(w.T, p, want.ID)
	w.until(p, want.ID, "ready in another incarnation", func(o provision.Observed) bool {
		return o.Phase == provision.Ready && o.Incarnation != before.Incarnation
	})
	w.same(p, want.ID, before, authority)
}

func survivesRestart(w world) {
	if w.Restart == nil {
		w.Skip(w.WhyNoRestart)
	}
	p, one, two := w.New(w.T), w.want(), w.want()
	w.apply(p, one)
	w.apply(p, two)
	before, authority := w.await(p, one.ID, provision.Ready), w.authority(p, one.ID)
	w.await(p, two.ID, provision.Ready)
	p = w.Restart(w.T, p)
	if o := w.observe(p, one.ID); o.Phase == provision.Absent {
		w.Error("absent after a restart")
	}
	w.await(p, two.ID, provision.Ready)
	w.await(p, one.ID, provision.Ready)
	w.same(p, one.ID, before, authority)
}

func destroyWorksAfterRestart(w world) {
	if w.Restart == nil {
		w.Skip(w.WhyNoRestart)
	}
	p, want := w.New(w.T), w.want()
	w.apply(p, want)
	w.await(p, want.ID, provision.Ready)
	p = w.Restart(w.T, p)
	w.destroy(p, want.ID)
	p = w.Restart(w.T, p)
	w.staysAbsent(p, want.ID)
}

// world is one test.
type world struct {
	*testing.T
	Harness
}

func (w world) want() provision.Want {
	var random [10]byte
	_, _ = rand.Read(random[:])
	want := w.Want
	want.ID = id.New[id.ClusterKind](time.Now(), random)
	want.Name = fmt.Sprintf("t-%x", random[:6])
	return want
}

// broken is a world in which a cluster that was applied cannot start.
func (w world) broken() (p provision.Provisioner, want provision.Want, heal func()) {
	w.Helper()
	if w.Break == nil {
		w.Skip(w.WhyNoBreak)
	}
	p, want = w.New(w.T), w.want()
	heal = w.Break(w.T, p, want.Name)
	w.apply(p, want)
	return p, want, heal
}

func (w world) apply(p provision.Provisioner, want provision.Want) {
	w.Helper()
	if err := p.Apply(w.Context(), want); err != nil {
		w.Errorf("Apply: %v", err)
	}
}

func (w world) destroy(p provision.Provisioner, cluster id.Cluster) {
	w.Helper()
	if err := p.Destroy(w.Context(), cluster); err != nil {
		w.Errorf("Destroy: %v", err)
	}
}

func (w world) observe(p provision.Provisioner, cluster id.Cluster) provision.Observed {
	w.Helper()
	start := time.Now()
	o, err := p.Observe(w.Context(), cluster)
	if err != nil {
		w.Fatalf("Observe: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		w.Errorf("Observe blocked for %v", took)
	}
	w.waiting(o)
	return o
}

// waiting checks what people are told of a control plane that is not there yet.
func (w world) waiting(o provision.Observed) {
	w.Helper()
	if o.Waiting == "" {
		return
	}
	if o.Phase != provision.Pending {
		w.Errorf("%s, and it waits: %q", o.Phase, o.Waiting)
	}
	if !strings.HasSuffix(o.Waiting, ".") || strings.HasSuffix(o.Waiting, "..") || strings.ContainsAny(o.Waiting, "\r\n") || len(o.Waiting) > 1000 {
		w.Errorf("it waits for %q; want plain sentences on one line", o.Waiting)
	}
}

// restless is how often what one control plane waits for may change while nothing
// else about it does. A text with a time or a counter in it changes with each look.
const restless = 20

func (w world) await(p provision.Provisioner, cluster id.Cluster, phase provision.Phase) provision.Observed {
	w.Helper()
	return w.until(p, cluster, string(phase), func(o provision.Observed) bool { return o.Phase == phase })
}

// until looks again and again rather than to rely on Await, which has tests of
// its own.
func (w world) until(p provision.Provisioner, cluster id.Cluster, what string, is func(provision.Observed) bool) (o provision.Observed) {
	w.Helper()
	reworded := 0
	for start := time.Now(); time.Since(start) < w.Arrives; time.Sleep(min(w.Arrives/100, 50*time.Millisecond)) {
		before := o
		if o = w.observe(p, cluster); is(o) {
			return o
		}
		if before.Waiting != o.Waiting {
			if before.Waiting = o.Waiting; before == o {
				reworded++
			}
		}
		if reworded > restless {
			w.Fatalf("nothing happens, and what it waits for is told in other words all the time: %q", o.Waiting)
		}
	}
	w.Fatalf("after %v it is %+v, want %s", w.Arrives, o, what)
	return o
}

// staysAbsent looks for a while: what comes back does so late.
func (w world) staysAbsent(p provision.Provisioner, cluster id.Cluster) {
	w.Helper()
	for start := time.Now(); time.Since(start) < min(w.Arrives, 200*time.Millisecond); time.Sleep(10 * time.Millisecond) {
		if o := w.observe(p, cluster); o.Phase != provision.Absent {
			w.Fatalf("it became %+v, want it to stay absent", o)
		}
	}
}

func (w world) kubeconfig(p provision.Provisioner, cluster id.Cluster) string {
	w.Helper()
	text, err := p.Kubeconfig(w.Context(), cluster)
	if err != nil {
		w.Fatalf("Kubeconfig: %v", err)
	}
	return text.Reveal()
}

var authorityLine = regexp.MustCompile(`(?m)certificate-authority-data"?: *"?([A-Za-z0-9+/=]+)`)

func (w world) authority(p provision.Provisioner, cluster id.Cluster) string {
	w.Helper()
	found := authorityLine.FindStringSubmatch(w.kubeconfig(p, cluster))
	if found == nil {
		w.Fatal("the kubeconfig holds no certificate authority")
	}
	return found[1]
}

// same checks that clients and nodes which knew the cluster still do.
func (w world) same(p provision.Provisioner, cluster id.Cluster, before provision.Observed, authority string) {
	w.Helper()
	after := w.observe(p, cluster)
	if after.Endpoint != before.Endpoint || after.Port != before.Port {
		w.Errorf("the endpoint moved from %s to %s", before.Endpoint, after.Endpoint)
	}
	if w.authority(p, cluster) != authority {
		w.Error("the certificate authority changed")
	}
}
