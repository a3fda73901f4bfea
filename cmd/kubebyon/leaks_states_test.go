package main_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Servers and workers in states in which they cannot work: whatever they print,
// answer and store then holds none of the secrets that they were given.
func TestNoStateTellsASecret(t *testing.T) {
	t.Parallel()
	w := newTroubled(t)
	t.Run("states", func(t *testing.T) {
		for i, s := range w.states() {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				w.bringInto(t, s, []string{"text", "json"}[i%2])
			})
		}
	})
	if t.Failed() {
		return // what was not reached says nothing
	}
	values, read := 0, 0
	for _, at := range w.made {
		d := database{db: openDatabase(t, at), postgres: true}
		if d.texts(t, "SELECT coalesce(to_regclass('users')::text, '')")[0] == "" {
			continue // what was wrong showed before there was anything to write
		}
		read++
		d.keepHashes(t, w.ledger)
		values += d.dump(t, w.ledger, at[strings.LastIndexByte(at, '/'):])
	}
	if read == 0 {
		t.Error("no database was looked at")
	}
	texts := w.ledger.lookAtEvidence()
	w.ledger.judge(t, map[string]bool{"states": true})
	t.Logf("looked at %d texts and %d values of %d databases, bytes by place: %v", texts, values, read, w.ledger.searched)
}

// troubled knows the secrets of those who cannot work, and what goes wrong.
type troubled struct {
	t      *testing.T
	ledger *ledger

	postgres string // a database that checks passwords
	broker   string
	settings []string // a host that does not answer, and the first administrator

	password   string // of the database
	hush       string // a password of the database that nobody takes
	brokerHush string // the same of the broker
	token      string // of the host
	longHush   string // first passwords that are refused
	shortHush  string
	certified  keyPair // for the host

	made []string // URLs of databases
}

func newTroubled(t *testing.T) *troubled {
	t.Helper()
	w := &troubled{
		t: t, ledger: newLedger(), password: "database-" + text(24), hush: "hush-" + text(24), brokerHush: "broker-" + text(24), token: "host-" + text(40),
		longHush: strings.Repeat("long-", 30) + text(20), shortHush: "z" + text(6), certified: newKeyPair(t),
	}
	broker, _ := requireBroker(t)
	u, err := url.Parse(broker)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), w.brokerHush)
	w.broker, w.postgres = u.String(), strictPostgres(t, w.password)
	first := "first-" + text(24)
	w.settings = []string{"KUBEBYON_KUBECONFIG_PATH=" + w.file(w.kubeconfig("https://127.0.0.1:1", w.certified)), "KUBEBYON_ADMIN_PASSWORD=" + first}
	l := w.ledger
	l.keep(databasePassword, w.password)
	l.keep(databasePassword, w.hush)
	l.keep(brokerPassword, w.brokerHush)
	l.keep(hostCredential, w.token)
	l.keepKeys(hostCredential, w.certified.key)
	l.keep(chosenPassword, first)
	l.keep(refusedPassword, w.longHush[len(w.longHush)-20:])
	return w
}

// state is one in which a process cannot work.
type state struct {
	name     string
	worker   bool
	settings []string
	flags    string
	want     string                                   // in its words
	until    func(t *testing.T, p *server, c *client) // what it does meanwhile; nil: it ends with an error
}

func (w *troubled) states() []state {
	const serve, work = false, true
	bad := w.hush + "@h/x"
	return append([]state{
		{"a database's URL cut by its password", serve, []string{"KUBEBYON_DATABASE_URL=postgres://h:/" + bad}, "", "KUBEBYON_DATABASE_URL: ", nil},
		{"a database's URL in a file", work, w.inFile("DATABASE_URL", "postgres://u:"+w.hush+"@h:port/x\n"), "", "KUBEBYON_DATABASE_URL: ", nil},
		{"a database's URL as a flag", work, nil, "--database-url=mysql://u:" + bad, "KUBEBYON_DATABASE_URL: ", nil},
		{"secrets for names of files", serve, w.namesOfFiles("DATABASE_URL", "AMQP_URL", "SECRET_KEY", "ADMIN_PASSWORD"), "", "KUBEBYON_ADMIN_PASSWORD_FILE: ", nil},
		{"a broker's URL cut by its password", work, []string{"KUBEBYON_AMQP_URL=amqp://h:/" + w.brokerHush + "@h/"}, "", "KUBEBYON_AMQP_URL: ", nil},
		{"a broker's URL in a file", serve, w.inFile("AMQP_URL", "amqp://u:"+w.brokerHush+"@h/?heartbeat="+w.brokerHush+"\n"), "", "KUBEBYON_AMQP_URL: ", nil},
		{"a key that is too short", serve, []string{"KUBEBYON_SECRET_KEY=" + w.keyOf(31)}, "", "KUBEBYON_SECRET_KEY: ", nil},
		{"a key in a file that is too long", work, w.inFile("SECRET_KEY", w.keyOf(33)+"\n"), "", "KUBEBYON_SECRET_KEY: ", nil},
		{"a kubeconfig for the name of its file", work, []string{"KUBEBYON_KUBECONFIG_PATH=" + w.kubeconfig("https://h", w.certified)}, "", "KUBEBYON_KUBECONFIG_PATH: ", nil},
		{"a kubeconfig that is none", serve, append(w.fresh(), w.host(`{"users":[{"user":{"token":"`+w.token+`"`)...), "", "no kubeconfig", nil},
		{"a kubeconfig with a token for a key", work, append(w.fresh(), w.host(w.kubeconfig("https://h", keyPair{w.certified.certificate, []byte(w.token)}))...), "", "kubeconfig", nil},
		{"a kubeconfig with a wrong address", serve, append(w.fresh(), w.host(w.kubeconfig("https://u:"+w.token+"@h:port", w.certified))...), "", "kubeconfig", nil},
		{"a kubeconfig with a wrong proxy", work, append(w.fresh(), w.host(strings.Replace(w.kubeconfig("https://h", w.certified), `"cluster":{`, `"cluster":{"proxy-url":"http://u:`+w.token+`@%zz",`, 1))...), "", "kubeconfig", nil},
		{"a first password that is too long", serve, append(w.fresh(), "KUBEBYON_ADMIN_PASSWORD="+w.longHush), "", "8 to 128", nil},
		{"a first password that is too short", serve, append(w.fresh(), w.inFile("ADMIN_PASSWORD", w.shortHush)...), "", "8 to 128", nil},
	}, w.waiting()...)
}

// waiting are the states that may pass.
func (w *troubled) waiting() []state {
	const serve, work = false, true
	refused := strings.Replace(w.postgres, w.password, w.hush, 1)
	away := func(t *testing.T, p *server, _ *client) { p.awaitCheck(t, "database", "unavailable") }
	return []state{
		{"the help of a server", serve, []string{"KUBEBYON_AMQP_URL=" + w.broker}, "--help", "KUBEBYON_SECRET_KEY", isHelp},
		{"the help of a worker", work, []string{"KUBEBYON_AMQP_URL=" + w.broker}, "--help", "KUBEBYON_SECRET_KEY", isHelp},
		{"a database that refuses the password", serve, []string{"KUBEBYON_DATABASE_URL=" + refused}, "", "password authentication failed", away},
		{"a database that refuses a worker", work, w.inFile("DATABASE_URL", refused+"\n"), "", "password authentication failed", away},
		{"a database without TLS", serve, []string{"KUBEBYON_DATABASE_URL=" + strings.Replace(w.postgres, "disable", "require", 1)}, "", "does not answer", away},
		{"a database where nobody is", serve, []string{"KUBEBYON_DATABASE_URL=postgres://u@127.0.0.1:1/x?password=" + w.hush}, "", "does not answer", away},
		{"a database of an unknown host", work, []string{"KUBEBYON_DATABASE_URL=postgres://u:" + w.hush + "@kubebyon.invalid/x"}, "", "does not answer", away},
		{"a broker that refuses the password", serve, append(w.fresh(), "KUBEBYON_AMQP_URL="+w.broker), "", "username or password not allowed", w.withoutBroker},
		{"a broker that refuses a worker", work, append(w.fresh(), w.inFile("AMQP_URL", w.broker+"\n")...), "", "username or password not allowed", noBroker},
		{"a broker where nobody is", work, append(w.fresh(), "KUBEBYON_AMQP_URL=amqps://u:"+w.brokerHush+"@127.0.0.1:1/"), "", "no connection to RabbitMQ", noBroker},
		{"a host where nobody is", serve, append(w.fresh(), w.host(w.kubeconfig("https://u:"+w.token+"@127.0.0.1:1", w.certified))...), "", "job attempt", w.withoutHost},
	}
}

func isHelp(t *testing.T, p *server, _ *client) {
	t.Helper()
	if p.done = true; <-p.exited != nil {
		t.Error("it ended with an error")
	}
}

func noBroker(t *testing.T, p *server, _ *client) {
	t.Helper()
	p.awaitCheck(t, "database", "ok")
	p.awaitCheck(t, "broker", "unavailable")
}

// withoutBroker uses a server that cannot pass on its jobs, and starts another one
// beside it that has another key.
func (w *troubled) withoutBroker(t *testing.T, p *server, c *client) {
	t.Helper()
	noBroker(t, p, c)
	w.use(t, c)
	key := newKey()
	w.ledger.keepServerKey(t, key)
	second := &site{t: t, environment: append(slices.Clone(p.cmd.Env), "KUBEBYON_SECRET_KEY="+key)}
	for _, other := range []*server{second.serve(), second.work("--log-format", "text")} {
		out := other.end(t, 30*time.Second)
		if !strings.Contains(out, "is not the one that this installation's secrets are sealed with") {
			t.Errorf("with another key it ends with %s", out)
		}
		w.ledger.record("output of a process with another key", t.Name(), []byte(out))
	}
}

// withoutHost has a server try to make a control plane.
func (w *troubled) withoutHost(t *testing.T, p *server, c *client) {
	t.Helper()
	p.awaitCheck(t, "database", "ok")
	id := w.use(t, c)
	p.awaitLog(t, "job attempt")
	c.must("GET", "/api/console/clusters/"+id, nil, http.StatusOK)
	c.must("GET", "/api/console/clusters/"+id+"/operations", nil, http.StatusOK)
}

// use does what a person does with a server.
func (w *troubled) use(t *testing.T, c *client) (cluster string) {
	t.Helper()
	_, first, _ := strings.Cut(w.settings[1], "=")
	c.must("POST", "/api/auth/login", object{"email": adminEmail, "password": "wrong" + first}, http.StatusUnauthorized)
	c.must("POST", "/api/auth/login", object{"email": adminEmail, "password": first}, http.StatusOK)
	cluster = c.createCluster("demo")
	c.must("POST", "/api/console/clusters/"+cluster+"/kubeconfig", object{"password": first}, http.StatusConflict)
	c.must("GET", "/api/console/admin/activities", nil, http.StatusOK)
	return cluster
}

// bringInto starts a process, sees it get into a state, and keeps all that it says.
func (w *troubled) bringInto(t *testing.T, s state, format string) {
	t.Helper()
	key := newKey()
	w.ledger.keepServerKey(t, key)
	settings := append([]string{"KUBEBYON_DATABASE_URL=" + w.postgres, "KUBEBYON_SECRET_KEY=" + key}, w.settings...)
	if s.worker {
		settings = append(settings, "KUBEBYON_AMQP_URL="+w.broker)
	}
	site := newSite(t, append(settings, s.settings...)...)
	start := site.serve
	if s.worker {
		start = site.work
	}
	metrics := freeAddress(t)
	p := start(append(strings.Fields(s.flags), "--log-format", format, "--metrics-addr", metrics)...)
	switch {
	case s.until == nil:
		p.end(t, 30*time.Second)
	default:
		c := w.client(t, p.url, s.name)
		s.until(t, p, c)
		if !p.done {
			p.awaitLog(t, s.want)
			for _, at := range []string{"/healthz", "/readyz", "/version", "/api/console/clusters", "/api/console/nowhere"} {
				_, _, _ = c.call("GET", at, nil)
			}
			w.client(t, "http://"+metrics, s.name).must("GET", "/metrics", nil, http.StatusOK)
			p.stop(t)
		}
	}
	out := p.log.tail()
	if !strings.Contains(out, s.want) || strings.Contains(out, "panic") {
		t.Errorf("its words lack %q:\n%s", s.want, out)
	}
	if strings.Contains(out, w.shortHush) { // too short for the search
		t.Error("it repeats a short password")
	}
	w.ledger.record("output of "+filepath.Base(p.cmd.Path), s.name+", as "+format, []byte(out))
}

// client is somebody whose answers are kept.
func (w *troubled) client(t *testing.T, at, source string) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t: t, url: at, http: &http.Client{Jar: jar, Timeout: time.Minute, Transport: &recorder{ledger: w.ledger, source: source, next: transport}}}
}

// fresh makes a database of a state's own.
func (w *troubled) fresh() []string {
	w.t.Helper()
	name := "d" + text(12)
	if _, err := openDatabase(w.t, w.postgres).ExecContext(w.t.Context(), "CREATE DATABASE "+name); err != nil {
		w.t.Fatal(err)
	}
	at := strings.Replace(w.postgres, "/postgres?", "/"+name+"?", 1)
	w.made = append(w.made, at)
	return []string{"KUBEBYON_DATABASE_URL=" + at}
}

func (w *troubled) file(content string) string {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "file")
	write(w.t, file, content)
	return file
}

// inFile gives a secret in the other way.
func (w *troubled) inFile(name, content string) []string {
	w.t.Helper()
	return []string{"KUBEBYON_" + name + "=", "KUBEBYON_" + name + "_FILE=" + w.file(content)}
}

func (w *troubled) namesOfFiles(names ...string) (settings []string) {
	for _, name := range names {
		settings = append(settings, "KUBEBYON_"+name+"=", "KUBEBYON_"+name+"_FILE="+w.hush)
	}
	return settings
}

// keyOf is a key for secrets at rest that has n bytes.
func (w *troubled) keyOf(n int) string {
	w.t.Helper()
	raw := make([]byte, n)
	_, _ = rand.Read(raw)
	key := base64.StdEncoding.EncodeToString(raw)
	w.ledger.keepServerKey(w.t, key)
	return key
}

func (w *troubled) host(kubeconfig string) []string {
	w.t.Helper()
	return []string{"KUBEBYON_KUBECONFIG_PATH=" + w.file(kubeconfig)}
}

// kubeconfig has credentials of both kinds.
func (w *troubled) kubeconfig(at string, pair keyPair) string {
	w.t.Helper()
	text, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Config", "current-context": "a",
		"contexts": []object{{"name": "a", "context": object{"cluster": "a", "user": "a"}}},
		"clusters": []object{{"name": "a", "cluster": object{"server": at}}},
		"users":    []object{{"name": "a", "user": object{"token": w.token, "client-certificate-data": pair.certificate, "client-key-data": pair.key}}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// keyPair is a key and its certificate, in PEM.
type keyPair struct{ certificate, key []byte }

func newKeyPair(t testing.TB) keyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	}
}
