package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Deps are what a Service cannot work without.
type Deps struct {
	Store  store.Store
	Door   tenants.Door
	Now    func() time.Time
	Random id.Random
}

// Service is what people see of nodes and do to them.
type Service struct {
	deps    Deps
	journal journal.Journal
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Service, error) {
	if d.Store == nil || d.Door.Provisioner == nil || d.Door.Connector == nil || d.Now == nil || d.Random == nil {
		return nil, errors.New("nodes: every field of Deps must be set")
	}
	return &Service{deps: d, journal: journal.Journal{Now: d.Now, Random: d.Random}}, nil
}

// List returns the nodes that the actor may see, newest first.
func (s *Service) List(ctx context.Context, f store.NodeFilter, q page.Query) (out page.Of[store.Node], err error) {
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return out, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.Nodes().List(ctx, scope, f, q.Clamp())
		return err
	})
	return out, err
}

// Get returns one node.
func (s *Service) Get(ctx context.Context, i id.Node) (out store.Node, err error) {
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return out, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.Nodes().Get(ctx, scope, i)
		return err
	})
	return out, err
}

// Events returns the health history that the actor may see, newest first.
func (s *Service) Events(ctx context.Context, f store.NodeEventFilter, q page.Query) (out page.Of[store.NodeEvent], err error) {
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return out, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.NodeEvents().List(ctx, scope, f, q.Clamp())
		return err
	})
	return out, err
}

// SetUnschedulable cordons or uncordons a node.
func (s *Service) SetUnschedulable(ctx context.Context, i id.Node, unschedulable bool) (store.Node, error) {
	n, c, in, err := s.open(ctx, i)
	if err != nil {
		return store.Node{}, err
	}
	seen, err := in.SetUnschedulable(ctx, n.Name, unschedulable)
	if err != nil {
		return store.Node{}, err
	}
	action, message := "cordoned", "Cordoned the node "+n.Name+"."
	if !unschedulable {
		action, message = "uncordoned", "Uncordoned the node "+n.Name+"."
	}
	out, err := s.record(ctx, c, n, seen, action, message)
	if err != nil {
		return out, err
	}
	return out, s.correct(ctx, c, in, out)
}

// corrections is how often a record is corrected in a row; whoever changes the
// node meanwhile corrects it too.
const corrections = 5

// correct makes the record tell what the tenant shows. Of two who cordon and
// uncordon at one time, each writes what it has done, and the one whose word the
// tenant heard last need not be the last to write. The watch does not mend that:
// to it nothing has changed since.
func (s *Service) correct(ctx context.Context, c store.Cluster, in tenant.Tenant, written store.Node) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepFor)
	defer cancel()
	for range corrections {
		seen, err := in.Node(ctx, written.Name)
		if err != nil || seen.Unschedulable == written.Unschedulable {
			return nil // what was asked is done; a tenant that is silent now is read anew when it answers
		}
		written.Unschedulable = seen.Unschedulable
		err = s.keep(ctx, c.ID, func(ctx context.Context, tx store.Tx) error {
			last, err := tx.Nodes().Get(ctx, store.Everyone(), written.ID)
			if errors.Is(err, fault.NotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			last.Unschedulable, last.UpdatedAt = seen.Unschedulable, s.deps.Now()
			return tx.Nodes().Update(ctx, last)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// open finds a node and the way to it, for somebody who may change it.
func (s *Service) open(ctx context.Context, i id.Node) (n store.Node, c store.Cluster, in tenant.Tenant, err error) {
	_, scope, err := access.Reads(ctx) // operators write to the nodes of all
	if err != nil {
		return n, c, nil, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		if n, err = tx.Nodes().Get(ctx, scope, i); err != nil {
			return err
		}
		c, err = tx.Clusters().Get(ctx, scope, n.ClusterID)
		return err
	})
	if err != nil {
		return n, c, nil, err
	}
	in, err = s.deps.Door.Open(ctx, c.ID)
	return n, c, in, err
}

// record writes down what was done to a node and how it looks since. The watch
// would tell too, but whoever asked wants to read their own write.
func (s *Service) record(ctx context.Context, c store.Cluster, n store.Node, seen tenant.Node, action, message string) (out store.Node, err error) {
	who, err := actor.From(ctx)
	if err != nil {
		return n, err
	}
	event := s.journal.Entry(who, aboutNode(c, n, action, message))
	err = s.keep(ctx, c.ID, func(ctx context.Context, tx store.Tx) error {
		last, err := tx.Nodes().Get(ctx, store.Everyone(), n.ID)
		switch {
		case errors.Is(err, fault.NotFound):
			out = n // went meanwhile; what was done is on record all the same
			out.Unschedulable = seen.Unschedulable
		case err != nil:
			return err
		default:
			out = last
			out.Unschedulable, out.UpdatedAt = seen.Unschedulable, s.deps.Now()
			if err := tx.Nodes().Update(ctx, out); err != nil {
				return err
			}
		}
		return tx.Audit().Append(ctx, event)
	})
	return out, err
}

// keepFor is how long the record of what has been done may take.
const keepFor = 10 * time.Second

// keep writes down what has happened to a node, whatever has become of the
// client's connection since. An event is made before, so that it has one id: a
// commit whose answer was lost is known by it.
func (s *Service) keep(ctx context.Context, cluster id.Cluster, write func(context.Context, store.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepFor)
	defer cancel()
	for tries, wait := 1, 50*time.Millisecond; ; tries, wait = tries+1, 2*wait {
		err := s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
			if err := lock(ctx, tx, cluster); err != nil && !errors.Is(err, fault.NotFound) {
				return err
			}
			return write(ctx, tx)
		})
		// What has happened cannot be asked for again: a store that is away for a
		// moment must not lose it.
		if tries > 1 && fault.CodeOf(err) == "already_exists" {
			return nil // it was written after all
		}
		if !errors.Is(err, fault.Unavailable) || !bell.Wait(ctx, nil, wait) {
			return err
		}
	}
}

// Limits of a drain.
const (
	DefaultDrainTimeout = 2 * time.Minute
	MaxDrainTimeout     = 15 * time.Minute
)

// Drain moves the pods of a node elsewhere and returns what went and what was
// left alone. On fault.Timeout the report tells how far it came.
func (s *Service) Drain(ctx context.Context, i id.Node, o tenant.DrainOptions) (store.Node, tenant.DrainReport, error) {
	var check fault.Check
	if o.Timeout == 0 {
		o.Timeout = DefaultDrainTimeout
	}
	check.That(o.Timeout > 0 && o.Timeout <= MaxDrainTimeout, "body.timeout_seconds", "must be between 1 and %d", int(MaxDrainTimeout.Seconds()))
	check.That(o.GracePeriod == nil || (*o.GracePeriod >= 0 && *o.GracePeriod <= time.Hour), "body.grace_period_seconds", "must be between 0 and 3600")
	if err := check.Err(); err != nil {
		return store.Node{}, tenant.DrainReport{}, err
	}
	n, c, in, err := s.open(ctx, i)
	if err != nil {
		return n, tenant.DrainReport{}, err
	}
	report, err := in.Drain(ctx, n.Name, o)
	if o.DryRun || (errors.Is(err, fault.Unavailable) && len(report.Evicted) == 0) {
		return n, report, err // nothing was done that a record would be of
	}
	who, werr := actor.From(ctx)
	if werr == nil {
		event := s.journal.Entry(who, drained(c, n, report, err))
		werr = s.keep(ctx, c.ID, func(ctx context.Context, tx store.Tx) error { return tx.Audit().Append(ctx, event) })
	}
	if last, gerr := s.Get(ctx, i); gerr == nil {
		n = last
		n.Unschedulable = n.Unschedulable || err == nil
	}
	return n, report, errors.Join(err, werr)
}

func drained(c store.Cluster, n store.Node, report tenant.DrainReport, err error) journal.Event {
	e := aboutNode(c, n, "drained", fmt.Sprintf("Drained the node %s: %d pods evicted.", n.Name, len(report.Evicted)))
	if err != nil {
		e.Result, e.Message = journal.Failure, fmt.Sprintf("Draining the node %s did not finish: %d pods evicted.", n.Name, len(report.Evicted))
	}
	return e
}

// Delete removes a node from its cluster.
func (s *Service) Delete(ctx context.Context, i id.Node) error {
	n, c, in, err := s.open(ctx, i)
	if err != nil {
		return err
	}
	who, err := actor.From(ctx)
	if err != nil {
		return err
	}
	if err := s.announce(ctx, n, who); err != nil {
		return fmt.Errorf("announce the deletion of a node: %w", err)
	}
	if err := in.DeleteNode(ctx, n.Name); err != nil && !errors.Is(err, fault.NotFound) {
		if undecided(err) {
			return err // it may have happened: whoever finds the node gone knows who asked
		}
		return errors.Join(err, s.recall(ctx, n, who))
	}
	return s.keep(ctx, c.ID, func(ctx context.Context, tx store.Tx) error {
		mine, err := settled(ctx, tx, c.ID, []id.Node{n.ID}, s.deps.Now())
		if err != nil {
			return err
		}
		rec, err := tx.Nodes().Get(ctx, store.Everyone(), n.ID)
		gone := errors.Is(err, fault.NotFound)
		if err != nil && !gone {
			return err
		}
		if _, announced := mine[n.ID]; gone && !announced {
			return nil // whoever removed the snapshot has said so, in this name if it was this call's doing
		}
		if !gone {
			if err := tx.Nodes().Delete(ctx, n.ID); err != nil {
				return err
			}
			if err := tx.NodeEvents().Append(ctx, entry(s.deps.Now(), s.deps.Random, rec, EventDeleted, rec.Status, "", deletedMessage)); err != nil {
				return err
			}
		}
		return s.journal.WriteAs(ctx, tx, who, deletedBy(c, n))
	})
}

// undecided reports whether what failed may have been done all the same.
func undecided(err error) bool {
	return errors.Is(err, fault.Timeout) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

const deletedMessage = "The node was deleted."

func deletedBy(c store.Cluster, n store.Node) journal.Event {
	return aboutNode(c, n, "deleted", "Deleted the node "+n.Name+".")
}

func aboutNode(c store.Cluster, n store.Node, action, message string) journal.Event {
	return journal.Event{
		Resource: "node", Action: action, ResourceID: n.ID.String(), Message: message,
		ClusterID: c.ID, ClusterName: c.Name, NodeName: n.Name,
	}
}
