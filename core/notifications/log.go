package notifications

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// kept is for how long the log tells of a delivery that is over.
const kept = 30 * 24 * time.Hour

// Deliveries pages through the log, for administrators.
func (s *Service) Deliveries(ctx context.Context, f store.DeliveryFilter, q page.Query) (out page.Of[store.Delivery], err error) {
	if _, err := access.Administers(ctx); err != nil {
		return out, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.Deliveries().List(ctx, f, q.Clamp())
		return err
	})
	return out, err
}

// Prune removes deliveries from the log that were over long ago, at most limit
// of them.
func (s *Service) Prune(ctx context.Context, limit int) (n int, err error) {
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		n, err = tx.Deliveries().DeleteOlderThan(ctx, s.deps.Now().Add(-kept), limit)
		return err
	})
	return n, err
}
