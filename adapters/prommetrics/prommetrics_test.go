package prommetrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/prommetrics"
)

func TestRequestsAreCountedByRoute(t *testing.T) {
	t.Parallel()
	m := prommetrics.New("v9")
	m.Request("GET", "/api/console/clusters/{clusterID}", 200, 3*time.Millisecond)
	m.Request("GET", "/api/console/clusters/{clusterID}", 200, 3*time.Millisecond)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, want := range []string{
		`kubebyon_http_request_duration_seconds_count{method="GET",route="/api/console/clusters/{clusterID}",status="200"} 2`,
		`kubebyon_build_info{version="v9"} 1`, "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the metrics lack %s:\n%s", want, w.Body)
		}
	}
}
