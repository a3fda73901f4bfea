package browser_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// submit sends a form as a page does, and says what the browser then shows. What
// has no content it does not show.
func (p *page) submit(url, enctype string, fields options) reply {
	p.t.Helper()
	script := fmt.Sprintf(`((url, enctype, fields) => {
		const form = document.createElement("form");
		Object.assign(form, {action: url, method: "POST", enctype: enctype});
		for (const name in fields) {
			const field = document.createElement("textarea");
			Object.assign(field, {name: name, value: fields[name]});
			form.append(field);
		}
		document.body.append(form);
		form.submit();
	})(%s)`, arguments(p, url, enctype, fields))
	return p.shown(chromedp.Evaluate[chromedp.Void](script))
}

// shown is the document that something has the browser open.
func (p *page) shown(do chromedp.Action[chromedp.Void]) reply {
	p.t.Helper()
	r, err := chromedp.RunResponse(p.ctx, do)
	p.must(err)
	return reply{Status: int(r.Status), Text: evaluate[string](p, `return document.body.innerText;`)}
}

// TestForms that a page has the browser send change nothing: where browsers add
// the cookie by themselves, the origin decides, and no form is JSON.
func TestForms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		origin     func(string) string
		host, want string
	}{
		"https/SameOrigin":        {secure, "api.kubebyon.test", "415 unsupported_media_type"},
		"https/SameSiteListed":    {secure, "console.kubebyon.test", "415 unsupported_media_type"},
		"https/SameSiteStranger":  {secure, "evil.kubebyon.test", "403 csrf_rejected"},
		"https/CrossSiteListed":   {secure, "console.other.test", "403 csrf_rejected"},
		"https/CrossSiteStranger": {secure, "evil.other.test", "403 csrf_rejected"},
		"http/SameOrigin":         {plain, "api.kubebyon.test", "415 unsupported_media_type"},
		"http/SameSiteStranger":   {plain, "evil.kubebyon.test", "403 csrf_rejected"},
		"http/CrossSiteStranger":  {plain, "evil.other.test", "403 csrf_rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, from := c.origin("api.kubebyon.test"), c.origin(c.host)+"/page"
			p := visit(t, from)
			for enctype, fields := range map[string]options{
				"text/plain":                        {`{"email":"` + adminEmail + `","password":"` + adminPassword + `","captcha_token":"`: `"}`},
				"application/x-www-form-urlencoded": {"email": adminEmail, "password": adminPassword},
				"multipart/form-data":               {"email": adminEmail, "password": adminPassword},
			} {
				p.goTo(from)
				p.want(enctype, p.submit(api+"/api/auth/login", enctype, fields), c.want)
			}
			if has(p.cookies()) == "yes" {
				t.Error("a form has signed somebody in")
			}
		})
	}
}

// TestNavigationFromElsewhere: a link takes a person's cookie along, a form from
// another site does not, and one from a neighbour is refused.
func TestNavigationFromElsewhere(t *testing.T) {
	t.Parallel()
	api := secure("api.kubebyon.test")
	p := visit(t, api+"/page")
	p.want("signing in", p.signIn(api), "200")
	for _, host := range []string{"evil.kubebyon.test", "evil.other.test", "console.other.test"} {
		p.goTo(secure(host) + "/page")
		follow := chromedp.Evaluate[chromedp.Void](fmt.Sprintf("((url) => { location.href = url })(%s)", arguments(p, api+"/api/auth/me")))
		p.want("a link on "+host, p.shown(follow), "200")
	}
	p.goTo(secure("evil.kubebyon.test") + "/page")
	p.want("a neighbour's form", p.submit(api+"/api/auth/logout", "text/plain", nil), "403 csrf_rejected")
	p.goTo(secure("evil.other.test") + "/page")
	// It comes without the cookie, but the browser would take one from the answer.
	p.want("a stranger's form", p.submit(api+"/api/auth/logout", "text/plain", nil), "403 csrf_rejected")
	p.goTo(api + "/page")
	p.want("afterwards", p.send("GET", api+"/api/auth/me", nil), "200")
}

// TestNothingIsEmbedded: no page shows the API in a frame or runs an answer as a
// script.
func TestNothingIsEmbedded(t *testing.T) {
	t.Parallel()
	api := secure("api.kubebyon.test")
	for _, host := range []string{"api.kubebyon.test", "console.kubebyon.test", "evil.other.test"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			p := visit(t, secure(host)+"/page")
			for _, path := range []string{"/docs", "/api/auth/providers"} {
				framed := evaluate[bool](p, `
					const frame = document.createElement("iframe");
					const shown = new Promise(done => { frame.onload = done; });
					frame.src = args[0];
					document.body.append(frame);
					await shown;
					try { return frame.contentDocument !== null; } catch { return true; }`, api+path)
				if framed && host == "api.kubebyon.test" {
					t.Errorf("%s is shown in a frame of its own origin", path)
				}
			}
			for _, c := range []struct{ path, want string }{{"/openapi.json", "refused"}, {"/api/auth/providers", "refused"}, {"/docs/assets/docs.css", "refused"}} {
				ran := evaluate[string](p, `
					const script = document.createElement("script");
					const over = new Promise(done => { script.onload = () => done("ran"); script.onerror = () => done("refused"); });
					script.src = args[0];
					document.body.append(script);
					return over;`, api+c.path)
				if ran != c.want {
					t.Errorf("%s as a script: %s", c.path, ran)
				}
			}
		})
	}
}
