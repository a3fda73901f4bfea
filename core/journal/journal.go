// Package journal writes down who did what, in the transaction that did it: an
// event is there exactly when its change is.
//
// Secrets never enter an event. Messages name things by id and name only.
package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Result is how an action ended.
type Result string

const (
	Success Result = "success"
	Failure Result = "failure"
)

// Event is something that happened to a resource.
type Event struct {
	Resource    string // "cluster"
	Action      string // "create_requested"
	ResourceID  string
	Result      Result // empty: Success
	Message     string // a plain sentence
	ClusterID   id.Cluster
	ClusterName string
	NodeName    string
}

// security is the set of events behind category=security.
var security = map[string]bool{ //nolint:gochecknoglobals // a constant table
	"session/login": true, "session/logout": true,
	"user/register": true, "user/create": true, "user/update_profile": true, "user/update_avatar": true,
	"user/reset_password": true, "user/delete_current_user": true, "user/ban": true, "user/activate": true,
	"user/update_role": true,
	"token/create":     true, "token/revoke": true, "token/used": true,
	"api_key/create": true, "api_key/delete": true,
	"cluster/create_requested": true, "cluster/create_failed": true, "cluster/create_succeeded": true,
	"cluster/delete_requested": true, "cluster/delete_failed": true, "cluster/delete_succeeded": true,
	"cluster/kubeconfig_read": true, "cluster/kubectl_exec": true,
	"cluster/settings_update_requested": true, "cluster/settings_update_failed": true, "cluster/settings_updated": true,
	"cluster/registered": true, "cluster/registration_updated": true, "cluster/unregistered": true,
	"node/cordoned": true, "node/uncordoned": true, "node/drained": true, "node/deleted": true,
	"node/joined": true, "node/offline": true,
	"system_settings/update": true, "notification_settings/update": true, "notification_settings/test": true, "notification_delivery/retry": true,
	"encryption_key/rotate_data_key": true, "encryption_key/rotate_master_key": true,
}

// Journal makes events. It is a value with no state of its own.
type Journal struct {
	Now    func() time.Time
	Random id.Random
}

// Write records e as done by the actor in ctx.
func (j Journal) Write(ctx context.Context, tx store.Tx, e Event) error {
	who, err := actor.From(ctx)
	if err != nil {
		return err
	}
	return j.WriteAs(ctx, tx, who, e)
}

// WriteAs records e as done by who, for the moments at which there is no actor
// in the context yet, such as signing in.
func (j Journal) WriteAs(ctx context.Context, tx store.Tx, who actor.Actor, e Event) error {
	if err := tx.Audit().Append(ctx, j.Entry(who, e)); err != nil {
		return fmt.Errorf("record %s/%s: %w", e.Resource, e.Action, err)
	}
	return nil
}

// Entry returns what WriteAs writes, for those who write many at once.
func (j Journal) Entry(who actor.Actor, e Event) store.AuditEvent {
	now := j.Now()
	if e.Result == "" {
		e.Result = Success
	}
	return store.AuditEvent{
		ID: id.New[id.AuditKind](now, j.Random()), OccurredAt: now,
		ActorUserID: who.UserID, ActorType: string(who.Type), ActorMethod: string(who.Method),
		ResourceType: e.Resource, ResourceID: e.ResourceID, Action: e.Action, Result: string(e.Result),
		Message: e.Message, ClusterID: e.ClusterID, ClusterName: e.ClusterName, NodeName: e.NodeName,
		Security: security[e.Resource+"/"+e.Action],
	}
}
