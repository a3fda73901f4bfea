package nodes

import (
	"context"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// record is news of several nodes on its way into the store, in one
// transaction.
type record struct {
	t     *Tracker
	now   time.Time
	order []string                // the nodes it is about
	news  map[string]*tenant.Node // those among them that look new; nil: gone
	speaker

	rows   []store.Node // as written, or as they were found to be already
	gone   []string
	used   bool // a join token
	events []store.NodeEvent
	audit  []store.AuditEvent
}

func (r *record) add(name string, seen *tenant.Node) {
	r.order = append(r.order, name)
	r.news[name] = seen
}

func (r *record) commit(ctx context.Context) error {
	return r.t.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		r.rows, r.gone, r.used, r.events, r.audit = nil, nil, false, nil, nil
		return r.write(ctx, tx)
	})
}

func (r *record) write(ctx context.Context, tx store.Tx) error {
	if err := lock(ctx, tx, r.t.cluster.ID); err != nil {
		return err // a deleted cluster keeps no nodes
	}
	found, err := tx.Nodes().ByNames(ctx, r.t.cluster.ID, r.order)
	if err != nil {
		return err
	}
	last := make(map[string]store.Node, len(found))
	for _, n := range found {
		last[n.Name] = n
	}
	var put []store.Node
	var drop []id.Node
	for _, name := range r.order {
		was, there := last[name]
		seen, isNews := r.news[name]
		switch {
		case !isNews:
			r.catchUp(name, was, there)
		case seen != nil:
			n, changed := r.look(was, there, *seen)
			if changed {
				put = append(put, n)
			}
		case there:
			drop = append(drop, was.ID)
		default: // somebody else has removed it and said so
			r.gone = append(r.gone, name)
		}
	}
	deleters, err := settled(ctx, tx, r.t.cluster.ID, drop, r.now)
	if err != nil {
		return err
	}
	for _, name := range r.order {
		if was, there := last[name]; there && slices.Contains(drop, was.ID) {
			r.left(was, deleters)
		}
	}
	if err := tx.Nodes().Delete(ctx, drop...); err != nil {
		return err
	}
	if err := tx.Nodes().Put(ctx, put...); err != nil {
		return err
	}
	if err := r.register(ctx, tx, put, last); err != nil {
		return err
	}
	if err := tx.NodeEvents().Append(ctx, r.events...); err != nil {
		return err
	}
	return tx.Audit().Append(ctx, r.audit...)
}

// look returns a node's snapshot, and whether there is anything new in it.
func (r *record) look(was store.Node, there bool, seen tenant.Node) (n store.Node, changed bool) {
	if !there {
		was = store.Node{ID: id.New[id.NodeKind](r.now, r.t.deps.Random()), ClusterID: r.t.cluster.ID, CreatedAt: r.now}
	}
	n = observe(was, seen, r.now)
	if there && markOf(n) == markOf(was) {
		r.rows = append(r.rows, was)
		return was, false
	}
	r.rows = append(r.rows, n)
	joined := !there || was.UID != n.UID
	if joined || was.Status != n.Status {
		r.tell(was, n, joined, seen.ReadyMessage)
	}
	return n, true
}

// register asks which of the nodes have used up a join token.
func (r *record) register(ctx context.Context, tx store.Tx, put []store.Node, last map[string]store.Node) error {
	for _, n := range put {
		was, there := last[n.Name]
		if there && was.UID == n.UID && n.Status != string(Ready) {
			continue
		}
		used, err := r.t.deps.Registrar.Registered(ctx, tx, r.t.cluster, n)
		if err != nil {
			return err
		}
		r.used = r.used || used
	}
	return nil
}

// may asks whether something may be said of a node.
func (r *record) may(name, before string, joined bool) said {
	return r.once(name, func() said { return r.pace.speak(name, before, joined, r.now) })
}

// tell writes the history of a machine that joined, of a change of status, or
// of both. A join that was left unsaid is on record with the next thing said.
func (r *record) tell(was, n store.Node, joined bool, why string) {
	s := r.may(n.Name, was.Status, joined)
	if !s.ok {
		return
	}
	unsaid := s.unsaid
	if joined || s.joined {
		r.history(n, EventJoined, "", "", "The machine joined the cluster."+more(unsaid))
		r.note(n, "joined", "The machine "+n.Name+" joined the cluster "+r.t.cluster.Name+"."+more(unsaid))
		unsaid = 0
	}
	if was.Status == n.Status {
		return
	}
	message := "Node condition Ready changed to " + conditionOf(Status(n.Status)) + "."
	if why != "" {
		message += " " + text.Clip(why, maxMessage)
	}
	r.history(n, eventFor(Status(n.Status)), was.Status, n.Status, message+more(unsaid))
	r.offline(n, unsaid)
}

func (r *record) offline(n store.Node, unsaid int) {
	if Status(n.Status) == Unknown {
		r.note(n, "offline", "The node "+n.Name+" of the cluster "+r.t.cluster.Name+" went offline."+more(unsaid))
	}
}

// catchUp sums up what was left out of a node's history.
func (r *record) catchUp(name string, n store.Node, there bool) {
	if !there {
		r.gone = append(r.gone, name)
		return
	}
	s := r.once(name, func() said { return r.pace.sumUp(name, r.now) })
	if !s.ok {
		return
	}
	r.history(n, eventFor(Status(n.Status)), s.before, n.Status, "Node condition Ready is "+conditionOf(Status(n.Status))+"."+more(s.unsaid))
	if s.joined {
		r.note(n, "joined", "The machine "+n.Name+" joined the cluster "+r.t.cluster.Name+"."+more(s.unsaid))
	}
	r.offline(n, s.unsaid)
}

// left records that a node is gone.
func (r *record) left(n store.Node, deleters map[id.Node]actor.Actor) {
	r.gone = append(r.gone, n.Name)
	if who, ok := deleters[n.ID]; ok { // what a person does is always on record
		r.history(n, EventDeleted, n.Status, "", deletedMessage)
		r.audit = append(r.audit, r.t.journal.Entry(who, deletedBy(r.t.cluster, n)))
		return
	}
	s := r.may(n.Name, n.Status, false)
	if !s.ok {
		return
	}
	r.history(n, EventDeleted, n.Status, "", "The node was removed from the cluster."+more(s.unsaid))
	r.note(n, "deleted", "The node "+n.Name+" was removed from the cluster "+r.t.cluster.Name+"."+more(s.unsaid))
}

func (r *record) history(n store.Node, e EventType, before, after, message string) {
	r.events = append(r.events, entry(r.now, r.t.deps.Random, n, e, before, after, message))
}

func (r *record) note(n store.Node, action, message string) {
	r.audit = append(r.audit, r.t.journal.Entry(actor.Process(), aboutNode(r.t.cluster, n, action, message)))
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

// lock makes whoever else writes the nodes of a cluster wait: a node's record
// is replaced whole, and has no version by which a stale one would show.
func lock(ctx context.Context, tx store.Tx, cluster id.Cluster) error {
	_, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), cluster)
	return err
}

func entry(now time.Time, random id.Random, n store.Node, e EventType, before, after, message string) store.NodeEvent {
	return store.NodeEvent{
		ID: id.New[id.NodeEventKind](now, random()), ClusterID: n.ClusterID, NodeID: n.ID, NodeName: n.Name,
		Type: string(e), OldStatus: before, NewStatus: after, Message: message, ObservedAt: now,
	}
}
