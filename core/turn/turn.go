// Package turn keeps transactions apart that would each be right alone and
// wrong together, such as two that count before they insert.
package turn

import (
	"context"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Owner names the turn of whoever adds to what a user owns, or sees to it that
// the user owns nothing.
func Owner(u id.User) string { return "quota/" + u.String() }

// Fleet is the turn of whoever fills an empty fleet.
const Fleet = "fleet"

// Admins is the turn of whoever changes how many administrators there are.
const Admins = "admins"

// Take waits until no other transaction has taken the turn of that name, and
// keeps it until this one ends. Take it before reading what the turn guards.
//
// It is a lease that everybody shares a holder of: nobody is refused, but the
// row that it is kept in is written, and so locked until the end.
func Take(ctx context.Context, tx store.Tx, name string, now time.Time) error {
	if _, err := tx.Leases().Acquire(ctx, []string{"turn/" + name}, "turn", now, now); err != nil {
		return fmt.Errorf("wait for a turn: %w", err)
	}
	return nil
}
