package browser_test

import (
	"strings"
	"testing"
)

// TestWhoMayDoWhat by fetch, for each kind of page, signed in and not.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	type row struct {
		page                                  func(string) string
		host                                  string
		api                                   func(string) string
		login, cookie, read, write, signedOut string
	}
	for name, c := range map[string]row{
		"https/SameOrigin":        {secure, "api.kubebyon.test", secure, "200", "yes", "200", "200", "yes"},
		"https/SameSiteListed":    {secure, "console.kubebyon.test", secure, "200", "yes", "200", "200", "yes"},
		"https/SameSiteStranger":  {secure, "evil.kubebyon.test", secure, "blocked", "no", "blocked", "blocked", "no"},
		"https/CrossSiteListed":   {secure, "console.other.test", secure, "403 csrf_rejected", "no", "401 unauthenticated", "401 unauthenticated", "no"},
		"https/CrossSiteStranger": {secure, "evil.other.test", secure, "blocked", "no", "blocked", "blocked", "no"},
		"http/SameOrigin":         {plain, "api.kubebyon.test", plain, "200", "yes", "200", "200", "yes"},
		"http/SameSiteListed":     {plain, "console.kubebyon.test", plain, "200", "yes", "200", "200", "yes"},
		"http/SameSiteStranger":   {plain, "evil.kubebyon.test", plain, "blocked", "no", "blocked", "blocked", "no"},
		// Over plain http browsers do not say of which site a page is: they keep the
		// cookie from it by themselves.
		"http/CrossSiteListed":   {plain, "console.other.test", plain, "200", "no", "401 unauthenticated", "401 unauthenticated", "no"},
		"http/CrossSiteStranger": {plain, "evil.other.test", plain, "blocked", "no", "blocked", "blocked", "no"},
		// A page by http of the same host is another site to the browser.
		"mixed/ListedByHTTP": {plain, "console.kubebyon.test", secure, "403 csrf_rejected", "no", "401 unauthenticated", "401 unauthenticated", "no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := c.api("api.kubebyon.test")
			p := visit(t, c.page(c.host)+"/page")
			p.want("signing in", p.signIn(api), c.login)
			if got := has(p.cookies()); got != c.cookie {
				t.Errorf("signed in: %s, want %s", got, c.cookie)
			}

			p.goTo(api + "/page") // somebody who is signed in by the API's own page
			p.want("signing in by the own page", p.signIn(api), "200")
			p.goTo(c.page(c.host) + "/page")
			p.want("reading", p.send("GET", api+"/api/auth/me", nil), c.read)
			p.want("writing", p.send("PUT", api+"/api/console/me", options{"name": name}), c.write)
			// Without a preflight: it arrives, whoever sends it.
			p.fetch(api+"/api/auth/logout", options{"method": "POST", "mode": "no-cors", "credentials": "include"})

			p.goTo(api + "/page")
			me := p.send("GET", api+"/api/auth/me", nil)
			if c.signedOut == "yes" {
				p.want("afterwards", me, "401 unauthenticated")
				return
			}
			p.want("afterwards", me, "200")
			if strings.Contains(me.Text, name) {
				t.Errorf("the page changed the name: %s", me.Text)
			}
		})
	}
}
