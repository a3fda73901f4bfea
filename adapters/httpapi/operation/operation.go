// Package operation registers operations with huma so that all of them behave
// and are described alike: failures are problem documents, bodies have a limit,
// every code that an operation may answer stands in its description, and a
// request that is not allowed in is refused before its body is looked at.
package operation

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
)

// Middleware is what huma calls before an operation.
type Middleware = func(ctx huma.Context, next func(huma.Context))

// API is where operations are registered.
type API struct {
	huma.API
	Log *slog.Logger
	// Authenticate lets in only those who prove who they are, and puts the actor
	// into the context.
	Authenticate Middleware
}

// New puts an API on a router. Paths for the documents are the caller's to serve.
func New(r chi.Router, log *slog.Logger, info *huma.OpenAPI) API {
	c := huma.DefaultConfig("", "")
	info.OpenAPI = "3.1.0"
	if info.Components == nil {
		info.Components = new(huma.Components)
	}
	info.Components.Schemas = c.Components.Schemas
	info.Components.Examples = map[string]*huma.Example{}
	c.OpenAPI = info
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil // no "$schema" in every body
	c.Formats = map[string]huma.Format{"application/json": format, "json": format}
	c.Transformers = []huma.Transformer{nameRequestErrors}
	api := humachi.New(r, c)
	api.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) { next(translated{ctx}) })
	return API{API: api, Log: log}
}

type inner huma.Context // embedded under its own name, it would hide its method Context

// translated is huma's context with two of its ways changed.
type translated struct{ inner }

// Unwrap is for humachi.Unwrap.
func (t translated) Unwrap() huma.Context { return t.inner }

// WithContext keeps the change to the context visible to the router's request.
func (t translated) WithContext(ctx context.Context) huma.Context {
	return translated{huma.WithContext(t.inner, ctx)}
}

// SetStatus calls all bad input 400. huma's own status for it is 422, and its
// setting for that is a variable of the whole process.
func (t translated) SetStatus(status int) {
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	t.inner.SetStatus(status)
}

// Header hides Accept: there is one format, and huma would answer "json" to
// whoever asks for that.
func (t translated) Header(name string) string {
	if http.CanonicalHeaderKey(name) == "Accept" {
		return ""
	}
	return t.inner.Header(name)
}

// Open registers an operation for anybody.
func Open[I, O any](a API, op huma.Operation, codes []string, do func(context.Context, *I) (*O, error)) {
	op.Security = []map[string][]string{}
	register(a, op, codes, do)
}

// StoreCodes are what may go wrong wherever something is stored or looked up.
func StoreCodes() []string { return []string{"store_busy", "store_unavailable"} }

// SignedIn registers an operation for people who proved who they are.
func SignedIn[I, O any](a API, op huma.Operation, codes []string, do func(context.Context, *I) (*O, error)) {
	op.Security = []map[string][]string{{"session": {}}, {"apiKey": {}}}
	op.Middlewares = append(huma.Middlewares{a.Authenticate}, op.Middlewares...)
	codes = append(append(slices.Clone(codes), "unauthenticated"), StoreCodes()...)
	if op.Method != http.MethodGet {
		codes = append(codes, "csrf_rejected")
	}
	register(a, op, codes, do)
}

func register[I, O any](a API, op huma.Operation, codes []string, do func(context.Context, *I) (*O, error)) {
	codes = append(slices.Clone(codes), "internal")
	if _, ok := reflect.TypeFor[I]().FieldByName("Body"); ok {
		codes = append(codes, "validation_failed", "body_too_large", "request_timeout", "unsupported_media_type")
		op.Middlewares = append(op.Middlewares, a.readBody)
		op.MaxBodyBytes = -1    // readBody has seen to it
		op.BodyReadTimeout = -1 // all of it is there; no deadline shall end the handler
	}
	if _, ok := reflect.TypeFor[I]().FieldByName("IdempotencyKey"); ok {
		codes = append(codes, "idempotency_mismatch")
		op.Middlewares = append(op.Middlewares, a.repeatable)
	}
	slices.Sort(codes)
	describe(a, &op, problem.Lookup(slices.Compact(codes)...))
	huma.Register(a.API, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err == nil {
			return out, nil
		}
		if p, ok := err.(huma.StatusError); ok { //nolint:errorlint // only a handler's own answer, not one that was wrapped
			return nil, p
		}
		return nil, problem.From(ctx, a.Log, err)
	})
}

// Refuse answers a request with err from within a middleware.
func (a API) Refuse(ctx huma.Context, err error) {
	_, w := humachi.Unwrap(ctx)
	problem.Write(w, problem.From(ctx.Context(), a.Log, err))
}

// describe writes the codes into the operation's description and a response for
// each status.
func describe(a API, op *huma.Operation, codes []problem.Code) {
	var b strings.Builder
	b.WriteString(op.Description)
	b.WriteString("\n\nErrors, by `code`:\n")
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	for _, c := range codes {
		b.WriteString("- `" + c.Name + "` (" + strconv.Itoa(c.Status) + "): " + c.Meaning + "\n")
		addCode(a, op, c)
	}
	op.Description = strings.TrimSpace(b.String())
}

// CodesKey is the extension of a response that lists its codes for programs.
const CodesKey = "x-codes"

func addCode(a API, op *huma.Operation, c problem.Code) {
	key := strconv.Itoa(c.Status)
	r := op.Responses[key]
	if r == nil {
		r = &huma.Response{Description: http.StatusText(c.Status), Headers: problemHeaders(c.Status)}
		op.Responses[key] = r
	}
	if r.Content == nil {
		r.Content = map[string]*huma.MediaType{}
	}
	m := r.Content[problem.ContentType]
	if m == nil {
		m = &huma.MediaType{
			Schema:   a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[problem.Problem](), true, ""),
			Examples: map[string]*huma.Example{},
		}
		r.Content[problem.ContentType] = m
	}
	if m.Examples != nil {
		m.Examples[c.Name] = &huma.Example{Ref: "#/components/examples/" + c.Name}
		a.OpenAPI().Components.Examples[c.Name] = &huma.Example{Summary: c.Meaning, Value: c.Example()}
	}
	if r.Extensions == nil {
		r.Extensions = map[string]any{}
	}
	names, _ := r.Extensions[CodesKey].([]string)
	if len(names) == 0 {
		r.Description = strings.TrimSuffix(r.Description, ".") + "."
	}
	r.Extensions[CodesKey] = append(names, c.Name)
	r.Description += " `" + c.Name + "`"
}

func problemHeaders(status int) map[string]*huma.Header {
	switch status {
	case http.StatusUnauthorized:
		return map[string]*huma.Header{"WWW-Authenticate": {Schema: &huma.Schema{Type: "string"}}}
	case http.StatusTooManyRequests:
		return map[string]*huma.Header{"Retry-After": {
			Description: "Whole seconds after which the next request is allowed; at least 1.",
			Schema:      &huma.Schema{Type: "integer", Examples: []any{3}},
		}}
	}
	return nil
}

// nameRequestErrors turns the errors that huma makes itself, when a request
// does not fit its schema, into problems. It is set per API: huma.NewError
// would work too, but it is a global and belongs to the program that embeds us.
func nameRequestErrors(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	switch m.Status {
	case http.StatusUnsupportedMediaType:
		return problem.New(ctx.Context(), m.Status, "unsupported_media_type", "The body must be application/json."), nil
	case http.StatusInternalServerError:
		return problem.New(ctx.Context(), m.Status, "internal", "Something went wrong on our side."), nil
	}
	p := problem.New(ctx.Context(), http.StatusBadRequest, "validation_failed", "The request does not fit its description.")
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, field(e))
	}
	if len(p.Errors) == 0 {
		p.Errors = []problem.Field{{Location: "body", Message: m.Detail}}
	}
	p.Detail = "The request does not fit its description: " + p.Errors[0].Location + ": " + p.Errors[0].Message + "."
	return p, nil
}

// format is JSON as huma does it, with errors that hold nothing of the input.
var format = huma.Format{ //nolint:gochecknoglobals // a constant
	Marshal:   huma.DefaultJSONFormat.Marshal,
	Unmarshal: unmarshal,
}

func unmarshal(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	if err == nil {
		return strict(data, v)
	}
	switch e := err.(type) { //nolint:errorlint // json's own, not wrapped
	case nil:
		return nil
	case *json.SyntaxError:
		return brokenJSON("is not valid JSON near byte " + strconv.FormatInt(e.Offset, 10))
	case *json.UnmarshalTypeError:
		return brokenJSON("holds a value of the wrong type or size at " + printable(e.Field))
	}
	return brokenJSON("cannot be read")
}

type brokenJSON string

func (b brokenJSON) Error() string { return string(b) }
