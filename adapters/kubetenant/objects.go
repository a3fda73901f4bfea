package kubetenant

import (
	"context"
	"encoding/json"
	"strings"

	jsonutil "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Get reads one object.
func (t *cluster) Get(ctx context.Context, k tenant.Kind, namespace, name string) (tenant.Object, error) {
	to, err := one(k, namespace, name)
	if err != nil {
		return nil, err
	}
	return t.object(ctx, "read "+k.Resource, t.objects.Get().AbsPath(to...))
}

// Create writes a new object.
func (t *cluster) Create(ctx context.Context, k tenant.Kind, namespace string, o tenant.Object) (tenant.Object, error) {
	to, err := all(k, namespace)
	if err != nil {
		return nil, err
	}
	if k.Namespaced && namespace == "" {
		return nil, noNamespace()
	}
	return t.write(ctx, "create "+k.Resource, t.objects.Post().AbsPath(to...), "application/json", o)
}

// Replace writes an object in the place of one that is there.
func (t *cluster) Replace(ctx context.Context, k tenant.Kind, namespace, name string, o tenant.Object) (tenant.Object, error) {
	to, err := one(k, namespace, name)
	if err != nil {
		return nil, err
	}
	return t.write(ctx, "replace "+k.Resource, t.objects.Put().AbsPath(to...), "application/json", o)
}

// Patch changes an object.
func (t *cluster) Patch(ctx context.Context, k tenant.Kind, namespace, name string, patch tenant.Object) (tenant.Object, error) {
	to, err := one(k, namespace, name)
	if err != nil {
		return nil, err
	}
	return t.write(ctx, "patch "+k.Resource, t.objects.Verb("PATCH").AbsPath(to...), "application/merge-patch+json", patch)
}

// Delete removes an object. It always says what becomes of what depends on it:
// left to itself, the API leaves the pods of a Job behind.
func (t *cluster) Delete(ctx context.Context, k tenant.Kind, namespace, name string, o tenant.DeleteOptions) error {
	to, err := one(k, namespace, name)
	if err != nil {
		return err
	}
	options := map[string]any{"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
	if o.Foreground {
		options["propagationPolicy"] = "Foreground"
	}
	if o.GracePeriod != nil {
		options["gracePeriodSeconds"] = int64(o.GracePeriod.Seconds())
	}
	body, err := json.Marshal(options)
	if err != nil {
		return err
	}
	r := t.objects.Delete().AbsPath(to...).SetHeader("Content-Type", "application/json").Body(body)
	_, err = t.raw(ctx, "delete "+k.Resource, r)
	return err
}

func (t *cluster) write(ctx context.Context, step string, r *rest.Request, form string, o tenant.Object) (tenant.Object, error) {
	body, err := json.Marshal(o)
	if err != nil || o == nil {
		return nil, fault.Invalid.New("object_invalid", "This is not an object.").Because(err)
	}
	return t.object(ctx, step, r.SetHeader("Content-Type", form).Param("fieldManager", fieldManager).Body(body))
}

func (t *cluster) object(ctx context.Context, step string, r *rest.Request) (tenant.Object, error) {
	body, err := t.raw(ctx, step, r)
	if err != nil {
		return nil, err
	}
	return decode(step, body)
}

// raw sends a request and returns what the answer says.
func (t *cluster) raw(ctx context.Context, step string, r *rest.Request) (body []byte, err error) {
	err = t.call(ctx, step, func(ctx context.Context) error {
		body, err = sent(ctx, r.SetHeader("Accept", "application/json"))
		return objectFault(step, err)
	})
	return body, err
}

// sent returns what an answer says; only Error reads why there is none.
func sent(ctx context.Context, r *rest.Request) ([]byte, error) {
	a := r.Do(ctx)
	if err := a.Error(); err != nil {
		return nil, err
	}
	return a.Raw()
}

func decode(step string, text []byte) (tenant.Object, error) {
	var m map[string]any
	if err := jsonutil.Unmarshal(text, &m); err != nil || m == nil {
		return nil, unreachable("What answers at the cluster's address is not a Kubernetes API server.", step, errNoObject)
	}
	return m, nil
}

// all is the path of a kind's objects. Its parts are checked, since a path
// that leads elsewhere is still one.
func all(k tenant.Kind, namespace string) ([]string, error) {
	out := []string{"apis", k.Group, k.Version}
	if k.Group == "" {
		out = []string{"api", k.Version}
	}
	if k.Namespaced && namespace != "" {
		out = append(out, "namespaces", namespace)
	}
	out = append(out, k.Resource)
	for _, part := range out {
		if !isSegment(part) {
			return nil, objectNotFound()
		}
	}
	return out, nil
}

// one is the path of an object.
func one(k tenant.Kind, namespace, name string) ([]string, error) {
	if k.Namespaced && namespace == "" {
		return nil, noNamespace()
	}
	out, err := all(k, namespace)
	if err != nil || !isSegment(name) {
		return nil, objectNotFound()
	}
	return append(out, name), nil
}

func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= maxText && !strings.ContainsAny(s, "/%")
}
