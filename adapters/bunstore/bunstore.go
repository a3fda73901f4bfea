// Package bunstore is the store in PostgreSQL or SQLite, through bun. It owns
// the tables and the migrations that make them, and no rule of the domain but
// those that package store states. Both databases keep the same tables and pass
// the same suite; what differs between them is in postgres.go and sqlite.go.
package bunstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/store"
)

var _ store.Store = (*Store)(nil)

// Config says which database to use.
type Config struct {
	// URL is postgres://user:password@host:port/name?… or sqlite:PATH.
	URL string
	// Log hears of migrations; nil is silence.
	Log *slog.Logger
	// MaxConns bounds the connections to the database; zero is [DefaultMaxConns].
	MaxConns int
	// Deadline ends transactions and reads whose caller has set none, and any
	// statement in PostgreSQL; zero is [DefaultDeadline].
	Deadline time.Duration
	// LockWait bounds the wait for what somebody else has locked in PostgreSQL;
	// zero is [DefaultLockWait].
	LockWait time.Duration
	// Sole refuses the start of a second process that is to have a SQLite file for
	// itself. Others may open it meanwhile, as administrators' commands do.
	Sole bool
}

// DefaultMaxConns keeps three processes within the hundred connections that a
// PostgreSQL allows when nobody has told it otherwise.
const DefaultMaxConns = 24

const (
	// DefaultDeadline is far beyond what any transaction of KubeBYON takes.
	DefaultDeadline = 30 * time.Second
	// DefaultLockWait leaves time for a queue of writers on one row, and answers
	// whoever asked while they still wait.
	DefaultLockWait = 5 * time.Second
)

// String hides the URL, which may hold a password.
func (c Config) String() string { return "bunstore.Config[redacted]" }

// GoString hides what String hides.
func (c Config) GoString() string { return c.String() }

// LogValue hides what String hides.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Store runs transactions on one database.
type Store struct {
	writer   *bun.DB // every transaction
	reader   *bun.DB // every View; the same as writer where there is one pool
	prepares bool    // what is asked often: it is worth it
	engine   engine
	deadline time.Duration
	log      *slog.Logger
	sole     bool
	release  func() error // gives back what Start has taken; nil: nothing yet
}

// engine is what a database does in its own way.
type engine interface { //nolint:interfacebloat // two databases, and all that tells them apart
	// seize takes the database for this process, where only one may have it, until
	// it is released.
	seize() (release func() error, err error)
	// prepare readies what must be there before the first connection.
	prepare() error
	// explain puts a failure to connect into a plain sentence.
	explain(err error) error
	// unique returns the violated constraint, "" where the database tells only
	// that a constraint other than the primary key was violated, and whether err
	// is such a violation at all.
	unique(err error) (constraint string, ok bool)
	// again reports whether the same transaction may succeed when tried again.
	again(err error) bool
	// down reports whether err means that the database does not answer.
	down(err error) bool
	// late reports whether the database gave up because somebody else holds what
	// was wanted, or because it took too long.
	late(err error) bool
	// migrator returns connections for migrations, on the writer's database, and
	// what ends them.
	migrator(writer *sql.DB) (db *sql.DB, done func() error)
	// sql returns what is spelled differently.
	sql() spelling
	// migrations returns what makes the tables.
	migrations() migrations
}

// spelling is SQL that differs.
type spelling struct {
	ping      string
	forUpdate string // how a SELECT locks its rows; empty: it need not
	// forReference is how a SELECT keeps its rows, which others may refer to and
	// change, from being removed; empty: it need not.
	forReference string
	skipLocked   string // ends a SELECT that locks its rows, and passes by what others have locked
	claimOutbox  string // returns whether this transaction may publish
	now          string // returns the database's time; empty: it is the process's
	nextNumber   string // returns a cluster number that was never used
	writesMany   bool   // whether a WITH may write
	rowID        string // names a row of any table until it is changed
	stepOf       string // of a step in seconds: where the step begins that the time in the column at lies in
	contains     string // of a text: whether search_text has it in it
	// search leaves the rows that have a text in their search_text, found with an
	// index where there is one for so short a text.
	search      func(q *bun.SelectQuery, text string)
	hasVersions string // returns whether the table of applied migrations is there
}

// New checks cfg and connects to nothing yet.
func New(cfg Config) (*Store, error) {
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.Deadline <= 0 {
		cfg.Deadline = DefaultDeadline
	}
	if cfg.LockWait <= 0 {
		cfg.LockWait = DefaultLockWait
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	scheme, rest, _ := strings.Cut(cfg.URL, ":")
	var s *Store
	var err error
	switch scheme {
	case "postgres", "postgresql":
		s, err = newPostgres(cfg)
	case "sqlite":
		s, err = newSQLite(cfg, rest)
	default:
		err = errURL
	}
	if err != nil {
		return nil, err
	}
	s.sole = cfg.Sole
	return s, nil
}

var errURL = errors.New("the database URL is not valid; it looks like postgres://user:password@host:5432/name or sqlite:/path/to/file")

// Open connects, and refuses a database that a newer program has migrated. It
// leaves the tables as they are: see [Store.Migrate].
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Start connects and migrates. After it the store is ready. It fails with
// fault.Unavailable for what may mend by itself: a database that does not answer,
// or that refuses the connection.
func (s *Store) Start(ctx context.Context) (err error) {
	if s.sole && s.release == nil {
		if s.release, err = s.engine.seize(); err != nil {
			return err
		}
	}
	limited, cancel := context.WithTimeout(ctx, s.deadline)
	defer cancel()
	if err := s.connect(limited); err != nil {
		return s.passing(err)
	}
	return s.passing(s.Migrate(ctx))
}

// passing marks an error that is nobody's mistake but that the database is away.
func (s *Store) passing(err error) error {
	if err != nil && (s.engine.down(err) || s.engine.late(err) || errors.Is(err, context.DeadlineExceeded)) {
		return away{err}
	}
	return err
}

// away is an error that waiting may mend.
type away struct{ error }

func (a away) Unwrap() error { return a.error }

func (away) Is(target error) bool { return target == error(fault.Unavailable) }

func (s *Store) connect(ctx context.Context) error {
	if err := s.engine.prepare(); err != nil {
		return err
	}
	for _, db := range []*bun.DB{s.writer, s.reader} { // the writer first: it makes the file what the reader expects
		if _, err := db.ExecContext(ctx, s.engine.sql().ping); err != nil {
			return s.engine.explain(err)
		}
	}
	return s.refuseNewer(ctx)
}

// Close waits for running queries and ends all connections.
func (s *Store) Close() error {
	if s.reader == s.writer {
		return s.writer.Close()
	}
	err := errors.Join(s.reader.Close(), s.writer.Close())
	if s.release != nil {
		err = errors.Join(err, s.release())
	}
	return err
}

// Pools says how the connections to the database are used.
func (s *Store) Pools() map[string]sql.DBStats {
	if s.reader == s.writer {
		return map[string]sql.DBStats{"all": s.writer.Stats()}
	}
	return map[string]sql.DBStats{"reads": s.reader.Stats(), "writes": s.writer.Stats()}
}

// Ping fails when the database does not answer.
func (s *Store) Ping(ctx context.Context) error {
	limited, cancel := s.limited(ctx)
	defer cancel()
	_, err := s.reader.ExecContext(limited, s.engine.sql().ping)
	return s.outcome(ctx, limited, err)
}

// attempts bounds how often a transaction is tried that others keep spoiling.
const attempts = 8

// InTx runs do in a transaction, and again when the database says that another
// came first, or when it turns out that the connection was lost before do was
// called. One that is lost later fails: nobody can tell then whether a commit
// that was under way has happened.
func (s *Store) InTx(ctx context.Context, do func(ctx context.Context, tx store.Tx) error) error {
	limited, cancel := s.limited(ctx)
	defer cancel()
	var err error
	for n := range attempts {
		if n > 0 && !pause(limited, n) {
			break
		}
		began := false
		err = s.once(limited, func(ctx context.Context, tx store.Tx) error {
			began = true
			return do(ctx, tx)
		})
		if err == nil || !s.engine.again(err) && (began || !s.engine.down(err)) {
			break
		}
	}
	return s.outcome(ctx, limited, err)
}

func (s *Store) once(ctx context.Context, do func(ctx context.Context, tx store.Tx) error) error {
	return s.writer.RunInTx(ctx, nil, func(ctx context.Context, db bun.Tx) error {
		u := &unit{db: db, engine: s.engine}
		if s.prepares {
			u.prepares = db.Tx
		}
		defer u.ended.Store(true)
		return do(ctx, tx{u})
	})
}

// limited gives work an end whose caller has set none.
func (s *Store) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.deadline)
}

// pause waits before try n, from a few milliseconds up to half a second, spread
// so that those who collided do not collide again. It reports false when ctx
// ends first.
func pause(ctx context.Context, n int) bool {
	longest := min(4*time.Millisecond<<n, 500*time.Millisecond)
	t := time.NewTimer(rand.N(longest)) //nolint:gosec // not a secret
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// View runs do outside any transaction: one round trip a read.
func (s *Store) View(ctx context.Context, do func(ctx context.Context, tx store.Tx) error) error {
	limited, cancel := s.limited(ctx)
	defer cancel()
	u := &unit{db: s.reader, engine: s.engine, readOnly: true}
	if s.prepares {
		u.prepares = s.reader.DB
	}
	defer u.ended.Store(true)
	return s.outcome(ctx, limited, do(limited, tx{u}))
}

// outcome tells callers whether a failure is theirs, the database's, or that of
// a context that ended: drivers name that one in many ways. ctx is the caller's,
// and limited the one that the work had.
func (s *Store) outcome(ctx, limited context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	if _, named := errors.AsType[*fault.Error](err); named {
		return err
	}
	if s.engine.again(err) || s.engine.late(err) || limited.Err() != nil {
		return fault.Unavailable.New("store_busy", "Too many changes at once. Try again.").Because(err)
	}
	if s.engine.down(err) {
		return fault.Unavailable.New("store_unavailable", "The database does not answer. Try again.").Because(err)
	}
	return err
}

// unit is one call of InTx or View.
type unit struct {
	db       bun.IDB
	engine   engine
	readOnly bool
	prepares bun.IConn // nil: it is not worth it
	ended    atomic.Bool
}

var (
	errEnded    = errors.New("bunstore: the transaction has ended")
	errReadOnly = errors.New("bunstore: a View only reads")
)

// reads is asked before every read.
func (u *unit) reads() error {
	if u.ended.Load() {
		return errEnded
	}
	return nil
}

// writes is asked before every write, and before every read that locks.
func (u *unit) writes() error {
	if u.readOnly {
		return errReadOnly
	}
	return u.reads()
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

// Now asks the database, unless it is a file on this machine.
func (t tx) Now(ctx context.Context) (time.Time, error) {
	if err := t.u.reads(); err != nil {
		return time.Time{}, err
	}
	now, ask := time.Now(), t.u.engine.sql().now
	if ask == "" {
		return now.UTC().Truncate(time.Millisecond), ctx.Err()
	}
	if err := t.u.db.NewRaw(ask).Scan(ctx, &now); err != nil {
		return time.Time{}, err
	}
	return now.UTC().Truncate(time.Millisecond), nil
}

func (t tx) ControlPlaneSamples() store.ControlPlaneSamples { return samples{t.u} }
