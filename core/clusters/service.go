package clusters

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/once"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
)

// JobMessage is the type of the message that tells workers of a new job. Its
// body is a [JobNotice]. It is a hint: the job's row decides.
const JobMessage = "cluster.job.v1"

// JobNotice is the body of a JobMessage.
type JobNotice struct {
	JobID     id.Job     `json:"job_id"`
	ClusterID id.Cluster `json:"cluster_id"`
}

// Deps are what a Service cannot work without.
type Deps struct {
	Store       store.Store
	Seal        seal.Sealer
	Provisioner provision.Provisioner
	Catalog     provision.Catalog
	Now         func() time.Time
	Random      id.Random
	// CheckPassword confirms that the actor in ctx knows their password.
	CheckPassword func(ctx context.Context, password secret.Text) error
	// Committed is called after a change that the outbox tells of; it does not block.
	Committed func()
	// MaxPerUser limits how many live clusters a user may own; admins have no limit.
	MaxPerUser int
}

// Service is the only way for people to change clusters.
type Service struct {
	deps    Deps
	journal journal.Journal
	desk    once.Desk
}

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Service, error) {
	if d.Store == nil || d.Seal == nil || d.Provisioner == nil || d.Catalog == nil || d.Now == nil || d.Random == nil ||
		d.CheckPassword == nil || d.Committed == nil || d.MaxPerUser <= 0 {
		return nil, errors.New("clusters: every field of Deps must be set")
	}
	return &Service{
		deps:    d,
		journal: journal.Journal{Now: d.Now, Random: d.Random},
		desk:    once.Desk{Store: d.Store, Seal: d.Seal, Now: d.Now},
	}, nil
}

// Create records the wish for a cluster, with the operation and the job that
// will bring it about; nothing outside the store is touched here.
func (s *Service) Create(ctx context.Context, r Request) (store.Cluster, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return store.Cluster{}, err
	}
	now := s.deps.Now()
	c, err := newCluster(id.New[id.ClusterKind](now, s.deps.Random()), who.UserID, r, s.deps.Catalog.Versions(), now)
	if err != nil {
		return store.Cluster{}, err
	}
	out, err := once.Do(ctx, s.desk, who.UserID, func(ctx context.Context, tx store.Tx) (store.Cluster, error) {
		rec := c.rec // a retried transaction starts from the same record
		if err := s.checkQuota(ctx, tx, who); err != nil {
			return rec, err
		}
		if err := tx.Clusters().Insert(ctx, &rec); err != nil {
			return rec, err
		}
		return rec, s.ask(ctx, tx, rec, Create, "create_requested", "Asked for the cluster "+rec.Name+".")
	})
	if err == nil {
		s.deps.Committed()
	}
	return out, err
}

func (s *Service) checkQuota(ctx context.Context, tx store.Tx, who actor.Actor) error {
	if err := turn.Take(ctx, tx, turn.Owner(who.UserID), s.deps.Now()); err != nil {
		return err
	}
	if _, err := tx.Users().Get(ctx, who.UserID); errors.Is(err, fault.NotFound) {
		return fault.Unauthenticated.New("unauthenticated", "Sign in first.") // the account was removed meanwhile
	} else if err != nil {
		return err
	}
	if who.Role == actor.Admin {
		return nil
	}
	counts, err := tx.Clusters().CountByStatus(ctx, store.OwnedBy(who.UserID), string(Hosted))
	if err != nil {
		return fmt.Errorf("count clusters: %w", err)
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	if total >= s.deps.MaxPerUser {
		return fault.Conflict.New("quota_exceeded", "You have %d clusters, as many as you may have.", total)
	}
	return nil
}

// ask writes the operation, its job, the message that wakes a worker, and the
// audit event of a request about c.
func (s *Service) ask(ctx context.Context, tx store.Tx, c store.Cluster, t OperationType, action, message string) error {
	who, err := actor.From(ctx)
	if err != nil {
		return err
	}
	now := s.deps.Now()
	op := store.Operation{
		ID: id.New[id.OperationKind](now, s.deps.Random()), ClusterID: c.ID, Type: string(t),
		Status: string(Pending), Stage: string(provision.Queued), RequestedByUserID: who.UserID,
		Generation: c.Generation, CreatedAt: now, UpdatedAt: now,
	}
	if err := tx.Operations().Insert(ctx, op); err != nil {
		return fmt.Errorf("record operation: %w", err)
	}
	job := store.Job{
		ID: id.New[id.JobKind](now, s.deps.Random()), ClusterID: c.ID, OperationID: op.ID, Type: string(t),
		Status: string(Pending), NotBefore: atOnce, CreatedAt: now, UpdatedAt: now,
	}
	if err := tx.Jobs().Insert(ctx, job); err != nil {
		return fmt.Errorf("record job: %w", err)
	}
	body, err := json.Marshal(JobNotice{JobID: job.ID, ClusterID: c.ID})
	if err != nil {
		return fmt.Errorf("encode job notice: %w", err)
	}
	notice := store.OutboxMessage{ID: id.New[id.MessageKind](now, s.deps.Random()), Type: JobMessage, Key: c.ID.String(), At: now, Body: body}
	if err := tx.Outbox().Append(ctx, notice); err != nil {
		return fmt.Errorf("record message: %w", err)
	}
	return s.journal.Write(ctx, tx, about(c, action, message))
}

// atOnce is when a new job may run: always, even if the clock goes backwards.
var atOnce = time.Unix(0, 0).UTC() //nolint:gochecknoglobals // a constant

func about(c store.Cluster, action, message string) journal.Event {
	return journal.Event{
		Resource: "cluster", Action: action, ResourceID: c.ID.String(), Message: message,
		ClusterID: c.ID, ClusterName: c.Name,
	}
}

// Update changes what is wanted of a cluster. The snapshot changes at once, the
// rest follows. A change that changes nothing does nothing, but on a cluster in
// error it tries again.
func (s *Service) Update(ctx context.Context, i id.Cluster, set Settings) (out store.Cluster, err error) {
	err = s.changing(ctx, i, func(ctx context.Context, tx store.Tx, c *Cluster) error {
		if err := notHalfDeleted(ctx, tx, *c); err != nil {
			return err
		}
		changed, err := c.change(set, s.deps.Now())
		if err != nil {
			return err
		}
		if !changed {
			out = c.rec
			return nil
		}
		if err := tx.Clusters().Update(ctx, &c.rec); err != nil {
			return err
		}
		out = c.rec
		return s.ask(ctx, tx, c.rec, Update, "settings_update_requested", "Changed the settings of the cluster "+c.rec.Name+".")
	})
	return out, err
}

// notHalfDeleted refuses a cluster whose deletion failed: part of it may be gone,
// and an update would make a new and empty one under its name.
func notHalfDeleted(ctx context.Context, tx store.Tx, c Cluster) error {
	if c.Status() != Error {
		return nil
	}
	latest, err := tx.Operations().List(ctx, c.ID(), page.Query{Limit: 1})
	if err != nil {
		return fmt.Errorf("read the latest operation: %w", err)
	}
	if len(latest.Items) > 0 && latest.Items[0].Type == string(Delete) {
		return fault.Conflict.New("cluster_not_updatable", "Deleting the cluster has failed. Delete it again; it cannot be changed any more.")
	}
	return nil
}

// Delete begins the end of a cluster. Asking again while it goes is fine.
func (s *Service) Delete(ctx context.Context, i id.Cluster) (out store.Cluster, err error) {
	err = s.changing(ctx, i, func(ctx context.Context, tx store.Tx, c *Cluster) error {
		if c.Status() == Deleting {
			out = c.rec
			return nil
		}
		c.rec.Status, c.rec.LastErrorMessage, c.rec.UpdatedAt = string(Deleting), "", s.deps.Now()
		c.rec.Generation++
		if err := tx.Clusters().Update(ctx, &c.rec); err != nil {
			return err
		}
		out = c.rec
		return s.ask(ctx, tx, c.rec, Delete, "delete_requested", "Asked to delete the cluster "+c.rec.Name+".")
	})
	return out, err
}

// changing runs do on a cluster that the actor may change, locked.
func (s *Service) changing(ctx context.Context, i id.Cluster, do func(context.Context, store.Tx, *Cluster) error) error {
	who, scope, err := access.Reads(ctx)
	if err != nil {
		return err
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Clusters().GetForUpdate(ctx, scope, i)
		if err != nil {
			return err
		}
		if err := access.Manages(who, rec.OwnerUserID); err != nil {
			return err
		}
		if Origin(rec.Origin) == Imported {
			return errImported()
		}
		return do(ctx, tx, &Cluster{rec})
	})
	if err == nil {
		s.deps.Committed()
	}
	return err
}

func errImported() error {
	return fault.Conflict.New("cluster_imported", "This cluster is not run here. What is known of it is changed in the fleet.")
}

// Get returns one cluster.
func (s *Service) Get(ctx context.Context, i id.Cluster) (out store.Cluster, err error) {
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return out, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.Clusters().Get(ctx, scope, i)
		return err
	})
	return out, err
}

// List returns the clusters that the actor may see, newest first.
func (s *Service) List(ctx context.Context, f store.ClusterFilter, q page.Query) (out page.Of[store.Cluster], err error) {
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return out, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.Clusters().List(ctx, scope, f, q.Clamp())
		return err
	})
	return out, err
}

// History is what was asked of a cluster and what became of it.
type History struct {
	Operations page.Of[store.Operation]
	Jobs       page.Of[store.Job]
}

// Operations returns a cluster's latest operations and jobs.
func (s *Service) Operations(ctx context.Context, i id.Cluster, limit int) (h History, err error) {
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return h, err
	}
	q := page.Query{Limit: limit}.Clamp()
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.Clusters().Get(ctx, scope, i); err != nil {
			return err
		}
		if h.Operations, err = tx.Operations().List(ctx, i, q); err != nil {
			return err
		}
		h.Jobs, err = tx.Jobs().List(ctx, store.JobFilter{ClusterID: i}, q)
		return err
	})
	return h, err
}

// Jobs returns the jobs of all clusters, newest first, for admins. Of deleted
// clusters too: how they went is among the things to find out.
func (s *Service) Jobs(ctx context.Context, f store.JobFilter, q page.Query) (out page.Of[store.Job], err error) {
	if _, err := access.Administers(ctx); err != nil {
		return out, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.Jobs().List(ctx, f, q.Clamp())
		return err
	})
	return out, err
}

// Access is what somebody needs to use a cluster.
type Access struct {
	Cluster    store.Cluster
	Kubeconfig secret.Text
}

// Kubeconfig gives the administrator's kubeconfig to somebody who may manage
// the cluster and knows their password. It is audited before it is given.
func (s *Service) Kubeconfig(ctx context.Context, i id.Cluster, password secret.Text) (Access, error) {
	if password.IsZero() {
		var check fault.Check
		check.That(false, "body.password", "is required")
		return Access{}, check.Err()
	}
	who, err := actor.From(ctx)
	if err != nil {
		return Access{}, err
	}
	c, err := s.Get(ctx, i)
	if err != nil {
		return Access{}, err
	}
	if err := access.Manages(who, c.OwnerUserID); err != nil {
		return Access{}, err
	}
	if err := s.deps.CheckPassword(ctx, password); err != nil {
		return Access{}, err
	}
	if Origin(c.Origin) == Imported {
		return Access{}, errImported()
	}
	if c.KubeconfigAvailableAt == nil || c.Status == string(Deleting) {
		return Access{}, kubeconfigPending()
	}
	kubeconfig, err := s.deps.Provisioner.Kubeconfig(ctx, i)
	if errors.Is(err, fault.Unavailable) || errors.Is(err, fault.NotFound) {
		return Access{}, kubeconfigPending()
	}
	if err != nil {
		return Access{}, fmt.Errorf("read kubeconfig: %w", err)
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		return s.journal.Write(ctx, tx, about(c, "kubeconfig_read", "Read the kubeconfig of the cluster "+c.Name+"."))
	})
	if err != nil {
		return Access{}, err
	}
	return Access{Cluster: c, Kubeconfig: kubeconfig}, nil
}

func kubeconfigPending() error {
	return fault.Conflict.New("kubeconfig_pending", "The kubeconfig is not there yet. Wait until the cluster is reachable.")
}

// Versions are the Kubernetes versions that a new cluster may have, newest first.
func (s *Service) Versions() []provision.Version { return s.deps.Catalog.Versions() }

// Prune forgets answers to repeated requests that are too old to be asked for,
// at most limit of them.
func (s *Service) Prune(ctx context.Context, limit int) (n int, err error) {
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err = tx.Replies().DeleteOlderThan(ctx, s.deps.Now().Add(-once.Remembered), limit)
		return err
	})
	return n, err
}
