package page_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/page"
)

func TestClampGivesALimitThatAStoreMayTrust(t *testing.T) {
	t.Parallel()
	for asked, want := range map[int]int{-1: 100, 0: 100, 1: 1, 100: 100, 500: 500, 501: 500, 1 << 40: 500} {
		if got := (page.Query{Limit: asked, Before: "x"}).Clamp(); got.Limit != want || got.Before != "x" {
			t.Errorf("Clamp(%d) = %+v, want %d", asked, got, want)
		}
	}
}

func TestCutShowsANextPageExactlyWhenThereIsOne(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rows, limit, items int
		next               string
	}{{0, 3, 0, ""}, {2, 3, 2, ""}, {3, 3, 3, ""}, {4, 3, 3, "2"}, {2, 1, 1, "0"}} {
		rows := make([]int, c.rows)
		for i := range rows {
			rows[i] = i
		}
		got := page.Cut(rows, c.limit, strconv.Itoa)
		if len(got.Items) != c.items || got.Next != c.next {
			t.Errorf("Cut of %d rows at %d = %+v", c.rows, c.limit, got)
		}
	}
}

func TestPagesTogetherAreTheWhole(t *testing.T) {
	t.Parallel()
	var all []int
	for i := 25; i > 0; i-- { // newest first
		all = append(all, i)
	}
	var got []int
	q := page.Query{Limit: 4}
	for {
		from := slices.IndexFunc(all, func(n int) bool { return q.Before == "" || strconv.Itoa(n) == q.Before })
		if q.Before != "" {
			from++
		}
		p := page.Cut(slices.Clone(all[from:min(len(all), from+q.Limit+1)]), q.Limit, strconv.Itoa)
		got = append(got, p.Items...)
		if p.Next == "" {
			break
		}
		q.Before = p.Next
	}
	if !slices.Equal(got, all) {
		t.Errorf("the pages held %v", got)
	}
}
