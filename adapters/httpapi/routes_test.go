package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestUnknownPathsAndMethods(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.as(adminEmail)
	w.unchanged(func() {
		for _, path := range []string{"/", "/api", "/api/console", "/api/console/clusters/", "/api/console/nope", "/metrics", "/api/clusters/x/kubeconfig", "//", "/healthz/", "/api/console/clusters/a/b/c", "/join/x", "/docs/assets/nope", "/docs/nope"} {
			for _, method := range []string{"GET", "POST", "FROB"} {
				if method == "GET" || !strings.HasPrefix(path, "/docs") {
					admin.do(method, path, nil).want(404, "not_found")
				}
			}
		}
		if r := admin.do("POST", "/docs", nil).want(405, "method_not_allowed"); r.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("Allow %q", r.Header().Get("Allow"))
		}
		for path, allow := range map[string]string{
			"/healthz": "GET, HEAD, OPTIONS", "/join": "GET, HEAD, OPTIONS", "/api/auth/login": "POST, OPTIONS", "/openapi.json": "GET, HEAD, OPTIONS",
			"/api/console/clusters": "GET, HEAD, POST, OPTIONS", "/api/console/clusters/cl_1": "GET, HEAD, PUT, DELETE, OPTIONS",
			"/api/console/clusters/cl_1/kubeconfig": "POST, OPTIONS", "/api/console/tokens/tok_1": "DELETE, OPTIONS",
		} {
			for _, method := range []string{"PATCH", "FROB", "TRACE"} {
				if r := admin.do(method, path, nil).want(405, "method_not_allowed"); r.Header().Get("Allow") != allow {
					t.Errorf("%s: Allow %q, want %q", path, r.Header().Get("Allow"), allow)
				}
			}
			if r := w.anybody().do("OPTIONS", path, nil).want(204, ""); r.Header().Get("Allow") != allow {
				t.Errorf("OPTIONS %s: Allow %q", path, r.Header().Get("Allow"))
			}
		}
	})
}

func TestHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := httptest.NewServer(w.server)
	defer s.Close()
	for path, want := range map[string]int{"/healthz": 200, "/version": 200, "/openapi.yaml": 200, "/docs": 200, "/api/console/me": 401, "/nope": 404, "/api/auth/login": 405, "/join": 200} {
		r, err := http.Head(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != want || len(body) > 0 {
			t.Errorf("HEAD %s: %d %s", path, r.StatusCode, body)
		}
	}
}

func TestSystem(t *testing.T) {
	t.Parallel()
	anybody := newWorld(t).anybody()
	for path, want := range map[string]string{
		"/healthz": `{"status":"ok"}`,
		"/readyz":  `{"status":"ok","checks":{"backend":"ok","broker":"ok","database":"ok"}}`,
		"/version": `{"version":"v0.0.0-test","commit":"abc","go_version":"go","backend":"memory"}`,
	} {
		if got := strings.TrimSpace(anybody.do("GET", path, nil).want(200, "").Body.String()); got != want {
			t.Errorf("%s: %s", path, got)
		}
		for _, accept := range []string{"json", "text/html", "application/xml", "*/*;q=0"} {
			r := anybody.with("Accept", accept).do("GET", path, nil).want(200, "")
			if r.Header().Get("Content-Type") != "application/json" {
				t.Errorf("Accept %s: %s", accept, r.Header().Get("Content-Type"))
			}
		}
	}
	for path, kind := range map[string][2]string{
		"/openapi.json": {"application/json", `"openapi": "3.1.0"`}, "/openapi.yaml": {"application/yaml", "openapi: 3.1.0"},
		"/openapi-3.0.json": {"application/json", `"openapi": "3.0.3"`}, "/openapi-3.0.yaml": {"application/yaml", "openapi: 3.0.3"},
		"/docs": {"text/html", "<html"},
	} {
		r := anybody.do("GET", path, nil).want(200, "")
		if !strings.HasPrefix(r.Header().Get("Content-Type"), kind[0]) || !strings.Contains(r.Body.String(), kind[1]) {
			t.Errorf("%s: %s", path, r.Header().Get("Content-Type"))
		}
	}
}

// TestAPanicIsAProblem, wherever it comes from.
func TestAPanicIsAProblem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *httpapi.Config) { c.Ready = func(context.Context) map[string]error { panic("hunter2") } })
	r := w.anybody().do("GET", "/readyz", nil).want(500, "internal")
	if strings.Contains(r.Body.String(), "hunter2") || !strings.Contains(w.log.String(), "hunter2") {
		t.Errorf("got %s", r.Body)
	}
}

// TestDrainMayTakeLongerThanTheServerAllows, and is not given up because the
// time to read a request has passed.
func TestDrainMayTakeLongerThanTheServerAllows(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	n := w.node(i, "worker-1")
	c := w.tenants.Cluster(w.clusterID(i))
	c.PutPod(memtenant.Pod{Pod: tenant.Pod{Namespace: "default", Name: "stays"}, Node: "worker-1", App: "stays"})
	defer c.Protect("stays")()
	server := httpapi.NewServer(w.server, slog.New(slog.NewTextHandler(w.log, nil)), httpapi.Limits{})
	server.ReadTimeout, server.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+l.Addr().String()+"/api/console/nodes/"+n+"/drain", strings.NewReader(`{"timeout_seconds":1}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Cookie", ada.header.Get("Cookie"))
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var problem struct{ Code string }
	err = json.NewDecoder(a.Body).Decode(&problem)
	if err != nil || a.StatusCode != 504 || problem.Code != "drain_timeout" {
		t.Errorf("got %d %s %v", a.StatusCode, problem.Code, err)
	}
}

// TestABodyThatDoesNotCome is answered, and its connection given up.
func TestABodyThatDoesNotCome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := httpapi.NewServer(w.server, slog.New(slog.DiscardHandler), httpapi.Limits{})
	server.ReadTimeout = 200 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	defer server.Close()
	for name, c := range map[string]struct {
		send   string
		status string
	}{
		"Slow":       {"Content-Length: 100\r\n\r\n{", "408"},
		"TooLong":    {fmt.Sprintf("Content-Length: %d\r\n\r\n%s", 2<<20, strings.Repeat("x", 1<<20+1)), "413"},
		"BadChunks":  {"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
		"ManyChunks": {"Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 17), "413"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(conn, "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s", c.send)
			status, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.Contains(status, c.status) {
				t.Errorf("got %q %v, want %s", status, err, c.status)
			}
		})
	}
}
