package httpapi_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// joinable is a world with a cluster that machines can join.
func joinable(t *testing.T, change ...func(*httpapi.Config)) (w *world, ada caller, cluster string) {
	t.Helper()
	w = newWorld(t, change...)
	ada = w.as(userEmail)
	return w, ada, ada.cluster("demo", true)
}

func (c caller) token(cluster string) (tokenID, value string) {
	c.t.Helper()
	r := c.do("POST", "/api/console/clusters/"+cluster+"/join-token", nil).want(201, "")
	return r.text("token", "id"), r.text("token", "value")
}

func TestMinting(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	path := "/api/console/clusters/" + i + "/join-token"
	r := ada.do("POST", path, map[string]any{"ttl_seconds": 3600}).want(201, "")
	sameKeys(t, r.at("token"), strings.Fields(`id cluster_id value join_command display_prefix status bootstrap_secret_name expires_at created_at
		created_by_user_id used_by_node_id used_at revoked_at revoked_by_user_id`))
	value := r.text("token", "value")
	if !tokens.WellFormed(value) || r.text("token", "display_prefix") != value[:10] || r.at("token", "status") != "active" ||
		r.at("token", "expires_at") != "2026-04-23T08:50:00.000Z" || r.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %v %s", r.Header(), r.Body)
	}
	for _, body := range []any{map[string]any{}, map[string]any{"ttl_seconds": nil}} {
		if r := ada.do("POST", path, body).want(201, ""); r.at("token", "expires_at") != "2026-04-23T08:50:00.000Z" {
			t.Errorf("%v: %s", body, r.Body)
		}
	}
	ada.do("POST", path, map[string]any{"ttl_seconds": 60}).want(201, "")
	ada.do("POST", path, map[string]any{"ttl_seconds": 604800}).want(201, "")
	w.unchanged(func() {
		for _, body := range []any{"{", map[string]any{"ttl_seconds": 59}, map[string]any{"ttl_seconds": 604801}, map[string]any{"ttl_seconds": "60"}, map[string]any{"ttl_seconds": 60.5}, map[string]any{"ttl": 60}} {
			ada.do("POST", path, body).want(400, "validation_failed")
		}
	})
	early := ada.cluster("early", false)
	w.unchanged(func() {
		ada.do("POST", "/api/console/clusters/"+early+"/join-token", nil).want(409, "cluster_not_ready")
	})
}

// TestJoinCommands begin where machines reach the server.
func TestJoinCommands(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		change  func(*httpapi.Config)
		headers []string
		want    string
	}{
		{"Own", func(*httpapi.Config) {}, nil, "http://" + host},
		{"Public", func(c *httpapi.Config) { c.PublicBaseURL = "https://public.test/" }, nil, "https://public.test"},
		{"Join", func(c *httpapi.Config) {
			c.PublicBaseURL, c.JoinBaseURL = "https://public.test", "https://join.test:8443/kb"
		}, nil, "https://join.test:8443/kb"},
		{"NotAStrangersHost", func(*httpapi.Config) {}, []string{"X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "https"}, "http://" + host},
		{"BehindAProxy", func(c *httpapi.Config) { c.TrustedProxyCIDRs = prefixes("192.0.2.0/24") }, []string{"X-Forwarded-Host", "front.test", "X-Forwarded-Proto", "https"}, "https://front.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, ada, i := joinable(t, c.change)
			r := ada.with(c.headers...).do("POST", "/api/console/clusters/"+i+"/join-token", nil).want(201, "")
			if want := `curl -sfL "` + c.want + `/join?token=` + r.text("token", "value") + `" | sh -`; r.text("token", "join_command") != want {
				t.Errorf("got  %s\nwant %s", r.text("token", "join_command"), want)
			}
		})
	}
	t.Run("NoHostForAShell", func(t *testing.T) {
		t.Parallel()
		w, ada, i := joinable(t)
		w.unchanged(func() {
			ada.with("Host", "$(reboot)").do("POST", "/api/console/clusters/"+i+"/join-token", nil).want(400, "validation_failed")
		})
	})
}

func TestURLsThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"kubebyon.test", "ftp://kubebyon.test", `https://a.test/"; reboot; "`, "https://a.test?x=1", "https://u:p@a.test", "https://", "https://a.test/$(reboot)", "https://a.test/`x`", "https://a test"} {
		if _, err := httpapi.New(httpapi.Config{PublicBaseURL: bad}, httpapi.Services{}); err == nil {
			t.Errorf("%q was taken as public base URL", bad)
		}
		if _, err := httpapi.New(httpapi.Config{JoinBaseURL: bad}, httpapi.Services{}); err == nil {
			t.Errorf("%q was taken as join base URL", bad)
		}
	}
}

func TestJoinScript(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	_, value := ada.token(i)
	for _, path := range []string{"/join?token=" + value, "/api/join/clusters/" + i + "/script?token=" + value} {
		for range 2 { // until a machine has registered it may be fetched again
			r := w.anybody().with("Authorization", "Bearer kbk_bad", "Cookie", "kubebyon_session=bad").do("GET", path, nil).want(200, "")
			if r.Header().Get("Content-Type") != "text/x-shellscript; charset=utf-8" || r.Header().Get("Cache-Control") != "no-store" || r.Header().Get("X-KubeBYON-Join-Error") != "" {
				t.Errorf("headers %v", r.Header())
			}
			boot := w.tenants.Cluster(w.clusterID(i)).Tokens()
			if len(boot) != 1 || !strings.Contains(r.Body.String(), boot[0].Secret.Reveal()) || !strings.Contains(r.Body.String(), i) {
				t.Errorf("the script lacks what a machine needs")
			}
			checkShell(t, r.Body.String())
		}
	}
}

// checkShell parses a script; it does not run one that would do something.
func checkShell(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sh does not understand the script: %v %s", err, out)
	}
}

// TestRefusedTokens: piped into a shell, each refusal is seen and fails.
func TestRefusedTokens(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	other := ada.cluster("other", true)
	path := func(value string) string { return "/api/join/clusters/" + i + "/script?token=" + value }
	refused := func(value, code string, status int) {
		t.Helper()
		for _, method := range []string{"GET", "HEAD"} {
			w.unchanged(func() {
				r := w.anybody().do(method, "/join?token="+value, nil).want(200, "")
				if got := r.Header().Get("X-KubeBYON-Join-Error"); got != code {
					t.Errorf("%s: code %q, want %q", r.what, got, code)
				}
				if method == "GET" {
					fails(t, r.Body.String())
				}
				r = w.anybody().do(method, path(value), nil).want(status, "")
				if got := r.Header().Get("X-KubeBYON-Join-Error"); got != code || !strings.HasPrefix(r.Header().Get("Content-Type"), "text/x-shellscript") {
					t.Errorf("%s: headers %v", r.what, r.Header())
				}
				if method == "GET" {
					fails(t, r.Body.String())
				}
			})
		}
	}
	refused("", "token_unknown", 403)
	refused("kbt_nonsense", "token_unknown", 403)
	refused("%00%ff", "token_unknown", 403)
	refused("kbt_"+strings.Repeat("A", 43), "token_unknown", 403)

	tokenID, value := ada.token(i)
	ada.do("DELETE", "/api/console/tokens/"+tokenID, nil).want(200, "")
	refused(value, "token_revoked", 403)

	usedID, used := ada.token(i)
	w.use(usedID)
	refused(used, "token_used", 403)

	_, late := ada.token(i)
	w.change(i, func(c *clusters.Cluster) { c.Lose("It does not answer.", false, w.clock.now()) })
	refused(late, "cluster_not_ready", 503)
	w.change(i, func(c *clusters.Cluster) { c.Reach(w.clock.now()) })
	w.clock.advance(time.Hour)
	refused(late, "token_expired", 403)

	_, elsewhere := ada.token(other)
	for _, bad := range []string{i, "cl_1", "x"} {
		r := w.anybody().do("GET", "/api/join/clusters/"+bad+"/script?token="+elsewhere, nil).want(404, "")
		fails(t, r.Body.String())
		if r.Header().Get("X-KubeBYON-Join-Error") != "token_unknown" {
			t.Errorf("headers %v", r.Header())
		}
	}
	w.tenants.Cluster(w.clusterID(other)).SetReachable(false)
	r := w.anybody().do("GET", "/join?token="+elsewhere, nil).want(200, "")
	if r.Header().Get("X-KubeBYON-Join-Error") != "cluster_not_ready" {
		t.Errorf("headers %v", r.Header())
	}
}

// fails runs a refusal as a machine would.
func fails(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-")
	cmd.Stdin = strings.NewReader(script)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 || stderr.Len() == 0 {
		t.Errorf("the script ended with %v and said %q", err, stderr.String())
	}
}

func (w *world) use(token string) {
	w.t.Helper()
	i, err := id.Parse[id.TokenKind](token)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Tokens().Get(ctx, store.Everyone(), i)
		if err != nil {
			return err
		}
		now := w.clock.now()
		rec.Status, rec.UsedAt, rec.UsedByNodeID = "used", &now, id.New[id.NodeKind](now, [10]byte{9})
		return tx.Tokens().Update(ctx, &rec)
	})
}

// TestHeadUsesNothingUp: looking tells whether a token can be used, and leaves
// no secret in the tenant.
func TestHeadUsesNothingUp(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	_, value := ada.token(i)
	w.unchanged(func() {
		for _, path := range []string{"/join?token=" + value, "/api/join/clusters/" + i + "/script?token=" + value} {
			r := w.anybody().do("HEAD", path, nil).want(200, "")
			if r.Body.Len() != 0 || r.Header().Get("X-KubeBYON-Join-Error") != "" || !strings.HasPrefix(r.Header().Get("Content-Type"), "text/x-shellscript") {
				t.Errorf("got %v %s", r.Header(), r.Body)
			}
		}
	})
	if n := len(w.tenants.Cluster(w.clusterID(i)).Tokens()); n != 0 {
		t.Errorf("looking made %d bootstrap tokens", n)
	}
}

func TestRevokingIsIdempotentAndItsOwners(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	eve, olga := w.as(otherEmail), w.as(operatorMail)
	tokenID, value := ada.token(i)
	w.anybody().do("GET", "/join?token="+value, nil).want(200, "")
	path := "/api/console/tokens/" + tokenID
	w.unchanged(func() {
		eve.do("DELETE", path, nil).want(404, "token_not_found")
		olga.do("DELETE", path, nil).want(403, "forbidden")
		w.anybody().do("DELETE", path, nil).want(401, "unauthenticated")
		ada.do("DELETE", "/api/console/tokens/tok_1", nil).want(404, "token_not_found")
		ada.do("DELETE", "/api/console/tokens/tok_06evjm9m80zy3f60rzw2n56twg", nil).want(404, "token_not_found")
	})
	r := ada.do("DELETE", path, nil).want(200, "")
	sameKeys(t, r.at("token"), strings.Fields(`id cluster_id display_prefix status created_by_user_id used_by_node_id bootstrap_secret_name
		expires_at created_at used_at revoked_at revoked_by_user_id`))
	if r.at("token", "status") != "revoked" || r.at("token", "revoked_at") != "2026-04-23T07:50:00.000Z" || r.at("token", "revoked_by_user_id") == nil || strings.Contains(r.Body.String(), value) {
		t.Errorf("got %s", r.Body)
	}
	if n := len(w.tenants.Cluster(w.clusterID(i)).Tokens()); n != 0 {
		t.Errorf("%d bootstrap secrets are left", n)
	}
	w.clock.advance(time.Minute)
	w.unchanged(func() {
		if again := ada.do("DELETE", path, nil).want(200, ""); again.text("token", "revoked_at") != "2026-04-23T07:50:00.000Z" {
			t.Errorf("got %s", again.Body)
		}
	})
}

// TestStoreOutage: an outage is a problem, and names no host.
func TestStoreOutage(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	_, value := ada.token(i)
	w.store.setError(errors.New("dial tcp 10.1.2.3:5432: password authentication failed for user root"))
	for _, r := range []answer{
		w.anybody().do("GET", "/join?token="+value, nil), ada.do("GET", "/api/console/me", nil), ada.do("POST", "/api/auth/logout", nil),
		w.anybody().do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": password}),
	} {
		r.want(500, "internal")
		if strings.Contains(r.Body.String(), "10.1.2.3") {
			t.Errorf("the cause came out: %s", r.Body)
		}
		id := r.Header().Get("X-Request-Id")
		if !strings.HasSuffix(r.text("instance"), ":"+id) || !strings.Contains(w.log.String(), `"request_id":"`+id+`","err"`) {
			t.Errorf("the log does not tell more of %s", id)
		}
	}
	ready := w.anybody().do("GET", "/readyz", nil).want(503, "")
	if ready.at("checks", "database") != "unavailable" || ready.at("checks", "broker") != "ok" || ready.at("status") != "unavailable" || strings.Contains(ready.Body.String(), "10.1.2.3") {
		t.Errorf("got %s", ready.Body)
	}
	if !strings.Contains(w.log.String(), "10.1.2.3") {
		t.Error("the log lacks the cause")
	}
	w.anybody().do("GET", "/healthz", nil).want(200, "")
}

// TestATenantThatDescribesItselfOddly is told so in a script that fails: its
// owner can write what no script may hold.
func TestATenantThatDescribesItselfOddly(t *testing.T) {
	t.Parallel()
	w, ada, i := joinable(t)
	_, value := ada.token(i)
	c := w.tenants.Cluster(w.clusterID(i))
	good, err := inside(t, w, i).Endpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tenant.Endpoint){
		"server":    func(e *tenant.Endpoint) { e.Server = "$(reboot):6443" },
		"port":      func(e *tenant.Endpoint) { e.Server = "127.0.0.1:06443" },
		"authority": func(e *tenant.Endpoint) { e.CACert = []byte("none") },
		"pin":       func(e *tenant.Endpoint) { e.CACertHash = "sha256:" },
		"version":   func(e *tenant.Endpoint) { e.KubernetesVersion = "v2.0.0" },
	} {
		odd := good
		change(&odd)
		c.SetEndpoint(odd)
		for path, status := range map[string]int{"/join?token=" + value: 200, "/api/join/clusters/" + i + "/script?token=" + value: 503} {
			r := w.anybody().do("GET", path, nil)
			if r.Code != status || r.Header().Get("X-KubeBYON-Join-Error") != "cluster_not_ready" || !strings.Contains(r.Body.String(), "exit 1") || strings.Contains(r.Body.String(), "reboot") {
				t.Errorf("%s: %d %v %s", name, r.Code, r.Header(), r.Body)
			}
		}
	}
}

func inside(t *testing.T, w *world, cluster string) tenant.Tenant {
	t.Helper()
	in, err := w.tenants.Connect(t.Context(), w.clusterID(cluster), secret.New(kubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	return in
}
