package bunstore

import (
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// plain refuses text that not every database can hold.
func plain(texts ...string) error {
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return fault.Invalid.New(fault.ValidationFailed, "Text must be valid UTF-8 and hold no NUL characters.")
		}
	}
	return nil
}

// legible is plain for every text in a row, or in a slice of rows, so that no
// column is forgotten.
func legible(row any) error { return legibleValue(reflect.ValueOf(row).Elem()) }

func legibleValue(v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		return plain(v.String())
	case reflect.Struct:
		for _, f := range v.Fields() {
			if err := legibleValue(f); err != nil {
				return err
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil // bytes may be anything
		}
		for i := range v.Len() {
			if err := legibleValue(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for k, e := range v.Seq2() {
			if err := plain(k.String(), e.String()); err != nil {
				return err
			}
		}
	default: // holds no text
	}
	return nil
}

// searchable is what a search looks through: the same on every database, which
// would otherwise each have their own idea of lower case. Nothing that is
// searched for holds the separator, so that nothing is found across two texts.
func searchable(texts ...string) string {
	const separator = "\x1f"
	own := make([]string, len(texts))
	for i, s := range texts {
		own[i] = strings.ReplaceAll(strings.ToLower(s), separator, " ")
	}
	return strings.Join(own, separator)
}
