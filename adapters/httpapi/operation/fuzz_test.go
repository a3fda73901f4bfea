package operation

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/page"
)

type embedded struct {
	Count *int64 `json:"count,omitempty"`
}

type sample struct {
	Name string `json:"name"`
	Yes  *bool  `json:"yes,omitempty"`
	embedded
}

// FuzzBody: a body that is taken says everything once, in UTF-8, by the names
// of the fields as they are; one that is refused is not quoted.
func FuzzBody(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"name":"a"}`, `{"NAME":"a"}`, `{"name":"a","name":"b"}`, `{"name":"a","\u006eame":"b"}`, `{"name":"\ud800"}`, "{\"name\":\"\xff\"}", `{"count":1e2}`, `{"count":1.0}`, `{"yes":null}`, `null`, ``, `[]`,
		`{"a":{"b":1,"b":2}}`, `[{"a":1},{"a":2}]`, `{"a":[{"b":1}],"b":{"a":1}}`, `{"ſ":1}`, `{"name":"a"}{}`, strings.Repeat("[", 20_000),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var into *sample
		var free any
		for _, v := range []any{&into, &free, new(sample)} {
			if err := unmarshal(data, v); err != nil {
				if !safe.MatchString(err.Error()) {
					t.Errorf("refused with %q, which would not be shown", err)
				}
				continue
			}
			if !utf8.Valid(data) {
				t.Errorf("took bytes that are no UTF-8: %q", data)
			}
			saidOnce(t, data, v)
		}
	})
}

// saidOnce looks at what was taken in its own way: a map has each name once, so
// nothing may have been lost on the way into it.
func saidOnce(t *testing.T, data []byte, v any) {
	t.Helper()
	var whole any
	if err := json.Unmarshal(data, &whole); err != nil {
		t.Fatalf("took what is no JSON: %q", data)
	}
	written, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if colons(data) != colons(written) {
		t.Errorf("took %q, which says something twice: %s", data, written)
	}
	fields, ok := whole.(map[string]any)
	if _, typed := v.(*any); typed || !ok {
		return
	}
	for name := range fields {
		if name != "name" && name != "yes" && name != "count" {
			t.Errorf("took %q, which has the name %q", data, name)
		}
	}
}

// colons counts the names of all objects.
func colons(data []byte) (n int) {
	inText := false
	for at := 0; at < len(data); at++ {
		switch {
		case inText && data[at] == '\\':
			at++
		case data[at] == '"':
			inText = !inText
		case !inText && data[at] == ':':
			n++
		}
	}
	return n
}

// FuzzLimit: a page's length is always one that a store may be asked for, and a
// plain number within bounds is taken as it is.
func FuzzLimit(f *testing.F) {
	for _, s := range []string{"", "0", "1", "500", "501", "-1", "1e2", "0x10", " 7 ", "99999999999999999999", "-99999999999999999999", "+5", "١", "\xff", "1_000", "00000000000000000000000001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n := Limit{text}.Size()
		if n < 1 || n > page.MaxLimit {
			t.Errorf("%q is a limit of %d", text, n)
		}
		if want, err := strconv.Atoi(text); err == nil && want >= 1 && want <= page.MaxLimit && n != want {
			t.Errorf("%q is a limit of %d", text, n)
		}
	})
}

// FuzzLocation: a name that the client made up can do nothing but be read.
func FuzzLocation(f *testing.F) {
	for _, s := range []string{"", "body.name", "body.<script>", "body.\x1b[31m", strings.Repeat("a", 1000), "body.é", "body.", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out := printable(text)
		if len(out) > maxLocation+3 || strings.Trim(strings.TrimSuffix(out, "..."), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.[]-?") != "" {
			t.Errorf("%q became %q", text, out)
		}
	})
}

// FuzzText: text that narrows a list is one that every store takes.
func FuzzText(f *testing.F) {
	f.Add("a\x00")
	f.Add("\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, text string) {
		if ok := Text("search", text) == nil; ok != (utf8.ValidString(text) && !strings.Contains(text, "\x00")) {
			t.Errorf("%q: %v", text, ok)
		}
	})
}

// TestSampleIsLikeAnInput: the type that bodies are tried on has all that inputs have.
func TestSampleIsLikeAnInput(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"name", "yes", "count"} {
		if _, ok := fieldOf(reflect.TypeFor[sample](), name); !ok {
			t.Errorf("no field %s", name)
		}
	}
}
