package memstore

import (
	"bytes"
	"context"
	"maps"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// banned accounts do not count.
const banned = "banned"

func notFound(what, sentence string) error {
	return fault.NotFound.New(what+"_not_found", "%s", sentence)
}

func exists() error {
	return fault.Conflict.New("already_exists", "It exists already.")
}

func stale() error {
	return fault.Conflict.New("stale_version", "Somebody else has changed it meanwhile. Read it again first.")
}

type users struct{ u *unit }

func (s users) Insert(ctx context.Context, rec store.User) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if err := s.free(rec); err != nil {
		return err
	}
	if _, taken := s.u.users.get(rec.ID); taken {
		return exists()
	}
	rec.Version = 1
	s.u.users.put(s.u, rec.ID, rec)
	return nil
}

func (s users) free(rec store.User) error {
	if _, taken := s.u.users.find(func(u store.User) bool { return u.Email == rec.Email && u.ID != rec.ID }); taken {
		return fault.Conflict.New("email_taken", "There is an account with this e-mail address already.")
	}
	return nil
}

func (s users) Get(ctx context.Context, i id.User) (store.User, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.User{}, err
	}
	u, ok := s.u.users.get(i)
	if !ok {
		return store.User{}, noUser()
	}
	return u, nil
}

func noUser() error { return notFound("user", "There is no such account.") }

func (s users) ByEmail(ctx context.Context, email string) (store.User, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.User{}, err
	}
	if err := plain(email); err != nil {
		return store.User{}, err
	}
	u, ok := s.u.users.find(func(u store.User) bool { return u.Email == email })
	if !ok {
		return store.User{}, noUser()
	}
	return u, nil
}

func (s users) Update(ctx context.Context, rec *store.User) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	next, err := storable(*rec)
	if err != nil {
		return err
	}
	have, ok := s.u.users.get(rec.ID)
	if !ok || have.Version != rec.Version {
		return stale()
	}
	if err := s.free(next); err != nil {
		return err
	}
	next.Version++
	next.LastLoginAt = have.LastLoginAt // SetLastLogin's alone: it does not raise Version
	s.u.users.put(s.u, next.ID, next)
	rec.Version = next.Version
	return nil
}

func (s users) SetLastLogin(ctx context.Context, i id.User, at time.Time) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if u, ok := s.u.users.get(i); ok {
		at = at.UTC().Truncate(time.Millisecond)
		u.LastLoginAt = &at
		s.u.users.put(s.u, i, u)
	}
	return nil
}

func (s users) List(ctx context.Context, q page.Query) (page.Of[store.User], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.User]{}, err
	}
	return newest(maps.Values(s.u.users.rows), q, func(u store.User) string { return u.ID.String() },
		func(store.User) bool { return true })
}

func (s users) CountByRole(ctx context.Context, role string) (n int, err error) {
	if err := s.u.reads(ctx); err != nil {
		return 0, err
	}
	for _, u := range s.u.users.rows {
		if u.Role == role && u.Status != banned {
			n++
		}
	}
	return n, plain(role)
}

type sessions struct{ u *unit }

func (s sessions) Insert(ctx context.Context, rec store.Session) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	_, taken := s.u.sessions.find(func(o store.Session) bool { return o.ID == rec.ID || bytes.Equal(o.TokenHash, rec.TokenHash) })
	if taken {
		return exists()
	}
	s.u.sessions.put(s.u, rec.ID, rec)
	return nil
}

func (s sessions) ByTokenHash(ctx context.Context, hash []byte) (store.Session, store.User, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Session{}, store.User{}, err
	}
	ses, ok := s.u.sessions.find(func(o store.Session) bool { return bytes.Equal(o.TokenHash, hash) })
	u, there := s.u.users.get(ses.UserID)
	if !ok || !there {
		return store.Session{}, store.User{}, notFound("session", "There is no such session.")
	}
	return ses, u, nil
}

func (s sessions) Extend(ctx context.Context, i id.Session, expiresAt time.Time) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if ses, ok := s.u.sessions.get(i); ok {
		ses.ExpiresAt = expiresAt.UTC().Truncate(time.Millisecond)
		s.u.sessions.put(s.u, i, ses)
	}
	return nil
}

func (s sessions) Delete(ctx context.Context, i id.Session) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	s.u.sessions.remove(s.u, i)
	return nil
}

func (s sessions) DeleteOfUser(ctx context.Context, user id.User, except id.Session) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	return s.u.sessions.removeSome(s.u, len(s.u.sessions.rows), func(o store.Session) bool {
		return o.UserID == user && o.ID != except
	}), nil
}

func (s sessions) DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	return s.u.sessions.removeSome(s.u, limit, func(o store.Session) bool {
		return o.ExpiresAt.Before(t) || o.EndsAt.Before(t)
	}), nil
}

type apiKeys struct{ u *unit }

func (s apiKeys) Insert(ctx context.Context, rec store.APIKey) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	_, taken := s.u.apiKeys.find(func(o store.APIKey) bool { return o.ID == rec.ID || bytes.Equal(o.ValueHash, rec.ValueHash) })
	if taken {
		return exists()
	}
	s.u.apiKeys.put(s.u, rec.ID, rec)
	return nil
}

func (s apiKeys) ByValueHash(ctx context.Context, hash []byte) (store.APIKey, store.User, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.APIKey{}, store.User{}, err
	}
	k, ok := s.u.apiKeys.find(func(o store.APIKey) bool { return bytes.Equal(o.ValueHash, hash) })
	u, there := s.u.users.get(k.UserID)
	if !ok || !there {
		return store.APIKey{}, store.User{}, notFound("api_key", "There is no such API key.")
	}
	return k, u, nil
}

func (s apiKeys) Touch(ctx context.Context, i id.APIKey, at time.Time) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if k, ok := s.u.apiKeys.get(i); ok {
		at = at.UTC().Truncate(time.Millisecond)
		k.LastUsedAt = &at
		s.u.apiKeys.put(s.u, i, k)
	}
	return nil
}

func (s apiKeys) List(ctx context.Context, user id.User, q page.Query) (page.Of[store.APIKey], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.APIKey]{}, err
	}
	return newest(maps.Values(s.u.apiKeys.rows), q, func(k store.APIKey) string { return k.ID.String() },
		func(k store.APIKey) bool { return k.UserID == user })
}

func (s apiKeys) Delete(ctx context.Context, user id.User, i id.APIKey) (bool, error) {
	if err := s.u.writes(ctx); err != nil {
		return false, err
	}
	k, ok := s.u.apiKeys.get(i)
	if !ok || k.UserID != user {
		return false, nil
	}
	s.u.apiKeys.remove(s.u, i)
	return true, nil
}
