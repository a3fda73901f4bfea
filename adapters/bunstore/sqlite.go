package bunstore

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unicode/utf8"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteFile is a database in one file. It has one connection that writes, so
// that transactions wait in line instead of failing, and a pool of others that
// read what was last committed and are kept from writing.
type sqliteFile struct{ path string }

// maxReaders is as many as a machine that runs on SQLite has use for.
const maxReaders = 8

func newSQLite(cfg Config, rest string) (*Store, error) {
	path := strings.TrimPrefix(rest, "//")
	if path == "" || strings.HasPrefix(path, ":") {
		return nil, errors.New("the database URL is not valid: sqlite: needs the path of a file")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the database file: %w", err)
	}
	engine := sqliteFile{path}
	writer, err := engine.pool(1, url.Values{"_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "synchronous(FULL)"}})
	if err != nil {
		return nil, err
	}
	reader, err := engine.pool(min(cfg.MaxConns, maxReaders), url.Values{"_pragma": {"query_only(1)"}})
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	return &Store{writer: writer, reader: reader, engine: engine, deadline: cfg.Deadline, log: cfg.Log}, nil
}

func (f sqliteFile) pool(conns int, options url.Values) (*bun.DB, error) {
	connector, err := sqlite.NewConnector(f.uri(f.path, options))
	if err != nil {
		return nil, fmt.Errorf("set up SQLite: %w", err)
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	return bun.NewDB(pool, sqlitedialect.New()), nil
}

// uri names a file the way SQLite wants it, with the driver's options.
func (sqliteFile) uri(path string, options url.Values) string {
	options["_pragma"] = append(options["_pragma"], "busy_timeout(5000)", "foreign_keys(1)")
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: options.Encode()}
	return u.String()
}

// seize locks a file beside the database. The lock goes with the process, however
// that ends. On the database itself SQLite has locks of its own.
func (f sqliteFile) seize() (release func() error, err error) {
	lock, err := os.OpenFile(f.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, f.explain(err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("another kubebyon has the database file %s, which is for a single process: stop that one, or let both use PostgreSQL (KUBEBYON_DATABASE_URL=postgres://user:password@host:5432/name)", f.path), lock.Close())
	}
	if err != nil {
		return nil, errors.Join(f.explain(err), lock.Close())
	}
	return sync.OnceValue(lock.Close), nil
}

// prepare lets only the owner read the database. SQLite gives the files that it
// puts beside it the same mode.
func (f sqliteFile) prepare() error {
	if err := f.refuseTorn(); err != nil {
		return err
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := restrict(f.path + suffix); err != nil {
			return f.explain(err)
		}
	}
	if err := private(f.path); err != nil {
		return f.explain(err)
	}
	return nil
}

// smallestPage divides the length of every database file.
const smallestPage = 512

// refuseTorn refuses a file that ends within a page: SQLite would take a very
// short one for a new database, and write over what was there. Beside a log that
// a crash has left, such an end is what SQLite itself mends.
func (f sqliteFile) refuseTorn() error {
	info, err := os.Stat(f.path)
	if err != nil || !info.Mode().IsRegular() || info.Size()%smallestPage == 0 {
		return nil //nolint:nilerr // whoever opens the file says what is wrong with it
	}
	if log, err := os.Stat(f.path + "-wal"); err == nil && log.Size() > 0 {
		return nil
	}
	if !hasMagic(f.path) {
		return fmt.Errorf("the file %s is not a SQLite database", f.path)
	}
	return fmt.Errorf("the database file %s is damaged: its %d bytes end within a page; restore it from a backup", f.path, info.Size())
}

// hasMagic reports whether a file begins as SQLite's do.
func hasMagic(path string) bool {
	const magic = "SQLite format 3\x00"
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // only read
	got := make([]byte, len(magic))
	n, _ := io.ReadFull(file, got)
	return string(got[:n]) == magic[:n] && n > 1
}

// private makes a file that only its owner may read, or makes one that is there
// so. It does not open that one: closing it would drop the locks that this
// process has on it.
func private(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return restrict(path)
	}
	if err != nil {
		return err
	}
	return file.Close()
}

func restrict(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || info.Mode().Perm()&0o077 == 0 || !info.Mode().IsRegular() {
		return err
	}
	return os.Chmod(path, 0o600)
}

func (f sqliteFile) explain(err error) error {
	code := 0
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		code = e.Code() & 0xff
	}
	switch {
	case code == sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("the file %s is not a SQLite database", f.path)
	case code == sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("the database file %s is damaged: %w", f.path, err)
	case code == sqlite3.SQLITE_READONLY || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || code == sqlite3.SQLITE_CANTOPEN && f.frozen():
		return fmt.Errorf("the database file %s may not be written to: %w", f.path, err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the directory %s for the database file does not exist", filepath.Dir(f.path))
	}
	if info, statErr := os.Stat(f.path); statErr == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory, not a database file", f.path)
	}
	return fmt.Errorf("the database file %s cannot be opened: %w", f.path, err)
}

// frozen reports whether no file can be made beside the database, which SQLite
// needs and does not tell from other reasons.
func (f sqliteFile) frozen() bool {
	probe, err := os.CreateTemp(filepath.Dir(f.path), ".kubebyon-*")
	if err != nil {
		return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
	}
	_ = errors.Join(probe.Close(), os.Remove(probe.Name()))
	return false
}

// someConstraint stands for a constraint whose name SQLite does not tell but in
// the text of its error.
const someConstraint = "?"

func (sqliteFile) unique(err error) (constraint string, ok bool) {
	switch sqliteCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return someConstraint, true
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return "primary key", true
	}
	return "", false
}

func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// again holds for another process that kept the file locked for too long.
func (sqliteFile) again(err error) bool {
	code := sqliteCode(err) & 0xff
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}

func (sqliteFile) down(err error) bool {
	switch sqliteCode(err) & 0xff {
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY:
		return true
	}
	return false
}

// late never holds: what waits too long for a file is told that it is busy.
func (sqliteFile) late(error) bool { return false }

func (sqliteFile) migrator(writer *sql.DB) (*sql.DB, func() error) {
	return writer, func() error { return nil }
}

func (sqliteFile) sql() spelling {
	return spelling{
		ping:        "PRAGMA schema_version",
		claimOutbox: "SELECT 1", // there is one transaction at a time
		nextNumber:  "UPDATE cluster_numbers SET last = last + 1 RETURNING last",
		rowID:       "rowid",
		stepOf:      "at / (?0 * 1000) * (?0 * 1000)",
		contains:    fileContains,
		search:      searchFile,
		hasVersions: "SELECT count(*) FROM sqlite_master WHERE name = 'goose_db_version'",
	}
}

const fileContains = "instr(?TableAlias.search_text, ?) > 0"

// searchFile has an index for texts of three characters or more.
func searchFile(q *bun.SelectQuery, text string) {
	if utf8.RuneCountInString(text) < 3 {
		q.Where(fileContains, text)
		return
	}
	var match []string
	for _, p := range parts(text) {
		match = append(match, `"`+strings.ReplaceAll(p, `"`, `""`)+`"`)
	}
	q.Where("?TableAlias.id IN (SELECT h.id FROM search_texts AS h WHERE h.number IN (SELECT rowid FROM search_parts WHERE search_parts MATCH ?) AND instr(h.text, ?) > 0)",
		strings.Join(match, " AND "), text)
}
