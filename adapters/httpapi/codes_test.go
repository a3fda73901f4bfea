package httpapi_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
)

// TestErrorCodes: codes are part of the API. One may be added, with its line in
// the file; none may change or go.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for _, c := range problem.Codes() {
		fmt.Fprintf(&b, "%d %s\n", c.Status, c.Name)
	}
	golden, err := os.ReadFile("testdata/error-codes.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(golden) {
		t.Errorf("testdata/error-codes.txt differs from problem.Codes:\n%s", &b)
	}
}

// general codes belong to no operation.
var general = []string{
	"not_found", "method_not_allowed",
	"malformed_request", "expectation_failed", "header_too_large", "not_implemented", "http_version_not_supported", // of no path, even
	"starting", // of a server that has no paths yet
}

// TestEveryCodeIsDocumented by an operation that may answer it.
func TestEveryCodeIsDocumented(t *testing.T) {
	t.Parallel()
	documented := slices.Clone(general)
	for path, item := range theSpec().doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status, r := range op.Responses.Map() {
				for _, code := range codesOf(r.Value) {
					documented = append(documented, code)
					if !strings.Contains(op.Description, "`"+code+"` ("+status+")") && !strings.Contains(op.Description, "X-KubeBYON-Join-Error") {
						t.Errorf("%s %s: the description lacks %s", method, path, code)
					}
				}
			}
		}
	}
	for _, c := range problem.Codes() {
		if !slices.Contains(documented, c.Name) {
			t.Errorf("no operation documents %s", c.Name)
		}
	}
}

// never are codes of the source that no request of this API can meet, and why.
var never = map[string]string{
	"settings_unreadable": "told by the list of unreadable sections, and as captcha_unavailable or sso_unavailable",
	"lease_lost":          "between workers", "job_taken": "as lease_lost", "control_plane_gone": "told by the operation", "not_a_join_request": "between the platform and a tenant",
	"token_claimed": "told by the certificate request", "node_exists": "the watch writes nodes", "already_exists": "identifiers are random",
	"bootstrap_token_unusable": "told as cluster_not_ready", "cluster_info_invalid": "told as cluster_not_ready",
	"namespace_protected": "as object_not_found",
	"object_not_found":    "other systems' APIs say it in their own words",
	"object_exists":       "as object_not_found", "object_stale": "as object_not_found", "object_invalid": "as object_not_found",
	"object_forbidden": "as object_not_found", "kind_not_found": "as object_not_found", "selector_invalid": "as object_not_found", "list_too_long": "as object_not_found",
	"cluster_default":      "the console may remove the default cluster; other systems' clients may not",
	"fleet_not_empty":      "only other systems' clients fill an empty fleet",
	"credential_not_found": "of a cluster that is not imported; it is reached by the credential of provisioning",
	"receiver_unavailable": "told by the log of deliveries, and as delivery_failed",
	"message_refused":      "as receiver_unavailable",
	"sender_refused":       "as receiver_unavailable",
	"channel_off":          "as receiver_unavailable", "delivery_unreadable": "as receiver_unavailable", "delivery_expired": "as receiver_unavailable",
	"template_malformed":          "deliveries are written by the platform",
	"template_unknown":            "as template_malformed",
	"control_planes_not_measured": "its sentence is the reason in a history",
	"sso_failed":                  "a browser is sent to the sign-in page with it", "sso_canceled": "as sso_failed", "sso_unavailable": "as sso_failed", "sso_expired": "as sso_failed",
	"sso_provider_unknown": "as sso_failed", "sso_email_unverified": "as sso_failed", "identity_taken": "as sso_failed",
}

// TestNoCodeIsForgotten looks for codes in the source of what answers requests.
func TestNoCodeIsForgotten(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, c := range problem.Codes() {
		known[c.Name] = true
	}
	for _, dir := range []string{"../../core", "../../ports", "../memstore", "../bunstore", "../memtenant", "../kubetenant", "../httpapi"} {
		for where, code := range codesIn(t, dir) {
			if !known[code] && never[code] == "" {
				t.Errorf("%s: the code %s is neither in problem.Codes and testdata/error-codes.txt nor known to stay inside", where, code)
			}
		}
	}
}

var codeRE = regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`)

// codesIn finds the first argument of fault.KIND.New.
func codesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return nil //nolint:nilerr // somebody is writing it
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "New" {
				if lit, ok := call.Args[0].(*ast.BasicLit); ok {
					if code, err := strconv.Unquote(lit.Value); err == nil && codeRE.MatchString(code) {
						out[set.Position(call.Pos()).String()] = code
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return out
}
