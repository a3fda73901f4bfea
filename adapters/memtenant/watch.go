package memtenant

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Watch compares what is with what it has handed on, whenever something has
// changed. So two changes in a row may come as one, as with a real watch that
// had to list again; but a node that was replaced is gone first.
func (t in) Watch(ctx context.Context, sink func(tenant.Change) error) error {
	seen := view{nodes: map[string]tenant.Node{}, requests: map[string]bool{}}
	for first := true; ; first = false {
		if err := ctx.Err(); err != nil {
			return err
		}
		changed := t.c.changed.C()
		news, reachable := seen.news(t.c)
		if !reachable {
			return unreachable()
		}
		if first {
			news = append(news, tenant.Change{Synced: true})
		}
		for _, c := range news {
			if err := sink(c); err != nil {
				return err
			}
		}
		if !untilChange(ctx, changed) {
			return ctx.Err()
		}
	}
}

// view is what one watch has handed on.
type view struct {
	nodes    map[string]tenant.Node
	requests map[string]bool
}

func (v view) news(c *Cluster) (out []tenant.Change, reachable bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unreachable {
		return nil, false
	}
	for _, name := range slices.Sorted(maps.Keys(v.nodes)) {
		if now, ok := c.nodes[name]; !ok || now.UID != v.nodes[name].UID {
			delete(v.nodes, name)
			out = append(out, tenant.Change{Gone: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		now := cloned(c.nodes[name])
		if last, ok := v.nodes[name]; !ok || !reflect.DeepEqual(last, now) {
			v.nodes[name] = now
			shown := cloned(now)
			out = append(out, tenant.Change{Node: &shown})
		}
	}
	for _, r := range c.requests {
		if who := r.Name + "/" + r.UID; !r.verdict.Decided && !v.requests[who] {
			v.requests[who] = true
			out = append(out, tenant.Change{Request: &r.JoinRequest})
		}
	}
	return out, true
}
