// Package store is the system of record. It is one port, not one per table,
// because what commits together must be swapped together.
//
// Records are plain data; the packages under core give them meaning. Times are
// UTC with millisecond precision. Text is valid UTF-8 without NUL bytes; a
// store refuses other text with fault.Invalid. Absent times are nil.
//
// Lists are newest first: by descending id. Every read of something that has
// an owner takes a [Scope]; what lies outside it does not exist for that read.
//
// Implementations are checked by [storetest.Run].
package store

import (
	"context"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// Store runs units of work.
type Store interface {
	// InTx calls do with a transaction and commits it if do returns nil. It may
	// call do again after a serialization conflict or deadlock, so whatever do
	// does outside tx must be safe to repeat. Others see the writes only after
	// InTx returns. The isolation is read committed or better.
	InTx(ctx context.Context, do func(ctx context.Context, tx Tx) error) error
	// View calls do for reads only, possibly without a transaction: two reads
	// may see different moments. Every writing call on tx fails.
	View(ctx context.Context, do func(ctx context.Context, tx Tx) error) error
	// Ping fails when the store cannot answer.
	Ping(ctx context.Context) error
}

// Tx is everything one unit of work may touch. It is invalid after do returns.
type Tx interface {
	Users() Users
	Sessions() Sessions
	APIKeys() APIKeys
	Codes() Codes
	SSOIdentities() SSOIdentities
	SignIns() SignIns
	Avatars() Avatars
	Preferences() AllPreferences
	Settings() Settings
	Deliveries() Deliveries
	Clusters() Clusters
	Fleet() Fleet
	Operations() Operations
	Jobs() Jobs
	Tokens() Tokens
	Nodes() Nodes
	NodeEvents() NodeEvents
	Audit() Audit
	Outbox() Outbox
	Replies() Replies
	Leases() Leases
	Facts() Facts
	// Backlog counts what waits, in one question.
	Backlog(ctx context.Context) (Backlog, error)
	ControlPlaneSamples() ControlPlaneSamples
	// Now is the store's own time, which all processes that share it have in
	// common, whatever their clocks say. It goes on within a transaction.
	Now(ctx context.Context) (time.Time, error)
}

// Scope limits what a read may see. The zero Scope sees nothing.
type Scope struct {
	owner    id.User
	everyone bool
}

// OwnedBy sees what belongs to one user.
func OwnedBy(u id.User) Scope { return Scope{owner: u} }

// Everyone sees all. Name it only where a role or a process has that right.
func Everyone() Scope { return Scope{everyone: true} }

// Owner returns the user that the scope is limited to, and whether it sees all
// instead. A zero user with false sees nothing.
func (s Scope) Owner() (u id.User, everyone bool) { return s.owner, s.everyone }

// Sees reports whether the scope includes what owner owns.
func (s Scope) Sees(owner id.User) bool {
	return s.everyone || (!owner.IsZero() && s.owner == owner)
}

// Outbox holds messages until they are published.
type Outbox interface {
	Append(ctx context.Context, msgs ...OutboxMessage) error
	// Claim returns up to n unpublished messages, oldest first. Until this
	// transaction ends, Claim in any other returns none or waits: two relays
	// publishing side by side would break the order of messages that share a Key.
	Claim(ctx context.Context, n int) ([]OutboxMessage, error)
	// Remove deletes messages that were published.
	Remove(ctx context.Context, ids ...id.Message) error
}

// OutboxMessage is a message waiting to be published.
type OutboxMessage struct {
	ID   id.Message
	Type string
	Key  string
	At   time.Time
	Body []byte
}

// Replies remember the answers to requests that carried an idempotency key.
type Replies interface {
	// Get fails with fault.NotFound.
	Get(ctx context.Context, k ReplyKey) (Reply, error)
	// Insert fails with fault.Conflict if the key is taken.
	Insert(ctx context.Context, r Reply) error
	// Delete forgets one; a key that is not there is fine.
	Delete(ctx context.Context, k ReplyKey) error
	// DeleteOlderThan removes at most limit replies made before t.
	DeleteOlderThan(ctx context.Context, t time.Time, limit int) (int, error)
}

// ReplyKey is one user's use of one idempotency key on one operation.
type ReplyKey struct {
	User      id.User
	Operation string
	Key       string
}

// Reply is a remembered answer. Sealed is unreadable without the server's key.
type Reply struct {
	ReplyKey
	RequestHash []byte
	Sealed      []byte
	CreatedAt   time.Time
}

// Leases give one of several processes the right to do something for a while.
type Leases interface {
	// Acquire takes or renews, for holder until until, each named lease that is
	// free, has run out at now, or is holder's already; it returns those that
	// holder now has. Two transactions never both get the same one.
	Acquire(ctx context.Context, names []string, holder string, now, until time.Time) ([]string, error)
	// Release gives back what holder holds; names that it does not hold are ignored.
	Release(ctx context.Context, names []string, holder string) error
	// Living returns the leases whose names begin with prefix and that have not
	// run out at now, by name.
	Living(ctx context.Context, prefix string, now time.Time) ([]Lease, error)
	// DeleteExpired removes at most limit leases that ran out before t. It leaves
	// one that another transaction renews or takes over meanwhile.
	DeleteExpired(ctx context.Context, t time.Time, limit int) (int, error)
}

// Lease is what somebody has the right to.
type Lease struct{ Name, Holder string }

// Facts are single values that belong to the whole installation.
type Facts interface {
	// Get fails with fault.NotFound.
	Get(ctx context.Context, name string) ([]byte, error)
	// Set writes or replaces.
	Set(ctx context.Context, name string, value []byte) error
}
