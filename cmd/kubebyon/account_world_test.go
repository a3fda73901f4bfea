package main_test

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/kubebyon/kubebyon/adapters/oidcsso/oidcpeer"
)

// accountRun is an installation with a mail server and a sign-in provider, all of
// them processes or as good as that.
type accountRun struct {
	t        *testing.T
	servers  []*server // people reach any of them, as behind a load balancer
	others   []*server
	metrics  []string // where each of them shows its own
	data     string   // the data folder, where there is one
	database database
	mail     *mailServer
	provider *oidcpeer.Peer
	password string // of the first administrator
	first    string // of Ada
	second   string
	secret   string // KubeBYON's at the provider
	master   string // the key for secrets at rest
	ledger   *ledger
}

const (
	adaEmail   = "ada@kubebyon.test"
	clientName = "kubebyon-client"
)

// accountWorlds are where an account can live.
func accountWorlds() []struct {
	name string
	open func(r *accountRun)
} {
	return []struct {
		name string
		open func(r *accountRun)
	}{
		{"one process with nothing installed", (*accountRun).openDev},
		{"two servers on PostgreSQL", (*accountRun).openServers},
		{"two servers and a worker on PostgreSQL and RabbitMQ", (*accountRun).openServersAndWorker},
	}
}

func newAccountRun(t *testing.T, open func(*accountRun)) *accountRun {
	t.Helper()
	r := &accountRun{
		t: t, mail: newMailServer(t), ledger: newLedger(), master: newKey(),
		password: "first-" + text(24), first: "chosen-" + text(24), second: "chosen-" + text(24), secret: "client-" + text(24),
	}
	for _, password := range []string{r.password, r.first, r.second} {
		r.ledger.keep(chosenPassword, password)
	}
	r.ledger.keep(settingSecret, r.secret)
	r.ledger.keep(settingSecret, r.mail.password)
	open(r)
	r.ledger.keepServerKey(t, r.master)
	var back []string
	for _, s := range r.servers {
		back = append(back, s.url+callbackPath)
	}
	r.provider = oidcpeer.Start(t, oidcpeer.Config{
		Clients: []oidcpeer.Client{{ID: clientName, Secret: r.secret, RedirectURLs: back}},
		People: []storage.User{{
			ID: "subject-of-ada", Username: "ada", Password: "ada's at the provider", FirstName: "Ada", LastName: "Lovelace", Email: adaEmail, EmailVerified: true,
		}},
	})
	return r
}

const callbackPath = "/api/auth/sso/company/callback"

// settings is what every process is told.
func (r *accountRun) settings() []string {
	return []string{
		"SSL_CERT_FILE=" + r.mail.authority, "KUBEBYON_LOG_LEVEL=debug", "KUBEBYON_ADMIN_PASSWORD=" + r.password,
		"KUBEBYON_AUTH_RATE_LIMIT_BURST=1000", // all of it comes from one address
	}
}

func (r *accountRun) openDev() {
	r.t.Helper()
	plane := requireProgram(r.t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	site, addr := &site{t: r.t, environment: append([]string{"HOME=" + r.t.TempDir()}, r.settings()...)}, freeAddress(r.t)
	r.data = filepath.Join(r.t.TempDir(), "data")
	s := r.run(func(flags ...string) *server {
		return site.run(program, append([]string{"dev", "--data-dir", r.data, "--http-addr", addr, "--localplane", plane}, flags...)...)
	})
	s.addr, s.url = addr, "http://"+addr
	s.log.awaitRunning(r.t, 60*time.Second)
	r.servers = []*server{s}
	r.database.db = openSQLite(r.t, r.data)
	key, err := os.ReadFile(filepath.Join(r.data, "secret.key"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.master = strings.TrimSpace(string(key))
}

// run starts a process that shows its metrics.
func (r *accountRun) run(start func(flags ...string) *server) *server {
	r.t.Helper()
	at := freeAddress(r.t)
	r.metrics = append(r.metrics, at)
	return start("--metrics-addr", at)
}

// openServers starts two servers, either of which hands over letters.
func (r *accountRun) openServers() {
	r.t.Helper()
	r.serve()
}

// openServersAndWorker starts two servers, and a worker which hands over letters.
func (r *accountRun) openServersAndWorker() {
	r.t.Helper()
	broker, prefix := requireBroker(r.t)
	site := r.serve("KUBEBYON_AMQP_URL="+broker, "KUBEBYON_AMQP_PREFIX="+prefix)
	r.others = append(r.others, r.run(site.work))
}

func (r *accountRun) serve(settings ...string) *site {
	r.t.Helper()
	var at string
	var ok bool
	if r.database, at, ok = openOwnPostgres(r.t, "database-"+text(24)); !ok {
		r.t.Skip("there is no PostgreSQL")
	}
	r.ledger.keep(databasePassword, passwordIn(at))
	settings = append(settings, "KUBEBYON_DATABASE_URL="+at, "KUBEBYON_SECRET_KEY="+r.master, "KUBEBYON_PRIVATE_NETWORKS=127.0.0.0/8")
	site := newSite(r.t, append(settings, r.settings()...)...)
	r.servers = []*server{r.run(site.serve), r.run(site.serve)}
	return site
}

// person uses the servers in turn, from a browser or a program of their own.
type person struct {
	*client
	run   *accountRun
	turns int
}

// someone is a browser without a cookie.
func (r *accountRun) someone() *person {
	r.t.Helper()
	jar, err := cookiejar.New(nil) // it takes all ports of an address for one site, as browsers do
	if err != nil {
		r.t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	r.t.Cleanup(transport.CloseIdleConnections)
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &person{run: r, client: &client{t: r.t, http: &http.Client{
		Jar: jar, Timeout: time.Minute, Transport: &recorder{ledger: r.ledger, source: r.t.Name(), next: transport}, CheckRedirect: stay,
	}}}
}

// robot is a program with an API key.
func (r *accountRun) robot(key string) *person {
	r.t.Helper()
	p := r.someone()
	p.http.Jar, p.http.Transport = nil, bearer{key, p.http.Transport}
	return p
}

type bearer struct {
	key  string
	next http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.key)
	return b.next.RoundTrip(r)
}

// turn is where the next request goes.
func (p *person) turn() string {
	p.turns++
	return p.run.servers[p.turns%len(p.run.servers)].url
}

func (p *person) must(method, path string, body any, status int) object {
	p.t.Helper()
	p.url = p.turn()
	return p.client.must(method, path, body, status)
}

// refused is must for a POST that fails with a code.
func (p *person) refused(path string, body any, status int, code string) {
	p.t.Helper()
	if out := p.must(http.MethodPost, path, body, status); out["code"] != code {
		p.t.Fatalf("POST %s: the code is %v, want %s", path, out["code"], code)
	}
}

// is says who the person is to every server, right now.
func (p *person) is(status int) (user object) {
	p.t.Helper()
	for _, s := range p.run.servers {
		p.url = s.url
		user, _ = p.client.must(http.MethodGet, "/api/console/me", nil, status)["user"].(object)
	}
	return user
}

// cookie is the value of one that the person's browser has.
func (p *person) cookie(name string) string {
	p.t.Helper()
	at, err := url.Parse(p.run.servers[0].url)
	if err != nil {
		p.t.Fatal(err)
	}
	all := p.http.Jar.Cookies(at)
	i := slices.IndexFunc(all, func(c *http.Cookie) bool { return c.Name == name })
	if i < 0 {
		p.t.Fatalf("the browser has no cookie %s", name)
	}
	return all[i].Value
}

// goesTo sends the browser to an address of the console and returns where it is
// sent on to.
func (p *person) goesTo(address string) string {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		p.t.Fatalf("GET %s: %d, want a redirect", r.URL.Path, resp.StatusCode)
	}
	return resp.Header.Get("Location")
}

// visitProvider goes by way of the provider, where Ada signs in, and returns where
// the browser is sent in the end. The ways there and back are two servers'.
func (p *person) visitProvider() string {
	p.t.Helper()
	to := p.goesTo(p.turn() + "/api/auth/sso/company/login?redirect=%2Fclusters")
	if !strings.HasPrefix(to, p.run.provider.Issuer) {
		return to
	}
	p.keepWay(to)
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	back, err := p.run.provider.SignIn(ctx, to, p.run.servers[0].url+callbackPath, "ada", "ada's at the provider")
	if err != nil {
		p.t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil {
		p.t.Fatal(err)
	}
	p.run.ledger.keep(wayCode, u.Query().Get("code"))
	at := p.goesTo(p.turn() + u.RequestURI())
	if !strings.HasPrefix(at, "/login") {
		p.keepSession()
	}
	return at
}
