package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/kubebyon/kubebyon/adapters/httpapi/console"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
)

// description is what a reader of the document must know of all operations.
const description = `People get Kubernetes control planes and bring their own machines as nodes.

**Format.** JSON. Times are RFC 3339, UTC, with milliseconds. A field without a value is there and null; lists are never null. Fields that an operation does not know are refused.

**Authentication.** The session cookie of ` + "`POST /api/auth/login`" + `, or an API key as a bearer token. An Authorization header wins over a cookie. Requests that change something by the cookie's right must come from a trusted web site, or from no web site at all.

**Errors** are problem documents (RFC 9457) with a stable ` + "`code`" + `; each operation lists its codes. Unknown paths answer ` + "`not_found`" + ` (404), other methods on known paths ` + "`method_not_allowed`" + ` (405). What is no HTTP request is answered likewise, and the connection ends.

**Lists** come in pages, newest first: send ` + "`next_cursor`" + ` back as ` + "`cursor`" + `.

**Every answer** has an ` + "`X-Request-Id`" + `, under which the server's log tells more.`

// describe begins the document.
func describe() *huma.OpenAPI {
	return &huma.OpenAPI{
		Info: &huma.Info{
			Title: "KubeBYON", Version: "1", Description: description,
			License: &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"},
		},
		Servers: []*huma.Server{{URL: "/"}},
		Tags:    append([]*huma.Tag{{Name: tagSystem, Description: "The server itself."}}, console.Tags()...),
		Components: &huma.Components{SecuritySchemes: map[string]*huma.SecurityScheme{
			"session": {Type: "apiKey", In: "cookie", Name: session.CookieName, Description: "The session of a browser, from POST /api/auth/login."},
			"apiKey":  {Type: "http", Scheme: "bearer", BearerFormat: "kbk_…", Description: "An API key of an account."},
		}},
	}
}

// Document returns the OpenAPI document of the console's API, without a server:
// release "3.1" or "3.0", format "yaml" or "json". It is the same every time.
func Document(release, format string) ([]byte, error) { return DocumentOf(Console, release, format) }

// Console is the API that is no dialect.
const Console = "console"

// DocumentOf is [Document] of one of the APIs.
func DocumentOf(name, release, format string) ([]byte, error) {
	s, err := New(Config{}, Services{})
	if err != nil {
		return nil, err
	}
	if name == Console {
		return write(s.api.OpenAPI(), release, format)
	}
	api := s.dialects[name]
	if api == nil {
		return nil, fmt.Errorf("there is no API %q", name)
	}
	return write(api.OpenAPI(), release, format)
}

func write(doc *huma.OpenAPI, release, format string) ([]byte, error) {
	switch release + " " + format {
	case "3.1 yaml":
		return doc.YAML()
	case "3.1 json":
		return indented(json.Marshal(doc))
	case "3.0 yaml":
		return doc.DowngradeYAML()
	case "3.0 json":
		return indented(doc.Downgrade())
	}
	return nil, fmt.Errorf("there is no OpenAPI document of release %q as %q", release, format)
}

func indented(plain []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("write OpenAPI document: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, plain, "", "  "); err != nil {
		return nil, fmt.Errorf("write OpenAPI document: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// serveDocument writes each kind of document when it is first asked for: by
// then every operation is in it.
func serveDocument(r chi.Router, api operation.API) {
	for path, kind := range map[string]struct{ release, format, contentType string }{
		"/openapi.json":     {"3.1", "json", "application/json"},
		"/openapi.yaml":     {"3.1", "yaml", "application/yaml"},
		"/openapi-3.0.json": {"3.0", "json", "application/json"},
		"/openapi-3.0.yaml": {"3.0", "yaml", "application/yaml"},
	} {
		document := sync.OnceValues(func() ([]byte, error) { return write(api.OpenAPI(), kind.release, kind.format) })
		r.Get(path, func(w http.ResponseWriter, r *http.Request) {
			doc, err := document()
			if err != nil {
				problem.Write(w, problem.From(r.Context(), api.Log, err))
				return
			}
			w.Header().Set("Content-Type", kind.contentType)
			w.Header().Set("Cache-Control", "no-cache")
			_, _ = w.Write(doc) // a client that has gone reads nothing
		})
	}
}
