package bunstore

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// logged is a log that tests read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// await waits until the log has a text in it.
func (l *logged) await(t testing.TB, want string) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("the log never says %q: %s", want, text)
		}
	}
}

// logging is a new store whose log is read.
func logging(t testing.TB, c Config) (*Store, *logged) {
	t.Helper()
	l := new(logged)
	c.Log = slog.New(slog.NewTextHandler(l, nil))
	s := must(Open(t.Context(), c))
	t.Cleanup(func() { _ = s.Close() })
	return s, l
}

// A migration that finds a table in use gives it up every few seconds, so that
// whoever came behind it gets on, and tries until it has the table.
func TestAMigrationLetsOthersPassWhileATableIsInUse(t *testing.T) {
	t.Parallel()
	fresh := inSchema(postgresURL(t), schemas.empty(t))
	s, log := logging(t, Config{URL: fresh, LockWait: 400 * time.Millisecond})
	other := open(t, fresh)
	if err := other.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	backup := must(other.writer.BeginTx(t.Context(), nil))
	defer backup.Rollback()
	if _, err := backup.ExecContext(t.Context(), "LOCK TABLE jobs IN ACCESS SHARE MODE"); err != nil { // as pg_dump does
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- s.apply(t.Context(), s.engine.migrations(), withNext(t, s, "ALTER TABLE jobs ADD COLUMN of_tomorrow bigint;\n"))
	}()
	log.await(t, "in use by others")
	if _, err := other.writer.ExecContext(t.Context(), "SELECT count(*) FROM jobs"); err != nil {
		t.Errorf("who comes behind the migration: %v", err)
	}
	if err := backup.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Whoever waits for another to migrate says so, and gets on when that is done.
func TestWaitingForAnotherMigrationIsSaid(t *testing.T) {
	forEach(t, func(t *testing.T, fresh string) {
		holder := open(t, fresh)
		db, closeDB := holder.engine.migrator(holder.writer.DB)
		defer closeDB()
		locker := must(holder.engine.migrations().locker(t.Context(), db, slog.New(slog.DiscardHandler)))
		conn := must(db.Conn(t.Context()))
		defer conn.Close()
		if err := locker.SessionLock(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		s, log := logging(t, Config{URL: fresh})
		done := make(chan error, 1)
		go func() { done <- s.Start(t.Context()) }()
		log.await(t, "waiting for another process that migrates the database")
		if err := locker.SessionUnlock(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A process that has waited long enough for another to migrate may try again.
func TestWaitingForAnotherMigrationEndsAsWhatMayMend(t *testing.T) {
	t.Parallel()
	s := openPostgres(t)
	locker := must(schemaLock(t.Context(), s.writer.DB, s.log)).(*sessionLock)
	first, second := must(s.writer.DB.Conn(t.Context())), must(s.writer.DB.Conn(t.Context()))
	defer first.Close()
	defer second.Close()
	if err := locker.SessionLock(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	locker.tries = 2
	if err := locker.SessionLock(t.Context(), second); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("the second got %v", err)
	}
}
