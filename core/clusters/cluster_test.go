package clusters_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

var at = coretest.Start.Add(time.Hour)

// state is what the life cycle moves.
type state struct{ status, connection, message string }

func of(c clusters.Cluster) state {
	r := c.Record()
	return state{r.Status, r.ConnectionStatus, r.LastErrorMessage}
}

func in(status, connection, message string, generation, observed int64) clusters.Cluster {
	rec := store.Cluster{Status: status, ConnectionStatus: connection, LastErrorMessage: message, Generation: generation, ObservedGeneration: observed}
	if connection != "pending" && connection != "error" {
		seen := coretest.Start
		rec.KubeconfigAvailableAt, rec.LastObservedAt = &seen, &seen
	}
	return clusters.Of(rec)
}

// TestTheLifeOfACluster is the state machine, move by move.
func TestTheLifeOfACluster(t *testing.T) {
	t.Parallel()
	arrive := func(c *clusters.Cluster) { c.Arrive(c.Record().Generation, coretest.Up(), at) }
	fail := func(c *clusters.Cluster) { c.Fail("why", at) }
	reach := func(c *clusters.Cluster) { c.Reach(at) }
	remark := func(c *clusters.Cluster) { c.Remark("too much", at) }
	lose := func(c *clusters.Cluster) { c.Lose("silent", false, at) }
	die := func(c *clusters.Cluster) { c.Lose("crashed", true, at) }
	vanish := func(c *clusters.Cluster) { c.Vanish(at) }
	for name, c := range map[string]struct {
		from clusters.Cluster
		move func(*clusters.Cluster)
		want state
	}{
		"arrives for the first time":           {in("provisioning", "pending", "", 1, 0), arrive, state{"ready", "kubeconfig_pending", ""}},
		"arrives after it failed":              {in("error", "error", "why", 2, 0), arrive, state{"ready", "kubeconfig_pending", ""}},
		"arrives again":                        {in("ready", "reachable", "", 2, 1), arrive, state{"ready", "reachable", ""}},
		"arrives after an update failed":       {in("error", "reachable", "why", 3, 1), arrive, state{"ready", "reachable", ""}},
		"arrives too late":                     {in("deleting", "reachable", "", 2, 1), arrive, state{"deleting", "reachable", ""}},
		"arrives after the end":                {in("deleted", "unreachable", "", 2, 1), arrive, state{"deleted", "unreachable", ""}},
		"fails to be made":                     {in("provisioning", "pending", "", 1, 0), fail, state{"error", "error", "why"}},
		"fails to be changed":                  {in("ready", "reachable", "", 2, 1), fail, state{"error", "reachable", "why"}},
		"fails to be deleted":                  {in("deleting", "reachable", "", 2, 1), fail, state{"error", "reachable", "why"}},
		"fails after the end":                  {in("deleted", "unreachable", "", 2, 1), fail, state{"deleted", "unreachable", ""}},
		"is reached":                           {in("ready", "kubeconfig_pending", "", 1, 1), reach, state{"ready", "reachable", ""}},
		"is reached again":                     {in("ready", "unreachable", "silent", 1, 1), reach, state{"ready", "reachable", ""}},
		"is reached after its plane failed":    {in("error", "unreachable", "crashed", 1, 1), reach, state{"ready", "reachable", ""}},
		"is reached after an update failed":    {in("error", "unreachable", "why", 2, 1), reach, state{"error", "reachable", "why"}},
		"is reached while it goes":             {in("deleting", "unreachable", "", 2, 1), reach, state{"deleting", "unreachable", ""}},
		"falls silent":                         {in("ready", "reachable", "", 1, 1), lose, state{"ready", "unreachable", "silent"}},
		"falls silent with a failed plane":     {in("ready", "reachable", "", 1, 1), die, state{"error", "unreachable", "crashed"}},
		"is found dead after falling silent":   {in("ready", "unreachable", "silent", 1, 1), die, state{"error", "unreachable", "crashed"}},
		"falls silent after an update failed":  {in("error", "reachable", "why", 2, 1), lose, state{"error", "unreachable", "why"}},
		"falls silent while a change waits":    {in("ready", "reachable", "why", 2, 1), lose, state{"ready", "unreachable", "why"}},
		"falls silent during a change":         {in("ready", "reachable", "", 2, 1), lose, state{"ready", "unreachable", "silent"}},
		"dies while a change waits":            {in("ready", "reachable", "why", 2, 1), die, state{"error", "unreachable", "crashed"}},
		"has a remark":                         {in("ready", "reachable", "", 1, 1), remark, state{"ready", "reachable", "too much"}},
		"has a remark while a change waits":    {in("ready", "reachable", "why", 2, 1), remark, state{"ready", "reachable", "why"}},
		"falls silent while it goes":           {in("deleting", "reachable", "", 2, 1), die, state{"deleting", "reachable", ""}},
		"falls silent after the end":           {in("deleted", "unreachable", "", 2, 1), lose, state{"deleted", "unreachable", ""}},
		"vanishes":                             {in("deleting", "reachable", "", 2, 1), vanish, state{"deleted", "unreachable", ""}},
		"vanishes after a failed removal":      {in("error", "reachable", "why", 2, 1), vanish, state{"deleted", "unreachable", ""}},
		"is reached after a failed removal":    {in("error", "unreachable", "why", 3, 1), reach, state{"error", "reachable", "why"}},
		"silent for another reason than first": {in("ready", "unreachable", "refused", 1, 1), lose, state{"ready", "unreachable", "silent"}},
	} {
		got := c.from
		c.move(&got)
		if of(got) != c.want {
			t.Errorf("%s: %+v, want %+v", name, of(got), c.want)
		}
	}
}

func TestArrivingTellsWhatThereIs(t *testing.T) {
	t.Parallel()
	c := in("provisioning", "pending", "", 3, 0)
	c.Arrive(2, coretest.Up(), at)
	got := c.Record()
	if got.APIEndpoint != "https://127.0.0.1:6443" || got.ObservedGeneration != 2 || !got.KubeconfigAvailableAt.Equal(at) || got.PublicAccessPort != 0 {
		t.Errorf("got %+v", got)
	}
	c.Arrive(1, provision.Observed{Endpoint: "https://127.0.0.1:7443"}, at.Add(time.Hour)) // an older job, late
	if got := c.Record(); got.ObservedGeneration != 2 || !got.KubeconfigAvailableAt.Equal(at) || got.APIEndpoint != "https://127.0.0.1:7443" {
		t.Errorf("got %+v", got)
	}
}

func TestOnlyNewsIsWorthWriting(t *testing.T) {
	t.Parallel()
	c := in("ready", "reachable", "", 1, 1) // observed at coretest.Start
	for after, want := range map[time.Duration]bool{time.Second: false, 29 * time.Second: false, 30 * time.Second: true, -time.Hour: true} {
		cc := c
		if got := cc.Reach(coretest.Start.Add(after)); got != want {
			t.Errorf("reached %v later: worth writing %v", after, got)
		}
	}
	u := in("ready", "reachable", "", 1, 1)
	if !u.Lose("silent", false, at) || u.Lose("silent", false, at) || !u.Lose("refused", false, at) || !u.Lose("refused", true, at) || u.Lose("refused", true, at) {
		t.Error("silence is written more or less often than it is news")
	}
}

func TestAClusterIsUsableOnlyWhenReadyAndReachable(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"provisioning", "ready", "error", "deleting", "deleted"} {
		for _, connection := range []string{"pending", "kubeconfig_pending", "reachable", "unreachable", "error"} {
			if got := in(status, connection, "", 1, 1).Usable(); got != (status == "ready" && connection == "reachable") {
				t.Errorf("%s and %s: %v", status, connection, got)
			}
		}
	}
}

func TestReasonsFromOutsideAreKeptInBounds(t *testing.T) {
	t.Parallel()
	hostile := strings.Repeat("é\x00\xff", 100_000)
	c, d := in("ready", "reachable", "", 2, 1), in("ready", "reachable", "", 1, 1)
	c.Fail(hostile, at)
	d.Lose(hostile, true, at)
	for _, got := range []string{c.Record().LastErrorMessage, d.Record().LastErrorMessage} {
		if len(got) == 0 || len(got) > 1000 || strings.Contains(got, "\x00") || !utf8.ValidString(got) {
			t.Errorf("%d bytes are kept", len(got))
		}
	}
}

func TestARecordInHandIsACopy(t *testing.T) {
	t.Parallel()
	c := clusters.Of(store.Cluster{Status: "ready", FormerHosts: []string{"a.example"}})
	r := c.Record()
	r.Status, r.FormerHosts[0] = "deleted", "evil.example"
	if got := c.Record(); got.Status != "ready" || got.FormerHosts[0] != "a.example" {
		t.Errorf("got %+v", got)
	}
}
