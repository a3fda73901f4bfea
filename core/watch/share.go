package watch

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Each followed cluster has a lease, and each process has one that says that it
// lives and how many clusters it has room for. So every process knows how many
// are its share, and nobody has to tell it.
const (
	allLeases     = "watch"
	clusterLeases = "watch/"
	processLeases = "watcher/"
	// settle is how long a process holds more than its share before it hands any
	// over: a process that comes and goes moves nothing.
	settle = 10 * time.Second
)

func leaseName(c id.Cluster) string { return clusterLeases + c.String() }

func presenceName(d Deps) string { return processLeases + strconv.Itoa(d.Most) + "/" + d.Name }

// roomOf reads the name of a process's lease.
func roomOf(presence string) int {
	room, _, _ := strings.Cut(strings.TrimPrefix(presence, processLeases), "/")
	n, _ := strconv.Atoi(room)
	return n
}

// share is how many of n clusters a process follows that has room for most,
// beside others with such rooms, its own among them: as many as the others,
// and what those have no room for.
func share(n, most int, rooms []int) int {
	level := sort.Search(n, func(level int) bool {
		total := 0
		for _, room := range rooms {
			total += min(room, level)
		}
		return total >= n
	})
	return min(most, level)
}

// scene is what a process sees before it takes leases.
type scene struct {
	all        int // clusters to follow
	mine, free []id.Cluster
	over       []string // leases of this process on clusters that are no more
	rooms      []int    // of all living processes
}

func (t *team) look(ctx context.Context, tx store.Tx, now time.Time) (sc scene, err error) {
	there, err := connectable(ctx, tx)
	if err != nil {
		return sc, err
	}
	living, err := tx.Leases().Living(ctx, allLeases, now)
	if err != nil {
		return sc, err
	}
	holders := make(map[string]string, len(living))
	rooms := map[string]int{}
	for _, l := range living {
		if strings.HasPrefix(l.Name, processLeases) {
			rooms[l.Holder] = roomOf(l.Name)
		} else {
			holders[l.Name] = l.Holder
		}
	}
	d := t.supervisor.deps
	rooms[d.Name] = d.Most
	sc.all, sc.rooms = len(there), slices.Collect(maps.Values(rooms))
	for _, c := range there {
		switch holder, taken := holders[leaseName(c)]; {
		case holder == d.Name:
			sc.mine = append(sc.mine, c)
		case !taken:
			sc.free = append(sc.free, c)
		}
		delete(holders, leaseName(c))
	}
	for name, holder := range holders {
		if holder == d.Name {
			sc.over = append(sc.over, name)
		}
	}
	// What is followed comes first, so that it is handed over last.
	slices.SortStableFunc(sc.mine, func(a, b id.Cluster) int { return t.runs(b) - t.runs(a) })
	return sc, nil
}

func (t *team) runs(c id.Cluster) int {
	if t.follows(c) {
		return 1
	}
	return 0
}

func connectable(ctx context.Context, tx store.Tx) (out []id.Cluster, err error) {
	for after := (id.Cluster{}); ; after = out[len(out)-1] {
		page, err := tx.Clusters().Connectable(ctx, after, pageSize)
		if err != nil || len(page) == 0 {
			return out, err
		}
		out = append(out, page...)
	}
}

// agree renews, takes and gives back leases, and returns the clusters that this
// process has then, and whether it has less than it wanted.
func (t *team) agree(ctx context.Context, tx store.Tx, now time.Time) (held map[id.Cluster]bool, short bool, err error) {
	sc, err := t.look(ctx, tx, now)
	if err != nil {
		return nil, false, err
	}
	d := t.supervisor.deps
	keep, take := t.plan(sc, now)
	clusters := append(slices.Clone(sc.mine[:keep]), sc.free[:min(take, len(sc.free))]...)
	if held, err = t.acquire(ctx, tx, clusters, now); err != nil {
		return nil, false, err
	}
	back := sc.over
	for _, c := range sc.mine[keep:] {
		back = append(back, leaseName(c))
	}
	slices.Sort(back) // as acquire does
	return held, len(held) < len(clusters), tx.Leases().Release(ctx, back, d.Name)
}

// plan says how many of its clusters a process keeps, and how many free ones it
// takes.
func (t *team) plan(sc scene, now time.Time) (keep, take int) {
	fair := share(sc.all, t.supervisor.deps.Most, sc.rooms)
	keep = min(len(sc.mine), t.supervisor.deps.Most)
	keep -= t.surplus(keep-fair, fair, now)
	return keep, max(0, fair-keep)
}

// surplus says how many clusters to hand over now: none before it has held over
// more than its fair share for a while, none at all for a trifle, and then a
// part at a time, for each is not followed until somebody takes it.
func (t *team) surplus(over, fair int, now time.Time) int {
	if over <= 0 {
		t.overSince = time.Time{}
		return 0
	}
	if t.overSince.IsZero() && over <= fair/10 {
		return 0
	}
	if t.overSince.IsZero() || now.Before(t.overSince) {
		t.overSince = now
	}
	if now.Sub(t.overSince) < settle {
		return 0
	}
	return (over + 3) / 4
}

// acquire takes the leases in the order of their names, in every process, so
// that no two wait for each other.
func (t *team) acquire(ctx context.Context, tx store.Tx, clusters []id.Cluster, now time.Time) (map[id.Cluster]bool, error) {
	d := t.supervisor.deps
	byName := make(map[string]id.Cluster, len(clusters))
	names := []string{presenceName(d)}
	for _, c := range clusters {
		byName[leaseName(c)] = c
		names = append(names, leaseName(c))
	}
	slices.Sort(names)
	held := make(map[id.Cluster]bool, len(clusters))
	for some := range slices.Chunk(names, pageSize) {
		got, err := tx.Leases().Acquire(ctx, some, d.Name, now, now.Add(lease))
		if err != nil {
			return nil, fmt.Errorf("acquire %d leases: %w", len(some), err)
		}
		for _, name := range got {
			if c, ok := byName[name]; ok {
				held[c] = true
			}
		}
	}
	return held, nil
}
