package identity

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
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
	"github.com/kubebyon/kubebyon/ports/store"
)

// Limits of API keys.
const (
	MaxAPIKeys    = 100  // of an account, those that have run out among them
	MaxAPIKeyDays = 3650 // of a key that runs out
	shownOfAPIKey = 10   // characters of its value, to tell it by: six random ones of 43
)

// apiKeyMark is what the value of every key begins with.
const apiKeyMark = "kbk_"

// MintedAPIKey is a new key with its value, which nobody will see again.
type MintedAPIKey struct {
	Key   store.APIKey
	Value string
}

// Secret is the value without what every key begins with.
func (m MintedAPIKey) Secret() string { return strings.TrimPrefix(m.Value, apiKeyMark) }

// CreateAPIKey makes a key that speaks for the actor's own account, for so many
// days; nil: until it is deleted. Only somebody who has signed in may make one.
// It fails with fault.Conflict, code too_many_api_keys, past [MaxAPIKeys].
func (s *Service) CreateAPIKey(ctx context.Context, name string, days *int64) (MintedAPIKey, error) {
	who, err := access.InPerson(ctx)
	if err != nil {
		return MintedAPIKey{}, err
	}
	m, err := s.draftAPIKey(who, name, days)
	if err != nil {
		return MintedAPIKey{}, err
	}
	out, err := once.Do(ctx, s.desk, who.UserID, func(ctx context.Context, tx store.Tx) (MintedAPIKey, error) {
		if err := turn.Take(ctx, tx, "api-keys/"+who.UserID.String(), m.Key.CreatedAt); err != nil {
			return m, err
		}
		n, err := tx.APIKeys().CountOfUser(ctx, who.UserID)
		if err != nil {
			return m, err
		}
		if n >= MaxAPIKeys {
			return m, fault.Conflict.New("too_many_api_keys", "You have %d API keys, as many as you may have. Delete one first.", n)
		}
		last, err := tx.APIKeys().LastNumber(ctx, who.UserID)
		if err != nil {
			return m, err
		}
		m.Key.Number = last + 1
		if err := tx.APIKeys().Insert(ctx, m.Key); err != nil {
			return m, err
		}
		return m, s.journal.Write(ctx, tx, journal.Event{
			Resource: "api_key", Action: "create", ResourceID: m.Key.ID.String(), Message: "Made the API key " + m.Key.Name + ".",
		})
	})
	return out, signedOut(err)
}

func (s *Service) draftAPIKey(who actor.Actor, name string, days *int64) (MintedAPIKey, error) {
	var c fault.Check
	name = checkName(&c, name)
	c.That(days == nil || *days >= 1 && *days <= MaxAPIKeyDays, "body.expires_in_days", "must be between 1 and %d", MaxAPIKeyDays)
	if err := c.Err(); err != nil {
		return MintedAPIKey{}, err
	}
	raw, err := s.deps.Secret()
	if err != nil {
		return MintedAPIKey{}, fmt.Errorf("make API key: %w", err)
	}
	value := secret.New(apiKeyMark + base64.RawURLEncoding.EncodeToString(raw[:]))
	now := s.deps.Now()
	k := store.APIKey{
		ID: id.New[id.APIKeyKind](now, s.deps.Random()), UserID: who.UserID, Name: name,
		DisplayPrefix: strings.Clone(value.Reveal()[:shownOfAPIKey]), ValueHash: hashOf(value), CreatedAt: now,
	}
	if days != nil {
		k.ExpiresAt = new(now.Add(time.Duration(*days) * 24 * time.Hour))
	}
	return MintedAPIKey{Key: k, Value: value.Reveal()}, nil
}

// APIKeys pages through the keys of the actor's own account.
func (s *Service) APIKeys(ctx context.Context, q page.Query) (out page.Of[store.APIKey], err error) {
	who, err := actor.From(ctx)
	if err != nil {
		return out, err
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		out, err = tx.APIKeys().List(ctx, who.UserID, q.Clamp())
		return err
	})
	return out, err
}

// DeleteAPIKey ends a key of the actor's own account at once. One that is gone,
// and one of somebody else, is passed by. Only somebody who has signed in may
// delete one.
func (s *Service) DeleteAPIKey(ctx context.Context, i id.APIKey) error {
	who, err := access.InPerson(ctx)
	if err != nil {
		return err
	}
	return s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		there, err := tx.APIKeys().Delete(ctx, who.UserID, i)
		if err != nil || !there {
			return err
		}
		return s.journal.Write(ctx, tx, journal.Event{
			Resource: "api_key", Action: "delete", ResourceID: i.String(), Message: "Deleted an API key.",
		})
	})
}

// APIKey returns who an API key speaks for, and has its use put on record; see
// [Service.RecordKeyUses].
func (s *Service) APIKey(ctx context.Context, value secret.Text) (actor.Actor, store.User, error) {
	return s.apiKey(ctx, value, nil)
}

// NumberedAPIKey is [Service.APIKey] for clients that spell a key as its number
// and its secret. Both must be right.
func (s *Service) NumberedAPIKey(ctx context.Context, number int64, rest secret.Text) (actor.Actor, store.User, error) {
	if rest.IsZero() || number < 1 {
		return actor.Actor{}, store.User{}, unauthenticated()
	}
	return s.apiKey(ctx, secret.New(apiKeyMark+rest.Reveal()), &number)
}

// apiKey looks a key up by the hash of its whole value, which takes no longer for
// a value that is nearly right.
func (s *Service) apiKey(ctx context.Context, value secret.Text, number *int64) (actor.Actor, store.User, error) {
	var k store.APIKey
	var u store.User
	err := s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		k, u, err = tx.APIKeys().ByValueHash(ctx, hashOf(value))
		return err
	})
	if err != nil {
		return actor.Actor{}, u, unknownCredential(err)
	}
	now := s.deps.Now()
	if number != nil && *number != k.Number {
		return actor.Actor{}, store.User{}, unauthenticated()
	}
	if u.Status != string(Active) || (k.ExpiresAt != nil && !now.Before(*k.ExpiresAt)) {
		return actor.Actor{}, store.User{}, unauthenticated()
	}
	s.uses.note(k, now)
	return personBy(u, actor.ByAPIKey), u, nil
}
