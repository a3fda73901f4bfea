package memtenant

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func (t in) Drain(ctx context.Context, node string, o tenant.DrainOptions) (report tenant.DrainReport, err error) {
	if o.Timeout <= 0 {
		return report, fault.Invalid.New(fault.ValidationFailed, "A drain needs a timeout.")
	}
	late := time.NewTimer(o.Timeout)
	defer late.Stop()
	var going []Pod
	err = t.onNode(ctx, node, func(n tenant.Node) error {
		report.Node = cloned(n)
		if going, report.Skipped, err = t.c.plan(node, o); err != nil {
			return err
		}
		n.Unschedulable = n.Unschedulable || !o.DryRun
		t.c.nodes[node], report.Node = n, cloned(n)
		return nil
	})
	if err != nil {
		return report, err
	}
	if o.DryRun {
		report.Evicted = names(going)
		return report, nil
	}
	left := going
	for {
		changed := t.c.changed.C()
		if left, err = t.evict(ctx, left, o); err == nil && len(left) == 0 {
			report.Evicted, report.Left = names(going), nil
			return report, nil
		}
		report.Left = names(left)
		report.Evicted = names(slices.DeleteFunc(slices.Clone(going), func(p Pod) bool { return slices.Contains(left, p) }))
		if err != nil {
			return report, err
		}
		select {
		case <-ctx.Done():
			return report, ctx.Err()
		case <-late.C:
			return report, fault.Timeout.New("drain_timeout", "After %s, %d pods are still on the node: %s.", o.Timeout, len(left), listed(left))
		case <-changed:
		}
	}
}

// evict removes what may go and returns what is left. It is a look rather than
// a call while nothing can go, or drains would wake each other for ever.
func (t in) evict(ctx context.Context, pods []Pod, o tenant.DrainOptions) (left []Pod, err error) {
	if err := ctx.Err(); err != nil {
		return pods, err
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if t.c.unreachable {
		return pods, unreachable()
	}
	went := false
	for _, p := range pods {
		if _, there := t.c.pods[p.Pod]; !there {
			continue
		}
		patient := o.GracePeriod == nil || *o.GracePeriod > 0
		if t.c.guarded[p.App] > 0 || p.Stuck && patient {
			left = append(left, p)
			continue
		}
		delete(t.c.pods, p.Pod)
		went = true
	}
	if went {
		t.c.changed.Ring()
	}
	return left, nil
}

// plan needs the lock.
func (c *Cluster) plan(node string, o tenant.DrainOptions) (going []Pod, skipped []tenant.SkipPod, err error) {
	var blocked []Pod
	for _, p := range c.pods {
		if p.Node != node {
			continue
		}
		if reason := reasonToSkip(p); reason != "" {
			skipped = append(skipped, tenant.SkipPod{Pod: p.Pod, Reason: reason})
			continue
		}
		going = append(going, p)
		if p.Unmanaged && !o.Force || p.EmptyDir && !o.DeleteEmptyDir {
			blocked = append(blocked, p)
		}
	}
	slices.SortFunc(going, func(a, b Pod) int { return byName(a.Pod, b.Pod) })
	slices.SortFunc(skipped, func(a, b tenant.SkipPod) int { return byName(a.Pod, b.Pod) })
	slices.SortFunc(blocked, func(a, b Pod) int { return byName(a.Pod, b.Pod) })
	if len(blocked) > 0 {
		err = fault.Conflict.New("drain_blocked", "Nothing was evicted: these pods need force or delete_emptydir_data: %s.", listed(blocked))
	}
	return going, skipped, err
}

func reasonToSkip(p Pod) string {
	switch {
	case p.Mirror:
		return "mirror pod"
	case p.DaemonSet:
		return "DaemonSet"
	case p.Finished:
		return "finished"
	}
	return ""
}

func names(pods []Pod) (out []tenant.Pod) {
	for _, p := range pods {
		out = append(out, p.Pod)
	}
	return out
}

func byName(a, b tenant.Pod) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// listed names the first ten.
func listed(pods []Pod) string {
	var texts []string
	for _, p := range pods[:min(len(pods), 10)] {
		texts = append(texts, p.Namespace+"/"+p.Name)
	}
	out := strings.Join(texts, ", ")
	if more := len(pods) - len(texts); more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}
