package watch_test

import (
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestAClusterTellsWhenNotAllOfItIsSeen(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.add(t, "demo")
		said := make(chan tenant.Excess)
		w.hosts.excess = said
		w.run(t, "s")
		until(t, "reachable", time.Second, w.is(t, c, "ready", "reachable"))
		tells := func(want string) func() bool {
			return func() bool { return w.cluster(t, c).LastErrorMessage == want }
		}
		const nodes, requests = "The cluster has more than 5000 nodes: the others are not seen.", "The cluster has more than 10 certificate requests: the others are not seen."
		for _, step := range []struct {
			tell tenant.Excess
			want string
		}{
			{tenant.Excess{What: "nodes", Most: 5000}, nodes},
			{tenant.Excess{What: "certificate requests", Most: 10}, requests + " " + nodes},
			{tenant.Excess{What: "nodes"}, requests},
			{tenant.Excess{What: "certificate requests"}, ""},
			{tenant.Excess{What: "nodes", Most: 5000}, nodes},
		} {
			said <- step.tell
			until(t, step.want, time.Second, tells(step.want))
		}
		version := w.cluster(t, c).Version
		said <- tenant.Excess{What: "nodes", Most: 5000}
		time.Sleep(time.Second)
		if w.cluster(t, c).Version != version || !w.is(t, c, "ready", "reachable")() {
			t.Errorf("got %+v", w.cluster(t, c))
		}
	})
}
