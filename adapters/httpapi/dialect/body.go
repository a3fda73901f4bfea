package dialect

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// readBody takes in the whole body, within its limit, before anything looks at it.
func (a API) readBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, operation.MaxBody))
	if err == nil {
		r.Body = io.NopCloser(bytes.NewReader(body))
		next(ctx)
		return
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		a.refuse(ctx, fault.TooLarge.New("body_too_large", "The body is over the limit of 1 MiB."))
		return
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		a.refuse(ctx, problem.New(ctx.Context(), http.StatusRequestTimeout, "request_timeout", "The body did not arrive in time."))
		return
	}
	a.refuse(ctx, problem.Invalid("body", "cannot be read"))
}
