package httpapi

import (
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/kubebyon/kubebyon/adapters/httpapi/dialect"
	"github.com/kubebyon/kubebyon/adapters/httpapi/kite"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
)

// registerDialects serves the APIs of other systems, each at its own paths and
// whole under /dialects/NAME, and returns them by name.
func registerDialects(router chi.Router, log *slog.Logger, k session.Keeper, s Services) map[string]huma.API {
	all := map[string]func(chi.Router) dialect.API{
		"kite": func(r chi.Router) dialect.API {
			return kite.Register(r, log, k, kite.Services{Identity: s.Identity, Fleet: s.Fleet})
		},
	}
	out := map[string]huma.API{}
	for name, register := range all {
		out[name] = register(router).API
		whole := chi.NewRouter()
		api := register(whole)
		nothing := func(w http.ResponseWriter, r *http.Request) {
			api.Refuse(w, problem.New(r.Context(), http.StatusNotFound, "not_found", "There is nothing under this path."))
		}
		whole.NotFound(nothing)
		whole.MethodNotAllowed(nothing)
		router.Mount("/dialects/"+name, whole)
	}
	return out
}
