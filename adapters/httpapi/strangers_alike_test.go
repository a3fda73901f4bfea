package httpapi_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// trail is every call to the world behind the API, in order.
type trail struct{ deeds }

// tracedStore notes every unit of work, as the tables that it asks, in order.
// Each call to a table is made on a table asked for anew, so this is the
// sequence of calls.
type tracedStore struct {
	store.Store
	trail *trail
}

func (s tracedStore) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.trace("transaction", ctx, s.Store.InTx, do)
}

func (s tracedStore) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.trace("view", ctx, s.Store.View, do)
}

func (s tracedStore) trace(kind string, ctx context.Context, run func(context.Context, func(context.Context, store.Tx) error) error, do func(context.Context, store.Tx) error) error {
	var used *usedTables
	err := run(ctx, func(ctx context.Context, tx store.Tx) error {
		used = &usedTables{Tx: tx}
		return do(ctx, used)
	})
	s.trail.note(fmt.Sprintf("%s %v", kind, used.names))
	return err
}

type tracedTenants struct {
	tenant.Connector
	trail *trail
}

func (c tracedTenants) Connect(ctx context.Context, cluster id.Cluster, kubeconfig secret.Text) (tenant.Tenant, error) {
	c.trail.note("connect to a tenant")
	return c.Connector.Connect(ctx, cluster, kubeconfig)
}

// tracedHasher notes how much hashing is done: it is what takes long.
type tracedHasher struct {
	plainHasher
	trail *trail
}

func (h tracedHasher) Hash(ctx context.Context, p secret.Text) (string, error) {
	h.trail.note("hash a password")
	return h.plainHasher.Hash(ctx, p)
}

func (h tracedHasher) Matches(ctx context.Context, hash string, p secret.Text) (bool, bool, error) {
	h.trail.note("check a password")
	return h.plainHasher.Matches(ctx, hash, p)
}

// tracedWorld is a world that tells what is done to answer.
type tracedWorld struct {
	*world
	trail *trail
}

func newTracedWorld(t testing.TB, of store.Store) tracedWorld {
	t.Helper()
	tr := new(trail)
	return tracedWorld{newWorldOf(t, parts{
		store: tracedStore{of, tr}, hasher: tracedHasher{trail: tr}, perUser: 1000,
		posted:  func(l identity.Letter) { tr.note("write a letter: " + l.Template) },
		connect: func(c tenant.Connector) tenant.Connector { return tracedTenants{c, tr} },
	}), tr}
}

// told is an answer without what differs between any two requests, and how it
// was found.
type told struct {
	answer
	text, steps string
}

func (w tracedWorld) tell(c caller, method, target string, body any, named ...string) told {
	w.t.Helper()
	w.trail.take()
	a := c.do(method, target, body)
	request := a.Header().Get("X-Request-Id")
	text := fmt.Sprintf("%d %v %s", a.Code, a.Header(), a.Body)
	for _, name := range append(named, request) {
		text = strings.ReplaceAll(text, name, "*")
	}
	return told{a, text, strings.Join(w.trail.take(), "\n")}
}

// alike fails unless two requests got the same answer by the same steps.
func alike(t testing.TB, what string, a, b told) {
	t.Helper()
	if a.text != b.text {
		t.Errorf("%s: the answers differ:\n%s\n%s", what, a.text, b.text)
	}
	if a.steps != b.steps {
		t.Errorf("%s: the steps differ:\n%s\n--\n%s", what, a.steps, b.steps)
	}
}

// TestForeignIsLikeAbsent: of somebody else's things nobody gets to know even
// that they are there: the answer is the same, and so is every step to it.
func TestForeignIsLikeAbsent(t *testing.T) {
	t.Parallel()
	for name, s := range surfaces() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTracedWorld(t, memstore.New())
			foreign, mine := w.estate(userEmail, "foreign"), w.estate(otherEmail, "mine")
			pairs := 0
			for _, op := range rubbishOperations(t, s.doc) {
				for _, p := range op.hidden(s.table[op.id]) {
					there, absent := maps.Clone(mine.named), maps.Clone(mine.named)
					there[p], absent[p] = foreign.named[p], altered(foreign.named[p])
					for _, v := range op.variants(s.table[op.id]) {
						other := v.come(w.world)
						what := fmt.Sprintf("%s with a foreign %s, %s", op.id, p, v.name)
						alike(t, what,
							w.tell(other, op.method, op.target(t, there), v.body, there[p]),
							w.tell(other, op.method, op.target(t, absent), v.body, absent[p]))
						pairs++
					}
				}
			}
			t.Logf("%d pairs of requests", pairs)
		})
	}
}

// hidden are the parameters of a path that name things which others must not
// know of.
func (o *rubbishOperation) hidden(row may) (out []string) {
	if row.other != notFound {
		return nil
	}
	for _, p := range o.parameters {
		if p.In == "path" {
			out = append(out, p.Name)
		}
	}
	return out
}

// variant is a way to send a request.
type variant struct {
	name string
	come func(*world) caller
	body any
}

func (o *rubbishOperation) variants(row may) []variant {
	bySession := func(w *world) caller { return w.as(otherEmail) }
	var body any
	if row.body != nil {
		body = row.body(&strangers{})
	} else if o.needsBody {
		body = o.exampleBody()
	}
	out := []variant{
		{"by session", bySession, body},
		{"by key", func(w *world) caller { return w.byKey(otherEmail, nil) }, body},
	}
	if o.body != nil {
		out = append(out, variant{"with a broken body", bySession, "{"}, variant{"with a wrong body", bySession, map[string]any{"unheard_of": 1}}, variant{"without a body", bySession, nil})
	}
	if slices.ContainsFunc(o.headers(), func(name string) bool { return name == "Idempotency-Key" }) {
		out = append(out, variant{"to be repeated", func(w *world) caller { return w.as(otherEmail).with("Idempotency-Key", "k") }, body})
	}
	return out
}

func (o *rubbishOperation) headers() (out []string) {
	for _, p := range o.parameters {
		if p.In == "header" {
			out = append(out, p.Name)
		}
	}
	return out
}

// TestWhatOthersHaveChangesNoAnswer: neither things nor counts of things of
// others are in what somebody gets to read, whatever they filter by.
func TestWhatOthersHaveChangesNoAnswer(t *testing.T) {
	t.Parallel()
	for name, s := range surfaces() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTracedWorld(t, memstore.New())
			mine := w.estate(otherEmail, "mine")
			other, operator := w.as(otherEmail), w.as(operatorMail)
			before, all := map[string]told{}, map[string]told{}
			lists := readable(t, s)
			for _, op := range lists {
				before[op.id] = w.tell(other, op.method, op.target(t, mine.named), nil)
				all[op.id] = w.tell(operator, op.method, op.target(t, mine.named), nil)
			}
			var foreign *estate
			for i := range 3 {
				foreign = w.estate(userEmail, fmt.Sprintf("foreign-%d", i))
			}
			filters := 0
			for _, op := range lists {
				alike(t, op.id, before[op.id], w.tell(other, op.method, op.target(t, mine.named), nil))
				again := w.tell(operator, op.method, op.target(t, mine.named), nil)
				if lists := !strings.Contains(op.path, "{"); lists && s.table[op.id].operator == sees && all[op.id].text == again.text {
					t.Errorf("%s: an operator does not see what came either, so this test sees nothing", op.id)
				}
				filters += w.filtered(t, op, other, mine, foreign)
			}
			t.Logf("%d operations, %d filters", len(lists), filters)
		})
	}
}

// readable are the operations that read what one has.
func readable(t *testing.T, s surface) (out []*rubbishOperation) {
	t.Helper()
	for _, op := range rubbishOperations(t, s.doc) {
		if row := s.table[op.id]; op.method == http.MethodGet && row.anonymous == nothing && row.other != forbidden {
			out = append(out, op)
		}
	}
	return out
}

// filtered asks for what is somebody else's by every filter that there is: it
// is as if there were no such thing.
func (w tracedWorld) filtered(t *testing.T, op *rubbishOperation, c caller, mine, foreign *estate) (n int) {
	t.Helper()
	for _, p := range op.parameters {
		if p.In != "query" {
			continue
		}
		values := []string{foreign.named[p.Name]}
		if foreign.named[p.Name] == "" { // free text, or a cursor: whatever can be known of the other
			values = foreign.marks
		}
		for _, value := range values {
			absent := altered(strings.Repeat("_", max(0, 10-len(value))) + value)
			if p.Name == "cursor" {
				value, absent = base64.RawURLEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(absent))
			}
			there, not := op.target(t, mine.named)+"?"+url.Values{p.Name: {value}}.Encode(), op.target(t, mine.named)+"?"+url.Values{p.Name: {absent}}.Encode()
			a := w.tell(c, op.method, there, nil)
			if found := revealed(a.answer, foreign.marks, there); len(found) > 0 {
				t.Errorf("%s: the answer holds %q", there, found)
			}
			alike(t, op.id+" by "+p.Name, a, w.tell(c, op.method, not, nil))
			n++
		}
	}
	return n
}

// TestSigningInTellsNobodyWhoIsThere: a wrong password for an account, whatever
// the account is like, and an address without one get the same answer by the
// same steps, one check of a password among them.
func TestSigningInTellsNobodyWhoIsThere(t *testing.T) {
	t.Parallel()
	w := newTracedWorld(t, memstore.New())
	w.ban(operatorMail)
	w.write(func(ctx context.Context, tx store.Tx) error {
		u, err := tx.Users().ByEmail(ctx, otherEmail)
		if err != nil {
			return err
		}
		u.PasswordHash = ""
		return tx.Users().Update(ctx, &u)
	})
	login := func(email string) told {
		return w.tell(w.anybody(), "POST", "/api/auth/login", map[string]any{"email": email, "password": "a wrong password"}, email)
	}
	unknown := login("nobody@kubebyon.test")
	unknown.want(401, "invalid_credentials")
	if strings.Count(unknown.steps, "check a password") != 1 || strings.Contains(unknown.steps, "hash a password") {
		t.Errorf("an unknown address took these steps:\n%s", unknown.steps)
	}
	for what, email := range map[string]string{"an account": userEmail, "a banned account": operatorMail, "an account without a password": otherEmail} {
		alike(t, "an unknown address and "+what, unknown, login(email))
	}
	if none := login("no address"); none.text != unknown.text || strings.Count(none.steps, "check a password") != 1 {
		t.Errorf("what is no address:\n%s\n%s", none.text, none.steps)
	}
	t.Logf("every one took:\n%s", unknown.steps)
}

// TestCodesTellNobodyWhoIsThere: to ask for a code, to ask again too soon and to
// come with a wrong one has the same answer by the same steps for every address.
func TestCodesTellNobodyWhoIsThere(t *testing.T) {
	t.Parallel()
	w := newTracedWorld(t, memstore.New())
	w.ban(operatorMail)
	for path, body := range map[string]map[string]any{
		"/api/auth/register/send-code":       {},
		"/api/auth/register":                 {"password": "another password", "email_verification_code": "000000"},
		"/api/auth/reset-password/send-code": {},
		"/api/auth/reset-password":           {"new_password": "another password", "email_verification_code": "000000"},
	} {
		ask := func(email string) told {
			body := maps.Clone(body)
			body["email"] = email
			return w.tell(w.anybody(), "POST", path, body, email)
		}
		for round := range 7 { // the first time, too soon, and with a code that has been tried too often
			unknown := ask("nobody@kubebyon.test")
			if unknown.Code >= 500 {
				t.Fatalf("%s: %d %s", path, unknown.Code, unknown.Body)
			}
			for what, email := range map[string]string{"an account": userEmail, "a banned account": operatorMail} {
				alike(t, fmt.Sprintf("%s, time %d: an unknown address and %s", path, round+1, what), unknown, ask(email))
			}
			if round == 0 {
				t.Logf("%s: %d by\n%s", path, unknown.Code, unknown.steps)
			}
		}
	}
}

// TestJoinTokensTellNothing but whether they can be used: of whose cluster, and
// of which, is the same.
func TestJoinTokensTellNothing(t *testing.T) {
	t.Parallel()
	w := newTracedWorld(t, memstore.New())
	const unknown, malformed = "kbt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "kbt_AAAA"
	one, two := w.ended(userEmail, "first-estate"), w.ended(adminEmail, "second-estate")
	requests := 0
	for _, method := range []string{"GET", "HEAD"} {
		short := func(token string) told {
			requests++
			return w.tell(w.anybody(), method, "/join?token="+url.QueryEscape(token), nil, token)
		}
		long := func(cluster, token string) told {
			requests++
			return w.tell(w.anybody(), method, "/api/join/clusters/"+cluster+"/script?token="+url.QueryEscape(token), nil, cluster, token)
		}
		for code := range one.tokens {
			a, b := short(one.tokens[code]), short(two.tokens[code])
			w.refusesJoin(a, 200, code, one.estate)
			alike(t, method+" with two tokens: "+code, a, b)
			status := http.StatusForbidden
			if code == "cluster_not_ready" {
				status = http.StatusServiceUnavailable
			}
			a, b = long(one.cluster, one.tokens[code]), long(two.cluster, two.tokens[code])
			w.refusesJoin(a, status, code, one.estate)
			alike(t, method+" with two tokens of clusters: "+code, a, b)
			a = long(two.cluster, one.tokens[code])
			w.refusesJoin(a, http.StatusNotFound, "token_unknown", one.estate)
			alike(t, method+" with a token of another cluster, and of one that is absent: "+code, a, long(altered(one.cluster), one.tokens[code]))
		}
		w.refusesJoin(short(unknown), 200, "token_unknown", one.estate)
		if a, b := short(unknown), short(malformed); a.text != b.text {
			t.Errorf("a malformed token is told from an unknown one:\n%s\n%s", a.text, b.text)
		}
		w.refusesJoin(long(one.cluster, unknown), http.StatusForbidden, "token_unknown", one.estate)
		alike(t, "an unknown token for a cluster that is there, and for one that is not", long(one.cluster, unknown), long(altered(one.cluster), unknown))
		if a, b := short(w.gone(method)), short(unknown); a.text != b.text {
			t.Errorf("a token of a deleted cluster is told from an unknown one:\n%s\n%s", a.text, b.text)
		}
	}
	t.Logf("%d requests", requests)
}

// gone is a token whose cluster is no more.
func (w tracedWorld) gone(name string) string {
	w.t.Helper()
	e := w.estate(adminEmail, "gone-"+strings.ToLower(name))
	w.change(e.named["clusterID"], func(c *clusters.Cluster) { c.Vanish(w.clock.now()) })
	return e.named["token"]
}

// endedTokens are tokens of one cluster that cannot be used, by the code that
// says why.
type endedTokens struct {
	*estate
	cluster string
	tokens  map[string]string
}

func (w tracedWorld) ended(email, name string) endedTokens {
	w.t.Helper()
	e := w.estate(email, name)
	out := endedTokens{e, e.named["clusterID"], map[string]string{}}
	c := w.as(email)
	revoked, value := c.token(out.cluster)
	c.do("DELETE", "/api/console/tokens/"+revoked, nil).want(200, "")
	out.tokens["token_revoked"] = value
	used, value := c.token(out.cluster)
	w.use(used)
	out.tokens["token_used"] = value
	r := c.do("POST", "/api/console/clusters/"+out.cluster+"/join-token", map[string]any{"ttl_seconds": 60}).want(201, "")
	out.tokens["token_expired"] = r.text("token", "value")
	w.clock.advance(time.Minute)
	_, out.tokens["cluster_not_ready"] = c.token(out.cluster)
	w.change(out.cluster, func(c *clusters.Cluster) { c.Lose("It does not answer.", false, w.clock.now()) })
	return out
}

// refusesJoin checks a refusal: it names its reason, and nothing of the cluster.
func (w tracedWorld) refusesJoin(a told, status int, code string, e *estate) {
	w.t.Helper()
	a.want(status, "")
	if got := a.Header().Get("X-KubeBYON-Join-Error"); got != code {
		w.t.Errorf("%s: code %q, want %q", a.what, got, code)
	}
	if found := revealed(a.answer, e.marks, ""); len(found) > 0 {
		w.t.Errorf("%s: the refusal holds %q: %s", a.what, found, a.Body)
	}
}
