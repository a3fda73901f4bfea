package main_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestAcknowledgedRequestsSurviveKills kills the server with SIGKILL at moments
// drawn from a seed, while three people work on a tenant each: create, update,
// join, cordon, drain, delete, and again. Whatever was acknowledged must have its
// outcome after the restart, whatever was not must have happened wholly or not at
// all, and nothing may be left of a cluster that was deleted.
//
// KUBEBYON_CHAOS_SEED gives the seed again, KUBEBYON_CHAOS_KILLS the number of
// kills, and KUBEBYON_CHAOS_LOGS a folder for the logs of servers and control planes.
func TestAcknowledgedRequestsSurviveKills(t *testing.T) {
	t.Parallel()
	seed, kills := chaosSetting(t, "SEED", rand.Uint64()>>1), chaosSetting(t, "KILLS", 5)
	t.Logf("replay with KUBEBYON_CHAOS_SEED=%d KUBEBYON_CHAOS_KILLS=%d", seed, kills)
	c := newChaos(t, seed)
	plan := drawKills(seed, int(kills))
	c.run(plan)
	c.endQuietly()
	c.report(plan)
}

func chaosSetting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv("KUBEBYON_CHAOS_" + name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n == 0 {
		t.Fatalf("KUBEBYON_CHAOS_%s must be a number over 0, not %q", name, text)
	}
	return n
}

// Steps of the script, as kills are tied to them.
const (
	stepStart      = "start" // of the server, not of a user
	stepCreate     = "create"
	stepProvision  = "provision"
	stepUpdate     = "update"
	stepToken      = "token"
	stepJoin       = "join"
	stepScript     = "script"
	stepCordon     = "cordon"
	stepDrain      = "drain"
	stepRevoke     = "revoke"
	stepUncordon   = "uncordon"
	stepDeleteNode = "delete node"
	stepDelete     = "delete"
	stepRemoval    = "removal"
)

func chaosSteps() []string {
	return []string{
		stepStart, stepCreate, stepProvision, stepUpdate, stepToken, stepJoin, stepScript, stepCordon, stepDrain,
		stepRevoke, stepUncordon, stepDeleteNode, stepDelete, stepRemoval,
	}
}

// kill is a moment: so long after somebody takes a step next. What that hits is
// up to the machine, so a seed gives like moments again and not the same ones.
type kill struct {
	step  string
	after time.Duration
	down  time.Duration // until the server is started again
	rude  bool          // does not wait until all have seen that nothing was lost
	late  bool          // nobody took the step in time, and it came all the same
}

// drawKills goes through all steps in random order, and again. Half of the kills
// come about when the request is answered.
func drawKills(seed uint64, n int) []*kill {
	r := rand.New(rand.NewPCG(seed, 0))
	var plan []*kill
	for len(plan) < n {
		steps := chaosSteps()
		r.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		for _, step := range steps {
			k := &kill{step: step, down: time.Duration(r.IntN(300)) * time.Millisecond, rude: r.IntN(4) == 0}
			k.after = time.Duration(r.IntN(60)) * time.Millisecond
			if r.IntN(2) == 0 || step == stepStart {
				k.after = time.Duration(r.IntN(1500)) * time.Millisecond
			}
			plan = append(plan, k)
		}
	}
	return plan[:n]
}

const (
	chaosUsers = 3
	// settleWithin is how long after the server's last start everything that was
	// acknowledged may take to be so. It is long since the machine may be busy.
	settleWithin = 90 * time.Second
	// stepWithin is how long a kill waits for its step.
	stepWithin = 20 * time.Second
)

// chaos is one run.
type chaos struct {
	t                 *testing.T
	home, data, plane string
	addr              string
	web               *http.Client
	server            *server
	begun             bool // the users have
	users             []*chaosUser
	working           sync.WaitGroup
	ctx               context.Context //nolint:containedctx // ends when anybody has found a fault
	fail              context.CancelCauseFunc
	ending            chan struct{} // closed after the last kill

	mu      sync.Mutex
	starts  int       // of the server
	since   time.Time // the last one
	waiting map[string]chan struct{}
	book    map[deed]*times
	counts  map[string]int // of what happened, for the report
	ports   []string
	names   []string // of all clusters that anybody asked for
	errors  map[string]int
}

func newChaos(t *testing.T, seed uint64) *chaos {
	t.Helper()
	home := t.TempDir()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{
		t: t, home: home, data: filepath.Join(home, "data"), plane: requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane"),
		addr: freeAddress(t), ending: make(chan struct{}), waiting: map[string]chan struct{}{},
		book: map[deed]*times{}, counts: map[string]int{}, errors: map[string]int{},
		// Without kept connections the transport repeats no request by itself.
		web: &http.Client{Jar: jar, Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}},
	}
	c.ctx, c.fail = context.WithCancelCause(t.Context())
	t.Cleanup(func() { c.fail(nil); c.working.Wait(); endHollowNodes(home) })
	for i := range chaosUsers {
		c.users = append(c.users, &chaosUser{c: c, n: i, r: rand.New(rand.NewPCG(seed, uint64(i)+1))})
	}
	return c
}

func (c *chaos) run(plan []*kill) {
	c.t.Helper()
	began := time.Now()
	c.launch()
	for i, k := range plan {
		if k.step != stepStart {
			c.awaitUp()
			if !k.rude {
				c.awaitSettled()
			}
			k.late = !c.awaitStep(k.step)
		}
		c.rest(k.after)
		c.t.Logf("%5.1f s: kill %d, %v after %s", time.Since(began).Seconds(), i+1, k.after, k.step)
		c.kill()
		c.rest(k.down)
		c.launch()
	}
	c.awaitUp()
	c.awaitSettled()
	close(c.ending)
	c.working.Wait()
	c.check()
}

// check ends the test if anybody has found a fault.
func (c *chaos) check() {
	c.t.Helper()
	if c.ctx.Err() != nil {
		c.keepLog()
		c.t.Fatalf("%v\n%s", context.Cause(c.ctx), c.lastWords())
	}
}

func (c *chaos) rest(d time.Duration) {
	select {
	case <-c.ctx.Done():
	case <-time.After(d):
	}
}

func (c *chaos) launch() {
	c.t.Helper()
	c.check()
	c.mu.Lock()
	c.starts++
	c.since = time.Now()
	c.mu.Unlock()
	c.server = launch(c.t, c.addr, c.data, c.plane, "--join-rate-limit-burst", "100000", "--auth-rate-limit-burst", "1000", "--log-format", "json")
}

// awaitUp waits for the server, and lets the users begin at the first time.
func (c *chaos) awaitUp() {
	c.t.Helper()
	c.server.log.awaitRunning(c.t, 30*time.Second)
	if c.begun {
		return
	}
	c.begun = true
	a, err := c.send("POST", "/api/auth/login", "", object{"email": adminEmail, "password": adminPassword(c.t, c.data)})
	if err != nil || a.status != http.StatusOK {
		c.t.Fatalf("sign in: %v %v", a, err)
	}
	for _, u := range c.users {
		c.working.Go(func() { c.must(u.work()) })
	}
}

func (c *chaos) must(err error) {
	if err != nil && c.ctx.Err() == nil {
		c.fail(err)
	}
}

// awaitSettled returns when every user has seen that all it was promised is so,
// since the server's last start.
func (c *chaos) awaitSettled() {
	c.t.Helper()
	began := time.Now()
	for _, u := range c.users {
		for u.seen.Load() < int64(c.started()) && c.ctx.Err() == nil {
			if time.Since(c.lastStart()) > 2*settleWithin {
				c.fail(fmt.Errorf("user %d is stuck at %q", u.n, u.doing.Load()))
			}
			c.rest(10 * time.Millisecond)
		}
		if d := time.Since(began); d > 5*time.Second {
			c.t.Logf("user %d was well again after %v, at %v", u.n, d, u.doing.Load())
			began = time.Now()
		}
	}
	c.check()
}

func (c *chaos) started() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.starts
}

func (c *chaos) lastStart() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since
}

// takes tells that somebody takes a step now.
func (c *chaos) takes(step string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if told := c.waiting[step]; told != nil {
		close(told)
		delete(c.waiting, step)
	}
}

// awaitStep reports whether somebody took the step in time.
func (c *chaos) awaitStep(step string) bool {
	c.mu.Lock()
	told := make(chan struct{})
	c.waiting[step] = told
	c.mu.Unlock()
	select {
	case <-told:
		return true
	case <-c.ctx.Done():
	case <-time.After(stepWithin):
	}
	return false
}

func (c *chaos) kill() {
	c.t.Helper()
	select {
	case err := <-c.server.exited:
		c.server.exited <- err
		c.fail(fmt.Errorf("the server ended by itself: %w", err))
	default:
	}
	c.check()
	c.server.kill(c.t)
	c.readLog()
}

var (
	disaster = regexp.MustCompile(`(?m)^(WARNING: DATA RACE|panic: |fatal error: ).*`)
	errorRE  = regexp.MustCompile(`"level":"ERROR","msg":"([^"]*)"`)
)

// readLog looks for what no server may ever print.
func (c *chaos) readLog() {
	c.keepLog()
	log := c.server.log.tail()
	if found := disaster.FindStringIndex(log); found != nil {
		c.fail(fmt.Errorf("a server printed:\n%s", log[found[0]:min(len(log), found[0]+8000)]))
	}
	for _, m := range errorRE.FindAllStringSubmatch(log, -1) {
		c.errors[m[1]]++
	}
}

func (c *chaos) keepLog() {
	dir := os.Getenv("KUBEBYON_CHAOS_LOGS")
	if dir == "" || c.server == nil {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("server-%02d.log", c.started())), []byte(c.server.log.tail()), 0o600); err != nil {
		c.t.Error(err)
	}
	planes, _ := filepath.Glob(filepath.Join(c.data, "planes", "data", "*", "plane.log"))
	for _, file := range planes {
		text, _ := os.ReadFile(file) // it may have gone meanwhile
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(filepath.Dir(file))+".log"), text, 0o600); err != nil {
			c.t.Error(err)
		}
	}
}

// lastWords is what the server that runs now has complained of.
func (c *chaos) lastWords() string {
	lines := slices.DeleteFunc(strings.Split(c.server.log.tail(), "\n"), func(l string) bool {
		return !strings.Contains(l, `"level":"WARN"`) && !strings.Contains(l, `"level":"ERROR"`)
	})
	return "the server's last complaints:\n" + strings.Join(lines[max(0, len(lines)-30):], "\n")
}

func (c *chaos) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

// endQuietly looks at everything while nobody does anything, has all clusters
// deleted, and looks at what is left.
func (c *chaos) endQuietly() {
	c.t.Helper()
	c.must(c.awaitTrue(c.onlyLiveClusters))
	c.check()
	for _, u := range c.users {
		c.working.Go(func() { c.must(u.finish()) })
	}
	c.working.Wait()
	c.must(c.awaitTrue(c.onlyLiveClusters))
	c.must(c.nobodyListens())
	c.must(c.auditTells())
	c.check()
	c.server.stop(c.t)
	c.readLog()
	c.must(c.nothingInFolder())
	c.must(c.databaseTells())
	c.check()
}

// awaitTrue repeats a look until it finds nothing wrong. Each start of the server
// gives it its time anew.
func (c *chaos) awaitTrue(look func() error) error {
	for began := time.Now(); ; {
		err := look()
		if err == nil {
			return nil
		}
		if c.ctx.Err() != nil {
			return errors.Join(context.Cause(c.ctx), err)
		}
		if time.Since(began) > settleWithin && time.Since(c.lastStart()) > settleWithin {
			return fmt.Errorf("after %v, %w", settleWithin, err)
		}
		c.rest(25 * time.Millisecond)
	}
}

func (c *chaos) report(plan []*kill) {
	c.t.Helper()
	byStep := map[string]int{}
	rude, late := 0, 0
	for _, k := range plan {
		byStep[k.step]++
		if k.rude {
			rude++
		}
		if k.late {
			late++
		}
	}
	c.t.Logf("%d kills, by the step that they came after: %v; %d did not wait for all to be well again, %d came without their step", len(plan), byStep, rude, late)
	c.t.Logf("%d clusters; %v", len(c.names), c.counts)
	c.t.Logf("errors in the servers' logs: %v", c.errors)
}
