package httpapi_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-chi/chi/v5"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/core/coretest"
)

// surface is an API: its document, and what each may do with it.
type surface struct {
	doc   *openapi3.T
	table map[string]may
}

func surfaces() map[string]surface {
	return map[string]surface{
		"Console": {theSpec().doc, consoleTable()},
		"Kite":    {theSpec().dialects["Kite"].doc, kiteTable()},
	}
}

// TestStrangersDoWhatTheTableSays and nothing else: everybody asks for every
// operation on somebody's things.
func TestStrangersDoWhatTheTableSays(t *testing.T) {
	t.Parallel()
	for name, s := range surfaces() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := new(asked)
			t.Run("Operations", func(t *testing.T) {
				for _, op := range rubbishOperations(t, s.doc) {
					row, ok := s.table[op.id]
					if !ok {
						t.Errorf("nothing says who may do %s (%s %s): give it a row in strangers_table_test.go", op.id, op.method, op.path)
						continue
					}
					t.Run(op.id, func(t *testing.T) {
						t.Parallel()
						w := walk{newStrangers(t), op, row, all}
						w.refused()
						w.done()
					})
				}
			})
			t.Log(all)
		})
	}
}

// TestTheTableNamesWhatThereIs: no row without an operation, and no route of
// the server that neither a document nor a row tells of.
func TestTheTableNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for name, s := range surfaces() {
		ids := map[string]bool{}
		for _, op := range rubbishOperations(t, s.doc) {
			ids[op.id], documented[op.method+" "+op.path] = true, true
		}
		for op := range s.table {
			if !ids[op] {
				t.Errorf("%s: there is no operation %s: take its row away", name, op)
			}
		}
	}
	missing := undocumented()
	routes := 0
	err := chi.Walk(newWorld(t).server.Routes(), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		routes++
		_, known := undocumented()[method+" "+route]
		_, whatever := undocumented()["* "+route]
		delete(missing, method+" "+route)
		delete(missing, "* "+route)
		if !documented[method+" "+route] && !documented[method+" "+ofDialect(route)] && !known && !whatever {
			t.Errorf("nothing says what %s %s is for: describe it in a document, or in strangers_table_test.go", method, route)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for route := range missing {
		t.Errorf("there is no route %s: take its row away", route)
	}
	t.Logf("%d operations, %d routes, %d of them rows without a document", len(documented), routes, len(undocumented()))
}

// ofDialect is the documented path of a dialect's route: each is also under
// /dialects/NAME, and with a slash at its end and without.
func ofDialect(route string) string {
	if rest, ok := strings.CutPrefix(route, "/dialects/"); ok {
		_, rest, _ = strings.Cut(rest, "/")
		route = "/" + rest
	}
	if path, slashed := strings.CutSuffix(route, "/"); slashed && !strings.HasSuffix(route, "/clusters/") {
		return path
	}
	if strings.HasSuffix(route, "/admin/clusters") {
		route += "/"
	}
	return route
}

// TestUndocumentedRoutesSayNothing of anybody, whoever asks and with whatever
// method.
func TestUndocumentedRoutesSayNothing(t *testing.T) {
	t.Parallel()
	s := newStrangers(t)
	e := s.estate(userEmail, s.word("estate"))
	requests := 0
	for _, m := range theCast() {
		who := m.come(s)
		s.deeds.take()
		for route := range undocumented() {
			method, path, _ := strings.Cut(route, " ")
			methods := []string{method}
			if method == "*" {
				methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
			}
			for _, method := range methods {
				path := strings.NewReplacer("{clusterID}", e.named["clusterID"], "{userID}", e.named["userID"], "{picture}", strings.Repeat("0", 32)+".png", "/*", "/assets/x").Replace(path)
				a := s.serve(who.request(method, path, nil))
				requests++
				if a.Code >= 500 || len(revealed(a, e.marks, path)) > 0 || len(s.deeds.take()) > 0 {
					t.Errorf("%s: %s %s: %d %s", m.name, method, path, a.Code, a.Body)
				}
			}
		}
	}
	t.Logf("%d requests", requests)
}

// TestAnswersAreNotRepeatedToOthers: somebody who sends the owner's request
// with the owner's Idempotency-Key gets an answer of their own.
func TestAnswersAreNotRepeatedToOthers(t *testing.T) {
	t.Parallel()
	repeatable := 0
	for _, s := range surfaces() {
		for _, op := range rubbishOperations(t, s.doc) {
			if !slices.Contains(op.headers(), "Idempotency-Key") {
				continue
			}
			repeatable++
			w := walk{newStrangers(t), op, s.table[op.id], new(asked)}
			e := w.estate(userEmail, w.word("estate"))
			target, body := w.request(e)
			first := w.ask(w.as(userEmail).with("Idempotency-Key", "k"), op.method, target, body)
			if first.Code >= 300 {
				t.Fatalf("%s: %d %s", op.id, first.Code, first.Body)
			}
			marks := append(idRE.FindAllString(first.Body.String(), -1), e.marks...)
			for _, m := range theCast() {
				if m.as == asOwner || m.as == asAdmin {
					continue
				}
				a := w.ask(m.come(w.strangers).with("Idempotency-Key", "k"), op.method, target, body)
				if found := revealed(a, marks, target); len(found) > 0 {
					t.Errorf("%s: %s: the answer holds %q of the owner: %s", m.name, op.id, found, a.Body)
				}
			}
		}
	}
	if repeatable == 0 {
		t.Error("there is nothing to repeat")
	}
	t.Logf("%d operations, %d callers each", repeatable, len(theCast()))
}

// TestForeignPagesDoNotUseUpTheRightToSignIn: what a page on another site makes
// a browser send does not count against the person who sits there.
func TestForeignPagesDoNotUseUpTheRightToSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *httpapi.Config) { c.AuthLimit = httpapi.Limit{Window: time.Hour, Burst: 2} })
	login := map[string]any{"email": userEmail, "password": password}
	for range 10 {
		w.anybody().with("Origin", foreignOrigin, "Sec-Fetch-Site", "cross-site").do("POST", "/api/auth/login", login).want(403, "csrf_rejected")
	}
	w.anybody().do("POST", "/api/auth/login", login).want(200, "")
}

// asked counts who asked what.
type asked struct {
	mu       sync.Mutex
	verdicts map[verdict]int
}

func (y *asked) count(v verdict) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.verdicts == nil {
		y.verdicts = map[verdict]int{}
	}
	y.verdicts[v]++
}

func (y *asked) String() string {
	y.mu.Lock()
	defer y.mu.Unlock()
	total := 0
	for _, n := range y.verdicts {
		total += n
	}
	return fmt.Sprintf("%d requests by %d callers: %v", total, len(theCast()), y.verdicts)
}

// walk is everybody asking for one operation.
type walk struct {
	*strangers
	op    *rubbishOperation
	row   may
	asked *asked
}

// refused sends the requests of those who may not. None of them changes
// anything or gets to know anything.
func (w walk) refused() {
	w.t.Helper()
	type comer struct {
		member
		caller
		target string
		body   any
	}
	e := w.prepare()
	var comers []comer
	for _, m := range theCast() {
		if !w.row.verdict(m, w.op.method).done() {
			c := m.come(w.strangers)
			target, body := w.request(e)
			comers = append(comers, comer{m, c, target, body})
		}
	}
	before := coretest.Dump(w.mem)
	for _, c := range comers {
		want := w.row.verdict(c.member, w.op.method)
		target := c.target
		w.refusal(c.member, want, target, w.ask(c.caller, w.op.method, target, c.body), e)
		if w.op.body != nil && (want == unauthenticated || want == csrfRejected) { // before anybody looks at the body
			w.refusal(c.member, want, target, w.ask(c.caller, w.op.method, target, "{"), e)
		}
		if w.op.method == http.MethodGet {
			if head := w.ask(c.caller, http.MethodHead, target, nil); head.Code != want.status() {
				w.t.Errorf("%s: HEAD %s: %d, want %d", c.name, target, head.Code, want.status())
			}
		}
	}
	if after := coretest.Dump(w.mem); after != before {
		w.t.Errorf("refusals changed the store:\n%s", difference(before, after))
	}
}

// prepare gives the owner something, which a request can be about.
func (w walk) prepare() *estate {
	w.t.Helper()
	w.revive()
	e := w.estate(userEmail, w.word("estate"))
	if w.row.ready != nil {
		w.row.ready(w.strangers)
	}
	return e
}

// done sends the requests of those who may, so that what is refused is known to
// be refused for who asks, and not for what is asked.
func (w walk) done() {
	w.t.Helper()
	var e *estate
	for _, m := range theCast() {
		want := w.row.verdict(m, w.op.method)
		if !want.done() {
			continue
		}
		if e == nil || w.op.method != http.MethodGet {
			e = w.prepare()
		}
		c := m.come(w.strangers)
		target, body := w.request(e)
		before := w.holdings(e)
		a := w.ask(c, w.op.method, target, body)
		w.asked.count(want)
		if a.Code >= 300 && a.Code != http.StatusFound || a.Header().Get("X-KubeBYON-Join-Error") != "" {
			w.t.Errorf("%s: %s %s: %d %s, but the table says %s", m.name, w.op.method, target, a.Code, a.Body, want)
			continue
		}
		found := revealed(a, e.marks, "")
		if want == sees && a.Body.Len() > 0 && len(found) == 0 {
			w.t.Errorf("%s: %s %s: the table says that this sees the owner's things; the answer holds none of them: %s", m.name, w.op.method, target, a.Body)
		}
		if want != sees && len(found) > 0 {
			w.t.Errorf("%s: %s %s: the answer holds %q of the owner: %s", m.name, w.op.method, target, found, a.Body)
		}
		if after := w.holdings(e); want == own && m.as != asOwner && after != before {
			w.t.Errorf("%s: %s %s changed what the owner has:\n%s", m.name, w.op.method, target, difference(before, after))
		}
	}
}

// request is the operation's request about an estate.
func (w walk) request(e *estate) (target string, body any) {
	w.t.Helper()
	target = w.op.target(w.t, e.named)
	switch {
	case w.row.body != nil:
		body = w.row.body(w.strangers)
	case w.op.needsBody:
		body = w.op.exampleBody()
	}
	return target, body
}

// target is the operation's path and the query that it cannot do without.
func (o *rubbishOperation) target(t testing.TB, named map[string]string) string {
	t.Helper()
	path, query := o.path, url.Values{}
	for _, p := range o.parameters {
		if p.In != "path" && !p.Required && p.Name != "token" {
			continue
		}
		value, ok := named[p.Name]
		if !ok {
			t.Fatalf("nothing is known of the parameter %s of %s: teach world.estate to have what it names", p.Name, o.id)
		}
		switch p.In {
		case "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", value)
		case "query":
			query.Set(p.Name, value)
		}
	}
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

func (o *rubbishOperation) exampleBody() map[string]any {
	out := map[string]any{}
	for _, name := range o.body.Required {
		out[name] = example(o.body.Properties[name].Value, nil)
	}
	return out
}

// ask sends a request and remembers what it did.
func (w walk) ask(c caller, method, target string, body any) answer {
	w.t.Helper()
	w.deeds.take()
	a := c.do(method, target, body)
	if cross := c.header.Get("Origin"); cross != "" && cross != "http://"+host && a.Header().Get("Access-Control-Allow-Origin") != "" {
		w.t.Errorf("%s lets pages of %s read its answer", a.what, cross)
	}
	return a
}

func (v verdict) status() int {
	return [...]int{
		sees: http.StatusOK, own: http.StatusOK, notFound: http.StatusNotFound, forbidden: http.StatusForbidden,
		unauthenticated: http.StatusUnauthorized, csrfRejected: http.StatusForbidden, does: http.StatusOK, sessionRequired: http.StatusForbidden,
	}[v]
}

// refusal checks that an answer refuses in the way that the table says, and
// says and does nothing besides.
func (w walk) refusal(m member, want verdict, target string, a answer, e *estate) {
	w.t.Helper()
	w.asked.count(want)
	what := fmt.Sprintf("%s: %s %s", m.name, w.op.method, target)
	if done := w.deeds.take(); len(done) > 0 {
		w.t.Errorf("%s must be refused, and did %q", what, done)
	}
	if a.Code != want.status() {
		w.t.Errorf("%s: %d %s, but the table says %s", what, a.Code, a.Body, want)
		return
	}
	code := codeOf(a)
	if fits := code == want.String() || want == notFound && code != "not_found" && strings.HasSuffix(code, "_not_found"); !fits {
		w.t.Errorf("%s: the code is %s, but the table says %s", what, code, want)
	}
	if found := revealed(a, e.marks, target); len(found) > 0 || a.Header().Get("Set-Cookie") != "" {
		w.t.Errorf("%s: the refusal holds %q: %v %s", what, found, a.Header(), a.Body)
	}
}

// codeOf is the code of a refusal, or what a dialect says for it.
func codeOf(a answer) string {
	said := a.json()
	if text, ok := said["error"].(string); ok {
		return map[string]string{
			"Invalid or expired token": "unauthenticated", "Invalid API key": "unauthenticated", "Admin role required": "forbidden",
			"The request came from a web site that is not trusted here.": "csrf_rejected",
		}[text]
	}
	code, _ := said["code"].(string)
	return code
}

// revealed returns the marks that an answer holds, but for those in what was asked.
func revealed(a answer, marks []string, asked string) (out []string) {
	text := a.Body.String() + fmt.Sprint(a.Header())
	for _, m := range marks {
		if strings.Contains(text, m) && !strings.Contains(asked, m) {
			out = append(out, m)
		}
	}
	return out
}

// difference is the lines that only one of two texts has.
func difference(before, after string) string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	var out strings.Builder
	for _, line := range slices.Sorted(maps.Keys(count)) {
		if n := count[line]; n != 0 {
			fmt.Fprintf(&out, "%+d %s", n, line)
		}
	}
	return out.String()
}
