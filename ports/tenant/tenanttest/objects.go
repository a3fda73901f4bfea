package tenanttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

var (
	configMaps = tenant.Kind{Version: "v1", Resource: "configmaps", Namespaced: true}
	namespaces = tenant.Kind{Version: "v1", Resource: "namespaces"}
)

func objects() map[string]func(*testing.T, World) {
	return map[string]func(*testing.T, World){
		"AnObjectIsMadeReadChangedAndDeleted": lifeOfAnObject,
		"WhatIsAbsentIsNotFound":              absentObjects,
		"ANameIsTakenOnce":                    takenName,
		"WhatTheClusterRefusesIsInvalid":      refusedObjects,
		"AStaleWriteIsAConflict":              staleWrites,
		"APatchMerges":                        patches,
		"ListsPage":                           listsPage,
		"ListsAreKeptAndOrdered":              listsAreKeptAndOrdered,
		"ListsSelect":                         listsSelect,
		"ListsCount":                          listsCount,
		"ABadSelectorIsInvalid":               badSelectors,
		"ListsReachSoFar":                     listsReachSoFar,
		"ListedObjectsSayWhatTheyAre":         listedKinds,
		"ClusterScopedObjects":                clusterScoped,
		"LogsOfNoPod":                         logsOfNoPod,
	}
}

func configMap(name, app, value string) tenant.Object {
	return tenant.Object{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": name, "labels": map[string]any{"app": app}}, "data": map[string]any{"key": value},
	}
}

func make1(t *testing.T, w World, in tenant.Tenant, o tenant.Object) tenant.Object {
	t.Helper()
	made, err := in.Create(t.Context(), configMaps, w.Namespace, o)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return made
}

// several makes n objects of one app, whose names sort as they are returned.
func several(t *testing.T, w World, in tenant.Tenant, n int) (app string, names []string) {
	t.Helper()
	app = unique("app")
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%02d", app, i))
	}
	for i := range n { // in another order
		at := (i*7 + 3) % n
		make1(t, w, in, configMap(names[at], app, fmt.Sprint(n-at)))
	}
	return app, names
}

func want(t *testing.T, what string, err error, kind fault.Kind, code string) {
	t.Helper()
	if !errors.Is(err, kind) || fault.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

func lifeOfAnObject(t *testing.T, w World) {
	in, name := w.open(t), unique("life")
	made := make1(t, w, in, configMap(name, "x", "one"))
	if made.Name() != name || made.Namespace() != w.Namespace || made.Metadata()["uid"] == nil || made.Metadata()["resourceVersion"] == nil {
		t.Errorf("made: %v", made)
	}
	got, err := in.Get(t.Context(), configMaps, w.Namespace, name)
	if err != nil || got["data"].(map[string]any)["key"] != "one" || got["kind"] != "ConfigMap" {
		t.Fatalf("Get: %v, %v", got, err)
	}
	next := configMap(name, "x", "two")
	if now, err := in.Replace(t.Context(), configMaps, w.Namespace, name, next); err != nil || now["data"].(map[string]any)["key"] != "two" {
		t.Fatalf("Replace: %v, %v", now, err)
	}
	if got["data"].(map[string]any)["key"] != "one" {
		t.Error("what was read before has changed")
	}
	if err := in.Delete(t.Context(), configMaps, w.Namespace, name, tenant.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = in.Get(t.Context(), configMaps, w.Namespace, name)
	want(t, "Get of what is deleted", err, fault.NotFound, "object_not_found")
}

func absentObjects(t *testing.T, w World) {
	in, name := w.open(t), unique("absent")
	_, get := in.Get(t.Context(), configMaps, w.Namespace, name)
	_, replace := in.Replace(t.Context(), configMaps, w.Namespace, name, tenant.Object{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "resourceVersion": "1"},
	})
	_, patch := in.Patch(t.Context(), configMaps, w.Namespace, name, tenant.Object{"data": map[string]any{"a": "b"}})
	_, create := in.Create(t.Context(), configMaps, unique("nowhere"), configMap(name, "x", "y"))
	for what, err := range map[string]error{
		"Get": get, "Patch": patch, "Create in no namespace": create,
		"Delete": in.Delete(t.Context(), configMaps, w.Namespace, name, tenant.DeleteOptions{}),
	} {
		want(t, what, err, fault.NotFound, "object_not_found")
	}
	if !errors.Is(replace, fault.NotFound) && !errors.Is(replace, fault.Conflict) {
		t.Errorf("Replace: %v", replace)
	}
	for _, odd := range []string{"", "..", "a/b", "a%2fb", "."} {
		_, err := in.Get(t.Context(), configMaps, w.Namespace, odd)
		want(t, "Get of "+odd, err, fault.NotFound, "object_not_found")
	}
	page, err := in.List(t.Context(), configMaps, tenant.Query{Namespace: unique("nowhere"), Limit: 5})
	if err != nil || page.Total != 0 || len(page.Items) != 0 || page.Items == nil {
		t.Errorf("List in no namespace: %+v, %v", page, err)
	}
}

func takenName(t *testing.T, w World) {
	in, name := w.open(t), unique("taken")
	make1(t, w, in, configMap(name, "x", "one"))
	_, err := in.Create(t.Context(), configMaps, w.Namespace, configMap(name, "x", "two"))
	want(t, "Create again", err, fault.Conflict, "object_exists")
}

func refusedObjects(t *testing.T, w World) {
	in, name := w.open(t), unique("refused")
	_, err := in.Create(t.Context(), configMaps, w.Namespace, configMap("No Name", "x", "y"))
	want(t, "Create with a bad name", err, fault.Invalid, "object_invalid")
	_, err = in.Create(t.Context(), configMaps, "", configMap(name, "x", "y"))
	want(t, "Create without a namespace", err, fault.Invalid, "object_invalid")
	_, err = in.Create(t.Context(), configMaps, w.Namespace, nil)
	want(t, "Create of nothing", err, fault.Invalid, "object_invalid")
	make1(t, w, in, configMap(name, "x", "y"))
	_, err = in.Replace(t.Context(), configMaps, w.Namespace, name, configMap(name+"-other", "x", "y"))
	want(t, "Replace by another", err, fault.Invalid, "object_invalid")
}

func staleWrites(t *testing.T, w World) {
	in, name := w.open(t), unique("stale")
	old := make1(t, w, in, configMap(name, "x", "one"))
	if _, err := in.Patch(t.Context(), configMaps, w.Namespace, name, tenant.Object{"data": map[string]any{"key": "two"}}); err != nil {
		t.Fatal(err)
	}
	_, err := in.Replace(t.Context(), configMaps, w.Namespace, name, old)
	want(t, "Replace", err, fault.Conflict, "object_stale")
	_, err = in.Patch(t.Context(), configMaps, w.Namespace, name, tenant.Object{
		"metadata": map[string]any{"resourceVersion": old.Metadata()["resourceVersion"]}, "data": map[string]any{"key": "three"},
	})
	want(t, "Patch", err, fault.Conflict, "object_stale")
}

func patches(t *testing.T, w World) {
	in, name := w.open(t), unique("patched")
	make1(t, w, in, configMap(name, "x", "one"))
	now, err := in.Patch(t.Context(), configMaps, w.Namespace, name, tenant.Object{
		"metadata": map[string]any{"labels": map[string]any{"app": nil, "tier": "front"}}, "data": map[string]any{"more": "two"},
	})
	if err != nil {
		t.Fatal(err)
	}
	data, labels := now["data"].(map[string]any), now.Metadata()["labels"].(map[string]any)
	if data["key"] != "one" || data["more"] != "two" || len(labels) != 1 || labels["tier"] != "front" {
		t.Errorf("patched: %v %v", data, labels)
	}
}

func namesOf(p tenant.Page) (out []string) {
	for _, o := range p.Items {
		out = append(out, o.Name())
	}
	return out
}

func listsPage(t *testing.T, w World) {
	in := w.open(t)
	app, names := several(t, w, in, 12)
	everything := func(tenant.Object) bool { return true }
	for _, c := range []struct{ offset, limit int }{{0, 5}, {5, 5}, {10, 5}, {12, 5}, {0, 100}, {30, 1}, {3, 1}} {
		for how, q := range map[string]tenant.Query{
			"in the API's order": {}, "kept": {Keep: everything}, "ordered": {Order: func(a, b tenant.Object) int { return strings.Compare(a.Name(), b.Name()) }},
		} {
			q.Namespace, q.Labels, q.Offset, q.Limit = w.Namespace, "app="+app, c.offset, c.limit
			page, err := in.List(t.Context(), configMaps, q)
			if err != nil {
				t.Fatal(err)
			}
			expected := names[min(c.offset, 12):min(c.offset+c.limit, 12)]
			if got := namesOf(page); !slices.Equal(got, expected) || page.Total != 12 {
				t.Errorf("%+v %s: %v of %d, want %v of 12", c, how, got, page.Total, expected)
			}
		}
	}
}

func listsAreKeptAndOrdered(t *testing.T, w World) {
	in := w.open(t)
	app, names := several(t, w, in, 9)
	value := func(o tenant.Object) string { s, _ := o["data"].(map[string]any)["key"].(string); return s }
	page, err := in.List(t.Context(), configMaps, tenant.Query{
		Namespace: w.Namespace, Labels: "app=" + app, Limit: 2, Offset: 1,
		Keep:  func(o tenant.Object) bool { return o.Name() != names[8] },
		Order: func(a, b tenant.Object) int { return strings.Compare(value(a), value(b)) },
	})
	if got := namesOf(page); err != nil || page.Total != 8 || !slices.Equal(got, []string{names[6], names[5]}) {
		t.Errorf("%v of %d, %v; want %v of 8", got, page.Total, err, []string{names[6], names[5]})
	}
}

func listsSelect(t *testing.T, w World) {
	in := w.open(t)
	_, names := several(t, w, in, 3)
	page, err := in.List(t.Context(), configMaps, tenant.Query{Namespace: w.Namespace, Fields: "metadata.name=" + names[1], Limit: 10})
	if got := namesOf(page); err != nil || !slices.Equal(got, names[1:2]) || page.Total != 1 {
		t.Errorf("by field: %v, %v", got, err)
	}
	page, err = in.List(t.Context(), configMaps, tenant.Query{Labels: "app in (" + names[0][:len(names[0])-3] + "),nothing", Limit: 10})
	if err != nil || page.Total != 0 {
		t.Errorf("by labels that nothing has: %+v, %v", page, err)
	}
}

func listsCount(t *testing.T, w World) {
	in := w.open(t)
	app, _ := several(t, w, in, 4)
	for how, q := range map[string]tenant.Query{
		"all": {Labels: "app=" + app}, "kept": {Labels: "app=" + app, Keep: func(tenant.Object) bool { return true }},
	} {
		if page, err := in.List(t.Context(), configMaps, q); err != nil || page.Total != 4 || len(page.Items) != 0 {
			t.Errorf("%s: %+v, %v", how, page, err)
		}
	}
	if page, err := in.List(t.Context(), namespaces, tenant.Query{}); err != nil || page.Total < 3 || len(page.Items) != 0 {
		t.Errorf("namespaces: %+v, %v", page, err)
	}
}

func badSelectors(t *testing.T, w World) {
	in := w.open(t)
	for _, q := range []tenant.Query{{Labels: "a in"}, {Labels: "=,="}, {Fields: "spec"}, {Fields: "no.such.field=1"}} {
		q.Limit = 1
		_, err := in.List(t.Context(), configMaps, q)
		want(t, fmt.Sprintf("%+v", q), err, fault.Invalid, "selector_invalid")
	}
}

func listsReachSoFar(t *testing.T, w World) {
	in := w.open(t)
	for _, q := range []tenant.Query{{Offset: tenant.MaxReach, Limit: 1}, {Offset: -1}, {Limit: -1}, {Limit: tenant.MaxReach + 1}} {
		_, err := in.List(t.Context(), configMaps, q)
		want(t, fmt.Sprintf("%+v", q), err, fault.Invalid, "list_too_long")
	}
}

func listedKinds(t *testing.T, w World) {
	in := w.open(t)
	app, _ := several(t, w, in, 1)
	page, err := in.List(t.Context(), configMaps, tenant.Query{Labels: "app=" + app, Limit: 1})
	if err != nil || len(page.Items) != 1 || page.Items[0]["kind"] != "ConfigMap" || page.Items[0]["apiVersion"] != "v1" {
		t.Errorf("%v, %v", page.Items, err)
	}
}

func clusterScoped(t *testing.T, w World) {
	in, name := w.open(t), unique("ns")
	o := tenant.Object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
	if _, err := in.Create(t.Context(), namespaces, "", o); err != nil {
		t.Fatal(err)
	}
	if got, err := in.Get(t.Context(), namespaces, "", name); err != nil || got.Name() != name || got.Namespace() != "" {
		t.Errorf("Get: %v, %v", got, err)
	}
	if err := in.Delete(t.Context(), namespaces, "", name, tenant.DeleteOptions{Foreground: true}); err != nil {
		t.Error(err)
	}
}

func logsOfNoPod(t *testing.T, w World) {
	_, err := w.open(t).Logs(t.Context(), tenant.LogQuery{Namespace: w.Namespace, Pod: unique("pod"), TailLines: 10})
	want(t, "Logs", err, fault.NotFound, "object_not_found")
}
