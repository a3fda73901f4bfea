package edge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
)

func door(log *bytes.Buffer, trusted ...string) edge.Door {
	var n byte
	return edge.Door{
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: time.Now,
		Random: func(b []byte) error { n++; b[0] = n; return nil }, Proxies: proxies(trusted...),
	}
}

// TestPanicBecomesAProblem: the text of a panic is for the log.
func TestPanicBecomesAProblem(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := door(&log).Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "half=done")
		panic("db password is hunter2")
	}))
	a := httptest.NewRecorder()
	h.ServeHTTP(a, httptest.NewRequest("GET", "/x", nil))
	if a.Code != 500 || !strings.Contains(a.Body.String(), `"code":"internal"`) || strings.Contains(a.Body.String(), "hunter2") {
		t.Errorf("got %d %s", a.Code, a.Body)
	}
	if a.Header().Get("Set-Cookie") != "" || a.Header().Get("X-Frame-Options") != "DENY" {
		t.Errorf("headers %v", a.Header())
	}
	if !strings.Contains(log.String(), "hunter2") || !strings.Contains(log.String(), a.Header().Get("X-Request-Id")) {
		t.Errorf("the log lacks the cause or the request's id: %s", &log)
	}
}

// TestAPageMayReadThatSomethingBroke: what CORS says of the answer stays.
func TestAPageMayReadThatSomethingBroke(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	o, err := edge.NewOrigins([]string{"https://console.test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := door(&log).Middleware(o.CORS(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("broken") })))
	a := httptest.NewRecorder()
	h.ServeHTTP(a, request("203.0.113.7:1", "Origin", "https://console.test"))
	if a.Code != 500 || a.Header().Get("Access-Control-Allow-Origin") != "https://console.test" || a.Header().Get("Access-Control-Allow-Credentials") != "true" || a.Header().Get("Vary") != "Origin" {
		t.Errorf("got %d %v", a.Code, a.Header())
	}
}

// TestPanicAfterHalfAnAnswer breaks the connection: half an answer must not
// look whole.
func TestPanicAfterHalfAnAnswer(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := httptest.NewServer(door(&log).Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("x", 10000)))
		panic("late")
	})))
	defer s.Close()
	r, err := http.Get(s.URL)
	if err == nil {
		_, err = new(bytes.Buffer).ReadFrom(r.Body)
		r.Body.Close()
	}
	if err == nil {
		t.Error("the answer came whole")
	}
}

func TestAnAbortedAnswerIsNoFault(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := door(&log).Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	func() {
		defer func() {
			if err, ok := recover().(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				t.Error("the abort was swallowed")
			}
		}()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
	}()
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("logged as a fault: %s", &log)
	}
}

// TestAnObserverIsToldOfEveryAnswerOnce, also of one that was broken off; another
// one that it is put around, in between and in its context.
func TestAnObserverIsToldOfEveryAnswerOnce(t *testing.T) {
	t.Parallel()
	type mark struct{}
	for name, c := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"an answer":            {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, "GET 418"},
		"nothing said":         {func(http.ResponseWriter, *http.Request) {}, "GET 200"},
		"a panic":              {func(http.ResponseWriter, *http.Request) { panic("x") }, "GET 500"},
		"half an answer":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")); panic("x") }, "GET 200"},
		"broken off before it": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "GET 0"},
	} {
		var told []string
		observer := func(who string) edge.Observer {
			return func(r *http.Request, trusted bool) (context.Context, func(method, route string, status int)) {
				before, _ := r.Context().Value(mark{}).(string)
				told = append(told, fmt.Sprint(who, " in ", before, trusted))
				return context.WithValue(r.Context(), mark{}, who), func(method, _ string, status int) { told = append(told, fmt.Sprint(who, " ", method, " ", status)) }
			}
		}
		d := door(new(bytes.Buffer), "192.0.2.0/24")
		d.Begin = edge.Observer(nil).Around(observer("outer")).Around(observer("inner")).Around(nil)
		h := d.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			told = append(told, "served in "+r.Context().Value(mark{}).(string))
			c.serve(w, r)
		}))
		func() {
			defer func() { _ = recover() }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/x", nil))
		}()
		if got, want := strings.Join(told, ", "), "outer in true, inner in outertrue, served in inner, inner "+c.want+", outer "+c.want; got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}

// A panic's stack names functions and places, and nothing of what they were
// given.
func TestAPanicShowsNothingOfTheRequest(t *testing.T) {
	t.Parallel()
	const token = "kbt_0123456789abcdefghijklmnopqrstuvwxyz"
	var log bytes.Buffer
	h := door(&log).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		tenth(r.URL.Query().Get("token"), body, []string{r.Header.Get("Authorization")})
	}))
	r := httptest.NewRequest("POST", "/join/"+token+"?token="+token, strings.NewReader(token))
	r.Header.Set("Authorization", "Bearer "+token)
	a := httptest.NewRecorder()
	h.ServeHTTP(a, r)
	if a.Code != http.StatusInternalServerError || !strings.Contains(log.String(), "index out of range") || !strings.Contains(log.String(), "tenth") {
		t.Fatalf("%d, log: %s", a.Code, &log)
	}
	for _, where := range []string{log.String(), a.Body.String(), fmt.Sprint(a.Header())} {
		if strings.Contains(where, token[4:16]) || strings.Contains(where, fmt.Sprintf("%x", token[4:16])) {
			t.Errorf("it shows the token: %s", where)
		}
	}
}

//go:noinline
func tenth(token string, body []byte, list []string) string { return token + string(body) + list[9] }

// TestTheLogNamesNoPath: paths and queries hold tokens.
func TestTheLogNamesNoPath(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := door(&log).Middleware(http.NotFoundHandler())
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/join/kbt_secret?token=kbt_secret", nil))
	if strings.Contains(log.String(), "kbt_secret") || !strings.Contains(log.String(), "status=404") {
		t.Errorf("log: %s", &log)
	}
}

// TestRequestIDs: only a proxy may name requests, so that nobody can write into
// the log under another request's name.
func TestRequestIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, peer, given string
		kept              bool
	}{
		{"FromAProxy", "10.0.0.9:1", "proxy-id-12345", true},
		{"FromAClient", "203.0.113.7:1", "client-id-12345", false},
		{"Malformed", "10.0.0.9:1", "a b\tc d e f g", false},
		{"TooLong", "10.0.0.9:1", strings.Repeat("a", 65), false},
		{"AJoinToken", "10.0.0.9:1", "kbt_" + strings.Repeat("a", 43), false},
		{"ASession", "10.0.0.9:1", "kbs_" + strings.Repeat("a", 43), false},
		{"AnAPIKeyWithMore", "10.0.0.9:1", "Bearer.kbk_" + strings.Repeat("a", 40), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			r := request(c.peer, "X-Request-Id", c.given)
			a := httptest.NewRecorder()
			door(&log, "10.0.0.0/8").Middleware(http.NotFoundHandler()).ServeHTTP(a, r)
			if got := a.Header().Get("X-Request-Id"); (got == c.given) != c.kept || got == "" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestOneIPv6NetworkIsOneClient: whoever has an IPv6 connection has 2^64
// addresses.
func TestOneIPv6NetworkIsOneClient(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	for _, peer := range []string{"[2001:db8:0:1::1]:1", "[2001:db8:0:1:ffff::2]:1", "[2001:db8:0:2::1]:1", "203.0.113.7:1", "203.0.113.8:1"} {
		var log bytes.Buffer
		door(&log).Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			keys[edge.ClientKey(r.Context())] = true
			if got, want := edge.Of(r.Context()).ClientIP(), netip.MustParseAddrPort(peer).Addr().String(); got != want {
				t.Errorf("the address itself is %s, want %s", got, want)
			}
		})).ServeHTTP(httptest.NewRecorder(), request(peer))
	}
	if len(keys) != 4 {
		t.Errorf("got %v, want 4 clients", keys)
	}
}
