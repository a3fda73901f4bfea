package bunstore

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/store/storetest"
)

// planSize is big enough for a look through any large table to stand out.
var planSize = size{users: 2000, clusters: 5000, nodes: 9000, nodeEvents: 9000, audits: 20_000} //nolint:gochecknoglobals // a constant

// mayRead is how many rows one statement may look at: a search's window in a
// list of which one owner has a fifth, or a page of each kind of audit event.
const mayRead = 4000

// mayScan says which statements may look at more, and why.
var mayScan = []struct{ shape, why string }{ //nolint:gochecknoglobals // a constant
	{`^SELECT c.status, count\(\*\)`, "an overview counts a scope's clusters: an index alone is read"},
	{`search_.* ORDER BY c.number LIMIT`, "a search of the fleet puts what it finds in the order of its numbers"},
	{`^SELECT count\(\*\) AS n FROM (\(SELECT \* FROM )?"clusters"`, "pages of the fleet are counted: one row for each cluster of a scope"},
	{`^SELECT \? AS part`, "metrics count the live clusters, every few seconds at most and in one question"},
	{`^WITH old AS MATERIALIZED \(SELECT name FROM leases WHERE held_until < \?`, "housekeeping looks through the leases, which are few: one for a cluster or a turn"},
	{`^SELECT t.status, CAST\(sum\(t.nodes\)`, "an overview adds up a row or two for each cluster of a scope"},
}

// mayScanFile is what more SQLite may do.
var mayScanFile = []struct{ shape, why string }{ //nolint:gochecknoglobals // a constant
	{`^SELECT .* FROM jobs AS j WHERE \(j\.status`, "the jobs that are not done, of which there are few, have an index"},
	{`^SELECT at / \(\? \* \?\) \* \(\? \* \?\) AS step`, "a history groups what one index finds of one cluster: no index knows how long its steps are"},
	{`^SELECT at FROM`, "the next delivery is the first of an index, but for those that are being worked on"},
	{`WHERE \(c.deleted_at IS \?\).* ORDER BY c.number LIMIT`, "the fleet is read along an index of its numbers, as far as the page"},
	{`WHERE f.is_default\)`, "the index of the default has one row"},
	{`^UPDATE fleet SET is_default = \?`, "as above"},
	{`^INSERT INTO "users"`, "SQLite would look for clusters without an owner, had their check been put off"},
	{`instr\(.*\.search_text, \?\) > 0 AND \(\w\.id < \?\)`, "a search for one or two characters, which SQLite has no index for"},
}

// recorder keeps every statement that a store sends.
type recorder struct {
	mu    sync.Mutex
	seen  map[string]string // by shape, the first of each; all of them where all is set
	all   bool
	count int
}

func (r *recorder) BeforeQuery(ctx context.Context, _ *bun.QueryEvent) context.Context { return ctx }

func (r *recorder) AfterQuery(_ context.Context, e *bun.QueryEvent) {
	switch e.Query {
	case "BEGIN", "COMMIT", "ROLLBACK", "PRAGMA schema_version", "":
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	key := shapeOf(e.Query)
	if r.all {
		key = e.Query
	}
	if r.seen == nil {
		r.seen = map[string]string{}
	}
	if r.seen[key] == "" {
		r.seen[key] = e.Query
	}
}

func (r *recorder) listen(s *Store) {
	s.writer.AddQueryHook(r) //nolint:staticcheck // the store's pools are what it has
	if s.reader != s.writer {
		s.reader.AddQueryHook(r) //nolint:staticcheck // as above
	}
}

var (
	literal = regexp.MustCompile(`'(?:[^']|'')*'(?:::timestamptz)?|\bx'[0-9a-f]*'|\b\d+\b|\bTRUE\b|\bFALSE\b|\bNULL\b`)
	several = regexp.MustCompile(`\?(?:, \?)+`)
	unions  = regexp.MustCompile(`(SELECT \* FROM \(.*?\) AS k)( UNION ALL SELECT \* FROM \(.*?\) AS k)+`)
	tuples  = regexp.MustCompile(`(?s)VALUES .*`)
)

// shapeOf is a statement without what differs from one call to the next.
func shapeOf(query string) string {
	s := literal.ReplaceAllString(query, "?")
	s = several.ReplaceAllString(s, "?")
	s = unions.ReplaceAllString(s, "$1")
	return tuples.ReplaceAllString(s, "VALUES ?")
}

func TestPostgresReadsNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	s := openPostgres(t)
	s.prepares = false // a statement is explained with its arguments in it
	g := fill(t, s, planSize)
	walked := walk(t, s, g)
	most, longest, told := 0.0, "", map[string]bool{} // once for each shape
	for _, query := range walked {
		p := explain(t, s, query)
		shape := shapeOf(query)
		if told[shape] || allowed(shape, mayScan) {
			continue
		}
		told[shape] = p.scans != "" || p.rows > mayRead
		if p.scans != "" {
			t.Errorf("looks through all of %s: %s\n%s", p.scans, query, p.text)
		}
		if p.rows > mayRead {
			t.Errorf("looks at %.0f rows: %s\n%s", p.rows, query, p.text)
		}
		if p.rows > most {
			most, longest = p.rows, query
		}
	}
	t.Logf("%d statements of %d shapes; the most rows that one looks at are %.0f: %s", len(walked), shapes(walked), most, longest)
}

func TestSQLiteReadsAlongIndexes(t *testing.T) {
	t.Parallel()
	s := openSQLite(t)
	g := fill(t, s, planSize)
	walked := walk(t, s, g)
	told := map[string]bool{} // once for each shape
	for _, query := range walked {
		shape := shapeOf(query)
		if allowed(shape, mayScan) || allowed(shape, mayScanFile) {
			continue
		}
		for _, step := range explainFile(t, s, query) {
			if fault := fileFault(step, query); fault != "" && !told[fault+shape] {
				told[fault+shape] = true
				t.Errorf("%s: %s: %s", fault, step, query)
			}
		}
	}
	t.Logf("%d statements of %d shapes", len(walked), shapes(walked))
}

// TestEveryStatementIsWalked compares with what the store's own suite makes it
// send, so that no statement escapes the two tests above.
func TestEveryStatementIsWalked(t *testing.T) {
	t.Parallel()
	s := openSQLite(t)
	g := fill(t, s, size{users: 10, clusters: 20, nodes: 600, nodeEvents: 30, audits: 600})
	walked := map[string]bool{}
	for _, query := range walk(t, s, g) {
		walked[shapeOf(query)] = true
	}
	var sent recorder
	t.Run("Suite", func(t *testing.T) {
		storetest.Run(t, storetest.Harness{Serial: true, Why: "SQLite has one writer", New: func(t *testing.T) store.Store {
			s := openSQLite(t)
			sent.listen(s)
			return s
		}})
	})
	for shape, query := range sent.seen {
		if !walked[shape] {
			t.Errorf("the plan of this statement is not looked at: %s\n%s", shape, query)
		}
	}
	t.Logf("the suite sends statements of %d shapes, the walk of %d", len(sent.seen), len(walked))
}

func shapes(queries []string) int {
	seen := map[string]bool{}
	for _, q := range queries {
		seen[shapeOf(q)] = true
	}
	return len(seen)
}

func allowed(shape string, list []struct{ shape, why string }) bool {
	return slices.ContainsFunc(list, func(a struct{ shape, why string }) bool { return regexp.MustCompile(a.shape).MatchString(shape) })
}

// plan is what PostgreSQL did for a statement.
type plan struct {
	scans string  // a large table that it looked through as a whole
	rows  float64 // how many rows it looked at
	text  string
}

// explain runs a statement, takes back what it did, and returns how it went.
func explain(t *testing.T, s *Store, query string) plan {
	t.Helper()
	var text string
	err := s.writer.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
		if err := tx.Tx.QueryRowContext(ctx, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "+query).Scan(&text); err != nil {
			return err
		}
		return errTakeBack
	})
	if !errors.Is(err, errTakeBack) {
		t.Fatalf("%s: %v", query, err)
	}
	var top []struct{ Plan planNode }
	if err := json.Unmarshal([]byte(text), &top); err != nil {
		t.Fatal(err)
	}
	p := plan{text: text}
	p.add(top[0].Plan)
	return p
}

var errTakeBack = errors.New("take it back")

type planNode struct {
	Kind     string     `json:"Node Type"`
	Table    string     `json:"Relation Name"`
	Rows     float64    `json:"Actual Rows"`
	Loops    float64    `json:"Actual Loops"`
	Filtered float64    `json:"Rows Removed by Filter"`
	Checked  float64    `json:"Rows Removed by Index Recheck"`
	Plans    []planNode `json:"Plans"`
}

func (p *plan) add(n planNode) {
	if n.Kind == "Seq Scan" && slices.Contains(large, n.Table) {
		p.scans = n.Table
	}
	if strings.Contains(n.Kind, "Scan") && n.Table != "" {
		p.rows += (n.Rows + n.Filtered + n.Checked) * n.Loops
	}
	for _, child := range n.Plans {
		p.add(child)
	}
}

func explainFile(t *testing.T, s *Store, query string) (steps []string) {
	t.Helper()
	rows, err := s.writer.DB.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		var a, b, c int
		var step string
		if err := rows.Scan(&a, &b, &c, &step); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, step)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return steps
}

var ofLarge = regexp.MustCompile(`^SCAN (c|n|e|a|o|j|t|s|u|m|r|l|h|p|control_plane_samples|clusters|nodes|node_events|audit_events|operations|jobs|tokens|sessions|users|api_keys|outbox|replies|leases|node_totals|search_texts|d|w|i|g|b|codes|sso_identities|sign_ins|avatars|preferences|z|deliveries|f|fleet|fc|fleet_contents)\b`)

// walkable are the lists of everything: they follow an index for one page. No
// other condition is in them that rows could fail to meet, except that deleted
// clusters' are passed by.
var walkable = regexp.MustCompile(`^SELECT [^()]* FROM "?\w+"? AS "?\w"?( WHERE (\(("?\w"?\.id [<>]=? \?|c\.status <> \?|c\.deleted_at IS \?|u\.removed_at IS \?|c\.kubeconfig_available_at IS NOT \?|` +
	`EXISTS \(SELECT \? FROM clusters AS c WHERE \(c\.id = "\w"\.cluster_id\) AND \(c\.deleted_at IS \?\) LIMIT \? OFFSET \?\))\)( AND )?)+)? ORDER BY "?\w"?\.(id|seq)( DESC)? LIMIT`)

// fileFault says what is wrong with a step of a plan of SQLite's.
func fileFault(step, query string) string {
	shape := shapeOf(query)
	switch {
	case ofLarge.MatchString(step) && !walkable.MatchString(shape):
		return "looks through all of a table"
	case passesBy(step, shape) && !rare.MatchString(query):
		return "passes by rows that an index could leave out"
	case strings.Contains(step, "USE TEMP B-TREE") && !strings.Contains(query, "UNION ALL") && !strings.Contains(query, "MATCH"):
		return "sorts what an index could have in order"
	}
	return ""
}

var (
	narrowed = regexp.MustCompile(`^SEARCH ([necu]) USING (?:COVERING )?INDEX \w+ \((.*)\)`)
	ofOther  = regexp.MustCompile(`EXISTS \(.*? OFFSET \?\)`)
)

// rare is what few rows have or none, which SQLite knows: any index on it does.
var rare = regexp.MustCompile(`= '(nobody is|none|pending|deleted|unknown|error|)'`)

// passesBy tells whether a list's index leaves out less than its filters do. A
// node is in one cluster: no index needs both.
func passesBy(step, shape string) bool {
	m := narrowed.FindStringSubmatch(step)
	if m == nil || !strings.Contains(shape, "DESC LIMIT") || strings.Contains(m[2], " id=?") || strings.HasPrefix(m[2], "id=?") {
		return false
	}
	filters := regexp.MustCompile(`\b`+m[1]+`"?\.\w+ = \?`).FindAllString(ofOther.ReplaceAllString(shape, ""), -1)
	if strings.Contains(shape, "e.node_id = ?") {
		filters = slices.DeleteFunc(filters, func(f string) bool { return f == "e.cluster_id = ?" })
	}
	return strings.Count(m[2], "=?") < len(filters)
}

// walk makes a store send all that it ever sends, with every combination of
// filters, and leaves the tables as they are.
func walk(t *testing.T, s *Store, g grown) []string {
	t.Helper()
	r := recorder{all: true}
	r.listen(s)
	try := func(name string, do func(ctx context.Context, tx store.Tx) error) {
		t.Helper()
		err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			if err := do(ctx, tx); err != nil {
				return err
			}
			return errTakeBack
		})
		if !errors.Is(err, errTakeBack) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := walker{g, try}
	w.people()
	w.profiles()
	w.deliveries()
	w.clusters()
	w.fleet()
	w.work()
	w.tokens()
	w.nodes()
	w.audit()
	w.upkeep()
	w.samples()
	var out []string
	for q := range r.seen {
		out = append(out, q)
	}
	slices.Sort(out)
	return out
}

type walker struct {
	grown
	try func(name string, do func(ctx context.Context, tx store.Tx) error)
}

// soon is when nothing in the tables has run out, and later when all has.
var (
	soon  = time.Date(2026, 4, 23, 7, 49, 0, 0, time.UTC)
	later = soon.Add(time.Hour)
)

// pages are the first one and one deep in a list of n, with ids of one kind.
func pages(before string) []page.Query {
	return []page.Query{{Limit: 100}, {Limit: 100, Before: before}}
}

func (w walker) scopes() []store.Scope {
	return []store.Scope{store.OwnedBy(w.user(small)), store.OwnedBy(w.user(bigOwner)), store.Everyone(), {}}
}

func (w walker) people() {
	w.try("users", func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().Get(ctx, w.user(small))
		_, err2 := tx.Users().ByEmail(ctx, "u7@example.com")
		_, err3 := tx.Users().CountByRole(ctx, "admin")
		fresh := u
		fresh.ID, fresh.Email = numbered[id.UserKind]("usr", 1_000_000), "fresh@example.com"
		return errors.Join(err, err2, err3, tx.Users().Update(ctx, &u), tx.Users().SetLastLogin(ctx, u.ID, soon), tx.Users().Insert(ctx, fresh))
	})
	for _, q := range pages(w.user(50).String()) {
		for _, f := range userFilters() {
			w.try("users", func(ctx context.Context, tx store.Tx) error { _, err := tx.Users().List(ctx, f, q); return err })
		}
		w.try("sign-ins", func(ctx context.Context, tx store.Tx) error {
			q.Before = strings.ReplaceAll(q.Before, "usr_", "lgn_")
			_, err := tx.SignIns().List(ctx, w.user(small), q)
			return err
		})
		w.try("keys", func(ctx context.Context, tx store.Tx) error {
			q.Before = strings.ReplaceAll(q.Before, "usr_", "key_")
			_, err := tx.APIKeys().List(ctx, w.user(small), q)
			return err
		})
	}
	w.try("sessions", func(ctx context.Context, tx store.Tx) error {
		ses, _, err := tx.Sessions().ByTokenHash(ctx, []byte("s7"))
		fresh := ses
		fresh.ID, fresh.TokenHash = numbered[id.SessionKind]("ses", 1_000_000), []byte("fresh")
		_, err2 := tx.Sessions().DeleteExpired(ctx, soon, 100)
		_, err3 := tx.Sessions().DeleteOfUser(ctx, w.user(small), ses.ID)
		return errors.Join(err, err2, err3, tx.Sessions().Extend(ctx, ses.ID, later), tx.Sessions().Delete(ctx, ses.ID), tx.Sessions().Insert(ctx, fresh))
	})
	w.try("keys", func(ctx context.Context, tx store.Tx) error {
		k, _, err := tx.APIKeys().ByValueHash(ctx, []byte("k7"))
		fresh := k
		fresh.ID, fresh.ValueHash = numbered[id.APIKeyKind]("key", 1_000_000), []byte("fresh")
		_, err2 := tx.APIKeys().Delete(ctx, k.UserID, k.ID)
		_, err3 := tx.APIKeys().CountOfUser(ctx, k.UserID)
		_, err4 := tx.APIKeys().DeleteOfUser(ctx, k.UserID)
		_, err5 := tx.APIKeys().LastNumber(ctx, k.UserID)
		return errors.Join(err, err2, err3, err4, err5, tx.APIKeys().Touch(ctx, k.ID, soon, soon), tx.APIKeys().Insert(ctx, fresh))
	})
}

// userFilters are all combinations.
func userFilters() (all []store.UserFilter) {
	for _, status := range []string{"", "active", "banned", "none"} {
		for _, role := range []string{"", "user", "admin", "none"} {
			for _, text := range []string{"", "example.com", "user 7", "needle", "u7", "zzz", "!", "%_\\", "@", "éü"} {
				all = append(all, store.UserFilter{Search: text, Status: status, Role: role})
			}
		}
	}
	return all
}

func (w walker) profiles() {
	w.try("removal", func(ctx context.Context, tx store.Tx) error { return tx.Users().Remove(ctx, w.user(small), soon) })
	w.try("codes", func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Codes().Try(ctx, "reset", "u7@example.com", 5, soon)
		_, err2 := tx.Codes().Get(ctx, "reset", "u8@example.com")
		_, err3 := tx.Codes().DeleteExpired(ctx, soon, 100)
		return errors.Join(err, err2, err3, tx.Codes().Put(ctx, c), tx.Codes().Delete(ctx, "reset", "u9@example.com"))
	})
	w.try("identities", func(ctx context.Context, tx store.Tx) error {
		i, _, err := tx.SSOIdentities().Get(ctx, "github", []byte("i7"))
		_, err2 := tx.SSOIdentities().ProvidersOf(ctx, []id.User{w.user(7), w.user(8)})
		fresh := i
		fresh.Provider, fresh.SubjectHash = "fresh", []byte("fresh")
		return errors.Join(err, err2, tx.SSOIdentities().Touch(ctx, "github", []byte("i7"), soon), tx.SSOIdentities().Insert(ctx, fresh))
	})
	w.try("sign-ins", func(ctx context.Context, tx store.Tx) error {
		_, err := tx.SignIns().DeleteOlderThan(ctx, soon, 100)
		return errors.Join(err, tx.SignIns().Append(ctx, store.SignIn{ID: numbered[id.SignInKind]("lgn", 1_000_000), UserID: w.user(7), At: soon}))
	})
	w.try("avatars", func(ctx context.Context, tx store.Tx) error {
		a, err := tx.Avatars().Get(ctx, w.user(7), "t7")
		return errors.Join(err, tx.Avatars().Put(ctx, a), tx.Avatars().Delete(ctx, w.user(8)))
	})
	w.try("settings", func(ctx context.Context, tx store.Tx) error {
		s := store.Setting{Name: "smtp", Value: []byte("{}"), Sealed: []byte("s"), UpdatedAt: soon}
		err := errors.Join(tx.Settings().Put(ctx, &s), tx.Settings().Put(ctx, &s))
		_, err2 := tx.Settings().All(ctx)
		return errors.Join(err, err2)
	})
	w.try("preferences", func(ctx context.Context, tx store.Tx) error {
		p, err := tx.Preferences().Get(ctx, w.user(7))
		return errors.Join(err, tx.Preferences().Put(ctx, p))
	})
}

func (w walker) deliveries() {
	for _, now := range []time.Time{soon, later} {
		w.try("deliveries", func(ctx context.Context, tx store.Tx) error {
			got, err := tx.Deliveries().Claim(ctx, "me", "email", now, now.Add(time.Minute), 10)
			if err != nil || len(got) == 0 {
				return errors.Join(err, errors.New("nothing is due"))
			}
			over, fresh := got[0], got[0]
			over.Status = store.DeliveryDelivered
			fresh.ID, fresh.Key, fresh.UserID = numbered[id.DeliveryKind]("ntf", 10_000_000), "fresh", w.user(7)
			_, err2 := tx.Deliveries().Settle(ctx, got[1], "me")
			_, err3 := tx.Deliveries().Settle(ctx, over, "me")
			var err4 error
			for n, all := 1, []string{"email", "slack", "telegram", "webhook"}; n <= len(all); n++ {
				_, err := tx.Deliveries().Next(ctx, all[:n]...)
				err4 = errors.Join(err4, err)
			}
			_, err5 := tx.Deliveries().DeleteOlderThan(ctx, soon, 100)
			_, err6 := tx.Deliveries().Get(ctx, over.ID)
			_, err9 := tx.Deliveries().Hold(ctx, over.Key, fresh.Key, "none")
			_, err7 := tx.Deliveries().Forget(ctx, now, 100)
			_, err8 := tx.Deliveries().Revive(ctx, numbered[id.DeliveryKind]("ntf", 1007), now)
			return errors.Join(err2, err3, err4, err5, err6, err7, err8, err9, tx.Deliveries().Insert(ctx, fresh))
		})
	}
	for _, user := range []id.User{{}, w.user(small)} {
		for _, status := range []string{"", "pending", "delivered", "dead", "none"} {
			for _, channel := range []string{"", "email", "slack", "none"} {
				for _, template := range []string{"", "welcome", "order-paid", "none"} {
					for _, q := range pages(numbered[id.DeliveryKind]("ntf", w.size.audits/2).String()) {
						w.try("deliveries", func(ctx context.Context, tx store.Tx) error {
							_, err := tx.Deliveries().List(ctx, store.DeliveryFilter{Status: status, Channel: channel, Template: template, User: user}, q)
							return err
						})
					}
				}
			}
		}
	}
}

func (w walker) fleet() {
	for _, scope := range w.scopes() {
		w.try("members", func(ctx context.Context, tx store.Tx) error {
			_, _ = tx.Fleet().Get(ctx, scope, w.cluster(7))
			_, _ = tx.Fleet().ByNumber(ctx, scope, 8)
			_, _ = tx.Fleet().ByName(ctx, scope, "c7")
			_, _ = tx.Fleet().Default(ctx, scope)
			_, err := tx.Clusters().CountByStatus(ctx, scope, "hosted")
			return err
		})
		for _, text := range append([]string{"cluster"}, searched...) {
			for _, offset := range []int{0, 1, 700} {
				w.try("fleet", func(ctx context.Context, tx store.Tx) error {
					_, _, err := tx.Fleet().List(ctx, scope, store.FleetFilter{Search: text}, offset, 20)
					_, _, err2 := tx.Fleet().List(ctx, scope, store.FleetFilter{Search: text, After: w.cluster(offset)}, 0, 20)
					return errors.Join(err, err2)
				})
			}
		}
	}
	w.try("entries", func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Fleet().Sealed(ctx, w.cluster(7))
		_, err2 := tx.Fleet().AllSealed(ctx, w.cluster(7), 20)
		now := soon
		e := store.FleetEntry{ClusterID: w.cluster(w.size.clusters - 1), UpdatedAt: now}
		err3 := tx.Fleet().Put(ctx, &e)
		err4 := tx.Fleet().Put(ctx, &e)
		e.Sealed = []byte("sealed")
		err4 = errors.Join(err4, tx.Fleet().Put(ctx, &e))
		return errors.Join(err, err2, err3, err4, tx.Fleet().NoDefault(ctx, now), tx.Fleet().Count(ctx, e.ClusterID, store.Contents{CountedAt: &now}), tx.Fleet().Remove(ctx, e.ClusterID))
	})
}

// texts are searched for: all rows have them, few, old ones only, none; short and long.
var searched = []string{"", "worker", "cluster 7", "needle", "c1", "10.1.7.", "zzz", "zz", "!", "%_\\", "worker-1 no such node at all", "éü"}

func (w walker) clusters() {
	for _, scope := range w.scopes() {
		w.try("clusters", func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Clusters().CountByStatus(ctx, scope, "")
			_, err2 := tx.Nodes().Totals(ctx, scope)
			_, _ = tx.Clusters().Get(ctx, scope, w.cluster(7))
			_, _ = tx.Clusters().GetForUpdate(ctx, scope, w.cluster(7))
			_, _ = tx.Nodes().Get(ctx, scope, w.node(7))
			_, _ = tx.Tokens().Get(ctx, scope, numbered[id.TokenKind]("tok", 7))
			return errors.Join(err, err2)
		})
		for _, status := range []string{"", "ready", "error", "nobody is"} {
			for _, text := range searched {
				for _, q := range pages(w.cluster(w.size.clusters / 2).String()) {
					w.try("clusters", func(ctx context.Context, tx store.Tx) error {
						_, err := tx.Clusters().List(ctx, scope, store.ClusterFilter{Status: status, Search: text}, q)
						return err
					})
				}
			}
		}
	}
	w.try("clusters", func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Clusters().Get(ctx, store.Everyone(), w.cluster(7))
		fresh := c
		fresh.ID, fresh.VclusterName = numbered[id.ClusterKind]("cl", 1_000_000), "fresh"
		_, err2 := tx.Clusters().Connectable(ctx, w.cluster(9), 100)
		_, err3 := tx.Clusters().Names(ctx, []id.Cluster{w.cluster(7), w.cluster(8)})
		return errors.Join(err, err2, err3, tx.Clusters().Update(ctx, &c), tx.Clusters().Insert(ctx, &fresh))
	})
}

func (w walker) work() {
	w.try("operations", func(ctx context.Context, tx store.Tx) error {
		o, err := tx.Operations().Get(ctx, numbered[id.OperationKind]("op", 7))
		fresh := o
		fresh.ID = numbered[id.OperationKind]("op", 1_000_000)
		_, err2 := tx.Operations().Begin(ctx, o.ID, "running", soon)
		return errors.Join(err, err2, tx.Operations().Update(ctx, o), tx.Operations().Insert(ctx, fresh))
	})
	for _, q := range pages(numbered[id.OperationKind]("op", w.size.clusters).String()) {
		w.try("operations", func(ctx context.Context, tx store.Tx) error {
			_, err := tx.Operations().List(ctx, w.cluster(7), q)
			return err
		})
		for _, f := range []store.JobFilter{{}, {Status: "failed"}, {Status: "pending"}, {Status: "none"}, {ClusterID: w.cluster(7)}, {ClusterID: w.cluster(7), Status: "failed"}} {
			w.try("jobs", func(ctx context.Context, tx store.Tx) error {
				q.Before = strings.ReplaceAll(q.Before, "op_", "job_")
				_, err := tx.Jobs().List(ctx, f, q)
				return err
			})
		}
	}
	for _, now := range []time.Time{soon, later} {
		w.try("jobs", func(ctx context.Context, tx store.Tx) error {
			var errs []error
			for range 2 { // the second finds nothing to claim, and looks why
				_, _, err := tx.Jobs().ClaimOf(ctx, w.cluster(7), "me", now, now.Add(time.Minute))
				errs = append(errs, err)
			}
			_, err := tx.Now(ctx)
			return errors.Join(append(errs, err)...)
		})
		w.try("jobs", func(ctx context.Context, tx store.Tx) error {
			j, ok, err := tx.Jobs().Claim(ctx, "w", now, now.Add(time.Minute))
			if err != nil || !ok {
				return err
			}
			_, err = tx.Jobs().ReleaseWorker(ctx, "w", now)
			t, ok, err2 := tx.Jobs().Take(ctx, j.ClusterID, "me", "running", now, now.Add(time.Minute))
			if err := errors.Join(err, err2); err != nil || !ok {
				return errors.Join(err, errors.New("it was not taken"))
			}
			_, _, err = tx.Jobs().Take(ctx, j.ClusterID, "other", "running", now, now.Add(time.Minute))
			e := store.AuditEvent{ID: numbered[id.AuditKind]("aud", 10_000_000), OccurredAt: now, ResourceType: "cluster", Action: "create_succeeded"}
			return errors.Join(err, tx.Jobs().Conclude(ctx, store.Conclusion{Job: t.Job, Operation: t.Operation, Cluster: *t.Cluster, Event: e}, "me"))
		})
		w.try("jobs", func(ctx context.Context, tx store.Tx) error {
			_, _, err := tx.Jobs().NextAt(ctx, now)
			j, ok, err2 := tx.Jobs().Claim(ctx, "me", now, now.Add(time.Minute))
			if err := errors.Join(err, err2); err != nil || !ok {
				return err
			}
			fresh := j
			fresh.ID, fresh.Status = numbered[id.JobKind]("job", 1_000_000), "pending"
			_, err3 := tx.Jobs().ReleaseWorker(ctx, "w", now)
			_, err4 := tx.Jobs().Get(ctx, j.ID)
			settled := j
			settled.Status, settled.PublishedAt = "succeeded", nil
			return errors.Join(err3, err4, tx.Jobs().Renew(ctx, j.ID, "me", later), tx.Jobs().MarkPublished(ctx, now, j.ID),
				tx.Jobs().Settle(ctx, settled, "me"), tx.Jobs().Insert(ctx, fresh))
		})
	}
}

func (w walker) tokens() {
	w.try("tokens", func(ctx context.Context, tx store.Tx) error {
		k, err := tx.Tokens().ByValueHash(ctx, []byte("t7"))
		_, err2 := tx.Tokens().ByBootstrapID(ctx, k.ClusterID, "b7")
		_, err3 := tx.Tokens().ByClaim(ctx, k.ClusterID, "worker-7")
		_, err4 := tx.Tokens().Leftover(ctx, w.cluster(0), later, 10)
		fresh := k
		fresh.ID, fresh.ValueHash, fresh.BootstrapID = numbered[id.TokenKind]("tok", 1_000_000), []byte("fresh"), "fresh"
		_, err5 := tx.Tokens().CountActive(ctx, k.ClusterID, later, 500)
		return errors.Join(err, err2, err3, err4, err5, tx.Tokens().Update(ctx, &k), tx.Tokens().Insert(ctx, fresh))
	})
}

func (w walker) nodes() {
	w.try("nodes", func(ctx context.Context, tx store.Tx) error {
		n, err := tx.Nodes().Get(ctx, store.Everyone(), w.node(7))
		_, err2 := tx.Nodes().OfCluster(ctx, n.ClusterID)
		_, err3 := tx.Nodes().ByName(ctx, n.ClusterID, n.Name)
		_, err4 := tx.Nodes().ByNames(ctx, n.ClusterID, []string{n.Name, "fresh"})
		_, err5 := tx.Nodes().Lose(ctx, n.ClusterID, "unknown", soon)
		_, err6 := tx.Nodes().DeleteOfCluster(ctx, w.cluster(8))
		fresh := n
		fresh.ID, fresh.Name = numbered[id.NodeKind]("node", 1_000_000), "fresh"
		e := store.NodeEvent{ID: numbered[id.NodeEventKind]("nevt", 1_000_000), ClusterID: n.ClusterID, NodeID: n.ID}
		return errors.Join(err, err2, err3, err4, err5, err6, tx.Nodes().Insert(ctx, fresh), tx.Nodes().Put(ctx, n, fresh), tx.Nodes().Update(ctx, n), tx.Nodes().Delete(ctx, n.ID),
			tx.NodeEvents().Append(ctx, e))
	})
	for _, scope := range w.scopes() {
		for _, cluster := range []id.Cluster{{}, w.cluster(2), w.cluster(10)} {
			w.nodesOf(scope, cluster)
			w.nodeEventsOf(scope, cluster)
		}
	}
}

func (w walker) nodesOf(scope store.Scope, cluster id.Cluster) {
	for _, status := range []string{"", "ready", "unknown", "pending"} {
		for _, text := range searched {
			for _, q := range pages(w.node(w.size.nodes / 2).String()) {
				w.try("nodes", func(ctx context.Context, tx store.Tx) error {
					_, err := tx.Nodes().List(ctx, scope, store.NodeFilter{ClusterID: cluster, Status: status, Search: text}, q)
					return err
				})
			}
		}
	}
}

func (w walker) nodeEventsOf(scope store.Scope, cluster id.Cluster) {
	for _, node := range []id.Node{{}, w.node(7)} {
		for _, kind := range []string{"", "ready", "deleted", "none"} {
			for _, q := range pages(numbered[id.NodeEventKind]("nevt", w.size.nodeEvents/2).String()) {
				w.try("node events", func(ctx context.Context, tx store.Tx) error {
					_, err := tx.NodeEvents().List(ctx, scope, store.NodeEventFilter{ClusterID: cluster, NodeID: node, Type: kind}, q)
					return err
				})
			}
		}
	}
}

func (w walker) audit() {
	w.try("audit", func(ctx context.Context, tx store.Tx) error {
		return tx.Audit().Append(ctx, store.AuditEvent{ID: numbered[id.AuditKind]("aud", 10_000_000), ResourceType: "x", Action: "y"})
	})
	for _, actor := range []id.User{{}, w.user(small), w.user(bigOwner), w.user(admin)} {
		for _, security := range []bool{false, true} {
			for _, resource := range []string{"", "node", "api_key", "none"} {
				for _, action := range []string{"", "cordon", "revoke", "none"} {
					for _, q := range pages(numbered[id.AuditKind]("aud", w.size.audits/2).String()) {
						w.try("audit", func(ctx context.Context, tx store.Tx) error {
							_, err := tx.Audit().List(ctx, store.AuditFilter{Actor: actor, SecurityOnly: security, ResourceType: resource, Action: action}, q)
							return err
						})
					}
				}
			}
		}
	}
}

func (w walker) samples() {
	for _, scope := range w.scopes() {
		for _, step := range []time.Duration{time.Minute, 30 * time.Minute} {
			w.try("samples", func(ctx context.Context, tx store.Tx) error {
				_, err := tx.ControlPlaneSamples().Steps(ctx, scope, w.cluster(2), later.Add(-336*step), later, step)
				return err
			})
		}
	}
	w.try("samples", func(ctx context.Context, tx store.Tx) error {
		fresh := store.ControlPlaneSample{ClusterID: w.cluster(2), At: later, Resolution: time.Minute, Measurements: 1}
		again := fresh
		again.ClusterID, again.At = w.cluster(9), soon.Add(time.Minute)
		_, err := tx.ControlPlaneSamples().Append(ctx, fresh, again)
		return err
	})
	for _, before := range []time.Time{soon, later, soon.Add(-23 * time.Hour), soon.Add(-48 * time.Hour)} {
		w.try("samples", func(ctx context.Context, tx store.Tx) error {
			_, err := tx.ControlPlaneSamples().Thin(ctx, time.Minute, 15*time.Minute, before, 100)
			_, err2 := tx.ControlPlaneSamples().DeleteOlderThan(ctx, 15*time.Minute, before, 500)
			return errors.Join(err, err2)
		})
	}
}

func (w walker) upkeep() {
	w.try("backlog", func(ctx context.Context, tx store.Tx) error { _, err := tx.Backlog(ctx); return err })
	w.try("outbox", func(ctx context.Context, tx store.Tx) error {
		msgs, err := tx.Outbox().Claim(ctx, 100)
		if err != nil {
			return err
		}
		return errors.Join(tx.Outbox().Remove(ctx, msgs[0].ID, msgs[1].ID),
			tx.Outbox().Append(ctx, store.OutboxMessage{ID: numbered[id.MessageKind]("msg", 1_000_000)}))
	})
	w.try("replies", func(ctx context.Context, tx store.Tx) error {
		k := store.ReplyKey{User: w.user(7), Operation: "createCluster", Key: "k7"}
		r, err := tx.Replies().Get(ctx, k)
		_, err2 := tx.Replies().DeleteOlderThan(ctx, soon, 100)
		r.Key = "fresh"
		return errors.Join(err, err2, tx.Replies().Delete(ctx, k), tx.Replies().Insert(ctx, r))
	})
	w.try("leases", func(ctx context.Context, tx store.Tx) error {
		got, err := tx.Leases().Acquire(ctx, []string{"watch/7", "watch/8"}, "p", soon, later)
		_, err2 := tx.Leases().Living(ctx, "process/", soon)
		_, err3 := tx.Leases().DeleteExpired(ctx, soon, 100)
		return errors.Join(err, err2, err3, tx.Leases().Release(ctx, got, "p"))
	})
	w.try("facts", func(ctx context.Context, tx store.Tx) error {
		_, _ = tx.Facts().Get(ctx, "x")
		return tx.Facts().Set(ctx, "x", []byte("y"))
	})
}
