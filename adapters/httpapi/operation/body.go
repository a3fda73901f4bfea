package operation

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/once"
)

// MaxBody is how long a request's body may be.
const MaxBody = 1 << 20

// readBody takes in the whole body, within its limit, before anything looks at
// it: huma counts one byte too many as too long, and calls a broken connection
// an internal error.
func (a API) readBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		a.refuseBody(ctx, err, bodyTooLarge())
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	next(ctx)
}

func (a API) refuseBody(ctx huma.Context, err error, tooLarge *fault.Error) {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		a.Refuse(ctx, tooLarge)
		return
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		a.Refuse(ctx, problem.New(ctx.Context(), http.StatusRequestTimeout, "request_timeout", "The body did not arrive in time."))
		return
	}
	a.Refuse(ctx, problem.Invalid("body", "cannot be read"))
}

func bodyTooLarge() *fault.Error {
	return fault.TooLarge.New("body_too_large", "The body is over the limit of 1 MiB.")
}

// KeyHeader is the header with which a client may repeat a request safely.
const KeyHeader = "Idempotency-Key"

var keyRE = regexp.MustCompile(`^[!-~]{1,255}$`) //nolint:gochecknoglobals // a constant

// repeatable lets a client that has not seen the answer ask again: the same key
// with the same request gets the first answer. The body has been read in before.
func (a API) repeatable(ctx huma.Context, next func(huma.Context)) {
	r, _ := humachi.Unwrap(ctx)
	keys := r.Header.Values(KeyHeader)
	if len(keys) == 0 {
		next(ctx)
		return
	}
	if len(keys) > 1 || !keyRE.MatchString(keys[0]) {
		a.Refuse(ctx, problem.Invalid("header."+KeyHeader, "must be 1 to 255 visible ASCII characters"))
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.refuseBody(ctx, err, bodyTooLarge())
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	asked := append([]byte(r.Method+" "+r.URL.EscapedPath()+"\n"), body...)
	next(huma.WithContext(ctx, once.With(ctx.Context(), once.Request{Operation: ctx.Operation().OperationID, Key: keys[0], Body: asked})))
}

// IdempotencyKey in an operation's input makes the operation repeatable: the
// same key with the same request gets the first answer.
type IdempotencyKey struct {
	Key string `header:"Idempotency-Key" maxLength:"255" doc:"Any text of 1 to 255 visible ASCII characters. The same key with the same request gets the first answer again for 24 hours, so that a request whose answer was lost can be repeated." example:"3c9a0b6e-create-demo"`
}
