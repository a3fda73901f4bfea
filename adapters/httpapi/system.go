package httpapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

const tagSystem = "System"

// Health says that the process lives.
type Health struct {
	Status string `json:"status" enum:"ok"`
}

// Readiness says whether the server can do its work.
type Readiness struct {
	Status  string            `json:"status" enum:"ok,degraded,unavailable" doc:"degraded: something was there and does not answer now, but requests are answered, and what they ask for is done when it is back."`
	Checks  map[string]string `json:"checks" doc:"ok or unavailable, for each of database, broker and backend."`
	Message string            `json:"message,omitempty" doc:"What is waited for, for people. Why stands in the log." example:"Waiting for the message broker. The log says why."`
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
		Summary: "Can the server do its work", Description: "503 until everything that the server needs has answered once, while the database does not answer, and when the server is stopping.",
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
	out := &readinessOut{Status: http.StatusOK, Body: Readiness{Status: "ok", Checks: map[string]string{}}}
	checks := checkReady(ctx, c)
	var away, settings []string
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		err := checks[name]
		if err == nil {
			out.Body.Checks[name] = "ok"
			continue
		}
		out.Body.Checks[name] = "unavailable"
		if _, known := awaited[name]; known {
			away = append(away, name)
		}
		if f, ok := errors.AsType[*fault.Error](err); ok && f.Setting != "" {
			settings = append(settings, f.Setting)
		}
		if !isDegraded(err) {
			out.Status = http.StatusServiceUnavailable
		}
		c.Log.DebugContext(ctx, "not there", "check", name, "err", err)
	}
	switch {
	case out.Status != http.StatusOK:
		out.Body.Status = "unavailable"
	case len(away) > 0:
		out.Body.Status = "degraded"
	}
	out.Body.Message = sentence(away, settings)
	return out
}
