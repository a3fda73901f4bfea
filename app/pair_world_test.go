package app_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to make schemas with
	"go.uber.org/fx"

	"github.com/kubebyon/kubebyon/adapters/bunstore"
	"github.com/kubebyon/kubebyon/adapters/gobus"
	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// site is one PostgreSQL database with control planes and machines, and the
// servers that share them.
type site struct {
	t       *testing.T
	url     string
	planes  *workload
	tenants *memtenant.Connector
	watched *watchers
	servers []*server
}

// server is one process of a site, with a pool of its own.
type server struct {
	*app.App
	name  string
	store *mortal
	http  *httptest.Server
}

const sitePassword = "correct horse battery"

// newSite has an empty database. The settings go to every connection.
func newSite(t *testing.T, settings ...string) *site {
	t.Helper()
	planes := memprovision.New(memprovision.Config{})
	planes.PlayAll(memprovision.Script{Takes: 20 * time.Millisecond})
	return &site{
		t: t, url: emptySchema(t, settings), planes: &workload{Provisioner: planes, at: map[id.Cluster]int{}, takes: 2 * time.Millisecond},
		tenants: memtenant.New(), watched: &watchers{now: map[id.Cluster]map[string]int{}},
	}
}

// emptySchema makes a schema of its own in the test database.
func emptySchema(t testing.TB, settings []string) string {
	t.Helper()
	base := os.Getenv("KUBEBYON_TEST_DATABASE_URL")
	if base == "" {
		base = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"
	}
	db, err := sql.Open("pgx", base)
	if err == nil {
		err = db.PingContext(t.Context())
	}
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("kubebyon_test_%d_%s", time.Now().Unix(), strings.ToLower(rand.Text()[:10]))
	if _, err := db.ExecContext(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.WithoutCancel(t.Context()), "DROP SCHEMA "+name+" CASCADE"); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("search_path", name)
	q.Set("synchronous_commit", "off")
	for _, s := range settings {
		k, v, _ := strings.Cut(s, "=")
		q.Set(k, v)
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // not every reader takes a plus for a space
	return u.String()
}

// build makes a process that has not started.
func (s *site) build(name string, key byte, change ...func(*app.Config)) *server {
	s.t.Helper()
	conf := app.Config{
		Name: name, MaxClustersPerUser: 5, FirstAdmin: app.FirstAdmin{Password: secret.New(sitePassword)},
		HTTP: httpapi.Config{AuthLimit: httpapi.Limit{Window: time.Second, Burst: 100, MaxEntries: 100}},
	}
	for _, c := range change {
		c(&conf)
	}
	out := &server{name: name, store: new(mortal)}
	a, err := app.New(conf,
		fx.Supply(bunstore.Config{URL: s.url, MaxConns: 5}), bunstore.Module, gobus.Module,
		app.Wrap(func(inner store.Store) store.Store { out.store.Store = inner; return out.store }),
		app.Use[provision.Provisioner](s.planes), app.Use[provision.Catalog](s.planes),
		app.Use[tenant.Connector](counted{s.tenants, s.watched, name}),
		app.Use[seal.Sealer](keyseal.New([32]byte{key})), app.Use[passwords.Hasher](plainHasher{}), outsiders(s.t),
	)
	if err != nil {
		s.t.Fatal(err)
	}
	out.App = a
	out.http = httptest.NewServer(a.Handler)
	s.t.Cleanup(func() { out.http.Close(); stop(s.t, a) })
	return out
}

// start runs a server until the test ends.
func (s *site) start(name string) *server {
	s.t.Helper()
	out := s.build(name, 1)
	if err := out.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.servers = append(s.servers, out)
	return out
}

// migrate makes the tables, for which servers that start would else wait for
// each other.
func (s *site) migrate() {
	s.t.Helper()
	db, err := bunstore.Open(s.t.Context(), bunstore.Config{URL: s.url, MaxConns: 2})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(db.Migrate(s.t.Context()), db.Close()); err != nil {
		s.t.Fatal(err)
	}
}

// plainHasher keeps passwords as they are: these tests are about who is faster,
// and not about hashing.
type plainHasher struct{}

func (plainHasher) Hash(_ context.Context, p secret.Text) (string, error) { return p.Reveal(), nil }

func (plainHasher) Matches(_ context.Context, hash string, p secret.Text) (ok, outdated bool, err error) {
	return hash != "" && hash == p.Reveal(), false, nil
}

// mortal is a store that its process can lose for good.
type mortal struct {
	store.Store
	dead atomic.Bool
}

func (m *mortal) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if m.dead.Load() {
		return errAway
	}
	return m.Store.InTx(ctx, do)
}

func (m *mortal) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if m.dead.Load() {
		return errAway
	}
	return m.Store.View(ctx, do)
}

// workload sees that no two workers are at one control plane.
type workload struct {
	*memprovision.Provisioner
	mu       sync.Mutex
	at       map[id.Cluster]int
	applied  int
	takes    time.Duration
	together int // times that somebody came to a control plane that another was at
}

func (w *workload) enter(c id.Cluster) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied++
	if w.at[c]++; w.at[c] > 1 {
		w.together++
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.at[c]--
	}
}

func (w *workload) Apply(ctx context.Context, want provision.Want) error {
	defer w.enter(want.ID)()
	time.Sleep(w.takes) // long enough to meet somebody
	return w.Provisioner.Apply(ctx, want)
}

func (w *workload) Destroy(ctx context.Context, c id.Cluster) error {
	defer w.enter(c)()
	return w.Provisioner.Destroy(ctx, c)
}

func (w *workload) counts() (applied, together int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.applied, w.together
}

// watchers knows which server watches which cluster.
type watchers struct {
	mu  sync.Mutex
	now map[id.Cluster]map[string]int
}

func (w *watchers) add(c id.Cluster, server string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now[c] == nil {
		w.now[c] = map[string]int{}
	}
	if w.now[c][server] += n; w.now[c][server] == 0 {
		delete(w.now[c], server)
	}
}

// each says how many clusters each server watches, and how many have not
// exactly one watcher.
func (w *watchers) each() (byServer map[string]int, wrong int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	byServer = map[string]int{}
	for _, who := range w.now {
		total := 0
		for server, n := range who {
			byServer[server]++
			total += n
		}
		if total != 1 {
			wrong++
		}
	}
	return byServer, wrong
}

func (w *watchers) of(c id.Cluster) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(w.now[c])), " ")
}

type counted struct {
	*memtenant.Connector
	watched *watchers
	server  string
}

func (c counted) Connect(ctx context.Context, of id.Cluster, kubeconfig secret.Text) (tenant.Tenant, error) {
	in, err := c.Connector.Connect(ctx, of, kubeconfig)
	return countedTenant{in, c, of}, err
}

type countedTenant struct {
	tenant.Tenant
	by counted
	c  id.Cluster
}

func (t countedTenant) Watch(ctx context.Context, sink func(tenant.Change) error) error {
	t.by.watched.add(t.c, t.by.server, 1)
	defer t.by.watched.add(t.c, t.by.server, -1)
	return t.Tenant.Watch(ctx, sink)
}

// person uses a site's servers one after the other, with one set of cookies.
type person struct {
	s    *site
	http *http.Client
	next atomic.Int64

	mu      sync.Mutex
	answers map[string]int
}

func (s *site) person(email string) *person {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &person{s: s, http: &http.Client{Jar: jar, Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, answers: map[string]int{}}
	s.t.Cleanup(p.http.CloseIdleConnections)
	p.must(s.servers[0], "POST", "/api/auth/login", object{"email": email, "password": sitePassword}, http.StatusOK)
	return p
}

type object = map[string]any

// turn is the server that it is this request's turn to go to.
func (p *person) turn() *server { return p.s.servers[int(p.next.Add(1))%len(p.s.servers)] }

func (p *person) call(at *server, method, path string, body any, headers ...string) (int, object) {
	text, err := json.Marshal(body)
	if err != nil {
		p.s.t.Error(err)
	}
	if body == nil {
		text = nil
	}
	r, err := http.NewRequestWithContext(p.s.t.Context(), method, at.http.URL+path, bytes.NewReader(text))
	if err != nil {
		p.s.t.Error(err)
		return 0, nil
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := p.http.Do(r)
	if err != nil {
		p.s.t.Errorf("%s %s: %v", method, path, err)
		return 0, nil
	}
	defer resp.Body.Close()
	out := object{}
	_ = json.NewDecoder(resp.Body).Decode(&out)
	p.mu.Lock()
	defer p.mu.Unlock()
	kind, _, _ := strings.Cut(path, "_")
	p.answers[fmt.Sprintf("%s %s… %d %v", method, kind, resp.StatusCode, out["code"])]++
	if resp.StatusCode >= http.StatusInternalServerError && out["code"] != "store_busy" {
		p.s.t.Errorf("%s %s at %s: %d %v", method, path, at.name, resp.StatusCode, out)
	}
	return resp.StatusCode, out
}

func (p *person) must(at *server, method, path string, body any, want int) object {
	p.s.t.Helper()
	got, out := p.call(at, method, path, body)
	if got != want {
		p.s.t.Fatalf("%s %s at %s: %d, want %d: %v", method, path, at.name, got, want, out)
	}
	return out
}

// tally says what was answered how often.
func (p *person) tally() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p.answers)) {
		fmt.Fprintf(&b, "\n%5d %s", p.answers[k], k)
	}
	return b.String()
}

func (p *person) create(at *server, name string) string {
	p.s.t.Helper()
	return p.must(at, "POST", "/api/console/clusters", object{"name": name}, http.StatusCreated)["cluster"].(object)["id"].(string)
}

func (p *person) cluster(at *server, id string) object {
	p.s.t.Helper()
	c, _ := p.must(at, "GET", "/api/console/clusters/"+id, nil, http.StatusOK)["cluster"].(object)
	return c
}

// settled waits until a cluster is reachable and nothing is asked of it any more,
// and returns its history.
func (p *person) settled(cluster string) (operations, jobs []object) {
	p.s.t.Helper()
	eventually(p.s.t, time.Minute, "the cluster is settled", func() bool {
		h := p.must(p.turn(), "GET", "/api/console/clusters/"+cluster+"/operations?limit=100", nil, http.StatusOK)
		operations, jobs = objects(h["operations"]), objects(h["jobs"])
		for _, o := range append(slices.Clone(operations), jobs...) { // both: they are read one after the other
			if o["status"] == "pending" || o["status"] == "running" {
				return false
			}
		}
		return p.cluster(p.turn(), cluster)["connection_status"] == "reachable"
	})
	return operations, jobs
}

func objects(list any) (out []object) {
	items, _ := list.([]any)
	for _, i := range items {
		out = append(out, i.(object))
	}
	return out
}

// eventually waits for a condition and returns how long it took.
func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			t.Fatalf("after %v it is not so that %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

// atOnce calls do n times at one moment, and waits.
func atOnce(n int, do func(i int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() { <-begin; do(i) })
	}
	close(begin)
	wg.Wait()
}

func clusterID(t *testing.T, text string) id.Cluster {
	t.Helper()
	i, err := id.Parse[id.ClusterKind](text)
	if err != nil {
		t.Fatal(err)
	}
	return i
}
