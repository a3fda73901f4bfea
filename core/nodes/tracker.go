package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/text"
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
}

// Tracker keeps the snapshot of one cluster's nodes in step with what a watch
// sees. It remembers what it wrote, so that news that is none costs no write.
// It serves one watch, from one goroutine at a time.
type Tracker struct {
	deps    TrackerDeps
	journal journal.Journal
	cluster store.Cluster
	known   map[string]store.Node
	listed  map[string]bool // while the first list comes in; nil after
}

// Track begins to follow a cluster, from what was last known of it.
func Track(ctx context.Context, d TrackerDeps, cluster store.Cluster) (*Tracker, error) {
	t := &Tracker{
		deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}, cluster: cluster,
		known: map[string]store.Node{}, listed: map[string]bool{},
	}
	return t, t.reload(ctx)
}

func (t *Tracker) reload(ctx context.Context) error {
	clear(t.known)
	return t.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Nodes().OfCluster(ctx, t.cluster.ID)
		for _, n := range all {
			t.known[n.Name] = n
		}
		return err
	})
}

// Saw records a node as the tenant shows it. It reports whether a join token
// has been used up by it.
func (t *Tracker) Saw(ctx context.Context, seen tenant.Node) (tokenUsed bool, err error) {
	if !t.follows(seen.Name) {
		return false, nil
	}
	if t.listed != nil {
		t.listed[seen.Name] = true
	}
	if last, ok := t.known[seen.Name]; ok && same(observe(last, seen, t.deps.Now()), last) {
		return false, nil
	}
	var now store.Node
	err = t.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		now, tokenUsed, err = t.record(ctx, tx, seen)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("record node: %w", err)
	}
	t.known[seen.Name] = now
	return tokenUsed, nil
}

// follows reports whether a node of that name is worth a record: one that is
// known, or one more that can be a machine.
func (t *Tracker) follows(name string) bool {
	_, known := t.known[name]
	return known || (IsName(name) && len(t.known) < maxNodes)
}

func (t *Tracker) record(ctx context.Context, tx store.Tx, seen tenant.Node) (store.Node, bool, error) {
	if err := lock(ctx, tx, t.cluster.ID); err != nil {
		return store.Node{}, false, err // a deleted cluster keeps no nodes
	}
	last, err := tx.Nodes().ByName(ctx, t.cluster.ID, seen.Name)
	isNew := errors.Is(err, fault.NotFound)
	if err != nil && !isNew {
		return last, false, err
	}
	now := t.deps.Now()
	if isNew {
		last = store.Node{ID: id.New[id.NodeKind](now, t.deps.Random()), ClusterID: t.cluster.ID, CreatedAt: now}
	}
	replaced := !isNew && last.UID != seen.UID
	n := observe(last, seen, now)
	if isNew {
		err = tx.Nodes().Insert(ctx, n)
	} else {
		err = tx.Nodes().Update(ctx, n)
	}
	if err != nil {
		return n, false, err
	}
	used := false
	if isNew || replaced || n.Status == string(Ready) {
		if used, err = t.deps.Registrar.Registered(ctx, tx, t.cluster, n); err != nil {
			return n, false, err
		}
	}
	if isNew || replaced {
		if err := t.joined(ctx, tx, n); err != nil {
			return n, false, err
		}
	}
	return n, used, t.changed(ctx, tx, last, n, seen.ReadyMessage)
}

func (t *Tracker) joined(ctx context.Context, tx store.Tx, n store.Node) error {
	if err := t.history(ctx, tx, n, EventJoined, "", "", "The machine joined the cluster."); err != nil {
		return err
	}
	return t.audit(ctx, tx, n, "joined", "The machine "+n.Name+" joined the cluster "+t.cluster.Name+".")
}

// changed writes the history of a change of status.
func (t *Tracker) changed(ctx context.Context, tx store.Tx, last, n store.Node, why string) error {
	if last.Status == n.Status {
		return nil
	}
	message := "Node condition Ready changed to " + conditionOf(Status(n.Status)) + "."
	if why != "" {
		message += " " + text.Clip(why, maxMessage)
	}
	if err := t.history(ctx, tx, n, eventFor(Status(n.Status)), last.Status, n.Status, message); err != nil {
		return err
	}
	if Status(n.Status) != Unknown {
		return nil
	}
	return t.audit(ctx, tx, n, "offline", "The node "+n.Name+" of the cluster "+t.cluster.Name+" went offline.")
}

func conditionOf(s Status) string {
	switch s {
	case Ready:
		return "True"
	case NotReady:
		return "False"
	case Unknown:
		return "Unknown"
	case Pending:
	}
	return "unset"
}

func (t *Tracker) history(ctx context.Context, tx store.Tx, n store.Node, e EventType, before, after, message string) error {
	return appendHistory(ctx, tx, t.deps.Now(), t.deps.Random, n, e, before, after, message)
}

func (t *Tracker) audit(ctx context.Context, tx store.Tx, n store.Node, action, message string) error {
	return t.journal.WriteAs(ctx, tx, actor.Process(), aboutNode(t.cluster, n, action, message))
}

// lock makes whoever else writes the nodes of a cluster wait: a node's record
// is replaced whole, and has no version by which a stale one would show.
func lock(ctx context.Context, tx store.Tx, cluster id.Cluster) error {
	_, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), cluster)
	return err
}

// Gone records that the tenant has no such node any more.
func (t *Tracker) Gone(ctx context.Context, name string) error {
	n, ok := t.known[name]
	if !ok {
		return nil
	}
	err := t.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return t.remove(ctx, tx, n.ID) })
	if err != nil {
		return fmt.Errorf("record that a node is gone: %w", err)
	}
	delete(t.known, name)
	return nil
}

// remove drops a snapshot and says so, unless somebody did already.
func (t *Tracker) remove(ctx context.Context, tx store.Tx, i id.Node) error {
	if err := lock(ctx, tx, t.cluster.ID); err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	n, err := tx.Nodes().Get(ctx, store.Everyone(), i)
	if errors.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.Nodes().Delete(ctx, i); err != nil {
		return err
	}
	if err := t.history(ctx, tx, n, EventDeleted, n.Status, "", "The node was removed from the cluster."); err != nil {
		return err
	}
	return t.audit(ctx, tx, n, "deleted", "The node "+n.Name+" was removed from the cluster "+t.cluster.Name+".")
}

// Synced records that the first list is complete: what it did not name is gone.
func (t *Tracker) Synced(ctx context.Context) error {
	if t.listed == nil {
		return nil // said already: nothing was listed since
	}
	for name := range t.known {
		if !t.listed[name] {
			if err := t.Gone(ctx, name); err != nil {
				return err
			}
		}
	}
	t.listed = nil
	return nil
}

// Lost records that the tenant's API is out of reach: nobody knows how its
// nodes are.
func (t *Tracker) Lost(ctx context.Context) error {
	err := t.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		err := lock(ctx, tx, t.cluster.ID)
		if errors.Is(err, fault.NotFound) {
			return nil // with its nodes
		}
		if err != nil {
			return err
		}
		all, err := tx.Nodes().OfCluster(ctx, t.cluster.ID)
		if err != nil {
			return err
		}
		for _, n := range all {
			if err := t.lose(ctx, tx, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record nodes as unknown: %w", err)
	}
	return t.reload(ctx)
}

func (t *Tracker) lose(ctx context.Context, tx store.Tx, n store.Node) error {
	if n.Status == string(Unknown) {
		return nil
	}
	now, last := t.deps.Now(), n
	n.Status, n.OfflineAt, n.UpdatedAt = string(Unknown), &now, now
	if err := tx.Nodes().Update(ctx, n); err != nil {
		return err
	}
	return t.history(ctx, tx, n, EventOffline, last.Status, n.Status, "The cluster's API is out of reach.")
}
