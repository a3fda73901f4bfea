package httpapi

import (
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
)

func notFound(w http.ResponseWriter, r *http.Request) {
	problem.Write(w, problem.New(r.Context(), http.StatusNotFound, "not_found", "There is nothing under this path."))
}

// methodNotAllowed says which methods a path takes.
func methodNotAllowed(routes chi.Routes) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		allow := allowed(routes, r)
		if len(allow) == 0 { // a made-up method on a path that is not there
			notFound(w, r)
			return
		}
		w.Header().Set("Allow", strings.Join(allow, ", "))
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		problem.Write(w, problem.New(r.Context(), http.StatusMethodNotAllowed, "method_not_allowed", "This path takes "+strings.Join(allow, ", ")+"."))
	}
}

func allowed(routes chi.Routes, r *http.Request) (out []string) {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if !routes.Match(chi.NewRouteContext(), m, path) {
			continue
		}
		out = append(out, m)
		if m == http.MethodGet {
			out = append(out, http.MethodHead)
		}
	}
	if out != nil {
		out = append(out, http.MethodOptions)
	}
	return out
}

// withProblems makes problems of a file server's refusals.
func withProblems(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&refusals{ResponseWriter: w, r: r}, r)
	})
}

type refusals struct {
	http.ResponseWriter
	r       *http.Request
	refused bool
}

func (f *refusals) WriteHeader(status int) {
	switch status {
	case http.StatusNotFound:
		f.refused = true
		notFound(f.ResponseWriter, f.r)
	case http.StatusMethodNotAllowed:
		f.refused = true
		problem.Write(f.ResponseWriter, problem.New(f.r.Context(), status, "method_not_allowed", "This path takes "+f.Header().Get("Allow")+"."))
	default:
		f.ResponseWriter.WriteHeader(status)
	}
}

// Write drops the text that goes with a refusal.
func (f *refusals) Write(b []byte) (int, error) {
	if f.refused {
		return len(b), nil
	}
	return f.ResponseWriter.Write(b)
}
