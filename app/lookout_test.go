package app_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/provision"
	"github.com/kubebyon/kubebyon/ports/store"
)

// remote is a provisioner whose host may be away.
type remote struct {
	provision.Provisioner
	away  *atomic.Bool
	asked *atomic.Int64
}

func (r remote) Ping(ctx context.Context) error {
	r.asked.Add(1)
	bell.Wait(ctx, nil, 100*time.Millisecond) // so that others come meanwhile
	if r.away.Load() {
		return errHostAway
	}
	return nil
}

const errHostAway = errString("the host is away")

// A backend that has not been there yet is waited for, but not for long; one that
// was there and went makes no process unready.
func TestWhatWentOnlyDegrades(t *testing.T) {
	t.Parallel()
	for _, comes := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			p, away, _ := watching(t)
			away.Store(true)
			backend := func() error {
				time.Sleep(2 * time.Second)
				return p.Ready(t.Context())["backend"]
			}
			if err := backend(); err == nil || isDegraded(err) {
				t.Errorf("before it was there: %v", err)
			}
			if comes {
				away.Store(false)
				if err := backend(); err != nil {
					t.Errorf("while it is there: %v", err)
				}
				away.Store(true)
			} else {
				time.Sleep(time.Minute)
			}
			if err := backend(); !isDegraded(err) {
				t.Errorf("when it went, or did not come: %v", err)
			}
		})
	}
}

// Anyone may ask whether the platform is ready; what it needs is asked about once
// a second, for all of them.
func TestManyWhoAskShareOneLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, away, asked := watching(t)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := p.Ready(t.Context())["backend"]; err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("50 who ask at once make %d looks", n)
		}
		away.Store(true)
		gone, leave := context.WithCancel(t.Context())
		leave()
		if err := p.Ready(gone)["backend"]; isDegraded(err) {
			t.Errorf("within a second it looks again: %v", err)
		}
		time.Sleep(time.Second)
		if err := p.Ready(t.Context())["backend"]; !isDegraded(err) || asked.Load() != 2 {
			t.Errorf("a second later: %v after %d looks", err, asked.Load())
		}
	})
}

// watching is a platform with a host that may be away, and that counts how often
// it is asked.
func watching(t *testing.T) (p *app.App, away *atomic.Bool, asked *atomic.Int64) {
	t.Helper()
	away, asked = new(atomic.Bool), new(atomic.Int64)
	p, err := app.New(app.Config{}, inMemory(t), app.Replace[provision.Provisioner](remote{memprovision.New(memprovision.Config{}), away, asked}))
	if err != nil {
		t.Fatal(err)
	}
	return p, away, asked
}

// What an embedder sets of the API is asked beside what the platform sets.
func TestAnEmbeddersReadinessAndObserverAreHeard(t *testing.T) {
	t.Parallel()
	var began, ended atomic.Int64
	observer := func(r *http.Request, _ bool) (context.Context, func(method, route string, status int)) {
		began.Add(1)
		return r.Context(), func(string, string, int) { ended.Add(1) }
	}
	conf := app.Config{
		HTTP:    httpapi.Config{Begin: observer, Ready: func(context.Context) map[string]error { return map[string]error{"mine": errHostAway} }},
		Observe: app.Observe{Request: observer},
	}
	p, err := app.New(conf, inMemory(t))
	if err != nil {
		t.Fatal(err)
	}
	if checks := p.Ready(t.Context()); !errors.Is(checks["mine"], errHostAway) || len(checks) < 4 {
		t.Errorf("readiness is %v", checks)
	}
	for i, h := range []http.Handler{httpapi.NewFront(conf.Edge()), p.Handler} { // before it runs, and then
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/healthz", nil))
		if want := int64(2 * (i + 1)); began.Load() != want || ended.Load() != want {
			t.Errorf("of two observers and %d requests, %d are heard of, and %d answers", i+1, began.Load(), ended.Load())
		}
	}
}

func isDegraded(err error) bool {
	return errors.Is(err, errHostAway) && err != error(errHostAway) //nolint:errorlint // wrapped, or as it was
}

// A process that leaves the jobs does everything else; one that is told to stop
// gives its job back at once, and another process goes on with it.
func TestJobsAreLeftAndGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		kept, planes := memstore.New(), memprovision.New(memprovision.Config{})
		planes.PlayAll(memprovision.Script{Takes: time.Minute})
		start := func(c app.Config) *app.App {
			p, err := app.New(c, inMemory(t), app.Replace[store.Store](kept), app.Replace[provision.Provisioner](planes))
			if err == nil {
				err = p.Start(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		server := start(app.Config{Name: "server", LeaveJobs: true})
		defer stop(t, server)
		ctx := account(t, server)
		c, err := server.Clusters.Create(ctx, clusters.Request{Name: "demo"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := len(planes.Clusters()); got != 0 {
			t.Errorf("the server that leaves the jobs has made %d clusters", got)
		}
		first := start(app.Config{Name: "first"})
		time.Sleep(10 * time.Second)
		if got := len(planes.Clusters()); got != 1 {
			t.Errorf("the worker has made %d clusters", got)
		}
		first.Drain()
		synctest.Wait()
		second := start(app.Config{Name: "second"})
		defer stop(t, second)
		defer stop(t, first)
		time.Sleep(time.Second)
		synctest.Wait()
		var jobs page.Of[store.Job]
		err = kept.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
			jobs, err = tx.Jobs().List(ctx, store.JobFilter{}, page.Query{Limit: 10})
			return err
		})
		if err != nil || len(jobs.Items) != 1 || !strings.HasPrefix(jobs.Items[0].WorkerID, "second") || jobs.Items[0].AttemptCount != 1 {
			t.Errorf("a second after the first was told to stop, the jobs are %+v, %v", jobs.Items, err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if c, err = server.Clusters.Get(ctx, c.ID); err != nil || c.Status != string(clusters.Ready) {
			t.Errorf("the cluster is %q, %v", c.Status, err)
		}
	})
}
