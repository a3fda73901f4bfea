package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Purpose is what the credential of a cluster is sealed for: it opens for no
// other.
func Purpose(c id.Cluster) string { return "fleet/" + c.String() }

// Credentials opens the credentials of imported clusters. It is for the platform
// itself: what it returns is not shown to anybody.
type Credentials struct {
	Store  store.Store
	Seal   seal.Sealer
	Reader tenant.Reader
}

// inside is what is kept of the credential of the cluster that the server runs
// in. The credential itself is replaced every hour.
const inside = "in-cluster"

func (s *Service) seal(ctx context.Context, c id.Cluster, kind string, to tenant.Context) ([]byte, error) {
	plain := to.Kubeconfig.Reveal()
	if kind == InCluster {
		plain = inside
	}
	sealed, err := s.deps.Seal.Seal(ctx, Purpose(c), []byte(plain))
	if err != nil {
		return nil, fmt.Errorf("seal the credential: %w", err)
	}
	return sealed, nil
}

// Of returns the kubeconfig of an imported cluster; ok is false for one that is
// not imported, or not there.
func (c Credentials) Of(ctx context.Context, cluster id.Cluster) (kubeconfig secret.Text, ok bool, err error) {
	var sealed []byte
	err = c.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		sealed, err = tx.Fleet().Sealed(ctx, cluster)
		return err
	})
	if errors.Is(err, fault.NotFound) {
		return secret.Text{}, false, nil
	}
	if err != nil {
		return secret.Text{}, false, err
	}
	plain, err := c.Seal.Open(ctx, Purpose(cluster), sealed)
	if err != nil {
		return secret.Text{}, true, fault.Unavailable.New("credential_unreadable", "The credential of this cluster cannot be opened with the server's keys. Register it again.").Because(err)
	}
	if string(plain) == inside {
		to, err := c.Reader.InCluster()
		return to.Kubeconfig, true, err
	}
	return secret.New(string(plain)), true, nil
}
