// Package kubebyon_test holds the rules of ARCHITECTURE.md to the source: who
// may import whom, where each technology stays, how packages may be called.
// Each rule is also seen failing, on source made up for it.
package kubebyon_test

import (
	"encoding/json"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/kubebyon/kubebyon"

// layers say what each may import, of this module and of others; "*" is
// anything. The first whose path holds the package is its layer. A layer's
// packages may always import those below them and the standard library.
var layers = []struct{ path, ours, theirs string }{
	{"core/kernel", "core/kernel", ""},
	{"core", "core ports", ""},
	{"ports", "core/kernel ports", ""},
	{"adapters/httpapi", "core ports adapters/httpapi", "*"},
	{"adapters", "core/kernel ports", "*"},
	{"app/standard", "app adapters ports core/kernel", "go.uber.org/fx"},
	{"app/dev", "app adapters ports core/kernel", "go.uber.org/fx"},
	{"app/offline", "app adapters ports core", ""},
	{"app/telemetry", "app adapters ports core", ""},
	{"app/keys", "adapters ports core", "go.uber.org/fx"},
	{"app/channels", "adapters ports core/kernel", ""},
	{"app/outside", "app adapters ports core/kernel", "go.uber.org/fx"},
	{"app/apptest", "app adapters ports core", "go.uber.org/fx"},
	{"app", "core ports adapters/httpapi", "go.uber.org/fx go.uber.org/dig github.com/danielgtaylor/huma/v2"},
	{"openapi", "app adapters/httpapi", "*"},
	{"cmd", "app adapters/httpapi core/kernel ports/store cmd/process cmd/settings", "*"},
}

// homes name the only places where a library may be imported, so that giving
// it up touches nothing else.
var homes = []struct{ library, places string }{
	{"github.com/uptrace/bun", "adapters/bunstore"},
	{"github.com/pressly/goose", "adapters/bunstore"},
	{"github.com/danielgtaylor/huma", "adapters/httpapi app openapi"},
	{"github.com/ThreeDotsLabs", "adapters/amqpbus adapters/gobus"},
	{"k8s.io/client-go", "adapters/kubetenant adapters/helmprovision cmd/kubebyon-route-agent"},
	{"helm.sh/helm", "adapters/helmprovision"},
	{"go.uber.org/fx", "adapters app"},
	{"go.opentelemetry.io", "adapters/oteltrace"},
	{"github.com/tink-crypto", "adapters/keyseal"},
	{"github.com/prometheus/client_golang", "adapters/prommetrics"},
	{"code.dny.dev/ssrf", "adapters/outbound"},
	{"github.com/coreos/go-oidc", "adapters/oidcsso"},
	{"golang.org/x/oauth2", "adapters/oidcsso"},
	{"golang.org/x/image", "adapters/httpapi/picture"},
	{"github.com/zitadel/oidc", "adapters/oidcsso/oidcpeer"},
	{"adapters/oidcsso/oidcpeer", "adapters/oidcsso/oidcpeer"}, // for tests
	{"github.com/wneessen/go-mail", "adapters/smtpnotify"},
	{"github.com/slack-go", "adapters/slacknotify"},
	{"github.com/go-telegram", "adapters/telegramnotify"},
	{"github.com/standard-webhooks", "adapters/webhooknotify"},
	{"unsafe", "core/coretest"},
}

// never are what nothing here may import, whatever it is for: broken ciphers and
// hashes, and C, which is not safe with memory.
const never = "crypto/des crypto/dsa crypto/md5 crypto/rc4 crypto/sha1 golang.org/x/crypto/md4 C"

// dialects are ways to speak to other people's clients; each can be taken out
// because none knows another.
var dialects = []string{"console", "kite", "k8sops", "kubepolaris", "kubesphere"}

// vague names say nothing of what a package owns, so everything ends up there.
var vague = []string{"common", "helper", "helpers", "mocks", "models", "pkg", "types", "util", "utils"}

// source is what the rules see of a Go file: paths inside the module without
// the module's own.
type source struct {
	file    string
	imports []string
}

func (s source) pkg() string { return path.Dir(s.file) }

func TestDependenciesPointInward(t *testing.T) {
	t.Parallel()
	for _, s := range parse(t, ".") {
		for _, fault := range faults(s) {
			t.Error(fault)
		}
	}
}

// TestEveryRuleCanFail holds up a file that breaks each rule, and its nearest
// neighbour that does not.
func TestEveryRuleCanFail(t *testing.T) {
	t.Parallel()
	const fx, huma = "go.uber.org/fx", "github.com/danielgtaylor/huma/v2"
	for _, c := range []struct{ file, imports, want string }{
		{"core/kernel/id/id.go", "time core/kernel/fault", ""},
		{"core/kernel/id/id.go", "ports/store", "core/kernel/id imports ports/store"},
		{"core/kernel/id/id.go", "github.com/google/uuid", "core/kernel/id imports github.com/google/uuid"},
		{"core/clusters/create.go", "context core/tokens ports/store", ""},
		{"core/clusters/create.go", "adapters/memstore", "core/clusters imports adapters/memstore"},
		{"core/clusters/create.go", "app", "core/clusters imports app"},
		{"core/clusters/create.go", "golang.org/x/text/cases", "core/clusters imports golang.org"},
		{"ports/store/store.go", "core/kernel/id ports/bus", ""},
		{"ports/store/storetest/run.go", "testing ports/store", ""},
		{"ports/store/store.go", "core/clusters", "ports/store imports core/clusters"},
		{"ports/store/storetest/run.go", "github.com/google/go-cmp/cmp", "imports github.com/google/go-cmp/cmp"},
		{"adapters/bunstore/store.go", "ports/store adapters/bunstore/migrations github.com/uptrace/bun", ""},
		{"adapters/bunstore/store.go", "core/clusters", "adapters/bunstore imports core/clusters"},
		{"adapters/bunstore/migrations/m.go", "adapters/bunstore", ""},
		{"adapters/bunstore/store.go", "adapters/memstore", "adapters/bunstore imports adapters/memstore"},
		{"adapters/bunstore/store.go", "app", "adapters/bunstore imports app"},
		{"adapters/httpapi/console/routes.go", "core/clusters adapters/httpapi/problem " + huma, ""},
		{"adapters/httpapi/console/routes.go", "adapters/bunstore", "imports adapters/bunstore"},
		{"adapters/httpapi/console/routes.go", "app", "adapters/httpapi/console imports app"},
		{"adapters/httpapi/kite/routes.go", "adapters/httpapi/kubesphere", "dialect kite knows dialect kubesphere"},
		{"adapters/httpapi/kite/wire/wire.go", "adapters/httpapi/console/wire", "dialect kite knows dialect console"},
		{"adapters/httpapi/session/session.go", "adapters/httpapi/kite", "shared by the dialects, knows dialect kite"},
		{"adapters/httpapi/httpapi.go", "adapters/httpapi/kite adapters/httpapi/console", ""},
		{"app/app.go", "core/clusters ports/store adapters/httpapi " + fx + " " + huma, ""},
		{"app/app.go", "adapters/memstore", "app imports adapters/memstore"},
		{"app/app.go", "github.com/spf13/cobra", "app imports github.com/spf13/cobra"},
		{"app/standard/standard.go", "app adapters/bunstore ports/store core/kernel/id " + fx, ""},
		{"app/standard/standard.go", "core/clusters", "app/standard imports core/clusters"},
		{"app/dev/dev.go", "adapters/planeprovision app " + fx, ""},
		{"app/dev/dev.go", "core/clusters", "app/dev imports core/clusters"},
		{"app/apptest/apptest.go", "github.com/spf13/cobra", "app/apptest imports github.com/spf13/cobra"},
		{"openapi/generate.go", "adapters/bunstore", "openapi imports adapters/bunstore"},
		{"cmd/kubebyon/main.go", "app/standard github.com/spf13/cobra", ""},
		{"cmd/kubebyon/main.go", "adapters/bunstore", "cmd/kubebyon imports adapters/bunstore"},
		{"cmd/kubebyon-worker/main.go", "cmd/settings cmd/process", ""},
		{"cmd/kubebyon-worker/main.go", "cmd/kubebyon", "cmd/kubebyon-worker imports cmd/kubebyon"},
		{"tools/tool.go", "", "tools is in no layer"},
		{"adapters/bunstore/module.go", fx, ""},
		{"adapters/bunstore/store.go", fx, "go.uber.org/fx outside module.go"},
		{"cmd/kubebyon/main.go", fx, "go.uber.org/fx lives in adapters app"},
		{"adapters/memstore/store.go", "github.com/uptrace/bun", "github.com/uptrace/bun lives in adapters/bunstore"},
		{"adapters/memstore/store.go", "github.com/pressly/goose/v3", "lives in adapters/bunstore"},
		{"adapters/bunstore/store.go", huma, "github.com/danielgtaylor/huma lives in adapters/httpapi"},
		{"adapters/httpapi/events.go", "github.com/ThreeDotsLabs/watermill", "lives in adapters/amqpbus adapters/gobus"},
		{"adapters/httpapi/kite/pods.go", "k8s.io/client-go/kubernetes", "lives in adapters/kubetenant"},
		{"adapters/kubetenant/nodes.go", "helm.sh/helm/v3/pkg/action", "lives in adapters/helmprovision"},
		{"adapters/oidcsso/openid.go", "github.com/coreos/go-oidc/v3/oidc golang.org/x/oauth2", ""},
		{"adapters/httpapi/session/sso.go", "golang.org/x/oauth2", "golang.org/x/oauth2 lives in adapters/oidcsso"},
		{"adapters/httpapi/picture/picture.go", "golang.org/x/image/webp", ""},
		{"adapters/httpapi/console/avatar.go", "golang.org/x/image/draw", "golang.org/x/image lives in adapters/httpapi/picture"},
		{"adapters/oidcsso/openid.go", "github.com/zitadel/oidc/v3/pkg/op", "lives in adapters/oidcsso/oidcpeer"},
		{"app/dev/dev.go", "adapters/oidcsso/oidcpeer", "adapters/oidcsso/oidcpeer lives in"},
		{"core/clusters/create.go", "unsafe", "unsafe lives in core/coretest only"},
		{"core/coretest/dump.go", "unsafe", ""},
		{"adapters/webhooknotify/sign.go", "crypto/sha256 crypto/sha1", "crypto/sha1 may not be imported"},
		{"adapters/bunstore/sqlite.go", "C", "C may not be imported"},
		{"adapters/httpapi/utils/strings.go", "", `"utils" does not say what the package owns`},
		{"core/clusters/types/types.go", "", `"types" does not say`},
	} {
		t.Run(c.file+" "+c.imports, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(faults(source{c.file, strings.Fields(c.imports)}), "; ")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestTheAppBringsNoBackend keeps embedding cheap: a backend is linked by
// whoever chose it.
func TestTheAppBringsNoBackend(t *testing.T) {
	t.Parallel()
	out := goCommand(t, "list", "-deps", "./app")
	if found := backends(strings.Fields(out)); len(found) > 0 {
		t.Errorf("whoever imports app links %s", found)
	}
}

func TestABackendBehindTheAppIsSeen(t *testing.T) {
	t.Parallel()
	got := backends([]string{"fmt", "github.com/uptrace/bunny", "github.com/uptrace/bun/schema", "helm.sh/helm/v3/pkg/action", "k8s.io/client-go/rest"})
	if len(got) != 3 {
		t.Errorf("found %s, want bun, Helm and client-go", got)
	}
}

// TestKubernetesStaysNested: k8s.io/kubernetes needs every k8s.io module
// replaced, which no importer of this module could follow.
func TestKubernetesStaysNested(t *testing.T) {
	t.Parallel()
	if requires(t, goCommand(t, "mod", "edit", "-json"), "k8s.io/kubernetes") {
		t.Error("go.mod requires k8s.io/kubernetes; only cmd/kubebyon-localplane/go.mod may")
	}
}

func TestARequirementIsSeen(t *testing.T) {
	t.Parallel()
	mod := `{"Require":[{"Path":"k8s.io/kubernetes-csi"},{"Path":"k8s.io/kubernetes","Indirect":true}]}`
	if !requires(t, mod, "k8s.io/kubernetes") || requires(t, mod, "k8s.io/api") {
		t.Error("requires does not tell what is required")
	}
}

// faults says all that is wrong with a file.
func faults(s source) []string {
	out := nameFaults(s)
	for _, imp := range s.imports {
		out = append(out, layerFault(s, imp), homeFault(s, imp), dialectFault(s, imp))
	}
	if layerOf(s.pkg()) < 0 {
		out = append(out, s.pkg()+" is in no layer; the list of layers says which there are")
	}
	return slices.DeleteFunc(out, func(f string) bool { return f == "" })
}

func layerOf(pkg string) int {
	for i, l := range layers {
		if under(pkg, l.path) {
			return i
		}
	}
	return -1
}

func layerFault(s source, imp string) string {
	i := layerOf(s.pkg())
	if i < 0 || isStandard(imp) {
		return ""
	}
	allowed, whose := layers[i].theirs, "other modules"
	if isOurs(imp) {
		allowed, whose = layers[i].ours+" "+self(s.pkg()), "this one"
	}
	if allowed == "*" || under(imp, allowed) {
		return ""
	}
	return fmt.Sprintf("%s: %s imports %s; of %s, %s may import only [%s]", s.file, s.pkg(), imp, whose, layers[i].path, allowed)
}

func homeFault(s source, imp string) string {
	if under(imp, never) {
		return s.file + ": " + imp + " may not be imported"
	}
	for _, h := range homes {
		if under(imp, h.library) && !under(s.pkg(), h.places) {
			return fmt.Sprintf("%s: %s lives in %s only", s.file, h.library, h.places)
		}
	}
	if under(imp, "go.uber.org/fx") && under(s.pkg(), "adapters") && path.Base(s.file) != "module.go" {
		return s.file + ": go.uber.org/fx outside module.go; the adapter has to work without it"
	}
	return ""
}

func dialectFault(s source, imp string) string {
	from, isShared := dialectOf(s.pkg())
	to, _ := dialectOf(imp)
	switch {
	case to == "" || from == to:
		return ""
	case from != "":
		return fmt.Sprintf("%s: dialect %s knows dialect %s", s.file, from, to)
	case isShared:
		return fmt.Sprintf("%s, shared by the dialects, knows dialect %s", s.file, to)
	}
	return ""
}

// dialectOf names the dialect a package belongs to. A package beside them is
// shared; adapters/httpapi itself, which puts them together, is neither.
func dialectOf(pkg string) (name string, isShared bool) {
	rest, inside := strings.CutPrefix(pkg, "adapters/httpapi/")
	first, _, _ := strings.Cut(rest, "/")
	if inside && slices.Contains(dialects, first) {
		return first, false
	}
	return "", inside
}

func nameFaults(s source) (out []string) {
	for elem := range strings.SplitSeq(s.pkg(), "/") {
		if slices.Contains(vague, elem) {
			out = append(out, fmt.Sprintf("%s: %q does not say what the package owns", s.file, elem))
		}
	}
	return out
}

// self is the part that a package belongs to: adapters/bunstore for
// adapters/bunstore/migrations.
func self(pkg string) string {
	elems := strings.SplitN(pkg, "/", 3)
	return path.Join(elems[:min(2, len(elems))]...)
}

// under tells whether a path is, or is below, one of several (in one string,
// apart by spaces).
func under(p, roots string) bool {
	for root := range strings.FieldsSeq(roots) {
		if p == root || strings.HasPrefix(p, root+"/") {
			return true
		}
	}
	return false
}

func isOurs(imp string) bool {
	return layerOf(imp) >= 0
}

func isStandard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !isOurs(imp) && !strings.Contains(first, ".")
}

func backends(deps []string) []string {
	return slices.DeleteFunc(slices.Clone(deps), func(d string) bool {
		return !under(d, "github.com/uptrace/bun helm.sh/helm k8s.io/client-go")
	})
}

func requires(t *testing.T, goModJSON, want string) bool {
	t.Helper()
	var mod struct{ Require []struct{ Path string } }
	if err := json.Unmarshal([]byte(goModJSON), &mod); err != nil {
		t.Fatal(err)
	}
	return slices.Contains(mod.Require, struct{ Path string }{want})
}

// parse reads the imports of every file of the module, whatever system it is
// built for. Tests may import what they like, and are left out.
func parse(t *testing.T, root string) (out []source) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && isApart(p) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		s := source{file: filepath.ToSlash(p)}
		for _, spec := range file.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			s.imports = append(s.imports, strings.TrimPrefix(imp, module+"/"))
		}
		out = append(out, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("no Go file found: the rules were held to nothing")
	}
	return out
}

// isApart tells which directories the go command leaves out of ./... too:
// those it ignores by name, and other modules.
func isApart(dir string) bool {
	base := filepath.Base(dir)
	if base == "testdata" || base == "vendor" || base == "node_modules" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func goCommand(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}
