// Package refusal holds the errors that are meant for a person: a plain sentence that says what
// is wrong and, where that helps, what to do. All other errors name the step that broke.
package refusal

import (
	"errors"
	"fmt"
)

// Refusal is a sentence for a person, with the cause kept for the log.
type Refusal struct {
	sentence string
	cause    error
}

// New makes a refusal of a sentence.
func New(format string, args ...any) *Refusal {
	return &Refusal{sentence: fmt.Sprintf(format, args...)}
}

// Because keeps the error that led to the refusal; it is not part of the sentence.
func (r *Refusal) Because(err error) *Refusal {
	r.cause = err
	return r
}

func (r *Refusal) Error() string { return r.sentence }

func (r *Refusal) Unwrap() error { return r.cause }

// Sentence is what a person is told about an error: the refusal in its chain, else the error's
// own text.
func Sentence(err error) string {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.sentence
	}
	return err.Error()
}
