package bunstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// A fixture is a database that a program with an older schema has left: one SQL
// text for each database, and the records in it as that program told them. Every
// schema version has one, made by the program whose newest schema it is. A new
// migration comes with the fixture of the version that it makes:
//
//	KUBEBYON_MAKE_FIXTURE=1 go test -count=1 -run TestEverySchemaHasAFixture ./adapters/bunstore
//
// It needs PostgreSQL and pg_dump. A fixture that has landed is never made again.
const (
	fixtures    = "testdata/schema"
	makeFixture = "KUBEBYON_MAKE_FIXTURE"
	// anySchema stands in a PostgreSQL fixture for the schema that it is loaded into.
	anySchema = "kubebyon_fixture"
)

func fixtureFile(version int64, suffix string) string {
	return filepath.Join(fixtures, fmt.Sprintf("%05d.%s", version, suffix))
}

func newestSchema(t testing.TB) int64 {
	t.Helper()
	return must(sqliteFile{}.migrations().newest())
}

func TestEverySchemaHasAFixture(t *testing.T) {
	newest := newestSchema(t)
	if os.Getenv(makeFixture) != "" {
		makeFixtures(t, newest)
	}
	for v := int64(1); v <= newest; v++ {
		for _, suffix := range []string{"sqlite.sql", "postgres.sql", "json"} {
			if _, err := os.Stat(fixtureFile(v, suffix)); err != nil {
				t.Errorf("schema %d has no fixture (%v): make it as fixture_test.go says", v, err)
			}
		}
	}
	t.Logf("looked for fixtures of %d schema versions", newest)
}

func makeFixtures(t *testing.T, version int64) {
	t.Helper()
	if _, err := os.Stat(fixtureFile(version, "json")); err == nil {
		t.Fatalf("schema %d has a fixture; one that has landed is never made again", version)
	}
	file, server := openSQLite(t), openPostgres(t)
	recs := newRecords()
	recs.keep(t, file)
	recs.keep(t, server)
	told := must(json.MarshalIndent(readRecords(t, file, recs), "", " "))
	if d := differences(t, told, readRecords(t, server, recs)); len(d) > 0 {
		t.Fatal(d)
	}
	if err := os.MkdirAll(fixtures, 0o750); err != nil {
		t.Fatal(err)
	}
	for suffix, text := range map[string]string{"json": string(told) + "\n", "sqlite.sql": dumpSQLite(t, file), "postgres.sql": dumpPostgres(t, server)} {
		if err := os.WriteFile(fixtureFile(version, suffix), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// dumpSQLite writes tables, rows, and then what would have changed the rows.
func dumpSQLite(t testing.TB, s *Store) string {
	t.Helper()
	var b strings.Builder
	definitions := func(where string) {
		for _, sql := range column(t, s, "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND "+where+" ORDER BY rowid") {
			fmt.Fprintf(&b, "%s;\n", sql)
		}
	}
	const plainTables = "name IN (SELECT name FROM pragma_table_list WHERE type = 'table')"
	definitions("type = 'table' AND " + plainTables)
	b.WriteString("DELETE FROM sqlite_sequence;\n")
	for _, table := range append(column(t, s, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND "+plainTables+" ORDER BY rowid"), "sqlite_sequence") {
		if table == "goose_db_version" {
			b.WriteString("DELETE FROM goose_db_version;\n")
		}
		names := column(t, s, "SELECT name FROM pragma_table_info('"+table+"')")
		for _, row := range column(t, s, "SELECT "+"quote("+strings.Join(names, ") || ', ' || quote(")+") FROM "+table+" ORDER BY rowid") {
			fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES (%s);\n", table, strings.Join(names, ", "), row)
		}
	}
	definitions("type = 'index'")
	for _, table := range column(t, s, "SELECT name FROM pragma_table_list WHERE type = 'virtual' AND schema = 'main'") {
		definitions("name = '" + table + "'")
		fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES ('rebuild');\n", table, table)
	}
	definitions("type = 'trigger'")
	return b.String()
}

var psqlCommand = regexp.MustCompile(`(?m)^\\.*\n`)

// dumpPostgres is what pg_dump says, for any schema.
func dumpPostgres(t testing.TB, s *Store) string {
	t.Helper()
	schema := must(currentSchema(t.Context(), s))
	u := must(url.Parse(postgresURL(t)))
	cmd := exec.CommandContext(t.Context(), "pg_dump", "--dbname="+u.String(), "--schema="+schema, "--inserts", "--no-owner", "--no-privileges", "--no-comments")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v %s", err, &complaints)
	}
	text := psqlCommand.ReplaceAllString(string(out), "")
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "-- ") && line != "--\n" && !strings.HasPrefix(line, "SET ") && !strings.HasPrefix(line, "CREATE SCHEMA") && strings.TrimSpace(line) != "" {
			kept = append(kept, line)
		}
	}
	return strings.ReplaceAll(strings.Join(kept, ""), schema, anySchema)
}

func currentSchema(ctx context.Context, s *Store) (name string, err error) {
	err = s.writer.NewRaw("SELECT current_schema()").Scan(ctx, &name)
	return name, err
}

func column(t testing.TB, s *Store, query string) (out []string) {
	t.Helper()
	if err := s.writer.NewRaw(query).Scan(t.Context(), &out); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// loadFixture fills a new database with a fixture.
func loadFixture(t testing.TB, fresh string, version int64) {
	t.Helper()
	if strings.HasPrefix(fresh, "sqlite:") {
		s := open(t, fresh)
		text := must(os.ReadFile(fixtureFile(version, "sqlite.sql")))
		must(s.writer.DB.ExecContext(t.Context(), string(text)))
		return
	}
	u := must(url.Parse(fresh))
	q := u.Query()
	schema := q.Get("search_path")
	q.Set("default_query_exec_mode", "simple_protocol") // takes many statements at once
	u.RawQuery = q.Encode()
	s := must(Open(t.Context(), Config{URL: u.String(), MaxConns: 1}))
	defer s.Close()
	text := must(os.ReadFile(fixtureFile(version, "postgres.sql")))
	must(s.writer.DB.ExecContext(t.Context(), strings.ReplaceAll(string(text), anySchema, schema)))
}

// TestOldDatabasesAreUpgraded from every schema that there has been, at once and
// step by step.
func TestOldDatabasesAreUpgraded(t *testing.T) {
	t.Parallel()
	newest := newestSchema(t)
	for v := int64(1); v <= newest; v++ {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			forEach(t, func(t *testing.T, fresh string) { upgrade(t, fresh, v, newest) })
		})
	}
}

func upgrade(t *testing.T, fresh string, version, newest int64) {
	t.Helper()
	loadFixture(t, fresh, version)
	s := open(t, fresh)
	before := rowsOf(t, s, nil)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	current, _, err := s.SchemaVersion(t.Context())
	if err != nil || current != newest {
		t.Fatalf("schema %d became %d, %v; want %d", version, current, err, newest)
	}
	count := 0
	for table, rows := range rowsOf(t, s, before) {
		if table == "search_texts" { // accounts came to be searched, too
			rows.text = slices.DeleteFunc(rows.text, func(row string) bool { return !slices.Contains(before[table].text, row) })
		}
		if !slices.Equal(rows.text, before[table].text) {
			t.Errorf("%s:\nhad %v\nhas %v", table, before[table].text, rows.text)
		}
		count += len(rows.text)
	}
	told := must(os.ReadFile(fixtureFile(version, "json")))
	var known keptRecords
	if err := json.Unmarshal(told, &known); err != nil {
		t.Fatal(err)
	}
	for _, d := range differences(t, told, readRecords(t, s, known)) {
		t.Error(d)
	}
	useUpgraded(t, s, known)
	t.Logf("schema %d → %d: %d tables with %d rows are as they were", version, newest, len(before), count)
}

// tableRows are the rows of a table, in the columns that it had.
type tableRows struct{ columns, text []string }

// rowsOf reads every table but goose's; with was, the columns of then.
func rowsOf(t testing.TB, s *Store, was map[string]tableRows) map[string]tableRows {
	t.Helper()
	names, columns := "SELECT name FROM pragma_table_list WHERE type = 'table' AND schema = 'main' AND name NOT LIKE 'sqlite_%'",
		"SELECT name FROM pragma_table_info('%s')"
	if _, ok := s.engine.(postgres); ok {
		names = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
		columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = '%s' ORDER BY ordinal_position"
	}
	out := map[string]tableRows{}
	for _, table := range column(t, s, names) {
		rows, known := was[table]
		if table == "goose_db_version" || was != nil && !known {
			continue
		}
		if was == nil {
			rows.columns = column(t, s, fmt.Sprintf(columns, table))
		}
		parts := make([]string, len(rows.columns))
		for i, c := range rows.columns {
			parts[i] = "coalesce('=' || cast(" + c + " AS text), 'NULL')"
		}
		rows.text = column(t, s, "SELECT "+strings.Join(parts, " || '|' || ")+" FROM "+table+" ORDER BY 1")
		out[table] = rows
	}
	if was == nil && len(out) < 14 || was != nil && len(out) != len(was) {
		t.Fatalf("found %d tables of %d", len(out), len(was))
	}
	return out
}

// useUpgraded does with an upgraded database what a server does with it.
func useUpgraded(t *testing.T, s *Store, known keptRecords) {
	t.Helper()
	all, old, now := store.Everyone(), known.Clusters[0], keptAt.Add(2*time.Hour)
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Clusters().GetForUpdate(ctx, all, old.ID)
		c = must(c, err)
		c.Name = "Renamed"
		added := c
		added.ID, added.VclusterName = keptID[id.ClusterKind](9), "vc-new"
		node := known.Nodes[0]
		node.Status, node.CPUAllocatableMilli = "offline", 1
		job, ok, err := tx.Jobs().Claim(ctx, "w", now, now.Add(time.Hour))
		if err != nil || !ok || job.ID != known.Jobs[1].ID {
			t.Errorf("claimed %v %v %v", job, ok, err)
		}
		got, err := tx.Leases().Acquire(ctx, []string{known.Leases[0].Name}, "other", now, now.Add(time.Hour))
		if err != nil || len(got) != 1 {
			t.Errorf("leases: %v %v", got, err)
		}
		audited := known.Audit[0]
		audited.ID = keptID[id.AuditKind](9)
		job.Status = "succeeded"
		return errors.Join(tx.Clusters().Update(ctx, &c), tx.Clusters().Insert(ctx, &added), tx.Nodes().Update(ctx, node),
			tx.Jobs().Settle(ctx, job, "w"), tx.Outbox().Remove(ctx, known.Outbox[0].ID), tx.Audit().Append(ctx, audited),
			tx.Sessions().Extend(ctx, known.Sessions[0].ID, now))
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.View(t.Context(), func(ctx context.Context, tx store.Tx) error {
		found := func(what string, n, want int, err error) {
			if err != nil || n != want {
				t.Errorf("%s: %d, %v; want %d", what, n, err, want)
			}
		}
		p, err := tx.Clusters().List(ctx, store.OwnedBy(old.OwnerUserID), store.ClusterFilter{Search: "RENAM", Status: "ready"}, page.Query{})
		found("clusters", len(p.Items), 2, err)
		if p.Items[0].Number <= old.Number {
			t.Errorf("the number %d was given again", p.Items[0].Number)
		}
		p, err = tx.Clusters().List(ctx, all, store.ClusterFilter{Search: "demo"}, page.Query{})
		found("clusters by vcluster name", len(p.Items), 1, err)
		n, err := tx.Nodes().List(ctx, store.OwnedBy(old.OwnerUserID), store.NodeFilter{Search: "ker-1", Status: "offline"}, page.Query{})
		found("nodes", len(n.Items), 1, err)
		totals, err := tx.Nodes().Totals(ctx, all)
		found("processors of nodes", int(totals.CPUAllocatableMilli), 1001, err)
		found("offline nodes", totals.ByStatus["offline"], 2, err)
		e, err := tx.NodeEvents().List(ctx, store.OwnedBy(old.OwnerUserID), store.NodeEventFilter{Type: "offline"}, page.Query{})
		found("node events", len(e.Items), 1, err)
		a, err := tx.Audit().List(ctx, store.AuditFilter{Action: "create", ResourceType: "cluster"}, page.Query{})
		found("audit events", len(a.Items), 2, err)
		counts, err := tx.Clusters().CountByStatus(ctx, all, "")
		found("ready clusters", counts["ready"], 2, err)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryWayToASchemaMakesTheSame compares a new database with old ones that
// were upgraded at once and one migration at a time.
func TestEveryWayToASchemaMakesTheSame(t *testing.T) {
	t.Parallel()
	newest := newestSchema(t)
	for v := int64(0); v <= newest; v++ {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			forEach(t, func(t *testing.T, fresh string) {
				var want []string
				if strings.HasPrefix(fresh, "sqlite:") {
					want = schemaOf(t, openSQLite(t))
				} else {
					want = schemaOf(t, openPostgres(t))
				}
				if v > 0 {
					loadFixture(t, fresh, v)
				}
				s := open(t, fresh)
				for step := max(v, 1); step <= newest; step++ {
					if err := s.apply(t.Context(), s.engine.migrations(), filesUpTo(t, s.engine.migrations(), step)); err != nil {
						t.Fatal(err)
					}
				}
				got := schemaOf(t, s)
				for _, line := range want {
					if !slices.Contains(got, line) {
						t.Errorf("missing: %s", line)
					}
				}
				for _, line := range got {
					if !slices.Contains(want, line) {
						t.Errorf("too much: %s", line)
					}
				}
				t.Logf("from schema %d step by step: %d definitions are those of a new database", v, len(want))
			})
		})
	}
}

// filesUpTo are the migrations that a program knew whose newest schema was that one.
func filesUpTo(t testing.TB, m migrations, version int64) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	for i, f := range must(fs.ReadDir(embedded, m.files)) {
		if int64(i) < version {
			out[f.Name()] = &fstest.MapFile{Data: must(fs.ReadFile(embedded, m.files+"/"+f.Name()))}
		}
	}
	return out
}

// unbracketed forgets brackets: PostgreSQL adds others each time that a dump of a
// condition is read.
var unbracketed = strings.NewReplacer("(", "", ")", "")

var spaces = regexp.MustCompile(`\s+`)

// schemaOf defines everything that is in a database.
func schemaOf(t testing.TB, s *Store) []string {
	t.Helper()
	if _, ok := s.engine.(sqliteFile); ok {
		out := column(t, s, "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_master")
		for i := range out {
			out[i] = spaces.ReplaceAllString(out[i], " ")
		}
		return out
	}
	schema := must(currentSchema(t.Context(), s))
	var out []string
	for _, query := range []string{
		`SELECT concat_ws(' ', c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), l.collname, a.attnotnull, a.attidentity,
			pg_get_expr(d.adbin, d.adrelid)) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
			LEFT JOIN pg_collation l ON l.oid = a.attcollation LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
			WHERE c.relnamespace = current_schema()::regnamespace AND (a.attnum > 0 OR c.relkind = 'S')`,
		`SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE connamespace = current_schema()::regnamespace`,
		`SELECT pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = current_schema()::regnamespace`,
		`SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT tgisinternal AND c.relnamespace = current_schema()::regnamespace`,
		`SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace`,
	} {
		for _, line := range column(t, s, query) {
			out = append(out, unbracketed.Replace(strings.ReplaceAll(line, schema, anySchema)))
		}
	}
	if len(out) < 100 {
		t.Fatalf("found only %d definitions", len(out))
	}
	return out
}
