package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

func signInSubject() subject[store.SignIn] {
	return subject[store.SignIn]{
		name:   "SignIn",
		sample: func(w *world) store.SignIn { return w.newSignIn(w.user()) },
		insert: func(ctx context.Context, tx store.Tx, i store.SignIn) error { return tx.SignIns().Append(ctx, i) },
		get: func(ctx context.Context, tx store.Tx, i store.SignIn) (store.SignIn, error) {
			p, err := tx.SignIns().List(ctx, i.UserID, page.Query{})
			return pick(p, err, "sign_in", func(o store.SignIn) bool { return o.ID == i.ID })
		},
	}
}

func (w *world) newSignIn(u store.User, change ...func(*store.SignIn)) store.SignIn {
	return finish(w, store.SignIn{ID: newID[id.SignInKind](w), UserID: u.ID}, change)
}

func (w *world) signIn(u store.User, change ...func(*store.SignIn)) store.SignIn {
	w.Helper()
	i := w.newSignIn(u, change...)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.SignIns().Append(ctx, i) })
	return i
}

func (w *world) signInsOf(u id.User, want ...store.SignIn) {
	w.Helper()
	var ids []string
	for _, i := range want {
		ids = append([]string{i.ID.String()}, ids...)
	}
	listed(w, "sign-ins", func(i store.SignIn) string { return i.ID.String() }, ids,
		func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.SignIn], error) {
			return tx.SignIns().List(ctx, u, q)
		})
}

var signIns = checks{
	"SignInsAreListedByAccount": func(w *world) {
		ann, bob := w.user(), w.user()
		nobody := store.User{}
		var of [2][]store.SignIn
		for range 5 {
			of[0], of[1] = append(of[0], w.signIn(ann)), append(of[1], w.signIn(bob))
			w.signIn(nobody)
		}
		w.signInsOf(ann.ID, of[0]...)
		w.signInsOf(bob.ID, of[1]...)
		w.signInsOf(id.User{})
	},
	"OldSignInsEndSoManyAtATime": func(w *world) {
		ann := w.user()
		from := func(u store.User, d time.Duration) store.SignIn {
			return w.signIn(u, func(i *store.SignIn) { i.At = after(d) })
		}
		from(ann, -time.Millisecond)
		from(ann, -time.Hour)
		edge, live := from(ann, 0), from(ann, time.Hour)
		from(store.User{}, -time.Hour)
		for _, step := range []struct{ limit, want int }{{0, 0}, {2, 2}, {2, 1}, {2, 0}} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.SignIns().DeleteOlderThan(ctx, start, step.limit)
				is(w, fmt.Sprintf("removed at most %d", step.limit), n, step.want)
				return err
			})
		}
		w.signInsOf(ann.ID, edge, live)
	},
}

func avatarSubject() subject[store.Avatar] {
	put := func(ctx context.Context, tx store.Tx, a store.Avatar) error { return tx.Avatars().Put(ctx, a) }
	return subject[store.Avatar]{
		name:   "Avatar",
		sample: func(w *world) store.Avatar { return w.newAvatar(w.user()) },
		insert: put,
		get: func(ctx context.Context, tx store.Tx, a store.Avatar) (store.Avatar, error) {
			return tx.Avatars().Get(ctx, a.UserID, a.Tag)
		},
		update:     put,
		keeps:      []string{"UserID", "Tag"},
		repeatable: true,
	}
}

func (w *world) newAvatar(u store.User) store.Avatar {
	return finish(w, store.Avatar{UserID: u.ID}, nil)
}

func (w *world) avatar(u store.User) store.Avatar {
	w.Helper()
	a := w.newAvatar(u)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Avatars().Put(ctx, a) })
	return a
}

var avatars = checks{
	"AvatarIsReadByItsTag": func(w *world) {
		u := w.user()
		first, others := w.avatar(u), w.avatar(w.user())
		next := first
		next.Tag, next.Body = "next", []byte("next")
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Avatars().Put(ctx, next) })
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Avatars().Get(ctx, u.ID, "next")
			w.must(err)
			same(w, got, next)
			for _, a := range []store.Avatar{first, {UserID: u.ID}, {Tag: "next"}, {UserID: others.UserID, Tag: "next"}} {
				_, err := tx.Avatars().Get(ctx, a.UserID, a.Tag)
				w.missing(err, "avatar")
			}
			got, err = tx.Avatars().Get(ctx, others.UserID, others.Tag)
			same(w, got, others)
			return err
		})
	},
	"AvatarIsDeletedOnce": func(w *world) {
		a, others := w.avatar(w.user()), w.avatar(w.user())
		for range 2 { // one that is gone is not an error
			w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Avatars().Delete(ctx, a.UserID) })
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Avatars().Get(ctx, a.UserID, a.Tag)
			w.missing(err, "avatar")
			_, err = tx.Avatars().Get(ctx, others.UserID, others.Tag)
			return err
		})
	},
}

func preferencesSubject() subject[store.Preferences] {
	put := func(ctx context.Context, tx store.Tx, p store.Preferences) error { return tx.Preferences().Put(ctx, p) }
	return subject[store.Preferences]{
		name:   "Preferences",
		sample: func(w *world) store.Preferences { return w.newPreferences(w.user()) },
		insert: put,
		get: func(ctx context.Context, tx store.Tx, p store.Preferences) (store.Preferences, error) {
			return tx.Preferences().Get(ctx, p.UserID)
		},
		update:     put,
		keeps:      []string{"UserID"},
		repeatable: true,
	}
}

func (w *world) newPreferences(u store.User) store.Preferences {
	return finish(w, store.Preferences{UserID: u.ID}, nil)
}

func (w *world) preferences(u store.User) store.Preferences {
	w.Helper()
	p := w.newPreferences(u)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Preferences().Put(ctx, p) })
	return p
}

var preferences = checks{
	"PreferencesAreEachTheirOwn": func(w *world) {
		ann, bob, carl := w.preferences(w.user()), w.preferences(w.user()), w.user()
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, want := range []store.Preferences{ann, bob} {
				got, err := tx.Preferences().Get(ctx, want.UserID)
				w.must(err)
				same(w, got, want)
			}
			for _, u := range []id.User{carl.ID, {}} {
				_, err := tx.Preferences().Get(ctx, u)
				w.missing(err, "preferences")
			}
			return nil
		})
	},
}
