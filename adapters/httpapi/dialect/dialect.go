// Package dialect serves the APIs of other systems, whose clients come as they
// are: bodies are read leniently, and failures look as those clients know them.
// What a dialect says of the same failure differs; what failed, and who may ask,
// is the core's to say.
package dialect

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Speech is how a dialect speaks.
type Speech struct {
	Document *huma.OpenAPI
	// Own proves the dialect's own kind of credential; ours is false where the
	// request has none, and those that are accepted everywhere are looked for.
	Own func(r *http.Request) (who actor.Actor, ours bool, err error)
	// Admit refuses those who may use nothing of the dialect.
	Admit func(ctx context.Context) error
	// Failure is how a failure looks to its clients: a status, and a Body.
	Failure func(*problem.Problem) (status int, body any)
	Body    reflect.Type
}

// API is where a dialect's operations are registered.
type API struct {
	huma.API
	Log    *slog.Logger
	Keeper session.Keeper
	Speech
}

// New puts a dialect on a router.
func New(r chi.Router, log *slog.Logger, k session.Keeper, s Speech) API {
	c := huma.DefaultConfig("", "")
	s.Document.OpenAPI = "3.1.0"
	if s.Document.Components == nil {
		s.Document.Components = new(huma.Components)
	}
	c.FieldsOptionalByDefault, c.AllowAdditionalPropertiesByDefault = true, true
	s.Document.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	c.OpenAPI = s.Document
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", ""
	c.CreateHooks = nil
	format := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: unmarshal}
	c.Formats = map[string]huma.Format{"application/json": format, "json": format}
	a := API{Log: log, Keeper: k, Speech: s}
	c.Transformers = []huma.Transformer{a.ownErrors}
	a.API = humachi.New(r, c)
	a.UseMiddleware(func(ctx huma.Context, next func(huma.Context)) { next(heard{ctx}) })
	return a
}

// Register adds an operation for those who are admitted, with the statuses by
// which it may fail. It is reached with a slash at its end and without one.
func Register[I, O any](a API, op huma.Operation, statuses []int, do func(context.Context, *I) (*O, error)) {
	op.Middlewares = append(huma.Middlewares{a.admit}, op.Middlewares...)
	statuses = append(slices.Clone(statuses), http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusServiceUnavailable)
	if _, ok := reflect.TypeFor[I]().FieldByName("Body"); ok {
		statuses = append(statuses, http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge)
		op.Middlewares = append(op.Middlewares, a.readBody)
		op.SkipValidateBody = true // types are checked by decoding; the rest is the core's
		op.MaxBodyBytes, op.BodyReadTimeout = -1, -1
	}
	op.Responses = map[string]*huma.Response{}
	slices.Sort(statuses)
	for _, status := range slices.Compact(statuses) {
		op.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{"application/json": {Schema: a.OpenAPI().Components.Schemas.Schema(a.Body, true, "")}},
		}
	}
	handle := func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, a.failure(problem.From(ctx, a.Log, err))
		}
		return out, nil
	}
	huma.Register(a.API, op, handle)
	twin := op
	twin.Hidden, twin.Responses = true, nil
	if path, slashed := strings.CutSuffix(op.Path, "/"); slashed {
		twin.Path = path
	} else {
		twin.Path += "/"
	}
	huma.Register(a.API, twin, handle)
}

// admit lets in those who prove who they are, and may use the dialect.
func (a API) admit(ctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(ctx)
	known, err := a.who(r.WithContext(ctx.Context()))
	if err == nil {
		err = a.Admit(known)
	}
	if err != nil {
		a.refuse(ctx, err)
		return
	}
	next(huma.WithContext(ctx, known))
}

func (a API) who(r *http.Request) (context.Context, error) {
	who, ours, err := a.Own(r)
	if !ours && err == nil {
		return a.Keeper.Who(r)
	}
	if err != nil {
		return nil, err
	}
	edge.Of(r.Context()).User = who.UserID.String()
	return actor.With(r.Context(), who), nil
}

// failed is a failure in the dialect's words. It is an error that huma writes as
// it is.
type failed struct {
	status  int
	body    any
	headers http.Header
}

func (f failed) Error() string                { return http.StatusText(f.status) }
func (f failed) GetStatus() int               { return f.status }
func (f failed) GetHeaders() http.Header      { return f.headers }
func (f failed) MarshalJSON() ([]byte, error) { return json.Marshal(f.body) }

func (a API) failure(p *problem.Problem) failed {
	status, body := a.Failure(p)
	return failed{status, body, p.GetHeaders()}
}

func (a API) refuse(ctx huma.Context, err error) {
	_, w := humachi.Unwrap(ctx)
	a.Refuse(w, problem.From(ctx.Context(), a.Log, err))
}

// Refuse answers with a problem from outside of operations.
func (a API) Refuse(w http.ResponseWriter, p *problem.Problem) {
	f := a.failure(p)
	maps.Copy(w.Header(), f.headers)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(f.body) // a client that has gone reads nothing
}

// ownErrors are what huma says itself of a request that it cannot read.
func (a API) ownErrors(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if m.Status >= http.StatusInternalServerError {
		return a.failure(problem.New(ctx.Context(), m.Status, "internal", "Something went wrong on our side.")), nil
	}
	text := "the body is required"
	if len(m.Errors) > 0 {
		text = m.Errors[0].Location + " " + m.Errors[0].Message
	}
	return a.failure(problem.New(ctx.Context(), http.StatusBadRequest, "validation_failed", strings.TrimSpace(text))), nil
}

type inner huma.Context // embedded under its own name, it would hide its method Context

// heard is huma's context, for clients that are not as exact as it wants them.
type heard struct{ inner }

func (h heard) Unwrap() huma.Context { return h.inner }

func (h heard) WithContext(ctx context.Context) huma.Context {
	return heard{huma.WithContext(h.inner, ctx)}
}

// SetStatus calls all bad input 400.
func (h heard) SetStatus(status int) {
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	h.inner.SetStatus(status)
}

// SetHeader calls the errors that huma makes itself what they have become.
func (h heard) SetHeader(name, value string) {
	if value == problem.ContentType {
		value = "application/json"
	}
	h.inner.SetHeader(name, value)
}

// Header hides what the client says of formats: there is one.
func (h heard) Header(name string) string {
	switch http.CanonicalHeaderKey(name) {
	case "Accept":
		return ""
	case "Content-Type":
		return "application/json"
	}
	return h.inner.Header(name)
}

// unmarshal takes what encoding/json takes: keys in whatever case, and unknown
// ones. Errors hold nothing of the input.
func unmarshal(data []byte, v any) error {
	if !utf8.Valid(data) {
		return unreadable("is not valid UTF-8")
	}
	err := json.Unmarshal(data, v)
	switch e := err.(type) { //nolint:errorlint // json's own, not wrapped
	case nil:
		return nil
	case *json.SyntaxError:
		return unreadable("is not valid JSON near byte " + strconv.FormatInt(e.Offset, 10))
	case *json.UnmarshalTypeError:
		return unreadable(strings.TrimSpace("holds a value of the wrong type or size " + place(e.Field)))
	}
	return unreadable("cannot be read")
}

// place names a field of ours; encoding/json tells them in our spelling.
func place(field string) string {
	if field == "" {
		return ""
	}
	return "at " + field
}

type unreadable string

func (u unreadable) Error() string { return string(u) }

// Invalid is the refusal of a request in the dialect's words.
func Invalid(text string) error { return fault.Invalid.New("validation_failed", "%s", text) }
