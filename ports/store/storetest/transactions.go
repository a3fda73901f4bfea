package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

var transactions = checks{
	"PingAnswers": func(w *world) {
		w.must(w.Ping(w.Context()))
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		if err := w.Ping(ctx); !errors.Is(err, context.Canceled) {
			w.Errorf("Ping with an ended context: %v", err)
		}
	},
	"TheStoreTellsATimeThatGoesOn": func(w *world) {
		var first, second time.Time
		w.tx(func(ctx context.Context, tx store.Tx) (err error) {
			if first, err = tx.Now(ctx); err != nil {
				return err
			}
			time.Sleep(5 * time.Millisecond)
			second, err = tx.Now(ctx)
			return err
		})
		if !second.After(first) || first.Location() != time.UTC || !first.Equal(first.Truncate(time.Millisecond)) || time.Since(first).Abs() > time.Hour {
			w.Errorf("%v, then %v", first, second)
		}
	},
	"ErrorFromDoRollsBack": func(w *world) {
		u, boom := w.newUser(), fault.Denied.New("boom", "Boom.")
		err := w.try(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Users().Insert(ctx, u))
			return fmt.Errorf("step: %w", boom)
		})
		w.fails(err, fault.Denied, "boom")
		w.noUser(u)
	},
	"PanicRollsBack": func(w *world) {
		u := w.newUser()
		func() {
			defer func() { is(w, "panic", recover(), any("boom")) }()
			_ = w.try(func(ctx context.Context, tx store.Tx) error {
				w.must(tx.Users().Insert(ctx, u))
				panic("boom")
			})
		}()
		w.noUser(u)
		w.user() // nobody is left waiting
	},
	"CanceledContext": func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		u := w.newUser()
		err := w.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return tx.Users().Insert(ctx, u) })
		if !errors.Is(err, context.Canceled) {
			w.Errorf("InTx: got %v, want %v", err, context.Canceled)
		}
		err = w.View(ctx, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Users().Get(ctx, u.ID)
			return err
		})
		if !errors.Is(err, context.Canceled) {
			w.Errorf("View: got %v, want %v", err, context.Canceled)
		}
		w.noUser(u)
	},
	"ContextCanceledMeanwhileRollsBack": func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		u := w.newUser()
		err := w.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Users().Insert(ctx, u))
			cancel()
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			w.Errorf("got %v, want %v", err, context.Canceled)
		}
		w.noUser(u)
	},
	"WaitingForAnotherEndsWithTheContext": func(w *world) {
		c := w.cluster(w.user())
		w.tx(func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), c.ID)
			w.must(err)
			short, cancel := context.WithTimeout(w.Context(), moment)
			defer cancel()
			err = w.InTx(short, func(ctx context.Context, tx store.Tx) error {
				_, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), c.ID)
				return err
			})
			if err != nil && !errors.Is(err, context.DeadlineExceeded) { // nil: no row locks
				w.Errorf("got %v, want %v", err, context.DeadlineExceeded)
			}
			return nil
		})
	},
	"CommitIsSeenAtOnce": func(w *world) {
		for range 20 {
			u := w.user()
			same(w, getUser(w, u.ID), u)
		}
	},
	"UncommittedIsSeenByNobody": func(w *world) {
		u := w.newUser()
		seen := make(chan error, 1)
		w.tx(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Users().Insert(ctx, u))
			go func() {
				seen <- w.View(w.Context(), func(ctx context.Context, tx store.Tx) error {
					_, err := tx.Users().Get(ctx, u.ID)
					return err
				})
			}()
			select {
			case err := <-seen:
				w.missing(err, "user")
				close(seen)
			case <-time.After(moment): // a store may make it wait
			}
			return nil
		})
		w.must(<-seen)
	},
	"SwallowedFailureIsAllOrNothing": func(w *world) {
		taken, u := w.user(), w.newUser()
		err := w.try(func(ctx context.Context, tx store.Tx) error {
			w.must(tx.Users().Insert(ctx, u))
			again := w.newUser(func(u *store.User) { u.Email = taken.Email })
			w.conflict(tx.Users().Insert(ctx, again), "email_taken")
			return nil // although it should say that it failed
		})
		if err != nil {
			w.noUser(u)
			return
		}
		getUser(w, u.ID)
	},
	"DeadlockIsTriedAgain": func(w *world) {
		w.needsTwo()
		u := w.user()
		a, b := w.cluster(u), w.cluster(u)
		var arrived atomic.Int32
		both := make(chan struct{})
		for _, err := range atOnce(2, func(i int) error {
			order := []id.Cluster{a.ID, b.ID}
			if i == 1 {
				order[0], order[1] = order[1], order[0]
			}
			return w.try(func(ctx context.Context, tx store.Tx) error {
				for n, c := range order {
					rec, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), c)
					if err != nil {
						return err
					}
					rec.Generation++
					if err := tx.Clusters().Update(ctx, &rec); err != nil {
						return err
					}
					if n == 0 && arrived.Add(1) == 2 {
						close(both)
					}
					<-both // each has one, and wants the other's
				}
				return nil
			})
		}) {
			w.must(err)
		}
		is(w, "Generation", w.getCluster(a).Generation, a.Generation+2)
		is(w, "Generation", w.getCluster(b).Generation, b.Generation+2)
	},
	"ViewRefusesWrites": func(w *world) {
		t := newThings(w)
		for name, call := range t.writes() {
			w.read(func(ctx context.Context, tx store.Tx) error {
				if call(ctx, tx) == nil {
					w.Errorf("%s works in a View", name)
				}
				return nil
			})
		}
		t.unchanged(w)
	},
	"TxEndsWithDo": func(w *world) {
		t := newThings(w)
		var kept []store.Tx
		w.tx(func(_ context.Context, tx store.Tx) error {
			kept = append(kept, tx)
			return nil
		})
		w.read(func(_ context.Context, tx store.Tx) error {
			kept = append(kept, tx)
			return nil
		})
		_ = w.try(func(_ context.Context, tx store.Tx) error {
			kept = append(kept, tx)
			return context.Canceled
		})
		for _, tx := range kept {
			for name, call := range t.writes() {
				if call(w.Context(), tx) == nil {
					w.Errorf("%s works after do has returned", name)
				}
			}
			for name, call := range t.reads() {
				if err := call(w.Context(), tx); err == nil || errors.Is(err, fault.NotFound) {
					w.Errorf("%s works after do has returned: %v", name, err)
				}
			}
		}
		t.unchanged(w)
	},
	"EveryReadWorksInAView": func(w *world) {
		for name, call := range newThings(w).reads() {
			w.read(func(ctx context.Context, tx store.Tx) error {
				if err := call(ctx, tx); err != nil {
					w.Errorf("%s: %v", name, err)
				}
				return nil
			})
		}
	},
	"EveryCallFailsWithItsContext": func(w *world) {
		t := newThings(w)
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		for name, call := range t.reads() {
			w.read(func(_ context.Context, tx store.Tx) error {
				if call(ctx, tx) == nil {
					w.Errorf("%s works with a context that has ended", name)
				}
				return nil
			})
		}
		for name, call := range t.writes() {
			err := w.try(func(_ context.Context, tx store.Tx) error { return call(ctx, tx) })
			if err == nil {
				w.Errorf("%s works with a context that has ended", name)
			}
		}
		t.unchanged(w)
	},
}

func (w *world) noUser(u store.User) {
	w.Helper()
	w.read(func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Users().Get(ctx, u.ID)
		w.missing(err, "user")
		return nil
	})
}

// things are one of everything, for checks of every call there is.
type things struct {
	user        store.User
	session     store.Session
	apiKey      store.APIKey
	code        store.Code
	identity    store.SSOIdentity
	signIn      store.SignIn
	avatar      store.Avatar
	preferences store.Preferences
	setting     store.Setting
	delivery    store.Delivery
	cluster     store.Cluster
	entry       store.FleetEntry
	operation   store.Operation
	job         store.Job
	token       store.Token
	node        store.Node
	reply       store.Reply
	message     store.OutboxMessage
	event       store.NodeEvent
	audit       store.AuditEvent

	newUser        store.User
	newSession     store.Session
	newAPIKey      store.APIKey
	newCode        store.Code
	newIdentity    store.SSOIdentity
	newSignIn      store.SignIn
	newAvatar      store.Avatar
	newPreferences store.Preferences
	newDelivery    store.Delivery
	newCluster     store.Cluster
	newOperation   store.Operation
	newJob         store.Job
	newToken       store.Token
	newNode        store.Node
	newReply       store.Reply
}

func newThings(w *world) things {
	t := things{user: w.user()}
	t.code, t.identity, t.signIn, t.avatar, t.preferences = w.code(t.user.Email), w.identity(t.user, "github", "subject"), w.signIn(t.user), w.avatar(t.user), w.preferences(t.user)
	t.newCode, t.newIdentity, t.newSignIn = w.newCode("new@example.com"), w.newIdentity(t.user), w.newSignIn(t.user)
	t.setting, t.delivery, t.newDelivery = w.setting("smtp"), w.delivery(), w.newDelivery()
	t.newAvatar, t.newPreferences = w.newAvatar(t.user), w.newPreferences(t.user)
	t.session, t.apiKey, t.cluster = w.session(t.user), w.apiKey(t.user), w.cluster(t.user)
	t.entry = w.entry(t.cluster)
	t.operation, t.job, t.token, t.node = w.operation(t.cluster), w.job(t.cluster), w.token(t.cluster), w.node(t.cluster)
	t.reply, t.message, t.event, t.audit = w.newReply(), w.newMessage(), w.newNodeEvent(t.cluster), w.newAuditEvent()
	t.newUser, t.newSession, t.newAPIKey, t.newCluster = w.newUser(), w.newSession(t.user), w.newAPIKey(t.user), w.newCluster(t.user)
	t.newOperation, t.newJob = w.newOperation(t.cluster), w.newJob(t.operation)
	t.newToken, t.newNode, t.newReply = w.newToken(t.cluster), w.newNode(t.cluster), w.newReply()
	w.tx(func(ctx context.Context, tx store.Tx) error {
		w.must(tx.Replies().Insert(ctx, t.reply))
		w.must(tx.Outbox().Append(ctx, t.message))
		w.must(tx.NodeEvents().Append(ctx, t.event))
		w.must(tx.Audit().Append(ctx, t.audit))
		_, err := tx.Leases().Acquire(ctx, []string{"held"}, "holder", start, after(term))
		w.must(err)
		_, err = tx.ControlPlaneSamples().Append(ctx, sample(t.cluster, start, time.Minute))
		w.must(err)
		return tx.Facts().Set(ctx, "fact", []byte("fact"))
	})
	return t
}

type calls = map[string]do

// writes are all calls that write or lock, each such that it would succeed.
func (t things) writes() calls {
	late := after(term)
	return calls{
		"Users.Insert": func(ctx context.Context, tx store.Tx) error { return tx.Users().Insert(ctx, t.newUser) },
		"Users.Update": func(ctx context.Context, tx store.Tx) error {
			u := t.user
			u.Name = "x"
			return tx.Users().Update(ctx, &u)
		},
		"Users.Remove":       func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, t.user.ID, late) },
		"Users.SetLastLogin": func(ctx context.Context, tx store.Tx) error { return tx.Users().SetLastLogin(ctx, t.user.ID, late) },

		"Sessions.Insert": func(ctx context.Context, tx store.Tx) error { return tx.Sessions().Insert(ctx, t.newSession) },
		"Sessions.Extend": func(ctx context.Context, tx store.Tx) error { return tx.Sessions().Extend(ctx, t.session.ID, late) },
		"Sessions.Delete": func(ctx context.Context, tx store.Tx) error { return tx.Sessions().Delete(ctx, t.session.ID) },
		"Sessions.DeleteOfUser": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Sessions().DeleteOfUser(ctx, t.user.ID, id.Session{})
			return err
		},
		"Sessions.DeleteExpired": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Sessions().DeleteExpired(ctx, t.session.EndsAt.Add(term), 10)
			return err
		},

		"APIKeys.Insert": func(ctx context.Context, tx store.Tx) error { return tx.APIKeys().Insert(ctx, t.newAPIKey) },
		"APIKeys.Touch":  func(ctx context.Context, tx store.Tx) error { return tx.APIKeys().Touch(ctx, t.apiKey.ID, late, late) },
		"APIKeys.Delete": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.APIKeys().Delete(ctx, t.user.ID, t.apiKey.ID)
			return err
		},

		"APIKeys.DeleteOfUser": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.APIKeys().DeleteOfUser(ctx, t.user.ID)
			return err
		},

		"Codes.Put": func(ctx context.Context, tx store.Tx) error { return tx.Codes().Put(ctx, t.newCode) },
		"Codes.Try": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Codes().Try(ctx, t.code.Purpose, t.code.Address, 9, start)
			return err
		},
		"Codes.Delete": func(ctx context.Context, tx store.Tx) error {
			return tx.Codes().Delete(ctx, t.code.Purpose, t.code.Address)
		},
		"Codes.DeleteExpired": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Codes().DeleteExpired(ctx, t.code.ExpiresAt.Add(term), 10)
			return err
		},
		"SSOIdentities.Insert": func(ctx context.Context, tx store.Tx) error { return tx.SSOIdentities().Insert(ctx, t.newIdentity) },
		"SSOIdentities.Touch": func(ctx context.Context, tx store.Tx) error {
			return tx.SSOIdentities().Touch(ctx, t.identity.Provider, t.identity.SubjectHash, late)
		},
		"SignIns.Append": func(ctx context.Context, tx store.Tx) error { return tx.SignIns().Append(ctx, t.newSignIn) },
		"SignIns.DeleteOlderThan": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.SignIns().DeleteOlderThan(ctx, t.signIn.At.Add(term), 10)
			return err
		},
		"Avatars.Put":       func(ctx context.Context, tx store.Tx) error { return tx.Avatars().Put(ctx, t.newAvatar) },
		"Avatars.Delete":    func(ctx context.Context, tx store.Tx) error { return tx.Avatars().Delete(ctx, t.user.ID) },
		"Settings.Put":      func(ctx context.Context, tx store.Tx) error { s := t.setting; return tx.Settings().Put(ctx, &s) },
		"Deliveries.Insert": func(ctx context.Context, tx store.Tx) error { return tx.Deliveries().Insert(ctx, t.newDelivery) },
		"Deliveries.Hold": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().Hold(ctx, t.delivery.Key)
			return err
		},
		"Deliveries.Claim": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().Claim(ctx, "w", t.delivery.Channel, start, late, 1)
			return err
		},
		"Deliveries.Settle": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().Settle(ctx, t.delivery, "w")
			return err
		},
		"Deliveries.Revive": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().Revive(ctx, t.delivery.ID, late)
			return err
		},
		"Deliveries.Forget": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().Forget(ctx, late, 10)
			return err
		},
		"Deliveries.DeleteOlderThan": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().DeleteOlderThan(ctx, late, 10)
			return err
		},
		"Preferences.Put": func(ctx context.Context, tx store.Tx) error { return tx.Preferences().Put(ctx, t.newPreferences) },

		"Clusters.Insert": func(ctx context.Context, tx store.Tx) error { c := t.newCluster; return tx.Clusters().Insert(ctx, &c) },
		"Clusters.GetForUpdate": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), t.cluster.ID)
			return err
		},
		"Clusters.Update": func(ctx context.Context, tx store.Tx) error {
			c := t.cluster
			c.Name = "x"
			return tx.Clusters().Update(ctx, &c)
		},

		"Fleet.Put": func(ctx context.Context, tx store.Tx) error {
			e := t.entry
			e.Description = "x"
			return tx.Fleet().Put(ctx, &e)
		},
		"Fleet.NoDefault": func(ctx context.Context, tx store.Tx) error { return tx.Fleet().NoDefault(ctx, late) },
		"Fleet.Count": func(ctx context.Context, tx store.Tx) error {
			return tx.Fleet().Count(ctx, t.cluster.ID, store.Contents{Pods: 1, CountedAt: &late})
		},
		"Fleet.Remove": func(ctx context.Context, tx store.Tx) error { return tx.Fleet().Remove(ctx, t.cluster.ID) },

		"Operations.Insert": func(ctx context.Context, tx store.Tx) error { return tx.Operations().Insert(ctx, t.newOperation) },
		"Operations.Update": func(ctx context.Context, tx store.Tx) error {
			o := t.operation
			o.Stage = "x"
			return tx.Operations().Update(ctx, o)
		},

		"Jobs.Insert": func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Insert(ctx, t.newJob) },
		"Jobs.Claim": func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.Jobs().Claim(ctx, "w", start, late)
			return err
		},
		"Jobs.Renew":  func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Renew(ctx, t.job.ID, "w", late) },
		"Jobs.Settle": func(ctx context.Context, tx store.Tx) error { return tx.Jobs().Settle(ctx, t.job, "w") },
		"Jobs.MarkPublished": func(ctx context.Context, tx store.Tx) error {
			return errors.Join(tx.Jobs().MarkPublished(ctx, late, t.job.ID))
		},
		"Jobs.ReleaseWorker": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Jobs().ReleaseWorker(ctx, "w", late)
			return err
		},

		"Tokens.Insert": func(ctx context.Context, tx store.Tx) error { return tx.Tokens().Insert(ctx, t.newToken) },
		"Tokens.Update": func(ctx context.Context, tx store.Tx) error {
			k := t.token
			k.Status = "x"
			return tx.Tokens().Update(ctx, &k)
		},

		"Nodes.Insert": func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Insert(ctx, t.newNode) },
		"Nodes.Update": func(ctx context.Context, tx store.Tx) error {
			n := t.node
			n.Status = "x"
			return tx.Nodes().Update(ctx, n)
		},
		"Nodes.Delete": func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Delete(ctx, t.node.ID) },
		"Nodes.DeleteOfCluster": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Nodes().DeleteOfCluster(ctx, t.cluster.ID)
			return err
		},

		"NodeEvents.Append": func(ctx context.Context, tx store.Tx) error { return tx.NodeEvents().Append(ctx, t.event) },
		"Audit.Append":      func(ctx context.Context, tx store.Tx) error { return tx.Audit().Append(ctx, t.audit) },
		"Outbox.Append":     func(ctx context.Context, tx store.Tx) error { return tx.Outbox().Append(ctx, t.message) },
		"Operations.Begin": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Operations().Begin(ctx, t.operation.ID, "running", start)
			return err
		},
		"Jobs.ClaimOf": func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.Jobs().ClaimOf(ctx, t.cluster.ID, "w", start, late)
			return err
		},
		"Outbox.Claim":  func(ctx context.Context, tx store.Tx) error { _, err := tx.Outbox().Claim(ctx, 1); return err },
		"Outbox.Remove": func(ctx context.Context, tx store.Tx) error { return tx.Outbox().Remove(ctx, t.message.ID) },

		"Replies.Insert": func(ctx context.Context, tx store.Tx) error { return tx.Replies().Insert(ctx, t.newReply) },
		"Replies.Delete": func(ctx context.Context, tx store.Tx) error { return tx.Replies().Delete(ctx, t.reply.ReplyKey) },
		"Replies.DeleteOlderThan": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Replies().DeleteOlderThan(ctx, t.reply.CreatedAt.Add(term), 10)
			return err
		},

		"Leases.Acquire": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Leases().Acquire(ctx, []string{"held", "free"}, "other", late, late.Add(term))
			return err
		},
		"Leases.Release": func(ctx context.Context, tx store.Tx) error {
			return tx.Leases().Release(ctx, []string{"held"}, "holder")
		},
		"Leases.DeleteExpired": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Leases().DeleteExpired(ctx, late.Add(term), 10)
			return err
		},
		"Facts.Set": func(ctx context.Context, tx store.Tx) error { return tx.Facts().Set(ctx, "fact", []byte("x")) },

		"ControlPlaneSamples.Append": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.ControlPlaneSamples().Append(ctx, sample(t.cluster, start.Add(time.Minute), time.Minute))
			return err
		},
		"ControlPlaneSamples.Thin": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.ControlPlaneSamples().Thin(ctx, time.Minute, quarter, after(2*quarter), 10)
			return err
		},
		"ControlPlaneSamples.DeleteOlderThan": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.ControlPlaneSamples().DeleteOlderThan(ctx, time.Minute, after(quarter), 10)
			return err
		},
	}
}

// reads are all other calls, each such that it finds something.
func (t things) reads() calls {
	all, q := store.Everyone(), page.Query{}
	return calls{
		"Backlog":   func(ctx context.Context, tx store.Tx) error { _, err := tx.Backlog(ctx); return err },
		"Users.Get": func(ctx context.Context, tx store.Tx) error { _, err := tx.Users().Get(ctx, t.user.ID); return err },
		"Users.ByEmail": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Users().ByEmail(ctx, t.user.Email)
			return err
		},
		"Users.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Users().List(ctx, store.UserFilter{}, q)
			return err
		},
		"Users.CountByRole": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Users().CountByRole(ctx, "user")
			return err
		},
		"Sessions.ByTokenHash": func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.Sessions().ByTokenHash(ctx, t.session.TokenHash)
			return err
		},
		"APIKeys.ByValueHash": func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.APIKeys().ByValueHash(ctx, t.apiKey.ValueHash)
			return err
		},
		"APIKeys.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.APIKeys().List(ctx, t.user.ID, q)
			return err
		},
		"APIKeys.CountOfUser": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.APIKeys().CountOfUser(ctx, t.user.ID)
			return err
		},
		"Codes.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Codes().Get(ctx, t.code.Purpose, t.code.Address)
			return err
		},
		"SSOIdentities.Get": func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.SSOIdentities().Get(ctx, t.identity.Provider, t.identity.SubjectHash)
			return err
		},
		"SSOIdentities.ProvidersOf": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.SSOIdentities().ProvidersOf(ctx, []id.User{t.user.ID})
			return err
		},
		"SignIns.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.SignIns().List(ctx, t.user.ID, q)
			return err
		},
		"Avatars.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Avatars().Get(ctx, t.user.ID, t.avatar.Tag)
			return err
		},
		"Settings.All":    func(ctx context.Context, tx store.Tx) error { _, err := tx.Settings().All(ctx); return err },
		"Deliveries.Next": func(ctx context.Context, tx store.Tx) error { _, err := tx.Deliveries().Next(ctx, "email"); return err },
		"Deliveries.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().Get(ctx, t.delivery.ID)
			return err
		},
		"Deliveries.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().List(ctx, store.DeliveryFilter{}, q)
			return err
		},
		"Deliveries.List by status": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Deliveries().List(ctx, store.DeliveryFilter{Status: store.DeliveryPending}, q)
			return err
		},
		"Preferences.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Preferences().Get(ctx, t.user.ID)
			return err
		},
		"Clusters.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().Get(ctx, all, t.cluster.ID)
			return err
		},
		"Clusters.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().List(ctx, all, store.ClusterFilter{}, q)
			return err
		},
		"Clusters.CountByStatus": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().CountByStatus(ctx, all, "")
			return err
		},
		"Clusters.Connectable": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().Connectable(ctx, id.Cluster{}, 1)
			return err
		},
		"Clusters.Names": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().Names(ctx, []id.Cluster{t.cluster.ID})
			return err
		},
		"Operations.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Operations().Get(ctx, t.operation.ID)
			return err
		},
		"Operations.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Operations().List(ctx, t.cluster.ID, q)
			return err
		},
		"Jobs.Get":    func(ctx context.Context, tx store.Tx) error { _, err := tx.Jobs().Get(ctx, t.job.ID); return err },
		"Jobs.NextAt": func(ctx context.Context, tx store.Tx) error { _, _, err := tx.Jobs().NextAt(ctx, start); return err },
		"Jobs.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Jobs().List(ctx, store.JobFilter{}, q)
			return err
		},
		"Tokens.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Tokens().Get(ctx, all, t.token.ID)
			return err
		},
		"Tokens.ByValueHash": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Tokens().ByValueHash(ctx, t.token.ValueHash)
			return err
		},
		"Tokens.ByBootstrapID": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Tokens().ByBootstrapID(ctx, t.cluster.ID, t.token.BootstrapID)
			return err
		},
		"Tokens.ByClaim": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Tokens().ByClaim(ctx, t.cluster.ID, t.token.ClaimedNodeName)
			return err
		},
		"Tokens.Leftover": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Tokens().Leftover(ctx, t.cluster.ID, start, 1)
			return err
		},
		"Nodes.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Nodes().Get(ctx, all, t.node.ID)
			return err
		},
		"Nodes.ByName": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Nodes().ByName(ctx, t.cluster.ID, t.node.Name)
			return err
		},
		"Nodes.OfCluster": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Nodes().OfCluster(ctx, t.cluster.ID)
			return err
		},
		"Nodes.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Nodes().List(ctx, all, store.NodeFilter{}, q)
			return err
		},
		"Fleet.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Fleet().Get(ctx, all, t.cluster.ID)
			return err
		},
		"Fleet.List": func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.Fleet().List(ctx, all, store.FleetFilter{}, 0, 10)
			return err
		},
		"Fleet.Sealed": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Fleet().Sealed(ctx, t.cluster.ID)
			return err
		},
		"Fleet.AllSealed": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Fleet().AllSealed(ctx, id.Cluster{}, 10)
			return err
		},
		"Nodes.Totals": func(ctx context.Context, tx store.Tx) error { _, err := tx.Nodes().Totals(ctx, all); return err },
		"NodeEvents.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.NodeEvents().List(ctx, all, store.NodeEventFilter{}, q)
			return err
		},
		"Audit.List": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Audit().List(ctx, store.AuditFilter{}, q)
			return err
		},
		"Replies.Get": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Replies().Get(ctx, t.reply.ReplyKey)
			return err
		},
		"Now":       func(ctx context.Context, tx store.Tx) error { _, err := tx.Now(ctx); return err },
		"Facts.Get": func(ctx context.Context, tx store.Tx) error { _, err := tx.Facts().Get(ctx, "fact"); return err },
		"ControlPlaneSamples.Steps": func(ctx context.Context, tx store.Tx) error {
			_, err := tx.ControlPlaneSamples().Steps(ctx, all, t.cluster.ID, start, after(quarter), time.Minute)
			return err
		},
	}
}

// unchanged checks that no call has left a trace.
func (t things) unchanged(w *world) {
	w.Helper()
	same(w, getUser(w, t.user.ID), t.user)
	same(w, w.getCluster(t.cluster), t.cluster)
	m := w.member(t.cluster.ID)
	m.Entry.Sealed = t.entry.Sealed
	same(w, m.Entry, t.entry)
	same(w, m.Contents, store.Contents{})
	same(w, w.getJob(t.job.ID), t.job)
	same(w, w.getToken(t.token.ID), t.token)
	w.tx(func(ctx context.Context, tx store.Tx) error {
		o, err := tx.Operations().Get(ctx, t.operation.ID)
		w.must(err)
		same(w, o, t.operation)
		ses, _, err := tx.Sessions().ByTokenHash(ctx, t.session.TokenHash)
		w.must(err)
		same(w, ses, t.session)
		k, _, err := tx.APIKeys().ByValueHash(ctx, t.apiKey.ValueHash)
		w.must(err)
		same(w, k, t.apiKey)
		t.personal(ctx, w, tx)
		n, err := tx.Nodes().Get(ctx, store.Everyone(), t.node.ID)
		w.must(err)
		same(w, n, t.node)
		r, err := tx.Replies().Get(ctx, t.reply.ReplyKey)
		w.must(err)
		same(w, r, t.reply)
		m, err := waiting(ctx, tx, 10)
		w.must(err)
		is(w, "messages", m, join(t.message))
		f, err := tx.Facts().Get(ctx, "fact")
		is(w, "fact", string(f), "fact")
		w.must(err)
		p, err := tx.ControlPlaneSamples().Steps(ctx, store.Everyone(), t.cluster.ID, start.Add(-time.Hour), after(time.Hour), time.Second)
		is(w, "samples", len(p), 1)
		w.must(err)
		for _, err := range t.newcomers(ctx, tx) {
			if !errors.Is(err, fault.NotFound) {
				w.Errorf("something new is there: %v", err)
			}
		}
		return nil
	})
	w.acquire("other", start, "held free", "free")
}

// personal checks that what is the user's is as it was.
func (t things) personal(ctx context.Context, w *world, tx store.Tx) {
	w.Helper()
	c, err := tx.Codes().Get(ctx, t.code.Purpose, t.code.Address)
	w.must(err)
	same(w, c, t.code)
	i, _, err := tx.SSOIdentities().Get(ctx, t.identity.Provider, t.identity.SubjectHash)
	w.must(err)
	same(w, i, t.identity)
	all, err := tx.SignIns().List(ctx, t.user.ID, page.Query{})
	w.must(err)
	is(w, "sign-ins", len(all.Items), 1)
	a, err := tx.Avatars().Get(ctx, t.user.ID, t.avatar.Tag)
	w.must(err)
	same(w, a, t.avatar)
	p, err := tx.Preferences().Get(ctx, t.user.ID)
	w.must(err)
	same(w, p, t.preferences)
	s, err := settingNamed(ctx, tx, t.setting.Name)
	w.must(err)
	same(w, s, t.setting)
	d, err := tx.Deliveries().List(ctx, store.DeliveryFilter{}, page.Query{})
	w.must(err)
	is(w, "deliveries", idsOf(d.Items), t.delivery.ID.String())
	same(w, d.Items[0], t.delivery)
}

func (t things) newcomers(ctx context.Context, tx store.Tx) []error {
	_, user := tx.Users().Get(ctx, t.newUser.ID)
	_, _, session := tx.Sessions().ByTokenHash(ctx, t.newSession.TokenHash)
	_, _, apiKey := tx.APIKeys().ByValueHash(ctx, t.newAPIKey.ValueHash)
	_, code := tx.Codes().Get(ctx, t.newCode.Purpose, t.newCode.Address)
	_, _, identity := tx.SSOIdentities().Get(ctx, t.newIdentity.Provider, t.newIdentity.SubjectHash)
	_, cluster := tx.Clusters().Get(ctx, store.Everyone(), t.newCluster.ID)
	_, operation := tx.Operations().Get(ctx, t.newOperation.ID)
	_, job := tx.Jobs().Get(ctx, t.newJob.ID)
	_, token := tx.Tokens().ByValueHash(ctx, t.newToken.ValueHash)
	_, node := tx.Nodes().Get(ctx, store.Everyone(), t.newNode.ID)
	_, reply := tx.Replies().Get(ctx, t.newReply.ReplyKey)
	return []error{user, session, apiKey, code, identity, cluster, operation, job, token, node, reply}
}
