package bunstore

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun/dialect"
	"github.com/uptrace/bun/schema"

	"github.com/kubebyon/kubebyon/core/kernel/id"
)

// key is a column that holds an identifier; the zero one is NULL.
type key[K id.Kind] struct{ id.ID[K] }

func keyOf[K id.Kind](i id.ID[K]) key[K] { return key[K]{i} }

func (k key[K]) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	if k.IsZero() {
		return dialect.AppendNull(b), nil
	}
	return gen.Dialect().AppendString(b, k.String()), nil
}

func (k key[K]) sent() (any, error) {
	if k.IsZero() {
		return nil, nil //nolint:nilnil // NULL
	}
	return k.String(), nil
}

func (k *key[K]) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		k.ID = id.ID[K]{}
		return nil
	case string:
		return k.UnmarshalText([]byte(v))
	case []byte:
		return k.UnmarshalText(v)
	}
	return fmt.Errorf("an identifier came as %T", src)
}

// ownerOf is a column that holds the owner of a cluster, which never changes. It
// is only ever written.
type ownerOf struct{ cluster id.Cluster }

func (o ownerOf) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	return append(b, o.around(string(gen.Dialect().AppendString(nil, o.cluster.String())))...), nil
}

// around is the column's value, made of that of the cluster's id.
func (ownerOf) around(cluster string) string {
	return "COALESCE((SELECT owner_user_id FROM clusters WHERE id = " + cluster + "), '')" // the reference to the cluster fails then
}

func (*ownerOf) Scan(any) error { return nil }

// moment is a column that holds a time: timestamptz(3) in PostgreSQL,
// milliseconds since 1970 in SQLite.
type moment time.Time

func at(t time.Time) moment { return moment(t.UTC().Truncate(time.Millisecond)) }

func maybeAt(t *time.Time) *moment {
	if t == nil {
		return nil
	}
	m := at(*t)
	return &m
}

func (m moment) time() time.Time { return time.Time(m) }

func (m *moment) maybe() *time.Time {
	if m == nil {
		return nil
	}
	t := m.time()
	return &t
}

func (m moment) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	if gen.Dialect().Name() == dialect.SQLite {
		return fmt.Appendf(b, "%d", m.time().UnixMilli()), nil
	}
	return m.time().AppendFormat(b, "'2006-01-02 15:04:05.000Z07:00'::timestamptz"), nil
}

func (m moment) sent() (any, error) { return m.time(), nil } //nolint:unparam // as sendable says

func (m *moment) Scan(src any) error {
	switch v := src.(type) {
	case time.Time:
		*m = at(v)
		return nil
	case int64:
		*m = moment(time.UnixMilli(v).UTC())
		return nil
	}
	return fmt.Errorf("a time came as %T", src)
}

// document is a column of JSON.
type document[T any] struct{ v T }

func (d document[T]) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	raw, err := json.Marshal(d.v)
	if err != nil {
		return nil, err
	}
	return gen.Dialect().AppendString(b, string(raw)), nil
}

func (d document[T]) sent() (any, error) {
	raw, err := json.Marshal(d.v)
	return string(raw), err
}

func (d *document[T]) Scan(src any) error {
	switch v := src.(type) {
	case string:
		return json.Unmarshal([]byte(v), &d.v)
	case []byte:
		return json.Unmarshal(v, &d.v)
	}
	return fmt.Errorf("a document came as %T", src)
}

// listOf and mapOf are never null, in JSON as little as in SQL.
func listOf(v []string) document[[]string] {
	if v == nil {
		v = []string{}
	}
	return document[[]string]{v}
}

func mapOf(v map[string]string) document[map[string]string] {
	if v == nil {
		v = map[string]string{}
	}
	return document[map[string]string]{v}
}

// blob is never nil, which would be NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
