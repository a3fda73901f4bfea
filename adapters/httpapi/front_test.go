package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

func answerOf(t *testing.T, h http.Handler, method, path string) (*httptest.ResponseRecorder, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	body := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Errorf("%s %s: %v: %s", method, path, err, w.Body)
	}
	return w, body
}

// Until the API is there, probes are answered as the API does, and all else is
// refused as a problem that says when to try again.
func TestTheFrontStandsInForTheAPI(t *testing.T) {
	t.Parallel()
	front := httpapi.NewFront(httpapi.Config{Ready: func(context.Context) map[string]error {
		return map[string]error{"database": errors.New("dial hunter2"), "broker": errors.New("away")}
	}})
	if w, _ := answerOf(t, front, "GET", "/healthz"); w.Code != http.StatusOK {
		t.Errorf("health: %d", w.Code)
	}
	w, body := answerOf(t, front, "GET", "/readyz")
	want := map[string]any{
		"status": "unavailable", "checks": map[string]any{"broker": "unavailable", "database": "unavailable"},
		"message": "Waiting for the message broker and the database. The log says why.",
	}
	if diff := cmp.Diff(want, body); w.Code != http.StatusServiceUnavailable || diff != "" {
		t.Errorf("readiness is %d: %s", w.Code, diff)
	}
	for method, path := range map[string]string{"GET": "/api/console/clusters", "POST": "/healthz", "DELETE": "/"} {
		w, body := answerOf(t, front, method, path)
		if w.Code != http.StatusServiceUnavailable || body["code"] != "starting" || w.Header().Get("Retry-After") != "5" || w.Header().Get("X-Request-Id") == "" {
			t.Errorf("%s %s: %d %v %v", method, path, w.Code, w.Header(), body)
		}
	}
	front.Open(httpapi.NotServed())
	if w, _ := answerOf(t, front, "GET", "/healthz"); w.Code != http.StatusNotFound {
		t.Errorf("after Open the other handler does not answer, but: %d", w.Code)
	}
}

// Readiness names the variable that somebody has to set right, and no more of why.
func TestReadinessNamesTheSettingThatIsWrong(t *testing.T) {
	t.Parallel()
	wrong := fault.Unavailable.New("values_file_wrong", "The file /etc/hunter2 is wrong.").At("KUBEBYON_VCLUSTER_VALUES_FILE")
	h := httpapi.Probes(httpapi.Config{Ready: func(context.Context) map[string]error {
		return map[string]error{"database": nil, "broker": nil, "backend": httpapi.Degraded(fmt.Errorf("look: %w", wrong))}
	}}, httpapi.NotServed())
	_, body := answerOf(t, h, "GET", "/readyz")
	if got, want := body["message"], "Waiting for what runs the control planes. Check KUBEBYON_VCLUSTER_VALUES_FILE. The log says why."; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

// What keeps nobody from being answered is told and does not take readiness.
func TestDegradedIsReady(t *testing.T) {
	t.Parallel()
	h := httpapi.Probes(httpapi.Config{Ready: func(context.Context) map[string]error {
		return map[string]error{"database": nil, "broker": httpapi.Degraded(errors.New("away")), "backend": nil}
	}}, httpapi.NotServed())
	w, body := answerOf(t, h, "GET", "/readyz")
	want := map[string]any{
		"status": "degraded", "checks": map[string]any{"backend": "ok", "broker": "unavailable", "database": "ok"},
		"message": "Waiting for the message broker. The log says why.",
	}
	if diff := cmp.Diff(want, body); w.Code != http.StatusOK || diff != "" {
		t.Errorf("readiness is %d: %s", w.Code, diff)
	}
}
