package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
)

const tagSystem = "System"

// Health says that the process lives.
type Health struct {
	Status string `json:"status" enum:"ok"`
}

// Readiness says whether the server can do its work.
type Readiness struct {
	Status string            `json:"status" enum:"ok,unavailable"`
	Checks map[string]string `json:"checks" doc:"ok or unavailable, for each of database, broker and backend. Why stands in the log."`
}

type healthOut struct{ Body Health }

type readinessOut struct {
	Status int
	Body   Readiness
}

type versionOut struct{ Body Version }

func registerSystem(api operation.API, c Config) {
	operation.Open(api, huma.Operation{
		OperationID: "getHealth", Method: http.MethodGet, Path: "/healthz", Tags: []string{tagSystem},
		Summary: "Does the server live",
	}, nil, func(context.Context, *struct{}) (*healthOut, error) { return &healthOut{Health{"ok"}}, nil })
	operation.Open(api, huma.Operation{
		OperationID: "getReadiness", Method: http.MethodGet, Path: "/readyz", Tags: []string{tagSystem},
		Summary: "Can the server do its work", Description: "503 while something that the server needs does not answer.",
		Responses: map[string]*huma.Response{"503": {
			Description: "Something does not answer.",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Readiness](), true, "")}},
		}},
	}, nil, func(ctx context.Context, _ *struct{}) (*readinessOut, error) { return readiness(ctx, c), nil })
	operation.Open(api, huma.Operation{
		OperationID: "getVersion", Method: http.MethodGet, Path: "/version", Tags: []string{tagSystem},
		Summary: "What is running",
	}, nil, func(context.Context, *struct{}) (*versionOut, error) { return &versionOut{c.Version}, nil })
}

// readyTimeout is how long whoever asks may wait for what does not answer.
const readyTimeout = 5 * time.Second

func readiness(ctx context.Context, c Config) *readinessOut {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	out := &readinessOut{Status: http.StatusOK, Body: Readiness{Status: "ok", Checks: map[string]string{}}}
	for name, err := range c.Ready(ctx) {
		out.Body.Checks[name] = "ok"
		if err != nil {
			c.Log.WarnContext(ctx, "not ready", "check", name, "err", err)
			out.Body.Checks[name] = "unavailable"
			out.Status, out.Body.Status = http.StatusServiceUnavailable, "unavailable"
		}
	}
	return out
}
