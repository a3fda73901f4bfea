package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to look into a server's database
)

// recorder keeps every answer, to be searched.
type recorder struct {
	ledger *ledger
	source string
	next   http.RoundTripper
}

var anyID = regexp.MustCompile(`(cl|node|tok|usr)_[0-9a-z]{26}`)

type probeKey struct{}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	route := req.Method + " " + anyID.ReplaceAllString(req.URL.Path, "{id}")
	if req.Context().Value(probeKey{}) != nil {
		route = "what is refused" // the path itself may hold a secret
	}
	if strings.HasSuffix(req.URL.Path, "/admin/activities") {
		r.ledger.record("audit events", r.source, body)
	}
	private := resp.Header.Get("Cache-Control") == "no-store"
	for name, values := range resp.Header {
		r.ledger.recordAnswer("answer's header "+name+" of "+route, r.source, []byte(strings.Join(values, "\n")), private)
	}
	r.ledger.recordAnswer("answer to "+route, r.source, []byte(resp.Status+"\n"+string(body)), private)
	return resp, nil
}

// watchProcesses looks at the arguments and the environment of every process
// that has root in either, until the test ends. It begins at once.
func (l *ledger) watchProcesses(t *testing.T, root string) (stop func() (rounds, seen int)) {
	t.Helper()
	quit, done := make(chan struct{}), make(chan struct{})
	rounds, looks, known := 0, map[string]int{}, map[[32]byte]bool{}
	go func() {
		defer close(done)
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-quit:
				tick.Stop()
				return
			case <-tick.C:
			}
			rounds++
			entries, _ := os.ReadDir("/proc")
			for _, e := range entries {
				pid := e.Name()
				if pid[0] < '0' || pid[0] > '9' {
					continue
				}
				// Who is new may become another program soon; who is old hardly will.
				if looks[pid]++; looks[pid] > 5 && looks[pid]%100 != 0 {
					continue
				}
				l.lookAtProcess(pid, root, known)
			}
		}
	}()
	return func() (int, int) {
		close(quit)
		<-done
		return rounds, len(known)
	}
}

// lookAtProcess reads the arguments first: a child that is not its own program
// yet has its parent's of both.
func (l *ledger) lookAtProcess(pid, root string, known map[[32]byte]bool) {
	arguments, err := os.ReadFile("/proc/" + pid + "/cmdline")
	if err != nil || len(arguments) == 0 {
		return
	}
	environment, err := os.ReadFile("/proc/" + pid + "/environ")
	if err != nil || !bytes.Contains(environment, []byte(root)) && !bytes.Contains(arguments, []byte(root)) {
		return
	}
	key := sha256.Sum256(slices.Concat(arguments, []byte("\x00\x00"), environment))
	if known[key] {
		return
	}
	known[key] = true
	name := nameOfProgram(arguments)
	l.record("arguments of "+name, "process "+pid, arguments)
	l.record("environment of "+name, "process "+pid, environment)
}

var ourProgram = regexp.MustCompile(`/(kubebyon(?:-localplane)?)\x00(dev|tenant|node|versions|admin\x00[a-z-]+|migrate)\x00`)

func nameOfProgram(arguments []byte) string {
	if m := ourProgram.FindSubmatch(arguments); m != nil {
		return string(m[1]) + " " + strings.ReplaceAll(string(m[2]), "\x00", " ")
	}
	words := strings.Split(string(arguments), "\x00")
	if len(words) > 1 && strings.Contains(words[1], "/standins/") { // a shell that will be another program at once
		return filepath.Base(words[1])
	}
	return filepath.Base(words[0])
}

// standin is put before a program on the path of a join: it notes what the
// program is given, however short its life.
const standin = `#!/bin/sh
n=${0##*/}
printf '%%s\0' "$n" "$@" >>"%[1]s/arguments.$n.$$"
/bin/cat /proc/$$/environ >>"%[1]s/environment.$n.$$"
exec /usr/bin/$n "$@"
`

// planeStandin does so for control planes and nodes. It keeps what a join has in
// its temporary folder, and lets the control plane named leaky die with secrets
// on its lips.
const planeStandin = `#!/bin/sh
printf '%%s\0' kubebyon-localplane "$@" >>"%[1]s/arguments.kubebyon-localplane-$1.$$"
/bin/cat /proc/$$/environ >>"%[1]s/environment.kubebyon-localplane-$1.$$"
case "$1 $*" in
node\ *) cp -pr "$TMPDIR" "%[1]s/temporary.$$" ;;
tenant\ *\ leaky\ *)
	if mkdir "%[1]s/said" 2>/dev/null; then
		cat "%[2]s/last-reason"
	else
		rmdir "%[1]s/said"
		cat "%[2]s/last-words" >&2
	fi
	exit 1 ;;
esac
exec %[3]s "$@"
`

// lookAtNotes searches what the stand-ins noted.
func (l *ledger) lookAtNotes(t *testing.T, source, dir string) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.*.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		what, name, _ := strings.Cut(filepath.Base(file), ".")
		name, _, _ = strings.Cut(name, ".")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name = strings.Replace(name, "kubebyon-localplane-", "kubebyon-localplane ", 1)
		l.record(what+" of "+name, source+" "+filepath.Base(file), text)
	}
	folders, err := filepath.Glob(filepath.Join(dir, "temporary.*"))
	if err != nil || len(folders) == 0 {
		t.Errorf("no temporary files were kept of a join: %v", err)
	}
	for _, folder := range folders {
		l.sweep(t, source, folder, temporaryFile)
	}
	return len(files)
}

var randomName = regexp.MustCompile(`kubebyon-join\.\w+`)

func temporaryFile(rel string) string {
	return "temporary file " + randomName.ReplaceAllString(rel, "kubebyon-join")
}

var timeInName = regexp.MustCompile(`\d{4}(-\d\d){5}`)

// dataFile says what a file of a data folder is.
func dataFile(rel string) string {
	rel = filepath.ToSlash(anyID.ReplaceAllString(rel, "ID"))
	switch {
	case strings.HasPrefix(rel, "kubebyon.db"):
		return "database"
	case strings.HasPrefix(rel, "planes/data/ID/etcd/"):
		return "file planes/data/ID/etcd"
	}
	return "file " + rel
}

func nodeFile(rel string) string {
	return "node's file " + timeInName.ReplaceAllString(filepath.ToSlash(rel), "TIME")
}

// database is the one that a server works on, for a look at it from outside.
type database struct {
	db       *sql.DB
	postgres bool
}

func (d database) exec(t *testing.T, query string) {
	t.Helper()
	result, err := d.db.ExecContext(t.Context(), query)
	if err != nil {
		t.Fatalf("change the database: %v", err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%d rows changed, want one: %v", n, err)
	}
}

func (d database) texts(t *testing.T, query string) (out []string) {
	t.Helper()
	rows, err := d.db.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("read the database: %v", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// dump records every value of every table, and how many there are.
func (d database) dump(t *testing.T, l *ledger, source string) (values int) {
	t.Helper()
	tables := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if d.postgres {
		tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
		for _, statement := range d.texts(t, "SELECT query FROM pg_stat_activity WHERE datname = current_database()") {
			l.record("database", source+" statements", []byte(statement))
		}
	}
	for _, table := range d.texts(t, tables) {
		values += d.dumpTable(t, l, source, table)
	}
	return values
}

func (d database) dumpTable(t *testing.T, l *ledger, source, table string) (values int) {
	t.Helper()
	rows, err := d.db.QueryContext(t.Context(), `SELECT * FROM "`+table+`"`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	row, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range row {
		to[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			t.Fatal(err)
		}
		for i, v := range row {
			values++
			text, isBytes := v.([]byte)
			if !isBytes {
				text = fmt.Append(nil, v)
			}
			l.record("database", source+" "+table+"."+columns[i], text)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return values
}

// keepHashes remembers what passwords are checked against: nobody but the
// database is to have that either.
func (d database) keepHashes(t *testing.T, l *ledger) {
	t.Helper()
	for _, hash := range d.texts(t, "SELECT password_hash FROM users WHERE password_hash <> ''") {
		raw, err := base64.RawStdEncoding.DecodeString(hash[strings.LastIndexByte(hash, '$')+1:])
		if err != nil || len(raw) < 16 {
			t.Fatalf("a password's hash is not understood: %v", err)
		}
		l.keepBytes(credentialHash, raw)
	}
}

// openOwnPostgres makes a database that nobody else uses, and a URL of it that
// holds a password. It reports false where there is no PostgreSQL and need not be.
func openOwnPostgres(t *testing.T, password string) (d database, dsn string, ok bool) {
	t.Helper()
	at := os.Getenv("KUBEBYON_TEST_DATABASE_URL")
	if at == "" {
		at = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"
	}
	admin, err := sql.Open("pgx", at)
	if err == nil {
		err = admin.PingContext(t.Context())
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("PostgreSQL: %v", err)
		}
		return d, "", false
	}
	name := fmt.Sprintf("kubebyon_leaks_%d", time.Now().UnixNano())
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
		_ = admin.Close()
	})
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	if _, has := u.User.Password(); !has { // one that lets everybody in does not look at it
		u.User = url.UserPassword(u.User.Username(), password)
	}
	d = database{postgres: true}
	if d.db, err = sql.Open("pgx", u.String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.db.Close() })
	return d, u.String(), true
}

// output keeps all that a program prints.
type output struct {
	mu   sync.Mutex
	text []byte
	also io.Writer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, p...)
	if o.also != nil {
		return o.also.Write(p)
	}
	return len(p), nil
}

func (o *output) all() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.text)
}
