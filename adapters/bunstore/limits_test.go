package bunstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// limitedPostgres is a store with limits of its own.
func limitedPostgres(t testing.TB, c Config) *Store {
	t.Helper()
	c.URL = inSchema(postgresURL(t), schemas.take(t))
	s := must(Open(t.Context(), c))
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func busy(t testing.TB, what string, took time.Duration, err error) {
	t.Helper()
	if !errors.Is(err, fault.Unavailable) || fault.CodeOf(err) != "store_busy" {
		t.Errorf("%s: %v, want store_busy", what, err)
	}
	if took > unhurried {
		t.Errorf("%s took %v", what, took)
	}
	t.Logf("%s: answered after %v", what, took)
}

func timed(do func() error) (time.Duration, error) {
	began := time.Now()
	err := do()
	return time.Since(began), err
}

func setFact(s *Store, name, value string) error {
	return s.InTx(context.Background(), func(ctx context.Context, tx store.Tx) error { return tx.Facts().Set(ctx, name, []byte(value)) })
}

func getFact(s *Store, name string) (v []byte, err error) {
	err = s.View(context.Background(), func(ctx context.Context, tx store.Tx) error {
		v, err = tx.Facts().Get(ctx, name)
		return err
	})
	return v, err
}

const unhurried = 15 * time.Second // a machine that is busy, not a limit that is missing

// TestWhatSomebodyHasLockedIsAnsweredBusy: a row and a table, held by somebody
// who never lets go.
func TestWhatSomebodyHasLockedIsAnsweredBusy(t *testing.T) {
	t.Parallel()
	s := limitedPostgres(t, Config{LockWait: 300 * time.Millisecond})
	if err := setFact(s, "x", "before"); err != nil {
		t.Fatal(err)
	}
	for what, statement := range map[string]string{
		"a locked row":   "SELECT * FROM facts WHERE name = 'x' FOR UPDATE",
		"a locked table": "LOCK TABLE facts IN ACCESS EXCLUSIVE MODE",
	} {
		other := must(s.writer.BeginTx(t.Context(), nil))
		must(other.ExecContext(t.Context(), statement))
		took, err := timed(func() error { return setFact(s, "x", "after") })
		busy(t, what, took, err)
		if what == "a locked table" {
			took, err = timed(func() error { _, err := getFact(s, "x"); return err })
			busy(t, "reading "+what, took, err)
		}
		if err := other.Rollback(); err != nil {
			t.Fatal(err)
		}
		if v, err := getFact(s, "x"); err != nil || string(v) != "before" {
			t.Errorf("after %s: %q, %v", what, v, err)
		}
	}
	if err := setFact(s, "x", "after"); err != nil {
		t.Error(err)
	}
}

// TestSlowStatementsEnd although their callers would wait for ever.
func TestSlowStatementsEnd(t *testing.T) {
	t.Parallel()
	s := limitedPostgres(t, Config{Deadline: 500 * time.Millisecond})
	slow := func(ctx context.Context, t store.Tx) error {
		_, err := t.(tx).u.db.ExecContext(ctx, "SELECT pg_sleep(60)")
		return err
	}
	for what, run := range map[string]func(context.Context, func(context.Context, store.Tx) error) error{"transaction": s.InTx, "view": s.View} {
		took, err := timed(func() error { return run(context.Background(), slow) })
		busy(t, "a slow "+what, took, err)
		// The server has a limit of its own, for callers whose patience is longer.
		long, cancel := context.WithTimeout(context.Background(), time.Minute)
		took, err = timed(func() error { return run(long, slow) })
		cancel()
		busy(t, "a slow "+what+" of a patient caller", took, err)
	}
	if err := setFact(s, "x", "after"); err != nil {
		t.Error(err)
	}
}

// TestSettingsInTheURLWin over the limits.
func TestSettingsInTheURLWin(t *testing.T) {
	t.Parallel()
	u := must(url.Parse(inSchema(postgresURL(t), "public")))
	q := u.Query()
	q.Set("lock_timeout", "1234")
	u.RawQuery = q.Encode()
	s := must(New(Config{URL: u.String(), Deadline: 7 * time.Second}))
	defer s.Close()
	for name, want := range map[string]string{"lock_timeout": "1234ms", "statement_timeout": "7s", "idle_in_transaction_session_timeout": "14s"} {
		if got := column(t, s, "SELECT current_setting('"+name+"')")[0]; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	db, done := s.engine.migrator(nil)
	defer func() { _ = done() }()
	var limit string
	if err := db.QueryRowContext(t.Context(), "SELECT current_setting('statement_timeout')").Scan(&limit); err != nil || limit != "0" {
		t.Errorf("migrations are limited to %s, %v", limit, err)
	}
}

// TestExhaustedConnectionsAreAnsweredBusy: those who find no connection wait for
// one, and not for ever.
func TestExhaustedConnectionsAreAnsweredBusy(t *testing.T) {
	t.Parallel()
	const conns = 3
	s := limitedPostgres(t, Config{MaxConns: conns, Deadline: time.Second})
	release, held := make(chan struct{}), make(chan struct{}, conns)
	long, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			err := s.InTx(long, func(context.Context, store.Tx) error {
				held <- struct{}{}
				<-release
				return nil
			})
			// What idles for longer than twice the deadline is cut off by the server.
			if err != nil && !errors.Is(err, fault.Unavailable) {
				t.Error(err)
			}
		})
	}
	for range conns {
		<-held
	}
	const asked = 30
	var late sync.WaitGroup
	for i := range asked {
		late.Go(func() {
			took, err := timed(func() error {
				if i%2 == 0 {
					return setFact(s, "x", "y")
				}
				_, err := getFact(s, "x")
				return err
			})
			if fault.CodeOf(err) != "store_busy" || took > unhurried {
				t.Errorf("%v after %v", err, took)
			}
		})
	}
	late.Wait()
	if open := s.writer.Stats().OpenConnections; open > conns {
		t.Errorf("%d connections are open, of at most %d", open, conns)
	}
	close(release)
	wg.Wait()
	if err := setFact(s, "x", "y"); err != nil {
		t.Errorf("with connections again: %v", err)
	}
	t.Logf("%d callers were answered that %d connections were taken", asked, conns)
}

// TestAnIdleTransactionIsCutOff, so that a process that hangs in the middle of
// one does not keep others from what it has locked.
func TestAnIdleTransactionIsCutOff(t *testing.T) {
	t.Parallel()
	s := limitedPostgres(t, Config{Deadline: 200 * time.Millisecond})
	long, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := s.InTx(long, func(ctx context.Context, tx store.Tx) error {
		if err := tx.Facts().Set(ctx, "x", []byte("half")); err != nil {
			return err
		}
		for deadline := time.Now().Add(unhurried); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if err := setFact(s, "x", "whole"); err == nil {
				return tx.Facts().Set(ctx, "y", []byte("half"))
			}
		}
		t.Error("the row stays locked")
		return nil
	})
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if v, err := getFact(s, "x"); string(v) != "whole" {
		t.Errorf("x is %q, %v", v, err)
	}
	if _, err := getFact(s, "y"); !errors.Is(err, fault.NotFound) {
		t.Errorf("y: %v", err)
	}
}

// TestTerminatedConnectionsLeaveNothingHalfDone, whenever they are.
func TestTerminatedConnectionsLeaveNothingHalfDone(t *testing.T) {
	t.Parallel()
	s := limitedPostgres(t, Config{MaxConns: 4})
	terminate := func() {
		column(t, s, "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE application_name = 'kubebyon' AND pid <> pg_backend_pid()"+
			" AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'facts'::regclass)")
	}
	for step := range 3 {
		boomed := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			for i, name := range []string{"a", "b", "c"} {
				if err := tx.Facts().Set(ctx, name, []byte("half")); err != nil {
					return err
				}
				if i == step {
					terminate()
				}
			}
			return nil
		})
		if !errors.Is(boomed, fault.Unavailable) || fault.CodeOf(boomed) != "store_unavailable" {
			t.Errorf("cut off after %d writes: %v", step+1, boomed)
		}
		for _, name := range []string{"a", "b", "c"} {
			if v, err := getFact(s, name); !errors.Is(err, fault.NotFound) {
				t.Errorf("cut off after %d writes: %s is %q, %v", step+1, name, v, err)
			}
		}
	}
}

// TestARestartedServerIsFoundAgain by every pooled connection at its first use:
// nothing was asked yet, so that it may be asked again.
func TestARestartedServerIsFoundAgain(t *testing.T) {
	t.Parallel()
	fresh := inSchema(postgresURL(t), schemas.take(t))
	p := newProxy(t, must(url.Parse(fresh)).Host)
	u := must(url.Parse(fresh))
	u.Host = p.addr
	s := open(t, u.String())
	warm := func() {
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				_ = s.InTx(t.Context(), func(ctx context.Context, _ store.Tx) error { time.Sleep(20 * time.Millisecond); return nil })
			})
		}
		wg.Wait()
	}
	const rounds = 3
	for range rounds {
		warm()
		p.cut()
		for i := range 10 {
			if err := setFact(s, "x", "y"); err != nil {
				t.Errorf("transaction %d after the server came back: %v", i, err)
			}
		}
	}
	// Cut in the middle, or at the commit: answered, and nothing half done unless all.
	u1 := id.New[id.UserKind](t0, [10]byte{1})
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := tx.Users().Insert(ctx, store.User{ID: u1, Email: "ann@example.com"}); err != nil {
			return err
		}
		p.cut()
		return nil
	})
	if !errors.Is(err, fault.Unavailable) || fault.CodeOf(err) != "store_unavailable" {
		t.Errorf("cut before the commit: %v", err)
	}
	err = s.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Users().Get(ctx, u1)
		return err
	})
	if fault.CodeOf(err) != "user_not_found" {
		t.Errorf("after a cut before the commit: %v", err)
	}
	// And while it is away, callers are told so.
	p.close()
	for what, err := range map[string]error{"transaction": setFact(s, "x", "z"), "ping": s.Ping(t.Context())} {
		if !errors.Is(err, fault.Unavailable) || fault.CodeOf(err) != "store_unavailable" {
			t.Errorf("%s without a server: %v", what, err)
		}
	}
	t.Logf("cut the connections of %d rounds", rounds)
}

// proxy is a way to a server that can be cut.
type proxy struct {
	addr     string
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	wg       sync.WaitGroup
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l := must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"))
	p := &proxy{addr: l.Addr().String(), listener: l}
	p.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				p.wg.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() { p.close(); p.wg.Wait() })
	return p
}

// cut ends all connections, as a server that restarts does.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.cut()
}

// TestAFullFileRefusesWritesAndHeals: what was promised stays, reads go on.
func TestAFullFileRefusesWritesAndHeals(t *testing.T) {
	t.Parallel()
	s := openSQLite(t)
	pages := must(strconv.Atoi(column(t, s, "PRAGMA page_count")[0]))
	must(s.writer.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages+16)))
	kept, refused := 0, 0
	big := make([]byte, 4096)
	for refused < 10 {
		err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			if err := tx.Facts().Set(ctx, "count", []byte{byte(kept + 1)}); err != nil {
				return err
			}
			return tx.Facts().Set(ctx, string(rune('a'+kept)), big)
		})
		switch {
		case err == nil && kept < 100:
			kept++
		case errors.Is(err, fault.Unavailable) && fault.CodeOf(err) == "store_unavailable":
			refused++
		default:
			t.Fatal(err)
		}
		if v, err := getFact(s, "count"); kept > 0 && (err != nil || v[0] != byte(kept)) {
			t.Fatalf("the count is %v, %v; want %d", v, err, kept)
		}
	}
	must(s.writer.ExecContext(t.Context(), "PRAGMA max_page_count = 100000"))
	if err := setFact(s, "count", "again"); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if ok := column(t, s, "PRAGMA integrity_check"); ok[0] != "ok" {
		t.Error(ok)
	}
	if kept == 0 {
		t.Error("nothing was kept")
	}
	t.Logf("%d changes were kept and %d refused", kept, refused)
}
