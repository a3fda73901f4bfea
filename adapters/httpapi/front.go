package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
)

// Degraded marks the error of a check that keeps nobody from being answered: what
// it is about is told, and readiness stays.
func Degraded(err error) error { return degraded{err} }

type degraded struct{ error }

func (d degraded) Unwrap() error { return d.error }

// Probes answers GET /healthz, /readyz and /version as the API does, and all
// else by rest: for a process that serves no API, or none yet.
func Probes(c Config, rest http.Handler) http.Handler {
	c = c.withDefaults()
	door := edge.Door{Log: c.Log, Now: c.Now, Random: c.Random, Proxies: c.TrustedProxyCIDRs, Begin: c.Begin}
	router := chi.NewRouter()
	router.Use(door.Middleware)
	if origins, err := edge.NewOrigins(c.CORSAllowedOrigins, c.BaseURLs.Public); err == nil { // else [New] refuses them
		router.Use(origins.CORS) // a console elsewhere shall read why it has to wait
	}
	router.Use(middleware.GetHead)
	router.Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, Health{"ok"}) })
	router.Get("/readyz", func(w http.ResponseWriter, r *http.Request) {
		out := readiness(r.Context(), c)
		writeJSON(w, out.Status, out.Body)
	})
	router.Get("/version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, c.Version) })
	router.NotFound(rest.ServeHTTP)
	router.MethodNotAllowed(rest.ServeHTTP)
	return router
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has gone reads nothing
}

// Front stands where the API will be, from the moment on at which the process
// listens. Until Open it answers the probes, and refuses all else with 503.
type Front struct{ now atomic.Pointer[http.Handler] }

// NewFront returns a Front whose readiness is that of c.
func NewFront(c Config) *Front {
	f := new(Front)
	f.Open(Probes(c, http.HandlerFunc(starting)))
	return f
}

// Open lets h answer from now on.
func (f *Front) Open(h http.Handler) { f.now.Store(&h) }

// ServeHTTP answers one request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*f.now.Load()).ServeHTTP(w, r) }

// startingPause is when to look again: no sooner than the server itself looks.
const startingPause = 5 * time.Second

func starting(w http.ResponseWriter, r *http.Request) {
	p := problem.New(r.Context(), http.StatusServiceUnavailable, "starting", "The server is waiting for what it needs to start. Try again.")
	problem.Write(w, p.After(startingPause))
}

// NotServed answers 404 to all that a process without an API is asked.
func NotServed() http.Handler { return http.HandlerFunc(notFound) }

var awaited = map[string]string{ //nolint:gochecknoglobals // a constant table
	"database": "the database", "broker": "the message broker", "backend": "what runs the control planes",
}

// sentence says which things do not answer, and which variables to look at. Why is
// not for everybody who can reach the server: it stands in the log.
func sentence(away, settings []string) string {
	if len(away) == 0 {
		return ""
	}
	var names []string
	for _, name := range away {
		names = append(names, awaited[name])
	}
	text, last := strings.Join(names[:len(names)-1], ", "), names[len(names)-1]
	if text != "" {
		last = text + " and " + last
	}
	text = "Waiting for " + last + "."
	if len(settings) > 0 {
		text += " Check " + strings.Join(settings, " and ") + "."
	}
	return text + " The log says why."
}

func isDegraded(err error) bool {
	_, ok := errors.AsType[degraded](err)
	return ok
}

// checkReady asks with an end in sight.
func checkReady(ctx context.Context, c Config) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return c.Ready(ctx)
}
