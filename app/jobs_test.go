package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/watch"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestEveryJobIsDoneOnceWhateverBecomesOfTheWorkers: 200 jobs go through
// PostgreSQL and RabbitMQ to two workers that are cut off from the database for
// longer than their leases last, and of which one is killed. No two are ever at
// one control plane, and every job succeeds once.
func TestEveryJobIsDoneOnceWhateverBecomesOfTheWorkers(t *testing.T) {
	t.Parallel()
	const lease, planes, each = 2 * time.Second, 20, 10
	s := newJobSite(t, lease)
	s.planes.takes = 20 * time.Millisecond
	s.begin(t)
	s.createAll(t, planes)
	ids := s.ids()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range planes * (each - 1) {
			limit := int64(1000 + n)
			if _, err := s.service.Update(s.person, ids[n%planes], clusters.Settings{WorkloadCPULimitMilli: &limit}); err != nil {
				t.Error(err)
			}
			time.Sleep(rand.N(50 * time.Millisecond))
		}
	}()
	for i := range 2 { // each loses its leases once, while the other goes on
		s.stores[i].dead.Store(true)
		time.Sleep(lease + lease/2)
		s.stores[i].dead.Store(false)
	}
	s.stores[1].dead.Store(true) // for good: it has been killed
	s.run(t, 2)
	<-done
	eventually(t, time.Minute, "all jobs have succeeded", func() bool { return s.succeeded(t) == planes*each })
	if ended := s.count.Load(); ended != planes*each {
		t.Errorf("%d jobs were ended %d times", planes*each, ended)
	}
	if applied, together := s.planes.counts(); together != 0 {
		t.Errorf("%d of %d times two workers were at one control plane", together, applied)
	}
}

func (s *jobSite) ids() (out []id.Cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.committed {
		out = append(out, c)
	}
	return out
}

func (s *jobSite) succeeded(t *testing.T) (n int) {
	t.Helper()
	must(t, s.stores[0].View(t.Context(), func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Jobs().List(ctx, store.JobFilter{Status: string(clusters.Succeeded)}, page.Query{Limit: 500})
		n = len(all.Items)
		return err
	}))
	return n
}

// TestClocksThatDifferStealNoLeases: of two servers one is ten minutes ahead and
// one ten minutes behind, and both would have work for the other's lease. They
// share the clusters, and when one dies the other takes over in time.
func TestClocksThatDifferStealNoLeases(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.planes.PlayAll(memprovision.Script{Takes: 5 * time.Second}) // the look-outs come by several times
	for name, skew := range map[string]time.Duration{"ahead": 10 * time.Minute, "behind": -10 * time.Minute} {
		at := s.build(name, 1, func(c *app.Config) {
			c.Now = func() time.Time { return systemClock().Add(skew) }
			c.WorkerConcurrency = 2
		})
		must(t, at.Start(t.Context()))
		s.servers = append(s.servers, at)
	}
	p := s.person(adminAddress)
	var ids []string
	for i := range 4 {
		ids = append(ids, p.create(s.servers[i%2], fmt.Sprint("c", i)))
	}
	for _, c := range ids {
		eventually(t, time.Minute, "the job is done", func() bool {
			h := p.must(s.servers[0], "GET", "/api/console/clusters/"+c+"/operations", nil, http.StatusOK)
			job := objects(h["jobs"])[0]
			if job["attempt_count"].(float64) > 1 {
				t.Fatalf("it was taken from who worked on it: %v", job)
			}
			return job["status"] == "succeeded"
		})
	}
	if _, together := s.planes.counts(); together != 0 {
		t.Errorf("%d times two workers were at one control plane", together)
	}
	for _, c := range ids {
		h := p.must(s.servers[0], "GET", "/api/console/clusters/"+c+"/operations", nil, http.StatusOK)
		if o := objects(h["operations"])[0]; o["started_at"].(string) < o["created_at"].(string) {
			t.Errorf("an operation started before it was asked for: %v", o)
		}
	}
	eventually(t, time.Minute, "the servers share the clusters", func() bool {
		byServer, wrong := s.watched.each()
		return wrong == 0 && byServer["ahead"] == 2 && byServer["behind"] == 2
	})
	for _, at := range s.servers {
		if at.name == "ahead" { // what it has leased would be leased for long yet by the other's clock
			at.store.dead.Store(true)
			stop(t, at.App)
		}
	}
	died := time.Now()
	eventually(t, time.Minute, "the other server watches all clusters", func() bool {
		byServer, wrong := s.watched.each()
		return wrong == 0 && byServer["behind"] == 4
	})
	if took := time.Since(died); took > watch.Takeover {
		t.Errorf("the clusters of a server that died were without a watcher for %v", took)
	}
}
