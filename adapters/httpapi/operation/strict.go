package operation

import (
	"encoding/json"
	"reflect"
	"strings"
	"unicode/utf8"
)

// strict says what is wrong with a body that encoding/json would take and mend:
// bytes that are no UTF-8, and names that are a field's but for their case.
func strict(data []byte, into any) error {
	if !utf8.Valid(data) {
		return brokenJSON("is not valid UTF-8")
	}
	t := reflect.TypeOf(into).Elem()
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

func hasField(t reflect.Type, name string) bool {
	for f := range t.Fields() {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == name || (f.Anonymous && f.Type.Kind() == reflect.Struct && hasField(f.Type, name)) {
			return true
		}
	}
	return false
}
