package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

func sessionSubject() subject[store.Session] {
	return subject[store.Session]{
		name:   "Session",
		sample: func(w *world) store.Session { return w.newSession(w.user()) },
		insert: func(ctx context.Context, tx store.Tx, s store.Session) error { return tx.Sessions().Insert(ctx, s) },
		get: func(ctx context.Context, tx store.Tx, s store.Session) (store.Session, error) {
			got, _, err := tx.Sessions().ByTokenHash(ctx, s.TokenHash)
			return got, err
		},
	}
}

var sessions = checks{
	"SessionComesWithItsUser": func(w *world) {
		w.session(w.user())
		u := w.user()
		s := w.session(u)
		w.read(func(ctx context.Context, tx store.Tx) error {
			gotSession, gotUser, err := tx.Sessions().ByTokenHash(ctx, s.TokenHash)
			w.must(err)
			same(w, gotSession, s)
			same(w, gotUser, u)
			for _, hash := range [][]byte{[]byte("other"), {}, nil} {
				_, _, err = tx.Sessions().ByTokenHash(ctx, hash)
				w.missing(err, "session")
			}
			return nil
		})
	},
	"SessionHashIsUnique": func(w *world) {
		s := w.session(w.user())
		other := w.newSession(w.user(), func(o *store.Session) { o.TokenHash = s.TokenHash })
		w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.Sessions().Insert(ctx, other) }), "already_exists")
	},
	"SessionIsExtended": func(w *world) {
		s := w.session(w.user())
		s.ExpiresAt = after(5 * time.Hour)
		w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Sessions().Extend(ctx, s.ID, s.ExpiresAt) })
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Sessions().Extend(ctx, newID[id.SessionKind](w), start))
			got, _, err := tx.Sessions().ByTokenHash(ctx, s.TokenHash)
			same(w, got, s)
			return err
		})
	},
	"SessionEndsOnce": func(w *world) {
		a, b := w.session(w.user()), w.session(w.user())
		for range 2 { // one that is gone is not an error
			w.tx(func(ctx context.Context, tx store.Tx) error { return tx.Sessions().Delete(ctx, a.ID) })
		}
		liveSessions(w, map[string]store.Session{"other": b}, map[string]store.Session{"deleted": a})
	},
	"SessionsOfAUserEndButOne": func(w *world) {
		u := w.user()
		a, b, c, others := w.session(u), w.session(u), w.session(u), w.session(w.user())
		w.tx(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.Sessions().DeleteOfUser(ctx, u.ID, b.ID)
			is(w, "ended", n, 2)
			return err
		})
		liveSessions(w, map[string]store.Session{"kept": b, "other": others}, map[string]store.Session{"a": a, "c": c})
		w.tx(func(ctx context.Context, tx store.Tx) error {
			n, err := tx.Sessions().DeleteOfUser(ctx, u.ID, id.Session{})
			is(w, "ended", n, 1)
			return err
		})
		liveSessions(w, map[string]store.Session{"other": others}, map[string]store.Session{"b": b})
	},
	"SessionsOfAnOldPasswordDoNotOutliveItsReset": func(w *world) {
		for range 10 {
			u, errChanged := w.user(), errors.New("the password has changed")
			ses := w.newSession(u)
			// As core/identity does it: a sign-in writes the account's row before it
			// reads the hash, and a reset writes it before it ends the sessions.
			signIn := func(ctx context.Context, tx store.Tx) error {
				if err := tx.Users().SetLastLogin(ctx, u.ID, start); err != nil {
					return err
				}
				now, err := tx.Users().Get(ctx, u.ID)
				if err == nil && now.PasswordHash != u.PasswordHash {
					err = errChanged
				}
				if err != nil {
					return err
				}
				return tx.Sessions().Insert(ctx, ses)
			}
			reset := func(ctx context.Context, tx store.Tx) error {
				now, err := tx.Users().Get(ctx, u.ID)
				if err != nil {
					return err
				}
				now.PasswordHash = "new"
				if err := tx.Users().Update(ctx, &now); err != nil {
					return err
				}
				_, err = tx.Sessions().DeleteOfUser(ctx, u.ID, id.Session{})
				return err
			}
			for i, err := range atOnce(2, func(i int) error { return w.try([]do{signIn, reset}[i]) }) {
				if err != nil && (i == 1 || !errors.Is(err, errChanged)) {
					w.Errorf("side by side: %v", err)
				}
			}
			liveSessions(w, nil, map[string]store.Session{"of the old password": ses})
		}
	},
	"AResetWaitsForASignInThatIsUnderWay": func(w *world) {
		w.needsTwo()
		u := w.user()
		ses := w.newSession(u)
		var wait func() error
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Users().SetLastLogin(ctx, u.ID, start))
			var ended bool
			ended, wait = w.meanwhile(func(ctx context.Context, tx store.Tx) error {
				now, err := tx.Users().Get(ctx, u.ID)
				if err != nil {
					return err
				}
				now.PasswordHash = "new"
				w.must(tx.Users().Update(ctx, &now))
				_, err = tx.Sessions().DeleteOfUser(ctx, u.ID, id.Session{})
				return err
			})
			is(w, "the reset passed by a sign-in", ended, false)
			return tx.Sessions().Insert(ctx, ses)
		})
		w.must(wait())
		liveSessions(w, nil, map[string]store.Session{"begun before the reset": ses})
	},
	"ASignInWaitsForAResetThatIsUnderWay": func(w *world) {
		w.needsTwo()
		u := w.user()
		var seen string
		var wait func() error
		w.tx(func(ctx context.Context, tx store.Tx) error {
			now, err := tx.Users().Get(ctx, u.ID)
			w.must(err)
			now.PasswordHash = "new"
			w.must(tx.Users().Update(ctx, &now))
			var ended bool
			ended, wait = w.meanwhile(func(ctx context.Context, tx store.Tx) error {
				w.must(tx.Users().SetLastLogin(ctx, u.ID, start))
				now, err := tx.Users().Get(ctx, u.ID)
				seen = now.PasswordHash
				return err
			})
			is(w, "the sign-in passed by a reset", ended, false)
			_, err = tx.Sessions().DeleteOfUser(ctx, u.ID, id.Session{})
			return err
		})
		w.must(wait())
		is(w, "the hash that the sign-in read", seen, "new")
	},
	"ExpiredSessionsEndSoManyAtATime": func(w *world) {
		u := w.user()
		until := func(expires, ends time.Duration) store.Session {
			return w.session(u, func(s *store.Session) { s.ExpiresAt, s.EndsAt = after(expires), after(ends) })
		}
		live, edge := until(time.Hour, time.Hour), until(0, 0)
		gone := map[string]store.Session{
			"expired": until(-time.Millisecond, time.Hour), "ended": until(time.Hour, -time.Millisecond), "both": until(-time.Hour, -time.Hour),
		}
		for _, step := range []struct{ limit, want int }{{0, 0}, {2, 2}, {2, 1}, {2, 0}} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				n, err := tx.Sessions().DeleteExpired(ctx, start, step.limit)
				is(w, fmt.Sprintf("removed at most %d", step.limit), n, step.want)
				return err
			})
		}
		liveSessions(w, map[string]store.Session{"live": live, "at the edge": edge}, gone)
	},
}

func liveSessions(w *world, live, gone map[string]store.Session) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) error {
		for name, s := range live {
			if _, _, err := tx.Sessions().ByTokenHash(ctx, s.TokenHash); err != nil {
				w.Errorf("session %q: %v", name, err)
			}
		}
		for name, s := range gone {
			if _, _, err := tx.Sessions().ByTokenHash(ctx, s.TokenHash); err == nil {
				w.Errorf("session %q is still there", name)
			}
		}
		return nil
	})
}

func apiKeySubject() subject[store.APIKey] {
	return subject[store.APIKey]{
		name:   "APIKey",
		sample: func(w *world) store.APIKey { return w.newAPIKey(w.user()) },
		insert: func(ctx context.Context, tx store.Tx, k store.APIKey) error { return tx.APIKeys().Insert(ctx, k) },
		get: func(ctx context.Context, tx store.Tx, k store.APIKey) (store.APIKey, error) {
			got, _, err := tx.APIKeys().ByValueHash(ctx, k.ValueHash)
			return got, err
		},
	}
}

var apiKeys = checks{
	"APIKeyComesWithItsUser": func(w *world) {
		w.apiKey(w.user())
		u := w.user()
		k := w.apiKey(u)
		w.read(func(ctx context.Context, tx store.Tx) error {
			gotKey, gotUser, err := tx.APIKeys().ByValueHash(ctx, k.ValueHash)
			w.must(err)
			same(w, gotKey, k)
			same(w, gotUser, u)
			_, _, err = tx.APIKeys().ByValueHash(ctx, []byte("other"))
			w.missing(err, "api_key")
			return nil
		})
	},
	"APIKeyHashIsUnique": func(w *world) {
		k := w.apiKey(w.user())
		other := w.newAPIKey(w.user(), func(o *store.APIKey) { o.ValueHash = k.ValueHash })
		w.conflict(w.try(func(ctx context.Context, tx store.Tx) error { return tx.APIKeys().Insert(ctx, other) }), "already_exists")
	},
	"APIKeyRemembersItsUse": func(w *world) {
		k := w.apiKey(w.user(), func(k *store.APIKey) { k.LastUsedAt = nil })
		k.LastUsedAt = new(after(time.Minute))
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.APIKeys().Touch(ctx, k.ID, start, start))
			w.must(tx.APIKeys().Touch(ctx, k.ID, *k.LastUsedAt, after(time.Millisecond)))
			w.must(tx.APIKeys().Touch(ctx, k.ID, after(time.Hour), *k.LastUsedAt)) // somebody else has told of it
			w.must(tx.APIKeys().Touch(ctx, newID[id.APIKeyKind](w), start, start))
			got, _, err := tx.APIKeys().ByValueHash(ctx, k.ValueHash)
			same(w, got, k)
			return err
		})
	},
	"APIKeyListHasOnlyOwn": func(w *world) {
		u, other := w.user(), w.user()
		var want []string
		for range 5 {
			want = append([]string{w.apiKey(u).ID.String()}, want...)
			w.apiKey(other)
		}
		listed(w, "keys", func(k store.APIKey) string { return k.ID.String() }, want,
			func(ctx context.Context, tx store.Tx, q page.Query) (page.Of[store.APIKey], error) {
				return tx.APIKeys().List(ctx, u.ID, q)
			})
	},
	"APIKeyIsDeletedByItsUserOnly": func(w *world) {
		u := w.user()
		k := w.apiKey(u)
		for _, step := range []struct {
			by   id.User
			want bool
		}{{w.user().ID, false}, {id.User{}, false}, {u.ID, true}, {u.ID, false}} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				was, err := tx.APIKeys().Delete(ctx, step.by, k.ID)
				is(w, "deleted", was, step.want)
				return err
			})
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.APIKeys().ByValueHash(ctx, k.ValueHash)
			w.missing(err, "api_key")
			return nil
		})
	},
	"APIKeyNumbersGoUp": func(w *world) {
		u := w.user()
		numbered := func(n int64) func(*store.APIKey) { return func(k *store.APIKey) { k.Number = n } }
		last := func(want int64) {
			w.read(func(ctx context.Context, tx store.Tx) error {
				got, err := tx.APIKeys().LastNumber(ctx, u.ID)
				is(w, "the last number", got, want)
				return err
			})
		}
		last(0)
		w.apiKey(w.user(), numbered(9))
		w.apiKey(u, numbered(0))
		last(0)
		w.apiKey(u, numbered(7))
		w.apiKey(u, numbered(2))
		last(7)
	},
	"APIKeysOfAUserAreCountedAndEnd": func(w *world) {
		u := w.user()
		old := w.apiKey(u, func(k *store.APIKey) { k.ExpiresAt = new(start.Add(-time.Hour)) })
		others := w.apiKey(w.user())
		w.apiKey(u)
		for _, want := range []int{2, 0} {
			w.tx(func(ctx context.Context, tx store.Tx) error {
				counted, err := tx.APIKeys().CountOfUser(ctx, u.ID)
				w.must(err)
				is(w, "counted", counted, want)
				ended, err := tx.APIKeys().DeleteOfUser(ctx, u.ID)
				is(w, "ended", ended, want)
				return err
			})
		}
		w.read(func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.APIKeys().ByValueHash(ctx, old.ValueHash)
			w.missing(err, "api_key")
			_, _, err = tx.APIKeys().ByValueHash(ctx, others.ValueHash)
			return err
		})
	},
}
