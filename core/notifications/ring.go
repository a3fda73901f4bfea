package notifications

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Ringing returns s, which calls ring when a transaction has committed in which
// messages were written: whoever writes them need not know who delivers them, and
// cannot forget to say so.
func Ringing(s store.Store, ring func()) store.Store { return ringing{s, ring} }

type ringing struct {
	store.Store
	ring func()
}

func (r ringing) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	var wrote bool
	err := r.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		wrote = false // it may be done again
		return do(ctx, listening{tx, &wrote})
	})
	if wrote {
		r.ring() // also after an error: a commit that got no answer may have happened
	}
	return err
}

type listening struct {
	store.Tx
	wrote *bool
}

func (l listening) Deliveries() store.Deliveries { return noted{l.Tx.Deliveries(), l.wrote} }

type noted struct {
	store.Deliveries
	wrote *bool
}

func (n noted) Insert(ctx context.Context, all ...store.Delivery) error {
	*n.wrote = *n.wrote || len(all) > 0
	return n.Deliveries.Insert(ctx, all...)
}

func (n noted) Revive(ctx context.Context, i id.Delivery, now time.Time) (bool, error) {
	*n.wrote = true
	return n.Deliveries.Revive(ctx, i, now)
}
