package memstore

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/kubebyon/kubebyon/core/kernel/page"
)

// table is a map that is copied before a unit's first change to it, so that
// whoever still reads an older state reads on undisturbed.
type table[K comparable, V any] struct {
	rows map[K]V
	of   *unit // whose copy it is
}

// get returns a row that shares nothing with the table.
func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.rows[k]
	return detached(v), ok
}

func (t *table[K, V]) put(u *unit, k K, v V) {
	t.own(u)
	t.rows[k] = v
}

func (t *table[K, V]) remove(u *unit, k K) {
	t.own(u)
	delete(t.rows, k)
}

func (t *table[K, V]) own(u *unit) {
	if t.of == u {
		return
	}
	t.rows, t.of = maps.Clone(t.rows), u
	if t.rows == nil {
		t.rows = map[K]V{}
	}
}

// find returns some row that is wanted.
func (t *table[K, V]) find(wanted func(V) bool) (V, bool) {
	for _, v := range t.rows {
		if wanted(v) {
			return detached(v), true
		}
	}
	var none V
	return none, false
}

// sorted returns the wanted rows in ascending order of key.
func (t *table[K, V]) sorted(key func(V) string, wanted func(V) bool) []V {
	return sorted(maps.Values(t.rows), key, wanted)
}

// removeSome removes at most limit wanted rows and says how many.
func (t *table[K, V]) removeSome(u *unit, limit int, wanted func(V) bool) (n int) {
	for k, v := range t.rows { // own copies the map, and this loop reads on in the old one
		if n < limit && wanted(v) {
			t.remove(u, k)
			n++
		}
	}
	return n
}

// removeAll removes every wanted row and says how many.
func removeAll[K comparable, V any](u *unit, t *table[K, V], wanted func(V) bool) int {
	return t.removeSome(u, len(t.rows), wanted)
}

// journal is only ever appended to or replaced. Older states share its front:
// what is appended lies behind the end that they know.
type journal[V any] struct{ rows []V }

func (j *journal[V]) append(v V) { j.rows = append(j.rows, v) }

func sorted[V any](all iter.Seq[V], key func(V) string, wanted func(V) bool) []V {
	var out []V
	for v := range all {
		if wanted(v) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b V) int { return cmp.Compare(key(a), key(b)) })
	for i := range out {
		out[i] = detached(out[i])
	}
	return out
}

// newest returns a page of the wanted rows, by descending id.
func newest[V any](all iter.Seq[V], q page.Query, id func(V) string, wanted func(V) bool) (page.Of[V], error) {
	if err := plain(q.Before); err != nil {
		return page.Of[V]{}, err
	}
	q = q.Clamp()
	rows := sorted(all, id, func(v V) bool { return (q.Before == "" || id(v) < q.Before) && wanted(v) })
	slices.Reverse(rows)
	rows = rows[:min(len(rows), q.Limit+1)]
	return page.Cut(rows, q.Limit, id), nil
}
