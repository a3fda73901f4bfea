package memstore

import (
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

func (s users) List(ctx context.Context, f store.UserFilter, q page.Query) (page.Of[store.User], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.User]{}, err
	}
	if err := plain(f.Search, f.Status, f.Role); err != nil {
		return page.Of[store.User]{}, err
	}
	return newest(maps.Values(s.u.users.rows), q, func(u store.User) string { return u.ID.String() }, func(u store.User) bool {
		return (f.Status == "" || u.Status == f.Status) && (f.Role == "" || u.Role == f.Role) && contains(f.Search, u.Email, u.Name)
	})
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

// Remove drops the row too: nothing here needs it.
func (s users) Remove(ctx context.Context, i id.User, _ time.Time) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	u, ok := s.u.users.get(i)
	if !ok {
		return noUser()
	}
	s.u.users.remove(s.u, i)
	s.u.avatars.remove(s.u, i)
	s.u.preferences.remove(s.u, i)
	removeAll(s.u, &s.u.sessions, func(o store.Session) bool { return o.UserID == i })
	removeAll(s.u, &s.u.apiKeys, func(o store.APIKey) bool { return o.UserID == i })
	removeAll(s.u, &s.u.codes, func(o store.Code) bool { return o.Address == u.Email })
	removeAll(s.u, &s.u.identities, func(o store.SSOIdentity) bool { return o.UserID == i })
	removeAll(s.u, &s.u.signIns, func(o store.SignIn) bool { return o.UserID == i })
	removeAll(s.u, &s.u.deliveries, func(o store.Delivery) bool { return o.UserID == i })
	removeAll(s.u, &s.u.replies, func(o store.Reply) bool { return o.User == i })
	return nil
}

// living fails unless there is an account for what is to become its own.
func (u *unit) living(i id.User) error {
	if _, ok := u.users.get(i); !ok {
		return noUser()
	}
	return nil
}

type signIns struct{ u *unit }

func (s signIns) Append(ctx context.Context, rec store.SignIn) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	rec, err := storable(rec)
	if err != nil {
		return err
	}
	if _, taken := s.u.signIns.get(rec.ID); taken {
		return exists()
	}
	if rec.UserID.IsZero() || s.u.living(rec.UserID) == nil {
		s.u.signIns.put(s.u, rec.ID, rec)
	}
	return nil
}

func (s signIns) List(ctx context.Context, user id.User, q page.Query) (page.Of[store.SignIn], error) {
	if err := s.u.reads(ctx); err != nil {
		return page.Of[store.SignIn]{}, err
	}
	return newest(maps.Values(s.u.signIns.rows), q, func(i store.SignIn) string { return i.ID.String() },
		func(i store.SignIn) bool { return !user.IsZero() && i.UserID == user })
}

func (s signIns) DeleteOlderThan(ctx context.Context, t time.Time, limit int) (int, error) {
	if err := s.u.writes(ctx); err != nil {
		return 0, err
	}
	return s.u.signIns.removeSome(s.u, limit, func(i store.SignIn) bool { return i.At.Before(t) }), nil
}

type avatars struct{ u *unit }

func (s avatars) Put(ctx context.Context, rec store.Avatar) error {
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
	s.u.avatars.put(s.u, rec.UserID, rec)
	return nil
}

func (s avatars) Get(ctx context.Context, user id.User, tag string) (store.Avatar, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Avatar{}, err
	}
	if err := plain(tag); err != nil {
		return store.Avatar{}, err
	}
	a, ok := s.u.avatars.get(user)
	if !ok || a.Tag != tag {
		return store.Avatar{}, notFound("avatar", "There is no such picture.")
	}
	return a, nil
}

func (s avatars) Delete(ctx context.Context, user id.User) error {
	if err := s.u.writes(ctx); err != nil {
		return err
	}
	s.u.avatars.remove(s.u, user)
	return nil
}

type preferences struct{ u *unit }

func (s preferences) Get(ctx context.Context, user id.User) (store.Preferences, error) {
	if err := s.u.reads(ctx); err != nil {
		return store.Preferences{}, err
	}
	p, ok := s.u.preferences.get(user)
	if !ok {
		return store.Preferences{}, notFound("preferences", "The account has chosen no preferences.")
	}
	return p, nil
}

func (s preferences) Put(ctx context.Context, rec store.Preferences) error {
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
	s.u.preferences.put(s.u, rec.UserID, rec)
	return nil
}
