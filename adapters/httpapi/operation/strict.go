package operation

import (
	"bytes"
	"encoding/json"
	"reflect"
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
	t := reflect.TypeOf(into)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var given map[string]json.RawMessage
	_ = json.Unmarshal(data, &given) // it has been decoded before; of what is no object nothing is given
	for name := range given {
		if !hasField(t, name) {
			return brokenJSON("has a field that is not known; names are in lower case")
		}
	}
	return nil
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

func hasField(t reflect.Type, name string) bool {
	for f := range t.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if (tag != "" && tag == name) || (f.Anonymous && f.Type.Kind() == reflect.Struct && hasField(f.Type, name)) {
			return true
		}
	}
	return false
}
