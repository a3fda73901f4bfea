package main_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// race is many who use one server at once. Nobody may see a 5xx.
type race struct {
	*client
	server      *server
	plane, home string

	mu      sync.Mutex
	answers map[string]int
}

// TestManyAtOnce holds one server with real control planes to its rules while
// everybody does everything at one moment.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	home := t.TempDir()
	data := filepath.Join(home, "data")
	s := startServer(t, data, plane, "--max-clusters-per-user", "2")
	t.Cleanup(func() { endHollowNodes(home) })
	r := &race{client: signIn(t, s, data), server: s, plane: plane, home: home, answers: map[string]int{}}
	t.Cleanup(func() { t.Logf("%d requests:%s", r.total(), r.tally()) })
	password := adminPassword(t, data)
	demo := r.createCluster("demo")
	r.awaitReachable(demo, time.Minute)
	out := r.must("POST", "/api/console/clusters/"+demo+"/kubeconfig", object{"password": password}, http.StatusOK)
	in := r.inside(out["kubeconfig"].(string))

	r.deletesWhileMaking()
	r.fiftyWriters(demo)
	r.oneToken(demo, "early-", 20, in) // a script is slower than those who only ask
	node := r.oneToken(demo, "late-", 3, in)
	r.handsOnOneNode(node, in)
	r.revokeWhileJoining(demo, in)
	r.oneName()
	r.oneKey()
	r.quota(data)
	r.guesses(demo)
}

// try is call that counts the answer.
func (r *race) try(c *client, method, path string, body any) (int, object) {
	status, out, err := c.call(method, path, body)
	if err != nil {
		r.t.Errorf("%s %s: %v", method, path, err)
	}
	return status, r.count(method, path, status, out)
}

func (r *race) count(method, path string, status int, out object) object {
	r.mu.Lock()
	defer r.mu.Unlock()
	kind, rest, _ := strings.Cut(path, "_")
	if _, end, ok := strings.Cut(rest, "/"); ok {
		kind += "…/" + end
	}
	code, _ := out["code"].(string)
	r.answers[fmt.Sprintf("%s %s %d %s", method, kind, status, code)]++
	if status >= http.StatusInternalServerError || status >= http.StatusBadRequest && code == "" {
		r.t.Errorf("%s %s: %d %v", method, path, status, out)
	}
	return out
}

func (r *race) total() (n int) {
	for _, k := range r.answers {
		n += k
	}
	return n
}

func (r *race) tally() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(r.answers)) {
		fmt.Fprintf(&b, "\n%5d %s", r.answers[k], k)
	}
	return b.String()
}

// together calls do n times at one moment and counts the statuses.
func (r *race) together(n int, do func(i int) int) map[int]int {
	var wg sync.WaitGroup
	var mu sync.Mutex
	out, begin := map[int]int{}, make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			status := do(i)
			mu.Lock()
			defer mu.Unlock()
			out[status]++
		})
	}
	close(begin)
	wg.Wait()
	return out
}

func (r *race) history(cluster string) (operations, jobs []any) {
	r.t.Helper()
	_, out := r.try(r.client, "GET", "/api/console/clusters/"+cluster+"/operations?limit=100", nil)
	operations, _ = out["operations"].([]any)
	jobs, _ = out["jobs"].([]any)
	return operations, jobs
}

func (r *race) eventually(what string, limit time.Duration, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Errorf("after %v it is not so that %s", limit, what)
			return
		}
	}
}

// deletesWhileMaking ends clusters at several moments of their making, by two
// and by ten at once, with changes beside.
func (r *race) deletesWhileMaking() {
	r.t.Helper()
	var wg sync.WaitGroup
	for i, after := range []time.Duration{0, 100 * time.Millisecond, 500 * time.Millisecond, 1500 * time.Millisecond} {
		id := r.createCluster(fmt.Sprint("doomed-", i))
		wg.Go(func() {
			time.Sleep(after) // the moment is what is tested
			path := "/api/console/clusters/" + id
			got := r.together(2+8*(i%2)+4, func(n int) int {
				if n < 4 {
					status, _ := r.try(r.client, "PUT", path, object{"workload_cpu_limit_milli_cores": 2001 + n})
					return -status
				}
				status, _ := r.try(r.client, "DELETE", path, nil)
				return status
			})
			if got[http.StatusAccepted] == 0 || got[http.StatusAccepted]+got[http.StatusNotFound] != 2+8*(i%2) {
				r.t.Errorf("deletes %v after the creation: %v", after, got)
			}
			r.eventually("the cluster is gone", time.Minute, func() bool {
				status, _ := r.try(r.client, "GET", path, nil)
				return status == http.StatusNotFound
			})
			if left := processes(r.home, id); len(left) > 0 {
				r.t.Errorf("processes are left of a deleted cluster: %v", left)
			}
			if left, _ := filepath.Glob(filepath.Join(r.home, "data", "planes", "*", id)); len(left) > 0 {
				r.t.Errorf("files are left of a deleted cluster: %v", left)
			}
		})
	}
	wg.Wait()
}

// fiftyWriters change one cluster.
func (r *race) fiftyWriters(cluster string) {
	r.t.Helper()
	path := "/api/console/clusters/" + cluster
	stop, most := make(chan struct{}), 0
	var look sync.WaitGroup
	look.Go(func() {
		for {
			_, jobs := r.history(cluster)
			running := 0
			for _, j := range jobs {
				if j.(object)["status"] == "running" {
					running++
				}
			}
			most = max(most, running)
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	var mu sync.Mutex
	told := map[any]bool{}
	got := r.together(50, func(i int) int {
		if i%10 == 9 {
			status, _ := r.try(r.client, "POST", path+"/join-token", object{})
			return status
		}
		status, out := r.try(r.client, "PUT", path, object{"workload_cpu_limit_milli_cores": 3000 + i})
		if status == http.StatusOK {
			mu.Lock()
			defer mu.Unlock()
			told[out["cluster"].(object)["workload_cpu_limit_milli_cores"]] = true
		}
		return status
	})
	r.eventually("all jobs are done", time.Minute, func() bool {
		_, jobs := r.history(cluster)
		return !slices.ContainsFunc(jobs, func(j any) bool { s := j.(object)["status"]; return s == "pending" || s == "running" })
	})
	close(stop)
	look.Wait()
	operations, jobs := r.history(cluster)
	if len(operations) != 1+len(told) || len(jobs) != len(operations) {
		r.t.Errorf("%d operations and %d jobs for a creation and %d changes", len(operations), len(jobs), len(told))
	}
	for _, o := range append(operations, jobs...) {
		if o.(object)["status"] != "succeeded" {
			r.t.Errorf("it went wrong: %v", o)
		}
	}
	last := r.awaitReachable(cluster, 20*time.Second)["workload_cpu_limit_milli_cores"]
	if !told[last] {
		r.t.Errorf("the limit is %v in the end, which nobody was told", last)
	}
	if most > 1 {
		r.t.Errorf("%d jobs of one cluster ran at once", most)
	}
	r.t.Logf("50 writers: %v, %d changes, at most %d job at once", got, len(told), most)
}

func (r *race) oneName() {
	r.t.Helper()
	got := r.together(10, func(int) int {
		status, out := r.try(r.client, "POST", "/api/console/clusters", object{"name": "mine", "vcluster_name": "mine"})
		if status != http.StatusCreated && out["code"] != "name_taken" {
			r.t.Errorf("create: %d %v", status, out)
		}
		return status
	})
	if got[http.StatusCreated] != 1 || got[http.StatusConflict] != 9 {
		r.t.Errorf("ten who want one name: %v", got)
	}
}

func (r *race) oneKey() {
	r.t.Helper()
	answers := make(chan string, 20)
	r.together(cap(answers), func(int) int {
		req, err := http.NewRequestWithContext(context.Background(), "POST", r.url+"/api/console/clusters", strings.NewReader(`{"name":"once"}`))
		if err != nil {
			r.t.Error(err)
			return 0
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", "race")
		resp, err := r.http.Do(req)
		if err != nil {
			r.t.Error(err)
			return 0
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		r.count("POST", "/api/console/clusters (one key)", resp.StatusCode, object{"code": ""})
		answers <- fmt.Sprint(resp.StatusCode, " ", string(text))
		return resp.StatusCode
	})
	close(answers)
	first := <-answers
	for another := range answers {
		if another != first || !strings.HasPrefix(first, "201 ") {
			r.t.Errorf("one key, two answers:\n%s\n%s", first, another)
		}
	}
	list := r.must("GET", "/api/console/clusters?search=once", nil, http.StatusOK)["clusters"].([]any)
	if len(list) != 1 {
		r.t.Errorf("%d clusters for one key", len(list))
	}
}

const bobsPassword = "a password that bob knows"

// quota: one who may have two clusters asks for twenty; and then signs in and
// out at once.
func (r *race) quota(data string) {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.(*testing.T).Context(), program, "admin", "create", "--data-dir", data, "--email", "bob@example.org", "--role", "user", "--password-stdin")
	cmd.Stdin = strings.NewReader(bobsPassword + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	bob := r.bob()
	if status, _ := r.try(bob, "POST", "/api/auth/login", object{"email": "bob@example.org", "password": bobsPassword}); status != http.StatusOK {
		r.t.Fatalf("bob cannot sign in: %d", status)
	}
	got := r.together(20, func(i int) int {
		status, out := r.try(bob, "POST", "/api/console/clusters", object{"name": fmt.Sprint("bobs-", i)})
		if status != http.StatusCreated && out["code"] != "quota_exceeded" {
			r.t.Errorf("create: %d %v", status, out)
		}
		return status
	})
	if got[http.StatusCreated] != 2 || got[http.StatusConflict] != 18 {
		r.t.Errorf("a limit of two, twenty requests: %v", got)
	}
	cookie := bob.http.Jar
	r.together(10, func(i int) int {
		if i%2 == 0 {
			status, _ := r.try(r.bob(), "POST", "/api/auth/login", object{"email": "bob@example.org", "password": bobsPassword})
			return status
		}
		stolen := r.bob()
		stolen.http.Jar = cookie
		status, _ := r.try(stolen, "POST", "/api/auth/logout", nil)
		return status
	})
	if status, _ := r.try(bob, "GET", "/api/auth/me", nil); status != http.StatusUnauthorized {
		r.t.Errorf("after signing out five times: %d", status)
	}
}

func (r *race) bob() *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &client{t: r.t, url: r.url, http: &http.Client{Jar: jar, Timeout: time.Minute}}
	r.t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// guesses: many wrong passwords at once are no more than one after the other.
func (r *race) guesses(cluster string) {
	r.t.Helper()
	got := r.together(30, func(i int) int {
		status, _ := r.try(r.client, "POST", "/api/console/clusters/"+cluster+"/kubeconfig", object{"password": fmt.Sprint("guess ", i)})
		return status
	})
	if got[http.StatusTooManyRequests] < 24 || got[http.StatusUnauthorized]+got[http.StatusTooManyRequests] != 30 {
		r.t.Errorf("thirty guesses at once: %v", got)
	}
}
