package publish

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// says is a TCP server that says its name and hangs up.
func says(t *testing.T, name string) string {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, name)
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// heard is what a server says, or how it cannot be reached.
func heard(t *testing.T, address string) string {
	t.Helper()
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return "refused"
	}
	defer c.Close()
	text, _ := io.ReadAll(c)
	return string(text)
}

func board(t *testing.T) *Board {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := NewBoard(ctx)
	t.Cleanup(b.Wait)
	t.Cleanup(cancel)
	return b
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l := listen(t)
	defer l.Close()
	return l.Addr().String()
}

func to(address string) Backend { return func() string { return address } }

func TestABoardHasTheListenersThatAreWanted(t *testing.T) {
	t.Parallel()
	b, address := board(t), freeAddress(t)
	set := func(wanted map[string]Backend) {
		t.Helper()
		if err := b.Set("owner", wanted); err != nil {
			t.Fatal(err)
		}
	}
	set(map[string]Backend{address: to(says(t, "one"))})
	if got := heard(t, address); got != "one" {
		t.Errorf("heard %q", got)
	}
	set(map[string]Backend{address: to(says(t, "two"))})
	if got := heard(t, address); got != "two" {
		t.Errorf("heard %q after the backend changed", got)
	}
	set(map[string]Backend{address: to("")})
	if got := heard(t, address); got != "" {
		t.Errorf("heard %q from nobody", got)
	}
	set(nil)
	if got := heard(t, address); got != "refused" {
		t.Errorf("heard %q after the listener was taken away", got)
	}
	if len(b.Owners()) != 0 {
		t.Errorf("owners %v", b.Owners())
	}
}

func TestATakenAddressIsToldAndTheOthersAreServed(t *testing.T) {
	t.Parallel()
	b, taken, address := board(t), listen(t).Addr().String(), freeAddress(t)
	one := to(says(t, "one"))
	err := b.Set("owner", map[string]Backend{taken: one, address: one})
	if err == nil || !strings.Contains(err.Error(), taken) {
		t.Errorf("said %v", err)
	}
	if got := heard(t, address); got != "one" {
		t.Errorf("heard %q", got)
	}
}

func TestTLSGoesWhereItsNameIs(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	t.Cleanup(server.Close)
	names, l := NewNames(), listen(t)
	names.Set("a", map[string]Backend{"Example.com": to(server.Listener.Addr().String())})
	names.Set("b", map[string]Backend{"example.com": to(says(t, "a thief"))})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { defer close(served); names.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); <-served })

	ask := func(name string) error {
		config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone() //nolint:forcetypeassert // httptest's
		config.ServerName = name
		c, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			return err
		}
		return c.Close()
	}
	if err := ask("example.com"); err != nil {
		t.Errorf("the server's own certificate did not come through: %v", err)
	}
	if err := ask("other.example.com"); err == nil {
		t.Error("a name that nobody has is served")
	}
	names.Set("a", nil)
	if err := ask("example.com"); err == nil {
		t.Error("a name that was taken away is served")
	}
	if got := heardAfter(t, l.Addr().String(), "GET / HTTP/1.1\r\n\r\n"); got != "" {
		t.Errorf("what is not TLS is answered with %q", got)
	}
}

func heardAfter(t *testing.T, address, text string) string {
	t.Helper()
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, text)
	answer, _ := io.ReadAll(c)
	return string(answer)
}
