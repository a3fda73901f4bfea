package httpapi_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
)

const kiteClusters = "/api/v1/admin/clusters/"

// kiteKey makes an API key and returns it in Kite's spelling.
func (w *world) kiteKey(email string) string {
	w.t.Helper()
	return w.as(email).do("POST", "/api/console/api-keys", map[string]any{"name": "kite"}).want(201, "").text("api_key", "kite_value")
}

func (w *world) kite(email string) caller {
	w.t.Helper()
	return w.anybody().with("Authorization", w.kiteKey(email))
}

// says checks an answer of Kite's.
func (a answer) says(status int, body string) {
	a.t.Helper()
	if got := strings.TrimSpace(a.Body.String()); a.Code != status || got != body {
		a.t.Errorf("%s: %d %s, want %d %s", a.what, a.Code, got, status, body)
	}
}

func kiteError(text string) string { return `{"error":"` + text + `"}` }

// TestKiteExamples replays the examples of Kite's document in its order, at its
// own path and under the dialect's, with a kubeconfig where the document leaves one out.
func TestKiteExamples(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "/dialects/kite"} {
		t.Run("at "+base, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.kite(adminEmail)
			if key := c.header.Get("Authorization"); !strings.HasPrefix(key, "kite1-") {
				t.Errorf("the first key of an account is not kite1-…")
			}
			at := base + kiteClusters
			c.do("GET", at, nil).says(200, "[]")
			c.do("POST", at, `{
    "name":"demo-cluster",
    "description":"staging cluster",
    "config":"`+aKubeconfig+`",
    "prometheusURL":"http://prometheus.monitoring.svc:9090",
    "inCluster":false,
    "isDefault":true
  }`).says(201, `{"id":1,"message":"cluster created successfully"}`)
			const item = `"id":1,"name":"demo-cluster","description":"staging cluster","enabled":true,"inCluster":false,"isDefault":true,"prometheusURL":"http://prometheus.monitoring.svc:9090","config":""`
			c.do("GET", at, nil).says(200, `[{`+item+`}]`)
			c.do("DELETE", at+"1", nil).says(400, kiteError("cannot delete default cluster"))
			c.do("PUT", at+"1", `{
    "description":"production cluster",
    "enabled":true
  }`).says(200, `{"message":"cluster updated successfully"}`)
			replaced := c.do("GET", at, nil)
			for _, want := range []string{`"name":"demo-cluster"`, `"description":"production cluster"`, `"isDefault":false`, `"prometheusURL":""`, `"config":""`} {
				if !strings.Contains(replaced.Body.String(), want) {
					t.Errorf("replaced, %s lacks %s", replaced.Body, want)
				}
			}
			c.do("DELETE", at+"1", nil).says(200, `{"message":"cluster deleted successfully"}`)
			c.do("POST", at+"import", `{
  "inCluster": true
}`).says(409, kiteError("This server does not run in a Kubernetes cluster."))
			c.do("POST", at+"import", `{
  "config": "staging https://203.0.113.10:6443 s\nlive https://203.0.113.11:6443 s",
  "inCluster": false
}`).says(201, `{"message":"imported 2 clusters successfully"}`)
			imported := c.do("GET", at, nil).Body.String()
			if !strings.Contains(imported, `"id":2,"name":"staging"`) || !strings.Contains(imported, `"id":3,"name":"live"`) || strings.Count(imported, `"isDefault":true`) != 1 {
				t.Errorf("imported %s", imported)
			}
			c.do("POST", at+"import", map[string]any{"config": "nonsense"}).says(403, kiteError("import not allowed when clusters exist"))
		})
	}
}

// TestKiteTellsWhichAnswer: a version of those that do, an error of those that do not.
func TestKiteTellsWhichAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.as(userEmail).cluster("good", true)
	bad := w.as(otherEmail).cluster("bad", true)
	w.clock.advance(time.Hour)
	w.change(bad, func(c *clusters.Cluster) { c.Lose("The cluster's API does not answer.", false, w.clock.now()) })
	got := w.kite(adminEmail).do("GET", kiteClusters, nil).Body.String()
	rows := strings.Split(got, "},{")
	if len(rows) != 2 || !strings.Contains(rows[0], `"version":"v1.36.3"`) || strings.Contains(rows[0], `"error"`) ||
		strings.Contains(rows[1], `"version"`) || !strings.Contains(rows[1], `"error":"The cluster's API does not answer."`) {
		t.Errorf("%s", got)
	}
}

// TestKiteSlashes: a path may end in one or not, and no body is lost on the way.
func TestKiteSlashes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.kite(adminEmail)
	path := strings.TrimSuffix(kiteClusters, "/")
	c.do("POST", path+"/import/", map[string]any{"config": aKubeconfig}).says(201, `{"message":"imported 1 clusters successfully"}`)
	c.do("POST", path, map[string]any{"name": "one", "config": aKubeconfig}).says(201, `{"id":2,"message":"cluster created successfully"}`)
	c.do("PUT", path+"/2/", map[string]any{"description": "x"}).says(200, `{"message":"cluster updated successfully"}`)
	c.do("DELETE", path+"/2/", nil).says(200, `{"message":"cluster deleted successfully"}`)
	c.do("GET", path, nil).want(200, "")
	c.do("GET", "/dialects/kite/api/v1/nothing", nil).says(404, kiteError("API endpoint not found"))
	c.do("PATCH", "/dialects/kite"+kiteClusters, nil).says(404, kiteError("API endpoint not found"))
}

// TestKiteCredentials: real Kite lets an empty secret in as an administrator.
func TestKiteCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := w.kiteKey(adminEmail)
	rest := strings.TrimPrefix(key, "kite1-")
	unknown, invalid := kiteError("Invalid or expired token"), kiteError("Invalid API key")
	for header, want := range map[string]string{
		"": unknown, "Bearer " + key: unknown, "Kite1-" + rest: unknown, rest: unknown, "Bearer kbk_unknown": unknown, "Basic YTpi": unknown, " " + key: "",
		"kite1-": invalid, "kite01-": invalid, "kite-": invalid, "kite": invalid, "kitefoo": invalid, "kite1-wrong": invalid, "kite999-x": invalid, "kite-1-" + rest: invalid,
		"kite01-" + rest: invalid, "kite2-" + rest: invalid, "kite0-" + rest: invalid, "kite1-kbk_" + rest: invalid, key + " ": "", "kite99999999999999999999-" + rest: invalid,
		key: "", "Bearer kbk_" + rest: "",
	} {
		if strings.TrimSpace(header) != header {
			continue // net/http takes the spaces away
		}
		a := w.anybody().with("Authorization", header).do("GET", kiteClusters, nil)
		if want == "" {
			a.says(200, "[]")
			continue
		}
		a.says(401, want)
	}
	w.anybody().do("GET", kiteClusters, nil).says(401, unknown)
	w.as(adminEmail).do("GET", kiteClusters, nil).says(200, "[]")
	two := w.anybody()
	two.header["Authorization"] = []string{key, key}
	two.do("GET", kiteClusters, nil).says(401, unknown)
	for _, email := range []string{userEmail, operatorMail} {
		w.kite(email).do("GET", kiteClusters, nil).says(403, kiteError("Admin role required"))
		w.kite(email).do("POST", kiteClusters, "{").says(403, kiteError("Admin role required"))
	}
	w.anybody().with("Authorization", key).do("GET", "/api/console/me", nil).want(401, "unauthenticated")
	w.account(bannedEmail, actor.Admin)
	banned := w.kite(bannedEmail)
	banned.do("GET", kiteClusters, nil).says(200, "[]")
	w.ban(bannedEmail)
	banned.do("GET", kiteClusters, nil).says(401, invalid)
	if strings.Contains(w.log.String(), rest) {
		t.Error("the log has the secret")
	}
}

// TestKiteErrors is the table of what is refused, and in which words.
func TestKiteErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.kite(adminEmail)
	c.do("POST", kiteClusters+"import", `{}`).says(400, kiteError("config is required when inCluster is false"))
	c.do("POST", kiteClusters, map[string]any{"NAME": "one", "config": aKubeconfig, "isdefault": true, "unknown": 1}).says(201, `{"id":1,"message":"cluster created successfully"}`)
	c.do("POST", kiteClusters, map[string]any{"name": "two", "config": aKubeconfig, "isDefault": true}).says(201, `{"id":2,"message":"cluster created successfully"}`)
	hosted := w.as(userEmail).cluster("hosted", true)
	number, err := strconv.ParseInt(w.number(hosted), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	type refusal struct {
		method, at string
		body       any
		status     int
		text       string // empty: any
	}
	for _, r := range []refusal{
		{"POST", "", map[string]any{"name": "one", "config": aKubeconfig}, 409, "cluster already exists"},
		{"POST", "", map[string]any{"config": aKubeconfig}, 400, ""},
		{"POST", "", map[string]any{"name": "three"}, 400, "config is required when inCluster is false"},
		{"POST", "", map[string]any{"name": "three", "config": "nonsense"}, 400, "config: This is no kubeconfig."},
		{"POST", "", map[string]any{"name": "three", "inCluster": true}, 409, ""},
		{"POST", "", map[string]any{"name": "three", "config": aKubeconfig, "prometheusURL": "ftp://x"}, 400, ""},
		{"POST", "", map[string]any{"name": 3}, 400, ""},
		{"POST", "", map[string]any{"name": "three", "isDefault": "yes"}, 400, ""},
		{"POST", "", "[]", 400, ""},
		{"POST", "", "{", 400, ""},
		{"POST", "", "", 400, ""},
		{"POST", "", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, 413, ""},
		{"POST", "import", "{", 400, ""},
		{"POST", "import", "{}", 400, "config is required when inCluster is false"},
		{"POST", "import", map[string]any{"config": aKubeconfig}, 403, "import not allowed when clusters exist"},
		{"PUT", "abc", "{}", 400, "invalid cluster id"},
		{"PUT", "-1", "{}", 400, "invalid cluster id"},
		{"PUT", "99", "{}", 404, "cluster not found"},
		{"PUT", "1", map[string]any{"name": "two"}, 409, "cluster already exists"},
		{"PUT", "1", map[string]any{"enabled": 1}, 400, ""},
		{"PUT", fmt.Sprint(number), map[string]any{"config": aKubeconfig}, 409, ""},
		{"DELETE", "abc", nil, 400, "invalid cluster id"},
		{"DELETE", "99", nil, 404, "cluster not found"},
		{"DELETE", "2", nil, 400, "cannot delete default cluster"},
	} {
		a := c.do(r.method, kiteClusters+r.at, r.body)
		text, _ := a.json()["error"].(string)
		if a.Code != r.status || text == "" || r.text != "" && text != r.text || len(a.json()) != 1 {
			t.Errorf("%s %s %.100v: %d %s, want %d %s", r.method, r.at, r.body, a.Code, a.Body, r.status, r.text)
		}
	}
	c.do("PUT", kiteClusters+"2", map[string]any{"isDefault": true, "enabled": false}).want(200, "")
	c.do("PUT", kiteClusters+"2", "{}").want(200, "")
	if got := c.do("GET", kiteClusters, nil).Body.String(); !strings.Contains(got, `"name":"two","description":"","enabled":false,"inCluster":false,"isDefault":false`) {
		t.Errorf("{} of a disabled cluster: %s", got)
	}
	c.do("DELETE", fmt.Sprint(kiteClusters, number), nil).says(200, `{"message":"cluster deleted successfully"}`)
	w.as(userEmail).with("Origin", foreignOrigin).do("POST", kiteClusters, "{}").says(403, kiteError("The request came from a web site that is not trusted here."))
}

// TestKiteServesItsDocument: all that the source document names.
func TestKiteServesItsDocument(t *testing.T) {
	t.Parallel()
	var got []string
	for path, item := range theSpec().dialects["Kite"].doc.Paths.Map() {
		for method := range item.Operations() {
			got = append(got, method+" "+path)
		}
	}
	slices.Sort(got)
	want := map[string]bool{
		http.MethodGet + " " + kiteClusters: true, http.MethodPost + " " + kiteClusters: true, http.MethodPut + " " + kiteClusters + "{id}": true,
		http.MethodDelete + " " + kiteClusters + "{id}": true, http.MethodPost + " " + kiteClusters + "import": true,
	}
	if !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("%q", got)
	}
}
