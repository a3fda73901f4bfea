package httpapi_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail)
	if got := ada.do("GET", "/api/console/api-keys", nil).want(200, ""); strings.TrimSpace(got.Body.String()) != `{"api_keys":[],"next_cursor":null}` {
		t.Errorf("got %s", got.Body)
	}
	r := ada.do("POST", "/api/console/api-keys", map[string]any{"name": " ci ", "expires_in_days": 1}).want(201, "")
	value := r.text("api_key", "value")
	if r.text("api_key", "name") != "ci" || r.text("api_key", "display_prefix") != value[:10] || r.at("api_key", "last_used_at") != nil || r.text("api_key", "expires_at") != "2026-04-24T07:50:00.000Z" {
		t.Errorf("got %s", r.Body)
	}
	if r.Header().Get("Cache-Control") != "no-store" {
		t.Error("a key may be cached")
	}
	list := ada.do("GET", "/api/console/api-keys", nil).want(200, "")
	if len(list.list("api_keys")) != 1 || strings.Contains(list.Body.String(), value) || strings.Contains(w.log.String(), value) {
		t.Errorf("got %s", list.Body)
	}
	key := w.anybody().with("Authorization", "Bearer "+value)
	if got := key.do("GET", "/api/auth/me", nil).want(200, "").text("user", "email"); got != userEmail {
		t.Errorf("the key speaks for %s", got)
	}
	key.do("GET", "/api/console/api-keys", nil).want(200, "")
	key.do("POST", "/api/console/api-keys", map[string]any{"name": "more"}).want(403, "session_required")
	at := "/api/console/api-keys/" + r.text("api_key", "id")
	key.do("DELETE", at, nil).want(403, "session_required")
	key.do("DELETE", "/api/console/me", map[string]any{"password": password}).want(403, "session_required")
	w.as(otherEmail).do("DELETE", at, nil).want(204, "")
	key.do("GET", "/api/auth/me", nil).want(200, "")
	for range 2 {
		ada.do("DELETE", at, nil).want(204, "")
	}
	ada.do("DELETE", "/api/console/api-keys/whatever", nil).want(204, "")
	key.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	for _, body := range []any{nil, map[string]any{}, map[string]any{"name": ""}, map[string]any{"name": "a", "expires_in_days": 0}, map[string]any{"name": "a", "expires_in_days": 3651}, map[string]any{"name": "a", "role": "admin"}} {
		ada.do("POST", "/api/console/api-keys", body).want(400, "validation_failed")
	}
}

func TestARepeatedRequestGetsTheSameAPIKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada := w.as(userEmail).with("Idempotency-Key", "k")
	first := ada.do("POST", "/api/console/api-keys", map[string]any{"name": "ci"}).want(201, "").Body.String()
	if again := ada.do("POST", "/api/console/api-keys", map[string]any{"name": "ci"}).want(201, "").Body.String(); again != first {
		t.Error("the answers differ")
	}
	ada.do("POST", "/api/console/api-keys", map[string]any{"name": "cd"}).want(409, "idempotency_mismatch")
}

func TestLeaving(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *httpapi.Config) { c.AuthLimit = httpapi.Limit{Window: time.Hour, Burst: 3} })
	ada, elsewhere := w.as(userEmail), w.as(userEmail)
	ada.cluster("mine", false)
	ada.do("DELETE", "/api/console/me", nil).want(400, "validation_failed")
	ada.do("DELETE", "/api/console/me", map[string]any{}).want(400, "validation_failed")
	ada.do("DELETE", "/api/console/me", map[string]any{"password": password}).want(409, "clusters_exist")
	w.endClusters()
	for range 3 {
		ada.do("DELETE", "/api/console/me", map[string]any{"password": "wrong"}).want(401, "password_incorrect")
	}
	ada.do("DELETE", "/api/console/me", map[string]any{"password": password}).want(429, "rate_limited")
	w.clock.advance(3 * time.Hour)
	r := ada.do("DELETE", "/api/console/me", map[string]any{"password": password}).want(204, "")
	if c := r.Result().Cookies(); len(c) != 1 || c[0].MaxAge >= 0 {
		t.Errorf("cookies %v", c)
	}
	for _, c := range []caller{ada, elsewhere} {
		c.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	}
	w.anybody().do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": password}).want(401, "invalid_credentials")
	w.as(adminEmail).do("DELETE", "/api/console/me", map[string]any{"password": password}).want(409, "last_admin")
}

func TestAdministratorsKeepAccountsInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root, ada := w.as(adminEmail), w.as(userEmail)
	i := w.user(userEmail).ID.String()
	at := "/api/console/admin/users/" + i
	emails := func(query string) (out []string) {
		t.Helper()
		for _, u := range root.do("GET", "/api/console/admin/users"+query, nil).want(200, "").list("users") {
			m, _ := u.(map[string]any)
			out = append(out, fmt.Sprint(m["email"]))
		}
		return out
	}
	if got := emails(""); len(got) != 4 {
		t.Errorf("all: %q", got)
	}
	for query, want := range map[string]string{"?search=ADA@": userEmail, "?role=operator": operatorMail, "?role=admin&status=active": adminEmail, "?search=%25": "", "?status=banned": ""} {
		if got := strings.Join(emails(query), " "); got != want {
			t.Errorf("%s: %q", query, got)
		}
	}
	first := root.do("GET", "/api/console/admin/users?limit=3", nil).want(200, "")
	if rest := emails("?limit=3&cursor=" + first.text("next_cursor")); len(rest) != 1 {
		t.Errorf("the second page: %q", rest)
	}
	for _, query := range []string{"?status=asleep", "?role=king", "?search=%ff", "?cursor=x"} {
		root.do("GET", "/api/console/admin/users"+query, nil).want(400, "validation_failed")
	}
	if got := root.do("GET", at, nil).want(200, "").text("user", "email"); got != userEmail {
		t.Errorf("got %s", got)
	}
	root.do("GET", "/api/console/admin/users/usr_x", nil).want(404, "user_not_found")
	ada.do("GET", "/api/console/admin/users/usr_x", nil).want(403, "forbidden")

	if got := root.do("PUT", at+"/role", map[string]any{"role": "operator"}).want(200, "").text("user", "role"); got != "operator" {
		t.Errorf("the role is %s", got)
	}
	if got := ada.do("GET", "/api/auth/me", nil).want(200, "").text("user", "role"); got != "operator" {
		t.Errorf("the role counts as %s", got)
	}
	key := w.byKey(userEmail, nil)
	root.do("PUT", at+"/status", map[string]any{"status": "banned"}).want(200, "")
	ada.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	key.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	w.anybody().do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": password}).want(403, "account_banned")
	root.do("PUT", at+"/status", map[string]any{"status": "active"}).want(200, "")
	key.do("GET", "/api/auth/me", nil).want(200, "")
	ada.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	ada = w.as(userEmail)

	r := root.do("POST", at+"/reset-password", nil).want(200, "")
	temporary := r.text("temporary_password")
	if len(temporary) != 24 || r.Header().Get("Cache-Control") != "no-store" || strings.Contains(w.log.String(), temporary) {
		t.Errorf("a password of %d characters, %v", len(temporary), r.Header())
	}
	ada.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	w.anybody().do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": temporary}).want(200, "")
	if got := strings.TrimSpace(root.do("POST", at+"/reset-password", map[string]any{"new_password": password}).want(200, "").Body.String()); got != "{}" {
		t.Errorf("a password that was chosen: %s", got)
	}
	for _, weak := range []any{"", "short", "password1", nil, 7} {
		if r := root.do("POST", at+"/reset-password", map[string]any{"new_password": weak}); weak != nil {
			r.want(400, "validation_failed")
		}
	}

	logins := root.do("GET", at+"/login-history", nil).want(200, "").list("logins")
	newest, _ := logins[0].(map[string]any)
	if len(logins) != 4 || newest["method"] != "password" || newest["result"] != "success" || newest["ip"] != "192.0.2.1" {
		t.Errorf("the history: %v", logins)
	}
	own := "/api/console/admin/users/" + w.user(adminEmail).ID.String()
	root.do("PUT", own+"/status", map[string]any{"status": "banned"}).want(409, "own_account")
	root.do("PUT", own+"/role", map[string]any{"role": "user"}).want(409, "own_account")
	root.do("POST", own+"/reset-password", nil).want(409, "own_account")
	root.do("GET", own+"/login-history", nil).want(200, "")
}

// TestAPageOfAccountsAsksOnce for the providers of all of them.
func TestAPageOfAccountsAsksOnce(t *testing.T) {
	t.Parallel()
	w := newTracedWorld(t, memstore.New())
	for i := range 20 {
		w.account(fmt.Sprintf("u%d@kubebyon.test", i), actor.User)
	}
	root := w.as(adminEmail)
	a := w.tell(root, "GET", "/api/console/admin/users", nil)
	if n := strings.Count(a.steps, "sso_identities"); len(a.list("users")) != 24 || n != 1 {
		t.Errorf("%d questions about providers:\n%s", n, a.steps)
	}
}

// TestRacesOfAdministrators on real databases: whoever takes whose right, and
// whoever leaves, somebody remains who administers.
func TestRacesOfAdministrators(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) store.Store{"SQLite": openSQLite, "Postgres": openPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOf(t, parts{store: open(t), perUser: 100, connect: func(c tenant.Connector) tenant.Connector { return c }})
			const second = "second@kubebyon.test"
			for round := range 5 {
				w.account(second, actor.Admin)
				a, b := w.as(adminEmail), w.as(second)
				against := func(email string) string {
					return "/api/console/admin/users/" + w.user(email).ID.String()
				}
				results := together(
					func() int {
						return a.do("PUT", against(second)+"/status", map[string]any{"status": "banned"}).Code
					},
					func() int {
						return b.do("PUT", against(adminEmail)+"/role", map[string]any{"role": "user"}).Code
					})
				if ok := (results[0] == 200) != (results[1] == 200); !ok || results[0]+results[1] != 200+401 && results[0]+results[1] != 200+403 {
					t.Errorf("round %d: %v", round, results)
				}
				w.settle(second)
				a, b = w.as(adminEmail), w.as(second)
				leave := func(c caller) func() int {
					return func() int { return c.do("DELETE", "/api/console/me", map[string]any{"password": password}).Code }
				}
				if left := together(leave(a), leave(b)); left[0]+left[1] != 204+409 {
					t.Errorf("round %d: leaving: %v", round, left)
				}
				w.settle()
				ada := w.as(userEmail)
				both := together(leave(ada), func() int {
					return ada.do("POST", "/api/console/clusters", map[string]any{"name": fmt.Sprint("late", round)}).Code
				})
				switch fmt.Sprint(both) {
				case "[204 401]", "[409 201]":
				default:
					t.Errorf("round %d: leaving and making a cluster: %v", round, both)
				}
				w.settle()
			}
		})
	}
}

// together does all at once and returns what each came to.
func together(all ...func() int) []int {
	out := make([]int, len(all))
	var wg sync.WaitGroup
	for i, do := range all {
		wg.Go(func() { out[i] = do() })
	}
	wg.Wait()
	return out
}

// settle has the members of the world be there as they were, without clusters,
// and further administrators; nobody else is left.
func (w *world) settle(more ...string) {
	w.t.Helper()
	w.endClusters()
	w.write(func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Users().List(ctx, store.UserFilter{}, page.Query{})
		if err != nil {
			return err
		}
		for _, u := range all.Items {
			role, known := members[u.Email]
			if slices.Contains(more, u.Email) {
				role, known = actor.Admin, true
			}
			if !known {
				err = tx.Users().Remove(ctx, u.ID, w.clock.now())
			} else {
				u.Role, u.Status = string(role), "active"
				err = tx.Users().Update(ctx, &u)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	w.revive()
}
