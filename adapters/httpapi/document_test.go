package httpapi_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
)

// TestDocumentIsTheSameEveryTime, so that it can be kept in the repository.
func TestDocumentIsTheSameEveryTime(t *testing.T) {
	t.Parallel()
	for _, release := range []string{"3.1", "3.0"} {
		for _, format := range []string{"yaml", "json"} {
			a, err := httpapi.Document(release, format)
			b, _ := httpapi.Document(release, format)
			if err != nil || !bytes.Equal(a, b) {
				t.Errorf("%s %s: %v", release, format, err)
			}
		}
	}
	if _, err := httpapi.DocumentOf("none", "3.1", "yaml"); err == nil {
		t.Error("there is an API that there is not")
	}
	if _, err := httpapi.Document("2.0", "yaml"); err == nil {
		t.Error("there is a document that there is not")
	}
}

// TestDocumentSaysEverything that a reader or a client generator needs.
func TestDocumentSaysEverything(t *testing.T) {
	t.Parallel()
	doc := theSpec().doc
	ids := map[string]bool{}
	tags := map[string]bool{}
	for _, tag := range doc.Tags {
		tags[tag.Name] = true
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			what := method + " " + path
			if op.OperationID == "" || ids[strings.ToLower(op.OperationID)] || op.Summary == "" || op.Description == "" || len(op.Tags) != 1 || !tags[op.Tags[0]] {
				t.Errorf("%s: operation %q, summary %q, tags %v", what, op.OperationID, op.Summary, op.Tags)
			}
			ids[strings.ToLower(op.OperationID)] = true
			if op.Security == nil {
				t.Errorf("%s does not say who may call it", what)
			}
			for status, r := range op.Responses.Map() {
				for contentType, media := range r.Value.Content {
					if strings.HasSuffix(contentType, "json") && media.Schema.Ref == "" {
						t.Errorf("%s: the schema of %s has no name", what, status)
					}
				}
			}
			if op.RequestBody != nil {
				for contentType, media := range op.RequestBody.Value.Content {
					if media.Schema.Ref == "" {
						t.Errorf("%s: the request's schema as %s has no name", what, contentType)
					}
				}
			}
		}
	}
	for name, schema := range doc.Components.Schemas {
		if ids[strings.ToLower(strings.TrimSuffix(name, "Response"))] || ids[strings.ToLower(strings.TrimSuffix(name, "Params"))] {
			t.Errorf("the schema %s would collide with what generators make of an operation", name)
		}
		checkSchema(t, name, schema.Value)
	}
	for _, name := range []string{"session", "apiKey"} {
		if doc.Components.SecuritySchemes[name] == nil {
			t.Errorf("no security scheme %s", name)
		}
	}
}

var snake = regexp.MustCompile(`^[a-z]+[a-z0-9]*(_[a-z0-9]+)*$`)

func checkSchema(t *testing.T, name string, s *openapi3.Schema) {
	t.Helper()
	for field, ref := range s.Properties {
		p := ref.Value
		if !snake.MatchString(field) {
			t.Errorf("%s.%s is not snake_case", name, field)
		}
		if p.Type.Is("array") && p.Nullable {
			t.Errorf("%s.%s: a list is never null", name, field)
		}
		if ref.Ref == "" && p.Format != "binary" && p.Example == nil && len(p.Enum) == 0 && !p.Type.Is("array") && !p.Type.Is("object") {
			t.Errorf("%s.%s has no example", name, field)
		}
	}
}

// TestHeadersAreDocumented: those that a client must know of.
func TestHeadersAreDocumented(t *testing.T) {
	t.Parallel()
	doc := theSpec().doc
	response := func(path, method, status string) *openapi3.Response {
		return doc.Paths.Value(path).GetOperation(method).Responses.Value(status).Value
	}
	if response("/join", "GET", "429").Headers["Retry-After"] == nil || response("/api/auth/login", "POST", "429").Headers["Retry-After"] == nil {
		t.Error("Retry-After")
	}
	if h := response("/join", "GET", "200").Headers["X-KubeBYON-Join-Error"]; h == nil || len(h.Value.Schema.Value.Enum) != 5 || h.Value.Description == "" {
		t.Error("X-KubeBYON-Join-Error")
	}
	for _, path := range []string{"/api/console/clusters", "/api/console/clusters/{clusterID}/join-token"} {
		if doc.Paths.Value(path).Post.Parameters.GetByInAndName("header", "Idempotency-Key") == nil {
			t.Errorf("%s: Idempotency-Key", path)
		}
	}
	if p := doc.Paths.Value("/api/console/clusters").Get.Parameters.GetByInAndName("query", "limit"); p == nil || !p.Schema.Value.Type.Is("integer") {
		t.Error("limit")
	}
}
