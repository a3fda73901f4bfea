package httpapi_test

import (
	"strings"
	"testing"
	"time"
)

// TestTheQueueOfJobs: admins see the jobs of everybody's clusters, newest first.
func TestTheQueueOfJobs(t *testing.T) {
	t.Parallel()
	w, ada, first := joinable(t)
	w.clock.advance(time.Second)
	second := ada.cluster("second", false)
	w.clock.advance(time.Second)
	third := w.as(otherEmail).cluster("eves", false)
	const path = "/api/console/admin/cluster-jobs"
	for _, who := range []caller{ada, w.as(operatorMail)} {
		who.do("GET", path, nil).want(403, "forbidden")
	}
	admin := w.as(adminEmail)
	r := admin.do("GET", path, nil).want(200, "")
	sameKeys(t, r.json(), []string{"jobs", "next_cursor"})
	newest, _ := r.list("jobs")[0].(map[string]any)
	sameKeys(t, newest, strings.Fields("id cluster_id operation_id type status attempt_count published_at leased_until worker_id last_error started_at finished_at created_at updated_at"))
	if newest["status"] != "pending" || newest["worker_id"] != nil || newest["attempt_count"] != 0.0 {
		t.Errorf("the newest: %v", newest)
	}
	for query, want := range map[string]string{
		"":                                    third + " " + second + " " + first,
		"?limit=none":                         third + " " + second + " " + first,
		"?limit=1":                            third,
		"?cluster_id=" + second:               second,
		"?status=pending":                     third + " " + second + " " + first,
		"?status=failed":                      "",
		"?status=pending&cluster_id=" + first: first,
		"?status=running&cluster_id=" + first: "",
	} {
		if got := clustersOf(admin.do("GET", path+query, nil).want(200, "")); got != want {
			t.Errorf("%q gave %q, want %q", query, got, want)
		}
	}
	page := admin.do("GET", path+"?limit=2&status=pending", nil).want(200, "")
	next, _ := page.at("next_cursor").(string)
	if got := clustersOf(admin.do("GET", path+"?status=pending&limit=2&cursor="+next, nil).want(200, "")); got != first {
		t.Errorf("the second page is %q", got)
	}
	for _, query := range []string{"status=lost", "cluster_id=7", "cursor=x"} {
		admin.do("GET", path+"?"+query, nil).want(400, "validation_failed")
	}
}

func clustersOf(r answer) string {
	var out []string
	for _, j := range r.list("jobs") {
		job, _ := j.(map[string]any)
		cluster, _ := job["cluster_id"].(string)
		out = append(out, cluster)
	}
	return strings.Join(out, " ")
}
