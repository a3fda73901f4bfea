package main_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Every secret that a run makes or is given is of one of these kinds.
const (
	initialPassword  secretKind = "password that the first start made"
	madePassword     secretKind = "password that kubebyon admin made"
	tempPassword     secretKind = "password that an administrator had made"
	chosenPassword   secretKind = "password that somebody chose"
	wrongPassword    secretKind = "password that is wrong"
	refusedPassword  secretKind = "password that was refused"
	sessionValue     secretKind = "session"
	apiKeyValue      secretKind = "API key"
	joinTokenValue   secretKind = "join token"
	madeUpCredential secretKind = "credential that nobody gave out"
	bootstrapValue   secretKind = "bootstrap secret"
	adminKey         secretKind = "key of a cluster's administrator"
	authorityKey     secretKind = "key of an authority"
	accountsKey      secretKind = "key that signs service accounts"
	componentKey     secretKind = "key of a component"
	nodeKey          secretKind = "key of a node"
	accountToken     secretKind = "token of a service account"
	serverKey        secretKind = "key of the server"
	dataKey          secretKind = "data key of the server"
	databasePassword secretKind = "password of the database"
	brokerPassword   secretKind = "password of the broker"
	hostCredential   secretKind = "credential for the host"
	lastWord         secretKind = "secret in a control plane's last words"
	credentialHash   secretKind = "hash of a credential"
	settingSecret    secretKind = "secret in the system settings"
)

// givenOut says where each kind of secret is given out. Anywhere else it is a
// leak. A row that a run does not meet is wrong too.
var givenOut = []struct {
	kind   secretKind
	places []string // as in path.Match, but that * is anything
	runs   string   // where it is met: sqlite, postgres, both of them, states, or host
}{
	{initialPassword, []string{"file initial-admin-password", "output of kubebyon dev"}, "sqlite"},
	{madePassword, []string{"output of kubebyon admin create", "output of kubebyon admin reset"}, "both"},
	{tempPassword, []string{"answer to POST /api/console/admin/users/{id}/reset-password"}, "both"},
	{chosenPassword, nil, "both"},
	{wrongPassword, nil, "both"},
	{refusedPassword, nil, "both"},
	{sessionValue, []string{"answer's header Set-Cookie of POST /api/auth/login", "answer's header Set-Cookie of GET /api/auth/me"}, "both"},
	{apiKeyValue, []string{"answer to POST /api/console/api-keys"}, "both"},
	// curl is told in its arguments, as the join command stands in the answer. The
	// token serves once, and soon not at all.
	{joinTokenValue, []string{"answer to POST /api/console/clusters/{id}/join-token", "arguments of curl"}, "both"},
	{madeUpCredential, nil, "both"},
	{bootstrapValue, []string{
		"answer to GET /join", "answer to GET /api/join/clusters/{id}/script", "file planes/data/ID/etcd",
		"temporary file kubebyon-join/join.yaml", "temporary file kubebyon-join/mask.sed",
	}, "both"},
	{adminKey, []string{"answer to POST /api/console/clusters/{id}/kubeconfig", "file planes/data/ID/pki/admin.key", "file planes/data/ID/admin.kubeconfig"}, "both"},
	{authorityKey, []string{"file planes/data/ID/pki/ca.key", "file planes/data/ID/pki/front-proxy-ca.key"}, "both"},
	{accountsKey, []string{"file planes/data/ID/pki/sa.key"}, "both"},
	{componentKey, []string{"file planes/data/ID/pki/*.key", "file planes/data/ID/components/*.kubeconfig"}, "both"},
	{nodeKey, []string{"node's file node/*"}, "both"},
	{accountToken, nil, "both"}, // kubectl alone sees it
	{serverKey, []string{"file secret.key"}, "sqlite"},
	{serverKey, []string{"environment of kubebyon dev", "environment of kubebyon admin rotate-key"}, "postgres"}, // because this run gives it there
	{dataKey, nil, "both"},
	{databasePassword, []string{
		"environment of kubebyon dev", "environment of kubebyon admin create", "environment of kubebyon admin reset", "environment of kubebyon admin list",
		"environment of kubebyon admin rotate-key",
	}, "postgres"},
	{lastWord, nil, "both"},
	{settingSecret, nil, "both"},
	{credentialHash, []string{"database"}, "both"},
	// What kubebyon serve and its workers are given, in states in which they cannot
	// work, and with a host on which they do.
	{databasePassword, nil, "states"},
	{brokerPassword, nil, "states"},
	{hostCredential, nil, "states"},
	{serverKey, nil, "states"},
	{chosenPassword, nil, "states"},
	{refusedPassword, nil, "states"},
	{databasePassword, nil, "host"},
	{brokerPassword, nil, "host"},
	{hostCredential, nil, "host"},
	{serverKey, nil, "host"},
	{chosenPassword, nil, "host"},
	{sessionValue, []string{"answer's header Set-Cookie of POST /api/auth/login"}, "host"},
	{adminKey, []string{"answer to POST /api/console/clusters/{id}/kubeconfig"}, "host"},
	{credentialHash, []string{"database"}, "host"},
}

func isGivenOut(h hit) bool {
	for _, row := range givenOut {
		if row.kind == h.kind && slices.ContainsFunc(row.places, func(p string) bool { return isPlace(p, h.place) }) {
			return true
		}
	}
	return false
}

func isPlace(pattern, place string) bool {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$").MatchString(place)
}

// A full run of the main job, with the failures that belong to it, on each
// database; then everything that it left anywhere is searched for every secret
// that it has seen.
func TestSecretsAreOnlyWhereTheyAreGivenOut(t *testing.T) {
	t.Parallel()
	requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	requireProgram(t, "KUBEBYON_KUBECTL", "kubectl")
	l, root := newLedger(), t.TempDir()
	stop := l.watchProcesses(t, root)
	ran := map[string]bool{"both": true}
	t.Run("runs", func(t *testing.T) {
		t.Run("sqlite", func(t *testing.T) {
			t.Parallel()
			ran["sqlite"] = true
			newLeakRun(t, l, root, "sqlite").all()
		})
		t.Run("postgres", func(t *testing.T) {
			r := newLeakRun(t, l, root, "postgres")
			if !r.usePostgres() {
				t.Skip("there is no PostgreSQL")
			}
			ran["postgres"] = true
			t.Parallel()
			r.all()
		})
	})
	rounds, processes := stop()
	if t.Failed() {
		return // what a broken run leaves says nothing of a whole one
	}
	texts := l.lookAtEvidence()
	l.judge(t, ran)
	t.Logf("looked at %d processes in %d rounds, %d texts, bytes by place: %v", processes, rounds, texts, l.searched)
}

// judge compares what was found with the table.
func (l *ledger) judge(t *testing.T, ran map[string]bool) {
	t.Helper()
	var leaks []string
	for h, n := range l.hits {
		if !isGivenOut(h) {
			leaks = append(leaks, fmt.Sprintf("a %s is in %s, %d times; first: %s", h.kind, h.place, n, l.first[h]))
		}
	}
	for _, e := range l.exposed {
		leaks = append(leaks, e)
	}
	slices.Sort(leaks)
	for _, leak := range leaks {
		t.Error(leak)
	}
	counts := map[secretKind]int{}
	for _, row := range givenOut {
		if counts[row.kind] = len(l.values[row.kind]); counts[row.kind] == 0 && ran[row.runs] {
			t.Errorf("the run has seen no %s", row.kind)
		}
		for _, p := range row.places {
			met := false
			for h := range l.hits {
				met = met || h.kind == row.kind && isPlace(p, h.place)
			}
			if !met && ran[row.runs] {
				t.Errorf("the table says that a %s is given out in %q, but none is there", row.kind, p)
			}
		}
	}
	for kind := range l.values {
		if _, listed := counts[kind]; !listed {
			t.Errorf("the table has no row for a %s", kind)
		}
	}
	t.Logf("searched for %v, as %d texts", counts, len(l.secrets))
}

// leakRun is one run of the main job in a folder of its own.
type leakRun struct {
	t        *testing.T
	ledger   *ledger
	name     string
	home     string
	settings []string // the server's environment
	database database
	plane    string
	kubectl  string
	addr     string
	metrics  string
	server   *server
	admin    *client
	session  string
}

func newLeakRun(t *testing.T, l *ledger, root, name string) *leakRun {
	t.Helper()
	r := &leakRun{
		t: t, ledger: l, name: name, home: filepath.Join(root, name), addr: freeAddress(t), metrics: freeAddress(t),
		plane: requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane"), kubectl: requireProgram(t, "KUBEBYON_KUBECTL", "kubectl"),
	}
	for _, dir := range []string{"bin", "standins", "notes", "temporary", "person"} {
		if err := os.MkdirAll(filepath.Join(r.home, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *leakRun) in(elem ...string) string {
	return filepath.Join(append([]string{r.home}, elem...)...)
}

// usePostgres gives the server all its secrets, in every way that it takes them.
func (r *leakRun) usePostgres() bool {
	r.t.Helper()
	password, key := "database-"+text(24), newKey()
	var dsn string
	var ok bool
	if r.database, dsn, ok = openOwnPostgres(r.t, password); !ok {
		return false
	}
	chosen := "chosen-" + text(24)
	r.ledger.keep(databasePassword, passwordIn(dsn))
	r.ledger.keepServerKey(r.t, key)
	r.ledger.keep(chosenPassword, chosen)
	write(r.t, r.in("person", "password"), chosen+"\n")
	r.settings = []string{
		"KUBEBYON_DATABASE_URL=" + dsn, "KUBEBYON_SECRET_KEY=" + key,
		"PGPASSWORD=" + passwordIn(dsn), "KUBEBYON_ADMIN_PASSWORD_FILE=" + r.in("person", "password"), "KUBEBYON_TRUSTED_PROXY_CIDRS=127.0.0.0/8",
	}
	return true
}

func passwordIn(dsn string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(dsn, "postgres://"), ":")
	password, _, _ := strings.Cut(rest, "@")
	return password
}

// text is n random characters.
func text(n int) string { return strings.ToLower(rand.Text() + rand.Text())[:n] }

func (r *leakRun) all() {
	r.prepare()
	formats := []string{"json", "text"}
	if r.name == "postgres" {
		slices.Reverse(formats)
	}
	r.start(formats[0])
	if r.name == "sqlite" {
		r.openSQLite()
	}
	r.signInAsAdmin()
	r.accounts()
	r.systemSettings()
	r.rotateKeys()
	key := r.apiKey()
	id, leaky := r.clusters()
	r.kubeconfigs(id)
	r.keepFiles(id)
	value := r.join(id)
	r.useCluster()
	r.nodes(id)
	r.refusals(id, value, key)
	r.awaitLastWords(leaky)
	r.crash(id, formats[1])
	r.end(id, leaky)
}

// prepare puts the stand-ins into their places.
func (r *leakRun) prepare() {
	r.t.Helper()
	r.lastWords()
	executable := func(file, content string) {
		if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
			r.t.Fatal(err)
		}
	}
	executable(r.in("bin", "kubebyon-localplane"), fmt.Sprintf(planeStandin, r.in("notes"), r.in("person"), r.plane))
	executable(r.in("bin", "standin"), fmt.Sprintf(standin, r.in("notes")))
	script, err := os.ReadFile("../../adapters/httpapi/joinscript/join.sh")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, word := range regexp.MustCompile(`[a-z][a-z0-9]+`).FindAllString(string(script)+" curl", -1) {
		if info, err := os.Stat("/usr/bin/" + word); err != nil || info.IsDir() {
			continue
		}
		if err := os.Symlink(r.in("bin", "standin"), r.in("standins", word)); err != nil && !os.IsExist(err) {
			r.t.Fatal(err)
		}
	}
}

// lastWords are what a control plane could print that dies: whatever is secret
// in them must not get further than this process.
func (r *leakRun) lastWords() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		r.t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	r.ledger.keepKeys(lastWord, block)
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	copy(raw[6:], []byte{0xff, 0xff, 0xff}) // "////" in the middle
	var said []string
	for _, s := range []struct{ before, secret string }{
		{"token ", text(6) + "." + text(16)},
		{"password=", text(20)},
		{"Authorization: Bearer ", text(30)},
		{`"client-secret": "`, text(24)},
		{"kbt_", text(43)},
		{"https://u:", text(20)},
		{"", base64.StdEncoding.EncodeToString(der)},
		{"", base64.StdEncoding.EncodeToString(raw)},
	} {
		end := ""
		if strings.HasPrefix(s.before, "https:") {
			end = "@127.0.0.1/"
		}
		r.ledger.keep(lastWord, s.secret)
		said = append(said, s.before+s.secret+end)
	}
	// Only the last 4 KB are kept, and they begin in the key's first line.
	last := strings.Join(said, " ") + "\n"
	noise := strings.Repeat(".", 4096+60-len(block)-len(last)-1) + "\n"
	write(r.t, r.in("person", "last-words"), string(block)+noise+last)
	reason, err := json.Marshal(object{"stage": "failed", "reason": string(block) + strings.Join(said, " ")})
	if err != nil {
		r.t.Fatal(err)
	}
	write(r.t, r.in("person", "last-reason"), string(reason)+"\n")
}

func (r *leakRun) environment() []string {
	return []string{"PATH=" + r.in("standins") + ":/usr/local/bin:/usr/bin:/bin", "HOME=" + r.in("person"), "TMPDIR=" + r.in("temporary")}
}

// start runs the server as one whose umask protects nothing.
func (r *leakRun) start(format string) {
	r.t.Helper()
	s := &server{addr: r.addr, url: "http://" + r.addr, log: new(tailBuffer), exited: make(chan error, 1)}
	out, log := &output{also: s.log}, &output{also: s.log}
	s.cmd = exec.CommandContext(context.Background(), "/bin/sh", "-c", `umask 000; exec "$@"`, "sh", program, "dev",
		"--data-dir", r.in("data"), "--http-addr", r.addr, "--metrics-addr", r.metrics, "--localplane", r.in("bin", "kubebyon-localplane"),
		"--log-level", "debug", "--log-format", format, "--auth-rate-limit-burst", "10000", "--join-rate-limit-burst", "10000")
	s.cmd.Env = append(r.environment(), r.settings...)
	s.cmd.Stdout, s.cmd.Stderr = out, log
	if err := s.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { s.exited <- s.cmd.Wait() }()
	r.t.Cleanup(func() {
		s.stop(r.t)
		r.ledger.record("output of kubebyon dev", r.name, out.all())
		r.ledger.record("log of the server", r.name+", as "+format, log.all())
	})
	r.server = s
	s.log.awaitRunning(r.t, 60*time.Second)
}

func (r *leakRun) openSQLite() {
	r.t.Helper()
	var err error
	if r.database.db, err = sql.Open("sqlite", "file:"+r.in("data", "kubebyon.db")+"?_pragma=busy_timeout(10000)"); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = r.database.db.Close() })
}

// client is somebody with a cookie jar, whose answers are kept.
func (r *leakRun) client() *client {
	r.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	r.t.Cleanup(transport.CloseIdleConnections)
	return &client{t: r.t, url: "http://" + r.addr, http: &http.Client{
		Jar: jar, Timeout: time.Minute, Transport: &recorder{ledger: r.ledger, source: r.name, next: transport},
	}}
}

// signIn returns the client and its session.
func (r *leakRun) signIn(email, password string) (*client, string) {
	r.t.Helper()
	c := r.client()
	c.must("POST", "/api/auth/login", object{"email": email, "password": password}, http.StatusOK)
	at, err := http.NewRequest(http.MethodGet, c.url, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	cookies := c.http.Jar.Cookies(at.URL)
	if len(cookies) != 1 {
		r.t.Fatalf("signing in gave the cookies %d", len(cookies))
	}
	r.ledger.keepCredential(sessionValue, cookies[0].Value)
	return c, cookies[0].Value
}

func (r *leakRun) signInAsAdmin() {
	r.t.Helper()
	r.admin, r.session = r.signIn(adminEmail, r.adminPassword())
	for _, wrong := range []string{"wrong-" + text(20), `wrong"\<&>` + text(20)} {
		r.ledger.keep(wrongPassword, wrong)
		r.client().must("POST", "/api/auth/login", object{"email": adminEmail, "password": wrong}, http.StatusUnauthorized)
		r.client().must("POST", "/api/auth/login", object{"email": wrong + "@example.com", "password": wrong}, http.StatusUnauthorized)
		r.client().must("POST", "/api/auth/login", object{"email": wrong, "password": adminEmail}, http.StatusUnauthorized)
	}
	r.admin.must("GET", "/api/auth/me", nil, http.StatusOK)
}

func (r *leakRun) adminPassword() string {
	r.t.Helper()
	if r.name == "postgres" {
		text, err := os.ReadFile(r.in("person", "password"))
		if err != nil {
			r.t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	password := adminPassword(r.t, r.in("data"))
	r.ledger.keep(initialPassword, password)
	r.masterKey()
	return password
}

// keepServerKey remembers a key for secrets at rest, and its bytes.
func (l *ledger) keepServerKey(t testing.TB, text string) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	l.keep(serverKey, text)
	l.keepBytes(serverKey, raw)
}

// command runs kubebyon admin and records what it prints.
func (r *leakRun) command(stdin string, arguments ...string) (printed string, err error) {
	r.t.Helper()
	if r.name == "sqlite" {
		arguments = append(arguments, "--data-dir", r.in("data"))
	}
	cmd := exec.CommandContext(r.t.Context(), program, append([]string{"admin"}, append(arguments, "--log-level", "debug")...)...)
	cmd.Env = append(r.environment(), slices.DeleteFunc(slices.Clone(r.settings), func(v string) bool {
		return !strings.Contains(v, "DATABASE") && (arguments[0] != "rotate-key" || !strings.Contains(v, "SECRET_KEY"))
	})...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	err = cmd.Run()
	r.ledger.record("output of kubebyon admin "+arguments[0], r.name, out.Bytes())
	r.ledger.record("errors of kubebyon admin "+arguments[0], r.name, log.Bytes())
	if err != nil {
		err = fmt.Errorf("%w: %s", err, log.String())
	}
	return out.String(), err
}

var madeRE = regexp.MustCompile(`shown this once: (\S+)`)

func (r *leakRun) accounts() {
	r.t.Helper()
	chosen, next := `chosen "\ä<&>/%+ `+text(20), "chosen-"+text(24)
	tooLong := strings.Repeat("long-", 60) + text(20)
	r.ledger.keep(chosenPassword, chosen)
	r.ledger.keep(chosenPassword, next)
	r.ledger.keep(refusedPassword, tooLong[len(tooLong)-20:])
	if _, err := r.command(tooLong, "create", "--email", "eve@example.com", "--role", "user", "--password-stdin"); err == nil {
		r.t.Error("a password of 320 characters was taken")
	}
	for _, c := range []struct{ stdin, verb, email, fromStdin string }{
		{chosen, "create", "ada@example.com", "true"},
		{"", "create", "bob@example.com", "false"},
		{next, "reset", "ada@example.com", "true"},
		{"", "reset", "bob@example.com", "false"},
	} {
		out, err := r.command(c.stdin, c.verb, "--email", c.email, "--password-stdin="+c.fromStdin)
		if err != nil {
			r.t.Fatal(err)
		}
		password := strings.TrimSuffix(c.stdin, "\n")
		if m := madeRE.FindStringSubmatch(out); m != nil {
			password = m[1]
			r.ledger.keep(madePassword, password)
		}
		someone, _ := r.signIn(c.email, password) // a reset ends the sessions
		someone.must("GET", "/api/console/me", nil, http.StatusOK)
	}
	if _, err := r.command("", "list"); err != nil {
		r.t.Fatal(err)
	}
	r.reset("bob@example.com")
	r.database.keepHashes(r.t, r.ledger)
}

// reset has the administrator set an account's password, first one that is made up.
func (r *leakRun) reset(email string) {
	r.t.Helper()
	found := r.admin.must("GET", "/api/console/admin/users?search="+email, nil, http.StatusOK)["users"].([]any)
	at := "/api/console/admin/users/" + found[0].(object)["id"].(string) + "/reset-password"
	made := r.admin.must("POST", at, object{}, http.StatusOK)["temporary_password"].(string)
	r.ledger.keep(tempPassword, made)
	r.signIn(email, made)
	chosen := "chosen-" + text(24)
	r.ledger.keep(chosenPassword, chosen)
	r.admin.must("POST", at, object{"new_password": chosen}, http.StatusOK)
	r.signIn(email, chosen)
}

// apiKey makes a key, asks for it again, and uses it.
func (r *leakRun) apiKey() string {
	r.t.Helper()
	value := r.repeat("/api/console/api-keys", object{"name": "robot"})["api_key"].(object)["value"].(string)
	r.ledger.keepCredential(apiKeyValue, value)
	status, _, err := r.send(r.admin, "GET", "/api/console/me", nil, "Authorization", "Bearer "+value)
	if err != nil || status != http.StatusOK {
		r.t.Fatalf("with an API key: %d %v", status, err)
	}
	return value
}

// send is call with headers.
func (r *leakRun) send(c *client, method, at string, body []byte, headers ...string) (int, object, error) {
	ctx := r.t.Context()
	if strings.HasPrefix(at, "?") {
		ctx, at = context.WithValue(ctx, probeKey{}, true), at[1:]
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+at, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	out := object{}
	if json.Unmarshal(text, &out) != nil {
		out["text"] = string(text)
	}
	return resp.StatusCode, out, err
}

// repeat sends a request twice under one key and sees that the answers are one.
func (r *leakRun) repeat(at string, body object) object {
	r.t.Helper()
	in, err := json.Marshal(body)
	if err != nil {
		r.t.Fatal(err)
	}
	var first object
	for range 2 {
		status, out, err := r.send(r.admin, "POST", at, in, "Idempotency-Key", "once-"+path.Base(at))
		if err != nil || status != http.StatusCreated {
			r.t.Fatalf("POST %s: %d %v %v", at, status, out, err)
		}
		if first != nil && fmt.Sprint(first) != fmt.Sprint(out) {
			r.t.Fatalf("POST %s: a repeated request got another answer", at)
		}
		first = out
	}
	return first
}

func (r *leakRun) clusters() (id, leaky string) {
	r.t.Helper()
	id = r.repeat("/api/console/clusters", object{"name": "demo"})["cluster"].(object)["id"].(string)
	for at, body := range map[string]object{"/kubeconfig": {"password": r.adminPassword()}, "/join-token": {"ttl_seconds": 1}} { // too early
		if status, out, err := r.admin.call("POST", "/api/console/clusters/"+id+at, body); err != nil || status >= 500 {
			r.t.Errorf("POST %s of a cluster that has just been asked for: %d %v %v", at, status, out, err)
		}
	}
	leaky = r.admin.createCluster("leaky")
	r.admin.awaitReachable(id, 2*time.Minute)
	r.admin.must("PUT", "/api/console/clusters/"+id, object{"workload_cpu_limit_milli_cores": 2500}, http.StatusOK)
	return id, leaky
}

func (r *leakRun) kubeconfigs(id string) {
	r.t.Helper()
	at, wrong := "/api/console/clusters/"+id+"/kubeconfig", "wrong-"+text(20)
	r.ledger.keep(wrongPassword, wrong)
	r.admin.must("POST", at, object{"password": wrong}, http.StatusUnauthorized)
	r.admin.must("POST", at, object{"password": ""}, http.StatusBadRequest)
	r.ledger.keepKubeconfig(r.t, adminKey, r.admin.kubeconfig(id, r.adminPassword(), r.in("person", "kubeconfig")))
	r.ledger.keepKubeconfig(r.t, adminKey, r.admin.must("POST", at+"?download=1", object{"password": r.adminPassword()}, http.StatusOK)["text"].(string))
}

var keyDataRE = regexp.MustCompile(`client-key-data"?: *"?([A-Za-z0-9+/=]+)`)

func (l *ledger) keepKubeconfig(t testing.TB, kind secretKind, text string) {
	t.Helper()
	m := keyDataRE.FindStringSubmatch(text)
	if m == nil {
		t.Fatal("a kubeconfig has no key")
	}
	key, err := base64.StdEncoding.DecodeString(m[1])
	if err != nil || l.keepKeys(kind, key) != 1 {
		t.Fatalf("a kubeconfig's key is none: %v", err)
	}
}

// keepFiles remembers the keys in a control plane's folder.
func (r *leakRun) keepFiles(id string) {
	r.t.Helper()
	files, err := filepath.Glob(r.in("data", "planes", "data", id, "pki", "*.key"))
	if err != nil || len(files) < 5 {
		r.t.Fatalf("the keys of a control plane: %v %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			r.t.Fatal(err)
		}
		kind := componentKey
		switch filepath.Base(file) {
		case "ca.key", "front-proxy-ca.key":
			kind = authorityKey
		case "sa.key":
			kind = accountsKey
		case "admin.key":
			kind = adminKey
		}
		if r.ledger.keepKeys(kind, text) == 0 {
			r.t.Fatalf("%s holds no key that is understood", file)
		}
	}
}

var bootstrapRE = regexp.MustCompile(`(?m)^([a-z0-9]{6})\.([a-z0-9]{16})$`)

// keepBootstrap remembers the bootstrap secret in a script, and sees that the
// cluster has the same.
func (r *leakRun) keepBootstrap(script string) {
	r.t.Helper()
	m := bootstrapRE.FindStringSubmatch(script)
	if m == nil {
		r.t.Fatal("a join script has no bootstrap token")
	}
	r.ledger.keep(bootstrapValue, m[2])
	r.ledger.keep(bootstrapValue, m[1]+"."+m[2])
	inCluster := kube(r.t, r.kubectl, r.in("person", "kubeconfig"), "-n", "kube-system", "get", "secret", "bootstrap-token-"+m[1], "-o", "jsonpath={.data.token-secret}")
	if raw, err := base64.StdEncoding.DecodeString(inCluster); err != nil || string(raw) != m[2] {
		r.t.Errorf("the cluster's bootstrap secret is another than the script's: %v", err)
	}
}

func (r *leakRun) token(id string) (token, value string) {
	r.t.Helper()
	out := r.admin.must("POST", "/api/console/clusters/"+id+"/join-token", object{}, http.StatusCreated)["token"].(object)
	r.ledger.keepCredential(joinTokenValue, out["value"].(string))
	return out["id"].(string), out["value"].(string)
}

// join has a machine join, and uses tokens in every way that they can fail.
func (r *leakRun) join(id string) (value string) {
	r.t.Helper()
	long := "/api/join/clusters/" + id + "/script?token="
	script := func(at string, status int) string {
		return r.admin.must("GET", at, nil, status)["text"].(string)
	}
	out := r.repeat("/api/console/clusters/"+id+"/join-token", object{"ttl_seconds": 600})["token"].(object)
	value = out["value"].(string)
	r.ledger.keepCredential(joinTokenValue, value)
	if kept := r.database.texts(r.t, "SELECT operation FROM replies"); len(kept) != 3 {
		r.t.Errorf("of three answers that may be asked for again, the database has %v", kept)
	}
	r.keepBootstrap(script("/join?token="+value, http.StatusOK))
	r.admin.must("HEAD", "/join?token="+value, nil, http.StatusOK)

	revoked, revokedValue := r.token(id)
	r.keepBootstrap(script(long+revokedValue, http.StatusOK))
	r.admin.must("DELETE", "/api/console/tokens/"+revoked, nil, http.StatusOK)
	expired, expiredValue := r.token(id)
	r.keepBootstrap(script("/join?token="+expiredValue, http.StatusOK))
	r.database.exec(r.t, "UPDATE tokens SET expires_at = created_at WHERE id = '"+expired+"'")
	unknown := "kbt_" + base64.RawURLEncoding.EncodeToString([]byte(text(32)))
	r.ledger.keep(madeUpCredential, unknown)
	for _, v := range []string{revokedValue, expiredValue, unknown, unknown[:20]} {
		script("/join?token="+v, http.StatusOK)
		script(long+v, http.StatusForbidden)
	}
	script("/api/join/clusters/cl_00000000000000000000000000/script?token="+value, http.StatusNotFound)

	r.t.Cleanup(func() { endHollowNodes(r.home) })
	if text, err := r.shell(out["join_command"].(string), "worker-1"); err != nil {
		r.t.Fatalf("join: %v: %s", err, text)
	}
	if text, err := r.shell(out["join_command"].(string), "worker-2"); err == nil {
		r.t.Errorf("a token has let in two machines: %s", text)
	}
	return value
}

// shell types a command on a machine that is to be a hollow node.
func (r *leakRun) shell(command, node string) (string, error) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "/bin/sh")
	cmd.Stdin = strings.NewReader("umask 000\n" + command + "\n")
	cmd.Env = append(r.environment(), "KUBEBYON_HOLLOW_NODE="+r.in("bin", "kubebyon-localplane"), "KUBEBYON_NODE_NAME="+node, "KUBEBYON_NODE_DIR="+r.in("nodes", node))
	text, err := cmd.CombinedOutput()
	r.ledger.record("output of a join", r.name+" "+node, text)
	return string(text), err
}

func (r *leakRun) useCluster() {
	r.t.Helper()
	file := r.in("person", "kubeconfig")
	token := strings.TrimSpace(kube(r.t, r.kubectl, file, "create", "token", "default"))
	r.ledger.keep(accountToken, token[strings.LastIndexByte(token, '.')+1:])
	kube(r.t, r.kubectl, file, "create", "namespace", "mine")
	found := 0
	err := filepath.WalkDir(r.in("nodes", "worker-1"), func(file string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(file, ".pem") && !strings.HasSuffix(file, ".key") {
			return err
		}
		text, err := os.ReadFile(file)
		found += r.ledger.keepKeys(nodeKey, text)
		return err
	})
	if err != nil || found == 0 {
		r.t.Fatalf("the node's key was not found: %v", err)
	}
}

func (r *leakRun) nodes(id string) {
	r.t.Helper()
	var list []any
	for late := time.Now().Add(30 * time.Second); len(list) == 0; time.Sleep(20 * time.Millisecond) {
		list = r.admin.must("GET", "/api/console/nodes?cluster_id="+id, nil, http.StatusOK)["nodes"].([]any)
		if time.Now().After(late) {
			r.t.Fatal("the cluster shows no node")
		}
	}
	node := "/api/console/nodes/" + list[0].(object)["id"].(string)
	r.admin.must("POST", node+"/cordon", nil, http.StatusOK)
	r.admin.must("POST", node+"/drain", object{"timeout_seconds": 20}, http.StatusOK)
	r.admin.must("POST", node+"/uncordon", nil, http.StatusOK)
	r.admin.must("GET", node, nil, http.StatusOK)
}

// refusals sends every kind of rubbish that holds a secret where it does not belong.
func (r *leakRun) refusals(id, token, key string) {
	r.t.Helper()
	c, n := r.client(), 0
	secrets := []string{r.adminPassword(), r.session, token, key, "kbt_" + text(20), "kbs_" + text(43), "kbk_" + text(30)}
	for i, s := range secrets {
		if i >= 4 {
			r.ledger.keep(madeUpCredential, s)
		}
		quoted, err := json.Marshal(s)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, body := range []string{
			`{` + string(quoted) + `:1}`, `{"name":{` + string(quoted) + `:[]}}`, `{"name":` + string(quoted), string(quoted), `[` + string(quoted) + `]`,
			`{"name":"x\u0000` + s + `"}`, `{"name":"x","kubernetes_version":` + string(quoted) + `}`, `{"name":"x","vcluster_name":"` + strings.ToUpper(s) + `"}`,
			`{"name":"x","control_plane_host":"_` + s + `"}`, `{"name":"x","namespace":` + string(quoted) + `}`, `{"ttl_seconds":` + string(quoted) + `}`,
		} {
			for _, at := range []string{"/api/auth/login", "/api/console/clusters", "/api/console/clusters/" + id + "/join-token", "/api/console/me"} {
				method := "POST"
				if at == "/api/console/me" {
					method = "PUT"
				}
				n += r.refused(r.admin, method, at, []byte(body), "Accept", s)
			}
		}
		for _, at := range []string{
			"/" + s, "/api/console/clusters/" + s, "/api/console/nodes/" + s + "/cordon", "/join/" + s, "/docs/" + s, "/api/join/clusters/" + s + "/script?token=" + token[:30],
			"/api/console/clusters?cursor=" + s, "/api/console/activities?cursor=" + s, "/api/console/clusters/" + id + "?token=" + s, "/api/console/nodes?cluster_id=" + s, "/api/console/node-events?type=" + s,
		} {
			n += r.refused(r.admin, "GET", at, nil)
			n += r.refused(c, "DELETE", at, nil)
		}
		for _, header := range []string{"Authorization", "Cookie", "Origin", "Referer", "Host", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "If-Match", "Content-Type", "Accept", "Idempotency-Key", "Access-Control-Request-Method"} {
			for _, value := range []string{s, "Bearer x" + s, "kubebyon_session=" + s + "x", "http://" + s, "for=" + s} {
				n += r.refused(c, "POST", "/api/console/clusters", []byte("{}"), header, value)
			}
		}
		if i > 0 { // a trusted proxy's name for a request cannot be told from a password
			n += r.refused(c, "GET", "/api/console/me", nil, "X-Request-Id", s)
		}
		r.rawRequests(s)
	}
	if status, _, err := r.send(r.admin, "POST", "?/api/console/clusters", []byte("{}"), "Origin", "http://evil.example", "Authorization", ""); err != nil || status < 400 {
		r.t.Errorf("a foreign origin: %d %v", status, err)
	}
	r.t.Logf("%s: sent %d requests with secrets where none belong", r.name, n)
}

func (r *leakRun) refused(c *client, method, at string, body []byte, headers ...string) int {
	r.t.Helper()
	status, _, err := r.send(c, method, "?"+strings.ReplaceAll(at, " ", "%20"), body, headers...)
	if status >= 500 {
		r.t.Errorf("%s with rubbish: %d", method, status)
	}
	_ = err // the client itself refuses some
	return 1
}

// rawRequests are broken where no client breaks them.
func (r *leakRun) rawRequests(s string) {
	r.t.Helper()
	for _, request := range []string{
		"GET /join?token=" + s + " HTTP/9.9\r\n\r\n", "GET /join?token=" + s + "\r\n\r\n", s + " / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n" + s + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: " + s + "/\x01\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nA: \x00" + s + "\r\n\r\n",
		"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: " + s + "\r\n\r\n", "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + s + "\r\n\r\n",
		"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"password\":\"" + s, "GET %zz" + s + " HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		conn, err := new(net.Dialer).DialContext(r.t.Context(), "tcp", r.addr)
		if err != nil {
			r.t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, err = io.WriteString(conn, request)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		answer, _ := io.ReadAll(conn)
		_ = conn.Close()
		if err != nil {
			r.t.Logf("%s: a raw request broke off: %v", r.name, err)
		}
		r.ledger.record("answer to a broken request", r.name, answer)
	}
}

// awaitLastWords waits for the cluster whose control plane tells secrets.
func (r *leakRun) awaitLastWords(leaky string) {
	r.t.Helper()
	r.admin.awaitCluster(leaky, time.Minute, "in error", func(_ int, cluster object) bool { return cluster["status"] == "error" })
}

// crash kills a control plane, then the server, and starts it again.
func (r *leakRun) crash(id, format string) {
	r.t.Helper()
	killed := tenantOf(r.home, id)
	_ = syscall.Kill(killed, syscall.SIGKILL)
	r.admin.awaitCluster(id, time.Minute, "running again", func(int, object) bool {
		pid := tenantOf(r.home, id)
		return pid != 0 && pid != killed
	})
	r.observe(id)
	r.server.kill(r.t)
	awaitNoPlanes(r.t, r.home, 10*time.Second)
	r.sweepAll("after the crash")
	r.start(format)
	before := r.admin.must("GET", "/api/console/clusters/"+id, nil, http.StatusOK)["cluster"].(object)["last_observed_at"]
	r.admin.awaitCluster(id, 2*time.Minute, "reachable again", func(_ int, cluster object) bool {
		return cluster["connection_status"] == "reachable" && cluster["last_observed_at"] != before
	})
}

// tenantOf is the process of a cluster's control plane, 0 if there is none.
func tenantOf(home, id string) int {
	for _, p := range processes(filepath.Join(home, "data", "planes", "data", id), "kubebyon-localplane tenant ") {
		return p.pid
	}
	return 0
}

// observe reads all that people and machines may read.
func (r *leakRun) observe(id string) {
	r.t.Helper()
	for _, at := range []string{
		"/api/auth/providers", "/api/console/me", "/api/console/clusters", "/api/console/clusters/" + id, "/api/console/clusters/" + id + "/operations", "/api/console/nodes",
		"/api/console/node-events", "/api/console/overview", "/api/console/activities", "/api/console/admin/system-settings", "/healthz", "/readyz", "/version", "/openapi.json", "/openapi.yaml", "/docs/",
	} {
		r.admin.must("GET", at, nil, http.StatusOK)
	}
	pages := 0
	for at, more := "/api/console/admin/activities?limit=10", true; more; pages++ {
		next, _ := r.admin.must("GET", at, nil, http.StatusOK)["next_cursor"].(string)
		at, more = "/api/console/admin/activities?limit=10&cursor="+next, next != ""
	}
	if pages < 2 {
		r.t.Errorf("%s: there is %d page of audit events", r.name, pages)
	}
	resp, err := http.Get("http://" + r.metrics + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Contains(text, []byte("kubebyon_http_request")) {
		r.t.Fatalf("metrics: %v: %s", err, text)
	}
	r.ledger.record("metrics", r.name, text)
}

func (r *leakRun) sweepAll(when string) {
	r.t.Helper()
	source := r.name + ", " + when + ":"
	values := r.database.dump(r.t, r.ledger, source)
	if values < 500 {
		r.t.Errorf("%s the database holds %d values", source, values)
	}
	r.ledger.sweep(r.t, source, r.in("data"), dataFile)
	r.ledger.sweep(r.t, source, r.in("nodes", "worker-1"), nodeFile)
	r.ledger.sweep(r.t, source, r.in("temporary"), func(rel string) string { return "left behind, " + temporaryFile(rel) })
}

// end takes everything down in order.
func (r *leakRun) end(id, leaky string) {
	r.t.Helper()
	r.admin.must("GET", "/api/auth/me", nil, http.StatusOK)
	r.observe(id)
	r.sweepAll("before the end")
	for _, n := range r.admin.must("GET", "/api/console/nodes", nil, http.StatusOK)["nodes"].([]any) {
		r.admin.must("DELETE", "/api/console/nodes/"+n.(object)["id"].(string), nil, http.StatusNoContent)
	}
	for _, cluster := range []string{id, leaky} {
		r.admin.must("DELETE", "/api/console/clusters/"+cluster, nil, http.StatusAccepted)
	}
	for _, cluster := range []string{id, leaky} {
		r.admin.awaitGone(cluster, time.Minute)
	}
	r.admin.must("POST", "/api/auth/logout", nil, http.StatusNoContent)
	r.server.stop(r.t)
	endHollowNodes(r.home)
	r.sweepAll("at the end")
	r.t.Logf("%s: %d notes of programs that ran", r.name, r.ledger.lookAtNotes(r.t, r.name, r.in("notes")))
}
