// Package fault gives every failure a kind that callers can act on and a code
// that clients can rely on. Anything that is not a fault is an internal error:
// it is logged, and its text never leaves the process.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what a caller should do about a failure. Kinds are errors, so
// errors.Is(err, fault.NotFound) works through any amount of wrapping.
type Kind string

const (
	Invalid         Kind = "invalid"         // fix the request
	Unauthenticated Kind = "unauthenticated" // say who you are
	Denied          Kind = "denied"          // the actor may not do this
	NotFound        Kind = "not_found"       // absent, or hidden from this actor
	Conflict        Kind = "conflict"        // the state forbids it; read again first
	TooLarge        Kind = "too_large"       // the request is over a size limit
	Exhausted       Kind = "exhausted"       // a rate is used up; wait
	Unavailable     Kind = "unavailable"     // something needed does not answer; try again
	Timeout         Kind = "timeout"         // it was begun and did not end in time
	Internal        Kind = "internal"        // ours to fix
)

func (k Kind) Error() string { return string(k) }

// Field says what is wrong with one part of a request. Message never holds the
// rejected value.
type Field struct {
	Location string // "body.name", "query.limit", "path.clusterID"
	Message  string
}

// Error is a failure the domain has a name for.
type Error struct {
	Kind       Kind
	Code       string // stable, snake_case: "cluster_not_ready"
	Msg        string // a plain sentence, safe to show to the caller
	Fields     []Field
	RetryAfter time.Duration // for Exhausted and Unavailable; zero says nothing
	Setting    string        // the variable that an operator has to look at; empty: none
	Cause      error         // for the log only
}

// New returns an error of kind k. Code is part of the API; Msg is not.
func (k Kind) New(code, format string, args ...any) *Error {
	return &Error{Kind: k, Code: code, Msg: fmt.Sprintf(format, args...)}
}

// Because returns e with the cause that the log should show.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// At returns e with the variable that an operator has to look at.
func (e *Error) At(setting string) *Error {
	c := *e
	c.Setting = setting
	return &c
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return e.Code + ": " + e.Msg + ": " + e.Cause.Error()
	}
	return e.Code + ": " + e.Msg
}

// Is lets errors.Is find the kind and the cause, but not the cause's kind: an
// Unavailable because of a NotFound is no NotFound.
func (e *Error) Is(target error) bool {
	if k, ok := target.(Kind); ok {
		return k == e.Kind
	}
	return errors.Is(e.Cause, target)
}

// As lets errors.As look at the cause.
func (e *Error) As(target any) bool { return e.Cause != nil && errors.As(e.Cause, target) }

// KindOf returns the kind of err, and Internal for an error without one.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// CodeOf returns the code of err, and "internal" for an error without one.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return "internal"
}

// ValidationFailed is the code of every refusal of malformed input.
const ValidationFailed = "validation_failed"

// Check gathers what is wrong with a request, so that one answer names every
// field. The zero Check has found nothing yet.
type Check struct{ fields []Field }

// That records a complaint about location unless ok holds.
func (c *Check) That(ok bool, location, format string, args ...any) {
	if !ok {
		c.fields = append(c.fields, Field{location, fmt.Sprintf(format, args...)})
	}
}

// Err returns nil when nothing was wrong, else an Invalid error.
func (c *Check) Err() error {
	if len(c.fields) == 0 {
		return nil
	}
	first := c.fields[0].Location + " " + c.fields[0].Message + "."
	e := Invalid.New(ValidationFailed, "The request is not valid: %s", first)
	if more := len(c.fields) - 1; more > 0 {
		e.Msg = fmt.Sprintf("The request is not valid in %d places, first: %s", more+1, first)
	}
	e.Fields = c.fields
	return e
}
