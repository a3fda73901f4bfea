package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
)

// soon is how long anything in these tests may take; what a test waits for
// comes long before.
const soon = 20 * time.Second

// listen serves h on a real socket.
func listen(t *testing.T, h http.Handler, limits httpapi.Limits) (addr string) {
	t.Helper()
	server := httpapi.NewServer(h, slog.New(slog.DiscardHandler), limits)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		select {
		case err := <-ended:
			if !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		case <-time.After(soon):
			t.Error("the server does not stop")
		}
	})
	return l.Addr().String()
}

// line is a client's end of a connection.
type line struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

func dial(t testing.TB, addr string) *line {
	t.Helper()
	return dialFrom(t, addr, "127.0.0.1")
}

func dialFrom(t testing.TB, addr, from string) *line {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(soon))
	return &line{c, t, bufio.NewReader(c)}
}

func (l *line) say(text string) *line {
	_, _ = io.WriteString(l, text) // where the server has had enough, its answer tells
	return l
}

// hear returns the next answer, whole.
func (l *line) hear() (*http.Response, string, error) {
	r, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(r.Body)
	return r, string(body), err
}

// ends reports that the server closes the connection without another word.
func (l *line) ends() bool {
	_, err := l.in.ReadByte()
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func (l *line) get(path string) int {
	l.t.Helper()
	r, body, err := l.say("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n").hear()
	if err != nil {
		l.t.Fatalf("GET %s: %v %s", path, err, body)
	}
	return r.StatusCode
}

// TestWhatIsNoRequestIsAnsweredLikeAnyOther: with a problem and all headers,
// also where net/http answers before a handler can.
func TestWhatIsNoRequestIsAnsweredLikeAnyOther(t *testing.T) {
	t.Parallel()
	addr := listen(t, newWorld(t).server, httpapi.Limits{})
	const healthz = "GET /healthz HTTP/1.1\r\nHost: x\r\n"
	for sent, want := range map[string]int{
		"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n":                                                      400,
		"GET / HTTP/1.1\r\n\r\n":                                                                    400,
		"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n":                                       400,
		"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n":                                                400,
		"GET /healthz HTTP/1.1\r\nHost: x/y\r\n\r\n":                                                400,
		"GET  HTTP/1.1\r\nHost: x\r\n\r\n":                                                          400,
		"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n":                                                      400,
		"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n":                                                      400,
		"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n":                                                     400,
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting\r\n\r\n":                       400,
		"rubbish\r\n\r\n":                                                                           400,
		"GET / HTTP/9.9\r\nHost: x\r\n\r\n":                                                         505,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":                                                          404,
		healthz + "X y: z\r\n\r\n":                                                                  400,
		healthz + "X : z\r\n\r\n":                                                                   400,
		healthz + "X\r\n\r\n":                                                                       400,
		healthz + "X: a\x00b\r\n\r\n":                                                               400,
		healthz + "X: a\r\n folded\r\n\r\n":                                                         200,
		healthz + "X: " + strings.Repeat("a", 40<<10) + "\r\n\r\n":                                  431,
		healthz + strings.Repeat("X: y\r\n", 8000) + "\r\n":                                         431,
		"GET /" + strings.Repeat("a", 40<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n":                      431,
		healthz + "Transfer-Encoding: gzip\r\n\r\n":                                                 501,
		healthz + "Transfer-Encoding: chunked, chunked\r\n\r\n":                                     501,
		healthz + "Content-Length: -1\r\n\r\n":                                                      400,
		healthz + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n":                                  400,
		healthz + "Content-Length: 99999999999999999999\r\n\r\n":                                    400,
		healthz + "Expect: a miracle\r\n\r\n":                                                       417,
		healthz + "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: \r\n\r\n": 200,
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n":                                                     404,
		"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n":                                             404,
		"GET http://x/healthz HTTP/1.1\r\nHost: y\r\n\r\n":                                          200,
		"GET gopher://x HTTP/1.1\r\nHost: y\r\n\r\n":                                                404,
		"GET healthz HTTP/1.1\r\nHost: y\r\n\r\n":                                                   400,
		"GET //healthz HTTP/1.1\r\nHost: x\r\n\r\n":                                                 404,
		"GET /healthz HTTP/1.0\r\n\r\n":                                                             200,
		"GET /healthz HTTP/1.1\nHost: x\n\n":                                                        200,
		"\r\n" + healthz + "\r\n":                                                                   400,
		"FROB /healthz HTTP/1.1\r\nHost: x\r\n\r\n":                                                 405,
		"get /healthz HTTP/1.1\r\nHost: x\r\n\r\n":                                                  405,
	} {
		r, body, err := dial(t, addr).say(sent).hear()
		if err != nil {
			t.Errorf("%.60q: %v", sent, err)
			continue
		}
		a := answer{t: t, what: fmt.Sprintf("%.60q", sent)}
		if r.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", a.what, r.StatusCode, body, want)
		}
		for _, name := range []string{"X-Content-Type-Options", "Referrer-Policy", "X-Frame-Options", "X-Request-Id", "Cache-Control"} {
			if r.Header.Get(name) == "" {
				t.Errorf("%s: no %s", a.what, name)
			}
		}
		var p struct{ Type, Title, Detail, Instance, Code string }
		if err := json.Unmarshal([]byte(body), &p); r.StatusCode >= 400 &&
			(err != nil || r.Header.Get("Content-Type") != "application/problem+json" || slices.Contains([]string{p.Type, p.Title, p.Detail, p.Code}, "") || !strings.HasSuffix(p.Instance, r.Header.Get("X-Request-Id"))) {
			t.Errorf("%s: %v is no problem: %s", a.what, r.Header, body)
		}
	}
}

// TestMendLeavesWhatAHandlerWrites as it is, even where it looks like an answer
// of net/http; and what comes after it on the connection is mended again.
func TestMendLeavesWhatAHandlerWrites(t *testing.T) {
	t.Parallel()
	const begins = "HTTP/1.1 400 Bad Request\r\n\r\n"
	want := begins + strings.Repeat("x", 64<<10)
	addr := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(want)))
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, want)
	}), httpapi.Limits{})
	l := dial(t, addr)
	for range 2 {
		if _, body, err := l.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").hear(); err != nil || body != want {
			t.Fatalf("%v: %d bytes, %.100q", err, len(body), body)
		}
	}
	r, body, err := l.say("rubbish\r\n\r\n").hear()
	if err != nil || r.StatusCode != 400 || r.Header.Get("X-Request-Id") == "" {
		t.Errorf("%v %v %s", err, r, body)
	}
}

// TestRequestsOneAfterTheOther on one connection each get their answer, and a
// body that is longer than it was said to be is the next request's beginning.
func TestRequestsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	addr := listen(t, newWorld(t).server, httpapi.Limits{})
	l := dial(t, addr).say(strings.Repeat("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 20))
	for n := range 20 {
		if r, body, err := l.hear(); err != nil || r.StatusCode != 200 {
			t.Fatalf("answer %d: %v %s", n, err, body)
		}
	}
	l.say("POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}} and more\r\n\r\n")
	for _, want := range []int{400, 400} {
		r, body, err := l.hear()
		if err != nil || r.StatusCode != want {
			t.Fatalf("%v %v %s, want %d", r, err, body, want)
		}
	}
	if !l.ends() {
		t.Error("the connection goes on after what is no request")
	}
}

// TestSlowClientsAreCutOff: who sends a byte now and then, or reads none.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	limits := httpapi.Limits{Header: 300 * time.Millisecond, Read: 600 * time.Millisecond, Write: 1200 * time.Millisecond, Idle: 300 * time.Millisecond}
	wrote := make(chan error, 1)
	w := newWorld(t)
	addr := listen(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/much" {
			w.server.ServeHTTP(rw, r)
			return
		}
		_, err := io.Copy(rw, io.LimitReader(endless{}, 1<<30))
		wrote <- err
	}), limits)
	for name, c := range map[string]struct{ at, drip, answer string }{
		"NothingAtAll":   {"", "", ""},
		"RequestLine":    {"G", "E", ""},
		"Header":         {"GET /healthz HTTP/1.1\r\nHost: x\r\n", "X", ""},
		"HeaderLines":    {"GET /healthz HTTP/1.1\r\nHost: x\r\n", "X: y\r\n", ""},
		"Body":           {"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", " ", "408"},
		"Chunks":         {"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", "408"},
		"BodyNoOneReads": {"POST /api/auth/logout HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", " ", "204"},
		"KeepAlive":      {"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			l := dial(t, addr).say(c.at)
			go func() {
				for c.drip != "" {
					time.Sleep(20 * time.Millisecond)
					if _, err := io.WriteString(l, c.drip); err != nil {
						return
					}
				}
			}()
			said, err := io.ReadAll(l.in)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection is still open")
			}
			status, _, _ := strings.Cut(strings.TrimPrefix(string(said), "HTTP/1.1 "), " ")
			if status != c.answer && (status != "400" || c.answer != "") { // half a header may be called malformed
				t.Errorf("got %.100q, want %q", said, c.answer)
			}
			t.Logf("cut off after %s", time.Since(began).Round(time.Millisecond))
		})
	}
	t.Run("Reader", func(t *testing.T) {
		t.Parallel()
		dial(t, addr).say("GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
		select {
		case err := <-wrote:
			if err == nil {
				t.Error("a gigabyte went to somebody who reads nothing")
			}
		case <-time.After(soon):
			t.Error("the answer still goes out to somebody who reads nothing")
		}
	})
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestAThousandIdleConnections cost little, and nobody notices them. It runs
// alone, so that the memory is its own.
func TestAThousandIdleConnections(t *testing.T) { //nolint:paralleltest // it measures
	const many, perConnection, patience = 1000, 64 << 10, 5 * time.Second
	addr := listen(t, newWorld(t).server, httpapi.Limits{})
	before := inUse()
	lines := make([]*line, many)
	for i := range lines {
		lines[i] = dial(t, addr)
		if i%2 == 0 { // the others have never said a word
			if got := lines[i].get("/healthz"); got != 200 {
				t.Fatalf("connection %d: %d", i, got)
			}
		}
	}
	grown := inUse() - before
	var slowest time.Duration
	for range 50 {
		began := time.Now()
		if got := dialFrom(t, addr, "127.0.0.2").get("/healthz"); got != 200 {
			t.Fatal(got)
		}
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("%d idle connections take %d KiB each, both ends together; the slowest of 50 answers beside them took %s", many, grown/many>>10, slowest)
	if grown > many*perConnection {
		t.Errorf("%d connections take %d bytes", many, grown)
	}
	if slowest > patience {
		t.Errorf("an answer took %s", slowest)
	}
	for i, l := range lines {
		if i%100 < 2 && l.get("/healthz") != 200 {
			t.Errorf("connection %d does not serve any more", i)
		}
	}
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// held is a handler whose answers wait.
type held struct {
	entered chan struct{}
	release chan struct{}
}

func (h held) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/held" {
		h.entered <- struct{}{}
		<-h.release
	}
}

func hold(t *testing.T, limits httpapi.Limits) (h held, addr string, release func()) {
	t.Helper()
	h = held{make(chan struct{}, 100), make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() { close(h.release) })
	t.Cleanup(cancel) // after the server has been closed
	return h, listen(t, h, limits), cancel
}

// TestTheLongestIdleMakesRoom: at the limit, a newcomer is served at once.
func TestTheLongestIdleMakesRoom(t *testing.T) {
	t.Parallel()
	_, addr, _ := hold(t, httpapi.Limits{Connections: 4, PerClient: 4})
	var lines []*line
	for range 4 {
		lines = append(lines, dial(t, addr))
		lines[len(lines)-1].get("/")
	}
	lines[0].get("/") // now the second has been idle longest
	for _, gone := range []int{1, 2, 3, 0} {
		if got := dialFrom(t, addr, "127.0.0.2").get("/"); got != 200 {
			t.Fatal(got)
		}
		if !lines[gone].ends() {
			t.Errorf("connection %d was to make room", gone)
		}
	}
}

// TestWithoutRoomANewcomerWaits, and is served when somebody leaves.
func TestWithoutRoomANewcomerWaits(t *testing.T) {
	t.Parallel()
	h, addr, release := hold(t, httpapi.Limits{Connections: 2, PerClient: 2})
	for range 2 {
		dial(t, addr).say("GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
		<-h.entered
	}
	late := dialFrom(t, addr, "127.0.0.2").say("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = late.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, _, err := late.hear(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the third of two was not made to wait: %v", err)
	}
	_ = late.SetReadDeadline(time.Now().Add(soon))
	release()
	if r, _, err := late.hear(); err != nil || r.StatusCode != 200 {
		t.Errorf("it was not served in the end: %v", err)
	}
}

// TestOneClientCannotTakeAllConnections; a proxy stands for many.
func TestOneClientCannotTakeAllConnections(t *testing.T) {
	t.Parallel()
	h, addr, _ := hold(t, httpapi.Limits{Connections: 6, PerClient: 2, Proxies: prefixes("127.0.0.9/32")})
	busy := func(from string) {
		dialFrom(t, addr, from).say("GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
		<-h.entered
	}
	busy("127.0.0.1")
	idle := dial(t, addr)
	idle.get("/")
	if got := dial(t, addr).get("/"); got != 200 {
		t.Error(got)
	}
	if !idle.ends() {
		t.Error("the client's own idle connection was to make room")
	}
	busy("127.0.0.3")
	busy("127.0.0.3")
	if l := dialFrom(t, addr, "127.0.0.3"); !l.ends() {
		t.Error("the third busy connection of a client that may have two is open")
	}
	for range 2 {
		busy("127.0.0.9")
	}
	if got := dialFrom(t, addr, "127.0.0.9").get("/"); got != 200 {
		t.Error(got)
	}
}

// TestStoppingWaitsForNobodyWhoWaits: a server that is full stops all the same.
func TestStoppingWaitsForNobodyWhoWaits(t *testing.T) {
	t.Parallel()
	h, addr, _ := hold(t, httpapi.Limits{Connections: 1})
	dial(t, addr).say("GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
	<-h.entered
	late := dialFrom(t, addr, "127.0.0.2")
	_ = late.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // it is waiting by then, or else nothing is tested
	_, _ = late.in.ReadByte()
}
