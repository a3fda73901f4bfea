package tenant_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/ports/tenant"
)

func object(namespace, name string) tenant.Object {
	return tenant.Object{"metadata": map[string]any{"namespace": namespace, "name": name}}
}

// A pick is what sorting everything and cutting a page out would give.
func TestAPickIsAPageOfTheSortedList(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var all []tenant.Object
		for i := range random.IntN(40) {
			all = append(all, object([]string{"a", "a-b", "b"}[random.IntN(3)], fmt.Sprintf("n%02d", i)))
		}
		q := tenant.Query{Offset: random.IntN(20), Limit: random.IntN(20)}
		if random.IntN(2) == 0 {
			q.Order = func(a, b tenant.Object) int { return -cmp.Compare(a.Name()[:2], b.Name()[:2]) } // with many ties
		}
		if random.IntN(2) == 0 {
			q.Keep = func(o tenant.Object) bool { return !strings.HasSuffix(o.Name(), "3") }
		}
		p, err := tenant.NewPick(q)
		if err != nil {
			t.Fatal(err)
		}
		want := slices.Clone(all)
		for _, o := range all {
			if held := p.Add(o, 10); held > int64(10*(q.Offset+q.Limit)) {
				t.Fatalf("%+v: holds %d bytes", q, held)
			}
		}
		want = slices.DeleteFunc(want, func(o tenant.Object) bool { return q.Keep != nil && !q.Keep(o) })
		slices.SortFunc(want, func(a, b tenant.Object) int {
			if q.Order != nil && q.Order(a, b) != 0 {
				return q.Order(a, b)
			}
			return strings.Compare(a.Namespace()+"/"+a.Name(), b.Namespace()+"/"+b.Name())
		})
		total := len(want)
		want = want[min(q.Offset, total):min(q.Offset+q.Limit, total)]
		got := p.Page()
		if fmt.Sprint(got.Items) != fmt.Sprint(want) || got.Total != total {
			t.Fatalf("%+v of %d: %v of %d, want %v of %d", q, len(all), got.Items, got.Total, want, total)
		}
	}
}

func TestActingForHasNoControlCharacters(t *testing.T) {
	t.Parallel()
	if got := tenant.Acting(tenant.ActingFor(t.Context(), "a@b\r\nX: y\x00")); got != "a@bX: y" {
		t.Errorf("%q", got)
	}
	if got := tenant.Acting(t.Context()); got != "" {
		t.Errorf("%q acts in nobody's context", got)
	}
}

func TestOddObjectsHaveNoNames(t *testing.T) {
	t.Parallel()
	for _, o := range []tenant.Object{nil, {}, {"metadata": 7}, {"metadata": map[string]any{"name": 7}}} {
		if o.Name() != "" || o.Namespace() != "" {
			t.Errorf("%v", o)
		}
	}
}
