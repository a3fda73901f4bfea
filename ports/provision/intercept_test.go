package provision_test

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/provision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type plain struct{ provision.Provisioner }

var errDown = errors.New("down")

func (plain) Apply(context.Context, provision.Want) error { return errDown }

type insider struct{}

func (insider) Inside(context.Context, id.Cluster) (secret.Text, error) { return secret.New("x"), nil }

type pinger struct{}

func (pinger) Ping(context.Context) error { return errDown }

func (plain) Kubeconfig(context.Context, id.Cluster) (secret.Text, error) {
	return secret.New("published"), nil
}

type meter struct{}

func (meter) Usage(context.Context) (map[id.Cluster]provision.Usage, error) {
	return map[id.Cluster]provision.Usage{{}: {}}, nil
}

// everything is what a Provisioner may be.
type everything interface {
	provision.Provisioner
	provision.Insider
	provision.Meter
	Ping(ctx context.Context) error
}

func TestIntercepterHidesNothing(t *testing.T) {
	t.Parallel()
	var calls []string
	in := provision.Intercept(struct {
		plain
		insider
		pinger
		meter
	}{}, noting(&calls)).(everything)
	if err := in.Apply(t.Context(), provision.Want{}); !errors.Is(err, errDown) {
		t.Error(err)
	}
	if text, err := in.Inside(t.Context(), id.Cluster{}); err != nil || text.Reveal() != "x" {
		t.Error("inside:", err)
	}
	if used, err := in.Usage(t.Context()); err != nil || len(used) != 1 {
		t.Error("usage:", used, err)
	}
	if err := in.Ping(t.Context()); !errors.Is(err, errDown) {
		t.Error("ping:", err)
	}
	if want := []string{"Apply failed", "Inside", "Usage"}; !slices.Equal(calls, want) {
		t.Error(calls)
	}
}

func TestIntercepterOfAPlainProvisionerDoesAsItsCallersDo(t *testing.T) {
	t.Parallel()
	var calls []string
	in := provision.Intercept(plain{}, noting(&calls)).(everything)
	if text, err := in.Inside(t.Context(), id.Cluster{}); err != nil || text.Reveal() != "published" {
		t.Error("inside:", err)
	}
	if _, err := in.Usage(t.Context()); fault.CodeOf(err) != "control_planes_not_measured" {
		t.Error("usage:", err)
	}
	if err := in.Ping(t.Context()); err != nil {
		t.Error("ping:", err)
	}
	if want := []string{"Kubeconfig"}; !slices.Equal(calls, want) {
		t.Error(calls)
	}
}

type panicking struct{ provision.Provisioner }

func (panicking) Apply(context.Context, provision.Want) error { panic("on purpose") }
func (panicking) Kubeconfig(context.Context, id.Cluster) (secret.Text, error) {
	panic("on purpose")
}

// A call that panics ends as one that failed, and panics on.
func TestIntercepterTellsOfAPanic(t *testing.T) {
	t.Parallel()
	var calls []string
	in := provision.Intercept(panicking{}, noting(&calls))
	for _, call := range []func(){
		func() { _ = in.Apply(t.Context(), provision.Want{}) },
		func() { _, _ = in.Kubeconfig(t.Context(), id.Cluster{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is gone")
				}
			}()
			call()
		}()
	}
	if want := []string{"Apply failed", "Kubeconfig failed"}; !slices.Equal(calls, want) {
		t.Error(calls)
	}
}

func noting(calls *[]string) provision.Around {
	return func(ctx context.Context, call string) (context.Context, func(error)) {
		return ctx, func(err error) {
			if err != nil {
				call += " failed"
			}
			*calls = append(*calls, call)
		}
	}
}

// TestEveryOptionalInterfaceIsKnownToIntercept: one that is added to the port
// would be hidden from whoever looks for it.
func TestEveryOptionalInterfaceIsKnownToIntercept(t *testing.T) {
	t.Parallel()
	known := []string{"Provisioner", "Catalog", "Insider", "Meter"}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if _, ok := spec.Type.(*ast.InterfaceType); ok {
					found = append(found, spec.Name.Name)
				}
			}
			return true
		})
	}
	slices.Sort(found)
	slices.Sort(known)
	if !slices.Equal(found, known) {
		t.Errorf("the port has the interfaces %v, and Intercept knows %v", found, known)
	}
}
