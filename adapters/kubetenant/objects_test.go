package kubetenant_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubebyon/kubebyon/adapters/kubetenant"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

var (
	podKind    = tenant.Kind{Version: "v1", Resource: "pods", Namespaced: true}
	secretKind = tenant.Kind{Version: "v1", Resource: "secrets", Namespaced: true}
	whoAmI     = tenant.Kind{Group: "authentication.k8s.io", Version: "v1", Resource: "selfsubjectreviews"}
)

// me asks the cluster whom it takes the caller for.
func me(t *testing.T, in tenant.Tenant, as string) (name string, groups []any) {
	t.Helper()
	got := must(in.Create(tenant.ActingFor(t.Context(), as), whoAmI, "", tenant.Object{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}))(t)
	info := got["status"].(map[string]any)["userInfo"].(map[string]any)
	groups, _ = info["groups"].([]any)
	return info["username"].(string), groups
}

func TestAPersonActsInTheirOwnName(t *testing.T) {
	t.Parallel()
	in := direct(t, thePlane(t))
	if name, groups := me(t, in, "alice@example.org"); name != "alice@example.org" || !strings.Contains(fmt.Sprint(groups), "system:masters") {
		t.Errorf("the cluster sees %s of %v", name, groups)
	}
	if name, _ := me(t, in, ""); strings.Contains(name, "@") {
		t.Errorf("without a person, the cluster sees %s", name)
	}
}

// poor is a credential that may do next to nothing.
func poor(t *testing.T, p *plane) tenant.Tenant {
	t.Helper()
	token := must(p.kube.CoreV1().ServiceAccounts(podNamespace).CreateToken(t.Context(), "default",
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{}))(t)
	file := must(clientcmd.LoadFromFile(p.kubeconfigPath()))(t)
	for _, u := range file.AuthInfos {
		u.ClientCertificateData, u.ClientKeyData, u.Token = nil, nil, token.Status.Token
	}
	connector := kubetenant.New(kubetenant.Config{Guests: true})
	t.Cleanup(connector.Close)
	return must(connector.Connect(t.Context(), newCluster(), secret.New(string(must(clientcmd.Write(*file))(t)))))(t)
}

func TestACredentialThatMayNotActGoesOutAsItself(t *testing.T) {
	t.Parallel()
	in := poor(t, thePlane(t))
	if name, _ := me(t, in, "alice@example.org"); name != "system:serviceaccount:"+podNamespace+":default" {
		t.Errorf("the cluster sees %s", name)
	}
	_, err := in.List(tenant.ActingFor(t.Context(), "alice@example.org"), secretKind, tenant.Query{Limit: 1})
	if !errors.Is(err, fault.Denied) || fault.CodeOf(err) != "object_forbidden" {
		t.Errorf("List: %v, want object_forbidden", err)
	}
}

func TestAKindThatIsNotServed(t *testing.T) {
	t.Parallel()
	_, err := direct(t, thePlane(t)).List(t.Context(), tenant.Kind{Group: "no.such", Version: "v1", Resource: "things"}, tenant.Query{Limit: 1})
	if !errors.Is(err, fault.NotFound) || fault.CodeOf(err) != "kind_not_found" {
		t.Errorf("List: %v, want kind_not_found", err)
	}
}

func TestAPassageLeadsThere(t *testing.T) {
	t.Parallel()
	in := direct(t, thePlane(t))
	base, rt, err := in.Passage(t.Context())
	check(t, err)
	r := must(http.NewRequestWithContext(tenant.ActingFor(t.Context(), "bob@example.org"), http.MethodPost,
		base.String()+"/apis/authentication.k8s.io/v1/selfsubjectreviews",
		strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)))(t)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Impersonate-Uid", "somebody else's")
	a := must(rt.RoundTrip(r))(t)
	defer a.Body.Close()
	body := must(io.ReadAll(a.Body))(t)
	if a.StatusCode != http.StatusCreated || !strings.Contains(string(body), `"username":"bob@example.org"`) || strings.Contains(string(body), "somebody") {
		t.Errorf("%d %s", a.StatusCode, body)
	}
	if r.Header.Get("Impersonate-User") != "" {
		t.Error("the caller's request was changed")
	}
}

// reviewed answers what mayAct asks.
func reviewed(allowed bool, asked *atomic.Int64, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews") {
			asked.Add(1)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"kind":"SelfSubjectAccessReview","status":{"allowed":%v}}`, allowed)
			return
		}
		next(w, r)
	}
}

func asJSON(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	}
}

func TestRightsAreAskedForOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	in, _ := impostor(t, reviewed(true, &asked, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Impersonate-User") != "alice" || r.Header.Get("Impersonate-Group") != "system:masters" {
			t.Errorf("the headers are %v", r.Header)
		}
		asJSON(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p"}}`)(w, r)
	}))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := in.Get(tenant.ActingFor(t.Context(), "alice"), podKind, "default", "p"); err != nil {
				t.Errorf("Get: %v", err)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 2 { // users, and the group
		t.Errorf("%d questions about rights, want 2", n)
	}
}

func TestALogIsReadAsItComes(t *testing.T) {
	t.Parallel()
	more := make(chan struct{})
	var query atomic.Value
	in, _ := impostor(t, func(w http.ResponseWriter, r *http.Request) {
		query.Store(r.URL.Query().Encode())
		_, _ = io.WriteString(w, "first\n")
		http.NewResponseController(w).Flush()
		select {
		case <-more:
			_, _ = io.WriteString(w, "second\n")
		case <-r.Context().Done():
		}
	})
	log := must(in.Logs(t.Context(), tenant.LogQuery{
		Namespace: "n", Pod: "p", Container: "c", TailLines: 3, Previous: true, Timestamps: true, Follow: true, Since: 1500 * time.Millisecond,
	}))(t)
	defer log.Close()
	line := make([]byte, 6)
	if _, err := io.ReadFull(log, line); err != nil || string(line) != "first\n" {
		t.Fatalf("%q, %v", line, err)
	}
	close(more)
	if rest, err := io.ReadAll(log); err != nil || string(rest) != "second\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if got := query.Load(); got != "container=c&follow=true&previous=true&sinceSeconds=2&tailLines=3&timestamps=true" {
		t.Errorf("asked for %s", got)
	}
}

func TestALogThatIsNotFollowedHasABound(t *testing.T) {
	t.Parallel()
	in, _ := impostor(t, func(w http.ResponseWriter, r *http.Request) { pour(w, r, []byte(strings.Repeat("x", 64<<10)+"\n")) })
	log := must(in.Logs(t.Context(), tenant.LogQuery{Namespace: "n", Pod: "p"}))(t)
	defer log.Close()
	n, err := io.Copy(io.Discard, log)
	if !errors.Is(err, fault.Unavailable) || n > 10<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestALogThatDoesNotBegin(t *testing.T) {
	t.Parallel()
	in, _ := impostor(t, silence)
	for _, follow := range []bool{false, true} {
		_, err := in.Logs(t.Context(), tenant.LogQuery{Namespace: "n", Pod: "p", Follow: follow})
		if !errors.Is(err, fault.Unavailable) {
			t.Errorf("follow %v: %v", follow, err)
		}
	}
	log, _ := impostor(t, text(400, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"BadRequest","message":"container c is waiting","code":400}`))
	if _, err := log.Logs(t.Context(), tenant.LogQuery{Namespace: "n", Pod: "p"}); err == nil {
		t.Error("a refused log is opened")
	}
}

// paged serves n config maps as an API server does.
type paged struct {
	n, expireAfter int
	asked          atomic.Int64
	bytes          atomic.Int64
	names          atomic.Int64 // pages of names only
}

func (p *paged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var from, limit int
	_, _ = fmt.Sscan(q.Get("continue"), &from)
	_, _ = fmt.Sscan(q.Get("limit"), &limit)
	if n := p.asked.Add(1); int(n) == p.expireAfter {
		status(410, "Expired", "")(w, r)
		return
	}
	names := strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList")
	if names {
		p.names.Add(1)
	}
	to := min(from+limit, p.n)
	var b strings.Builder
	b.WriteString(`{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"9"`)
	if to < p.n {
		fmt.Fprintf(&b, `,"continue":"%d"`, to)
		if q.Get("labelSelector") == "" {
			fmt.Fprintf(&b, `,"remainingItemCount":%d`, p.n-to)
		}
	}
	b.WriteString(`},"items":[`)
	for i := from; i < to; i++ {
		if i > from {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"metadata":{"name":"m-%06d","namespace":"default"}`, i)
		if !names {
			fmt.Fprintf(&b, `,"data":{"i":"%s"}`, strings.Repeat("x", 500))
		}
		b.WriteByte('}')
	}
	b.WriteString(`]}`)
	p.bytes.Add(int64(b.Len()))
	asJSON(b.String())(w, r)
}

var mapKind = tenant.Kind{Version: "v1", Resource: "configmaps", Namespaced: true}

func TestAPageCostsAPage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		q     tenant.Query
		asked int64
		first string
	}{
		{tenant.Query{Limit: 20}, 1, "m-000000"},
		{tenant.Query{Offset: 600, Limit: 20}, 3, "m-000600"},
		{tenant.Query{}, 1, ""},
		{tenant.Query{Labels: "a=b", Limit: 20}, 11, "m-000000"},
		{tenant.Query{Keep: func(o tenant.Object) bool { return strings.HasSuffix(o.Name(), "7") }, Limit: 20}, 10, "m-000007"},
	} {
		p := &paged{n: 5000}
		in, _ := impostor(t, p.ServeHTTP)
		page, err := in.List(t.Context(), mapKind, c.q)
		if err != nil {
			t.Fatal(err)
		}
		total := 5000
		if c.q.Keep != nil {
			total = 500
		}
		if p.asked.Load() != c.asked || page.Total != total || len(page.Items) != c.q.Limit || c.first != "" && page.Items[0].Name() != c.first {
			t.Errorf("%+v: %d requests, %d of %d objects", c.q, p.asked.Load(), len(page.Items), page.Total)
		}
		t.Logf("%+v: %d requests, %d bytes", c.q, p.asked.Load(), p.bytes.Load())
	}
}

func TestAnExpiredListBeginsAnew(t *testing.T) {
	t.Parallel()
	p := &paged{n: 1200, expireAfter: 2}
	in, _ := impostor(t, p.ServeHTTP)
	page, err := in.List(t.Context(), mapKind, tenant.Query{Limit: 1200})
	if err != nil || page.Total != 1200 || len(page.Items) != 1200 {
		t.Errorf("%d of %d, %v", len(page.Items), page.Total, err)
	}
}

func TestHostileListsEnd(t *testing.T) {
	t.Parallel()
	keep := func(tenant.Object) bool { return true }
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		most   time.Duration
	}{
		"endless":    {asJSON(`{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"continue":"again"},"items":[]}`), 0},
		"no list":    {asJSON(`{"kind":"Pod"}`), 0},
		"no objects": {asJSON(`{"kind":"ConfigMapList","apiVersion":"v1","items":[1,2]}`), 0},
		"no items":   {asJSON(`{"kind":"ConfigMapList","apiVersion":"v1","items":7}`), 0},
		"always old": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("continue") != "" {
				status(410, "Expired", "")(w, r)
				return
			}
			asJSON(`{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"continue":"again"},"items":[]}`)(w, r)
		}, 0},
		"a flood": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"kind":"ConfigMapList","apiVersion":"v1","items":[`)
			pour(w, r, []byte(strings.Repeat(`{},`, 20_000)))
		}, 0},
		"silence": {silence, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, _ := impostorWith(t, bounded(), c.answer)
			_, err := in.List(t.Context(), mapKind, tenant.Query{Limit: 10, Keep: keep})
			if !errors.Is(err, fault.Unavailable) {
				t.Errorf("%v, want fault.Unavailable", err)
			}
		})
	}
}

func TestWhatIsHeldOfAListHasABound(t *testing.T) {
	t.Parallel()
	p := &paged{n: 5000}
	c := quick()
	c.MaxListBytes = 100 << 10
	in, _ := impostorWith(t, c, p.ServeHTTP)
	_, err := in.List(t.Context(), mapKind, tenant.Query{Limit: 1000})
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("%v, want fault.Unavailable", err)
	}
	if page, err := in.List(t.Context(), mapKind, tenant.Query{Limit: 100, Keep: func(tenant.Object) bool { return true }}); err != nil || page.Total != 5000 {
		t.Errorf("a page of many: %d, %v", page.Total, err)
	}
}

func TestWhatTheClusterSaysOfAnObject(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		kind   fault.Kind
		code   string
	}{
		"404":            {status(404, "NotFound", ""), fault.NotFound, "object_not_found"},
		"no such path":   {text(404, "404 page not found\n"), fault.NotFound, "kind_not_found"},
		"a web site":     {text(404, "<html>nothing here</html>"), fault.Unavailable, "cluster_unreachable"},
		"403":            {status(403, "Forbidden", ""), fault.Denied, "object_forbidden"},
		"401":            {status(401, "Unauthorized", ""), fault.Unavailable, "cluster_access_refused"},
		"exists":         {status(409, "AlreadyExists", ""), fault.Conflict, "object_exists"},
		"stale":          {status(409, "Conflict", ""), fault.Conflict, "object_stale"},
		"422":            {status(422, "Invalid", ""), fault.Invalid, "object_invalid"},
		"400":            {status(400, "BadRequest", ""), fault.Invalid, "object_invalid"},
		"500":            {status(500, "InternalError", ""), fault.Unavailable, "cluster_unreachable"},
		"what is no one": {asJSON(`[]`), fault.Unavailable, "cluster_unreachable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, _ := impostor(t, c.answer)
			_, err := in.Patch(t.Context(), podKind, "n", "p", tenant.Object{"a": "b"})
			if !errors.Is(err, c.kind) || fault.CodeOf(err) != c.code {
				t.Errorf("%v, want %s", err, c.code)
			} else if strings.Contains(err.Error(), "confidential") {
				t.Errorf("the error holds the kubeconfig's token: %v", err)
			}
		})
	}
}
