package operation

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// strict says what is wrong with a body that encoding/json would take and mend:
// bytes that are no UTF-8, names that are a field's but for their case, and
// names that stand twice, of which every reader takes another.
func strict(data []byte, into any) error {
	if !utf8.Valid(data) {
		return brokenJSON("is not valid UTF-8")
	}
	if repeats(data) {
		return brokenJSON("has a field twice")
	}
	if !fits(reflect.TypeOf(into), data) {
		return brokenJSON("has a field that is not known; names are in lower case")
	}
	return nil
}

// fits reports whether all names in data are fields of t, spelled alike, at any
// depth. Data has been decoded before: what is of another kind than t is null, or
// read by t itself.
func fits(t reflect.Type, data json.RawMessage) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Slice:
		var items []json.RawMessage
		_ = json.Unmarshal(data, &items)
		return !slices.ContainsFunc(items, func(item json.RawMessage) bool { return !fits(t.Elem(), item) })
	case reflect.Struct:
		var given map[string]json.RawMessage
		_ = json.Unmarshal(data, &given)
		for name, value := range given {
			if f, ok := fieldOf(t, name); !ok || !fits(f, value) {
				return false
			}
		}
	}
	return true
}

// repeats reports whether an object in data, at any depth, has a name twice,
// however it is spelled. Data has been decoded before.
func repeats(data []byte) bool {
	in := json.NewDecoder(bytes.NewReader(data))
	var open []map[string]bool // of each object its names, of each list nil
	var isName bool            // what comes next, inside an object
	for {
		token, err := in.Token()
		if err != nil {
			return false // the end
		}
		inObject := len(open) > 0 && open[len(open)-1] != nil
		switch {
		case token == json.Delim('{'):
			open, isName = append(open, map[string]bool{}), true
			continue
		case token == json.Delim('['):
			open = append(open, nil)
			continue
		case token == json.Delim('}') || token == json.Delim(']'):
			open = open[:len(open)-1]
		case inObject && isName:
			name, _ := token.(string)
			if open[len(open)-1][name] {
				return true
			}
			open[len(open)-1][name], isName = true, false
			continue
		}
		isName = true // a value has ended: where it stood in an object, a name follows
	}
}

func fieldOf(t reflect.Type, name string) (reflect.Type, bool) {
	for f := range t.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag != "" && tag == name {
			return f.Type, true
		}
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			if inner, ok := fieldOf(f.Type, name); ok {
				return inner, true
			}
		}
	}
	return nil, false
}
