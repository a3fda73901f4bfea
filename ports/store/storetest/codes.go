package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

func codeSubject() subject[store.Code] {
	put := func(ctx context.Context, tx store.Tx, c store.Code) error { return tx.Codes().Put(ctx, c) }
	return subject[store.Code]{
		name:   "Code",
		sample: func(w *world) store.Code { return w.newCode("") },
		insert: put,
		get: func(ctx context.Context, tx store.Tx, c store.Code) (store.Code, error) {
			return tx.Codes().Get(ctx, c.Purpose, c.Address)
		},
		update:     put,
		keeps:      []string{"Purpose", "Address"},
		repeatable: true,
	}
}

// newCode is one that expires in ten minutes and that nobody has tried.
func (w *world) newCode(address string, change ...func(*store.Code)) store.Code {
	c := finish(w, store.Code{Address: address, CreatedAt: start, ExpiresAt: after(10 * time.Minute)}, nil)
	c.Tries = 0
	for _, f := range change {
		f(&c)
	}
	return c
}

func (w *world) code(address string, change ...func(*store.Code)) store.Code {
	w.Helper()
	c := w.newCode(address, change...)
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Codes().Put(ctx, c) })
	return c
}

// tryCode reports whether a try gets the code.
func (w *world) tryCode(c store.Code, most int, now time.Time) (got bool) {
	w.Helper()
	err := w.try(func(ctx context.Context, tx store.Tx) error {
		found, err := tx.Codes().Try(ctx, c.Purpose, c.Address, most, now)
		if err == nil {
			found.Tries = c.Tries
			same(w, found, c)
		}
		return err
	})
	if err != nil {
		w.missing(err, "code")
	}
	return err == nil
}

func (w *world) triesOf(c store.Code) (tries int) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Codes().Get(ctx, c.Purpose, c.Address)
		tries = got.Tries
		return err
	})
	return tries
}

var codes = checks{
	"CodeIsTriedSoOften": func(w *world) {
		c := w.code("ann@example.com")
		for n := range 5 {
			is(w, fmt.Sprintf("try %d of 3", n+1), w.tryCode(c, 3, start), n < 3)
		}
		is(w, "tries", w.triesOf(c), 3)
		is(w, "another try", w.tryCode(c, 4, start), true)
		is(w, "no try at all", w.tryCode(w.code("bob@example.com"), 0, start), false)
	},
	"CodeIsTriedSoOftenAtOnce": func(w *world) {
		const most = 5
		c := w.code("ann@example.com")
		got := make([]bool, 20)
		atOnce(len(got), func(i int) error {
			got[i] = w.tryCode(c, most, start)
			return nil
		})
		n := 0
		for _, ok := range got {
			if ok {
				n++
			}
		}
		is(w, "tries that got the code", n, most)
		is(w, "tries", w.triesOf(c), most)
	},
	"CodeExpires": func(w *world) {
		c := w.code("ann@example.com")
		is(w, "just before", w.tryCode(c, 9, c.ExpiresAt.Add(-time.Millisecond)), true)
		is(w, "then", w.tryCode(c, 9, c.ExpiresAt), false)
		is(w, "tries", w.triesOf(c), 1)
	},
	"CodeIsReplaced": func(w *world) {
		c := w.code("ann@example.com", func(c *store.Code) { c.Purpose = "register" })
		is(w, "the first", w.tryCode(c, 1, start), true)
		is(w, "used up", w.tryCode(c, 1, start), false)
		next := w.code("ann@example.com", func(c *store.Code) { c.Purpose = "register" })
		is(w, "the next", w.tryCode(next, 1, start), true)
		is(w, "used up", w.tryCode(next, 1, start), false)
	},
	"CodesOfAPurposeAndAnAddressAreApart": func(w *world) {
		purpose := func(p string) func(*store.Code) { return func(c *store.Code) { c.Purpose = p } }
		all := []store.Code{w.code("ann@example.com", purpose("register")), w.code("ann@example.com", purpose("reset")), w.code("bob@example.com", purpose("reset"))}
		is(w, "of ann's reset", w.tryCode(all[1], 1, start), true)
		for range 2 { // one that is gone is not an error
			w.tx(func(ctx context.Context, tx store.Tx) error {
				return tx.Codes().Delete(ctx, "reset", "ann@example.com")
			})
		}
		is(w, "forgotten", w.tryCode(all[1], 9, start), false)
		is(w, "of ann's registration", w.tryCode(all[0], 1, start), true)
		is(w, "of bob's reset", w.tryCode(all[2], 1, start), true)
	},
	"ExpiredCodesEndSoManyAtATime": func(w *world) {
		until := func(address string, d time.Duration) store.Code {
			return w.code(address, func(c *store.Code) { c.ExpiresAt = after(d) })
		}
		live, edge := until("live@example.com", time.Hour), until("edge@example.com", 0)
		gone := []store.Code{until("a@example.com", -time.Millisecond), until("b@example.com", -time.Hour), until("c@example.com", -time.Hour)}
		for _, step := range []struct{ limit, want int }{{0, 0}, {2, 2}, {2, 1}, {2, 0}} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.Codes().DeleteExpired(ctx, start, step.limit)
				is(w, fmt.Sprintf("removed at most %d", step.limit), n, step.want)
				return err
			})
		}
		w.triesOf(live)
		w.triesOf(edge)
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, c := range gone {
				_, err := tx.Codes().Get(ctx, c.Purpose, c.Address)
				w.missing(err, "code")
			}
			return nil
		})
	},
	"ACodeThatIsBeingReplacedIsNotRemoved": func(w *world) {
		w.needsTwo()
		w.code("ann@example.com", func(c *store.Code) { c.Purpose, c.ExpiresAt = "reset", after(-time.Hour) })
		other := w.code("bob@example.com", func(c *store.Code) { c.ExpiresAt = after(-time.Hour) })
		fresh := w.newCode("ann@example.com", func(c *store.Code) { c.Purpose = "reset" })
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Codes().Put(ctx, fresh))
			ended, wait := w.meanwhile(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.Codes().DeleteExpired(ctx, start, 10)
				is(w, "removed", n, 1)
				return err
			})
			is(w, "the removal waited", ended, true)
			return wait()
		})
		is(w, "the fresh one", w.tryCode(fresh, 1, start), true)
		w.read(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Codes().Get(ctx, other.Purpose, other.Address)
			w.missing(err, "code")
			return nil
		})
	},
}

func identitySubject() subject[store.SSOIdentity] {
	return subject[store.SSOIdentity]{
		name:   "SSOIdentity",
		sample: func(w *world) store.SSOIdentity { return w.newIdentity(w.user()) },
		insert: func(ctx context.Context, tx store.Tx, i store.SSOIdentity) error {
			return tx.SSOIdentities().Insert(ctx, i)
		},
		get: func(ctx context.Context, tx store.Tx, i store.SSOIdentity) (store.SSOIdentity, error) {
			got, _, err := tx.SSOIdentities().Get(ctx, i.Provider, i.SubjectHash)
			return got, err
		},
	}
}

func (w *world) newIdentity(u store.User, change ...func(*store.SSOIdentity)) store.SSOIdentity {
	w.number() // so that no two are filled alike
	return finish(w, store.SSOIdentity{UserID: u.ID}, change)
}

func (w *world) identity(u store.User, provider, subject string) store.SSOIdentity {
	w.Helper()
	i := w.newIdentity(u, func(i *store.SSOIdentity) { i.Provider, i.SubjectHash = provider, []byte(subject) })
	w.tx(func(ctx context.Context, tx store.Tx) error { return tx.SSOIdentities().Insert(ctx, i) })
	return i
}

var identities = checks{
	"IdentityComesWithItsUser": func(w *world) {
		w.identity(w.user(), "github", "other")
		u := w.user()
		i := w.identity(u, "github", "subject")
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, user, err := tx.SSOIdentities().Get(ctx, "github", []byte("subject"))
			w.must(err)
			same(w, got, i)
			same(w, user, u)
			for provider, subject := range map[string]string{"google": "subject", "github": "", "GitHub": "subject"} {
				_, _, err = tx.SSOIdentities().Get(ctx, provider, []byte(subject))
				w.missing(err, "sso_identity")
			}
			return nil
		})
	},
	"IdentityIsTakenOnce": func(w *world) {
		ann, bob := w.user(), w.user()
		w.identity(ann, "github", "ann")
		for _, i := range []store.SSOIdentity{
			w.newIdentity(bob, func(i *store.SSOIdentity) { i.Provider, i.SubjectHash = "github", []byte("ann") }),
			w.newIdentity(ann, func(i *store.SSOIdentity) { i.Provider, i.SubjectHash = "github", []byte("ann, too") }),
		} {
			w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.SSOIdentities().Insert(ctx, i) }), "identity_taken")
		}
		w.identity(ann, "google", "ann")
		w.identity(bob, "github", "bob")
	},
	"IdentityIsTakenOnceAtOnce": func(w *world) {
		users := make([]store.User, 8)
		for i := range users {
			users[i] = w.user()
		}
		w.oneWins(atOnce(len(users), func(n int) error {
			i := w.newIdentity(users[n], func(i *store.SSOIdentity) { i.Provider, i.SubjectHash = "github", []byte("ann") })
			return w.try(func(ctx context.Context, tx store.Tx) error { return tx.SSOIdentities().Insert(ctx, i) })
		}), "identity_taken")
	},
	"IdentityRemembersItsUse": func(w *world) {
		i, other := w.identity(w.user(), "github", "ann"), w.identity(w.user(), "github", "bob")
		i.LastUsedAt = after(time.Hour)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.SSOIdentities().Touch(ctx, i.Provider, i.SubjectHash, i.LastUsedAt))
			return tx.SSOIdentities().Touch(ctx, i.Provider, []byte("nobody"), start)
		})
		w.read(func(ctx context.Context, tx store.Tx) error {
			for _, want := range []store.SSOIdentity{i, other} {
				got, _, err := tx.SSOIdentities().Get(ctx, want.Provider, want.SubjectHash)
				w.must(err)
				same(w, got, want)
			}
			return nil
		})
	},
	"ProvidersOfUsers": func(w *world) {
		ann, bob, carl := w.user(), w.user(), w.user()
		w.identity(ann, "google", "1")
		w.identity(ann, "github", "1")
		w.identity(bob, "github", "2")
		w.identity(carl, "github", "3")
		w.read(func(ctx context.Context, tx store.Tx) error {
			got, err := tx.SSOIdentities().ProvidersOf(ctx, []id.User{bob.ID, ann.ID, newID[id.UserKind](w)})
			w.must(err)
			is(w, "providers", fmt.Sprint(len(got), got[ann.ID], got[bob.ID]), "2 [github google] [github]")
			none, err := tx.SSOIdentities().ProvidersOf(ctx, nil)
			is(w, "providers of nobody", len(none), 0)
			return err
		})
	},
}

// gone tells whether an error says that there is no such account.
func gone(err error) bool {
	return errors.Is(err, fault.NotFound) && fault.CodeOf(err) == "user_not_found"
}
