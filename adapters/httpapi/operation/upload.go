package operation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// MaxFile is how long a file may be that is uploaded.
const MaxFile = 2 << 20

const (
	maxForm   = MaxFile + 16<<10 // with what stands around the file
	formType  = "multipart/form-data"
	fileField = "file"
)

// Upload registers an operation for people who proved who they are, which is
// a POST of a form with one file, in the field "file". The input of do has no
// Body; the file is [File]'s.
func Upload[I, O any](a API, op huma.Operation, codes []string, do func(context.Context, *I) (*O, error)) {
	a.OpenAPI().Components.Schemas.Map()["FileForm"] = &huma.Schema{
		Type: huma.TypeObject, Description: "A form with a file.", Required: []string{fileField},
		Properties: map[string]*huma.Schema{fileField: {Type: huma.TypeString, Format: "binary"}}, AdditionalProperties: false,
	}
	op.Middlewares = append(slices.Clone(op.Middlewares), a.readFile)
	SignedIn(a, op, append(slices.Clone(codes), "validation_failed", "body_too_large", "request_timeout", "unsupported_media_type"), do)
	// The document tells of the body; huma, which would read it, is not told.
	told := *a.OpenAPI().Paths[op.Path].Post
	told.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		formType: {Schema: &huma.Schema{Ref: "#/components/schemas/FileForm"}},
	}}
	a.OpenAPI().Paths[op.Path].Post = &told
}

type fileKey struct{}

// File returns what the request of ctx uploaded.
func File(ctx context.Context) []byte {
	file, _ := ctx.Value(fileKey{}).([]byte)
	return file
}

func (a API) readFile(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != formType || parameters["boundary"] == "" {
		a.Refuse(ctx, problem.New(ctx.Context(), http.StatusUnsupportedMediaType, "unsupported_media_type", "The body must be "+formType+"."))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		a.refuseBody(ctx, err, fileTooLarge())
		return
	}
	file, err := onlyFile(multipart.NewReader(bytes.NewReader(body), parameters["boundary"]))
	if err != nil {
		a.Refuse(ctx, err)
		return
	}
	next(huma.WithContext(ctx, context.WithValue(ctx.Context(), fileKey{}, file)))
}

// onlyFile returns the form's one file. Whatever else there is may be meant for
// something, so it is refused, not passed by.
func onlyFile(form *multipart.Reader) (file []byte, err error) {
	for found := false; ; found = true {
		part, err := form.NextPart()
		switch {
		case errors.Is(err, io.EOF) && found:
			return file, nil
		case errors.Is(err, io.EOF):
			return nil, problem.Invalid("body."+fileField, "must be there")
		case err != nil:
			return nil, problem.Invalid("body", "is not a form as its header says")
		case found || part.FormName() != fileField:
			return nil, problem.Invalid("body", "must have the field "+fileField+" once, and no other")
		}
		if file, err = io.ReadAll(io.LimitReader(part, MaxFile+1)); err != nil {
			return nil, problem.Invalid("body", "is not a form as its header says")
		}
		if len(file) > MaxFile {
			return nil, fileTooLarge()
		}
	}
}

func fileTooLarge() *fault.Error {
	return fault.TooLarge.New("body_too_large", "The file is over the limit of 2 MiB.")
}
