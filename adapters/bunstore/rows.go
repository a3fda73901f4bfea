package bunstore

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"strings"

	"github.com/uptrace/bun"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
)

// row is a table's row that can be told as a record.
type row[Rec any] interface{ record() Rec }

func notFound(what, sentence string) error {
	return fault.NotFound.New(what+"_not_found", "%s", sentence)
}

func exists() error { return fault.Conflict.New("already_exists", "It exists already.") }

func stale() error {
	return fault.Conflict.New("stale_version", "Somebody else has changed it meanwhile. Read it again first.")
}

// columns are those of a row, for statements that name them: a star would also
// bring those that a newer program has added beside this one, and bun refuses
// what it has no field for.
func columns[R any](u *unit) string {
	fields := u.db.Dialect().Tables().Get(reflect.TypeFor[*R]()).Fields
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = string(f.SQLName)
	}
	return strings.Join(names, ", ")
}

// columnsOf are columns of one table among several, each named anew with a prefix.
func columnsOf[R any](u *unit, table, prefix string) string {
	fields := u.db.Dialect().Tables().Get(reflect.TypeFor[*R]()).Fields
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = table + "." + f.Name + " AS " + prefix + f.Name
	}
	return strings.Join(names, ", ")
}

// one reads the row that narrow leaves, or fails with missing.
func one[R row[Rec], Rec any](ctx context.Context, u *unit, missing func() error, narrow func(*bun.SelectQuery)) (Rec, error) {
	var r R
	var none Rec
	if err := u.reads(); err != nil {
		return none, err
	}
	q := u.db.NewSelect().Model(&r).Limit(1)
	narrow(q)
	err := q.Scan(ctx)
	if noRows(err) {
		return none, missing()
	}
	if err != nil {
		return none, err
	}
	return r.record(), nil
}

func noRows(err error) bool { return errors.Is(err, sql.ErrNoRows) }

// all reads the rows that narrow leaves.
func all[R row[Rec], Rec any](ctx context.Context, u *unit, narrow func(*bun.SelectQuery)) ([]Rec, error) {
	if err := u.reads(); err != nil {
		return nil, err
	}
	var rows []R
	q := u.db.NewSelect().Model(&rows)
	narrow(q)
	if err := q.Scan(ctx); err != nil {
		return nil, err
	}
	return records(rows), nil
}

func records[R row[Rec], Rec any](rows []R) []Rec {
	if len(rows) == 0 {
		return nil
	}
	out := make([]Rec, len(rows))
	for i, r := range rows {
		out[i] = r.record()
	}
	return out
}

// list reads one page of the rows that narrow leaves, newest first.
func list[R row[Rec], Rec any](ctx context.Context, u *unit, q page.Query, id func(Rec) string, narrow func(*bun.SelectQuery)) (page.Of[Rec], error) {
	if err := plain(q.Before); err != nil {
		return page.Of[Rec]{}, err
	}
	q = q.Clamp()
	found, err := all[R](ctx, u, func(s *bun.SelectQuery) {
		narrow(s)
		newestFirst(s, q)
	})
	if err != nil {
		return page.Of[Rec]{}, err
	}
	return page.Cut(found, q.Limit, id), nil
}

// newestOf is list for the rows that any of the narrowings leaves; those share
// none. It reads the newest ids that each leaves from an index, and the rows of
// the newest of those: a filter that lets little through makes it pass by nothing
// else, however much there is.
func newestOf[R row[Rec], Rec any](ctx context.Context, u *unit, q page.Query, id func(Rec) string, each []func(*bun.SelectQuery)) (page.Of[Rec], error) {
	q = q.Clamp()
	var union []string
	var newest []any
	for _, narrow := range each {
		of := u.db.NewSelect().Model((*R)(nil)).ColumnExpr("?TableAlias.id")
		narrow(of)
		union = append(union, "SELECT * FROM (?) AS k")
		newest = append(newest, newestFirst(of, q))
	}
	ids := u.db.NewSelect().TableExpr("("+strings.Join(union, " UNION ALL ")+") AS k", newest...).
		ColumnExpr("k.id").OrderExpr("k.id DESC").Limit(int64(q.Limit) + 1)
	return list[R](ctx, u, q, id, func(q *bun.SelectQuery) { q.Where("?TableAlias.id IN (?)", ids) })
}

// newestFirst leaves one page, and the row after it.
func newestFirst(s *bun.SelectQuery, q page.Query) *bun.SelectQuery {
	if q.Before != "" {
		s.Where("?TableAlias.id < ?", q.Before)
	}
	return s.OrderExpr("?TableAlias.id DESC").Limit(int64(q.Limit) + 1)
}

// searchWindow is how many of the newest rows a search looks through before it
// asks the index of parts of texts.
const searchWindow = 300

// search is list for the rows that have a text in their search_text; an empty
// one is in all. What everything has in it is found among the newest rows, where
// the index would return nearly the whole table; what next to nothing has in it
// is found with the index, where looking would pass by nearly the whole table.
// narrow must leave what an index finds; belongs may be anything.
func search[R row[Rec], Rec any](ctx context.Context, u *unit, q page.Query, text string, id func(Rec) string,
	narrow, belongs func(*bun.SelectQuery),
) (page.Of[Rec], error) {
	both := func(s *bun.SelectQuery) { narrow(s); belongs(s) }
	if text == "" {
		return list[R](ctx, u, q, id, both)
	}
	if err := plain(q.Before); err != nil {
		return page.Of[Rec]{}, err
	}
	q, text = q.Clamp(), searchable(text)
	oldest, err := endOfWindow[R](ctx, u, q, narrow)
	if err != nil {
		return page.Of[Rec]{}, err
	}
	found, err := all[R](ctx, u, func(s *bun.SelectQuery) {
		both(s)
		newestFirst(s.Where(u.engine.sql().contains, text).Where("?TableAlias.id >= ?", oldest), q)
	})
	if err != nil || oldest == "" || len(found) > q.Limit {
		return page.Cut(found, q.Limit, id), err
	}
	older, err := all[R](ctx, u, func(s *bun.SelectQuery) {
		both(s)
		u.engine.sql().search(s, text)
		newestFirst(s, page.Query{Before: oldest, Limit: q.Limit - len(found)})
	})
	return page.Cut(append(found, older...), q.Limit, id), err
}

// endOfWindow returns the id of the oldest row that a search looks through; none
// when it looks through all.
func endOfWindow[R any](ctx context.Context, u *unit, q page.Query, narrow func(*bun.SelectQuery)) (oldest string, err error) {
	if err := u.reads(); err != nil {
		return "", err
	}
	s := u.db.NewSelect().Model((*R)(nil)).ColumnExpr("?TableAlias.id")
	narrow(s)
	err = newestFirst(s, q).Offset(searchWindow).Limit(1).Scan(ctx, &oldest)
	if noRows(err) {
		return "", nil
	}
	return oldest, err
}

// parts are pieces of a text that are indexed; what has the text in it has them
// all in it.
func parts(text string) []string {
	const length, most = 3, 16
	runes := []rune(text)
	if len(runes) <= length {
		return []string{text}
	}
	var out []string
	last := len(runes) - length
	for i := 0; i <= last; i++ {
		if i == most/2 && last > most {
			i = last - most/2 + 1 // identifiers begin alike
		}
		out = append(out, string(runes[i:i+length]))
	}
	return out
}

// within leaves what a scope sees of clusters that are not deleted.
func within(q *bun.SelectQuery, s store.Scope) { withinAs(q, s, asItIs) }

func withinAs(q *bun.SelectQuery, s store.Scope, value func(any) any) {
	q.Where("c.deleted_at IS NULL")
	if owner, everyone := s.Owner(); !everyone {
		q.Where("c.owner_user_id = ?", value(owner.String())) // the zero user owns nothing
	}
}

// owned leaves the rows that are said to be of the clusters that a scope sees:
// what an index finds. Whether the cluster is still there, [belonging] asks.
func owned(q *bun.SelectQuery, s store.Scope) {
	if owner, everyone := s.Owner(); !everyone {
		q.Where("?TableAlias.owner_user_id = ?", owner.String())
	}
}

// belonging leaves the rows of clusters that a scope sees. It keeps both planners
// from making a join of it, which they would begin with the clusters and then
// sort: each row asks for its own.
func belonging(q *bun.SelectQuery, s store.Scope) {
	of := q.NewSelect().TableExpr("clusters AS c").ColumnExpr("1").Where("c.id = ?TableAlias.cluster_id")
	within(of, s)
	q.Where("EXISTS (? LIMIT 1 OFFSET 0)", of)
}

// insert writes a new row, or a slice of them.
func (u *unit) insert(ctx context.Context, row any) error {
	if err := u.writes(); err != nil {
		return err
	}
	if err := legible(row); err != nil {
		return err
	}
	v := reflect.ValueOf(row).Elem()
	if v.Kind() == reflect.Slice && v.Len() == 1 {
		v = v.Index(0)
	}
	if v.Kind() == reflect.Slice {
		_, err := u.db.NewInsert().Model(row).Exec(ctx)
		return err
	}
	query, args := u.insertion(v)
	_, err := u.hot(query, args...).Exec(ctx)
	return err
}

// replace writes a row, in the place of one that has the same key.
func (u *unit) replace(ctx context.Context, row any, key string, others ...string) error {
	if err := u.writes(); err != nil {
		return err
	}
	if err := legible(row); err != nil {
		return err
	}
	q := u.db.NewInsert().Model(row).On("CONFLICT (" + key + ") DO UPDATE")
	for _, column := range others {
		q.Set("? = EXCLUDED.?", bun.Ident(column), bun.Ident(column))
	}
	_, err := q.Exec(ctx)
	return err
}

// insertion is the statement that writes one row, and its arguments.
func (u *unit) insertion(row reflect.Value) (query string, args []any) {
	t := u.db.Dialect().Tables().Get(row.Type())
	names, marks := make([]string, len(t.Fields)), make([]string, len(t.Fields))
	for i, f := range t.Fields {
		names[i], marks[i], args = string(f.SQLName), "?", append(args, argument(f.Value(row)))
	}
	return "INSERT INTO " + string(t.SQLName) + " (" + strings.Join(names, ", ") + ") VALUES (" + strings.Join(marks, ", ") + ")", args
}

// argument is a column's value, and nil for NULL.
func argument(v reflect.Value) any {
	if v.Kind() != reflect.Pointer {
		return v.Interface()
	}
	if v.IsNil() {
		return nil
	}
	return v.Elem().Interface()
}

// written says of columns how an update writes them, when it does not simply
// replace them; kept: not at all.
type written map[string]string

const kept = ""

// change replaces the row that has the id of the given one, if the condition
// holds, and returns how many rows it changed.
func (u *unit) change(ctx context.Context, row any, how written, condition string, args ...any) (int, error) {
	if err := u.writes(); err != nil {
		return 0, err
	}
	if err := legible(row); err != nil {
		return 0, err
	}
	query, values := u.replacement(reflect.ValueOf(row).Elem(), how)
	return affected(u.hot(query+condition, append(values, args...)...).Exec(ctx))
}

// replacement is the statement that replaces a row, and its arguments.
func (u *unit) replacement(row reflect.Value, how written) (query string, args []any) {
	t := u.db.Dialect().Tables().Get(row.Type())
	var sets []string
	for _, f := range t.Fields {
		expression, special := how[f.Name]
		switch {
		case f.IsPK, special && expression == kept:
			continue
		case !special:
			expression = "?"
		}
		sets, args = append(sets, string(f.SQLName)+" = "+expression), append(args, argument(f.Value(row)))
	}
	return "UPDATE " + string(t.SQLName) + " AS " + string(t.SQLAlias) + " SET " + strings.Join(sets, ", ") + " WHERE id = ?", append(args, argument(t.PKs[0].Value(row)))
}

// exec runs a statement and returns how many rows it changed. Text among args
// has been checked.
func (u *unit) exec(ctx context.Context, query string, args ...any) (int, error) {
	if err := u.writes(); err != nil {
		return 0, err
	}
	return affected(u.db.NewRaw(query, args...).Exec(ctx))
}

func affected(res sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// taken names a violation of uniqueness: named for the constraint of that name,
// already_exists for any other. Everything else it returns as it is.
func (u *unit) taken(err error, constraint string, named func() error) error {
	violated, ok := u.engine.unique(err)
	switch {
	case !ok:
		return err
	case named != nil && (violated == constraint || violated == someConstraint):
		return named()
	}
	return exists()
}

// texts of identifiers, for lists in SQL.
func texts[K id.Kind](ids []id.ID[K]) []string {
	out := make([]string, len(ids))
	for i, v := range ids {
		out[i] = v.String()
	}
	return out
}
