package tenanttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func nodes() map[string]func(*testing.T, World) {
	return map[string]func(*testing.T, World){
		"CordonAndBack": func(t *testing.T, w World) {
			in, name := w.open(t), unique("node")
			w.AddNode(t, name)
			for _, unschedulable := range []bool{true, true, false, false} {
				n, err := in.SetUnschedulable(t.Context(), name, unschedulable)
				if err != nil || n.Name != name || n.UID == "" || n.Unschedulable != unschedulable {
					t.Errorf("SetUnschedulable(%v): %+v, %v", unschedulable, n, err)
				}
				if read, err := in.Node(t.Context(), name); err != nil || read.Name != name || read.UID != n.UID || read.Unschedulable != unschedulable {
					t.Errorf("Node after SetUnschedulable(%v): %+v, %v", unschedulable, read, err)
				}
			}
		},
		"DeletedNodeIsGone": func(t *testing.T, w World) {
			in, name := w.open(t), unique("node")
			w.AddNode(t, name)
			r := watch(t, in)
			if err := in.DeleteNode(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			r.await(t, "the node gone", isGone(name))
			if err := in.DeleteNode(t.Context(), name); !errors.Is(err, fault.NotFound) {
				t.Errorf("DeleteNode again: %v, want fault.NotFound", err)
			}
		},
		"MissingNodeIsNotFound": func(t *testing.T, w World) {
			in := w.open(t)
			for _, name := range []string{unique("node"), "", "a/b", "../x", strings.Repeat("x", 300)} {
				_, read := in.Node(t.Context(), name)
				_, cordon := in.SetUnschedulable(t.Context(), name, true)
				_, drain := in.Drain(t.Context(), name, tenant.DrainOptions{Timeout: time.Second})
				_, dry := in.Drain(t.Context(), name, tenant.DrainOptions{Timeout: time.Second, DryRun: true})
				for what, err := range map[string]error{
					"Node": read, "SetUnschedulable": cordon, "Drain": drain, "dry Drain": dry, "DeleteNode": in.DeleteNode(t.Context(), name),
				} {
					if !errors.Is(err, fault.NotFound) || fault.CodeOf(err) != "node_not_found" {
						t.Errorf("%s of %.10q: %v, want node_not_found", what, name, err)
					}
				}
			}
		},
	}
}

func draining() map[string]func(*testing.T, World) {
	return map[string]func(*testing.T, World){
		"EvictsAndSkips":               evictsAndSkips,
		"EmptyNodeIsCordoned":          emptyNodeIsCordoned,
		"UnmanagedNeedsForce":          unmanagedNeedsForce,
		"EmptyDirNeedsPermission":      emptyDirNeedsPermission,
		"DryRunChangesNothing":         dryRunChangesNothing,
		"DryRunTellsWhatBlocks":        dryRunTellsWhatBlocks,
		"BudgetIsHonoured":             budgetIsHonoured,
		"TimeoutNamesWhatIsLeft":       timeoutNamesWhatIsLeft,
		"TimeoutNamesTenAndCountsMore": timeoutNamesTen,
		"GracePeriodIsPassedOn":        gracePeriodIsPassedOn,
		"OtherNodesKeepTheirPods":      otherNodesKeepTheirPods,
		"NoTimeoutIsRefused":           noTimeoutIsRefused,
		"ContextEndsIt":                contextEndsDrain,
	}
}

func pod(node string) Pod {
	return Pod{Name: unique("pod"), Node: node, App: unique("app"), Kind: Managed}
}

func ofKind(k Kind, node string) Pod {
	p := pod(node)
	p.Kind = k
	return p
}

func sorted(pods ...tenant.Pod) []tenant.Pod {
	slices.SortFunc(pods, func(a, b tenant.Pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return pods
}

// drain checks the error's code and what the report says of Evicted and Left.
func drain(t *testing.T, in tenant.Tenant, node string, o tenant.DrainOptions, code string, evicted, left []tenant.Pod) (tenant.DrainReport, error) {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = patience
	}
	report, err := in.Drain(t.Context(), node, o)
	if code == "" && err != nil || code != "" && (err == nil || fault.CodeOf(err) != code) {
		t.Fatalf("Drain: %v, want the code %q", err, code)
	}
	if !slices.Equal(report.Evicted, sorted(evicted...)) {
		t.Errorf("Evicted is %v, want %v", report.Evicted, evicted)
	}
	if !slices.Equal(report.Left, sorted(left...)) {
		t.Errorf("Left is %v, want %v", report.Left, left)
	}
	return report, err
}

func (w World) expectPods(t *testing.T, there bool, pods ...tenant.Pod) {
	t.Helper()
	for _, p := range pods {
		if w.HasPod(t, p) != there {
			t.Errorf("%v is there: %v, want %v", p, !there, there)
		}
	}
}

func isCordoned(t *testing.T, in tenant.Tenant, node string) bool {
	t.Helper()
	found := watch(t, in).all(aboutNode(node))
	if len(found) == 0 {
		t.Fatalf("no node %s", node)
	}
	return found[0].Node.Unschedulable
}

func evictsAndSkips(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	a, b := w.AddPod(t, pod(node)), w.AddPod(t, pod(node))
	daemon := w.AddPod(t, ofKind(DaemonSet, node))
	mirror := w.AddPod(t, ofKind(Mirror, node))
	done := ofKind(Unmanaged, node)
	done.Finished, done.EmptyDir = true, true
	finished := w.AddPod(t, done)
	report, _ := drain(t, in, node, tenant.DrainOptions{}, "", []tenant.Pod{a, b}, nil)
	if !report.Node.Unschedulable || report.Node.Name != node {
		t.Errorf("the report's node is %+v", report.Node)
	}
	skipped := map[tenant.Pod]string{}
	for _, s := range report.Skipped {
		skipped[s.Pod] = s.Reason
	}
	for p, reason := range map[tenant.Pod]string{daemon: "DaemonSet", mirror: "mirror pod", finished: "finished"} {
		if skipped[p] != reason {
			t.Errorf("%v was skipped for %q, want %q", p, skipped[p], reason)
		}
	}
	if len(skipped) != 3 {
		t.Errorf("skipped %v", report.Skipped)
	}
	w.expectPods(t, false, a, b)
	w.expectPods(t, true, daemon, mirror, finished)
	if !isCordoned(t, in, node) {
		t.Error("the node is not cordoned")
	}
	drain(t, in, node, tenant.DrainOptions{}, "", nil, nil) // it may be repeated
}

func emptyNodeIsCordoned(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	report, _ := drain(t, in, node, tenant.DrainOptions{}, "", nil, nil)
	if !report.Node.Unschedulable || !isCordoned(t, in, node) {
		t.Error("the node is not cordoned")
	}
}

func unmanagedNeedsForce(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	managed, alone := w.AddPod(t, pod(node)), w.AddPod(t, ofKind(Unmanaged, node))
	_, err := drain(t, in, node, tenant.DrainOptions{DeleteEmptyDir: true}, "drain_blocked", nil, nil)
	if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), alone.Name) || strings.Contains(err.Error(), managed.Name) {
		t.Errorf("Drain: %v; want a conflict that names %s only", err, alone.Name)
	}
	w.expectPods(t, true, managed, alone)
	if isCordoned(t, in, node) {
		t.Error("a refused drain has cordoned the node")
	}
	drain(t, in, node, tenant.DrainOptions{Force: true}, "", []tenant.Pod{managed, alone}, nil)
	w.expectPods(t, false, managed, alone)
}

func emptyDirNeedsPermission(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	scratch := pod(node)
	scratch.EmptyDir = true
	plain, dir := w.AddPod(t, pod(node)), w.AddPod(t, scratch)
	_, err := drain(t, in, node, tenant.DrainOptions{Force: true}, "drain_blocked", nil, nil)
	if !errors.Is(err, fault.Conflict) || !strings.Contains(err.Error(), dir.Name) || strings.Contains(err.Error(), plain.Name) {
		t.Errorf("Drain: %v; want a conflict that names %s only", err, dir.Name)
	}
	w.expectPods(t, true, plain, dir)
	drain(t, in, node, tenant.DrainOptions{DeleteEmptyDir: true}, "", []tenant.Pod{plain, dir}, nil)
}

func dryRunChangesNothing(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	a, daemon := w.AddPod(t, pod(node)), w.AddPod(t, ofKind(DaemonSet, node))
	report, _ := drain(t, in, node, tenant.DrainOptions{DryRun: true}, "", []tenant.Pod{a}, nil)
	if len(report.Skipped) != 1 || report.Skipped[0] != (tenant.SkipPod{Pod: daemon, Reason: "DaemonSet"}) {
		t.Errorf("skipped %v, want %v", report.Skipped, daemon)
	}
	w.expectPods(t, true, a, daemon)
	if report.Node.Name != node || report.Node.Unschedulable || isCordoned(t, in, node) {
		t.Error("the node is cordoned")
	}
}

func dryRunTellsWhatBlocks(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	alone := w.AddPod(t, ofKind(Unmanaged, node))
	_, err := drain(t, in, node, tenant.DrainOptions{DryRun: true}, "drain_blocked", nil, nil)
	if !strings.Contains(err.Error(), alone.Name) {
		t.Errorf("Drain: %v; want the name %s", err, alone.Name)
	}
	if isCordoned(t, in, node) {
		t.Error("the node is cordoned")
	}
}

func budgetIsHonoured(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	guarded := pod(node)
	free, kept := w.AddPod(t, pod(node)), w.AddPod(t, guarded)
	release := w.Protect(t, guarded.App)
	report, err := drain(t, in, node, tenant.DrainOptions{Timeout: 2 * time.Second}, "drain_timeout", []tenant.Pod{free}, []tenant.Pod{kept})
	if !errors.Is(err, fault.Timeout) || !strings.Contains(err.Error(), kept.Name) || strings.Contains(err.Error(), free.Name) {
		t.Errorf("Drain: %v; want a timeout that names %s only", err, kept.Name)
	}
	if !report.Node.Unschedulable {
		t.Error("the node is not cordoned")
	}
	w.expectPods(t, true, kept)
	freed := make(chan struct{})
	go func() {
		defer close(freed)
		time.Sleep(500 * time.Millisecond)
		release()
	}()
	drain(t, in, node, tenant.DrainOptions{}, "", []tenant.Pod{kept}, nil)
	<-freed
	w.expectPods(t, false, kept)
}

func timeoutNamesWhatIsLeft(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	slow := pod(node)
	slow.Stuck = true
	quick, stuck := w.AddPod(t, pod(node)), w.AddPod(t, slow)
	began := time.Now()
	_, err := drain(t, in, node, tenant.DrainOptions{Timeout: 1500 * time.Millisecond}, "drain_timeout", []tenant.Pod{quick}, []tenant.Pod{stuck})
	if !strings.Contains(err.Error(), stuck.Namespace+"/"+stuck.Name) {
		t.Errorf("Drain: %v; want the name %s", err, stuck.Name)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("Drain took %v with a timeout of 1.5 s", took)
	}
}

func timeoutNamesTen(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	var left []tenant.Pod
	for i := range 12 {
		left = append(left, w.AddPod(t, Pod{Name: unique(fmt.Sprintf("p%02d", i)), Node: node, Kind: Managed, Stuck: true}))
	}
	_, err := drain(t, in, node, tenant.DrainOptions{Timeout: 2 * time.Second}, "drain_timeout", nil, left)
	for i, p := range left {
		if strings.Contains(err.Error(), p.Name) != (i < 10) {
			t.Errorf("pod %d is named or not: %v", i, err)
		}
	}
	if !strings.Contains(err.Error(), "and 2 more") {
		t.Errorf("Drain: %v; want \"and 2 more\"", err)
	}
}

func gracePeriodIsPassedOn(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	slow := pod(node)
	slow.Stuck = true
	stuck := w.AddPod(t, slow)
	drain(t, in, node, tenant.DrainOptions{GracePeriod: new(time.Duration)}, "", []tenant.Pod{stuck}, nil)
	w.expectPods(t, false, stuck)
}

func otherNodesKeepTheirPods(t *testing.T, w World) {
	in, node, other := w.open(t), unique("node"), unique("node")
	w.AddNode(t, node)
	w.AddNode(t, other)
	a, b := w.AddPod(t, pod(node)), w.AddPod(t, pod(other))
	drain(t, in, node, tenant.DrainOptions{}, "", []tenant.Pod{a}, nil)
	w.expectPods(t, true, b)
	if isCordoned(t, in, other) {
		t.Error("the other node is cordoned")
	}
}

func noTimeoutIsRefused(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	if _, err := in.Drain(t.Context(), node, tenant.DrainOptions{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("Drain: %v, want fault.Invalid", err)
	}
	if isCordoned(t, in, node) {
		t.Error("the node is cordoned")
	}
}

func contextEndsDrain(t *testing.T, w World) {
	in, node := w.open(t), unique("node")
	w.AddNode(t, node)
	slow := pod(node)
	slow.Stuck = true
	stuck := w.AddPod(t, slow)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	began := time.Now()
	report, err := in.Drain(ctx, node, tenant.DrainOptions{Timeout: time.Minute})
	if !errors.Is(err, context.Canceled) || !slices.Equal(report.Left, []tenant.Pod{stuck}) {
		t.Errorf("Drain: left %v, %v; want %v and the context's error", report.Left, err, stuck)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Drain went on for %v", took)
	}
}
