package memtenant

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	jsonutil "k8s.io/apimachinery/pkg/util/json"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Namespaces is the kind whose objects the others are in.
var Namespaces = tenant.Kind{Version: "v1", Resource: "namespaces"} //nolint:gochecknoglobals // a constant

// key is where an object is.
type key struct {
	kind            tenant.Kind
	namespace, name string
}

// contents are a tenant's objects, which know nothing of its machines. An
// object is never changed, only replaced.
type contents struct {
	objects map[key]tenant.Object
	logs    map[string]string // by namespace/pod/container
	version int
	base    *url.URL
	passage http.RoundTripper
	actors  []string // who has changed something, in order
}

func newContents() *contents {
	c := &contents{objects: map[key]tenant.Object{}, logs: map[string]string{}}
	for _, name := range []string{"default", "kube-public", "kube-system"} {
		c.put(key{Namespaces, "", name}, tenant.Object{"metadata": map[string]any{"name": name}}, time.Time{})
	}
	return c
}

// put stamps an object as a cluster does.
func (c *contents) put(k key, o tenant.Object, now time.Time) tenant.Object {
	c.version++
	m := maps.Clone(o.Metadata())
	if m == nil {
		m = map[string]any{}
	}
	m["name"], m["resourceVersion"] = k.name, strconv.Itoa(c.version)
	if k.kind.Namespaced {
		m["namespace"] = k.namespace
	}
	if was, ok := c.objects[k]; ok {
		m["uid"], m["creationTimestamp"] = was.Metadata()["uid"], was.Metadata()["creationTimestamp"]
	} else {
		m["uid"], m["creationTimestamp"] = rand.Text(), now.UTC().Format(time.RFC3339)
	}
	o = maps.Clone(o)
	o["metadata"] = m
	c.objects[k] = o
	return o
}

// PutObject makes or replaces an object, and its namespace if there is none.
func (c *Cluster) PutObject(k tenant.Kind, o tenant.Object) {
	copied, err := plain(o)
	if err != nil {
		panic(err)
	}
	c.update(func() {
		if in := copied.Namespace(); k.Namespaced && !c.in.has(key{Namespaces, "", in}) {
			c.in.put(key{Namespaces, "", in}, tenant.Object{"kind": "Namespace", "apiVersion": "v1"}, time.Time{})
		}
		c.in.put(key{k, copied.Namespace(), copied.Name()}, copied, time.Time{})
	})
}

// SetLog says what a container has written.
func (c *Cluster) SetLog(namespace, pod, container, text string) {
	c.update(func() { c.in.logs[namespace+"/"+pod+"/"+container] = text })
}

// SetPassage says where Passage leads.
func (c *Cluster) SetPassage(base *url.URL, rt http.RoundTripper) {
	c.update(func() { c.in.base, c.in.passage = base, rt })
}

// Actors returns in whose name objects were changed, in order; empty is the
// platform.
func (c *Cluster) Actors() (out []string) {
	c.read(func() { out = slices.Clone(c.in.actors) })
	return out
}

func (c *contents) has(k key) bool { _, ok := c.objects[k]; return ok }

// plain returns a copy of an object, as its JSON is read.
func plain(o tenant.Object) (out tenant.Object, err error) {
	text, err := json.Marshal(o)
	if err != nil || o == nil {
		return nil, invalidObject("This is not an object.")
	}
	var m map[string]any
	err = jsonutil.Unmarshal(text, &m)
	return m, err
}

func (t in) List(ctx context.Context, k tenant.Kind, q tenant.Query) (tenant.Page, error) {
	pick, err := tenant.NewPick(q)
	if err != nil {
		return tenant.Page{}, err
	}
	byLabel, err := labels.Parse(q.Labels)
	if err != nil {
		return tenant.Page{}, badSelector()
	}
	byField, err := fields.ParseSelector(q.Fields)
	if err != nil {
		return tenant.Page{}, badSelector()
	}
	for _, r := range byField.Requirements() {
		if !selectable(k, r.Field) {
			return tenant.Page{}, badSelector()
		}
	}
	err = t.call(ctx, func() error {
		for at, o := range t.c.in.objects {
			if at.kind == k && (q.Namespace == "" || at.namespace == q.Namespace) &&
				byLabel.Matches(labels.Set(texts(o.Metadata()["labels"]))) && byField.Matches(seen(byField, o)) {
				pick.Add(o, 0)
			}
		}
		return nil
	})
	return pick.Page(), err
}

func text(o tenant.Object, field string) string {
	s, _ := o.Metadata()[field].(string)
	return s
}

// selectable are the fields that an API selects by.
func selectable(k tenant.Kind, field string) bool {
	more := map[string]string{
		"pods": "spec.nodeName status.phase spec.serviceAccountName", "secrets": "type", "nodes": "spec.unschedulable",
		"events":     "involvedObject.kind involvedObject.name involvedObject.namespace involvedObject.uid reason type",
		"namespaces": "status.phase",
	}
	return slices.Contains(strings.Fields("metadata.name metadata.namespace "+more[k.Resource]), field)
}

func texts(v any) map[string]string {
	out := map[string]string{}
	m, _ := v.(map[string]any)
	for name, value := range m {
		out[name], _ = value.(string)
	}
	return out
}

// seen are the fields of an object that a selector looks at.
func seen(by fields.Selector, o tenant.Object) fields.Set {
	out := fields.Set{}
	for _, r := range by.Requirements() {
		var v any = map[string]any(o)
		for part := range strings.SplitSeq(r.Field, ".") {
			m, _ := v.(map[string]any)
			v = m[part]
		}
		switch v := v.(type) {
		case string:
			out[r.Field] = v
		case bool:
			out[r.Field] = strconv.FormatBool(v)
		}
	}
	return out
}

func (t in) Get(ctx context.Context, k tenant.Kind, namespace, name string) (o tenant.Object, err error) {
	err = t.onObject(ctx, k, namespace, name, func(_ key, is tenant.Object) error { o = is; return nil })
	return o, err
}

// onObject runs a request about one object.
func (t in) onObject(ctx context.Context, k tenant.Kind, namespace, name string, request func(key, tenant.Object) error) error {
	at := key{k, namespace, name}
	if !k.Namespaced {
		at.namespace = ""
	} else if namespace == "" {
		return invalidObject("An object of this kind needs a namespace.")
	}
	return t.call(ctx, func() error {
		is, ok := t.c.in.objects[at]
		if !ok {
			return objectNotFound()
		}
		return request(at, is)
	})
}

func (t in) Create(ctx context.Context, k tenant.Kind, namespace string, o tenant.Object) (made tenant.Object, err error) {
	if made, err = plain(o); err != nil {
		return nil, err
	}
	at := key{k, namespace, made.Name()}
	if !k.Namespaced {
		at.namespace = ""
	}
	if prefix := text(made, "generateName"); at.name == "" && prefix != "" {
		at.name = prefix + strings.ToLower(rand.Text()[:5])
	}
	err = t.call(ctx, func() error {
		switch {
		case at.name == "" || at.name != strings.ToLower(at.name) || strings.ContainsAny(at.name, " /_"):
			return invalidObject("The cluster does not accept it: metadata.name is not a name.")
		case k.Namespaced && namespace == "":
			return invalidObject("An object of this kind needs a namespace.")
		case made.Namespace() != "" && made.Namespace() != at.namespace:
			return invalidObject("The cluster does not accept it: metadata.namespace is another.")
		case k.Namespaced && !t.c.in.has(key{Namespaces, "", namespace}):
			return objectNotFound()
		case t.c.in.has(at):
			return fault.Conflict.New("object_exists", "The cluster has an object of this name already.")
		}
		made = t.write(ctx, at, made)
		return nil
	})
	return made, err
}

func (t in) write(ctx context.Context, at key, o tenant.Object) tenant.Object {
	now := time.Now
	if t.now != nil {
		now = t.now
	}
	t.c.in.actors = append(t.c.in.actors, tenant.Acting(ctx))
	return t.c.in.put(at, o, now())
}

func (t in) Replace(ctx context.Context, k tenant.Kind, namespace, name string, o tenant.Object) (now tenant.Object, err error) {
	if now, err = plain(o); err != nil {
		return nil, err
	}
	err = t.onObject(ctx, k, namespace, name, func(at key, is tenant.Object) error {
		if now.Name() != name {
			return invalidObject("The cluster does not accept it: the name of the object is another.")
		}
		return t.change(ctx, at, is, &now)
	})
	return now, err
}

// change refuses what was made of another state than the present one.
func (t in) change(ctx context.Context, at key, is tenant.Object, now *tenant.Object) error {
	if v := text(*now, "resourceVersion"); v != "" && v != is.Metadata()["resourceVersion"] {
		return fault.Conflict.New("object_stale", "The object has changed since it was read.")
	}
	*now = t.write(ctx, at, *now)
	return nil
}

func (t in) Patch(ctx context.Context, k tenant.Kind, namespace, name string, patch tenant.Object) (now tenant.Object, err error) {
	if patch, err = plain(patch); err != nil {
		return nil, err
	}
	err = t.onObject(ctx, k, namespace, name, func(at key, is tenant.Object) error {
		now = merged(map[string]any(is), map[string]any(patch))
		return t.change(ctx, at, is, &now)
	})
	return now, err
}

// merged is RFC 7396's MergePatch, of objects.
func merged(is, patch map[string]any) map[string]any {
	out := maps.Clone(is)
	if out == nil {
		out = map[string]any{}
	}
	for name, v := range patch {
		inner, isObject := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, name)
		case isObject:
			was, _ := out[name].(map[string]any)
			out[name] = merged(was, inner)
		default:
			out[name] = v
		}
	}
	return out
}

// Delete takes what is in a namespace with it.
func (t in) Delete(ctx context.Context, k tenant.Kind, namespace, name string, _ tenant.DeleteOptions) error {
	return t.onObject(ctx, k, namespace, name, func(at key, _ tenant.Object) error {
		t.c.in.actors = append(t.c.in.actors, tenant.Acting(ctx))
		maps.DeleteFunc(t.c.in.objects, func(other key, _ tenant.Object) bool {
			return other == at || k == Namespaces && other.namespace == name
		})
		return nil
	})
}

// Logs are those that SetLog has told; following one never sees more.
func (t in) Logs(ctx context.Context, q tenant.LogQuery) (r io.ReadCloser, err error) {
	err = t.call(ctx, func() error {
		text, ok := t.c.in.logs[q.Namespace+"/"+q.Pod+"/"+q.Container]
		if !ok {
			return objectNotFound()
		}
		lines := slices.Collect(strings.Lines(text))
		if q.TailLines > 0 {
			lines = lines[max(0, len(lines)-int(q.TailLines)):]
		}
		r = io.NopCloser(strings.NewReader(strings.Join(lines, "")))
		return nil
	})
	return r, err
}

var errNoPassage = errors.New("this tenant has no HTTP")

func (t in) Passage(ctx context.Context) (base *url.URL, rt http.RoundTripper, err error) {
	err = t.call(ctx, func() error {
		if t.c.in.passage == nil {
			return fault.Unavailable.New("cluster_unreachable", "The cluster's API server cannot be reached.").Because(errNoPassage)
		}
		base, rt = t.c.in.base, t.c.in.passage
		return nil
	})
	return base, rt, err
}

func objectNotFound() error {
	return fault.NotFound.New("object_not_found", "The cluster has no such object.")
}

func invalidObject(sentence string) error {
	return fault.Invalid.New("object_invalid", "%s", sentence)
}

func badSelector() error {
	return fault.Invalid.New("selector_invalid", "The selector of labels or fields is not one that the cluster understands.")
}
