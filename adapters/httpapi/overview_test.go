package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestOverview(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	w.node(i, "worker-1")
	w.node(i, "worker-2")
	ada.cluster("second", false)
	w.as(otherEmail).cluster("eves", false)
	r := ada.do("GET", "/api/console/overview", nil).want(200, "")
	sameKeys(t, r.json(), []string{"clusters", "nodes", "capacity", "recent_activities"})
	if fmt.Sprint(r.at("clusters")) != "map[by_status:map[provisioning:1 ready:1] total:2]" || fmt.Sprint(r.at("nodes")) != "map[by_status:map[ready:2] total:2]" ||
		r.at("capacity", "cpu_milli_cores") != 8000.0 || r.at("capacity", "memory_bytes") != float64(16<<30) {
		t.Errorf("got %s", r.Body)
	}
	if len(r.list("recent_activities")) == 0 {
		t.Error("no recent activities")
	}
	if got := strings.TrimSpace(newWorld(t).as(otherEmail).do("GET", "/api/console/overview", nil).want(200, "").Body.String()); !strings.HasPrefix(got, `{"clusters":{"total":0,"by_status":{}},"nodes":{"total":0,"by_status":{}},"capacity":{"cpu_milli_cores":0,"memory_bytes":0}`) {
		t.Errorf("got %s", got)
	}
}

func TestActivities(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	ada.token(i)
	w.as(otherEmail)
	w.clock.advance(3 * time.Minute)
	r := ada.do("GET", "/api/console/activities", nil).want(200, "")
	if got := types(r); got != "token_create cluster_create_requested session_login" {
		t.Errorf("got %s", got)
	}
	first, _ := r.list("activities")[0].(map[string]any)
	sameKeys(t, first, strings.Fields("id type message cluster_id cluster_name node_name occurred_at relative_time"))
	if first["relative_time"] != "3 minutes ago" || first["cluster_id"] != i || first["cluster_name"] != "demo" || first["node_name"] != nil {
		t.Errorf("got %v", first)
	}
	for query, want := range map[string]string{
		"category=security&resource_type=session&action=login": "session_login", "limit=1": "token_create", "category=unheard_of": "",
		"resource_type=token": "token_create", "action=login&limit=1": "session_login", "category=": "token_create cluster_create_requested session_login",
	} {
		if got := types(ada.do("GET", "/api/console/activities?"+query, nil).want(200, "")); got != want {
			t.Errorf("%s gave %q, want %q", query, got, want)
		}
	}
	for _, query := range []string{"cursor=x", "action=%00", "resource_type=%ff"} {
		ada.do("GET", "/api/console/activities?"+query, nil).want(400, "validation_failed")
	}
	ada.do("GET", "/api/console/admin/activities", nil).want(403, "forbidden")
	w.as(operatorMail).do("GET", "/api/console/admin/activities", nil).want(403, "forbidden")
	all := w.as(adminEmail).do("GET", "/api/console/admin/activities?category=security&limit=100&resource_type=session", nil).want(200, "")
	if got := types(all); got != strings.TrimSpace(strings.Repeat("session_login ", 4)) {
		t.Errorf("got %s", got)
	}
	sameKeys(t, all.list("activities")[0], strings.Fields(`id type message cluster_id cluster_name node_name occurred_at relative_time
		actor_user_id actor_type actor_method resource_type resource_id action result`))
	page := ada.do("GET", "/api/console/activities?limit=2", nil).want(200, "")
	if got := types(ada.do("GET", "/api/console/activities?limit=2&cursor="+page.text("next_cursor"), nil).want(200, "")); got != "session_login" {
		t.Errorf("the second page is %s", got)
	}
}

func types(r answer) string {
	var out []string
	for _, a := range r.list("activities") {
		m, _ := a.(map[string]any)
		out = append(out, fmt.Sprint(m["type"]))
	}
	return strings.Join(out, " ")
}
