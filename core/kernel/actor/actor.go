// Package actor carries who is asking, from the edge that checked it to the
// audit event that records it.
package actor

import (
	"context"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// Role is what an account may do.
type Role string

const (
	Admin    Role = "admin"    // everything
	Operator Role = "operator" // reads all clusters, writes to workloads and nodes of all
	User     Role = "user"     // only what they own
)

// Known reports whether r is one of the roles.
func (r Role) Known() bool { return r == Admin || r == Operator || r == User }

// Type tells people from machinery in the audit stream.
type Type string

const (
	Person    Type = "user"
	Machine   Type = "node"
	System    Type = "system"
	Anonymous Type = "anonymous"
)

// Method is how the actor proved who it is.
type Method string

const (
	BySession   Method = "session"
	ByAPIKey    Method = "api_key"
	ByPassword  Method = "password"
	ByCode      Method = "email_code" // one that was mailed
	BySSO       Method = "sso"        // the word of a sign-in provider
	ByJoinToken Method = "join_token"
	ByProcess   Method = "process"
)

// Actor is who does something. The zero Actor is nobody.
type Actor struct {
	Type    Type
	Method  Method
	UserID  id.User    // set for a Person
	Role    Role       // set for a Person
	Session id.Session // set for BySession
}

// Process is the platform itself, acting on what people asked for before.
func Process() Actor { return Actor{Type: System, Method: ByProcess} }

type key struct{}

// With returns ctx speaking for a. Only inbound adapters and workers call it.
func With(ctx context.Context, a Actor) context.Context { return context.WithValue(ctx, key{}, a) }

// From returns who is asking. A missing actor is a denial, never a default:
// a path that forgot to authenticate must not look like the system.
func From(ctx context.Context) (Actor, error) {
	if a, ok := ctx.Value(key{}).(Actor); ok && a.Type != "" && a.Type != Anonymous {
		return a, nil
	}
	return Actor{}, fault.Unauthenticated.New("unauthenticated", "Sign in first.")
}
