package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

func TestAnAnswerIsReadUpToItsLimit(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, strings.Repeat("a", len(r.URL.RawQuery)))
	}))
	defer s.Close()
	c := New(Config{Admit: loopbacks, MaxAnswer: 10})
	for size, want := range map[int]string{0: "", 9: "", 10: "", 11: "answer_too_large", 5000: "answer_too_large"} {
		resp, err := c.Do(get(t, t.Context(), s.URL+"/?"+strings.Repeat("q", size)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if len(got) != min(size, 10) || (err == nil) != (want == "") || err != nil && fault.CodeOf(err) != want {
			t.Errorf("of %d bytes, %d were read: %v", size, len(got), err)
		}
	}
}

// TestNothingTakesLongerThanItMay: servers that say nothing, a little at a
// time, or too much.
func TestNothingTakesLongerThanItMay(t *testing.T) {
	t.Parallel()
	for name, serve := range map[string]func(net.Conn){
		"silence":        func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"endless header": func(conn net.Conn) { drip(conn, "HTTP/1.1 200 OK\r\n", "X-A: b\r\n") },
		"endless body":   func(conn net.Conn) { drip(conn, "HTTP/1.1 200 OK\r\n\r\n", "a") },
		"endless 1xx":    func(conn net.Conn) { drip(conn, "", "HTTP/1.1 103 Early Hints\r\n\r\n") },
		"closed":         func(net.Conn) {},
		"broken":         func(conn net.Conn) { _, _ = io.WriteString(conn, "220 mail ready\r\n") },
		"large header": func(conn net.Conn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("b", 2*maxHeader)+"\r\n\r\n")
		},
		"short body": func(conn net.Conn) { _, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := raw(t, serve)
			c := New(Config{Admit: loopbacks, Timeout: 300 * time.Millisecond})
			start := time.Now()
			resp, err := c.Do(get(t, t.Context(), url))
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Kind != fault.Unavailable || f.Code != "address_unreachable" || strings.Contains(err.Error(), "secret-path") {
				t.Errorf("got %v", err)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestTheCallersContextEndsARequest(t *testing.T) {
	t.Parallel()
	url := raw(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := New(Config{Admit: loopbacks, Timeout: time.Minute}).Do(get(t, ctx, url))
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	cancel()
	_, err = New(Config{Admit: loopbacks}).Do(get(t, ctx, url))
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}

// TestNoErrorHoldsTheURL: a webhook's URL is its password.
func TestNoErrorHoldsTheURL(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(nil)
	closed.Close()
	c := New(Config{Admit: loopbacks})
	for _, url := range []string{
		closed.URL + "/secret-path", "http://127.0.0.1:22/secret-path", "http://10.0.0.1/secret-path", "ftp://example.com/secret-path", "http://u:secret-path@example.com/",
	} {
		_, err := c.Do(get(t, t.Context(), url))
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "secret-path") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestTheCertificateIsChecked(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(nil)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	_, err := New(Config{Admit: loopbacks}).Do(get(t, t.Context(), s.URL))
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	roots := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	resp, err := New(Config{Admit: loopbacks, Roots: roots}).Do(get(t, t.Context(), s.URL))
	if err != nil {
		t.Fatalf("with its authority: %v", err)
	}
	resp.Body.Close()
}

func get(t *testing.T, ctx context.Context, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// raw serves connections byte by byte, after a request has begun.
func raw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 4096))
				serve(conn)
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/secret-path"
}

func drip(conn net.Conn, first, again string) {
	_, err := io.WriteString(conn, first)
	for err == nil {
		time.Sleep(20 * time.Millisecond)
		_, err = io.WriteString(conn, again)
	}
}
