package main_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

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
	made := r.repeat("/api/console/api-keys", object{"name": "robot"})["api_key"].(object)
	value, kite := made["value"].(string), made["kite_value"].(string)
	r.ledger.keepCredential(apiKeyValue, value)
	r.ledger.keep(apiKeyValue, kite[strings.IndexByte(kite, '-')+1:])
	for key, want := range map[string]int{kite: http.StatusOK, "kite0-" + kite: http.StatusUnauthorized, kite + "x": http.StatusUnauthorized} {
		if status, _, err := r.send(r.client(), "GET", "/api/v1/admin/clusters/", nil, "Authorization", key); err != nil || status != want {
			r.t.Fatalf("with an API key in Kite's spelling: %d %v, want %d", status, err, want)
		}
	}
	status, _, err := r.send(r.admin, "GET", "/api/console/me", nil, "Authorization", "Bearer "+value)
	if err != nil || status != http.StatusOK {
		r.t.Fatalf("with an API key: %d %v", status, err)
	}
	return value
}
