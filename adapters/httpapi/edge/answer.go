package edge

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
)

// answer sees what goes out, and adds the headers that every answer has.
type answer struct {
	http.ResponseWriter
	id     string
	status int
	bytes  int64
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	if a.status != 0 {
		return
	}
	if status >= 200 { // 1xx is no answer yet
		a.status = status
		Secure(a.Header(), a.id)
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

// Secure sets what every answer has, just before it goes: a handler cannot
// forget or weaken it. What a handler says of caching and scripts stays.
func Secure(h http.Header, id string) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Request-Id", id)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	}
}

// rescue answers for a handler that panicked, if it did.
func (d Door) rescue(out *answer, r *http.Request, panicked any) {
	if panicked == nil {
		return
	}
	if err, ok := panicked.(error); ok && (errors.Is(err, http.ErrAbortHandler) || out.status != 0 && r.Context().Err() != nil) {
		d.Log.DebugContext(r.Context(), "answer broken off", "request_id", out.id)
		panic(http.ErrAbortHandler)
	}
	d.Log.ErrorContext(r.Context(), "handler panicked", "request_id", out.id, "panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
	if out.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look whole
	}
	maps.DeleteFunc(out.Header(), func(name string, _ []string) bool { return !saysWhoMayRead(name) })
	problem.Write(out, problem.New(r.Context(), http.StatusInternalServerError, "internal", "Something went wrong on our side. The log tells more under the request's id."))
}

// saysWhoMayRead tells the headers of CORS: a page that may read answers may also
// read that one went wrong.
func saysWhoMayRead(header string) bool {
	return header == "Vary" || strings.HasPrefix(header, "Access-Control-")
}

// record writes the access log, also of an answer that was broken off. It names
// the route, never the path or the query: those hold tokens.
func (d Door) record(r *http.Request, v *Visit, out *answer, took time.Duration, isWhole bool, end func(method, route string, status int)) {
	route := ""
	if c := chi.RouteContext(r.Context()); c != nil {
		route = c.RoutePattern()
	}
	status := out.status
	if status == 0 && isWhole {
		status = http.StatusOK
	}
	level := slog.LevelInfo
	if route == "/healthz" || route == "/readyz" {
		level = slog.LevelDebug // asked every few seconds
	}
	attrs := []slog.Attr{
		slog.String("request_id", v.ID), slog.String("method", method(r)), slog.String("route", route), slog.Int("status", status),
		slog.Int64("bytes", out.bytes), slog.Duration("took", took), slog.String("client_ip", v.ClientIP()),
	}
	if v.User != "" {
		attrs = append(attrs, slog.String("user", v.User))
	}
	d.Log.LogAttrs(r.Context(), level, "request", attrs...)
	end(method(r), route, status)
}

// method is the request's unless a client made it up.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	}
	return "OTHER"
}
