package acceptance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	adminEmail    = "admin@acceptance.test"
	adminPassword = "correct horse battery staple"
)

// world is a whole installation: two servers and two workers, and what they
// stand on.
type world struct {
	t        testing.TB
	home     string
	postgres *postgres
	broker   *broker
	host     *host
	gates    struct{ postgres, broker, host *gate } // between the programs and the services
	servers  []*program
	workers  []*program
}

// program is one of ours.
type program struct {
	process
	url     string
	metrics string
}

// newWorld starts everything and waits until all of it answers.
func newWorld(t testing.TB, servers, workers int, hostFlags ...string) *world {
	t.Helper()
	home, at := commonDir(t), newPorts()
	w := &world{t: t, home: home, postgres: newPostgres(t, home, at), broker: newBroker(t, home, at), host: newHost(t, home, at, hostFlags...)}
	w.gates.postgres, w.gates.broker, w.gates.host = newGate(t, w.postgres.address()), newGate(t, w.broker.address()), newGate(t, w.host.address())
	w.broker.start(t) // it takes longest
	w.postgres.up(t)
	w.host.up(t)
	if err := await(t.Context(), time.Minute, func() error { return greets(t.Context(), w.broker.address()) }); err != nil {
		t.Fatalf("%v\n%s", err, w.broker.log)
	}
	kubeconfig := w.host.by(t, w.gates.host.addr)
	chart, err := filepath.Abs("../../testdata/charts/vcluster")
	if err != nil {
		t.Fatal(err)
	}
	for i := range servers + workers {
		port := at.take(t, 1)
		meter := at.take(t, 1)
		p := &program{url: fmt.Sprintf("http://127.0.0.1:%d", port), metrics: fmt.Sprintf("http://127.0.0.1:%d/metrics", meter)}
		p.process = process{name: fmt.Sprintf("server %d", i+1), path: programs.server, args: []string{"serve"}}
		if i >= servers {
			p.process = process{name: fmt.Sprintf("worker %d", i-servers+1), path: programs.worker}
		}
		p.env = append(ours(os.Environ()), "HOME="+home, "GORACE=halt_on_error=1",
			fmt.Sprintf("KUBEBYON_HTTP_ADDR=127.0.0.1:%d", port), fmt.Sprintf("KUBEBYON_HEALTH_ADDR=127.0.0.1:%d", port), fmt.Sprintf("KUBEBYON_METRICS_ADDR=127.0.0.1:%d", meter),
			"KUBEBYON_DATABASE_URL="+w.postgres.url(w.gates.postgres.addr),
			"KUBEBYON_AMQP_URL=amqp://guest:guest@"+w.gates.broker.addr+"/",
			"KUBEBYON_KUBECONFIG_PATH="+kubeconfig, "KUBEBYON_VCLUSTER_CHART="+chart,
			"KUBEBYON_SECRET_KEY="+strings.Repeat("a0", 32),
			"KUBEBYON_ADMIN_EMAIL="+adminEmail, "KUBEBYON_ADMIN_PASSWORD="+adminPassword,
			"KUBEBYON_AUTH_RATE_LIMIT_BURST=1000", "KUBEBYON_LOG_FORMAT=json", "KUBEBYON_JOB_LEASE_SECONDS=10",
		)
		if i < servers {
			w.servers = append(w.servers, p)
		} else {
			w.workers = append(w.workers, p)
		}
	}
	for _, p := range w.programs() {
		p.start(t)
	}
	for _, p := range w.programs() {
		w.must(w.ready(t.Context(), p, time.Minute))
	}
	return w
}

// ours is the environment without what could set a program's flags.
func ours(env []string) (out []string) {
	for _, v := range env {
		if !regexp.MustCompile(`^(KUBEBYON_|PG|KUBECONFIG=|HOME=|OTEL_)`).MatchString(v) {
			out = append(out, v)
		}
	}
	return out
}

func (w *world) programs() []*program {
	return append(append([]*program(nil), w.servers...), w.workers...)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.complaints())
	}
}

// complaints are what the programs have said last of what went wrong.
func (w *world) complaints() []byte {
	var out bytes.Buffer
	for _, p := range w.programs() {
		fmt.Fprintf(&out, "%s:\n%s", p.name, p.log.lines(15, `"level":"WARN"`, `"level":"ERROR"`, "panic:", "fatal error:"))
	}
	return out.Bytes()
}

// ready waits until a program says that it is.
func (w *world) ready(ctx context.Context, p *program, within time.Duration) error {
	web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return await(ctx, within, func() error {
		if err := p.ended(); err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, "GET", p.url+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := web.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s is not ready: %s", p.name, text)
		}
		return nil
	})
}

type object = map[string]any

// answer is one that arrived whole.
type answer struct {
	status int
	body   object
	text   string
}

func (a answer) want(status int) error {
	if a.status != status {
		return fmt.Errorf("the answer is %d, want %d: %s", a.status, status, a.text)
	}
	return nil
}

func (a answer) in(path ...string) string {
	text, _ := dig(a.body, path...).(string)
	return text
}

func (a answer) list(name string) (out []object) {
	all, _ := a.body[name].([]any)
	for _, o := range all {
		out = append(out, o.(object))
	}
	return out
}

func dig(o object, path ...string) any {
	for _, name := range path[:len(path)-1] {
		o, _ = o[name].(object)
	}
	return o[path[len(path)-1]]
}

// client is somebody who uses the API of any of the servers.
type client struct{ web *http.Client }

func newClient(t testing.TB) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// Without kept connections the transport repeats no request by itself.
	return &client{&http.Client{Jar: jar, Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (c *client) signIn(ctx context.Context, at string) error {
	a, err := c.send(ctx, "POST", at+"/api/auth/login", "", object{"email": adminEmail, "password": adminPassword})
	return errors.Join(err, a.want(http.StatusOK))
}

// send sends one request once.
func (c *client) send(ctx context.Context, method, url, key string, body any) (a answer, err error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return a, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return a, err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.web.Do(r)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	a = answer{status: resp.StatusCode, body: object{}, text: string(text)}
	_ = json.Unmarshal(text, &a.body) // what is no JSON has no fields
	return a, nil
}
