package bunstore

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/argonpass"
	"github.com/kubebyon/kubebyon/adapters/gobus"
	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memprovision"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/app/outside"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/passwords"
	"github.com/kubebyon/kubebyon/ports/seal"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// The most that KubeBYON promises, and a tenth of it.
var (
	whole = size{users: 1000, clusters: 10_000, nodes: 100_000, nodeEvents: 300_000, audits: 1_000_000} //nolint:gochecknoglobals // a constant
	tenth = size{users: 100, clusters: 1_000, nodes: 10_000, nodeEvents: 30_000, audits: 100_000}       //nolint:gochecknoglobals // a constant
)

// question is something that is asked over HTTP, as one of the people in a
// grown database.
type question struct {
	name, path string
	as         int
	sums       bool // adds up all that somebody has: no list, and no target of its own
	searches   bool
}

// questions are all lists, each with every filter and with filters together,
// which let through much, little and nothing.
func (g grown) questions() (out []question) {
	add := func(as int, path, name string, filters ...string) {
		values := url.Values{"limit": {"100"}}
		for _, f := range filters {
			key, value, _ := strings.Cut(f, "=")
			values.Set(key, value)
		}
		who := []string{"BigOwner", "Admin", "Owner"}[as]
		q := question{name: name + "/" + who, as: as, path: "/api/console/" + path + "?" + values.Encode(), searches: values.Has("search")}
		q.sums = path == "overview"
		out = append(out, q)
	}
	cursor := func(i id.Cluster, kind string) string {
		return "cursor=" + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(i.String(), "cl", kind, 1)))
	}
	mine := "cluster_id=" + g.cluster(5).String() // the big owner's
	for _, as := range []int{bigOwner, admin, small} {
		add(as, "clusters", "Clusters")
		add(as, "clusters", "ClustersDeep", cursor(g.cluster(g.size.clusters/10), "cl"))
		add(as, "nodes", "Nodes")
		add(as, "node-events", "NodeEvents")
		add(as, "overview", "Overview")
		add(as, "activities", "Activities")
		add(as, "activities", "ActivitiesSecurity", "category=security")
		if as == small {
			continue
		}
		add(as, "clusters", "ClustersStatus", "status=error")
		add(as, "clusters", "ClustersNoSuchStatus", "status=provisioning")
		add(as, "clusters", "ClustersSearchMany", "search=cluster")
		add(as, "clusters", "ClustersSearchRare", "search="+g.cluster(777).String())
		add(as, "clusters", "ClustersSearchNone", "search=no such cluster")
		add(as, "clusters", "ClustersSearchShortNone", "search=zz")
		add(as, "clusters", "ClustersStatusSearch", "status=error", "search=cluster")
		add(as, "nodes", "NodesDeep", cursor(g.cluster(g.size.nodes/10), "node"))
		add(as, "nodes", "NodesCluster", mine)
		add(as, "nodes", "NodesStatus", "status=ready")
		add(as, "nodes", "NodesRareStatus", "status=unknown")
		add(as, "nodes", "NodesNoSuchStatus", "status=pending")
		add(as, "nodes", "NodesClusterStatus", mine, "status=unknown")
		add(as, "nodes", "NodesSearchMany", "search=worker")
		add(as, "nodes", "NodesSearchOldest", "search=needle")
		add(as, "nodes", "NodesSearchNone", "search=no such node")
		add(as, "nodes", "NodesSearchShortNone", "search=zz")
		add(as, "nodes", "NodesStatusSearch", "status=unknown", "search=needle")
		add(as, "nodes", "NodesClusterStatusSearch", mine, "status=ready", "search=worker")
		add(as, "node-events", "NodeEventsCluster", mine)
		add(as, "node-events", "NodeEventsNode", "node_id="+g.node(5).String())
		add(as, "node-events", "NodeEventsType", "type=ready")
		add(as, "node-events", "NodeEventsRareType", "type=deleted")
		add(as, "node-events", "NodeEventsNoSuchType", "type=none")
		add(as, "node-events", "NodeEventsAll", mine, "node_id="+g.node(5).String(), "type=ready")
		add(as, "activities", "ActivitiesDeep", cursor(g.cluster(g.size.audits/10), "aud"))
		add(as, "activities", "ActivitiesAction", "action=cordon")
		add(as, "activities", "ActivitiesRareType", "resource_type=api_key")
		add(as, "activities", "ActivitiesNoSuchAction", "action=none")
		add(as, "activities", "ActivitiesAll", "category=security", "resource_type=api_key", "action=revoke")
		add(as, "clusters/"+g.cluster(5).String()+"/operations", "Operations")
	}
	for name, filters := range map[string][]string{
		"AllActivities": nil, "AllActivitiesSecurity": {"category=security"}, "AllActivitiesType": {"resource_type=node"},
		"AllActivitiesRareType": {"resource_type=api_key"}, "AllActivitiesAction": {"action=revoke"}, "AllActivitiesNoSuchAction": {"action=none"},
		"AllActivitiesSecurityAction": {"category=security", "action=cordon"}, "AllActivitiesAll": {"category=security", "resource_type=token", "action=revoke"},
		"AllActivitiesDeep": {cursor(g.cluster(g.size.audits/10), "aud")},
	} {
		add(admin, "admin/activities", name, filters...)
	}
	slices.SortFunc(out, func(a, b question) int { return strings.Compare(a.name, b.name) })
	return out
}

// sessionOf is the cookie of one of the people.
func cookieOf(as int) string { return "kbs_" + strings.Repeat(fmt.Sprint(as), 42) + "A" }

// serve is the API over s, without the work behind it, for people who are signed in.
func serve(t testing.TB, s *Store, g grown) http.Handler {
	t.Helper()
	hasher, err := argonpass.New(1)
	if err != nil {
		t.Fatal(err)
	}
	others, err := outside.Modules(outside.Config{OnThisMachine: true})
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.New(app.Config{}, others, app.Use[store.Store](s), app.Use[seal.Sealer](keyseal.New([32]byte{1})), app.Use[passwords.Hasher](hasher),
		app.Use[tenant.Connector](memtenant.New()), memprovision.Module, gobus.Module)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	err = s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
		for _, as := range []int{bigOwner, admin, small} {
			sum := sha256.Sum256([]byte(cookieOf(as)))
			err := tx.Sessions().Insert(ctx, store.Session{
				ID: numbered[id.SessionKind]("ses", 1_000_000+as), UserID: g.user(as), TokenHash: sum[:],
				CreatedAt: now, ExpiresAt: now.Add(7 * 24 * time.Hour), EndsAt: now.Add(30 * 24 * time.Hour),
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a.Handler
}

// TestListsSendAsManyStatementsForAnyPage finds what asks once more for each row.
func TestListsSendAsManyStatementsForAnyPage(t *testing.T) {
	t.Parallel()
	s := openSQLite(t)
	g := fill(t, s, size{users: 10, clusters: 200, nodes: 800, nodeEvents: 800, audits: 800})
	handler := serve(t, s, g)
	sent := recorder{all: true}
	sent.listen(s)
	const most = 5 // the session, and what the page needs
	for _, q := range g.questions() {
		first := 0
		for _, limit := range []string{"1", "20", "100"} {
			clear(sent.seen)
			sent.count = 0
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(q.path, "limit=100", "limit="+limit, 1), nil)
			r.Header.Set("Cookie", "kubebyon_session="+cookieOf(q.as))
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if first == 0 {
				first = sent.count
			}
			missing := w.Code == http.StatusNotFound && strings.Contains(q.path, "/operations")
			if w.Code != http.StatusOK && !missing || sent.count == 0 || sent.count > most || sent.count != first && !q.searches {
				t.Errorf("%s: status %d; %d statements for a page of %s, %d for one of 1; want at most %d: %q", q.path, w.Code, sent.count, limit, first, most, sent.seen)
			}
		}
	}
	t.Logf("%d lists, with pages of 1, 20 and 100", len(g.questions()))
}

// BenchmarkGrown asks the API everything that lists or adds up, over a database
// with 10,000 clusters, 100,000 nodes and 1,000,000 audit events, and over one
// with a tenth of that. Targets, for lists and filters on PostgreSQL: p99 under
// 50 ms at 8 clients; p50 at most twice that of the tenth.
func BenchmarkGrown(b *testing.B) {
	for _, engine := range []struct {
		name string
		open func(testing.TB) *Store
	}{{"Postgres", openPostgres}, {"SQLite", openSQLite}} {
		b.Run(engine.name, func(b *testing.B) {
			start := time.Now()
			var addrs [2]string
			var asked []question
			for i, of := range []size{tenth, whole} {
				s := engine.open(b)
				g := fill(b, s, of)
				addrs[i], asked = listen(b, serve(b, s, g)), g.questions()
			}
			b.Logf("filled two databases in %v", time.Since(start).Round(time.Second))
			for i, q := range (grown{tenth}).questions() {
				b.Run(q.name, func(b *testing.B) { compareSizes(b, addrs, q, asked[i], engine.name == "Postgres") })
			}
		})
	}
}

// The targets for lists and filters.
const (
	slowest = 50 * time.Millisecond
	growth  = 2.0
)

func compareSizes(b *testing.B, addrs [2]string, few, many question, held bool) {
	const during = 250 * time.Millisecond
	for range b.N {
		before, after := takeTurns(b, addrs, few, many)
		ratio := float64(after) / float64(before)
		b.ReportMetric(ratio, "growth")
		b.Logf("in turns: p50 %.2f ms, and %.2f ms with a tenth of the data: %.2f times", ms(after), ms(before), ratio)
		if ratio > growth && held && !many.sums {
			b.Errorf("p50 grows %.1f times with ten times the data; the target is %.0f", ratio, growth)
		}
		for _, clients := range []int{1, 8, 64} {
			got := hammer(b, addrs[1], many, clients, during)
			at := fmt.Sprintf("-%d", clients)
			b.ReportMetric(got.perSecond, "req/s"+at)
			b.ReportMetric(ms(got.p50), "p50-ms"+at)
			b.ReportMetric(ms(got.p99), "p99-ms"+at)
			b.Logf("%2d clients: p50 %.1f ms, p99 %.1f ms, %.0f a second", clients, ms(got.p50), ms(got.p99), got.perSecond) // also where a target is missed
			if clients == 8 && got.p99 >= slowest && held && !many.sums {
				b.Errorf("p99 is %.1f ms at 8 clients; the target is %v", ms(got.p99), slowest)
			}
		}
	}
}

// takeTurns has one client ask of the one and of the other, so that whatever
// else the machine does slows both, and returns how long half of the answers took.
func takeTurns(b *testing.B, addrs [2]string, few, many question) (before, after time.Duration) {
	b.Helper()
	const rounds = 100
	var times [2][]time.Duration
	for range rounds {
		for i, q := range []question{few, many} {
			var stop atomic.Bool
			stop.Store(true) // after one
			took, err := repeat(addrs[i], q.request(), &stop)
			if err != nil {
				b.Fatalf("%s: %v", q.path, err)
			}
			times[i] = append(times[i], took[0])
		}
	}
	return slices.Sorted(slices.Values(times[0]))[rounds/2], slices.Sorted(slices.Values(times[1]))[rounds/2]
}

func (q question) request() string {
	return "GET " + q.path + " HTTP/1.1\r\nHost: kubebyon.test\r\nCookie: kubebyon_session=" + cookieOf(q.as) + "\r\n\r\n"
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// listen serves a handler on loopback until b ends.
func listen(b *testing.B, h http.Handler) (addr string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := httpapi.NewServer(h, slog.New(slog.DiscardHandler), httpapi.Limits{})
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	b.Cleanup(func() { _ = server.Close(); <-done })
	return l.Addr().String()
}

// load is what came of many clients asking at once.
type load struct {
	perSecond float64
	p50, p99  time.Duration
}

// hammer has clients ask one question over and over for a while, each on a
// connection of its own. It fails b when an answer is not a good one.
func hammer(b *testing.B, addr string, q question, clients int, during time.Duration) load {
	b.Helper()
	var stop atomic.Bool
	time.AfterFunc(during, func() { stop.Store(true) })
	times, errs := make([][]time.Duration, clients), make([]error, clients)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range clients {
		wg.Go(func() { times[i], errs[i] = repeat(addr, q.request(), &stop) })
	}
	wg.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		b.Fatalf("%s: %v", q.path, err)
	}
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	return load{float64(len(all)) / took.Seconds(), all[len(all)/2], all[len(all)*99/100]}
}

// repeat asks at least once.
func repeat(addr, request string, stop *atomic.Bool) (times []time.Duration, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for len(times) == 0 || !stop.Load() {
		start := time.Now()
		if _, err := io.WriteString(conn, request); err != nil {
			return nil, err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(answer.Body)
		missing := answer.StatusCode == http.StatusNotFound && strings.Contains(request, "/operations")
		if err != nil || answer.StatusCode != http.StatusOK && !missing {
			return nil, fmt.Errorf("status %d: %s: %w", answer.StatusCode, text, err)
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}
