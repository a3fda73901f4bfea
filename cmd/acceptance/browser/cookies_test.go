package browser_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
)

const week = 7 * 24 * time.Hour

func isSession(c *network.Cookie) bool { return c.Name == "kubebyon_session" }

// has says whether there is a session cookie.
func has(all []*network.Cookie) string {
	if slices.ContainsFunc(all, isSession) {
		return "yes"
	}
	return "no"
}

// session is the only cookie that a person who is signed in has.
func (p *page) session() *network.Cookie {
	p.t.Helper()
	all := p.cookies()
	if len(all) != 1 || !isSession(all[0]) {
		p.t.Fatalf("the browser has the cookies %+v, want the session only", all)
	}
	return all[0]
}

// TestTheSessionCookie is what the browser makes of it, from sign-in to sign-out.
func TestTheSessionCookie(t *testing.T) {
	t.Parallel()
	for name, origin := range map[string]func(string) string{"http": plain, "https": secure} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := origin("api.kubebyon.test")
			p := visit(t, api+"/page")
			p.want("signing in", p.signIn(api), "200")
			first := p.session()
			if !first.HTTPOnly || first.SameSite != "Lax" || first.Path != "/" || first.Domain != "api.kubebyon.test" || first.Secure != (name == "https") {
				t.Errorf("cookie %+v", first)
			}
			if left := time.Until(time.UnixMilli(int64(first.Expires * 1000))); left > week || left < week-time.Minute {
				t.Errorf("the cookie lives for %v more", left)
			}
			if seen := evaluate[string](p, `document.cookie = "kubebyon_session=forged; path=/"; return document.cookie;`); seen != "" {
				t.Errorf("scripts see the cookies %q", seen)
			}
			if got := p.session(); got.Value != first.Value {
				t.Error("a script has changed the cookie")
			}

			p.want("asking who one is", p.send("GET", api+"/api/auth/me", nil), "200")
			if later := p.session(); later.Expires <= first.Expires || later.Value != first.Value || later.Secure != first.Secure || !later.HTTPOnly {
				t.Errorf("the cookie was %+v and is %+v, want it to live longer", first, later)
			}
			p.want("signing out", p.send("POST", api+"/api/auth/logout", nil), "204")
			if all := p.cookies(); len(all) != 0 {
				t.Errorf("signed out, the browser still has %+v", all)
			}
			p.want("afterwards", p.send("GET", api+"/api/auth/me", nil), "401 unauthenticated")
		})
	}
}

// TestASecureCookieStaysOffPlainHTTP, also where the page and the host are the same.
func TestASecureCookieStaysOffPlainHTTP(t *testing.T) {
	t.Parallel()
	p := visit(t, secure("api.kubebyon.test")+"/page")
	p.want("signing in", p.signIn(secure("api.kubebyon.test")), "200")
	p.goTo(plain("api.kubebyon.test") + "/page")
	p.want("by http", p.send("GET", plain("api.kubebyon.test")+"/api/auth/me", nil), "401 unauthenticated")
	p.goTo(secure("api.kubebyon.test") + "/page")
	p.want("by https", p.send("GET", secure("api.kubebyon.test")+"/api/auth/me", nil), "200")
}

// TestANeighboursCookie: a host of the same domain can set a cookie of the same
// name for all of the domain. Nobody works in the neighbour's account for it.
func TestANeighboursCookie(t *testing.T) {
	t.Parallel()
	api := secure("api.kubebyon.test")
	const toss = `document.cookie = "kubebyon_session=" + args[0] + "; domain=kubebyon.test; path=/" + args[1]; return document.cookie;`
	theirs := "kbs_" + strings.Repeat("A", 43)
	for name, path := range map[string]string{"Everywhere": "", "WhereTheAPIIs": "api"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := visit(t, api+"/page")
			p.want("signing in", p.signIn(api), "200")
			p.goTo(secure("evil.kubebyon.test") + "/page")
			evaluate[string](p, toss, theirs, path)
			if n := len(p.cookies()); n != 2 {
				t.Fatalf("the browser has %d cookies, want 2", n)
			}
			p.goTo(api + "/page")
			p.want("with both", p.send("GET", api+"/api/auth/me", nil), "401 unauthenticated")
			evaluate[string](p, toss, "", path+"; max-age=0")
			p.want("with one", p.send("GET", api+"/api/auth/me", nil), "200")
		})
	}
}
