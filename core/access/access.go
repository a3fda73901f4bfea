// Package access says which role may see and change what. It is asked by every
// service and decides nothing about the things themselves.
package access

import (
	"context"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Reads returns who is asking and what they may read: admins, operators and
// the platform itself everything, users what they own.
func Reads(ctx context.Context) (actor.Actor, store.Scope, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return who, store.Scope{}, err
	}
	if who.Type == actor.System || who.Role == actor.Admin || who.Role == actor.Operator {
		return who, store.Everyone(), nil
	}
	return who, store.OwnedBy(who.UserID), nil
}

// Manages refuses unless who may change, delete or get the credentials of what
// owner has. Operators may not. Call it with a thing that who can read: a
// thing that is hidden must look absent instead.
func Manages(who actor.Actor, owner id.User) error {
	if who.Type == actor.System || who.Role == actor.Admin || (!owner.IsZero() && who.UserID == owner) {
		return nil
	}
	return Forbidden()
}

// Administers refuses unless the actor in ctx is an admin.
func Administers(ctx context.Context) (actor.Actor, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return who, err
	}
	if who.Role != actor.Admin {
		return who, Forbidden()
	}
	return who, nil
}

// InPerson refuses unless the actor in ctx has signed in. It is for what somebody
// who found an API key must not get: another key, somebody's role or
// password, which would outlive the one that was found, or the end of the account.
func InPerson(ctx context.Context) (actor.Actor, error) {
	who, err := actor.From(ctx)
	if err != nil {
		return who, err
	}
	if who.Method != actor.BySession {
		return who, fault.Denied.New("session_required", "This cannot be done with an API key. Sign in.")
	}
	return who, nil
}

// Forbidden is the refusal of something the actor knows of but may not do.
func Forbidden() error {
	return fault.Denied.New("forbidden", "Your role does not allow this.")
}
