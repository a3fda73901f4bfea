package main_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// site is where servers and workers of one installation run.
type site struct {
	t           testing.TB
	environment []string
}

// newSite has a database of its own, a part of the broker, and a host Kubernetes
// that does not answer. Settings that come later win.
func newSite(t testing.TB, settings ...string) *site {
	t.Helper()
	s := &site{t: t, environment: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}}
	s.set("KUBEBYON_SECRET_KEY", newKey())
	s.set("KUBEBYON_KUBECONFIG_PATH", absentHost(t))
	s.set("KUBEBYON_LOG_LEVEL", "debug")
	for _, line := range settings {
		name, value, _ := strings.Cut(line, "=")
		s.set(name, value)
	}
	return s
}

func (s *site) set(name, value string) { s.environment = append(s.environment, name+"="+value) }

func newKey() string {
	var key [32]byte
	_, _ = rand.Read(key[:])
	return base64.StdEncoding.EncodeToString(key[:])
}

// absentHost is the kubeconfig of a cluster where nobody listens.
func absentHost(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "host.kubeconfig")
	write(t, file, `{"apiVersion":"v1","kind":"Config","current-context":"a",
"clusters":[{"name":"a","cluster":{"server":"https://127.0.0.1:1"}}],
"contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],
"users":[{"name":"a","user":{"token":"x"}}]}`)
	return file
}

// run starts a program in the site's environment and waits for nothing.
func (s *site) run(program string, arguments ...string) *server {
	s.t.Helper()
	p := &server{log: new(tailBuffer), exited: make(chan error, 1)}
	p.cmd = exec.CommandContext(context.Background(), program, arguments...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = s.environment, p.log, p.log
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	s.t.Cleanup(func() { p.stop(s.t) })
	return p
}

// serve starts a server of the site.
func (s *site) serve(flags ...string) *server {
	s.t.Helper()
	addr := freeAddress(s.t)
	p := s.run(program, append([]string{"serve", "--http-addr", addr}, flags...)...)
	p.addr, p.url = addr, "http://"+addr
	return p
}

// work starts a worker of the site.
func (s *site) work(flags ...string) *server {
	s.t.Helper()
	addr := freeAddress(s.t)
	p := s.run(workerProgram, append([]string{"--health-addr", addr}, flags...)...)
	p.addr, p.url = addr, "http://"+addr
	return p
}

// call runs a command of the program to its end.
func (s *site) call(stdin string, arguments ...string) (string, error) {
	cmd := exec.CommandContext(s.t.Context(), program, arguments...)
	cmd.Env, cmd.Stdin = s.environment, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// answer is what a server says to one request.
type answer struct {
	status int
	header http.Header
	body   object
}

func (s *server) get(path string) (a answer, err error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(context.Background(), "GET", s.url+path, nil)
	if err != nil {
		return a, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a = answer{status: resp.StatusCode, header: resp.Header, body: object{}}
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, &a.body)
	}
	return a, err
}

// await asks until the answer is good.
func (s *server) await(t testing.TB, path, what string, good func(answer) bool) answer {
	t.Helper()
	var last answer
	var err error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last, err = s.get(path); err == nil && good(last) {
			return last
		}
	}
	t.Fatalf("GET %s is not %s: %d %v %v\nthe log:\n%s", path, what, last.status, last.body, err, s.log.tail())
	return last
}

// awaitLog waits until the log has a text in it.
func (s *server) awaitLog(t testing.TB, want string) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !strings.Contains(s.log.tail(), want); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("the log never says %q:\n%s", want, s.log.tail())
		}
	}
}

func (s *server) awaitCheck(t testing.TB, name, want string) answer {
	t.Helper()
	return s.await(t, "/readyz", name+" "+want, func(a answer) bool {
		checks, _ := a.body["checks"].(object)
		return checks[name] == want
	})
}

// gate is the only way to a service. It is shut first.
type gate struct {
	t      testing.TB
	addr   string                                   // where the gate is
	target string                                   // what is behind it
	enter  func(to io.Writer, from io.Reader) error // passes on how a client begins; nil: as it is

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]bool
	wg       sync.WaitGroup
}

// newGate puts a gate before the host of a URL and returns the URL that leads
// through it.
func newGate(t testing.TB, text string) (*gate, string) {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, addr: freeAddress(t), target: u.Host, open: map[net.Conn]bool{}}
	u.Host = g.addr
	t.Cleanup(g.shut)
	return g, u.String()
}

func (g *gate) unlock() {
	g.t.Helper()
	l, err := new(net.ListenConfig).Listen(g.t.Context(), "tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.listener = l
	g.mu.Unlock()
	g.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.wg.Go(func() { g.pass(c) })
		}
	})
}

func (g *gate) pass(c net.Conn) {
	to, err := new(net.Dialer).DialContext(context.Background(), "tcp", g.target)
	if err != nil {
		_ = c.Close()
		return
	}
	g.mu.Lock()
	if g.listener == nil {
		_, _ = c.Close(), to.Close()
	}
	g.open[c], g.open[to] = true, true
	g.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(c, to); _ = c.Close() })
	both.Go(func() {
		defer to.Close()
		if g.enter != nil && g.enter(to, c) != nil {
			return
		}
		_, _ = io.Copy(to, c)
	})
	both.Wait()
}

// shut ends what goes through the gate and lets nothing in.
func (g *gate) shut() {
	g.mu.Lock()
	if g.listener != nil {
		_ = g.listener.Close()
		g.listener = nil
	}
	for c := range g.open {
		_ = c.Close()
	}
	clear(g.open)
	g.mu.Unlock()
	g.wg.Wait()
}

// requireBroker returns the address of RabbitMQ, and a prefix of the test's own
// for what it keeps there.
func requireBroker(t testing.TB) (text, prefix string) {
	t.Helper()
	text = os.Getenv("KUBEBYON_TEST_AMQP_URL")
	if text == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("no RabbitMQ: set KUBEBYON_TEST_AMQP_URL, or run make test")
		}
		t.Skip("no RabbitMQ: set KUBEBYON_TEST_AMQP_URL")
	}
	prefix = "kubebyon-test-" + strings.ToLower(rand.Text()[:10])
	t.Cleanup(func() { removeQueues(t, text, prefix) })
	return text, prefix
}

// removeQueues removes what servers and workers leave in the broker.
func removeQueues(t testing.TB, text, prefix string) {
	t.Helper()
	c, err := amqp.Dial(text)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for _, name := range []string{".dead", ".retry.1s", ".retry.5s", ".retry.30s", ".group.cluster.job.v1/workers", ""} {
		ch, err := c.Channel() // a refused deletion ends it
		if err != nil {
			t.Error(err)
			return
		}
		_, errQueue := ch.QueueDelete(prefix+name, false, false, false)
		errExchange := ch.ExchangeDelete(prefix+name, false, false)
		if errQueue != nil || errExchange != nil {
			t.Errorf("%s: %v %v", name, errQueue, errExchange)
		}
	}
}
