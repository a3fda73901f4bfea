package httpapi_test

import (
	"maps"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

const newcomer = "new@kubebyon.test"

// cookieOf is the session that an answer begins.
func (a answer) cookieOf(w *world) caller {
	a.t.Helper()
	for _, c := range a.Result().Cookies() {
		if c.Name == session.CookieName && c.HttpOnly && c.MaxAge > 0 {
			return w.anybody().with("Cookie", session.CookieName+"="+c.Value)
		}
	}
	a.t.Fatalf("%s: no session in %v", a.what, a.Header())
	return caller{}
}

func TestRegistering(t *testing.T) {
	t.Parallel()
	mem := memstore.New()
	w := newWorldOf(t, onStore(mem))
	r := w.anybody().do("POST", "/api/auth/register/send-code", map[string]any{"email": newcomer}).want(202, "")
	if got := strings.TrimSpace(r.Body.String()); got != `{"expires_in_seconds":600,"resend_after_seconds":60}` || r.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%v %s", r.Header(), got)
	}
	again := w.anybody().do("POST", "/api/auth/register/send-code", map[string]any{"email": " NEW@kubebyon.test"}).want(429, "rate_limited")
	if again.Header().Get("Retry-After") != "60" {
		t.Errorf("Retry-After: %s", again.Header().Get("Retry-After"))
	}
	letter := w.mail.last(newcomer)
	code := letter.Data["code"]
	body := map[string]any{"email": newcomer, "password": "a fine new password", "name": "Nora", "email_verification_code": code}
	made := w.anybody().do("POST", "/api/auth/register", body).want(201, "")
	if made.text("user", "email") != newcomer || made.text("user", "name") != "Nora" || made.text("user", "role") != "user" || made.at("user", "has_password") != true || made.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%s", made.Body)
	}
	nora := made.cookieOf(w)
	if got := nora.do("GET", "/api/auth/me", nil).want(200, "").text("user", "id"); got != made.text("user", "id") {
		t.Errorf("the cookie is of %s", got)
	}
	w.anybody().do("POST", "/api/auth/register", body).want(400, "verification_code_invalid")
	w.anybody().do("POST", "/api/auth/login", map[string]any{"email": newcomer, "password": "a fine new password"}).want(200, "")
	for name, text := range map[string]string{"the store": coretest.Dump(mem), "the log": w.log.String(), "the answers": r.Body.String() + made.Body.String()} {
		if strings.Contains(text, code) || strings.Contains(text, "a fine new password") && name != "the store" { // plainHasher hides nothing
			t.Errorf("%s: the code or the password is there", name)
		}
	}
	if got := w.as(adminEmail).do("GET", "/api/console/admin/activities?resource_type=user&action=register&category=security", nil).want(200, "").list("activities"); len(got) != 1 {
		t.Errorf("recorded %v", got)
	}
}

func TestRegisteringIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := w.registration(newcomer)
	change := func(pairs ...any) map[string]any {
		out := map[string]any{}
		maps.Copy(out, body)
		for i := 0; i < len(pairs); i += 2 {
			name, _ := pairs[i].(string)
			if out[name] = pairs[i+1]; pairs[i+1] == nil {
				delete(out, name)
			}
		}
		return out
	}
	for _, bad := range []any{
		nil, "{",
		map[string]any{},
		change("password", "short"), change("password", "password"), change("password", strings.Repeat("a", 129)), change("password", nil),
		change("email", "no address"), change("email", nil), change("name", "a\u202eb"), change("name", strings.Repeat("a", 101)),
		change("email_verification_code", "12345"), change("email_verification_code", 123456), change("email_verification_code", nil), change("role", "admin"),
	} {
		w.anybody().do("POST", "/api/auth/register", bad).want(400, "validation_failed")
	}
	w.clock.advance(time.Minute)
	w.anybody().do("POST", "/api/auth/register", w.registration(userEmail)).want(409, "email_taken")
	w.policy.set(func(p *policy) { p.open = false })
	w.anybody().do("POST", "/api/auth/register", body).want(403, "registration_closed")
	w.anybody().do("POST", "/api/auth/register/send-code", map[string]any{"email": "third@kubebyon.test"}).want(403, "registration_closed")
	if w.mail.last("third@kubebyon.test").To != "" {
		t.Error("a code was mailed all the same")
	}
	w.policy.set(func(p *policy) { p.open = true })
	w.anybody().do("POST", "/api/auth/register", body).want(201, "")
}

func TestResettingAPassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ada, elsewhere := w.as(userEmail), w.as(userEmail)
	w.anybody().do("POST", "/api/auth/reset-password/send-code", map[string]any{"email": userEmail}).want(202, "")
	body := map[string]any{"email": userEmail, "new_password": "a fine new password", "email_verification_code": w.mail.last(userEmail).Data["code"]}
	wrong := map[string]any{"email": userEmail, "new_password": "a fine new password", "email_verification_code": "000000"}
	w.anybody().do("POST", "/api/auth/reset-password", wrong).want(400, "verification_code_invalid")
	ada.do("GET", "/api/auth/me", nil).want(200, "")
	r := w.anybody().do("POST", "/api/auth/reset-password", body).want(204, "")
	if len(r.Result().Cookies()) != 0 {
		t.Error("a reset signed somebody in")
	}
	for _, c := range []caller{ada, elsewhere} {
		c.do("GET", "/api/auth/me", nil).want(401, "unauthenticated")
	}
	w.anybody().do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": password}).want(401, "invalid_credentials")
	w.anybody().do("POST", "/api/auth/login", map[string]any{"email": userEmail, "password": "a fine new password"}).want(200, "")
	w.anybody().do("POST", "/api/auth/reset-password", body).want(400, "verification_code_invalid")
}

// TestOneAddressGetsFewCodes, whoever asks: five, and then one in ten minutes.
func TestOneAddressGetsFewCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, email := range []string{userEmail, "nobody@kubebyon.test"} {
		send := func() answer {
			return w.anybody().do("POST", "/api/auth/reset-password/send-code", map[string]any{"email": email})
		}
		for range 5 {
			send().want(202, "")
			w.clock.advance(time.Minute)
		}
		wait := send().want(429, "rate_limited").Header().Get("Retry-After")
		if wait != "300" {
			t.Errorf("%s: Retry-After: %s", email, wait)
		}
		w.clock.advance(5 * time.Minute)
		send().want(202, "")
	}
}

// TestStrangersAreLimitedByCall: what one client uses up of one call is left for
// the others, and for other clients.
func TestStrangersAreLimitedByCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *httpapi.Config) { c.AuthLimit = httpapi.Limit{Window: time.Hour, Burst: 2} })
	for path, body := range map[string]map[string]any{
		"/api/auth/login":                    {"email": userEmail, "password": "wrong password"},
		"/api/auth/register/send-code":       {"email": "no address"},
		"/api/auth/register":                 {"email": newcomer, "password": "short", "email_verification_code": "1"},
		"/api/auth/reset-password/send-code": {"email": "no address"},
		"/api/auth/reset-password":           {"email": newcomer, "new_password": "short", "email_verification_code": "1"},
	} {
		for range 2 {
			if a := w.anybody().do("POST", path, body); a.Code != 400 && a.Code != 401 {
				t.Errorf("%s: %d", path, a.Code)
			}
		}
		if r := w.anybody().do("POST", path, body).want(429, "rate_limited"); r.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
		if a := w.anybody().with("X-Test-Peer", "192.0.2.99:1").do("POST", path, body); a.Code == 429 {
			t.Errorf("%s: another client was refused", path)
		}
	}
}

func TestTheCaptchaOverHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := w.registration(newcomer)
	w.policy.set(func(p *policy) { p.captcha = identity.Captcha{SiteKey: "key", Verifier: solved} })
	for path, body := range map[string]map[string]any{
		"/api/auth/login":              {"email": userEmail, "password": password},
		"/api/auth/register/send-code": {"email": "third@kubebyon.test"},
		"/api/auth/register":           body,
	} {
		for token, want := range map[string]string{"": "400 captcha_required", "unsolved": "400 captcha_failed", "outage": "503 captcha_unavailable"} {
			body["captcha_token"] = token
			a := w.anybody().do("POST", path, body)
			status, code, _ := strings.Cut(want, " ")
			if a.want(map[string]int{"400": 400, "503": 503}[status], code); status == "400" && !strings.Contains(a.Body.String(), `"body.captcha_token"`) {
				t.Errorf("%s: no place in %s", path, a.Body)
			}
		}
		body["captcha_token"] = "solved"
		if a := w.anybody().do("POST", path, body); a.Code >= 300 {
			t.Errorf("%s: %d %s", path, a.Code, a.Body)
		}
	}
	if strings.Contains(w.log.String(), "unsolved") {
		t.Error("the log holds a captcha token")
	}
}

// TestWhatEndsInOneServerEndsInAll that share a database, at once.
func TestWhatEndsInOneServerEndsInAll(t *testing.T) {
	t.Parallel()
	at := emptyPostgres(t)
	one := newWorldOf(t, onStore(openStore(t, at)))
	other := onStore(openStore(t, at))
	other.beside = one
	two := newWorldOf(t, other)
	ada, olga, key := one.as(userEmail), one.as(operatorMail), one.byKey(operatorMail, nil)
	there := func(c caller) caller { return caller{two, c.header} }
	for _, c := range []caller{ada, olga, key, there(ada), there(olga), there(key)} {
		c.do("GET", "/api/console/me", nil).want(200, "")
	}
	two.anybody().do("POST", "/api/auth/reset-password", one.reset(userEmail)).want(204, "") // mailed by one, used in the other
	one.ban(operatorMail)
	for _, c := range []caller{ada, olga, key, there(ada), there(olga), there(key)} {
		c.do("GET", "/api/console/me", nil).want(401, "unauthenticated")
	}
	two.anybody().do("POST", "/api/auth/login", map[string]any{"email": operatorMail, "password": password}).want(403, "account_banned")
	state, cookie := one.way() // begun in one, ended in the other
	back := two.anybody().with("Cookie", session.WayCookieName+"="+cookie).do("GET", back(state, userEmail), nil).want(302, "")
	there(back.cookieOf(one)).do("GET", "/api/console/me", nil).want(200, "")
}

func onStore(s store.Store) parts {
	return parts{store: s, connect: func(c tenant.Connector) tenant.Connector { return c }, perUser: 3}
}

// TestManyAtOnce: of those who come at the same moment with one code, one gets
// through, on every database; so does one of those who ask for one.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) store.Store{
		"Memory": func(*testing.T) store.Store { return memstore.New() }, "SQLite": openSQLite, "Postgres": openPostgres,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorldOf(t, onStore(open(t)))
			if got := w.atOnce("/api/auth/reset-password/send-code", map[string]any{"email": userEmail}); got[202] != 1 || got[429] != 5 {
				t.Errorf("codes: %v", got)
			}
			if got := w.atOnce("/api/auth/register", w.registration(newcomer)); got[201] != 1 || got[201]+got[400] != 6 {
				t.Errorf("accounts: %v", got)
			}
			w.clock.advance(time.Minute)
			if got := w.atOnce("/api/auth/reset-password", w.reset(newcomer)); got[204] != 1 || got[204]+got[400] != 6 {
				t.Errorf("resets: %v", got)
			}
			w.clock.advance(time.Minute)
			wrong := w.reset(newcomer)
			right := wrong["email_verification_code"]
			wrong["email_verification_code"] = "000000"
			if right == "000000" {
				wrong["email_verification_code"] = "000001"
			}
			if got := w.atOnce("/api/auth/reset-password", wrong); got[400] != 6 {
				t.Errorf("wrong codes: %v", got)
			}
			wrong["email_verification_code"] = right // six have tried: that is one too many
			w.anybody().do("POST", "/api/auth/reset-password", wrong).want(400, "verification_code_invalid")
		})
	}
}

// atOnce sends a request six times and counts the statuses.
func (w *world) atOnce(path string, body map[string]any) map[int]int {
	w.t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[int]int{}
	for range 6 {
		r := w.anybody().request("POST", path, body)
		wg.Go(func() {
			a := httptest.NewRecorder()
			w.server.ServeHTTP(a, r)
			mu.Lock()
			defer mu.Unlock()
			out[a.Code]++
		})
	}
	wg.Wait()
	return out
}
