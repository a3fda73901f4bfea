package nodes

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Registrar learns of every machine that has become a node, in the transaction
// that records it.
type Registrar interface {
	Registered(ctx context.Context, tx store.Tx, c store.Cluster, n store.Node) (used bool, err error)
}

// TrackerDeps are what a Tracker cannot work without.
type TrackerDeps struct {
	Store     store.Store
	Registrar Registrar
	Now       func() time.Time
	Random    id.Random
	Pace      *Pace // of the cluster; for all its trackers, one after the other
}

// Tracker keeps the snapshot of one cluster's nodes in step with what a watch
// sees. What is seen waits, the newest state of each node only, until
// [Tracker.Run] writes it, which is at once unless the cluster has spent its
// [Pace]. News that is none costs no write.
type Tracker struct {
	deps    TrackerDeps
	journal journal.Journal
	cluster store.Cluster

	mu     sync.Mutex
	came   bell.Bell
	known  map[string]mark         // what is written
	busy   map[string]bool         // being written
	news   map[string]*tenant.Node // to be written; nil: it is gone
	fresh  map[string]bool         // of news or busy: not known
	queue  []string                // of news, the oldest first; may name what is no news any more
	listed map[string]bool         // while the first list comes in; nil after
}

// mark is enough of a snapshot to tell another one from it.
type mark [sha256.Size]byte

// Track begins to follow a cluster, from what was last known of it.
func Track(ctx context.Context, d TrackerDeps, cluster store.Cluster) (*Tracker, error) {
	t := &Tracker{
		deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}, cluster: cluster,
		known: map[string]mark{}, busy: map[string]bool{}, news: map[string]*tenant.Node{}, listed: map[string]bool{}, fresh: map[string]bool{},
	}
	err := d.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Nodes().OfCluster(ctx, cluster.ID)
		for _, n := range all {
			t.known[n.Name] = markOf(n)
		}
		return err
	})
	return t, err
}

// Saw takes in a node as the tenant shows it.
func (t *Tracker) Saw(seen tenant.Node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.follows(seen.Name) {
		return
	}
	if t.listed != nil {
		t.listed[seen.Name] = true
	}
	seen = clipped(seen)
	last, ok := t.known[seen.Name]
	if _, waits := t.news[seen.Name]; !waits && !t.busy[seen.Name] && ok && last == markOf(observe(store.Node{}, seen, time.Time{})) {
		return
	}
	t.tell(seen.Name, &seen)
}

// follows reports whether a node of that name is worth a record: one that is
// known, or one more that can be a machine.
func (t *Tracker) follows(name string) bool {
	_, known := t.known[name]
	_, waits := t.news[name]
	return known || waits || t.busy[name] || (IsName(name) && len(t.known)+len(t.fresh) < maxNodes)
}

// Gone takes in that the tenant has no such node any more.
func (t *Tracker) Gone(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(name)
}

func (t *Tracker) drop(name string) {
	if _, known := t.known[name]; known || t.busy[name] {
		t.tell(name, nil)
		return
	}
	delete(t.news, name) // it came and went, and nobody has read of it
	delete(t.fresh, name)
}

// Synced takes in that the first list is complete: what it did not name is gone.
func (t *Tracker) Synced() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listed == nil {
		return // said already: nothing was listed since
	}
	for name := range t.known {
		if !t.listed[name] {
			t.drop(name)
		}
	}
	t.listed = nil
}

// tell puts news where it waits to be written.
func (t *Tracker) tell(name string, seen *tenant.Node) {
	if _, waits := t.news[name]; !waits {
		t.queue = append(t.queue, name)
	}
	if _, known := t.known[name]; !known {
		t.fresh[name] = true
	}
	t.news[name] = seen
	if len(t.queue) > 2*len(t.news)+batchSize {
		t.tidy()
	}
	t.came.Ring()
}

// tidy drops from the queue what is no news any more, or is named twice.
func (t *Tracker) tidy() {
	named := make(map[string]bool, len(t.news))
	kept := t.queue[:0]
	for _, name := range t.queue {
		if _, waits := t.news[name]; waits && !named[name] {
			named[name] = true
			kept = append(kept, name)
		}
	}
	clear(t.queue[len(kept):])
	t.queue = kept
}

// Run writes what is seen until ctx ends or the store fails. After a write that
// has used up a join token it calls used.
func (t *Tracker) Run(ctx context.Context, used func()) error {
	for {
		came := t.came.C()
		spent, wait, err := t.write(ctx)
		if err != nil {
			return err
		}
		if spent {
			used()
		}
		switch {
		case wait > 0:
			came = nil // no news makes it sooner
		case t.deps.Pace.owes():
			wait = catchUp
		default:
			wait = idle
		}
		if !bell.Wait(ctx, came, wait) {
			return ctx.Err()
		}
	}
}

const (
	catchUp = 5 * time.Second // between two looks at what there is left to say
	idle    = time.Hour
)

// Write writes what has been seen as far as the cluster's pace allows. It
// reports whether a join token has been used up.
func (t *Tracker) Write(ctx context.Context) (tokenUsed bool, err error) {
	tokenUsed, _, err = t.write(ctx)
	return tokenUsed, err
}

// write also returns how long to wait before the rest may be written; zero when
// there is no rest.
func (t *Tracker) write(ctx context.Context) (used bool, wait time.Duration, err error) {
	for {
		r, wait := t.take()
		if len(r.order) == 0 {
			return used, wait, nil
		}
		if err := r.commit(ctx); err != nil {
			t.putBack(r)
			return used, 0, fmt.Errorf("record nodes: %w", err)
		}
		used = used || r.used
		t.settle(r)
	}
}

// take returns the oldest news that may be written now. Where there is none,
// it says for how long.
func (t *Tracker) take() (r *record, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.deps.Now()
	r = &record{t: t, now: now, news: map[string]*tenant.Node{}, speaker: newSpeaker(t.deps.Pace)}
	owed := t.deps.Pace.due(now)
	if len(t.news)+len(owed) == 0 {
		return r, 0
	}
	most, wait := t.deps.Pace.batch(now, len(t.news)+len(owed))
	t.tidy()
	n := min(most, len(t.queue))
	for _, name := range t.queue[:n] {
		r.add(name, t.news[name])
		t.busy[name] = true
		delete(t.news, name)
	}
	t.queue = append(t.queue[:0], t.queue[n:]...)
	for _, name := range owed {
		if _, waits := t.news[name]; !waits && !t.busy[name] && len(r.order) < most {
			r.order = append(r.order, name)
		}
	}
	return r, wait
}

// putBack has news wait that could not be written, unless there is newer.
func (t *Tracker) putBack(r *record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.busy)
	r.unsay()
	for name, seen := range r.news {
		if _, waits := t.news[name]; !waits {
			t.tell(name, seen)
		}
	}
}

// settle remembers what has been written.
func (t *Tracker) settle(r *record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range r.news {
		delete(t.known, name)
		delete(t.fresh, name)
	}
	clear(t.busy)
	for _, n := range r.rows {
		t.known[n.Name] = markOf(n)
	}
	for name := range r.news {
		_, waits := t.news[name]
		if _, known := t.known[name]; waits && !known {
			t.fresh[name] = true
		}
	}
	for _, name := range r.gone {
		t.deps.Pace.forget(name)
	}
}

// Lose records that a cluster's API is out of reach: nobody knows how its nodes
// are.
func Lose(ctx context.Context, d TrackerDeps, cluster store.Cluster) error {
	now, lost, speaker := d.Now(), 0, newSpeaker(d.Pace)
	err := d.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		lost = 0
		err := lock(ctx, tx, cluster.ID)
		if errors.Is(err, fault.NotFound) {
			return nil // with its nodes
		}
		if err != nil {
			return err
		}
		all, err := tx.Nodes().OfCluster(ctx, cluster.ID)
		if err != nil {
			return err
		}
		lost, err = tx.Nodes().Lose(ctx, cluster.ID, string(Unknown), now)
		if err != nil || lost == 0 {
			return err
		}
		return tx.NodeEvents().Append(ctx, losses(d, speaker, all, now)...)
	})
	d.Pace.rows.Spend(now, float64(lost)/lossesPerRow)
	if err != nil {
		speaker.unsay()
		return fmt.Errorf("record nodes as unknown: %w", err)
	}
	return nil
}

// losses is the history of nodes that nobody can see any more.
func losses(d TrackerDeps, speaker speaker, all []store.Node, now time.Time) (out []store.NodeEvent) {
	for _, n := range all {
		if n.Status == string(Unknown) {
			continue
		}
		if s := speaker.once(n.Name, func() said { return d.Pace.speak(n.Name, n.Status, false, now) }); s.ok {
			out = append(out, entry(now, d.Random, n, EventOffline, n.Status, string(Unknown), "The cluster's API is out of reach."+more(s.unsaid)))
		}
	}
	return out
}
