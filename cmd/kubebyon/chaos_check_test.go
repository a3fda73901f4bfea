package main_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite" // to look into the database that a server has left
)

// isAsPromised says what of all that was acknowledged is not so (yet).
func (u *chaosUser) isAsPromised() error {
	for _, p := range u.gone {
		if err := errors.Join(u.c.isNotFound("/api/console/clusters/"+p.id), u.c.nothingLeftOf(p)); err != nil {
			return err
		}
	}
	if u.now == nil || u.now.id == "" || u.now.gone {
		return nil
	}
	if err := u.isUp(); err != nil {
		return err
	}
	if u.now.tenant == nil {
		return nil
	}
	for _, t := range u.now.tokens {
		if err := u.c.joinError("HEAD", t.value, t.over); err != nil {
			return fmt.Errorf("token %s: %w", t.id, err)
		}
	}
	return errors.Join(u.onlyLiveSecrets(), u.checkNode())
}

// isUp says why the cluster is not ready, not as the last update wants it, or
// has an operation that has not succeeded.
func (u *chaosUser) isUp() error {
	a, err := u.c.send("GET", "/api/console/clusters/"+u.now.id, "", nil)
	if err == nil {
		err = a.want(http.StatusOK)
	}
	if err != nil {
		return err
	}
	if a.in("cluster", "status") != "ready" || a.in("cluster", "connection_status") != "reachable" {
		return fmt.Errorf("the cluster is not up: %v", a.body)
	}
	for name, want := range u.now.settings {
		if got := dig(a.body, "cluster", name); got != want {
			return fmt.Errorf("%s is %v, and %v was acknowledged", name, got, want)
		}
	}
	u.now.port = u.c.port(a.in("cluster", "api_endpoint"))
	if host := u.now.settings["control_plane_host"]; host != nil && a.in("cluster", "api_endpoint") != fmt.Sprintf("https://%v:%s", host, u.now.port) {
		return fmt.Errorf("the endpoint is %v, for the host %v", a.in("cluster", "api_endpoint"), host)
	}
	return u.operationsTell()
}

// port notes the port of an endpoint.
func (c *chaos) port(endpoint string) string {
	at, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.ports, at.Port()) {
		c.ports = append(c.ports, at.Port())
	}
	return at.Port()
}

// operationsTell says what the history of a cluster that lives lacks.
func (u *chaosUser) operationsTell() error {
	a, err := u.c.send("GET", "/api/console/clusters/"+u.now.id+"/operations", "", nil)
	if err == nil {
		err = a.want(http.StatusOK)
	}
	if err != nil {
		return err
	}
	want := map[string]int{"create": 1, "update": u.now.updates}
	if u.now.settings == nil {
		want["update"] = 0 // it has not been acknowledged
	}
	for _, kind := range []string{"operations", "jobs"} {
		got := map[string]int{}
		for _, o := range a.list(kind) {
			got[o["type"].(string)]++
			if err := u.c.cameOut(o); err != nil {
				return err
			}
		}
		if got["create"] != want["create"] || got["update"] != want["update"] || got["delete"] != 0 {
			return fmt.Errorf("the %s are %v, and %v were acknowledged", kind, got, want)
		}
	}
	return nil
}

// cameOut says what is wrong with an operation or a job as the API shows it.
func (c *chaos) cameOut(o object) error {
	if o["status"] != "succeeded" {
		return fmt.Errorf("not succeeded: %v", o)
	}
	var last time.Time
	for _, name := range []string{"created_at", "started_at", "finished_at", "updated_at"} {
		text, _ := o[name].(string)
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || at.Before(last) {
			return fmt.Errorf("times in disorder: %v", o)
		}
		last = at
	}
	if n, isJob := o["attempt_count"].(float64); isJob && (n < 1 || int(n) > c.started()) {
		return fmt.Errorf("attempts with %d starts: %v", c.started(), o)
	}
	return nil
}

// checkNode compares the node in the API and in its cluster with the promise.
func (u *chaosUser) checkNode() error {
	n := u.now.node
	if n == nil {
		return nil
	}
	inTenant := "/api/v1/nodes/" + n.name
	if n.erased {
		_, err := u.now.tenant.call("GET", inTenant, nil, http.StatusNotFound)
		return errors.Join(err, u.c.isNotFound("/api/console/nodes/"+n.id))
	}
	a, err := u.c.send("GET", "/api/console/nodes/"+n.id, "", nil)
	if err == nil {
		err = a.want(http.StatusOK)
	}
	if err != nil {
		return err
	}
	if dig(a.body, "node", "unschedulable") != n.cordoned || a.in("node", "status") != "ready" {
		return fmt.Errorf("the API's node is not ready and cordoned=%v: %v", n.cordoned, a.body)
	}
	got, err := u.now.tenant.call("GET", inTenant, nil, http.StatusOK)
	if err != nil {
		return err
	}
	if is := dig(got, "spec", "unschedulable") == true; is != n.cordoned {
		return fmt.Errorf("the cluster's node has unschedulable=%v, and %v was acknowledged", is, n.cordoned)
	}
	if !n.drained {
		return nil
	}
	pods, err := u.now.tenant.call("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3D"+n.name, nil, http.StatusOK)
	if err != nil {
		return err
	}
	for _, p := range (chaosAnswer{body: pods}).list("items") {
		if owners, _ := json.Marshal(dig(p, "metadata", "ownerReferences")); !bytes.Contains(owners, []byte("DaemonSet")) {
			return fmt.Errorf("the pod %v is on a node that was drained", dig(p, "metadata", "name"))
		}
	}
	return nil
}

// onlyLiveSecrets says which bootstrap secret is of no token that may be used.
func (u *chaosUser) onlyLiveSecrets() error {
	all, err := u.now.tenant.call("GET", "/api/v1/namespaces/kube-system/secrets", nil, http.StatusOK)
	if err != nil {
		return err
	}
	for _, s := range (chaosAnswer{body: all}).list("items") {
		name, _ := dig(s, "metadata", "name").(string)
		if !strings.HasPrefix(name, "bootstrap-token-") {
			continue
		}
		if !slices.ContainsFunc(u.now.tokens, func(t *promisedToken) bool { return t.secret == name && t.over == "" }) {
			return fmt.Errorf("the secret %s is left over in the cluster %s", name, u.now.id)
		}
	}
	return nil
}

func (c *chaos) isNotFound(path string) error {
	a, err := c.send("GET", path, "", nil)
	if err != nil {
		return err
	}
	return a.want(http.StatusNotFound)
}

// joinError asks for a token's script, and compares what it says against it.
func (c *chaos) joinError(method, token, want string) error {
	a, err := c.send(method, "/join?token="+token, "", nil)
	if err == nil {
		err = a.want(http.StatusOK)
	}
	if err != nil {
		return err
	}
	if got := a.header.Get("X-KubeBYON-Join-Error"); got != want {
		return fmt.Errorf("the join script says %q, want %q", got, want)
	}
	return nil
}

// nothingLeftOf looks for processes, files and listeners of a deleted cluster.
func (c *chaos) nothingLeftOf(p *promised) error {
	if left := processes(c.home, p.id); len(left) > 0 {
		return fmt.Errorf("processes of the deleted cluster %s: %v", p.id, left)
	}
	files, err := filepath.Glob(filepath.Join(c.data, "planes", "*", "*"+p.id+"*"))
	if err != nil || len(files) > 0 {
		return fmt.Errorf("files of the deleted cluster %s: %v %w", p.id, files, err)
	}
	return nil
}

// onlyLiveClusters compares the control planes' processes and files with the
// clusters that are there.
func (c *chaos) onlyLiveClusters() error {
	var live []string
	for _, u := range c.users {
		if u.now != nil && u.now.id != "" && !u.now.gone {
			live = append(live, u.now.id)
		}
	}
	for _, id := range live {
		if n := len(processes(c.home, id)); n != 1 {
			return fmt.Errorf("the cluster %s has %d processes", id, n)
		}
	}
	if all := planesOf(c.home); len(all) != len(live) {
		return fmt.Errorf("of the clusters %v there are the processes %v", live, all)
	}
	return c.onlyFilesOf(live)
}

func (c *chaos) onlyFilesOf(live []string) error {
	var want []string
	for _, id := range live {
		want = append(want, "data/"+id, "records/"+id+".json")
	}
	want = append(want, "data", "lock", "records")
	var got []string
	for _, pattern := range []string{"*", "data/*", "data/.*", "records/*", "records/.*"} {
		found, err := filepath.Glob(filepath.Join(c.data, "planes", pattern))
		if err != nil {
			return err
		}
		for _, f := range found {
			got = append(got, strings.TrimPrefix(f, filepath.Join(c.data, "planes")+"/"))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		return fmt.Errorf("the folder of control planes holds %v, want %v", got, want)
	}
	return nil
}

func (c *chaos) nobodyListens() error {
	for _, port := range c.ports {
		conn, err := new(net.Dialer).DialContext(c.ctx, "tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return fmt.Errorf("somebody listens on port %s of a deleted cluster", port)
		}
	}
	return nil
}

// nothingInFolder looks at the data folder after the server's end.
func (c *chaos) nothingInFolder() error {
	entries, err := os.ReadDir(c.data)
	if err != nil {
		return err
	}
	known := []string{"initial-admin-password", "kubebyon.db", "kubebyon.db-migrate", "kubebyon.db.lock", "kubebyon.db-shm", "kubebyon.db-wal", "lock", "planes", "secret.key"}
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) {
			return fmt.Errorf("the data folder holds %s", e.Name())
		}
	}
	return c.onlyFilesOf(nil)
}

// deed is something that the audit stream must tell.
type deed struct{ resource, action, id string }

// times are how often.
type times struct{ least, most int }

func (n *times) orMore(by int) *times { n.most += by; return n }

// did notes that something was done once more.
func (c *chaos) did(resource, action, id string) *times {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := deed{resource, action, id}
	if c.book[d] == nil {
		c.book[d] = new(times)
	}
	n := c.book[d]
	n.least, n.most = n.least+1, n.most+1
	return n
}

func (c *chaos) named(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = append(c.names, name)
}

// auditTells holds the audit stream to what was acknowledged, and to how it ended.
func (c *chaos) auditTells() error {
	told := map[deed]int{}
	for cursor := ""; ; {
		a, err := c.send("GET", "/api/console/admin/activities?limit=500&cursor="+url.QueryEscape(cursor), "", nil)
		if err == nil {
			err = a.want(http.StatusOK)
		}
		if err != nil {
			return err
		}
		for _, e := range a.list("activities") {
			id, _ := e["resource_id"].(string)
			told[deed{e["resource_type"].(string), e["action"].(string), id}]++
		}
		if cursor = a.in("next_cursor"); cursor == "" {
			break
		}
	}
	for _, u := range c.users {
		for _, p := range u.gone {
			c.expectEndOf(p, told)
		}
	}
	var wrong []error
	for d, n := range c.book {
		if got := told[d]; got < n.least || got > n.most {
			wrong = append(wrong, fmt.Errorf("the audit stream tells %s/%s of %s %d times, want %d to %d", d.resource, d.action, d.id, got, n.least, n.most))
		}
	}
	for d := range told {
		if d.resource == "cluster" && strings.HasSuffix(d.action, "_requested") && c.book[d] == nil {
			wrong = append(wrong, fmt.Errorf("the audit stream tells of %v, which nobody asked for", d))
		}
	}
	c.counts["audited deeds compared"] = len(c.book)
	return errors.Join(wrong...)
}

// expectEndOf books how the operations of a cluster must have ended: of one that
// was deleted at once, the creation may have been cut off.
func (c *chaos) expectEndOf(p *promised, told map[deed]int) {
	c.did("cluster", "delete_succeeded", p.id)
	if p.hasty && told[deed{"cluster", "create_failed", p.id}] > 0 {
		c.did("cluster", "create_failed", p.id)
		return
	}
	c.did("cluster", "create_succeeded", p.id)
	for range p.updates {
		c.did("cluster", "settings_updated", p.id)
	}
}

// databaseTells looks into the file that the last server has left.
func (c *chaos) databaseTells() error {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(c.data, "kubebyon.db")+"?mode=ro")
	if err != nil {
		return err
	}
	defer db.Close()
	clusters := 0
	for _, u := range c.users {
		clusters += len(u.gone)
	}
	var wrong []error
	for _, q := range []struct{ query, want string }{
		{"PRAGMA integrity_check", "ok"},
		{"SELECT count(*) FROM pragma_foreign_key_check", "0"},
		{"SELECT count(*) FROM clusters", fmt.Sprint(clusters)},
		{"SELECT count(*) FROM (SELECT name FROM clusters GROUP BY name HAVING count(*) > 1)", "0"},
		{"SELECT count(*) FROM clusters WHERE status <> 'deleted' OR deleted_at IS NULL", "0"},
		{"SELECT count(*) FROM nodes", "0"},
		{"SELECT count(*) FROM outbox", "0"},
		{"SELECT count(*) FROM jobs WHERE status NOT IN ('succeeded', 'failed') OR worker_id <> '' OR leased_until IS NOT NULL OR published_at IS NULL", "0"},
		{"SELECT count(*) FROM jobs WHERE attempt_count < 1 OR attempt_count > " + fmt.Sprint(c.started()), "0"},
		{"SELECT count(*) FROM operations o WHERE (SELECT count(*) FROM jobs j WHERE j.operation_id = o.id AND j.cluster_id = o.cluster_id AND j.status = o.status AND j.type = o.type) <> 1", "0"},
		{"SELECT count(*) FROM operations WHERE type = 'delete' AND status <> 'succeeded'", "0"},
		{"SELECT count(*) FROM operations o WHERE status = 'failed' AND (error_message NOT LIKE 'The cluster is being deleted%' OR NOT EXISTS (SELECT 1 FROM operations d WHERE d.cluster_id = o.cluster_id AND d.type = 'delete' AND d.created_at <= o.finished_at))", "0"},
		{"SELECT count(*) FROM operations WHERE NOT (created_at <= started_at AND started_at <= finished_at AND finished_at <= updated_at)", "0"},
		{"SELECT count(*) FROM jobs WHERE NOT (created_at <= started_at AND started_at <= finished_at AND finished_at <= updated_at)", "0"},
	} {
		var got string
		if err := db.QueryRowContext(c.ctx, q.query).Scan(&got); err != nil || got != q.want {
			wrong = append(wrong, fmt.Errorf("%s: %s %w, want %s", q.query, got, orWrong(err), q.want))
		}
	}
	return errors.Join(append(wrong, c.tokensTell(db))...)
}

var errWrong = errors.New("is wrong")

func orWrong(err error) error {
	if err == nil {
		return errWrong
	}
	return err
}

// tokensTell compares every token that was made with its row, and finds those
// that nobody was given.
func (c *chaos) tokensTell(db *sql.DB) error {
	var wrong []error
	made := 0
	for _, u := range c.users {
		for _, p := range u.gone {
			made += len(p.tokens)
			for _, t := range p.tokens {
				want := map[string]string{"": "active", "token_used": "used", "token_revoked": "revoked"}[t.over]
				var got string
				if err := db.QueryRowContext(c.ctx, "SELECT status FROM tokens WHERE id = ?", t.id).Scan(&got); err != nil || got != want {
					wrong = append(wrong, fmt.Errorf("the token %s is %s %w, want %s", t.id, got, orWrong(err), want))
				}
			}
		}
	}
	var all int
	if err := db.QueryRowContext(c.ctx, "SELECT count(*) FROM tokens").Scan(&all); err != nil || all != made {
		wrong = append(wrong, fmt.Errorf("there are %d tokens %w, and %d were given out", all, orWrong(err), made))
	}
	return errors.Join(wrong...)
}

// tenantAPI is the way into a cluster with its kubeconfig.
type tenantAPI struct {
	url  string
	http *http.Client
}

func openTenant(kubeconfig string) (*tenantAPI, error) {
	field := func(name string) []byte {
		found := regexp.MustCompile(`(?m)\b` + name + `: *"?([^"\s]+)`).FindStringSubmatch(kubeconfig)
		if found == nil {
			return nil
		}
		return []byte(found[1])
	}
	decoded := func(name string) []byte {
		text, _ := base64.StdEncoding.DecodeString(string(field(name)))
		return text
	}
	pair, err := tls.X509KeyPair(decoded("client-certificate-data"), decoded("client-key-data"))
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(decoded("certificate-authority-data")) {
		return nil, errors.New("the kubeconfig has no authority")
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &tenantAPI{url: string(field("server")), http: &http.Client{
		Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true},
	}}, nil
}

// call fails unless the answer has one of the statuses.
func (k *tenantAPI) call(method, path string, body any, statuses ...int) (object, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequest(method, k.url+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := k.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if text, err = io.ReadAll(resp.Body); err != nil {
		return nil, err
	}
	if !slices.Contains(statuses, resp.StatusCode) {
		return nil, fmt.Errorf("the cluster answers %s %s with %d: %s", method, path, resp.StatusCode, text)
	}
	out := object{}
	return out, json.Unmarshal(text, &out)
}
