package telemetry_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/fx"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/kubebyon/kubebyon/adapters/argonpass"
	"github.com/kubebyon/kubebyon/adapters/gobus"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/outside"
	"github.com/kubebyon/kubebyon/app/telemetry"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is an OTLP collector that keeps all that it is sent.
type receiver struct {
	mu    sync.Mutex
	raw   bytes.Buffer
	about []string
	spans []*tracepb.Span
}

func (c *receiver) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var in collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &in) != nil {
		panic(http.ErrAbortHandler)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw.Write(body)
	for _, rs := range in.GetResourceSpans() {
		c.about = append(c.about, rs.GetResource().String())
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
}

func (c *receiver) named(name string) []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.spans), func(s *tracepb.Span) bool { return s.GetName() != name })
}

// spanned are the spans that links lead to.
func (c *receiver) spanned(links []*tracepb.Span_Link) []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.spans), func(s *tracepb.Span) bool {
		return !slices.ContainsFunc(links, func(l *tracepb.Span_Link) bool { return bytes.Equal(l.GetSpanId(), s.GetSpanId()) })
	})
}

// watched is a platform whose metrics and traces are looked at.
type watched struct {
	t       *testing.T
	http    *httptest.Server
	client  *http.Client
	metrics *telemetry.Metrics
	traces  *telemetry.Traces
	app     *app.App
	log     *bytes.Buffer
	cookie  string
}

const password = "correct horse battery staple"

func run(t *testing.T, proxies ...netip.Prefix) *watched {
	t.Helper()
	w := &watched{t: t, metrics: telemetry.NewMetrics("v1"), log: new(bytes.Buffer), client: &http.Client{Transport: &http.Transport{}}}
	var err error
	log := slog.New(telemetry.Log(slog.NewJSONHandler(&synced{to: w.log}, nil)))
	if w.traces, err = telemetry.NewTraces(t.Context(), "kubebyon", "v1", log); err != nil {
		t.Fatal(err)
	}
	hasher, err := argonpass.New(2)
	if err != nil {
		t.Fatal(err)
	}
	others, err := outside.Modules(outside.Config{})
	if err != nil {
		t.Fatal(err)
	}
	conf := app.Config{Log: log, FirstAdmin: app.FirstAdmin{Password: secret.New(password)}, Observe: telemetry.Observe(w.metrics, w.traces)}
	conf.HTTP.TrustedProxyCIDRs = proxies
	w.app, err = app.New(conf, fx.Options(
		memstore.Module, memprovision.Module, gobus.Module, app.Use[tenant.Connector](memtenant.New()),
		app.Use[seal.Sealer](keyseal.New([32]byte{1})), app.Use[passwords.Hasher](hasher), others))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.http = httptest.NewServer(w.app.Handler)
	return w
}

func (w *watched) stop() {
	w.t.Helper()
	w.http.Close()
	w.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 5*time.Second)
	defer cancel()
	if err := w.app.Stop(ctx); err != nil {
		w.t.Error(err)
	}
	if err := w.traces.Stop(ctx); err != nil {
		w.t.Error(err)
	}
}

type synced struct {
	mu sync.Mutex
	to io.Writer
}

func (s *synced) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Write(b)
}

type object = map[string]any

func (w *watched) call(method, path string, body any, headers ...string) (int, string) {
	w.t.Helper()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.http.URL+path, in)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if w.cookie != "" {
		r.Header.Set("Cookie", w.cookie)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if c := a.Header.Get("Set-Cookie"); c != "" {
		w.cookie, _, _ = strings.Cut(c, ";")
	}
	return a.StatusCode, string(text)
}

func (w *watched) scrape() string {
	w.t.Helper()
	a := httptest.NewRecorder()
	w.metrics.Handler().ServeHTTP(a, httptest.NewRequestWithContext(w.t.Context(), "GET", "/metrics", nil))
	return a.Body.String()
}

func field(t *testing.T, text, name string) string {
	t.Helper()
	m := regexp.MustCompile(`"` + name + `":\s*"([^"]+)"`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in %.500s", name, text)
	}
	return m[1]
}

// job is the main job: a cluster that gets reachable, its kubeconfig, and a
// machine that asks for its script. It returns every secret that it has seen.
func (w *watched) job(headers ...string) (secrets []string) {
	w.t.Helper()
	w.call("POST", "/api/auth/login", object{"email": "admin@kubebyon.local", "password": password})
	_, text := w.call("POST", "/api/console/clusters", object{"name": "demo"}, headers...)
	id := field(w.t, text, "id")
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(text, `"connection_status":"reachable"`); time.Sleep(5 * time.Millisecond) {
		if _, text = w.call("GET", "/api/console/clusters/"+id, nil); time.Now().After(deadline) {
			w.t.Fatalf("not reachable: %s", text)
		}
	}
	_, text = w.call("POST", "/api/console/clusters/"+id+"/kubeconfig", object{"password": password})
	if !strings.Contains(text, "not-a-real-token") {
		w.t.Fatalf("kubeconfig: %s", text)
	}
	_, text = w.call("POST", "/api/console/clusters/"+id+"/join-token", object{})
	found := regexp.MustCompile(`token=(kbt_[A-Za-z0-9_.-]{20,})`).FindStringSubmatch(text)
	if found == nil {
		w.t.Fatalf("join token: %s", text)
	}
	token := found[1]
	status, script := w.call("GET", "/join?token="+token, nil)
	if status != http.StatusOK {
		w.t.Fatalf("join: %d %s", status, script)
	}
	bootstrap := regexp.MustCompile(`\b[a-z0-9]{6}\.([a-z0-9]{16})\b`).FindStringSubmatch(script)
	if bootstrap == nil {
		w.t.Fatalf("the script has no bootstrap token: %s, %.600s", token, script)
	}
	made := "kbk_" + strings.Repeat("Z", 43)
	w.call("GET", "/api/console/nodes", nil, "Authorization", "Bearer "+made, "User-Agent", made, "Tracestate", "a="+made, "Baggage", "a="+made)
	w.call("GET", "/"+made+"?q="+made, nil)
	w.call("GET", "/api/console/clusters/"+made, nil)
	w.call("POST", "/api/auth/login", object{"email": "admin@kubebyon.local", "password": "not the password at all"})
	_, session, _ := strings.Cut(w.cookie, "=")
	return []string{password, "not the password at all", session, "not-a-real-token", token, bootstrap[1], made, "admin@kubebyon.local"}
}

const givenTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

func TestARequestsTraceGoesOnInItsJobAndHoldsNoSecret(t *testing.T) {
	c := new(receiver)
	collector := httptest.NewServer(c)
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	w := run(t, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	secrets := w.job("Traceparent", "00-"+givenTrace+"-00f067aa0ba902b7-01")
	scraped := w.scrape()
	w.stop()

	request, job := c.named("POST /api/console/clusters"), c.named("job create")
	if len(request) != 1 || len(job) != 1 {
		t.Fatalf("%d requests, %d jobs", len(request), len(job))
	}
	if got := hex.EncodeToString(request[0].GetTraceId()); got != givenTrace {
		t.Errorf("the client's trace is %s, and the request's %s", givenTrace, got)
	}
	if !bytes.Equal(request[0].GetTraceId(), job[0].GetTraceId()) {
		t.Error("the job is in another trace than the request that asked for it")
	}
	for _, name := range []string{"provision Apply", "store write", "store read", "bus publish", "tenant PutBootstrapToken", "GET /join"} {
		if len(c.named(name)) == 0 {
			t.Errorf("there is no span %q", name)
		}
	}
	if apply := c.named("provision Apply"); len(apply) > 0 && !bytes.Equal(apply[0].GetParentSpanId(), job[0].GetSpanId()) {
		t.Error("the provisioner's call is not within the job")
	}
	if publish := c.named("bus publish"); len(publish) > 0 {
		written := c.spanned(publish[0].GetLinks())
		if len(written) != 1 || written[0].GetName() != "store write" || !bytes.Equal(written[0].GetTraceId(), request[0].GetTraceId()) {
			t.Errorf("what is published is linked to %v, not to the request's write", written)
		}
	}
	for _, word := range []string{"kubebyon", "v1", "deployment.environment.name"} {
		if !strings.Contains(strings.Join(c.about, " "), word) {
			t.Errorf("the resource lacks %s: %s", word, c.about)
		}
	}
	if !strings.Contains(w.log.String(), `"trace_id":"`+givenTrace+`"`) {
		t.Error("no line of the log names the trace")
	}
	for _, secret := range secrets {
		for place, text := range map[string]string{"traces": c.raw.String(), "metrics": scraped} {
			if secret == "" || strings.Contains(text, secret) {
				t.Errorf("the %s hold %q", place, secret)
			}
		}
	}
	t.Logf("%d spans, %d bytes", len(c.spans), c.raw.Len())
}

// Who is no trusted proxy does not decide which trace a request is in, nor that it
// is in none.
func TestAStrangersTraceIsOnlyALink(t *testing.T) {
	c := new(receiver)
	collector := httptest.NewServer(c)
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	w := run(t)
	w.call("GET", "/api/auth/me", nil, "Traceparent", "00-"+givenTrace+"-00f067aa0ba902b7-01")
	w.call("GET", "/api/auth/me", nil, "Traceparent", "00-"+givenTrace+"-00f067aa0ba902b7-00") // not to be sampled
	w.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	links := 0
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == givenTrace {
			t.Errorf("%s is in the stranger's trace", s.GetName())
		}
		for _, l := range s.GetLinks() {
			if hex.EncodeToString(l.GetTraceId()) == givenTrace {
				links++
			}
		}
	}
	if links != 2 {
		t.Errorf("%d of 2 requests have a link to the stranger's trace", links)
	}
}

func TestMetricsTellWhatThePlatformDoes(t *testing.T) {
	t.Parallel()
	w := run(t)
	w.job()
	text := w.scrape()
	w.stop()
	for _, want := range []string{
		`kubebyon_http_request_duration_seconds_count{method="POST",route="/api/console/clusters",status="2xx"} 1`,
		`kubebyon_job_attempt_duration_seconds_count{result="succeeded",type="create"} 1`,
		`kubebyon_job_attempts_in_flight 0`,
		`kubebyon_jobs{status="pending"} 0`, `kubebyon_jobs{status="running"} 0`, `kubebyon_jobs_oldest_pending_age_seconds 0`,
		`kubebyon_outbox_messages 0`, `kubebyon_outbox_oldest_message_age_seconds 0`, `kubebyon_store_up 1`,
		`kubebyon_clusters{connection_status="reachable"} 1`,
		`kubebyon_relay_messages_published_total{type="cluster.job.v1"} 1`, `kubebyon_relay_publish_total{result="ok"} 1`,
		`kubebyon_bus_handling_duration_seconds_count{result="ok",type="cluster.job.v1"} 1`,
		`kubebyon_provision_call_duration_seconds_count{call="Apply",result="ok"} 1`, `kubebyon_provision_calls_in_flight{call="Apply"} 0`,
		`kubebyon_watch_tenants 1`, `kubebyon_watch_leases_acquired_total 1`, `kubebyon_watch_restarts_total`,
		`kubebyon_tenant_call_duration_seconds_count{call="PutBootstrapToken",result="ok"} 1`,
		`kubebyon_store_transaction_duration_seconds_count{mode="write",result="ok"}`, `kubebyon_build_info{version="v1"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if m := regexp.MustCompile(`\b(cl|usr|job|op|node|tok)_[0-9a-z]{26}`).FindString(text); m != "" {
		t.Errorf("the metrics name %s: labels are to be few", m)
	}
	if t.Failed() {
		t.Log(regexp.MustCompile(`(?m)^(#|go_|process_|promhttp_|.*_bucket).*\n`).ReplaceAllString(text, ""))
	}
}

// TestMetricsCountDeliveries: with traces and without.
func TestMetricsCountDeliveries(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("v1")
	telemetry.Observe(m, nil).Delivery.Begun("slack")(notifications.Died)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if want := `kubebyon_notification_deliveries_total{channel="slack",result="dead"} 1`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("the metrics lack %s", want)
	}
}

// TestACollectorThatIsAwayDelaysNobody: requests are answered, and stopping ends
// in time, also when the collector hangs.
func TestACollectorThatIsAwayDelaysNobody(t *testing.T) {
	hang := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer collector.Close()
	defer close(hang)
	for name, endpoint := range map[string]string{"hangs": collector.URL, "refuses": "http://127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
			w := run(t)
			w.job()
			for i := range 6000 { // more than the queue holds
				if i%100 == 0 {
					w.call("GET", "/version", nil)
				}
				_, end := w.traces.Request(httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), false)
				end("GET", "/", 200)
			}
			began := time.Now()
			w.http.Close()
			w.client.CloseIdleConnections()
			if err := w.app.Stop(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
			defer cancel()
			_ = w.traces.Stop(ctx)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("stopping took %v", took)
			}
		})
	}
}

func TestTracesAreOffUnlessACollectorIsNamed(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"OTEL_SERVICE_NAME", "x", "off"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318", "on"},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces", "on"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "//user:hunter2@::", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL"},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			if strings.HasSuffix(c.name, "PROTOCOL") {
				t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
			}
			t.Setenv(c.name, c.value)
			traces, err := telemetry.NewTraces(t.Context(), "kubebyon", "v1", slog.New(slog.DiscardHandler))
			got := map[bool]string{true: "on", false: "off"}[traces != nil]
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, c.want) || strings.Contains(got, "hunter2") {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if err := traces.Stop(t.Context()); err != nil {
				t.Error(fmt.Errorf("stop: %w", err))
			}
		})
	}
}
