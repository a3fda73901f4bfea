package coretest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// Dump writes down every record that a memory store holds, deleted ones
// included, in an order that repeats: what is not in it is not in the store,
// and two dumps that are alike mean that nothing changed. It looks where no
// port lets anybody look.
func Dump(memstore any) string {
	state := reflect.ValueOf(memstore).Elem().FieldByName("committed")            // an atomic.Pointer
	record := state.Type().Field(0).Type.Elem().Elem()                            // [0]*T comes first in one
	at := *(*unsafe.Pointer)(unsafe.Pointer(state.FieldByName("v").UnsafeAddr())) //nolint:gosec // a look where there is no other
	var out strings.Builder
	write(&out, reflect.NewAt(record, at).Elem())
	return strings.ReplaceAll(out.String(), "};", "};\n")
}

func write(out *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		writeStruct(out, v)
	case reflect.Map:
		writeMap(out, v)
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(out, "%x %q;", v.Bytes(), v.Bytes())
			return
		}
		for i := range v.Len() {
			write(out, v.Index(i))
		}
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*time.Time]() && !v.IsNil() {
			write(out, v.Elem())
		}
	default:
		fmt.Fprintf(out, "%v;", v)
	}
}

func writeStruct(out *strings.Builder, v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		fmt.Fprintf(out, "%v %v;", v.Field(0), v.Field(1)) // wall and ext: a time has no other state in UTC
		return
	}
	out.WriteString(v.Type().Name() + "{")
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.Name != "of" { // a table's unit: whose copy it is says nothing of what it holds
			out.WriteString(f.Name + "=")
			write(out, v.Field(i))
		}
	}
	out.WriteString("};")
}

func writeMap(out *strings.Builder, v reflect.Value) {
	rows := make([]string, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		var row strings.Builder
		write(&row, it.Key())
		write(&row, it.Value())
		rows = append(rows, row.String())
	}
	slices.SortFunc(rows, cmp.Compare)
	out.WriteString(strings.Join(rows, ""))
}
