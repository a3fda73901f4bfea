package tenant

import (
	"cmp"
	"container/heap"
	"slices"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Pick takes the page that a query asks for out of objects that come one by
// one, and holds no more of them than reach to the page's end.
type Pick struct {
	q     Query
	held  worst
	total int
	size  int64
}

// NewPick refuses a query that reaches too far.
func NewPick(q Query) (*Pick, error) {
	if q.Offset < 0 || q.Limit < 0 || q.Offset > MaxReach || q.Limit > MaxReach || q.Offset+q.Limit > MaxReach {
		return nil, fault.Invalid.New("list_too_long", "A list can be read up to its first %d objects; narrow it by a selector or a namespace.", MaxReach)
	}
	return &Pick{q: q, held: worst{order: q.compare}}, nil
}

// compare never finds two objects equal, or pages might overlap.
func (q Query) compare(a, b Object) int {
	if q.Order != nil {
		if c := q.Order(a, b); c != 0 {
			return c
		}
	}
	return byKey(a, b)
}

func byKey(a, b Object) int {
	if a.Namespace() == b.Namespace() {
		return cmp.Compare(a.Name(), b.Name())
	}
	return strings.Compare(a.Namespace()+"/"+a.Name(), b.Namespace()+"/"+b.Name())
}

// Add looks at an object of some size, and returns the size of all that are
// held now.
func (p *Pick) Add(o Object, size int64) int64 {
	if p.q.Keep != nil && !p.q.Keep(o) {
		return p.size
	}
	p.total++
	reach := p.q.Offset + p.q.Limit
	switch {
	case p.q.Limit == 0:
	case len(p.held.all) < reach:
		heap.Push(&p.held, sized{o, size})
		p.size += size
	case p.held.order(o, p.held.all[0].Object) < 0:
		p.size += size - p.held.all[0].size
		p.held.all[0] = sized{o, size}
		heap.Fix(&p.held, 0)
	}
	return p.size
}

// Page ends the pick.
func (p *Pick) Page() Page {
	slices.SortFunc(p.held.all, func(a, b sized) int { return p.held.order(a.Object, b.Object) })
	out := Page{Items: []Object{}, Total: p.total}
	for _, o := range p.held.all[min(p.q.Offset, len(p.held.all)):] {
		out.Items = append(out.Items, o.Object)
	}
	return out
}

type sized struct {
	Object
	size int64
}

// worst is a heap with the last object of the order on top.
type worst struct {
	all   []sized
	order func(a, b Object) int
}

func (w *worst) Len() int           { return len(w.all) }
func (w *worst) Less(i, j int) bool { return w.order(w.all[i].Object, w.all[j].Object) > 0 }
func (w *worst) Swap(i, j int)      { w.all[i], w.all[j] = w.all[j], w.all[i] }
func (w *worst) Push(x any)         { w.all = append(w.all, x.(sized)) }
func (w *worst) Pop() any           { panic("a pick only grows") }
