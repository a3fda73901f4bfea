package tenanttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

const patience = 20 * time.Second

// recorder is a sink that remembers, and a watch that runs beside the test.
type recorder struct {
	mu   sync.Mutex
	seen []tenant.Change
	news chan struct{}
	end  chan error
}

// watch starts to watch and returns when the lists are complete.
func watch(t *testing.T, in tenant.Tenant) *recorder {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := &recorder{news: make(chan struct{}, 1), end: make(chan error, 1)}
	go func() { r.end <- in.Watch(ctx, r.sink) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-r.end:
		case <-time.After(patience):
			t.Error("Watch goes on after the end of its context")
		}
	})
	r.await(t, "Synced", func(c tenant.Change) bool { return c.Synced })
	return r
}

func (r *recorder) sink(c tenant.Change) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, c)
	select {
	case r.news <- struct{}{}:
	default:
	}
	return nil
}

// await returns once there has been a change like this.
func (r *recorder) await(t *testing.T, what string, like func(tenant.Change) bool) {
	t.Helper()
	late := time.After(patience)
	for {
		if r.find(like) >= 0 {
			return
		}
		select {
		case <-r.news:
		case err := <-r.end:
			r.end <- err
			t.Fatalf("Watch ended before it saw %s: %v", what, err)
		case <-late:
			t.Fatalf("Watch has not seen %s after %v", what, patience)
		}
	}
}

func (r *recorder) find(like func(tenant.Change) bool) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.IndexFunc(r.seen, like)
}

func (r *recorder) all(like func(tenant.Change) bool) (out []tenant.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.seen {
		if like(c) {
			out = append(out, c)
		}
	}
	return out
}

func aboutNode(name string) func(tenant.Change) bool {
	return func(c tenant.Change) bool { return c.Gone == name || c.Node != nil && c.Node.Name == name }
}

func nodeLike(name string, like func(tenant.Node) bool) func(tenant.Change) bool {
	return func(c tenant.Change) bool { return c.Node != nil && c.Node.Name == name && like(*c.Node) }
}

func aboutRequest(name string) func(tenant.Change) bool {
	return func(c tenant.Change) bool { return c.Request != nil && c.Request.Name == name }
}

func isGone(name string) func(tenant.Change) bool {
	return func(c tenant.Change) bool { return c.Gone == name }
}

func watching() map[string]func(*testing.T, World) {
	return map[string]func(*testing.T, World){
		"ListsThenSynced":        listsThenSynced,
		"SeesANodeComeAndGo":     seesANodeComeAndGo,
		"NoiseIsNotNews":         noiseIsNotNews,
		"SinkCallsDoNotOverlap":  sinkCallsDoNotOverlap,
		"SinkErrorEndsIt":        sinkErrorEndsIt,
		"ContextEndsIt":          contextEndsIt,
		"RefusalEndsIt":          func(t *testing.T, w World) { cutEndsIt(t, w, false) },
		"SilenceEndsItIn15s":     func(t *testing.T, w World) { cutEndsIt(t, w, true) },
		"TwoDoNotDisturb":        twoDoNotDisturb,
		"ChangesHaveOneFieldSet": changesHaveOneFieldSet,
		"ReplacedNodeHasNewUID":  replacedNodeHasNewUID,
		"AgainAfterItWasCut":     againAfterItWasCut,
		"CordonIsSeenWithin2s":   cordonIsSeen,
		"NothingBeforeTheLatest": nothingBeforeTheLatest,
		"SlowSinkLosesNothing":   slowSinkLosesNothing,
	}
}

func listsThenSynced(t *testing.T, w World) {
	name := unique("node")
	w.AddNode(t, name)
	r := watch(t, w.open(t))
	node, synced := r.find(aboutNode(name)), r.find(func(c tenant.Change) bool { return c.Synced })
	if node < 0 || node > synced {
		t.Fatalf("the node is change %d, Synced is change %d", node, synced)
	}
	n := r.all(aboutNode(name))[0].Node
	if n.UID == "" || n.Ready != tenant.True || n.CreatedAt.IsZero() || n.ReadySince.IsZero() || n.Unschedulable {
		t.Errorf("a ready node is shown as %+v", *n)
	}
	if got := r.all(func(c tenant.Change) bool { return c.Synced }); len(got) != 1 {
		t.Errorf("%d times Synced", len(got))
	}
}

func seesANodeComeAndGo(t *testing.T, w World) {
	name := unique("node")
	r := watch(t, w.open(t))
	w.AddNode(t, name)
	r.await(t, "a ready node", nodeLike(name, func(n tenant.Node) bool { return n.Ready == tenant.True }))
	w.SetReady(t, name, tenant.False, "the disk is full")
	r.await(t, "the node not ready", nodeLike(name, func(n tenant.Node) bool {
		return n.Ready == tenant.False && n.ReadyMessage == "the disk is full"
	}))
	w.SetReady(t, name, tenant.Unknown, "")
	r.await(t, "the node unknown", nodeLike(name, func(n tenant.Node) bool { return n.Ready == tenant.Unknown }))
	w.RemoveNode(t, name)
	r.await(t, "the node gone", isGone(name))
}

func noiseIsNotNews(t *testing.T, w World) {
	name, mark := unique("node"), unique("mark")
	w.AddNode(t, name)
	r := watch(t, w.open(t))
	for range 3 {
		w.Heartbeat(t, name)
	}
	w.AddNode(t, mark) // after it has come through, so has the noise
	r.await(t, "the mark", aboutNode(mark))
	w.SetReady(t, name, tenant.False, "at last")
	r.await(t, "a real change", nodeLike(name, func(n tenant.Node) bool { return n.ReadyMessage == "at last" }))
	for i, changes := 1, r.all(aboutNode(name)); i < len(changes); i++ {
		if fmt.Sprintf("%+v", *changes[i].Node) == fmt.Sprintf("%+v", *changes[i-1].Node) {
			t.Errorf("the same node was handed on twice in a row: %+v", *changes[i].Node)
		}
	}
}

func sinkCallsDoNotOverlap(t *testing.T, w World) {
	in := w.open(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var inside, calls atomic.Int32
	var last string
	for range 4 {
		last = unique("node")
		w.AddNode(t, last)
	}
	err := in.Watch(ctx, func(c tenant.Change) error {
		if inside.Add(1) > 1 {
			t.Error("two calls of sink at a time")
		}
		time.Sleep(2 * time.Millisecond)
		inside.Add(-1)
		calls.Add(1)
		if c.Synced {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || calls.Load() < 5 {
		t.Errorf("Watch: %v after %d calls", err, calls.Load())
	}
}

var errEnough = errors.New("enough")

func sinkErrorEndsIt(t *testing.T, w World) {
	in := w.open(t)
	err := in.Watch(t.Context(), func(tenant.Change) error { return errEnough })
	if !errors.Is(err, errEnough) {
		t.Errorf("an error of the first call: Watch returns %v", err)
	}
	synced := make(chan struct{})
	end := make(chan error, 1)
	name := unique("node")
	go func() {
		end <- in.Watch(t.Context(), func(c tenant.Change) error {
			if c.Synced {
				close(synced)
			}
			if c.Node != nil && c.Node.Name == name {
				return errEnough
			}
			return nil
		})
	}()
	<-synced
	w.AddNode(t, name)
	select {
	case err := <-end:
		if !errors.Is(err, errEnough) {
			t.Errorf("an error of a later call: Watch returns %v", err)
		}
	case <-time.After(patience):
		t.Error("Watch goes on after an error of sink")
	}
}

func contextEndsIt(t *testing.T, w World) {
	in := w.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() {
		end <- in.Watch(ctx, func(c tenant.Change) error {
			if c.Synced {
				cancel()
			}
			return nil
		})
	}()
	select {
	case err := <-end:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Watch: %v, want the context's error", err)
		}
	case <-time.After(patience):
		t.Error("Watch goes on after the end of its context")
	}
}

func cutEndsIt(t *testing.T, w World, silent bool) {
	r := watch(t, w.open(t))
	began := time.Now()
	w.Cut(t, silent)
	select {
	case err := <-r.end:
		r.end <- err
		if !errors.Is(err, fault.Unavailable) {
			t.Errorf("Watch: %v, want fault.Unavailable", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Watch goes on 30 s after the tenant fell silent")
	}
	took := time.Since(began)
	t.Logf("noticed after %v", took.Round(10*time.Millisecond))
	if took > 15*time.Second {
		t.Errorf("Watch noticed after %v, want 15 s", took)
	}
}

func twoDoNotDisturb(t *testing.T, w World) {
	in, name := w.open(t), unique("node")
	a, b := watch(t, in), watch(t, in)
	w.AddNode(t, name)
	a.await(t, "the node", aboutNode(name))
	b.await(t, "the node", aboutNode(name))
}

func changesHaveOneFieldSet(t *testing.T, w World) {
	name := unique("node")
	r := watch(t, w.open(t))
	w.AddNode(t, name)
	r.await(t, "the node", aboutNode(name))
	w.RemoveNode(t, name)
	r.await(t, "the node gone", isGone(name))
	for _, c := range r.all(func(tenant.Change) bool { return true }) {
		set := 0
		for _, is := range []bool{c.Node != nil, c.Gone != "", c.Request != nil, c.Excess != nil, c.Synced} {
			if is {
				set++
			}
		}
		if set != 1 {
			t.Errorf("%d fields of a change are set: %+v", set, c)
		}
	}
}

func replacedNodeHasNewUID(t *testing.T, w World) {
	name := unique("node")
	w.AddNode(t, name)
	r := watch(t, w.open(t))
	was := r.all(aboutNode(name))[0].Node.UID
	w.RemoveNode(t, name)
	w.AddNode(t, name)
	r.await(t, "the node that replaces it", nodeLike(name, func(n tenant.Node) bool { return n.UID != was }))
}

func againAfterItWasCut(t *testing.T, w World) {
	in, name := w.open(t), unique("node")
	r := watch(t, in)
	heal := w.Cut(t, false)
	err := <-r.end
	r.end <- err
	if !errors.Is(err, fault.Unavailable) {
		t.Fatalf("Watch: %v, want fault.Unavailable", err)
	}
	heal()
	r = watch(t, in)
	w.AddNode(t, name)
	r.await(t, "a node after the cut", aboutNode(name))
}

func cordonIsSeen(t *testing.T, w World) {
	in, name := w.open(t), unique("node")
	w.AddNode(t, name)
	r := watch(t, in)
	began := time.Now()
	if _, err := in.SetUnschedulable(t.Context(), name, true); err != nil {
		t.Fatal(err)
	}
	r.await(t, "the cordon", nodeLike(name, func(n tenant.Node) bool { return n.Unschedulable }))
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the cordon was seen after %v, want 2 s", took)
	}
}

// nothingBeforeTheLatest: a node's changes come in the order in which they
// happened, the latest last.
func nothingBeforeTheLatest(t *testing.T, w World) {
	name := unique("node")
	w.AddNode(t, name)
	r := watch(t, w.open(t))
	for i := range 5 {
		w.SetReady(t, name, tenant.False, fmt.Sprintf("message %d", i))
	}
	r.await(t, "the latest message", nodeLike(name, func(n tenant.Node) bool { return n.ReadyMessage == "message 4" }))
	last := ""
	for _, c := range r.all(nodeLike(name, func(n tenant.Node) bool { return n.Ready == tenant.False })) {
		if c.Node.ReadyMessage < last {
			t.Errorf("%q came after %q", c.Node.ReadyMessage, last)
		}
		last = c.Node.ReadyMessage
	}
}

func slowSinkLosesNothing(t *testing.T, w World) {
	in := w.open(t)
	var names []string
	for range 6 {
		names = append(names, unique("node"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	synced := make(chan struct{})
	end := make(chan error, 1)
	missing := slices.Clone(names)
	go func() {
		end <- in.Watch(ctx, func(c tenant.Change) error {
			if c.Synced {
				close(synced)
			}
			if c.Node != nil && slices.Contains(missing, c.Node.Name) {
				time.Sleep(50 * time.Millisecond)
				missing = slices.DeleteFunc(missing, func(n string) bool { return n == c.Node.Name })
			}
			if len(missing) == 0 {
				return errEnough
			}
			return nil
		})
	}()
	<-synced
	for _, n := range names {
		w.AddNode(t, n)
	}
	if err := <-end; !errors.Is(err, errEnough) {
		t.Errorf("Watch: %v; never saw %v", err, missing)
	}
}
