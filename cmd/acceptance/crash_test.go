package acceptance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestNothingIsLostWhateverDies has people create, update and delete clusters by
// the API of two servers, while servers, workers, RabbitMQ, PostgreSQL and the
// host's API server are killed or cut off at moments drawn from a seed.
// Afterwards every acknowledged request has its outcome, no release is there
// twice or without its cluster, no job is stuck, and operations tell the truth.
//
// KUBEBYON_CHAOS_SEED gives the seed again, KUBEBYON_CHAOS_BLOWS the number of
// blows, KUBEBYON_CHAOS_LOGS a folder for the logs.
func TestNothingIsLostWhateverDies(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes minutes")
	}
	seed, blows := setting(t, "SEED", rand.Uint64()>>1), setting(t, "BLOWS", 28)
	t.Logf("replay with KUBEBYON_CHAOS_SEED=%d KUBEBYON_CHAOS_BLOWS=%d", seed, blows)
	s := newSiege(t, seed)
	s.run(int(blows))
	s.settle()
	s.report()
}

func setting(t *testing.T, name string, otherwise uint64) uint64 {
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

const (
	siegeUsers = 3
	// calmWithin is how long after the last blow everything that was acknowledged
	// may take to be so. It is long since the machine may be busy.
	calmWithin = 3 * time.Minute
)

// siege is one run.
type siege struct {
	*world
	r      *rand.Rand
	users  []*resident
	active sync.WaitGroup
	ctx    context.Context //nolint:containedctx // ends when anybody has found a fault
	fail   context.CancelCauseFunc
	ending chan struct{} // closed after the last blow

	mu     sync.Mutex
	counts map[string]int
	asked  chan struct{} // closed with the next request that changes something
}

func newSiege(t *testing.T, seed uint64) *siege {
	t.Helper()
	s := &siege{world: newWorld(t, 2, 2, "--light-tenants"), r: rand.New(rand.NewPCG(seed, 0)), ending: make(chan struct{}), counts: map[string]int{}, asked: make(chan struct{})}
	s.ctx, s.fail = context.WithCancelCause(t.Context())
	t.Cleanup(func() { s.fail(nil); s.active.Wait() })
	t.Cleanup(func() { s.keepLogs() })
	for i := range siegeUsers {
		u := &resident{s: s, n: i, r: rand.New(rand.NewPCG(seed, uint64(i)+1)), client: newClient(t)}
		s.must(u.client.signIn(t.Context(), s.servers[0].url))
		s.users = append(s.users, u)
	}
	return s
}

func (s *siege) keepLogs() {
	dir := os.Getenv("KUBEBYON_CHAOS_LOGS")
	if dir == "" {
		return
	}
	logs := map[string]*tail{"postgres": s.postgres.log, "rabbitmq": s.broker.log, "host": s.host.log}
	for _, p := range s.programs() {
		logs[p.name] = p.log
	}
	for name, log := range logs {
		if err := os.WriteFile(dir+"/"+name+".log", []byte(log.String()), 0o600); err != nil {
			s.t.Error(err)
		}
	}
}

// blow is something bad that happens and passes.
type blow struct {
	name string
	hit  func(s *siege)
}

// blows are all that may die or be cut off.
func blows() []blow {
	return []blow{
		{"a server is killed", func(s *siege) { s.felled(s.servers[s.r.IntN(len(s.servers))]) }},
		{"a worker is killed", func(s *siege) { s.felled(s.workers[s.r.IntN(len(s.workers))]) }},
		{"all workers are killed", func(s *siege) { s.felled(s.workers...) }},
		{"all servers are killed", func(s *siege) { s.felled(s.servers...) }},
		{"a worker is asked to stop", func(s *siege) {
			p := s.workers[s.r.IntN(len(s.workers))]
			p.stop(s.t, time.Minute)
			s.rest(time.Second)
			p.start(s.t)
		}},
		{"PostgreSQL is killed", func(s *siege) { s.postgres.kill(s.t); s.rest(time.Second); s.postgres.up(s.t) }},
		{"RabbitMQ is killed", func(s *siege) { s.broker.kill(s.t); s.rest(time.Second); s.broker.up(s.t) }},
		{"the host is killed", func(s *siege) { s.host.kill(s.t); s.rest(time.Second); s.host.up(s.t) }},
		{"PostgreSQL is cut off", func(s *siege) { s.cutOff(s.gates.postgres) }},
		{"RabbitMQ is cut off", func(s *siege) { s.cutOff(s.gates.broker) }},
		{"the host is cut off", func(s *siege) { s.cutOff(s.gates.host) }},
		{"the way to PostgreSQL is still", func(s *siege) { s.stilled(s.gates.postgres) }},
		{"the way to RabbitMQ is still", func(s *siege) { s.stilled(s.gates.broker) }},
		{"the way to the host is still", func(s *siege) { s.stilled(s.gates.host) }},
	}
}

func (s *siege) felled(all ...*program) {
	for _, p := range all {
		p.kill(s.t)
	}
	s.rest(1500 * time.Millisecond)
	for _, p := range all {
		p.start(s.t)
	}
}

func (s *siege) cutOff(g *gate)  { g.cut(); s.rest(s.while()); g.mend() }
func (s *siege) stilled(g *gate) { g.stall(); s.rest(s.while()); g.mend() }

// while is how long a way is cut at the most: now and then longer than leases
// and time-outs.
func (s *siege) while() time.Duration {
	if s.r.IntN(4) == 0 {
		return 30 * time.Second
	}
	return 5 * time.Second
}

// asks tells that somebody sends a request that changes something.
func (s *siege) asks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.asked)
	s.asked = make(chan struct{})
}

// moment waits for the next blow's: half of them come about when a request is
// answered, the others while what was asked for is being done.
func (s *siege) moment() {
	s.rest(5 * time.Second)
	if s.r.IntN(2) == 0 {
		return
	}
	s.mu.Lock()
	asked := s.asked
	s.mu.Unlock()
	select {
	case <-asked:
		s.rest(40 * time.Millisecond)
	case <-s.ctx.Done():
	case <-time.After(5 * time.Second): // everybody waits for something
	}
}

// rest is for up to most.
func (s *siege) rest(most time.Duration) {
	select {
	case <-s.ctx.Done():
	case <-time.After(time.Duration(s.r.Int64N(int64(most)))):
	}
}

// run deals the blows, each kind in turn in an order drawn anew.
func (s *siege) run(n int) {
	s.t.Helper()
	for _, u := range s.users {
		s.active.Go(func() { s.found(u.live()) })
	}
	began := time.Now()
	var plan []blow
	for i := range n {
		if len(plan) == 0 {
			plan = blows()
			s.r.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
		}
		s.moment()
		s.t.Logf("%5.1f s: blow %d: %s", time.Since(began).Seconds(), i+1, plan[0].name)
		plan[0].hit(s)
		s.count(plan[0].name)
		plan = plan[1:]
		s.check()
	}
	close(s.ending)
	s.active.Wait()
	s.check()
}

func (s *siege) found(err error) {
	if err != nil && s.ctx.Err() == nil {
		s.fail(err)
	}
}

var disaster = regexp.MustCompile(`(?m)^(WARNING: DATA RACE|panic: |fatal error: ).*`)

// check ends the test if anybody has found a fault.
func (s *siege) check() {
	s.t.Helper()
	for _, p := range s.programs() {
		s.found(p.ended())
		if at := disaster.FindStringIndex(p.log.String()); at != nil {
			text := p.log.String()
			s.found(fmt.Errorf("%s printed:\n%s", p.name, text[at[0]:min(len(text), at[0]+8000)]))
		}
	}
	if s.ctx.Err() != nil {
		s.t.Fatalf("%v\n%s", context.Cause(s.ctx), s.complaints())
	}
}

func (s *siege) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// settle looks at everything while nobody does anything, has all clusters
// deleted, and looks at what is left.
func (s *siege) settle() {
	s.t.Helper()
	for _, p := range s.programs() {
		s.must(s.ready(s.ctx, p, calmWithin))
	}
	s.must(await(s.ctx, calmWithin, s.hostTells))
	for _, u := range s.users {
		s.active.Go(func() { s.found(u.leave()) })
	}
	s.active.Wait()
	s.check()
	s.must(await(s.ctx, calmWithin, s.hostTells))
	s.must(await(s.ctx, calmWithin, s.databaseTells))
	for _, p := range s.programs() {
		p.stop(s.t, time.Minute)
	}
	s.check()
}

func (s *siege) report() {
	s.t.Helper()
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		s.t.Logf("%6d  %s", s.counts[what], what)
	}
	if s.counts["operations asked for"] == 0 || s.counts["clusters deleted"] == 0 {
		s.t.Error(errors.New("nothing was done, so that nothing could be lost"))
	}
}
