// Package memstore keeps everything in memory. It is the reference store: the
// plainest code that passes [storetest.Run], and what unit tests run on. What
// it holds is gone with the process.
//
// Transactions run one at a time on a copy of the tables that they change;
// commit publishes the copy. Reads by [Store.View] therefore never wait.
package memstore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

var _ store.Store = (*Store)(nil)

// Store is a store that forgets.
type Store struct {
	writer    chan struct{} // holds one token: whoever has it may write
	committed atomic.Pointer[state]
}

// New returns an empty store.
func New() *Store {
	s := &Store{writer: make(chan struct{}, 1)}
	s.committed.Store(&state{})
	return s
}

// state is all there is. A published state is never changed.
type state struct {
	users       table[id.User, store.User]
	sessions    table[id.Session, store.Session]
	apiKeys     table[id.APIKey, store.APIKey]
	codes       table[codeKey, store.Code]
	identities  table[identityKey, store.SSOIdentity]
	signIns     table[id.SignIn, store.SignIn]
	avatars     table[id.User, store.Avatar]
	preferences table[id.User, store.Preferences]
	settings    table[string, store.Setting]
	deliveries  table[id.Delivery, store.Delivery]
	clusters    table[id.Cluster, store.Cluster]
	fleet       table[id.Cluster, store.FleetEntry]
	contents    table[id.Cluster, store.Contents]
	operations  table[id.Operation, store.Operation]
	jobs        table[id.Job, store.Job]
	tokens      table[id.Token, store.Token]
	nodes       table[id.Node, store.Node]
	nodeEvents  journal[store.NodeEvent]
	audit       journal[store.AuditEvent]
	outbox      journal[store.OutboxMessage]
	replies     table[store.ReplyKey, store.Reply]
	leases      table[string, lease]
	facts       table[string, []byte]
	samples     table[sampleKey, store.ControlPlaneSample]
	lastNumber  int64
}

// InTx runs do on a copy and publishes the copy if do returns nil.
func (s *Store) InTx(ctx context.Context, do func(ctx context.Context, tx store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.writer <- struct{}{}:
		defer func() { <-s.writer }()
	case <-ctx.Done():
		return ctx.Err()
	}
	work := *s.committed.Load()
	u := &unit{state: &work}
	defer u.ended.Store(true)
	if err := do(ctx, tx{u}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.committed.Store(&work)
	return nil
}

// View runs do on what is committed when it begins.
func (s *Store) View(ctx context.Context, do func(ctx context.Context, tx store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	u := &unit{state: s.committed.Load(), readOnly: true}
	defer u.ended.Store(true)
	return do(ctx, tx{u})
}

// Ping fails only for a context that has ended.
func (s *Store) Ping(ctx context.Context) error { return ctx.Err() }

// unit is one call of InTx or View.
type unit struct {
	*state
	readOnly bool
	ended    atomic.Bool
}

var (
	errEnded    = errors.New("memstore: the transaction has ended")
	errReadOnly = errors.New("memstore: a View only reads")
)

// reads is asked before every read.
func (u *unit) reads(ctx context.Context) error {
	if u.ended.Load() {
		return errEnded
	}
	return ctx.Err()
}

// writes is asked before every write, and before every read that locks.
func (u *unit) writes(ctx context.Context) error {
	if u.readOnly {
		return errReadOnly
	}
	return u.reads(ctx)
}

type tx struct{ u *unit }

func (t tx) Users() store.Users                 { return users{t.u} }
func (t tx) Sessions() store.Sessions           { return sessions{t.u} }
func (t tx) APIKeys() store.APIKeys             { return apiKeys{t.u} }
func (t tx) Codes() store.Codes                 { return codes{t.u} }
func (t tx) SSOIdentities() store.SSOIdentities { return identities{t.u} }
func (t tx) SignIns() store.SignIns             { return signIns{t.u} }
func (t tx) Avatars() store.Avatars             { return avatars{t.u} }
func (t tx) Preferences() store.AllPreferences  { return preferences{t.u} }
func (t tx) Settings() store.Settings           { return settings{t.u} }
func (t tx) Deliveries() store.Deliveries       { return deliveries{t.u} }
func (t tx) Clusters() store.Clusters           { return clusters{t.u} }
func (t tx) Fleet() store.Fleet                 { return fleet{t.u} }
func (t tx) Operations() store.Operations       { return operations{t.u} }
func (t tx) Jobs() store.Jobs                   { return jobs{t.u} }
func (t tx) Tokens() store.Tokens               { return tokens{t.u} }
func (t tx) Nodes() store.Nodes                 { return nodes{t.u} }
func (t tx) NodeEvents() store.NodeEvents       { return nodeEvents{t.u} }
func (t tx) Audit() store.Audit                 { return audit{t.u} }
func (t tx) Outbox() store.Outbox               { return outbox{t.u} }
func (t tx) Replies() store.Replies             { return replies{t.u} }
func (t tx) Leases() store.Leases               { return leases{t.u} }
func (t tx) Facts() store.Facts                 { return facts{t.u} }

// Now is the process's time: nobody else shares this store.
func (t tx) Now(ctx context.Context) (time.Time, error) {
	return time.Now().UTC().Truncate(time.Millisecond), t.u.reads(ctx)
}

func (t tx) ControlPlaneSamples() store.ControlPlaneSamples { return samples{t.u} }
