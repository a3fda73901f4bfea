package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// person is somebody with one of everything that is theirs.
type person struct {
	user        store.User
	session     store.Session
	apiKey      store.APIKey
	code        store.Code
	identity    store.SSOIdentity
	signIn      store.SignIn
	avatar      store.Avatar
	preferences store.Preferences
	delivery    store.Delivery
	reply       store.Reply
}

func (w *world) person(name string) person {
	w.Helper()
	u := w.user(func(u *store.User) { u.Email, u.Role = name+"@example.com", "admin" })
	p := person{
		user: u, session: w.session(u), apiKey: w.apiKey(u), code: w.code(u.Email), identity: w.identity(u, "github", name),
		signIn: w.signIn(u), avatar: w.avatar(u), preferences: w.preferences(u),
		delivery: w.delivery(func(d *store.Delivery) { d.UserID = u.ID }),
		reply:    w.newReply(func(r *store.Reply) { r.User = u.ID }),
	}
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Replies().Insert(ctx, p.reply) })
	return p
}

// finds asks for everything of a person in every way there is.
func (p person) finds(ctx context.Context, tx store.Tx) map[string]error {
	out := map[string]error{}
	_, out["user"] = tx.Users().Get(ctx, p.user.ID)
	_, out["user by address"] = tx.Users().ByEmail(ctx, p.user.Email)
	_, out["user by identifier as the address"] = tx.Users().ByEmail(ctx, p.user.ID.String())
	_, _, out["session"] = tx.Sessions().ByTokenHash(ctx, p.session.TokenHash)
	_, _, out["API key"] = tx.APIKeys().ByValueHash(ctx, p.apiKey.ValueHash)
	_, out["code"] = tx.Codes().Get(ctx, p.code.Purpose, p.code.Address)
	_, _, out["identity"] = tx.SSOIdentities().Get(ctx, p.identity.Provider, p.identity.SubjectHash)
	_, out["avatar"] = tx.Avatars().Get(ctx, p.user.ID, p.avatar.Tag)
	_, out["preferences"] = tx.Preferences().Get(ctx, p.user.ID)
	_, out["reply"] = tx.Replies().Get(ctx, p.reply.ReplyKey)
	return out
}

// counts are how many of each kind a person's lists hold.
func (p person) counts(ctx context.Context, tx store.Tx) (map[string]int, error) {
	keys, err := tx.APIKeys().CountOfUser(ctx, p.user.ID)
	providers, err2 := tx.SSOIdentities().ProvidersOf(ctx, []id.User{p.user.ID})
	signIns, err3 := tx.SignIns().List(ctx, p.user.ID, page.Query{})
	deliveries, err5 := tx.Deliveries().List(ctx, store.DeliveryFilter{User: p.user.ID}, page.Query{})
	users, err4 := tx.Users().List(ctx, store.UserFilter{Search: p.user.Email}, page.Query{})
	return map[string]int{"API keys": keys, "providers": len(providers), "sign-ins": len(signIns.Items), "deliveries": len(deliveries.Items), "users": len(users.Items)},
		errors.Join(err, err2, err3, err4, err5)
}

func (w *world) remove(u id.User) {
	w.Helper()
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, u, after(time.Hour)) })
}

var removal = checks{
	"RemovedUsersAreFoundByNobody": func(w *world) {
		ann, bob := w.person("ann"), w.person("bob")
		w.remove(ann.user.ID)
		w.read(func(ctx context.Context, tx store.Tx) error {
			for what, err := range ann.finds(ctx, tx) {
				if !errors.Is(err, fault.NotFound) {
					w.Errorf("%s of somebody removed: %v", what, err)
				}
			}
			for what, err := range bob.finds(ctx, tx) {
				if err != nil && what != "user by identifier as the address" {
					w.Errorf("%s of somebody else: %v", what, err)
				}
			}
			for name, p := range map[string]person{"ann": ann, "bob": bob} {
				counts, err := p.counts(ctx, tx)
				w.must(err)
				for what, n := range counts {
					is(w, what+" of "+name, n, map[string]int{"ann": 0, "bob": 1}[name])
				}
			}
			for _, f := range []store.UserFilter{{}, {Role: "admin"}, {Status: "active"}, {Search: "example"}} {
				all, err := tx.Users().List(ctx, f, page.Query{})
				w.must(err)
				is(w, "users", len(all.Items), 1)
			}
			for _, f := range []store.UserFilter{{Status: "removed"}, {Search: ann.user.ID.String()}} {
				none, err := tx.Users().List(ctx, f, page.Query{})
				w.must(err)
				is(w, "users removed", len(none.Items), 0)
			}
			n, err := tx.Users().CountByRole(ctx, "admin")
			is(w, "admins", n, 1)
			return err
		})
	},
	"ARemovedUsersAddressIsFree": func(w *world) {
		u := w.user()
		w.remove(u.ID)
		next := w.user(func(o *store.User) { o.Email = u.Email })
		w.remove(next.ID)
		w.user(func(o *store.User) { o.Email = u.Email })
	},
	"ARemovedUserIsNotChanged": func(w *world) {
		u := w.user()
		w.remove(u.ID)
		w.stale(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Users().Update(ctx, &u) }))
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Users().SetLastLogin(ctx, u.ID, start) })
		w.noUser(u)
		for _, i := range []id.User{u.ID, newID[id.UserKind](w), {}} {
			w.missing(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, i, start) }), "user")
		}
	},
	"NothingIsAddedToARemovedUser": func(w *world) {
		u := w.user()
		w.remove(u.ID)
		for _, i := range []store.User{u, {ID: newID[id.UserKind](w)}, {}} {
			for what, add := range w.belongings(i) {
				if err := w.try(add); !gone(err) {
					w.Errorf("%s: %v", what, err)
				}
			}
		}
		w.signIn(u) // passed by
		w.signInsOf(u.ID)
	},
	"WhatARemovedUserOwnsStays": func(w *world) {
		u := w.user()
		c := w.cluster(u)
		w.remove(u.ID)
		is(w, "owner", w.getCluster(c).OwnerUserID, u.ID)
	},
	"RemovalRollsBack": func(w *world) {
		ann, boom := w.person("ann"), errors.New("boom")
		err := w.try(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Users().Remove(ctx, ann.user.ID, start))
			return boom
		})
		if !errors.Is(err, boom) {
			w.Errorf("got %v", err)
		}
		same(w, getUser(w, ann.user.ID), ann.user)
		w.read(func(ctx context.Context, tx store.Tx) error {
			for what, err := range ann.finds(ctx, tx) {
				if err != nil && what != "user by identifier as the address" {
					w.Errorf("%s: %v", what, err)
				}
			}
			return nil
		})
	},
	"UserIsRemovedOnceAtOnce": func(w *world) {
		u := w.user()
		won := 0
		for _, err := range atOnce(8, func(int) error {
			return w.try(func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, u.ID, start) })
		}) {
			if err == nil {
				won++
			} else if !gone(err) {
				w.Errorf("got %v", err)
			}
		}
		is(w, "removals", won, 1)
	},
	"ARemovalWaitsForWhatIsBeingAdded": func(w *world) {
		w.needsTwo()
		for _, what := range []string{"session", "API key", "identity", "avatar", "preferences"} {
			u := w.user()
			add := w.belongings(u)[what]
			var wait func() error
			w.tx(func(ctx context.Context, tx store.Tx) error {
				w.must(add(ctx, tx))
				var ended bool
				ended, wait = w.meanwhile(func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, u.ID, start) })
				is(w, "the removal passed by a new "+what, ended, false)
				return nil
			})
			w.must(wait())
			if err := w.try(add); !gone(err) {
				w.Errorf("%s: %v", what, err)
			}
		}
	},
	"WhatIsAddedWaitsForARemoval": func(w *world) {
		w.needsTwo()
		for _, what := range []string{"session", "API key", "identity", "avatar", "preferences"} {
			u := w.user()
			var wait func() error
			w.tx(func(ctx context.Context, tx store.Tx) error {
				w.must(tx.Users().Remove(ctx, u.ID, start))
				var ended bool
				ended, wait = w.meanwhile(w.belongings(u)[what])
				is(w, what+" was added beside a removal", ended, false)
				return nil
			})
			if err := wait(); !gone(err) {
				w.Errorf("%s: %v", what, err)
			}
		}
	},
}

// belongings are all ways to give an account something that is its own.
func (w *world) belongings(u store.User) map[string]do {
	session, key, identity, avatar, preferences := w.newSession(u), w.newAPIKey(u), w.newIdentity(u), w.newAvatar(u), w.newPreferences(u)
	return map[string]do{
		"session":     func(ctx context.Context, tx store.Tx) error { return tx.Sessions().Insert(ctx, session) },
		"API key":     func(ctx context.Context, tx store.Tx) error { return tx.APIKeys().Insert(ctx, key) },
		"identity":    func(ctx context.Context, tx store.Tx) error { return tx.SSOIdentities().Insert(ctx, identity) },
		"avatar":      func(ctx context.Context, tx store.Tx) error { return tx.Avatars().Put(ctx, avatar) },
		"preferences": func(ctx context.Context, tx store.Tx) error { return tx.Preferences().Put(ctx, preferences) },
	}
}
