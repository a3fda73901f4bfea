package identity

import (
	"context"
	"fmt"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/turn"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Leave ends the actor's own account for good, with its sessions, API keys and
// all that is the person's; see store.Users.Remove. It needs a session, and the
// password where the account has one. It fails with fault.Conflict, code
// clusters_exist, as long as there are clusters, those being deleted among them,
// and code last_admin for the only administrator.
func (s *Service) Leave(ctx context.Context, password secret.Text) error {
	who, err := access.InPerson(ctx)
	if err != nil {
		return err
	}
	checked, err := s.Me(ctx)
	if err != nil {
		return err
	}
	if checked.PasswordHash != "" {
		var c fault.Check
		c.That(!password.IsZero(), "body.password", "must be the account's password")
		if err := c.Err(); err != nil {
			return err
		}
		if err := s.CheckPassword(ctx, password); err != nil {
			return err
		}
	}
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		for _, name := range []string{turn.Admins, turn.Owner(who.UserID)} {
			if err := turn.Take(ctx, tx, name, s.deps.Now()); err != nil {
				return err
			}
		}
		u, err := tx.Users().Get(ctx, who.UserID)
		if err != nil {
			return err
		}
		if u.Status != string(Active) || u.PasswordHash != checked.PasswordHash {
			return unauthenticated() // what ended the session meanwhile ends this too
		}
		if err := mayLeave(ctx, tx, u); err != nil {
			return err
		}
		if err := tx.Users().Remove(ctx, u.ID, s.deps.Now()); err != nil {
			return err
		}
		return s.journal.Write(ctx, tx, journal.Event{
			Resource: "user", Action: "delete_current_user", ResourceID: u.ID.String(), Message: "Deleted their account.",
		})
	})
	return signedOut(err)
}

func mayLeave(ctx context.Context, tx store.Tx, u store.User) error {
	if u.Role == string(actor.Admin) {
		n, err := tx.Users().CountByRole(ctx, u.Role)
		if err != nil {
			return err
		}
		if n <= 1 {
			return fault.Conflict.New("last_admin", "You are the only administrator. Make somebody else one first.")
		}
	}
	counts, err := tx.Clusters().CountByStatus(ctx, store.OwnedBy(u.ID), "")
	if err != nil {
		return fmt.Errorf("count clusters: %w", err)
	}
	for _, n := range counts {
		if n > 0 {
			return fault.Conflict.New("clusters_exist", "You have clusters. Delete them first, and wait until they are gone.")
		}
	}
	return nil
}
