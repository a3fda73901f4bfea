package httpapi

import (
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// openAnswers lets answers grow: a client that was generated from the document
// must not fail when a later server says more. Requests stay closed, so that a
// mistyped field is refused. It runs when every operation is registered.
func openAnswers(doc *huma.OpenAPI) {
	asked := schemas{all: doc.Components.Schemas.Map(), seen: map[string]bool{}}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch} {
			if op == nil || op.RequestBody == nil {
				continue
			}
			for _, media := range op.RequestBody.Content {
				asked.visit(media.Schema)
			}
		}
	}
	for name, s := range asked.all {
		if !asked.seen[name] && s.AdditionalProperties == false {
			s.AdditionalProperties = nil
		}
	}
}

// schemas finds all that a schema refers to.
type schemas struct {
	all  map[string]*huma.Schema
	seen map[string]bool
}

func (s schemas) visit(one *huma.Schema) {
	if one == nil {
		return
	}
	if name, ok := strings.CutPrefix(one.Ref, "#/components/schemas/"); ok && !s.seen[name] {
		s.seen[name] = true
		s.visit(s.all[name])
	}
	s.visit(one.Items)
	for _, p := range one.Properties {
		s.visit(p)
	}
	for _, group := range [][]*huma.Schema{one.OneOf, one.AnyOf, one.AllOf} {
		for _, p := range group {
			s.visit(p)
		}
	}
}
