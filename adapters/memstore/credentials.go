package memstore

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

type sessions struct{ u *unit }

func (s sessions) Insert(ctx context.Context, rec store.Session) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if err := s.u.living(rec.UserID); err != nil {
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
	return removeAll(s.u, &s.u.sessions, func(o store.Session) bool {
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
	if err := s.u.living(rec.UserID); err != nil {
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

func (s apiKeys) Touch(ctx context.Context, i id.APIKey, at, unless time.Time) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if k, ok := s.u.apiKeys.get(i); ok && (k.LastUsedAt == nil || k.LastUsedAt.Before(unless.UTC().Truncate(time.Millisecond))) {
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

func (s apiKeys) CountOfUser(ctx context.Context, user id.User) (n int, err error) {
	if err := s.u.reads(ctx); err != nil {
		return 0, err
	}
	for _, k := range s.u.apiKeys.rows {
		if k.UserID == user {
			n++
		}
	}
	return n, nil
}

func (s apiKeys) LastNumber(ctx context.Context, user id.User) (n int64, err error) {
	if err := s.u.reads(ctx); err != nil {
		return 0, err
	}
	for _, k := range s.u.apiKeys.rows {
		if k.UserID == user {
			n = max(n, k.Number)
		}
	}
	return n, nil
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

func (s apiKeys) DeleteOfUser(ctx context.Context, user id.User) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	return removeAll(s.u, &s.u.apiKeys, func(k store.APIKey) bool { return k.UserID == user }), nil
}

type codeKey struct{ address, purpose string }

type codes struct{ u *unit }

func noCode() error { return notFound("code", "There is no such code.") }

func (s codes) Put(ctx context.Context, rec store.Code) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	s.u.codes.put(s.u, codeKey{rec.Address, rec.Purpose}, rec)
	return nil
}

func (s codes) Get(ctx context.Context, purpose, address string) (store.Code, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Code{}, err
	}
	if err := plain(purpose, address); err != nil {
		return store.Code{}, err
	}
	c, ok := s.u.codes.get(codeKey{address, purpose})
	if !ok {
		return store.Code{}, noCode()
	}
	return c, nil
}

func (s codes) Try(ctx context.Context, purpose, address string, most int, now time.Time) (store.Code, error) {
	if err := s.u.writes(ctx); err != nil {
		return store.Code{}, err
	}
	c, err := s.Get(ctx, purpose, address)
	if err != nil {
		return store.Code{}, err
	}
	if c.Tries >= most || !c.ExpiresAt.After(now) {
		return store.Code{}, noCode()
	}
	c.Tries++
	s.u.codes.put(s.u, codeKey{address, purpose}, c)
	return detached(c), nil
}

func (s codes) Delete(ctx context.Context, purpose, address string) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if err := plain(purpose, address); err != nil {
		return err
	}
	s.u.codes.remove(s.u, codeKey{address, purpose})
	return nil
}

func (s codes) DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	return s.u.codes.removeSome(s.u, limit, func(c store.Code) bool { return c.ExpiresAt.Before(t) }), nil
}

type identityKey struct{ provider, subject string }

func identityOf(provider string, subjectHash []byte) identityKey {
	return identityKey{provider, string(subjectHash)}
}

type identities struct{ u *unit }

func (s identities) Insert(ctx context.Context, rec store.SSOIdentity) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if err := s.u.living(rec.UserID); err != nil {
		return err
	}
	_, taken := s.u.identities.find(func(o store.SSOIdentity) bool {
		return o.Provider == rec.Provider && (o.UserID == rec.UserID || bytes.Equal(o.SubjectHash, rec.SubjectHash))
	})
	if taken {
		return fault.Conflict.New("identity_taken", "This sign-in belongs to an account already, or the account has another one of the same provider.")
	}
	s.u.identities.put(s.u, identityOf(rec.Provider, rec.SubjectHash), rec)
	return nil
}

func (s identities) Get(ctx context.Context, provider string, subjectHash []byte) (store.SSOIdentity, store.User, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.SSOIdentity{}, store.User{}, err
	}
	if err := plain(provider); err != nil {
		return store.SSOIdentity{}, store.User{}, err
	}
	i, ok := s.u.identities.get(identityOf(provider, subjectHash))
	u, there := s.u.users.get(i.UserID)
	if !ok || !there {
		return store.SSOIdentity{}, store.User{}, notFound("sso_identity", "Nobody has this sign-in.")
	}
	return i, u, nil
}

func (s identities) Touch(ctx context.Context, provider string, subjectHash []byte, at time.Time) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	if err := plain(provider); err != nil {
		return err
	}
	key := identityOf(provider, subjectHash)
	if i, ok := s.u.identities.get(key); ok {
		i.LastUsedAt = at.UTC().Truncate(time.Millisecond)
		s.u.identities.put(s.u, key, i)
	}
	return nil
}

func (s identities) ProvidersOf(ctx context.Context, users []id.User) (map[id.User][]string, error) {
	if err := s.u.reads(ctx); err != nil {
		return nil, err
	}
	out := map[id.User][]string{}
	for _, i := range s.u.identities.rows {
		if slices.Contains(users, i.UserID) {
			out[i.UserID] = append(out[i.UserID], i.Provider)
		}
	}
	for _, providers := range out {
		slices.Sort(providers)
	}
	return out, nil
}
