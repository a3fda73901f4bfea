package access_test

import (
	"context"
	"errors"
	"testing"

	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
)

func TestWhoReadsAndManagesWhat(t *testing.T) {
	t.Parallel()
	me, other := coretest.NewUser(), coretest.NewUser()
	type rights struct{ readsMine, readsOthers, readsNobodys, managesMine, managesOthers, managesNobodys, administers bool }
	for name, c := range map[string]struct {
		who  actor.Actor
		want rights
	}{
		"admin":       {actor.Actor{Type: actor.Person, UserID: me, Role: actor.Admin}, rights{true, true, true, true, true, true, true}},
		"operator":    {actor.Actor{Type: actor.Person, UserID: me, Role: actor.Operator}, rights{true, true, true, true, false, false, false}},
		"user":        {actor.Actor{Type: actor.Person, UserID: me, Role: actor.User}, rights{true, false, false, true, false, false, false}},
		"no role":     {actor.Actor{Type: actor.Person, UserID: me}, rights{true, false, false, true, false, false, false}},
		"the process": {actor.Process(), rights{true, true, true, true, true, true, false}},
		"a machine":   {actor.Actor{Type: actor.Machine, Method: actor.ByJoinToken}, rights{}},
	} {
		ctx := actor.With(t.Context(), c.who)
		_, scope, err := access.Reads(ctx)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err = access.Administers(ctx)
		got := rights{
			scope.Sees(me), scope.Sees(other), scope.Sees(id.User{}),
			access.Manages(c.who, me) == nil, access.Manages(c.who, other) == nil, access.Manages(c.who, id.User{}) == nil, err == nil,
		}
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestNobodyReadsNothing(t *testing.T) {
	t.Parallel()
	for name, ctx := range map[string]context.Context{
		"no actor":  t.Context(),
		"anonymous": actor.With(t.Context(), actor.Actor{Type: actor.Anonymous, Role: actor.Admin}),
	} {
		_, scope, err := access.Reads(ctx)
		if !errors.Is(err, fault.Unauthenticated) || scope.Sees(coretest.NewUser()) || scope.Sees(id.User{}) {
			t.Errorf("%s: reads with %v", name, err)
		}
		if _, err := access.Administers(ctx); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: administers with %v", name, err)
		}
	}
}

func TestARefusalIsForbidden(t *testing.T) {
	t.Parallel()
	err := access.Manages(actor.Actor{Type: actor.Person, Role: actor.Operator, UserID: coretest.NewUser()}, coretest.NewUser())
	if fault.KindOf(err) != fault.Denied || fault.CodeOf(err) != "forbidden" {
		t.Errorf("got %v", err)
	}
}

func TestAnAPIKeyIsNotAPerson(t *testing.T) {
	t.Parallel()
	for method, code := range map[actor.Method]string{actor.BySession: "internal", actor.ByAPIKey: "session_required", actor.ByProcess: "session_required"} {
		who, err := access.InPerson(actor.With(t.Context(), actor.Actor{Type: actor.Person, Role: actor.Admin, Method: method}))
		if got := fault.CodeOf(err); got != code && (err != nil || method != actor.BySession) || who.Method != method {
			t.Errorf("%s: %v", method, err)
		}
	}
	if _, err := access.InPerson(t.Context()); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("nobody: %v", err)
	}
}
