package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/adapters/smtpnotify"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/metering"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/core/overview"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

const (
	password     = "correct horse battery staple"
	kubeconfig   = "apiVersion: v1\nkind: Config\n# kubeconfig-secret-material\n"
	host         = "kubebyon.test"
	peerAddr     = "192.0.2.1:4711"
	adminEmail   = "admin@kubebyon.test"
	userEmail    = "ada@kubebyon.test"
	otherEmail   = "eve@kubebyon.test"
	operatorMail = "olga@kubebyon.test"
)

// members are the accounts of every world.
var members = map[string]actor.Role{adminEmail: actor.Admin, userEmail: actor.User, otherEmail: actor.User, operatorMail: actor.Operator}

// world is a whole platform behind the API, each test's own.
type world struct {
	t        testing.TB
	server   *httpapi.Server
	store    *flaky
	tenants  *memtenant.Connector
	people   *identity.Service
	planes   *planes
	clock    *clock
	log      *buffer
	spec     *spec
	random   *counter
	mail     *mailbox
	policy   *policy
	couriers *couriers
	messages *notifications.Service
}

func newWorld(t testing.TB, change ...func(*httpapi.Config)) *world {
	t.Helper()
	return newWorldOf(t, parts{store: memstore.New(), connect: func(c tenant.Connector) tenant.Connector { return c }, perUser: 3}, change...)
}

// parts are what a world can be made of.
type parts struct {
	store   store.Store
	connect func(tenant.Connector) tenant.Connector // what stands before the tenants
	perUser int                                     // clusters
	hasher  passwords.Hasher                        // nil: plainHasher
	posted  func(identity.Letter)                   // told of each letter; nil: nobody is
	beside  *world                                  // another server on the same store; nil: there is none
}

func newWorldOf(t testing.TB, of parts, change ...func(*httpapi.Config)) *world {
	t.Helper()
	w := &world{
		t: t, store: &flaky{Store: of.store}, tenants: memtenant.New(), planes: new(planes), log: new(buffer),
		clock: &clock{t: time.Date(2026, 4, 23, 7, 50, 0, 0, time.UTC)}, spec: theSpec(), random: new(counter),
		mail: &mailbox{posted: of.posted}, policy: &policy{open: true, providers: map[string]sso.Provider{"company": company{}}},
	}
	if of.beside != nil {
		w.clock, w.random, w.mail, w.policy = of.beside.clock, of.beside.random, of.beside.mail, of.beside.policy
	}
	log := slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	random := w.random
	sealer := keyseal.New([32]byte{1})
	door := tenants.Door{Provisioner: w.planes, Connector: of.connect(w.tenants)}
	if of.hasher == nil {
		of.hasher = plainHasher{}
	}
	var s httpapi.Services
	var err [10]error
	s.Identity, err[0] = identity.New(identity.Deps{
		Store: w.store, Passwords: of.hasher, Seal: sealer, Mail: w.mail, Policy: w.policy,
		Log: log, Now: w.clock.now, Random: random.id, Secret: random.secret,
	})
	s.Clusters, err[1] = clusters.New(clusters.Deps{
		Store: w.store, Seal: sealer, Provisioner: w.planes, Catalog: w.planes, Now: w.clock.now, Random: random.id,
		CheckPassword: s.Identity.CheckPassword, Committed: func() {}, MaxPerUser: of.perUser,
	})
	s.Tokens, err[2] = tokens.New(tokens.Deps{Store: w.store, Seal: sealer, Door: door, Log: log, Now: w.clock.now, Random: random.id, Secret: random.secret})
	s.Nodes, err[3] = nodes.New(nodes.Deps{Store: w.store, Door: door, Now: w.clock.now, Random: random.id})
	guests := memtenant.Guests{Connector: w.tenants}
	door.Imported = fleet.Credentials{Store: w.store, Seal: sealer, Reader: guests}.Of
	s.Fleet, err[9] = fleet.New(fleet.Deps{
		Store: w.store, Seal: sealer, Door: door, Reader: guests, Clusters: s.Clusters, Now: w.clock.now, Random: random.id, Committed: func() {},
	})
	s.Overview, err[4] = overview.New(w.store)
	conf := httpapi.Config{
		Log: log, Now: w.clock.now, AuthLimit: httpapi.Limit{Window: time.Millisecond, Burst: 1000}, JoinLimit: httpapi.Limit{Window: time.Millisecond, Burst: 1000},
		Version: httpapi.Version{Version: "v0.0.0-test", Commit: "abc", GoVersion: "go", Backend: "memory"},
		Ready: func(ctx context.Context) map[string]error {
			return map[string]error{"database": w.store.Ping(ctx), "broker": nil, "backend": nil}
		},
	}
	for _, c := range change {
		c(&conf)
	}
	s.Metering, err[6] = metering.New(w.store, w.clock.now)
	s.Settings, err[7] = settings.New(settings.Deps{
		Store: w.store, Seal: sealer, Log: log, Now: w.clock.now, Random: random.id,
		CheckMail: func(s notify.SMTP) error { _, err := smtpnotify.New(s, smtpnotify.Config{}); return err },
	})
	s.Notifications, err[8] = w.notifications(sealer)
	w.server, err[5] = httpapi.New(conf, s)
	if e := errors.Join(err[:]...); e != nil {
		t.Fatal(e)
	}
	w.people = s.Identity
	if of.beside != nil { // it has made the accounts
		return w
	}
	for email, role := range members {
		if _, err := w.people.Create(t.Context(), identity.NewAccount{Email: email, Role: role, Password: secret.New(password)}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// clock stands still until it is told to move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// counter gives bytes that differ.
type counter struct {
	mu sync.Mutex
	n  uint64
}

func (c *counter) next() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

func (c *counter) id() (b [10]byte) {
	n := c.next()
	for i := range 8 {
		b[9-i] = byte(n >> (8 * i))
	}
	return b
}

func (c *counter) secret() (b [32]byte, err error) {
	n := c.next() * 0x9e3779b97f4a7c15
	for i := range b {
		n ^= n << 13
		n ^= n >> 7
		n ^= n << 17
		b[i] = byte(n)
	}
	return b, nil
}

// buffer is a log that may be written from anywhere.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// plainHasher is fast and keeps nothing secret.
type plainHasher struct{}

func (plainHasher) Hash(_ context.Context, p secret.Text) (string, error) {
	return "hash of " + p.Reveal(), nil
}

func (plainHasher) Matches(_ context.Context, hash string, p secret.Text) (bool, bool, error) {
	return hash != "" && hash == "hash of "+p.Reveal(), false, nil
}

// flaky is a store that can be made to fail or to lose a race.
type flaky struct {
	store.Store
	mu   sync.Mutex
	fail error
}

func (f *flaky) setError(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

func (f *flaky) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail
}

func (f *flaky) Ping(context.Context) error { return f.err() }

func (f *flaky) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Store.InTx(ctx, do)
}

func (f *flaky) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.Store.View(ctx, do)
}

// planes gives every cluster the same kubeconfig.
type planes struct {
	provision.Provisioner
	mu      sync.Mutex
	missing bool
	reading func() // is called while a kubeconfig is read; nil: nothing is
}

// onReading has do called while the next kubeconfigs are read.
func (p *planes) onReading(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reading = do
}

func (p *planes) setMissing(missing bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missing = missing
}

func (*planes) Versions() []provision.Version {
	return []provision.Version{{Name: "v1.36.3"}, {Name: "v1.35.0", Emulated: true}}
}

func (p *planes) Kubeconfig(context.Context, id.Cluster) (secret.Text, error) {
	p.mu.Lock()
	missing, reading := p.missing, p.reading
	p.mu.Unlock()
	if reading != nil {
		reading()
	}
	if missing {
		return secret.Text{}, fault.Unavailable.New("kubeconfig_pending", "There is no kubeconfig yet.")
	}
	return secret.New(kubeconfig), nil
}

// caller is somebody who sends requests.
type caller struct {
	*world
	header http.Header
}

func (w *world) anybody() caller { return caller{w, http.Header{}} }

func (c caller) with(pairs ...string) caller {
	h := c.header.Clone()
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return caller{c.world, h}
}

// as signs somebody in.
func (w *world) as(email string) caller {
	w.t.Helper()
	r := w.anybody().do("POST", "/api/auth/login", map[string]any{"email": email, "password": password})
	r.want(200, "")
	cookies := r.Result().Cookies()
	if len(cookies) != 1 {
		w.t.Fatalf("signing in set %d cookies", len(cookies))
	}
	return w.anybody().with("Cookie", session.CookieName+"="+cookies[0].Value)
}

// answer is what came back.
type answer struct {
	*httptest.ResponseRecorder
	t    testing.TB
	what string
}

// request makes a request as it would arrive. A body that is text goes as it
// is, anything else as JSON.
func (c caller) request(method, target string, body any) *http.Request {
	var in io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case form:
		in, contentType = strings.NewReader(string(b)), formType
	case string:
		in = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	r := httptest.NewRequestWithContext(c.t.Context(), method, target, in)
	r.Host, r.RemoteAddr = host, peerAddr
	if in != nil {
		r.Header.Set("Content-Type", contentType)
	}
	for name, values := range c.header {
		r.Header[name] = values
		if name == "Host" {
			r.Host = values[0]
		}
		if name == "X-Test-Peer" {
			r.RemoteAddr = values[0]
		}
	}
	return r
}

func (c caller) do(method, target string, body any) answer {
	c.t.Helper()
	r := c.request(method, target, body)
	a := answer{httptest.NewRecorder(), c.t, method + " " + target}
	c.server.ServeHTTP(a, r)
	c.spec.check(c.t, r, a.ResponseRecorder)
	checkHeaders(c.t, a)
	return a
}

func checkHeaders(t testing.TB, a answer) {
	t.Helper()
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "strict-origin-when-cross-origin", "X-Frame-Options": "DENY",
	} {
		if got := a.Header().Get(name); got != want {
			t.Errorf("%s: %s is %q", a.what, name, got)
		}
	}
	if a.Header().Get("X-Request-Id") == "" {
		t.Errorf("%s: no X-Request-Id", a.what)
	}
}

// want checks the status and, for a problem, its code.
func (a answer) want(status int, code string) answer {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("%s: status %d, want %d; body %s", a.what, a.Code, status, a.Body)
	}
	if code == "" {
		return a
	}
	if ct := a.Header().Get("Content-Type"); ct != "application/problem+json" {
		a.t.Errorf("%s: content type %q", a.what, ct)
	}
	for _, key := range []string{"type", "title", "detail", "instance"} {
		if s, _ := a.json()[key].(string); s == "" {
			a.t.Errorf("%s: the problem has no %s: %s", a.what, key, a.Body)
		}
	}
	if a.json()["code"] != code || a.json()["status"] != float64(status) {
		a.t.Fatalf("%s: got %s, want code %s", a.what, a.Body, code)
	}
	return a
}

func (a answer) json() map[string]any {
	a.t.Helper()
	var out map[string]any
	if err := json.Unmarshal(a.Body.Bytes(), &out); err != nil {
		a.t.Fatalf("%s: %v: %s", a.what, err, a.Body)
	}
	return out
}

// at walks down objects: at("cluster", "id").
func (a answer) at(path ...string) any {
	a.t.Helper()
	var v any = a.json()
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			a.t.Fatalf("%s: no %v in %s", a.what, path, a.Body)
		}
		if v, ok = m[key]; !ok {
			a.t.Fatalf("%s: no %v in %s", a.what, path, a.Body)
		}
	}
	return v
}

func (a answer) text(path ...string) string {
	a.t.Helper()
	s, ok := a.at(path...).(string)
	if !ok {
		a.t.Fatalf("%s: %v is no text in %s", a.what, path, a.Body)
	}
	return s
}

func (a answer) list(key string) []any {
	a.t.Helper()
	l, ok := a.at(key).([]any)
	if !ok {
		a.t.Fatalf("%s: %s is no list in %s", a.what, key, a.Body)
	}
	return l
}

// cluster makes a cluster and, if ready, brings it up. It returns its id.
func (c caller) cluster(name string, ready bool) string {
	c.t.Helper()
	i := c.do("POST", "/api/console/clusters", map[string]any{"name": name}).want(201, "").text("cluster", "id")
	if ready {
		c.bringUp(i)
	}
	return i
}

func (w *world) bringUp(cluster string) {
	w.t.Helper()
	w.change(cluster, func(c *clusters.Cluster) {
		c.Arrive(1, provision.Observed{Phase: provision.Ready, Endpoint: "https://127.0.0.1:6443", Port: 6443}, w.clock.now())
		c.Reach(w.clock.now())
	})
}

func (w *world) change(cluster string, change func(*clusters.Cluster)) {
	w.t.Helper()
	w.write(func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Clusters().Get(ctx, store.Everyone(), w.clusterID(cluster))
		if err != nil {
			return err
		}
		c := clusters.Of(rec)
		change(&c)
		rec = c.Record()
		return tx.Clusters().Update(ctx, &rec)
	})
}

func (w *world) clusterID(text string) id.Cluster {
	w.t.Helper()
	i, err := id.Parse[id.ClusterKind](text)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

func (w *world) write(do func(ctx context.Context, tx store.Tx) error) {
	w.t.Helper()
	if err := w.store.InTx(w.t.Context(), do); err != nil {
		w.t.Fatal(err)
	}
}

// node puts a machine into a cluster, in its tenant and in the snapshot.
func (w *world) node(cluster, name string) string {
	w.t.Helper()
	of := w.clusterID(cluster)
	seen := tenant.Node{
		Name: name, UID: "uid-" + name, Ready: tenant.True, InternalIP: "192.0.2.17", OSImage: "Debian", KubeletVersion: "v1.36.3",
		CPUAllocatableMilli: 4000, MemoryAllocatableBytes: 8 << 30, CreatedAt: w.clock.now(), ReadySince: w.clock.now(),
	}
	w.tenants.Cluster(of).PutNode(seen)
	var made id.Node
	w.write(func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Clusters().Get(ctx, store.Everyone(), of)
		if err != nil {
			return err
		}
		track, err := nodes.Track(ctx, nodes.TrackerDeps{Store: once{tx, w.store}, Registrar: nobody{}, Now: w.clock.now, Random: w.random.id, Pace: nodes.NewPace()}, c)
		if err != nil {
			return err
		}
		track.Saw(seen)
		if _, err := track.Write(ctx); err != nil {
			return err
		}
		n, err := tx.Nodes().ByName(ctx, of, name)
		made = n.ID
		return err
	})
	return made.String()
}

// once runs every unit of work in one transaction.
type once struct {
	tx store.Tx
	store.Store
}

func (o once) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return do(ctx, o.tx)
}

func (o once) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return do(ctx, o.tx)
}

type nobody struct{}

func (nobody) Registered(context.Context, store.Tx, store.Cluster, store.Node) (bool, error) {
	return false, nil
}

// serve sends a request as it is.
func (w *world) serve(r *http.Request) answer {
	a := answer{httptest.NewRecorder(), w.t, r.Method + " " + r.URL.Path}
	w.server.ServeHTTP(a, r)
	return a
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}
