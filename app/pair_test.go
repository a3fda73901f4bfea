package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

const adminAddress = "admin@kubebyon.local"

// TestServersStartTogetherOnAnEmptyDatabase: one migrates, one gives out a
// password, and that password opens all of them.
func TestServersStartTogetherOnAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var mu sync.Mutex
	var given []string
	const servers = 3
	for i := range servers {
		s.servers = append(s.servers, s.build(fmt.Sprint("s", i), 1, func(c *app.Config) {
			c.FirstAdmin = app.FirstAdmin{HandOver: func(_ string, p secret.Text) error {
				mu.Lock()
				defer mu.Unlock()
				given = append(given, p.Reveal())
				return nil
			}}
		}))
	}
	atOnce(servers, func(i int) {
		if err := s.servers[i].Start(t.Context()); err != nil {
			t.Errorf("server %d: %v", i, err)
		}
	})
	if len(given) != 1 {
		t.Fatalf("%d passwords were given out", len(given))
	}
	for _, at := range s.servers {
		if _, _, err := at.Identity.SignIn(t.Context(), adminAddress, secret.New(given[0]), identity.Client{}); err != nil {
			t.Errorf("the password does not open %s: %v", at.name, err)
		}
	}
	t.Logf("%d servers, %d passwords", servers, len(given))
}

// TestOneKeyWinsAnEmptyDatabase: two servers with different keys that start
// together do not both begin to write.
func TestOneKeyWinsAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	for range 3 {
		s := newSite(t)
		s.migrate()
		var started, refused atomic.Int32
		servers := []*server{s.build("a", 1), s.build("b", 2), s.build("c", 3), s.build("d", 4)}
		atOnce(len(servers), func(i int) {
			switch err := servers[i].Start(t.Context()); {
			case err == nil:
				started.Add(1)
			case strings.Contains(err.Error(), "the secret key is not the one"):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
		if started.Load() != 1 || refused.Load() != 3 {
			t.Errorf("%d servers with different keys started, %d were refused", started.Load(), refused.Load())
		}
	}
}

func TestASessionEndsOnAllServersAtOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.start("a"), s.start("b")
	p := s.person(adminAddress)
	for _, at := range s.servers {
		p.must(at, "GET", "/api/auth/me", nil, http.StatusOK)
	}
	site, err := url.Parse(a.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	cookies := p.http.Jar.Cookies(site)
	if len(cookies) == 0 {
		t.Fatal("there is no cookie")
	}
	p.must(b, "POST", "/api/auth/logout", nil, http.StatusNoContent)
	p.http.Jar.SetCookies(site, cookies) // as whoever has stolen it
	p.must(a, "GET", "/api/auth/me", nil, http.StatusUnauthorized)

	u, err := a.Identity.Create(t.Context(), identity.NewAccount{Email: "bob@example.org", Role: actor.User, Password: secret.New(sitePassword)})
	if err != nil {
		t.Fatal(err)
	}
	bob := s.person(u.Email)
	for _, at := range s.servers {
		bob.must(at, "GET", "/api/auth/me", nil, http.StatusOK)
	}
	err = b.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().Get(ctx, u.ID)
		if err != nil {
			return err
		}
		u.Status = string(identity.Banned)
		return tx.Users().Update(ctx, &u)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range s.servers {
		bob.must(at, "GET", "/api/auth/me", nil, http.StatusUnauthorized)
	}
}

// TestTwoServersShareTheWork: every job is done once, every cluster is watched
// by exactly one, evenly; what happens is seen through both; and when one dies,
// the other has all of it in time.
func TestTwoServersShareTheWork(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.start("a"), s.start("b")
	p := s.person(adminAddress)
	const clusters = 20
	ids := make([]string, clusters)
	began := time.Now()
	atOnce(clusters, func(i int) {
		status, out := p.call(p.turn(), "POST", "/api/console/clusters", object{"name": fmt.Sprint("c", i)})
		if status != http.StatusCreated {
			t.Errorf("create: %d %v", status, out)
			return
		}
		ids[i] = out["cluster"].(object)["id"].(string)
	})
	if t.Failed() {
		t.FailNow()
	}
	for _, c := range ids {
		_, jobs := p.settled(c)
		if len(jobs) != 1 || jobs[0]["status"] != "succeeded" || jobs[0]["attempt_count"] != 1.0 || jobs[0]["published_at"] == nil {
			t.Errorf("the jobs of a new cluster: %v", jobs)
		}
	}
	all := time.Since(began)
	var byServer map[string]int
	eventually(t, 10*time.Second, "each cluster has one watcher", func() bool {
		var wrong int
		byServer, wrong = s.watched.each()
		return wrong == 0 && byServer["a"]+byServer["b"] == clusters
	})
	if byServer["a"] != clusters/2 || byServer["b"] != clusters/2 {
		t.Errorf("the servers watch %v of %d clusters", byServer, clusters)
	}
	if applied, together := s.planes.counts(); applied != clusters || together != 0 {
		t.Errorf("%d changes were applied for %d jobs, %d of them beside another", applied, clusters, together)
	}
	eventually(t, 10*time.Second, "every message is published", func() bool { return outbox(t, a) == 0 })
	var slowest time.Duration
	for i, c := range ids {
		watcher := s.watched.of(clusterID(t, c))
		other := map[string]*server{"a": b, "b": a}[watcher]
		s.tenants.Cluster(clusterID(t, c)).PutNode(tenant.Node{Name: fmt.Sprint("w", i), UID: "u", Ready: tenant.True})
		took := eventually(t, 5*time.Second, "a node is seen through the server that does not watch it", func() bool {
			return len(objects(p.must(other, "GET", "/api/console/nodes?cluster_id="+c, nil, http.StatusOK)["nodes"])) == 1
		})
		slowest = max(slowest, took)
	}
	b.store.dead.Store(true)
	died := time.Now()
	stop(t, b.App)
	eventually(t, time.Minute, "the other server watches all clusters", func() bool {
		byServer, wrong := s.watched.each()
		return wrong == 0 && byServer["a"] == clusters
	})
	if took := time.Since(died); took > watch.Takeover {
		t.Errorf("the clusters of a server that died were without a watcher for %v", took)
	}
	t.Logf("%d clusters reachable after %v; watched by %v; a node seen through the other server within %v; taken over %v after a death",
		clusters, all, byServer, slowest, time.Since(died))
}

func outbox(t *testing.T, at *server) (n int) {
	t.Helper()
	err := at.store.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		waiting, err := tx.Outbox().Claim(ctx, 100)
		n = len(waiting)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFiftyWritersOverTwoServers: everybody is answered, and what is there in
// the end is what somebody was told that it is.
func TestFiftyWritersOverTwoServers(t *testing.T) {
	t.Parallel()
	for _, isolation := range []string{"read committed", "serializable"} {
		t.Run(isolation, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "default_transaction_isolation="+isolation)
			s.start("a")
			s.start("b")
			fiftyWriters(t, s, s.person(adminAddress))
		})
	}
}

func fiftyWriters(t *testing.T, s *site, p *person) {
	t.Helper()
	cluster := p.create(s.servers[0], "demo")
	p.settled(cluster)
	path := "/api/console/clusters/" + cluster
	in := s.tenants.Cluster(clusterID(t, cluster))
	in.PutNode(tenant.Node{Name: "w1", UID: "u1", Ready: tenant.True})
	var node string
	eventually(t, 5*time.Second, "the node is there", func() bool {
		nodes := objects(p.must(p.turn(), "GET", "/api/console/nodes?cluster_id="+cluster, nil, http.StatusOK)["nodes"])
		if len(nodes) == 1 {
			node, _ = nodes[0]["id"].(string)
		}
		return len(nodes) == 1
	})
	var mu sync.Mutex
	acknowledged := map[float64]bool{}
	var minted atomic.Int32
	const writers = 50
	atOnce(writers, func(i int) {
		switch {
		case i%10 == 7:
			if status, _ := p.call(p.turn(), "POST", path+"/join-token", object{}); status == http.StatusCreated {
				minted.Add(1)
			}
		case i%10 == 8:
			p.call(p.turn(), "POST", "/api/console/nodes/"+node+"/cordon", nil)
		case i%10 == 9:
			p.call(p.turn(), "POST", "/api/console/nodes/"+node+"/uncordon", nil)
		default:
			status, out := p.call(p.turn(), "PUT", path, object{"workload_cpu_limit_milli_cores": 3000 + i})
			if status == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				acknowledged[out["cluster"].(object)["workload_cpu_limit_milli_cores"].(float64)] = true
			}
		}
	})
	operations, jobs := p.settled(cluster)
	last := p.cluster(s.servers[0], cluster)["workload_cpu_limit_milli_cores"].(float64)
	if !acknowledged[last] || len(acknowledged) == 0 {
		t.Errorf("in the end the limit is %v, which nobody was told; told were %v", last, acknowledged)
	}
	if len(operations) != 1+len(acknowledged) || len(jobs) != len(operations) {
		t.Errorf("%d operations and %d jobs for a creation and %d changes", len(operations), len(jobs), len(acknowledged))
	}
	for _, o := range append(operations, jobs...) {
		if o["status"] != "succeeded" {
			t.Errorf("it went wrong: %v", o)
		}
	}
	if _, together := s.planes.counts(); together != 0 {
		t.Errorf("%d times two workers were at one control plane", together)
	}
	rec, err := s.servers[0].Clusters.Get(admin(t.Context()), clusterID(t, cluster))
	if err != nil || rec.Generation != int64(1+len(acknowledged)) || rec.ObservedGeneration != rec.Generation {
		t.Errorf("generation %d, observed %d after %d changes: %v", rec.Generation, rec.ObservedGeneration, len(acknowledged), err)
	}
	seen, _ := in.Node("w1")
	eventually(t, 5*time.Second, "the node is shown as it is", func() bool {
		shown := p.must(p.turn(), "GET", "/api/console/nodes/"+node, nil, http.StatusOK)["node"].(object)
		return shown["unschedulable"] == seen.Unschedulable
	})
	t.Logf("%d changes acknowledged, %d tokens made:%s", len(acknowledged), minted.Load(), p.tally())
}

// TestRulesHoldOverTwoServers: what may be once is once, whoever is asked.
func TestRulesHoldOverTwoServers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, _ := s.start("a"), s.start("b")
	root := s.person(adminAddress)
	u, err := a.Identity.Create(t.Context(), identity.NewAccount{Email: "bob@example.org", Role: actor.User, Password: secret.New(sitePassword)})
	if err != nil {
		t.Fatal(err)
	}
	bob := s.person(u.Email)

	root.sameAnswer("/api/console/clusters", object{"name": "once"})

	sameName := statuses(10, func(int) int {
		status, _ := root.call(root.turn(), "POST", "/api/console/clusters", object{"name": "mine", "vcluster_name": "mine"})
		return status
	})
	if sameName[http.StatusCreated] != 1 || sameName[http.StatusConflict] != 9 {
		t.Errorf("ten who want one name: %v", sameName)
	}

	quota := statuses(20, func(i int) int {
		status, _ := bob.call(bob.turn(), "POST", "/api/console/clusters", object{"name": fmt.Sprint("q", i)})
		return status
	})
	if quota[http.StatusCreated] != 5 || quota[http.StatusConflict] != 15 {
		t.Errorf("a limit of 5, 20 requests: %v", quota)
	}

	doomed := root.create(a, "doomed")
	deletes := statuses(10, func(int) int {
		status, _ := root.call(root.turn(), "DELETE", "/api/console/clusters/"+doomed, nil)
		return status
	})
	if deletes[http.StatusAccepted] == 0 || deletes[http.StatusAccepted]+deletes[http.StatusNotFound] != 10 {
		t.Errorf("ten deletes: %v", deletes)
	}
	eventually(t, 30*time.Second, "the cluster is gone", func() bool {
		status, _ := root.call(root.turn(), "GET", "/api/console/clusters/"+doomed, nil)
		return status == http.StatusNotFound
	})
	if _, together := s.planes.counts(); together != 0 {
		t.Errorf("%d times two workers were at one control plane", together)
	}
	oneMachineAToken(t, s, root)
	t.Logf("same name %v, quota %v, deletes %v:%s", sameName, quota, deletes, root.tally())
}

// oneMachineAToken asks both servers to decide at once, as while a lease changes
// hands.
func oneMachineAToken(t *testing.T, s *site, p *person) {
	t.Helper()
	text := p.create(s.servers[0], "joining")
	p.settled(text)
	p.sameAnswer("/api/console/clusters/"+text+"/join-token", object{}) // nothing but the key keeps these from being twenty
	cluster := clusterID(t, text)
	for round := range 5 {
		m, err := s.servers[0].Tokens.Mint(admin(t.Context()), cluster, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		var approved atomic.Int32
		refused := sync.Map{}
		atOnce(20, func(i int) {
			v, err := s.servers[i%2].Tokens.Decide(t.Context(), cluster, tenant.JoinRequest{
				Name: fmt.Sprint("csr-", i), Bootstrap: m.Token.BootstrapID, NodeName: fmt.Sprintf("w%d-%d", round, i/4), KeyHash: fmt.Sprint("key", i),
			})
			switch {
			case err != nil || !v.Ours:
				t.Errorf("decide: %+v, %v", v, err)
			case v.Approve:
				approved.Add(1)
			default:
				refused.Store(v.Reason, true)
			}
		})
		if approved.Load() != 1 {
			t.Errorf("%d of 20 machines were let in with one token", approved.Load())
		}
		refused.Range(func(reason, _ any) bool {
			if reason == "" {
				t.Error("a machine was refused without a reason")
			}
			return true
		})
	}
}

// sameAnswer asks twenty times with one key.
func (p *person) sameAnswer(path string, body object) {
	p.s.t.Helper()
	var mu sync.Mutex
	answers := map[string]int{}
	atOnce(20, func(int) {
		status, out := p.call(p.turn(), "POST", path, body, "Idempotency-Key", "k1")
		if status != http.StatusCreated {
			p.s.t.Errorf("POST %s with a key: %d %v", path, status, out)
		}
		mu.Lock()
		defer mu.Unlock()
		answers[strings.ReplaceAll(fmt.Sprint(out), p.s.servers[0].http.URL, p.s.servers[1].http.URL)]++ // a join command names the server that was asked
	})
	if len(answers) != 1 {
		p.s.t.Errorf("one key, 20 requests, different answers: %v", answers)
	}
}

// statuses counts the results of n calls at once.
func statuses(n int, do func(i int) int) map[int]int {
	var mu sync.Mutex
	out := map[int]int{}
	atOnce(n, func(i int) {
		status := do(i)
		mu.Lock()
		defer mu.Unlock()
		out[status]++
	})
	return out
}
