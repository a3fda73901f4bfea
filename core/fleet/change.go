package fleet

import (
	"context"
	"errors"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Change is what is to be different of a cluster. Nil fields stay as they are.
type Change struct {
	Name          *string // of an imported one
	Description   *string
	PrometheusURL *string
	Enabled       *bool
	Default       *bool
	Credential    *Credential // of an imported one
}

// Change changes what the fleet keeps of a cluster. Of hosted ones it changes
// neither name nor credential: they are for package clusters, and provisioning.
func (s *Service) Change(ctx context.Context, number int64, to Change) (m store.Member, err error) {
	who, err := registers(ctx)
	if err != nil {
		return m, err
	}
	var into tenant.Context
	var kind string
	if to.Credential != nil {
		if into, kind, err = s.resolve(who, *to.Credential); err != nil {
			return m, err
		}
	}
	_, scope, err := access.Reads(ctx)
	if err != nil {
		return m, err
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if m, err = tx.Fleet().ByNumber(ctx, scope, number); err != nil {
			return err
		}
		if err := to.check(m); err != nil {
			return err
		}
		if err := s.rename(ctx, tx, &m, to, into); err != nil {
			return err
		}
		if err := s.describe(ctx, tx, &m, to, into, kind); err != nil {
			return err
		}
		return s.journal.Write(ctx, tx, about(m.Cluster, "registration_updated", "Changed the registration of the cluster "+m.Cluster.Name+"."))
	})
	if err == nil {
		s.deps.Committed()
	}
	m.Entry.Sealed = nil
	return m, err
}

func (to Change) check(m store.Member) error {
	hosted := clusters.Origin(m.Cluster.Origin) != clusters.Imported
	if hosted && (to.Credential != nil || to.Name != nil && *to.Name != m.Cluster.VclusterName) {
		return fault.Conflict.New("cluster_hosted", "This cluster is hosted here: its name and its credential are not set by hand.")
	}
	var check fault.Check
	name := m.Cluster.VclusterName
	if to.Name != nil {
		name = *to.Name
	}
	if hosted {
		name = "hosted"
	}
	checkText(&check, name, or(to.Description), or(to.PrometheusURL))
	return check.Err()
}

func or(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// rename writes what the cluster's own record has of it.
func (s *Service) rename(ctx context.Context, tx store.Tx, m *store.Member, to Change, into tenant.Context) error {
	if clusters.Origin(m.Cluster.Origin) != clusters.Imported || to.Name == nil && to.Credential == nil {
		return nil
	}
	rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), m.Cluster.ID)
	if err != nil {
		return err
	}
	c := clusters.Of(rec)
	if to.Name != nil {
		c.Rename(*to.Name, s.deps.Now())
	}
	if to.Credential != nil {
		c.Repoint(into.Server, s.deps.Now())
	}
	m.Cluster = c.Record()
	return tx.Clusters().Update(ctx, &m.Cluster)
}

func (s *Service) describe(ctx context.Context, tx store.Tx, m *store.Member, to Change, into tenant.Context, kind string) (err error) {
	e := &m.Entry
	if to.Default != nil && *to.Default && !e.Default {
		if err := tx.Fleet().NoDefault(ctx, s.deps.Now()); err != nil {
			return err
		}
	}
	set(&e.Description, to.Description)
	set(&e.PrometheusURL, to.PrometheusURL)
	set(&e.Default, to.Default)
	if to.Enabled != nil {
		e.Disabled = !*to.Enabled
	}
	if to.Credential != nil {
		e.Credential, e.CredentialExpiresAt = kind, into.ExpiresAt
		if e.Sealed, err = s.seal(ctx, e.ClusterID, kind, into); err != nil {
			return err
		}
	}
	e.UpdatedAt = s.deps.Now()
	return tx.Fleet().Put(ctx, e)
}

func set[T any](field, asked *T) {
	if asked != nil {
		*field = *asked
	}
}

// Remove ends a cluster's part in the fleet: of an imported one its registration
// goes, with its credential and what was seen of it; a hosted one is deleted.
func (s *Service) Remove(ctx context.Context, number int64) error {
	return s.remove(ctx, number, false)
}

// RemoveOther is [Service.Remove] of any but the default cluster: fault.Conflict,
// code cluster_default, for that one.
func (s *Service) RemoveOther(ctx context.Context, number int64) error {
	return s.remove(ctx, number, true)
}

func (s *Service) remove(ctx context.Context, number int64, spareDefault bool) error {
	m, err := s.Get(ctx, number)
	if err != nil {
		return err
	}
	if spareDefault && m.Entry.Default {
		return isDefault()
	}
	if clusters.Origin(m.Cluster.Origin) != clusters.Imported {
		_, err := s.deps.Clusters.Delete(ctx, m.Cluster.ID)
		return err
	}
	if _, err := registers(ctx); err != nil {
		return err
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), m.Cluster.ID)
		if err != nil {
			return err
		}
		if spareDefault { // it may have become the default just now
			now, err := tx.Fleet().Get(ctx, store.Everyone(), rec.ID)
			if err != nil {
				return err
			}
			if now.Entry.Default {
				return isDefault()
			}
		}
		c := clusters.Of(rec)
		c.Vanish(s.deps.Now())
		rec = c.Record()
		if err := errors.Join(tx.Clusters().Update(ctx, &rec), tx.Fleet().Remove(ctx, rec.ID)); err != nil {
			return err
		}
		if _, err := tx.Nodes().DeleteOfCluster(ctx, rec.ID); err != nil {
			return err
		}
		return s.journal.Write(ctx, tx, about(rec, "unregistered", "Removed the registration of the cluster "+rec.Name+"."))
	})
	if err == nil {
		s.deps.Committed()
	}
	return err
}

func isDefault() error {
	return fault.Conflict.New("cluster_default", "The default cluster cannot be removed. Make another one the default first.")
}

func disabled() error {
	return fault.Conflict.New("cluster_disabled", "This cluster is disabled. Enable it first.")
}
