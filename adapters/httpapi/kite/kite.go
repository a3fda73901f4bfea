// Package kite speaks the cluster administration API of Kite. Handlers translate;
// they decide nothing.
package kite

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/kubebyon/kubebyon/adapters/httpapi/dialect"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/core/access"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Services are what the dialect exposes.
type Services struct {
	Identity *identity.Service
	Fleet    *fleet.Service
}

const description = `The cluster administration of Kite, so that its clients go on working here: ` + "`/api/v1/admin/clusters/`" + `, also under ` + "`/dialects/kite`" + `. For administrators.

Paths may end in a slash or not. Of a body neither the case of keys nor unknown keys matter; a value of a wrong type is refused. Failures are ` + "`{\"error\": \"…\"}`" + `.`

type kite struct {
	Services
	api dialect.API
}

// Register puts the dialect on a router.
func Register(r chi.Router, log *slog.Logger, k session.Keeper, s Services) dialect.API {
	h := kite{Services: s}
	h.api = dialect.New(r, log, k, dialect.Speech{
		Document: describe(), Own: h.own, Failure: failure, Body: reflect.TypeFor[Failure](),
		Admit: func(ctx context.Context) error { _, err := access.Administers(ctx); return err },
	})
	h.registerClusters()
	return h.api
}

const tagClusters = "Clusters"

func describe() *huma.OpenAPI {
	return &huma.OpenAPI{
		Info: &huma.Info{
			Title: "KubeBYON for clients of Kite", Version: "1", Description: description,
			License: &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"},
		},
		Servers: []*huma.Server{{URL: "/"}, {URL: "/dialects/kite"}},
		Tags:    []*huma.Tag{{Name: tagClusters, Description: "Every cluster, hosted and imported."}},
		Components: &huma.Components{SecuritySchemes: map[string]*huma.SecurityScheme{
			"kiteKey": {Type: "apiKey", In: "header", Name: "Authorization", Description: "`kite<number>-<secret>`, without Bearer: the kite_value of a new API key."},
			"apiKey":  {Type: "http", Scheme: "bearer", BearerFormat: "kbk_…", Description: "An API key of an account."},
			"session": {Type: "apiKey", In: "cookie", Name: session.CookieName, Description: "The session of a browser."},
		}},
	}
}

// own proves a key in Kite's spelling.
func (h kite) own(r *http.Request) (who actor.Actor, ours bool, err error) {
	number, rest, ours, ok := session.KiteKey(r)
	if !ours {
		return who, false, nil
	}
	invalid := problem.New(r.Context(), http.StatusUnauthorized, invalidKey, "Invalid API key")
	if !ok {
		return who, true, invalid
	}
	who, _, err = h.Identity.NumberedAPIKey(r.Context(), number, rest)
	if isUnauthenticated(err) {
		err = invalid
	}
	return who, true, err
}

const invalidKey = "api_key_invalid"

func isUnauthenticated(err error) bool { return errors.Is(err, fault.Unauthenticated) }

// Failure is how every failure looks.
type Failure struct {
	Error string `json:"error" required:"true" example:"cluster not found"`
}

// texts are Kite's own words for what it knows.
var texts = map[string]struct { //nolint:gochecknoglobals // a constant table
	status int
	text   string
}{
	"unauthenticated":   {http.StatusUnauthorized, "Invalid or expired token"},
	"forbidden":         {http.StatusForbidden, "Admin role required"},
	"name_taken":        {http.StatusConflict, "cluster already exists"},
	"cluster_not_found": {http.StatusNotFound, "cluster not found"},
	"cluster_default":   {http.StatusBadRequest, "cannot delete default cluster"},
	"fleet_not_empty":   {http.StatusForbidden, "import not allowed when clusters exist"},
	"not_found":         {http.StatusNotFound, "API endpoint not found"},
}

// fields are Kite's names for ours.
var fields = map[string]string{ //nolint:gochecknoglobals // a constant table
	"body.name": "name", "body.description": "description", "body.prometheus_url": "prometheusURL",
	"body.credential": "config", "body.credential.kubeconfig": "config", "body.credential.in_cluster": "inCluster",
}

func failure(p *problem.Problem) (int, any) {
	if known, ok := texts[p.Code]; ok {
		return known.status, Failure{known.text}
	}
	if len(p.Errors) == 0 {
		return p.Status, Failure{p.Detail}
	}
	first := p.Errors[0]
	name := fields[first.Location]
	switch {
	case first.Location == "body.credential":
		return p.Status, Failure{"config is required when inCluster is false"}
	case name == "":
		return p.Status, Failure{p.Detail}
	case p.Code == "validation_failed":
		return p.Status, Failure{name + " " + first.Message}
	}
	return p.Status, Failure{name + ": " + p.Detail}
}

func security() []map[string][]string {
	return slices.Clone([]map[string][]string{{"kiteKey": {}}, {"apiKey": {}}, {"session": {}}})
}
