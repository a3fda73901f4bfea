// Package problem owns how failures look to clients: RFC 9457 problem documents
// with a stable code, and the list of all codes. It is the only place where a
// kind of failure meets an HTTP status, and where the text of an error that has
// no kind is kept from leaving the process.
package problem

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// ContentType is how every problem document goes out.
const ContentType = "application/problem+json"

// Problem is a problem document (RFC 9457). It is an error that huma writes as
// it is.
type Problem struct {
	Type     string  `json:"type" format:"uri" doc:"Names the code." example:"urn:kubebyon:problem:name_taken"`
	Title    string  `json:"title" doc:"What the status means." example:"Conflict"`
	Status   int     `json:"status" doc:"The HTTP status." example:"409"`
	Detail   string  `json:"detail" doc:"What went wrong this time, for people. It may change." example:"A cluster of yours or of somebody else has this name."`
	Instance string  `json:"instance" format:"uri" doc:"Names this request: the server's log tells more under its X-Request-Id." example:"urn:kubebyon:request:4q7d1m0v9k2x3b5n"`
	Code     string  `json:"code" doc:"What went wrong, for programs. It does not change." example:"name_taken"`
	Errors   []Field `json:"errors,omitempty" nullable:"false" doc:"What is wrong with each part of the request."`

	retryAfter time.Duration
}

// Field says what is wrong with one part of a request. The rejected value is
// not repeated.
type Field struct {
	Location string `json:"location" doc:"Where: body.name, query.limit, header.Idempotency-Key." example:"body.name"`
	Message  string `json:"message" example:"must be 1 to 63 printable characters"`
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus tells huma the status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType tells huma the media type.
func (p *Problem) ContentType(string) string { return ContentType }

// GetHeaders tells huma the headers that go with the status.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="kubebyon"`)
	}
	if s := retrySeconds(p.Status, p.retryAfter); s != "" {
		h.Set("Retry-After", s)
	}
	return h
}

// retrySeconds rounds up: whoever waits as long as told must not be refused.
func retrySeconds(status int, d time.Duration) string {
	if d <= 0 && status != http.StatusTooManyRequests {
		return ""
	}
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

var statuses = map[fault.Kind]int{ //nolint:gochecknoglobals // a constant table
	fault.Invalid:         http.StatusBadRequest,
	fault.Unauthenticated: http.StatusUnauthorized,
	fault.Denied:          http.StatusForbidden,
	fault.NotFound:        http.StatusNotFound,
	fault.Conflict:        http.StatusConflict,
	fault.TooLarge:        http.StatusRequestEntityTooLarge,
	fault.Exhausted:       http.StatusTooManyRequests,
	fault.Unavailable:     http.StatusServiceUnavailable,
	fault.Timeout:         http.StatusGatewayTimeout,
	fault.Internal:        http.StatusInternalServerError,
}

// New makes a problem of a code that has no kind in the domain, such as 405.
func New(ctx context.Context, status int, code, detail string) *Problem {
	return &Problem{
		Type: "urn:kubebyon:problem:" + code, Title: http.StatusText(status), Status: status,
		Detail: detail, Instance: "urn:kubebyon:request:" + RequestID(ctx), Code: code,
	}
}

// From turns err into a problem. What has no kind is logged here and comes out
// as an internal error that says nothing.
func From(ctx context.Context, log *slog.Logger, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	f, known := errors.AsType[*fault.Error](err)
	if !known || f.Kind == fault.Internal || statuses[f.Kind] == 0 {
		return internal(ctx, log, err)
	}
	if f.Cause != nil {
		log.WarnContext(ctx, "request refused", "request_id", RequestID(ctx), "code", f.Code, "err", f.Cause)
	}
	p := New(ctx, statuses[f.Kind], f.Code, f.Msg)
	p.retryAfter = f.RetryAfter
	for _, field := range f.Fields {
		p.Errors = append(p.Errors, Field(field))
	}
	return p
}

func internal(ctx context.Context, log *slog.Logger, err error) *Problem {
	if ctx.Err() != nil {
		// The client has gone, so every call for it failed: no fault of ours.
		log.DebugContext(ctx, "request given up", "request_id", RequestID(ctx), "err", err)
	} else {
		log.ErrorContext(ctx, "request failed", "request_id", RequestID(ctx), "err", err)
	}
	return New(ctx, http.StatusInternalServerError, "internal", "Something went wrong on our side. The log tells more under the request's id.")
}

// After says when to try again.
func (p *Problem) After(pause time.Duration) *Problem {
	p.retryAfter = pause
	return p
}

// Invalid is the refusal of one part of a request.
func Invalid(location, message string) error {
	var c fault.Check
	c.That(false, location, "%s", message)
	return c.Err()
}

// Write answers r with p. It is for code outside huma.
func Write(w http.ResponseWriter, p *Problem) {
	maps.Copy(w.Header(), p.GetHeaders())
	w.Header().Set("Content-Type", ContentType)
	w.WriteHeader(p.Status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(p) // a client that has gone reads nothing
}

type requestKey struct{}

// WithRequest names the request that ctx serves, in problems and in the log.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestID returns the name that WithRequest gave.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}
