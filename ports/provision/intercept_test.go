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

func TestIntercepterHidesNothingAndAddsNothing(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]provision.Provisioner{
		"plain": plain{},
		"insider": struct {
			plain
			insider
		}{},
		"pinger": struct {
			plain
			pinger
		}{},
		"insider pinger": struct {
			plain
			insider
			pinger
		}{},
	} {
		var calls []string
		in := provision.Intercept(p, func(ctx context.Context, call string) (context.Context, func(error)) {
			return ctx, func(err error) {
				if err != nil {
					call += " failed"
				}
				calls = append(calls, call)
			}
		})
		if err := in.Apply(t.Context(), provision.Want{}); !errors.Is(err, errDown) {
			t.Error(name, err)
		}
		i, isInsider := in.(provision.Insider)
		if isInsider {
			if text, err := i.Inside(t.Context(), id.Cluster{}); err != nil || text.Reveal() != "x" {
				t.Error(name, err)
			}
		}
		ping, pings := in.(interface {
			Ping(ctx context.Context) error
		})
		if pings && !errors.Is(ping.Ping(t.Context()), errDown) {
			t.Error(name, "is not pinged")
		}
		if isInsider != strings.Contains(name, "insider") || pings != strings.Contains(name, "pinger") {
			t.Errorf("%s: insider %t, pinger %t", name, isInsider, pings)
		}
		if want := []string{"Apply failed", "Inside"}[:len(calls)]; !slices.Equal(calls, want) || len(calls) == 0 {
			t.Error(name, calls)
		}
	}
}

// TestEveryOptionalInterfaceIsKnownToIntercept: one that is added to the port
// would be hidden from whoever looks for it.
func TestEveryOptionalInterfaceIsKnownToIntercept(t *testing.T) {
	t.Parallel()
	known := []string{"Provisioner", "Catalog", "Insider", "pinger"}
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
