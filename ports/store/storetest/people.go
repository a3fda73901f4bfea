package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

func userSubject() subject[store.User] {
	return subject[store.User]{
		name:   "User",
		sample: func(w *world) store.User { return w.newUser() },
		insert: func(ctx context.Context, tx store.Tx, u store.User) error { return tx.Users().Insert(ctx, u) },
		get: func(ctx context.Context, tx store.Tx, u store.User) (store.User, error) {
			return tx.Users().Get(ctx, u.ID)
		},
		update: func(ctx context.Context, tx store.Tx, u store.User) error { return tx.Users().Update(ctx, &u) },
		sets:   []string{"Version"},
		keeps:  []string{"LastLoginAt"},
	}
}

var users = checks{
	"UserEmailIsTakenOnce": func(w *world) {
		a, b := w.user(), w.user()
		taken := func(u *store.User) { u.Email = a.Email }
		w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Users().Insert(ctx, w.newUser(taken)) }), "email_taken")
		version := b.Version
		taken(&b)
		w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Users().Update(ctx, &b) }), "email_taken")
		is(w, "Version after a refusal", b.Version, version)
	},
	"UserEmailIsTakenOnceAtOnce": func(w *world) {
		w.oneWins(atOnce(8, func(int) error {
			u := w.newUser(func(u *store.User) { u.Email = "ann@example.com" })
			return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Users().Insert(ctx, u) })
		}), "email_taken")
	},
	"UserIsFoundByEmail": func(w *world) {
		w.user()
		u := w.user()
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Users().ByEmail(ctx, u.Email)
			w.must(err)
			same(w, got, u)
			_, err = tx.Users().ByEmail(ctx, "nobody@example.com")
			w.missing(err, "user")
			_, err = tx.Users().Get(ctx, id.User{})
			w.missing(err, "user")
			_, err = tx.Users().Get(ctx, newID[id.UserKind](w))
			w.missing(err, "user")
			return nil
		})
	},
	"UserStaleVersionIsConflict": func(w *world) {
		first := w.user()
		second := first
		first.Name = "first"
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Users().Update(ctx, &first) })
		is(w, "Version", first.Version, second.Version+1)
		version := second.Version
		w.stale(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Users().Update(ctx, &second) }))
		is(w, "Version after a refusal", second.Version, version)
		is(w, "Name", getUser(w, first.ID).Name, "first")
	},
	"SignInConflictsWithNothing": func(w *world) {
		u := w.user(func(u *store.User) { u.LastLoginAt = nil })
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return tx.Users().SetLastLogin(ctx, u.ID, after(time.Hour))
		})
		is(w, "LastLoginAt", *getUser(w, u.ID).LastLoginAt, after(time.Hour))
		is(w, "Version", getUser(w, u.ID).Version, u.Version)
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Users().Update(ctx, &u) })
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return tx.Users().SetLastLogin(ctx, newID[id.UserKind](w), start)
		})
	},
	"UserUpdateTakesBackNoSignIn": func(w *world) {
		u := w.user() // read before the sign-in, written after it
		w.tx(func(ctx context.Context, tx store.Tx) error {
			return tx.Users().SetLastLogin(ctx, u.ID, after(time.Hour))
		})
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Users().Update(ctx, &u) })
		is(w, "LastLoginAt", *getUser(w, u.ID).LastLoginAt, after(time.Hour))
	},
	"UserListPagesDoNotOverlap": func(w *world) {
		var want []string
		for range 7 {
			want = append([]string{w.user().ID.String()}, want...)
		}
		listed(w, "users", func(u store.User) string { return u.ID.String() }, want,
			func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.User], error) {
				return tx.Users().List(ctx, store.UserFilter{}, q)
			})
	},
	"UserFilters": func(w *world) {
		with := func(role, status, name string) store.User {
			return w.user(func(u *store.User) { u.Role, u.Status, u.Name = role, status, name })
		}
		a, b, c := with("admin", "active", "Zoë"), with("user", "active", "Zoran"), with("user", "banned", "Zoë")
		for _, ask := range []struct {
			filter store.UserFilter
			want   []store.User
		}{
			{store.UserFilter{}, []store.User{a, b, c}},
			{store.UserFilter{Status: "active"}, []store.User{a, b}},
			{store.UserFilter{Status: "ACTIVE"}, nil},
			{store.UserFilter{Role: "user"}, []store.User{b, c}},
			{store.UserFilter{Role: "user", Status: "active"}, []store.User{b}},
			{store.UserFilter{Role: "admin", Status: "banned"}, nil},
			{store.UserFilter{Search: "ZOË"}, []store.User{a, c}},
			{store.UserFilter{Search: "zo", Role: "user"}, []store.User{b, c}},
			{store.UserFilter{Search: "zoë", Status: "active"}, []store.User{a}},
			{store.UserFilter{Search: "zo", Role: "user", Status: "banned"}, []store.User{c}},
		} {
			w.listsUsers(fmt.Sprintf("%+v", ask.filter), ask.filter, ask.want...)
		}
	},
	"UserSearchTakesPercentLiterally": func(w *world) {
		named := func(email, name string) store.User {
			return w.user(func(u *store.User) { u.Email, u.Name, u.AvatarURL = email, name, "hidden" })
		}
		plain := named("ann@example.com", "Ann Alpha")
		percent := named("off_peak@example.org", "50% Bob")
		slash := named("c@example.net", `C:\dir`)
		umlaut := named("ü@example.net", "ÄRGER Über")
		for search, want := range map[string][]store.User{
			"ANN@": {plain}, "n alp": {plain}, "ann@example.com": {plain}, "@": {plain, percent, slash, umlaut},
			"%": {percent}, "_": {percent}, `\`: {slash}, "% b": {percent}, "ärg": {umlaut}, "Ü": {umlaut}, "über": {umlaut},
			"example.org": {percent}, "hidden": nil, "comann": nil, "com ann": nil, "com\x1fann": nil, "zzz": nil, plain.ID.String(): nil,
		} {
			w.listsUsers("search "+search, store.UserFilter{Search: search}, want...)
		}
		plain.Name = "Renamed"
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Users().Update(ctx, &plain) })
		w.listsUsers("the former name", store.UserFilter{Search: "alpha"})
		w.listsUsers("the new name", store.UserFilter{Search: "RENAM"}, plain)
	},
	"BannedUsersDoNotCount": func(w *world) {
		for _, s := range []string{"active", "active", "banned"} {
			w.user(func(u *store.User) { u.Role, u.Status = "admin", s })
		}
		w.user()
		w.read(func(ctx context.Context, tx store.Tx) error {
			for role, want := range map[string]int{"admin": 2, "user": 1, "operator": 0} {
				n, err := tx.Users().CountByRole(ctx, role)
				w.must(err)
				is(w, role, n, want)
			}
			return nil
		})
	},
}

// listsUsers checks a list of users, given oldest first.
func (w *world) listsUsers(what string, f store.UserFilter, want ...store.User) {
	w.Helper()
	var ids []string
	for _, u := range want {
		ids = append([]string{u.ID.String()}, ids...)
	}
	listed(w, what, func(u store.User) string { return u.ID.String() }, ids,
		func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.User], error) {
			return tx.Users().List(ctx, f, q)
		})
}

func getUser(w *world, i id.User) (u store.User) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) (err error) {
		u, err = tx.Users().Get(ctx, i)
		return err
	})
	return u
}
