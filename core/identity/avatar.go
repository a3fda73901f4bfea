package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/kubebyon/kubebyon/core/journal"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Picture is a picture that somebody made sure of: what it says it is, and
// nothing besides.
type Picture struct {
	ContentType string
	Body        []byte
	At          func(u id.User, tag string) string // the path at which it is served
}

// SetAvatar makes a picture the one of the actor's own account, in place of the
// one before.
func (s *Service) SetAvatar(ctx context.Context, p Picture) (u store.User, err error) {
	who, err := actor.From(ctx)
	if err != nil {
		return u, err
	}
	sum := sha256.Sum256(p.Body)
	tag := hex.EncodeToString(sum[:16])
	err = s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		if u, err = tx.Users().Get(ctx, who.UserID); err != nil {
			return err
		}
		now := s.deps.Now()
		u.AvatarURL, u.UpdatedAt = p.At(u.ID, tag), now
		if err := tx.Users().Update(ctx, &u); err != nil {
			return err
		}
		if err := tx.Avatars().Put(ctx, store.Avatar{UserID: u.ID, Tag: tag, ContentType: p.ContentType, Body: p.Body, UpdatedAt: now}); err != nil {
			return err
		}
		return s.journal.Write(ctx, tx, journal.Event{
			Resource: "user", Action: "update_avatar", ResourceID: u.ID.String(), Message: "Changed the picture.",
		})
	})
	return u, signedOut(err)
}

// Avatar returns an account's picture to anybody who knows its tag, which only
// those do who may see the account; fault.NotFound.
func (s *Service) Avatar(ctx context.Context, i id.User, tag string) (a store.Avatar, err error) {
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		a, err = tx.Avatars().Get(ctx, i, tag)
		return err
	})
	return a, err
}
