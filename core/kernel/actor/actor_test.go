package actor_test

import (
	"errors"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

func TestAMissingActorIsADenialNeverADefault(t *testing.T) {
	t.Parallel()
	for name, ctx := range map[string]error{
		"none": second(actor.From(t.Context())), "zero": second(actor.From(actor.With(t.Context(), actor.Actor{}))),
		"anonymous": second(actor.From(actor.With(t.Context(), actor.Actor{Type: actor.Anonymous, Role: actor.Admin}))),
	} {
		if !errors.Is(ctx, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, ctx)
		}
	}
}

func second(_ actor.Actor, err error) error { return err }

func TestTheActorThatWentInComesOut(t *testing.T) {
	t.Parallel()
	ctx := actor.With(actor.With(t.Context(), actor.Process()), actor.Actor{Type: actor.Person, Role: actor.User})
	if got, err := actor.From(ctx); err != nil || got.Type != actor.Person {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestOnlyThreeRolesAreKnown(t *testing.T) {
	t.Parallel()
	for r, want := range map[actor.Role]bool{actor.Admin: true, actor.Operator: true, actor.User: true, "": false, "root": false, "Admin": false} {
		if r.Known() != want {
			t.Errorf("%q known: %v", r, !want)
		}
	}
}
