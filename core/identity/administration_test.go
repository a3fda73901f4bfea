package identity_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
)

const adminAddress = "root@example.org"

func TestABanEndsSessionsAndHoldsBackKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root, u := w.member(t, adminAddress, actor.Admin), w.account(t)
	key := w.key(t, u, nil)
	_, token := w.signIn(t)
	banned, err := w.SetStatus(w.as(t, root), u.ID, identity.Banned)
	if err != nil || banned.Status != "banned" {
		t.Fatalf("%+v, %v", banned, err)
	}
	out := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, _, err = w.Session(t.Context(), token)
	out("a session of a banned account", err)
	_, _, err = w.APIKey(t.Context(), secret.New(key.Value))
	out("a key of a banned account", err)
	if _, err := w.SetStatus(w.as(t, root), u.ID, identity.Active); err != nil {
		t.Fatal(err)
	}
	_, _, err = w.Session(t.Context(), token)
	out("a session from before the ban", err)
	if _, _, err := w.APIKey(t.Context(), secret.New(key.Value)); err != nil {
		t.Errorf("a key after the ban: %v", err)
	}
	w.signIn(t)
	before := w.dump()
	if _, err := w.SetStatus(w.as(t, root), u.ID, identity.Active); err != nil || w.dump() != before {
		t.Errorf("what is so already: %v", err)
	}
	if got := strings.Join(w.events(t), ", "); !strings.Contains(got, "user/ban success by user, user/activate success by user") {
		t.Errorf("recorded %s", got)
	}
}

func TestARoleCountsFromTheNextRequestOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root, u := w.member(t, adminAddress, actor.Admin), w.account(t)
	_, token := w.signIn(t)
	for _, role := range []actor.Role{actor.Admin, actor.Operator, actor.User, actor.User} {
		if _, err := w.SetRole(w.as(t, root), u.ID, role); err != nil {
			t.Fatal(err)
		}
		if who, _, err := w.Session(t.Context(), token); err != nil || who.Role != role {
			t.Errorf("%s: %+v, %v", role, who, err)
		}
	}
	if n := strings.Count(strings.Join(w.events(t), ", "), "user/update_role success by user"); n != 3 {
		t.Errorf("%d changes are on record", n)
	}
}

func TestAnAdministratorResetsAPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root, u := w.member(t, adminAddress, actor.Admin), w.account(t)
	_, token := w.signIn(t)
	made, err := w.ResetPasswordOf(w.as(t, root), u.ID, secret.Text{})
	if err != nil || len(made.Reveal()) != 24 {
		t.Fatal(err)
	}
	if _, _, err := w.Session(t.Context(), token); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("the session goes on: %v", err)
	}
	if strings.Contains(w.dump()+w.log.String(), `"`+made.Reveal()) {
		t.Error("the password is kept")
	}
	if _, _, err := w.SignIn(t.Context(), address, made, identity.Client{}); err != nil {
		t.Errorf("the password that was made: %v", err)
	}
	for _, weak := range []string{"short", "password1", "example!9", strings.Repeat("x", 129)} {
		if _, err := w.ResetPasswordOf(w.as(t, root), u.ID, secret.New(weak)); strings.Join(fields(err), " ") == "" || fields(err)[0] != "body.new_password" {
			t.Errorf("%q: %v", weak, err)
		}
	}
	const chosen = "chosen by an administrator"
	if again, err := w.ResetPasswordOf(w.as(t, root), u.ID, secret.New(chosen)); err != nil || !again.IsZero() {
		t.Errorf("chosen: %v", err)
	}
	if _, _, err := w.SignIn(t.Context(), address, secret.New(chosen), identity.Client{}); err != nil {
		t.Errorf("the password that was chosen: %v", err)
	}
}

// administration is everything that only administrators may do to u.
func (w *world) administration(ctx context.Context, u id.User) map[string]error {
	_, list := w.Accounts(ctx, store.UserFilter{}, page.Query{})
	_, read := w.Account(ctx, u)
	_, history := w.SignInsOf(ctx, u, page.Query{})
	_, status := w.SetStatus(ctx, u, identity.Banned)
	_, role := w.SetRole(ctx, u, actor.User)
	_, reset := w.ResetPasswordOf(ctx, u, secret.Text{})
	return map[string]error{"list": list, "read": read, "history": history, "status": status, "role": role, "reset": reset}
}

func TestOnlyAdministratorsAdminister(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	before := w.dump()
	for what, ctx := range map[string]context.Context{
		"operator": coretest.As(t.Context(), coretest.NewUser(), actor.Operator), "user": w.as(t, u), "nobody": t.Context(),
	} {
		for call, err := range w.administration(ctx, u.ID) {
			if want := map[bool]fault.Kind{true: fault.Unauthenticated, false: fault.Denied}[what == "nobody"]; !errors.Is(err, want) {
				t.Errorf("%s by %s: %v", call, what, err)
			}
		}
	}
	if w.dump() != before {
		t.Error("a refusal changed something")
	}
}

func TestAdministratorsLeaveThemselvesAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root := w.member(t, adminAddress, actor.Admin)
	w.member(t, "second@example.org", actor.Admin)
	before := w.dump()
	for call, err := range w.administration(w.as(t, root), root.ID) {
		reads := call == "list" || call == "read" || call == "history"
		if reads && err != nil || !reads && fault.CodeOf(err) != "own_account" {
			t.Errorf("%s: %v", call, err)
		}
	}
	for call, err := range w.administration(w.as(t, root), coretest.NewUser()) {
		if call != "list" && fault.CodeOf(err) != "user_not_found" {
			t.Errorf("%s of nobody: %v", call, err)
		}
	}
	if _, err := w.SetRole(w.as(t, root), coretest.NewUser(), "king"); strings.Join(fields(err), "") != "body.role" {
		t.Errorf("a role that there is not: %v", err)
	}
	if _, err := w.SetStatus(w.as(t, root), coretest.NewUser(), "asleep"); strings.Join(fields(err), "") != "body.status" {
		t.Errorf("a status that there is not: %v", err)
	}
	if w.dump() != before {
		t.Error("a refusal changed something")
	}
}

// TestARightThatWasTakenMeanwhileIsNotUsed: the request was let in before.
func TestARightThatWasTakenMeanwhileIsNotUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	for what, c := range map[string]struct {
		change func(*store.User)
		code   string
	}{
		"banned":  {func(u *store.User) { u.Status = string(identity.Banned) }, "unauthenticated"},
		"demoted": {func(u *store.User) { u.Role = string(actor.Operator) }, "forbidden"},
	} {
		root := w.member(t, what+"@example.org", actor.Admin)
		ctx := w.as(t, root)
		w.edit(t, root.ID, c.change)
		before := w.dump()
		if _, err := w.SetStatus(ctx, u.ID, identity.Banned); fault.CodeOf(err) != c.code || w.dump() != before {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := w.SetRole(coretest.As(t.Context(), coretest.NewUser(), actor.Admin), u.ID, actor.Admin); fault.CodeOf(err) != "unauthenticated" {
		t.Errorf("removed: %v", err)
	}
}

func TestOfAdministratorsWhoBanEachOtherOneStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	everyoneAgainstTheNext(t, w.Service, w.member(t, "a@example.org", actor.Admin), w.member(t, "b@example.org", actor.Admin), w.member(t, "c@example.org", actor.Admin))
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		if n, err := tx.Users().CountByRole(ctx, string(actor.Admin)); err != nil || n < 1 {
			t.Errorf("%d administrators are left, %v", n, err)
		}
		return nil
	})
}

// everyoneAgainstTheNext has all administrators ban or demote each other at once.
func everyoneAgainstTheNext(t *testing.T, s *identity.Service, all ...store.User) {
	t.Helper()
	var wg sync.WaitGroup
	for i, u := range all {
		for j, next := range all {
			if i == j {
				continue
			}
			wg.Go(func() {
				ctx := coretest.As(t.Context(), u.ID, actor.Admin)
				var err error
				if (i+j)%2 == 0 {
					_, err = s.SetStatus(ctx, next.ID, identity.Banned)
				} else {
					_, err = s.SetRole(ctx, next.ID, actor.User)
				}
				if err != nil && !errors.Is(err, fault.Unauthenticated) && !errors.Is(err, fault.Denied) && fault.CodeOf(err) != "stale_version" {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
}

// TestAnAPIKeyMakesNobodyAnAdministrator, and sets nobody's password: what was
// done with a key that was found would outlive its deletion.
func TestAnAPIKeyMakesNobodyAnAdministrator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.account(t)
	root, err := w.Create(t.Context(), identity.NewAccount{Email: "root@example.net", Role: actor.Admin, Password: secret.New(password)})
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[actor.Role]string{actor.Admin: "session_required", actor.User: "forbidden"} {
		ctx := actor.With(t.Context(), actor.Actor{Type: actor.Person, Method: actor.ByAPIKey, UserID: root.ID, Role: role})
		before := w.dump()
		_, err := w.SetRole(ctx, u.ID, actor.Admin)
		_, err2 := w.ResetPasswordOf(ctx, u.ID, secret.Text{})
		if fault.CodeOf(err) != want || fault.CodeOf(err2) != want || w.dump() != before {
			t.Errorf("a key with the role %s: %v; %v", role, err, err2)
		}
	}
}
