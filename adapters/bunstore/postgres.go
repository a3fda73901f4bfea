package bunstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

type postgres struct {
	host string
	conf *pgx.ConnConfig // for migrations
}

// connectTimeout bounds one attempt to connect, unless the URL does.
const connectTimeout = 10 * time.Second

func newPostgres(cfg Config) (*Store, error) {
	conf, err := parsePostgres(cfg.URL)
	if err != nil {
		return nil, err
	}
	migrates := conf.Copy()
	if _, given := migrates.RuntimeParams["lock_timeout"]; !given {
		migrates.RuntimeParams["lock_timeout"] = strconv.FormatInt((cfg.LockWait / 2).Milliseconds(), 10)
	}
	cfg.limit(conf.RuntimeParams)
	pool := stdlib.OpenDB(*conf)
	pool.SetMaxOpenConns(cfg.MaxConns)
	pool.SetMaxIdleConns(cfg.MaxConns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	pool.SetConnMaxLifetime(time.Hour) // lets a moved or failed-over server be found again
	db := bun.NewDB(pool, pgdialect.New())
	s := &Store{writer: db, reader: db, engine: postgres{conf.Host, migrates}, deadline: cfg.Deadline, log: cfg.Log}
	s.prepares = !choosesMode(cfg.URL)
	return s, nil
}

// limit has the server end what takes too long, where the URL does not say for
// how long itself: a statement, the wait for a row or table that somebody has
// locked, and a transaction whose process has stopped in the middle.
func (c Config) limit(params map[string]string) {
	for name, limit := range map[string]time.Duration{
		"statement_timeout": c.Deadline, "lock_timeout": c.LockWait, "idle_in_transaction_session_timeout": 2 * c.Deadline,
	} {
		if _, given := params[name]; !given {
			params[name] = strconv.FormatInt(limit.Milliseconds(), 10)
		}
	}
}

// migrator returns connections on which a migration takes as long as it takes,
// once it has its tables. It asks for those for half as long as others wait for
// a lock: they queue up behind it, and get on when it gives up. A server that can do so looks every other second whether the process
// that migrates is still there, so that one that was killed leaves neither the
// lock nor a statement that runs on for nobody.
func (p postgres) migrator(*sql.DB) (*sql.DB, func() error) {
	db := stdlib.OpenDB(*p.conf, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "SELECT set_config(name, '2s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'")
		return err
	}))
	return db, db.Close
}

func parsePostgres(text string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errURL // not err: it repeats the URL, and so the password
	}
	if isCut(u) {
		return nil, errCut
	}
	conf, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, badSetting(u, err)
	}
	if conf.ConnectTimeout == 0 {
		conf.ConnectTimeout = connectTimeout
	}
	// bun writes arguments into the statement, so that no two are alike and
	// preparing them would be work thrown away; and it relies on a backslash in
	// a string being one.
	if !choosesMode(text) {
		conf.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	conf.RuntimeParams["standard_conforming_strings"] = "on"
	if conf.RuntimeParams["application_name"] == "" {
		conf.RuntimeParams["application_name"] = "kubebyon"
	}
	return conf, nil
}

var errCut = errors.New("the database URL is not valid: an @ follows what it gives as the host; write each / ? # @ of a user's name or password percent-encoded, as %2F %3F %23 %40")

// isCut recognizes a URL whose user's name or password ends too early: what
// follows of a password would be taken for a database, which errors name.
func isCut(u *url.URL) bool {
	for name := range u.Query() {
		if strings.Contains(name, "@") {
			return true
		}
	}
	return strings.Contains(u.EscapedPath()+u.EscapedFragment(), "@")
}

// choosesMode says whether a URL says itself how statements are run. Whoever has
// a pooler in front of the database that cannot take prepared ones asks for
// default_query_exec_mode=exec.
func choosesMode(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Query().Has("default_query_exec_mode")
}

// badSetting says which part of a URL is wrong, unless that would tell the
// password.
func badSetting(u *url.URL, err error) error {
	reason := errors.Unwrap(err)
	password, _ := u.User.Password()
	if reason == nil || password != "" && strings.Contains(reason.Error(), password) {
		return errURL
	}
	return fmt.Errorf("the database URL is not valid: %w", reason)
}

func (postgres) seize() (release func() error, err error) { return func() error { return nil }, nil }

func (postgres) prepare() error { return nil }

// explain says that waiting may mend it, whatever it is: also a wrong password is
// put right on the server's side now and then.
func (p postgres) explain(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return away{fmt.Errorf("the PostgreSQL at %s refused the connection: %w", p.host, pg)}
	}
	return away{fmt.Errorf("the PostgreSQL at %s does not answer: %w", p.host, err)}
}

func (postgres) unique(err error) (constraint string, ok bool) {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || pg.Code != "23505" {
		return "", false
	}
	return pg.ConstraintName, true
}

func (postgres) again(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pg.Code {
	case "40001", "40P01": // serialization failure, deadlock
		return true
	case "23505":
		return pg.ConstraintName == oneRunningKey // Claim was not alone
	}
	return false
}

func (postgres) down(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok || lost(err) {
		return true
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pg.Code[:min(2, len(pg.Code))] {
	case "08", "53", "58": // connection, resources (a full disk, too many connections), the server's own system
		return true
	}
	return strings.HasPrefix(pg.Code, "57P") || pg.Code == "25P03" || pg.Code == "25006" // going down, cut off for idling, a standby
}

// lost reports whether a connection broke off.
func lost(err error) bool {
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, pgconn.ErrConnClosed) {
		return true
	}
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}

func (postgres) late(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "55P03" || pg.Code == "57014") // waited too long for a lock, took too long
}

func (postgres) sql() spelling {
	return spelling{
		ping:         "SELECT 1",
		forUpdate:    "NO KEY UPDATE",
		forReference: "KEY SHARE",
		skipLocked:   " FOR UPDATE SKIP LOCKED",
		// Of this schema's outbox only: a database may hold several.
		claimOutbox: "SELECT pg_try_advisory_xact_lock('outbox'::regclass::oid::bigint)",
		now:         "SELECT clock_timestamp()",
		nextNumber:  "SELECT nextval('cluster_numbers')",
		writesMany:  true,
		rowID:       "ctid",
		stepOf:      "to_timestamp((floor(extract(epoch FROM at) / ?0) * ?0)::double precision)",
		contains:    "strpos(?TableAlias.search_text, ?) > 0",
		search:      searchPostgres,
		hasVersions: "SELECT to_regclass('goose_db_version') IS NOT NULL",
	}
}

// searchPostgres keeps the planner from any other way than the index, by OFFSET 0: the
// parts of a row's text are slow to make.
func searchPostgres(q *bun.SelectQuery, text string) {
	q.ModelTableExpr("(SELECT * FROM ?TableName WHERE search_parts(search_text) @> ARRAY[?] AND strpos(search_text, ?) > 0 OFFSET 0) AS ?TableAlias",
		bun.List(parts(text)), text)
}
