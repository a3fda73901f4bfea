package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/ports/store"
)

// rubbishRequests is how many requests each kind of world gets. The stores
// behave alike; most requests never reach one.
var rubbishRequests = []struct {
	name  string
	count int
	open  func(*testing.T) store.Store
}{
	{"Memory1", 5000, func(*testing.T) store.Store { return memstore.New() }},
	{"Memory2", 5000, func(*testing.T) store.Store { return memstore.New() }},
	{"Memory3", 5000, func(*testing.T) store.Store { return memstore.New() }},
	{"Memory4", 4000, func(*testing.T) store.Store { return memstore.New() }},
	{"SQLite", 1500, openSQLite},
	{"Postgres", 1500, openPostgres},
}

// TestNoRequestBreaksTheServer sends what is near to being right, and what is
// not, to every operation of the document. See [rubbish.judge] for what holds
// of every answer. KUBEBYON_RUBBISH_SEED repeats a run, and
// KUBEBYON_RUBBISH_FACTOR makes it longer.
func TestNoRequestBreaksTheServer(t *testing.T) {
	t.Parallel()
	seed := setting(t, "KUBEBYON_RUBBISH_SEED", uint64(time.Now().UnixNano()))
	factor := int(setting(t, "KUBEBYON_RUBBISH_FACTOR", 1))
	total := newTally()
	t.Run("Worlds", func(t *testing.T) {
		for n, kind := range rubbishRequests {
			t.Run(kind.name, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				r := newRubbish(t, kind.open(t), seed+uint64(n))
				for r.tally.requests < factor*kind.count && r.failures < maxRubbishFailures {
					r.once()
				}
				r.everyOperationIsReached()
				total.add(r.tally)
				t.Logf("%d requests in %s, KUBEBYON_RUBBISH_SEED=%d", r.tally.requests, time.Since(began).Round(time.Millisecond), seed)
			})
		}
	})
	t.Logf("KUBEBYON_RUBBISH_SEED=%d: %s", seed, total)
}

func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// maxRubbishFailures is how many are enough to see what is wrong.
const maxRubbishFailures = 10

// tally counts what was tried and what came of it.
type tally struct {
	mu       sync.Mutex
	requests int
	unfit    int            // so broken that net/http answers them itself
	accepted map[string]int // by operation
	statuses map[int]int
	broken   map[string]int // by mutation
}

func newTally() *tally {
	return &tally{accepted: map[string]int{}, statuses: map[int]int{}, broken: map[string]int{}}
}

func (y *tally) add(other *tally) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.requests += other.requests
	y.unfit += other.unfit
	for _, m := range []struct{ to, from map[string]int }{{y.accepted, other.accepted}, {y.broken, other.broken}} {
		for k, n := range m.from {
			m.to[k] += n
		}
	}
	for k, n := range other.statuses {
		y.statuses[k] += n
	}
}

func (y *tally) String() string {
	least, fewest := "", 0
	for _, op := range slices.Sorted(maps.Keys(y.accepted)) {
		if n := y.accepted[op]; least == "" || n < fewest {
			least, fewest = op, n
		}
	}
	return fmt.Sprintf("%d requests to %d operations, %d of them unfit for net/http; statuses %v; fewest accepted: %d of %s; mutations %v",
		y.requests, len(y.accepted), y.unfit, y.statuses, fewest, least, y.broken)
}

// rubbish sends requests to one world and judges the answers.
type rubbish struct {
	*stage
	t          *testing.T
	rand       *mathrand.Rand
	seed       uint64
	operations []*rubbishOperation
	turns      []*rubbishOperation // whose turn it is, again and again
	tally      *tally
	failures   int
}

func newRubbish(t *testing.T, s store.Store, seed uint64) *rubbish {
	t.Helper()
	r := &rubbish{
		t: t, stage: newStage(t, s), rand: mathrand.New(mathrand.NewPCG(seed, seed)), seed: seed,
		tally: newTally(),
	}
	for _, name := range slices.Sorted(maps.Keys(surfaces())) {
		r.operations = append(r.operations, rubbishOperations(t, surfaces()[name].doc)...)
	}
	for _, op := range r.operations {
		r.tally.accepted[op.id] = 0
		if r.turns = append(r.turns, op); op.body != nil { // there is more to spoil
			r.turns = append(r.turns, op, op)
		}
	}
	return r
}

// once sends one request. Every third is as it should be, so that it is known
// that requests get behind the validation.
func (r *rubbish) once() {
	op := r.turns[r.tally.requests%len(r.turns)]
	q := r.valid(op)
	if r.rand.IntN(3) > 0 {
		for range 1 + r.rand.IntN(2)*r.rand.IntN(3) {
			r.mutate(q)
		}
	}
	r.clock.advance(10 * time.Millisecond)
	r.send(q)
}

func (r *rubbish) send(q *rubbishRequest) {
	r.tally.requests++
	for _, m := range q.mutations {
		r.tally.broken[m]++
	}
	wire := q.wire()
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(wire)))
	if err != nil {
		r.tally.unfit++
		return
	}
	request.RemoteAddr = peerAddr
	caught := &caught{TB: r.t}
	a := answer{httptest.NewRecorder(), caught, request.Method + " " + q.op.id}
	r.deeds.take()
	r.server.ServeHTTP(a, request.WithContext(r.t.Context()))
	done := r.deeds.take()
	r.tally.statuses[a.Code]++
	r.judge(caught, q, request, a, done)
	if len(caught.errors) > 0 {
		r.failures++
		r.t.Errorf("request %d of seed %d, %v:\n%.2000q\nanswer %d %v\n%.600s\n%s",
			r.tally.requests, r.seed, q.mutations, wire, a.Code, a.Header(), a.Body, strings.Join(caught.errors, "\n"))
	}
	switch {
	case a.Code >= 300 && !sentOn(a) || a.Header().Get("X-KubeBYON-Join-Error") != "":
	case request.Method != q.op.method:
		r.leave(q.place) // another operation did who knows what to it
	default:
		r.tally.accepted[q.op.id]++
		r.after(q.op.id, q.place, a)
		r.remember(q, a)
	}
}

// sentOn tells whether an answer sends a browser on, and not to where it reads
// what went wrong.
func sentOn(a answer) bool {
	return a.Code == http.StatusFound && !strings.HasPrefix(a.Header().Get("Location"), "/login")
}

// caught collects what checks have to say of one request.
type caught struct {
	testing.TB
	errors []string
}

func (c *caught) Helper() {}

func (c *caught) Errorf(format string, args ...any) {
	c.errors = append(c.errors, fmt.Sprintf(format, args...))
}

func (c *caught) Error(args ...any) { c.errors = append(c.errors, fmt.Sprint(args...)) }

// onRecord are the refusals that are written down: attempts to guess a password
// or a code.
var onRecord = map[string]struct{ code, deed string }{
	"login":         {"invalid_credentials", "audit sign_ins"},
	"register":      {"verification_code_invalid", "codes"},
	"resetPassword": {"verification_code_invalid", "codes"},
}

// doing are the operations that do something though they are asked with GET.
var doing = []string{"getJoinScript", "getClusterJoinScript", "completeSSO"}

// judge holds an answer to what is promised of every one: it is documented and
// none of 5xx; a refusal changes nothing, repeats nothing and names the place;
// what only reads writes nothing.
func (r *rubbish) judge(t *caught, q *rubbishRequest, request *http.Request, a answer, done []string) {
	if a.Code >= 500 {
		t.Errorf("the server failed; its log ends with %s", lastLines(r.log.String()))
	}
	theSpec().check(t, request, a.ResponseRecorder)
	checkHeaders(t, a)
	if q.refuse && !q.op.lenient && len(q.mutations) == 1 && a.Code < 400 { // a second mutation may take the first one back
		t.Errorf("this must be refused")
	}
	refused := a.Code >= 400 || a.Header().Get("X-KubeBYON-Join-Error") != ""
	if refused {
		r.judgeRefusal(t, q, a, done)
	}
	if looks := request.Method == http.MethodHead || request.Method == http.MethodOptions || (request.Method == http.MethodGet && !slices.Contains(doing, q.op.id)); looks && len(done) > 0 {
		t.Errorf("a request that only reads did %q", done)
	}
}

var (
	locationRE = regexp.MustCompile(`^(body|query|path|header)(\.[^ ]+)?$`)
	needsPlace = []int{http.StatusBadRequest}
)

func (r *rubbish) judgeRefusal(t *caught, q *rubbishRequest, a answer, done []string) {
	code := ""
	if a.Header().Get("Content-Type") == "application/problem+json" && a.Body.Len() > 0 {
		code, _ = a.json()["code"].(string)
	}
	known := onRecord[q.op.id]
	recorded := slices.Equal(done, []string{known.deed}) && known.code == code
	if len(done) > 0 && !recorded {
		t.Errorf("a refusal did %q", done)
	}
	for _, marker := range q.markers {
		if strings.Contains(a.Body.String(), marker) || strings.Contains(fmt.Sprint(a.Header()), marker) {
			t.Errorf("the refusal repeats %q", marker)
		}
	}
	if slices.Contains(needsPlace, a.Code) && a.Body.Len() > 0 && !q.op.lenient {
		checkPlaces(t, q, a)
	}
}

// checkPlaces: bad input is told by where it stands.
func checkPlaces(t *caught, q *rubbishRequest, a answer) {
	list, _ := a.json()["errors"].([]any)
	if len(list) == 0 {
		t.Errorf("the refusal names no place")
	}
	var places []string
	for _, item := range list {
		m, _ := item.(map[string]any)
		location, _ := m["location"].(string)
		message, _ := m["message"].(string)
		if !locationRE.MatchString(location) || message == "" {
			t.Errorf("%v is no place and reason", item)
		}
		places = append(places, location)
	}
	if q.at == "" || len(q.mutations) != 1 || slices.Contains(places, "body.namespace") { // it must be what vcluster_name is
		return
	}
	if q.at == "body.name" && slices.Contains(places, "body.vcluster_name") { // made from the name, where it can be
		return
	}
	if !slices.ContainsFunc(places, func(p string) bool {
		return p == q.at || strings.HasPrefix(p, q.at+".") || p == "body" && strings.HasPrefix(q.at, "body")
	}) {
		t.Errorf("the refusal names %q, not %s", places, q.at)
	}
}

func lastLines(log string) string { return log[max(0, len(log)-1500):] }

// luckLimit is how many good requests an operation gets more that all others were
// drawn before.
const luckLimit = 200

// everyOperationIsReached fails for one whose requests never got through: the
// rubbish sent to it was rubbish in a way that says nothing.
func (r *rubbish) everyOperationIsReached() {
	if log := r.log.String(); strings.Contains(log, "handler panicked") {
		r.t.Error("a handler panicked: see the log")
	}
	for _, op := range r.operations {
		for range luckLimit { // who asks is drawn by lot
			if r.tally.accepted[op.id] > 0 || r.failures >= maxRubbishFailures {
				break
			}
			r.clock.advance(10 * time.Millisecond)
			r.send(r.valid(op))
		}
		if r.tally.accepted[op.id] == 0 && r.failures < maxRubbishFailures {
			r.t.Errorf("no request to %s (%s %s) was accepted: teach rubbishRequest.valid what it needs in its path, query and body", op.id, op.method, op.path)
		}
	}
}
