package bunstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite"

	"github.com/kubebyon/kubebyon/core/kernel/bell"
)

//go:embed migrations
var embedded embed.FS

// migrations are the files that make a database's tables, and the lock under
// which they run: processes that start together take turns, and all but the
// first find nothing left to do.
type migrations struct {
	dialect goose.Dialect
	files   string
	// locker returns what keeps others from migrating the same database.
	locker func(ctx context.Context, db *sql.DB, log *slog.Logger) (lock.SessionLocker, error)
}

func (postgres) migrations() migrations {
	return migrations{goose.DialectPostgres, "migrations/postgres", schemaLock}
}

func (f sqliteFile) migrations() migrations {
	return migrations{goose.DialectSQLite3, "migrations/sqlite", func(_ context.Context, _ *sql.DB, log *slog.Logger) (lock.SessionLocker, error) {
		path := f.path + "-migrate"
		return &fileLock{uri: f.uri(path, url.Values{"_txlock": {"exclusive"}}), log: log}, private(path)
	}}
}

// Migrate brings the tables to what this program needs. Each migration is a
// transaction: one that fails leaves the database as the one before it did.
func (s *Store) Migrate(ctx context.Context) error {
	m := s.engine.migrations()
	files, err := fs.Sub(embedded, m.files)
	if err != nil {
		return fmt.Errorf("find migrations: %w", err)
	}
	if err := s.refuseNewer(ctx); err != nil {
		return err
	}
	if err := s.apply(ctx, m, files); err != nil {
		return err
	}
	return s.refuseNewer(ctx) // another program may have been the one to migrate
}

// migrationTries bounds how often a migration asks for a table that others use:
// for about five minutes, with the default of how long it waits each time.
const migrationTries = 100

// apply tries again when a table is in use. A migration must not wait in line for
// one: whoever came later, to read a row, would wait behind it.
func (s *Store) apply(ctx context.Context, m migrations, files fs.FS) error {
	db, done := s.engine.migrator(s.writer.DB)
	err := s.applyOn(ctx, db, m, files)
	for n := 1; n < migrationTries && err != nil && s.engine.late(err); n++ {
		if n%10 == 1 {
			s.log.WarnContext(ctx, "a table that the migration changes is in use by others; trying again", "err", err)
		}
		if !pause(ctx, n) {
			break
		}
		err = s.applyOn(ctx, db, m, files)
	}
	return errors.Join(err, done())
}

func (s *Store) applyOn(ctx context.Context, db *sql.DB, m migrations, files fs.FS) error {
	locker, err := m.locker(ctx, db, s.log)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(m.dialect, db, files,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	done, err := p.Up(ctx)
	for _, r := range done {
		s.log.InfoContext(ctx, "database migrated", "version", r.Source.Version, "took", r.Duration)
	}
	if err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

// SchemaVersion returns the version of the database's tables, zero if it has
// none, and the one that this program makes.
func (s *Store) SchemaVersion(ctx context.Context) (current, known int64, err error) {
	if known, err = s.engine.migrations().newest(); err != nil {
		return 0, 0, err
	}
	var there bool
	if err = s.writer.NewRaw(s.engine.sql().hasVersions).Scan(ctx, &there); err != nil || !there {
		return 0, known, err
	}
	var v sql.NullInt64
	err = s.writer.NewRaw("SELECT max(version_id) FROM goose_db_version WHERE is_applied").Scan(ctx, &v)
	return v.Int64, known, err
}

func (m migrations) newest() (version int64, err error) {
	files, err := fs.ReadDir(embedded, m.files)
	if err != nil {
		return 0, fmt.Errorf("find migrations: %w", err)
	}
	return goose.NumericComponent(files[len(files)-1].Name())
}

func (s *Store) refuseNewer(ctx context.Context) error {
	current, known, err := s.SchemaVersion(ctx)
	if err != nil {
		return fmt.Errorf("read the version of the database's tables: %w", err)
	}
	if current > known {
		return fmt.Errorf("the database was written by a newer KubeBYON (schema %d; this program knows up to %d); run that version, or restore a backup that this one made", current, known)
	}
	return nil
}

// schemaLock waits its turn in PostgreSQL. Those who keep KubeBYON in different
// schemas of one database do not wait for each other.
func schemaLock(ctx context.Context, db *sql.DB, log *slog.Logger) (lock.SessionLocker, error) {
	l := &sessionLock{log: log, tries: lockTries}
	if err := db.QueryRowContext(ctx, "SELECT hashtextextended('kubebyon migrations ' || coalesce(current_schema(), ''), 0)").Scan(&l.id); err != nil {
		return nil, fmt.Errorf("find the database's schema: %w", err)
	}
	return l, nil
}

const (
	// lockTries is how often the lock is asked for, once a second.
	lockTries = 600
	lockPause = time.Second
	// lockTold is after how many tries the log is told again.
	lockTold = 60

	waitingToMigrate = "waiting for another process that migrates the database"
)

var errMigrating = errors.New("another process has been migrating the database for ten minutes; wait for it, or see in pg_locks who holds the advisory lock")

// sessionLock is PostgreSQL's advisory lock of a connection. It is asked for, not
// waited for: a statement that waits would keep CREATE INDEX CONCURRENTLY from
// ever ending.
type sessionLock struct {
	id    int64
	tries int
	log   *slog.Logger
}

func (l *sessionLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for n := range l.tries {
		var mine bool
		if err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1)", l.id).Scan(&mine); err != nil {
			return fmt.Errorf("take the migration lock: %w", err)
		}
		if mine {
			return nil
		}
		if n%lockTold == 0 {
			l.log.WarnContext(ctx, waitingToMigrate)
		}
		if !bell.Wait(ctx, nil, lockPause) {
			return fmt.Errorf("wait for the migration lock: %w", ctx.Err())
		}
	}
	return away{errMigrating}
}

func (l *sessionLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", l.id); err != nil {
		return fmt.Errorf("give the migration lock back: %w", err)
	}
	return nil
}

// fileLock waits its turn in an empty file beside the database: SQLite's own
// lock on it, which works wherever SQLite does and ends with the process. The
// database itself cannot be locked, since the migrations lock it one by one.
type fileLock struct {
	uri string
	log *slog.Logger
	db  *sql.DB
	tx  *sql.Tx
}

func (l *fileLock) SessionLock(ctx context.Context, _ *sql.Conn) error {
	connector, err := sqlite.NewConnector(l.uri)
	if err != nil {
		return fmt.Errorf("set up the migration lock: %w", err)
	}
	l.db = sql.OpenDB(connector)
	for n := 0; ; n++ {
		l.tx, err = l.db.BeginTx(ctx, nil)
		if err == nil {
			return nil
		}
		if n == 0 && (sqliteFile{}).again(err) {
			l.log.WarnContext(ctx, waitingToMigrate)
		}
		if !(sqliteFile{}).again(err) || !pause(ctx, 1) {
			return errors.Join(fmt.Errorf("wait for the migration lock: %w", err), l.db.Close())
		}
	}
}

func (l *fileLock) SessionUnlock(context.Context, *sql.Conn) error {
	return errors.Join(l.tx.Rollback(), l.db.Close())
}
