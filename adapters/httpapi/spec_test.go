package httpapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
)

// spec holds answers to the document that describes them.
type spec struct {
	doc      *openapi3.T
	router   routers.Router
	dialects map[string]*spec
}

var theSpec = sync.OnceValue(func() *spec {
	s := specOf(httpapi.Console)
	s.dialects = map[string]*spec{"Kite": specOf("kite")}
	return s
})

func specOf(name string) *spec {
	text, err := httpapi.DocumentOf(name, "3.0", "json")
	if err != nil {
		panic(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		panic(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		panic(err)
	}
	return &spec{doc: doc, router: router}
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	for name, s := range surfaces() {
		if err := s.doc.Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// check fails t unless the answer is one that the document tells of: its
// status, its code, its media type and every field.
func (s *spec) check(t testing.TB, r *http.Request, a *httptest.ResponseRecorder) {
	t.Helper()
	if a.Code == http.StatusMethodNotAllowed || r.Method == http.MethodHead || r.Method == http.MethodOptions {
		return
	}
	route, params, err := s.router.FindRoute(r)
	for _, other := range s.dialects {
		if err != nil {
			route, params, err = other.router.FindRoute(r)
		}
	}
	if err != nil {
		return // not an operation
	}
	if strings.Contains(a.Body.String(), `"code":"not_found"`) {
		return // kin-openapi finds a path with a slash at its end too
	}
	response := route.Operation.Responses.Value(strconv.Itoa(a.Code))
	if response == nil {
		t.Errorf("%s %s: status %d is not documented; body %s", r.Method, route.Path, a.Code, a.Body)
		return
	}
	checkCode(t, route, response.Value, a)
	contentType, _, _ := strings.Cut(a.Header().Get("Content-Type"), ";")
	if contentType == "" && a.Body.Len() == 0 {
		return
	}
	if response.Value.Content[contentType] == nil {
		t.Errorf("%s %s: %d as %q is not documented", r.Method, route.Path, a.Code, contentType)
		return
	}
	if !strings.HasSuffix(contentType, "json") {
		return
	}
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 a.Code, Header: a.Header(), Body: io.NopCloser(strings.NewReader(a.Body.String())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("%s %s: %d does not fit its description: %v", r.Method, route.Path, a.Code, err)
	}
}

func checkCode(t testing.TB, route *routers.Route, response *openapi3.Response, a *httptest.ResponseRecorder) {
	t.Helper()
	code := a.Header().Get("X-KubeBYON-Join-Error")
	if a.Header().Get("Content-Type") == "application/problem+json" {
		code, _ = answer{a, t, route.Path}.json()["code"].(string)
	}
	if code != "" && !slices.Contains(codesOf(response), code) {
		t.Errorf("%s %s: code %q is not documented for %d", route.Method, route.Path, code, a.Code)
	}
}

func codesOf(r *openapi3.Response) (out []string) {
	list, _ := r.Extensions["x-codes"].([]any)
	for _, c := range list {
		name, _ := c.(string)
		out = append(out, name)
	}
	return out
}
