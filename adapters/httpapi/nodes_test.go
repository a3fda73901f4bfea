package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestNodes(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	n := w.node(i, "worker-1")
	r := ada.do("GET", "/api/console/nodes/"+n, nil).want(200, "")
	sameKeys(t, r.at("node"), strings.Fields(`id cluster_id name status internal_ip os_image kubelet_version container_runtime_version
		cpu_allocatable_milli_cores memory_allocatable_bytes ephemeral_storage_allocatable_bytes source last_seen_at ready_at offline_at
		created_at updated_at unschedulable labels pod_cidr`))
	for field, want := range map[string]any{"name": "worker-1", "status": "ready", "source": "byon", "cpu_allocatable_milli_cores": 4000.0, "offline_at": nil, "pod_cidr": nil, "unschedulable": false} {
		if got := r.at("node", field); got != want {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
	if len(keys(t, r.at("node", "labels"))) != 0 {
		t.Error("labels")
	}
	count := func(c caller, query string) int {
		return len(c.do("GET", "/api/console/nodes?"+query, nil).want(200, "").list("nodes"))
	}
	for query, want := range map[string]int{"": 1, "cluster_id=" + i: 1, "cluster_id=cl_06evjm9m80zy3f60rzw2n56twg": 0, "status=ready": 1, "status=unknown": 0, "search=WORK": 1, "search=none": 0, "cluster_id=": 1} {
		if got := count(ada, query); got != want {
			t.Errorf("%q gave %d, want %d", query, got, want)
		}
	}
	for query, location := range map[string]string{"cluster_id=x": "query.cluster_id", "status=s3cr3t": "query.status", "cursor=x": "query.cursor", "search=%ff": "query.search"} {
		if r := ada.do("GET", "/api/console/nodes?"+query, nil).want(400, "validation_failed"); locations(r) != location {
			t.Errorf("%s: %s", query, r.Body)
		}
	}
	eve := w.as(otherEmail)
	if count(eve, "") != 0 || count(w.as(operatorMail), "") != 1 {
		t.Error("the wrong people see the node")
	}
	w.unchanged(func() {
		for _, c := range [][2]string{{"GET", ""}, {"POST", "/cordon"}, {"POST", "/uncordon"}, {"POST", "/drain"}, {"DELETE", ""}} {
			eve.do(c[0], "/api/console/nodes/"+n+c[1], nil).want(404, "node_not_found")
			ada.do(c[0], "/api/console/nodes/node_1"+c[1], nil).want(404, "node_not_found")
			w.anybody().do(c[0], "/api/console/nodes/"+n+c[1], nil).want(401, "unauthenticated")
		}
	})
}

func TestNodeEvents(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	n := w.node(i, "worker-1")
	r := ada.do("GET", "/api/console/node-events?limit=1", nil).want(200, "")
	if len(r.list("events")) != 1 || r.at("next_cursor") == nil {
		t.Fatalf("got %s", r.Body)
	}
	sameKeys(t, r.list("events")[0], strings.Fields("id cluster_id node_id node_name type old_status new_status message observed_at"))
	count := func(query string) int {
		return len(ada.do("GET", "/api/console/node-events?"+query, nil).want(200, "").list("events"))
	}
	for query, want := range map[string]int{"": 2, "type=joined": 1, "type=unheard_of": 0, "node_id=" + n: 2, "cluster_id=" + i + "&type=ready": 1, "limit=1&cursor=" + r.text("next_cursor"): 1} {
		if got := count(query); got != want {
			t.Errorf("%q gave %d, want %d", query, got, want)
		}
	}
	for _, query := range []string{"node_id=x", "cluster_id=x", "cursor=x", "type=%00"} {
		ada.do("GET", "/api/console/node-events?"+query, nil).want(400, "validation_failed")
	}
	if n := len(w.as(otherEmail).do("GET", "/api/console/node-events", nil).want(200, "").list("events")); n != 0 {
		t.Errorf("somebody else sees %d events", n)
	}
}

func TestCordonAndDelete(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	n := w.node(i, "worker-1")
	path := "/api/console/nodes/" + n
	if r := ada.do("POST", path+"/cordon", nil).want(200, ""); r.at("node", "unschedulable") != true {
		t.Errorf("got %s", r.Body)
	}
	if r := w.as(operatorMail).do("POST", path+"/uncordon", nil).want(200, ""); r.at("node", "unschedulable") != false {
		t.Errorf("got %s", r.Body)
	}
	w.tenants.Cluster(w.clusterID(i)).SetReachable(false)
	w.unchanged(func() {
		ada.do("POST", path+"/cordon", nil).want(503, "cluster_unreachable")
		ada.do("DELETE", path, nil).want(503, "cluster_unreachable")
	})
	ada.do("POST", path+"/drain", nil).want(503, "cluster_unreachable") // that it was tried is on record
	w.tenants.Cluster(w.clusterID(i)).SetReachable(true)
	ada.do("DELETE", path, nil).want(204, "")
	ada.do("DELETE", path, nil).want(404, "node_not_found")
	if r := ada.do("GET", "/api/console/node-events?type=deleted", nil).want(200, ""); len(r.list("events")) != 1 {
		t.Errorf("got %s", r.Body)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	n := w.node(i, "worker-1")
	path := "/api/console/nodes/" + n + "/drain"
	c := w.tenants.Cluster(w.clusterID(i))
	put := func(name string, change func(*memtenant.Pod)) {
		p := memtenant.Pod{Pod: tenant.Pod{Namespace: "default", Name: name}, Node: "worker-1", App: name}
		change(&p)
		c.PutPod(p)
	}
	put("web", func(*memtenant.Pod) {})
	put("agent", func(p *memtenant.Pod) { p.DaemonSet = true })
	dry := ada.do("POST", path, map[string]any{"dry_run": true}).want(200, "")
	if fmt.Sprint(dry.at("evicted")) != "[map[name:web namespace:default]]" || !c.HasPod(tenant.Pod{Namespace: "default", Name: "web"}) {
		t.Errorf("got %s", dry.Body)
	}
	put("cache", func(p *memtenant.Pod) { p.EmptyDir = true })
	ada.do("POST", path, nil).want(409, "drain_blocked")
	for _, body := range []any{"{", `{"timeout_seconds":0}`, `{"timeout_seconds":901}`, `{"grace_period_seconds":-1}`, `{"grace_period_seconds":3601}`, `{"force":"yes"}`, `{"dryrun":true}`} {
		ada.do("POST", path, body).want(400, "validation_failed")
	}
	done := ada.do("POST", path, map[string]any{"delete_emptydir_data": true, "grace_period_seconds": 0, "timeout_seconds": 5, "force": true}).want(200, "")
	if len(done.list("evicted")) != 2 || fmt.Sprint(done.at("skipped")) != "[map[name:agent namespace:default reason:DaemonSet]]" || done.at("node", "unschedulable") != true {
		t.Errorf("got %s", done.Body)
	}
	empty := ada.do("POST", path, `{}`).want(200, "")
	if len(empty.list("evicted")) != 0 {
		t.Errorf("got %s", empty.Body)
	}
}

// TestDrainThatDoesNotEnd tells how far it came.
func TestDrainThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	n := w.node(i, "worker-1")
	c := w.tenants.Cluster(w.clusterID(i))
	for _, name := range []string{"goes", "stays"} {
		c.PutPod(memtenant.Pod{Pod: tenant.Pod{Namespace: "default", Name: name}, Node: "worker-1", App: name})
	}
	defer c.Protect("stays")()
	began := time.Now()
	r := ada.do("POST", "/api/console/nodes/"+n+"/drain", map[string]any{"timeout_seconds": 1}).want(504, "drain_timeout")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	if fmt.Sprint(r.at("evicted")) != "[map[name:goes namespace:default]]" || fmt.Sprint(r.at("left")) != "[map[name:stays namespace:default]]" || len(r.list("skipped")) != 0 || r.at("node", "id") != n {
		t.Errorf("got %s", r.Body)
	}
}
