package memstore

import (
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// plain refuses text that some database could not hold.
func plain(texts ...string) error {
	for _, s := range texts {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return fault.Invalid.New(fault.ValidationFailed, "Text must be valid UTF-8 and hold no NUL characters.")
		}
	}
	return nil
}

// storable returns a record as a store keeps it: a copy of its own, times in
// UTC to the millisecond, no text that [plain] refuses.
func storable[T any](rec T) (T, error) {
	v := reflect.ValueOf(&rec).Elem()
	err := tidy(v)
	return rec, err
}

// detached returns a copy that shares no memory with a stored record.
func detached[T any](rec T) T {
	_ = tidy(reflect.ValueOf(&rec).Elem()) // what is stored was tidy
	return rec
}

var timeType = reflect.TypeFor[time.Time]() //nolint:gochecknoglobals // a constant

func tidy(v reflect.Value) error {
	if v.Type() == timeType {
		v.Set(reflect.ValueOf(v.Interface().(time.Time).UTC().Truncate(time.Millisecond)))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		return plain(v.String())
	case reflect.Struct:
		return tidyFields(v)
	case reflect.Pointer:
		return tidyPointer(v)
	case reflect.Slice:
		return tidySlice(v)
	case reflect.Map:
		return tidyMap(v)
	default:
		return nil
	}
}

func tidyFields(v reflect.Value) error {
	for _, f := range v.Fields() {
		if f.CanSet() {
			if err := tidy(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func tidyPointer(v reflect.Value) error {
	if v.IsNil() {
		return nil
	}
	own := reflect.New(v.Type().Elem())
	own.Elem().Set(v.Elem())
	v.Set(own)
	return tidy(own.Elem())
}

func tidySlice(v reflect.Value) error {
	if v.IsNil() {
		return nil
	}
	own := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
	reflect.Copy(own, v)
	v.Set(own)
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return nil
	}
	for i := range v.Len() {
		if err := tidy(v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func tidyMap(v reflect.Value) error {
	if v.IsNil() {
		return nil
	}
	own := reflect.MakeMapWithSize(v.Type(), v.Len())
	for k, e := range v.Seq2() {
		if err := plain(k.String(), e.String()); err != nil { // all maps of records are of text
			return err
		}
		own.SetMapIndex(k, e)
	}
	v.Set(own)
	return nil
}
