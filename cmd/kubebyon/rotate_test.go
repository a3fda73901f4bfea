package main_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const masterPassword = "correct horse battery"

// once asks for a cluster with a key that makes a repeated request safe, and
// returns its id. The answer is kept sealed.
func once(c *client, name string) string {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+"/api/console/clusters", strings.NewReader(`{"name":"`+name+`"}`))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", name)
	resp, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	var out object
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != http.StatusCreated {
		c.t.Fatalf("%s: %d %v %v", name, resp.StatusCode, out, err)
	}
	return out["cluster"].(object)["id"].(string)
}

// Both keys are replaced beside two servers on one PostgreSQL: neither notices,
// and what either has sealed opens in the other, before and after a start anew.
func TestKeysAreReplacedBesideRunningServers(t *testing.T) {
	t.Parallel()
	old := newKey()
	site := newSite(t, "KUBEBYON_DATABASE_URL="+freshPostgres(t), "KUBEBYON_ADMIN_PASSWORD="+masterPassword, "KUBEBYON_SECRET_KEY="+old)
	servers := []*server{site.serve(), site.serve()}
	var people []*client
	for _, s := range servers {
		s.awaitCheck(t, "database", "ok")
		people = append(people, signInWith(t, s, masterPassword))
	}
	ids := map[string]string{}
	both := func(when string) {
		t.Helper()
		ids[when] = once(people[0], when)
		for name, id := range ids {
			for i, p := range people {
				if got := once(p, name); got != id {
					t.Errorf("%s: server %d answers %q with the cluster %s, not %s", when, i, name, got, id)
				}
			}
		}
	}
	rotate := func(want string, arguments ...string) {
		t.Helper()
		out, err := site.call("", append([]string{"admin", "rotate-key"}, arguments...)...)
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("rotate-key %v: %v\n%s", arguments, err, out)
		}
	}
	both("first")
	rotate("Values sealed anew: 1. Data keys: 2, after 0 were removed.")
	both("rotated")

	next := newKey()
	file := filepath.Join(t.TempDir(), "next.key")
	write(t, file, next+"\n")
	rotate("start them again soon", "--new-key-file", file)
	rotate("already", "--new-key-file", file)
	both("wrapped")

	if out := site.serve().end(t, 30*time.Second); !strings.Contains(out, "The key in KUBEBYON_SECRET_KEY") || !strings.Contains(out, "is not the one that this installation's secrets are sealed with") {
		t.Errorf("with the old key it ends with:\n%s", out)
	}
	site.set("KUBEBYON_SECRET_KEY", next)
	rotate("Data keys: 3")
	for i := range servers {
		servers[i].stop(t)
		servers[i] = site.serve()
		servers[i].awaitCheck(t, "database", "ok")
		people[i] = signInWith(t, servers[i], masterPassword)
	}
	both("started-anew")
	for _, key := range []string{old, next} {
		for _, s := range servers {
			if strings.Contains(s.log.tail(), strings.TrimRight(key, "=")) {
				t.Error("a key is in the log")
			}
		}
	}
}

// The key file of a data folder is replaced beside its server, which goes on and
// starts again; so is that of a folder from before there were data keys.
func TestTheKeyFileIsReplaced(t *testing.T) {
	t.Parallel()
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	data := oldDataFolder(t, "testdata/data-schema-1.tar.gz")
	first := keyIn(t, data)
	s := startServer(t, data, plane)
	c := withCookie(t, s, "")
	c.must("POST", "/api/auth/login", object{"email": adminEmail, "password": keptPassword}, http.StatusOK)
	id := once(c, "before")
	site := &site{t: t, environment: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}}
	next := newKey()
	file := filepath.Join(t.TempDir(), "next.key")
	write(t, file, next)
	for _, arguments := range [][]string{nil, {"--new-key-file", file}, nil} {
		if out, err := site.call("", append([]string{"admin", "rotate-key", "--data-dir", data}, arguments...)...); err != nil {
			t.Fatalf("rotate-key %v: %v\n%s", arguments, err, out)
		}
	}
	if key := keyIn(t, data); key != next || key == first {
		t.Error("the key file does not hold the new key")
	}
	later := once(c, "later")
	for range 2 {
		if got := once(c, "before"); got != id {
			t.Errorf("the request from before is answered with %s, not %s", got, id)
		}
		if got := once(c, "later"); got != later {
			t.Errorf("the request from later is answered with %s, not %s", got, later)
		}
		s.stop(t)
		s = startServerAt(t, s.addr, data, plane)
	}
	s.stop(t)
	write(t, filepath.Join(data, "secret.key"), first)
	out := launch(t, s.addr, data, plane).end(t, 20*time.Second)
	if !strings.Contains(out, "The key in the file "+filepath.Join(data, "secret.key")) || !strings.Contains(out, "is not the one that this installation's secrets are sealed with") {
		t.Errorf("with the first key it ends with:\n%s", out)
	}
	if err := os.Remove(filepath.Join(data, "secret.key")); err != nil {
		t.Fatal(err)
	}
	if out, err := site.call("", "admin", "rotate-key", "--data-dir", data); err == nil || !strings.Contains(out, "is missing") {
		t.Errorf("without a key: %v\n%s", err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "secret.key*")); len(left) != 0 {
		t.Errorf("a key was made: %v", left)
	}
}

func keyIn(t *testing.T, data string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(text))
	if raw, err := base64.StdEncoding.DecodeString(key); err != nil || len(raw) != 32 {
		t.Fatalf("the key file holds no key: %v", err)
	}
	return key
}
