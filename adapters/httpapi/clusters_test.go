package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/ports/provision"
)

// clusterFields are those of the source document, section 2.1, and ours.
var clusterFields = strings.Fields(`id name namespace vcluster_name control_plane_host kubernetes_version
	workload_cpu_limit_milli_cores workload_memory_limit_mib control_plane_cpu_request_milli_cores control_plane_memory_request_mib
	public_access_enabled public_access_mode public_access_port managed_workload_ingress_enabled managed_workload_ingress_status
	managed_workload_ingress_class managed_workload_ingress_last_error managed_workload_ingress_cname_target
	managed_workload_ingress_dns_status managed_workload_ingress_dns_message managed_workload_ingress_dns_last_synced_at
	managed_workload_ingress_dns_last_error managed_workload_ingress_dns_last_error_at api_endpoint status connection_status
	kubeconfig_available kubeconfig_available_at last_observed_at last_error_message created_at updated_at
	owner_user_id origin number`)

func keys(t *testing.T, v any) (out []string) {
	t.Helper()
	m, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("%v is no object", v)
	}
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func sameKeys(t *testing.T, v any, want []string) {
	t.Helper()
	want = slices.Clone(want)
	slices.Sort(want)
	if got := keys(t, v); !slices.Equal(got, want) {
		t.Errorf("fields %v\nwant   %v", got, want)
	}
}

func TestNewCluster(t *testing.T) {
	t.Parallel()
	ada := newWorld(t).as(userEmail)
	r := ada.do("POST", "/api/console/clusters", map[string]any{"name": "My Demo"}).want(201, "")
	sameKeys(t, r.at("cluster"), clusterFields)
	for field, want := range map[string]any{
		"name": "My Demo", "vcluster_name": "my-demo", "namespace": "my-demo", "status": "provisioning", "connection_status": "pending",
		"control_plane_host": nil, "api_endpoint": nil, "public_access_port": nil, "public_access_enabled": true, "public_access_mode": "nodeport",
		"workload_cpu_limit_milli_cores": 2000.0, "workload_memory_limit_mib": 4096.0, "control_plane_cpu_request_milli_cores": 100.0,
		"control_plane_memory_request_mib": 512.0, "kubernetes_version": "v1.36.3", "origin": "hosted", "number": 1.0,
		"managed_workload_ingress_enabled": false, "managed_workload_ingress_status": "disabled", "managed_workload_ingress_class": nil,
		"managed_workload_ingress_last_error": nil, "managed_workload_ingress_cname_target": nil, "managed_workload_ingress_dns_status": "not_managed",
		"managed_workload_ingress_dns_message": nil, "managed_workload_ingress_dns_last_synced_at": nil, "kubeconfig_available": false,
		"kubeconfig_available_at": nil, "last_observed_at": nil, "last_error_message": nil,
		"created_at": "2026-04-23T07:50:00.000Z", "updated_at": "2026-04-23T07:50:00.000Z",
	} {
		if got := r.at("cluster", field); got != want {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
	i := r.text("cluster", "id")
	past := ada.do("GET", "/api/console/clusters/"+i+"/operations", nil).want(200, "")
	op, ok := past.list("operations")[0].(map[string]any)
	if !ok || op["type"] != "create" || op["status"] != "pending" || op["stage"] != "queued" || op["error_message"] != nil || op["cluster_id"] != i {
		t.Errorf("operation %v", op)
	}
	sameKeys(t, op, strings.Fields("id cluster_id type status stage requested_by_user_id error_message started_at finished_at created_at updated_at"))
	sameKeys(t, past.list("jobs")[0], strings.Fields(`id cluster_id operation_id type status attempt_count published_at leased_until
		worker_id last_error started_at finished_at created_at updated_at`))
}

func TestClusterWithEverything(t *testing.T) {
	t.Parallel()
	ada := newWorld(t).as(userEmail)
	r := ada.do("POST", "/api/console/clusters", `{"name":"demo","vcluster_name":"demo","namespace":"demo","control_plane_host":"203.0.113.10",
		"kubernetes_version":"v1.35.0","workload_cpu_limit_milli_cores":3000,"workload_memory_limit_mib":1,"control_plane_cpu_request_milli_cores":2,
		"control_plane_memory_request_mib":3,"public_access_enabled":true,"public_access_mode":"loadbalancer","managed_workload_ingress_enabled":true}`).want(201, "")
	for field, want := range map[string]any{
		"control_plane_host": "203.0.113.10", "kubernetes_version": "v1.35.0", "workload_cpu_limit_milli_cores": 3000.0, "public_access_mode": "loadbalancer",
		"managed_workload_ingress_status": "error", "managed_workload_ingress_last_error": "This server has no ingress controller to offer.",
	} {
		if got := r.at("cluster", field); got != want {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
}

// TestRefusedClusters: every complaint names its field, and repeats no value.
func TestRefusedClusters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	ada.cluster("taken", false)
	for _, c := range []struct {
		name, body string
		status     int
		code       string
		locations  string
	}{
		{"NoBody", "", 400, "validation_failed", "body"},
		{"BrokenJSON", `{"name":"s3cr3t`, 400, "validation_failed", "body"},
		{"TwoDocuments", `{"name":"s3cr3t"}{}`, 400, "validation_failed", "body"},
		{"NotAnObject", `["s3cr3t"]`, 400, "validation_failed", "body"},
		{"Null", `null`, 400, "validation_failed", "body"},
		{"NoName", `{}`, 400, "validation_failed", "body"},
		{"EmptyName", `{"name":""}`, 400, "validation_failed", "body.name"},
		{"WrongType", `{"name":["s3cr3t"]}`, 400, "validation_failed", "body.name"},
		{"NullName", `{"name":null}`, 400, "validation_failed", "body.name"},
		{"UnknownField", `{"name":"demo","colour":"s3cr3t"}`, 400, "validation_failed", "body.colour"},
		{"LongName", `{"name":"` + strings.Repeat("s3cr3t", 12) + `"}`, 400, "validation_failed", "body.name"},
		{"BadLabel", `{"name":"demo","vcluster_name":"S3cr3t_"}`, 400, "validation_failed", "body.vcluster_name"},
		{"BadHost", `{"name":"demo","control_plane_host":"s3cr3t:80"}`, 400, "validation_failed", "body.control_plane_host"},
		{"BadVersion", `{"name":"demo","kubernetes_version":"s3cr3t"}`, 400, "validation_failed", "body.kubernetes_version"},
		{"BadMode", `{"name":"demo","public_access_mode":"s3cr3t"}`, 400, "validation_failed", "body.public_access_mode"},
		{"ZeroCPU", `{"name":"demo","workload_cpu_limit_milli_cores":0}`, 400, "validation_failed", "body.workload_cpu_limit_milli_cores"},
		{"NegativeMemory", `{"name":"demo","workload_memory_limit_mib":-1234567}`, 400, "validation_failed", "body.workload_memory_limit_mib"},
		{"Fraction", `{"name":"demo","workload_memory_limit_mib":1234567.5}`, 400, "validation_failed", "body.workload_memory_limit_mib"},
		{"Huge", `{"name":"demo","workload_memory_limit_mib":1e30}`, 400, "validation_failed", "body.workload_memory_limit_mib"},
		{"TextForANumber", `{"name":"demo","workload_memory_limit_mib":"s3cr3t"}`, 400, "validation_failed", "body.workload_memory_limit_mib"},
		{"Two", `{"name":"demo","public_access_mode":"s3cr3t","public_access_enabled":"s3cr3t"}`, 400, "validation_failed", "body.public_access_enabled body.public_access_mode"},
		{"Namespace", `{"name":"demo","namespace":"s3cr3t"}`, 400, "namespace_mismatch", "body.namespace"},
		{"Taken", `{"name":"Taken"}`, 409, "name_taken", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.unchanged(func() {
				var body any
				if c.body != "" {
					body = c.body
				}
				r := ada.do("POST", "/api/console/clusters", body).want(c.status, c.code)
				if got := locations(r); got != c.locations {
					t.Errorf("locations %q, want %q in %s", got, c.locations, r.Body)
				}
				for _, value := range []string{"s3cr3t", "S3cr3t", "1234567"} {
					if strings.Contains(r.Body.String(), value) {
						t.Errorf("the value came back: %s", r.Body)
					}
				}
			})
		})
	}
	ada.cluster("second", false)
	ada.cluster("third", false)
	w.unchanged(func() {
		ada.do("POST", "/api/console/clusters", map[string]any{"name": "fourth"}).want(409, "quota_exceeded")
	})
}

func locations(r answer) string {
	errs, _ := r.json()["errors"].([]any)
	var out []string
	for _, e := range errs {
		m, _ := e.(map[string]any)
		s, _ := m["location"].(string)
		out = append(out, s)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), " ")
}

func TestBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	post := func(c caller, body string) answer { return c.do("POST", "/api/console/clusters", body) }
	pad := func(n int) string { return `{"name":"` + strings.Repeat(" ", n-len(`{"name":"ok"}`)) + `ok"}` }
	w.unchanged(func() {
		post(ada, pad(1<<20+1)).want(413, "body_too_large")
		post(ada.with("Content-Type", "text/plain"), `{"name":"demo"}`).want(415, "unsupported_media_type")
		post(ada.with("Content-Type", "application/x-www-form-urlencoded"), `{"name":"demo"}`).want(415, "unsupported_media_type")
		post(ada, "\x00").want(400, "validation_failed")
		post(ada, strings.Repeat("[", 100_000)).want(400, "validation_failed")
		post(w.anybody(), pad(1<<20+1)).want(401, "unauthenticated")
		post(w.anybody(), "{").want(401, "unauthenticated")
	})
	post(ada, pad(1<<20)).want(201, "")
	r := ada.request("POST", "/api/console/clusters", `{"name":"untyped"}`)
	r.Header.Del("Content-Type")
	a := ada.serve(r)
	a.want(201, "")
	post(ada.with("Content-Type", "application/json; charset=utf-8"), `{"name":"charset"}`).want(201, "")
}

func TestOthersClustersAreHidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve, olga, admin := w.as(userEmail), w.as(otherEmail), w.as(operatorMail), w.as(adminEmail)
	i := ada.cluster("demo", true)
	path := "/api/console/clusters/" + i
	body := map[string]any{"password": password}
	w.unchanged(func() {
		for _, c := range []caller{eve} {
			c.do("GET", path, nil).want(404, "cluster_not_found")
			c.do("PUT", path, map[string]any{}).want(404, "cluster_not_found")
			c.do("DELETE", path, nil).want(404, "cluster_not_found")
			c.do("GET", path+"/operations", nil).want(404, "cluster_not_found")
			c.do("POST", path+"/join-token", nil).want(404, "cluster_not_found")
			c.do("POST", path+"/kubeconfig", body).want(404, "cluster_not_found")
			if n := len(c.do("GET", "/api/console/clusters", nil).want(200, "").list("clusters")); n != 0 {
				t.Errorf("somebody else sees %d clusters", n)
			}
		}
		olga.do("GET", path, nil).want(200, "")
		olga.do("PUT", path, map[string]any{"public_access_enabled": true}).want(403, "forbidden")
		olga.do("DELETE", path, nil).want(403, "forbidden")
		olga.do("POST", path+"/join-token", nil).want(403, "forbidden")
		olga.do("POST", path+"/kubeconfig", body).want(403, "forbidden")
		for _, bad := range []string{"cl_1", "x", "usr_06evjm9m80zy3f60rzw2n56twg", strings.ToUpper(i), i + "0", "%00", "%2e%2e"} {
			ada.do("GET", "/api/console/clusters/"+bad, nil).want(404, "cluster_not_found")
		}
	})
	if n := len(admin.do("GET", "/api/console/clusters", nil).want(200, "").list("clusters")); n != 1 {
		t.Errorf("an admin sees %d clusters", n)
	}
}

func TestUpdateAndDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	i := ada.cluster("demo", true)
	path := "/api/console/clusters/" + i
	r := ada.do("PUT", path, `{"public_access_enabled":true,"public_access_mode":"loadbalancer","control_plane_host":"api.demo.example.com","managed_workload_ingress_enabled":true}`).want(200, "")
	if r.at("cluster", "public_access_mode") != "loadbalancer" || r.at("cluster", "control_plane_host") != "api.demo.example.com" || r.at("cluster", "workload_cpu_limit_milli_cores") != 2000.0 {
		t.Errorf("got %s", r.Body)
	}
	w.unchanged(func() {
		for _, body := range []any{nil, `{"name":"other"}`, `{"kubernetes_version":"v1.35.0"}`, `{"public_access_mode":"tunnel"}`, `{"public_access_mode":"ingress","control_plane_host":"203.0.113.10"}`, `{"public_access_mode":"ingress","control_plane_host":""}`} {
			ada.do("PUT", path, body).want(400, "validation_failed")
		}
		ada.do("PUT", path, `{"control_plane_host":null}`).want(200, "") // null is left out, and what is left out stays
	})
	if got := ada.do("DELETE", path, nil).want(202, "").at("cluster", "status"); got != "deleting" {
		t.Errorf("status %v", got)
	}
	w.unchanged(func() {
		ada.do("DELETE", path, nil).want(202, "")
		ada.do("PUT", path, `{"public_access_enabled":false}`).want(409, "cluster_not_updatable")
	})
	w.change(i, func(c *clusters.Cluster) { c.Vanish(w.clock.now()) })
	for _, method := range []string{"GET", "DELETE"} {
		ada.do(method, path, nil).want(404, "cluster_not_found")
	}
	if n := len(ada.do("GET", "/api/console/clusters?status=deleted", nil).want(200, "").list("clusters")); n != 0 {
		t.Error("a deleted cluster is listed")
	}
	ada.cluster("demo", false) // the name is free again
}

func TestKubeconfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	i := ada.cluster("My Demo", false)
	path := "/api/console/clusters/" + i + "/kubeconfig"
	body := map[string]any{"password": password}
	ada.do("POST", path, body).want(409, "kubeconfig_pending")
	w.bringUp(i)
	r := ada.do("POST", path, body).want(200, "")
	if r.text("kubeconfig") != kubeconfig || r.text("version") != "v1.36.3" || r.text("api_endpoint") != "https://127.0.0.1:6443" || r.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %v %s", r.Header(), r.Body)
	}
	sameKeys(t, r.json(), []string{"api_endpoint", "kubeconfig", "version"})
	r = ada.do("POST", path+"?download=1", body).want(200, "")
	if r.Body.String() != kubeconfig || r.Header().Get("Content-Type") != "application/yaml" || r.Header().Get("Content-Disposition") != "attachment; filename=my-demo.kubeconfig" || r.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %v %s", r.Header(), r.Body)
	}
	w.unchanged(func() {
		for _, b := range []any{nil, "{", map[string]any{}, map[string]any{"password": ""}, map[string]any{"password": 1}} {
			ada.do("POST", path, b).want(400, "validation_failed")
			ada.do("POST", path+"?download=1", b).want(400, "validation_failed")
		}
		ada.do("POST", path, map[string]any{"password": "wrong"}).want(401, "password_incorrect")
		ada.do("POST", path+"?download=1", map[string]any{"password": "wrong"}).want(401, "password_incorrect")
		w.anybody().do("POST", path, body).want(401, "unauthenticated")
		r := ada.do("GET", path, nil).want(405, "method_not_allowed")
		if r.Header().Get("Allow") != "POST, OPTIONS" {
			t.Errorf("Allow %q", r.Header().Get("Allow"))
		}
		ada.do("POST", "/api/clusters/"+i+"/kubeconfig", body).want(404, "not_found")
	})
	w.planes.setMissing(true)
	ada.do("POST", path, body).want(409, "kubeconfig_pending")
}

func TestVersions(t *testing.T) {
	t.Parallel()
	r := newWorld(t).as(userEmail).do("GET", "/api/console/kubernetes-versions", nil).want(200, "")
	if got := strings.TrimSpace(r.Body.String()); got != `{"versions":[{"version":"v1.36.3","emulated":false},{"version":"v1.35.0","emulated":true}]}` {
		t.Errorf("got %s", got)
	}
}

// TestPages walks through a list while it grows.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.as(adminEmail)
	for n := range 5 {
		w.clock.advance(time.Second)
		admin.cluster(fmt.Sprint("demo-", n), false)
	}
	var seen []string
	next := ""
	for {
		r := admin.do("GET", "/api/console/clusters?limit=2&cursor="+next, nil).want(200, "")
		for _, c := range r.list("clusters") {
			m, _ := c.(map[string]any)
			seen = append(seen, fmt.Sprint(m["name"]))
		}
		if r.at("next_cursor") == nil {
			break
		}
		next = r.text("next_cursor")
		w.clock.advance(time.Second)
		admin.cluster("later-"+fmt.Sprint(len(seen)), false)
	}
	if got := strings.Join(seen, " "); got != "demo-4 demo-3 demo-2 demo-1 demo-0" {
		t.Errorf("saw %s", got)
	}
	count := func(query string) int {
		return len(admin.do("GET", "/api/console/clusters?"+query, nil).want(200, "").list("clusters"))
	}
	for query, want := range map[string]int{
		"limit=1": 1, "limit=0": 7, "limit=-1": 7, "limit=x": 7, "limit=": 7, "limit=501": 7, "limit=99999999999999999999": 7, "limit=%201": 1,
		"unknown=1": 7, "search=LATER": 2, "search=%25": 0, "status=ready": 0, "status=": 7, "status=provisioning": 7,
	} {
		if got := count(query); got != want {
			t.Errorf("%s gave %d, want %d", query, got, want)
		}
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	node := "node_06evjm9m80zy3f60rzw2n56twg"
	for query, location := range map[string]string{
		"status=s3cr3t": "query.status", "search=%00": "query.search", "search=%ff": "query.search",
		"cursor=x": "query.cursor", "cursor=" + encode("s3cr3t"): "query.cursor", "cursor=" + encode(node): "query.cursor",
		"cursor=" + base64.URLEncoding.EncodeToString([]byte("cl_06evjm9m80zy3f60rzw2n56twg")) + "%3D": "query.cursor",
		"cursor=" + encode("cl_06evjm9m80zy3f60rzw2n56twg") + "%0A":                                    "query.cursor",
		"cursor=cl_06evjm9m80zy3f60rzw2n56twg":                                                         "query.cursor",
	} {
		r := admin.do("GET", "/api/console/clusters?"+query, nil).want(400, "validation_failed")
		if locations(r) != location || strings.Contains(r.Body.String(), "s3cr3t") {
			t.Errorf("%s: %s", query, r.Body)
		}
	}
}

func TestRepeatedRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, eve := w.as(userEmail), w.as(otherEmail)
	post := func(c caller, key, body string) answer {
		return c.with("Idempotency-Key", key).do("POST", "/api/console/clusters", body)
	}
	first := post(ada, "k1", `{"name":"demo"}`).want(201, "")
	w.unchanged(func() {
		if again := post(ada, "k1", `{"name":"demo"}`).want(201, ""); again.Body.String() != first.Body.String() {
			t.Errorf("got %s, first %s", again.Body, first.Body)
		}
		post(ada, "k1", `{"name":"other"}`).want(409, "idempotency_mismatch")
		for _, bad := range []string{"", " ", "a b", "ü", "\t", strings.Repeat("k", 256)} {
			r := post(ada, bad, `{"name":"other"}`).want(400, "validation_failed")
			if locations(r) != "header.Idempotency-Key" {
				t.Errorf("%q: %s", bad, r.Body)
			}
		}
		twice := ada.with()
		twice.header["Idempotency-Key"] = []string{"a", "b"}
		twice.do("POST", "/api/console/clusters", `{"name":"other"}`).want(400, "validation_failed")
	})
	post(eve, "k1", `{"name":"eves"}`).want(201, "") // a key is its user's own
	i := first.text("cluster", "id")
	w.bringUp(i)
	token := func(key string, body any) answer {
		return ada.with("Idempotency-Key", key).do("POST", "/api/console/clusters/"+i+"/join-token", body)
	}
	minted := token("k1", nil).want(201, "") // and its operation's own
	if again := token("k1", nil).want(201, ""); again.text("token", "value") != minted.text("token", "value") {
		t.Error("a repeated request made another token")
	}
	token("k1", map[string]any{"ttl_seconds": 60}).want(409, "idempotency_mismatch")
	if other := token(strings.Repeat("~", 255), nil).want(201, ""); other.text("token", "value") == minted.text("token", "value") {
		t.Error("another key gave the same token")
	}
	w.clock.advance(24 * time.Hour)
	post(w.as(userEmail), "k1", `{"name":"demo-2"}`).want(201, "")
}

// TestTimesHaveMilliseconds: exactly three digits, and UTC.
func TestTimesHaveMilliseconds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.clock.advance(120 * time.Millisecond)
	r := w.as(userEmail).do("POST", "/api/console/clusters", map[string]any{"name": "demo"}).want(201, "")
	if got := r.text("cluster", "created_at"); !regexp.MustCompile(`^2026-04-23T07:50:00\.120Z$`).MatchString(got) {
		t.Errorf("created_at %s", got)
	}
}

func TestClusterInTrouble(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	i := ada.cluster("demo", false)
	w.change(i, func(c *clusters.Cluster) { c.Fail("The control plane did not start in time.", w.clock.now()) })
	r := ada.do("GET", "/api/console/clusters/"+i, nil).want(200, "")
	if r.at("cluster", "status") != "error" || r.at("cluster", "last_error_message") != "The control plane did not start in time." {
		t.Errorf("got %s", r.Body)
	}
	w.change(i, func(c *clusters.Cluster) {
		c.Arrive(1, provision.Observed{Phase: provision.Ready, Endpoint: "https://127.0.0.1:6443", Port: 6443}, w.clock.now())
	})
	if got := ada.do("GET", "/api/console/clusters/"+i, nil).want(200, "").at("cluster", "kubeconfig_available_at"); got != "2026-04-23T07:50:00.000Z" {
		t.Errorf("kubeconfig_available_at %v", got)
	}
}
