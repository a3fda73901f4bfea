package tenant_test

import (
	"context"
	"reflect"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// anybody fails every call, without being there.
type anybody struct{ tenant.Tenant }

type opener struct{}

func (opener) Connect(context.Context, id.Cluster, secret.Text) (tenant.Tenant, error) {
	return anybody{}, nil
}

func TestEveryCallOfATenantIsHeardOf(t *testing.T) {
	t.Parallel()
	var began, ended []string
	c := tenant.Intercept(opener{}, func(ctx context.Context, call string) (context.Context, func(error)) {
		began = append(began, call)
		return ctx, func(error) { ended = append(ended, call) }
	})
	in, err := c.Connect(t.Context(), id.Cluster{}, secret.Text{})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for method := range reflect.TypeFor[tenant.Tenant]().Methods() {
		if method.Name == "Watch" {
			continue
		}
		want = append(want, method.Name)
		call := reflect.ValueOf(in).MethodByName(method.Name)
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for i := 1; i < call.Type().NumIn(); i++ {
			args = append(args, reflect.Zero(call.Type().In(i)))
		}
		func() {
			defer func() { _ = recover() }() // nobody is there
			call.Call(args)
		}()
	}
	if !slices.Equal(began, want) || !slices.Equal(ended, want) {
		t.Errorf("heard of %v and of the ends of %v, want %v", began, ended, want)
	}
}

type panicking struct{ tenant.Tenant }

func (panicking) Probe(context.Context) (string, error) { panic("on purpose") }

// A call that panics ends as one that failed, and panics on.
func TestIntercepterTellsOfAPanic(t *testing.T) {
	t.Parallel()
	var got error
	c := tenant.Intercept(tenantOf{panicking{}}, func(ctx context.Context, _ string) (context.Context, func(error)) {
		return ctx, func(err error) { got = err }
	})
	in, err := c.Connect(t.Context(), id.Cluster{}, secret.Text{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil || got == nil {
			t.Errorf("the panic is gone, or the call ended with %v", got)
		}
	}()
	_, _ = in.Probe(t.Context())
}

type tenantOf struct{ tenant.Tenant }

func (c tenantOf) Connect(context.Context, id.Cluster, secret.Text) (tenant.Tenant, error) {
	return c.Tenant, nil
}
