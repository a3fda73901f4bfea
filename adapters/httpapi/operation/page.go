package operation

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
)

// Limit is the query parameter that says how long a list may be. What is not a
// positive number acts as the default, what is too big as the most.
type Limit struct {
	Limit string `query:"limit"`
}

// Paged is the query of a list.
type Paged struct {
	Limit
	Cursor string `query:"cursor" doc:"next_cursor of the page before." example:"Y2xfMDZldmptOW04MHp5M2Y2MHJ6dzJuNTZ0d2c"`
}

// LimitParam describes limit as the number that it is; huma would take the type
// of the field, which is text so that nothing is refused.
func LimitParam() *huma.Param {
	return &huma.Param{
		Name: "limit", In: "query",
		Description: "How many items at most. Over 500 acts as 500; what is not a positive number acts as the default.",
		Schema:      &huma.Schema{Type: "integer", Default: page.DefaultLimit, Examples: []any{20}},
	}
}

// Size reads the limit.
func (l Limit) Size() int {
	n, err := strconv.ParseInt(strings.TrimSpace(l.Limit), 10, 64)
	if err != nil {
		if strings.Trim(l.Limit, "0123456789") == "" && l.Limit != "" {
			return page.MaxLimit // a number all the same
		}
		return page.DefaultLimit
	}
	return page.Query{Limit: int(min(n, page.MaxLimit))}.Clamp().Limit
}

// Query reads the page of a list of things with ids of kind K.
func Query[K id.Kind](p Paged) (page.Query, error) {
	q := page.Query{Limit: p.Size()}
	if p.Cursor == "" {
		return q, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(p.Cursor)
	if err == nil && !strings.ContainsAny(p.Cursor, "\r\n") {
		var last id.ID[K]
		if last, err = id.Parse[K](string(raw)); err == nil {
			q.Before = last.String()
			return q, nil
		}
	}
	return q, problem.Invalid("query.cursor", "must be the next_cursor of an earlier answer to the same call")
}

// Cursor hides the id that the next page begins after; nil when there is none.
func Cursor(next string) *string {
	if next == "" {
		return nil
	}
	c := base64.RawURLEncoding.EncodeToString([]byte(next))
	return &c
}

// Filter reads an identifier that narrows a list; empty text does not.
func Filter[K id.Kind](name, text string) (i id.ID[K], err error) {
	if text == "" {
		return i, nil
	}
	if i, err = id.Parse[K](text); err != nil {
		return i, problem.Invalid("query."+name, "must be an identifier")
	}
	return i, nil
}

// Text checks free text that narrows a list.
func Text(name, text string) error {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return problem.Invalid("query."+name, "must be valid UTF-8 text")
	}
	return nil
}
