package prommetrics_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/prommetrics"
	"github.com/kubebyon/kubebyon/ports/bus"
)

// postOffice is a bus that counts.
type postOffice struct{ bus.Bus }

func (postOffice) Counts() bus.Counts {
	return bus.Counts{Published: 1, Handled: 2, Retried: 3, Dead: 4, Connected: 5}
}

func TestABusThatCountsIsAskedBeforeItIsWrapped(t *testing.T) {
	t.Parallel()
	m := prommetrics.New("v9")
	m.Bus(struct{ bus.Bus }{}) // counts nothing, and nothing is said of it
	read := func() string {
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
		return w.Body.String()
	}
	if strings.Contains(read(), "kubebyon_bus_messages_total") {
		t.Error("messages are counted of a bus that counts none")
	}
	m.Bus(postOffice{})
	for _, want := range []string{
		`kubebyon_bus_messages_total{event="published"} 1`, `kubebyon_bus_messages_total{event="handled"} 2`,
		`kubebyon_bus_messages_total{event="retried"} 3`, `kubebyon_bus_messages_total{event="dead"} 4`, `kubebyon_bus_connections_total 5`,
	} {
		if !strings.Contains(read(), want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestRequestsAreCountedByRoute(t *testing.T) {
	t.Parallel()
	m := prommetrics.New("v9")
	for _, status := range []int{200, 204, 404, 0} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/api/console/clusters/c1?q=1", nil)
		ctx, answered := m.Request(r, true)
		if ctx != r.Context() {
			t.Error("the request's context is another one")
		}
		answered("GET", "/api/console/clusters/{clusterID}", status)
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, want := range []string{
		`kubebyon_http_request_duration_seconds_count{method="GET",route="/api/console/clusters/{clusterID}",status="2xx"} 2`,
		`kubebyon_http_request_duration_seconds_count{method="GET",route="/api/console/clusters/{clusterID}",status="4xx"} 1`,
		`kubebyon_http_request_duration_seconds_count{method="GET",route="/api/console/clusters/{clusterID}",status="none"} 1`,
		`kubebyon_build_info{version="v9"} 1`, "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the metrics lack %s:\n%s", want, w.Body)
		}
	}
}

func TestDeliveriesAreCountedByHowTheyEnd(t *testing.T) {
	t.Parallel()
	m := prommetrics.New("v9")
	for _, result := range []string{"delivered", "delivered", "dead"} {
		m.Delivery("email")(result)
	}
	m.Delivery("slack") // on its way
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	for _, want := range []string{
		`kubebyon_notification_deliveries_total{channel="email",result="delivered"} 2`, `kubebyon_notification_deliveries_total{channel="email",result="dead"} 1`,
		`kubebyon_notification_deliveries_in_flight{channel="email"} 0`, `kubebyon_notification_deliveries_in_flight{channel="slack"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("the metrics lack %s:\n%s", want, w.Body)
		}
	}
}
