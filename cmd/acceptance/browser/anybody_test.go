package browser_test

import (
	"maps"
	"net"
	"strings"
	"testing"
)

// TestAnybodyMayRead where "*" is listed: without the cookie, and without being
// trusted with anything that only a browser adds.
func TestAnybodyMayRead(t *testing.T) {
	t.Parallel()
	api := secure("open.kubebyon.test")
	login := options{
		"method": "POST", "credentials": "omit", "headers": options{"Content-Type": "application/json"},
		"body": `{"email":"` + adminEmail + `","password":"` + adminPassword + `"}`,
	}
	for _, host := range []string{"evil.other.test", "evil.kubebyon.test"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			p := visit(t, secure(host)+"/page")
			p.want("what is for everybody", p.fetch(api+"/api/auth/providers", options{"credentials": "omit"}), "200")
			p.want("with the cookie", p.send("GET", api+"/api/auth/providers", nil), "blocked")
			key := options{"credentials": "omit", "method": "PUT", "body": `{"name":"x"}`, "headers": options{"Authorization": "Bearer kbk_unknown", "Content-Type": "application/json"}}
			p.want("with an API key", p.fetch(api+"/api/console/me", key), "401 unauthenticated")
			p.want("with an API key and the cookie", p.fetch(api+"/api/console/me", merge(key, options{"credentials": "include"})), "blocked")
			p.want("with a header that nobody needs", p.fetch(api+"/version", options{"credentials": "omit", "headers": options{"X-Odd": "1"}}), "blocked")
			p.want("signing in", p.fetch(api+"/api/auth/login", login), "403 csrf_rejected")
			p.want("signing in with the cookie", p.signIn(api), "blocked")
			if has(p.cookies()) == "yes" {
				t.Error("the page has signed somebody in")
			}
		})
	}
}

// TestAPageOfNoOrigin is nobody's: not even that of the host it came from.
func TestAPageOfNoOrigin(t *testing.T) {
	t.Parallel()
	api := secure("open.kubebyon.test")
	p := visit(t, api+"/page")
	text := evaluate[string](p, `
		const frame = document.createElement("iframe");
		frame.sandbox = "allow-scripts";
		frame.srcdoc = "<script>fetch(" + JSON.stringify(args[0]) + ", {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})" +
			".then(r => r.text()).then(text => parent.postMessage(text, '*'), e => parent.postMessage('' + e, '*'))</" + "script>";
		const told = new Promise(done => addEventListener("message", e => done(e.origin + " " + e.data), {once: true}));
		document.body.append(frame);
		return told;`, api+"/api/auth/login")
	if !strings.HasPrefix(text, "null ") || !strings.Contains(text, `"csrf_rejected"`) {
		t.Errorf("it got %s", text)
	}
}

// TestProxiesThatNobodyToldOf: the console's own origin is trusted although the
// server takes it for another, by the browser's word or by the public base URL.
func TestProxiesThatNobodyToldOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, host string
		secure     bool
	}{
		{"ThatEndsTLS", "proxied.kubebyon.test", false},      // the server knows of no TLS, and of no public URL
		{"ThatChangesTheHost", "public.kubebyon.test", true}, // what it knows is its public URL
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			api := secure(c.host)
			p := visit(t, api+"/page")
			p.want("signing in", p.signIn(api), "200")
			if got := p.session(); got.Secure != c.secure {
				t.Errorf("cookie %+v", got)
			}
			p.want("writing", p.send("PUT", api+"/api/console/me", options{"name": c.name}), "200")
			p.goTo(secure("evil.kubebyon.test") + "/page")
			p.fetch(api+"/api/auth/logout", options{"method": "POST", "mode": "no-cors", "credentials": "include"})
			p.goTo(api + "/page")
			p.want("afterwards", p.send("GET", api+"/api/auth/me", nil), "200")
		})
	}
}

// TestAPageCannotSpeakForAProxy: what a script writes into the headers of proxies
// is believed of proxies only.
func TestAPageCannotSpeakForAProxy(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(shared.closed.addr)
	api := "http://direct.kubebyon.test:" + port
	p := visit(t, api+"/docs/assets/docs.css") // a page of the program's own that may ask it
	r := p.fetch(api+"/api/auth/login", options{
		"method": "POST", "body": `{"email":"` + adminEmail + `","password":"` + adminPassword + `"}`,
		"headers": options{"Content-Type": "application/json", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test", "Forwarded": "for=1.2.3.4;proto=https"},
	})
	p.want("signing in", r, "200")
	if p.session().Secure {
		t.Error("the cookie is for https only, by a page's word")
	}
}

func merge(all ...options) options {
	out := options{}
	for _, o := range all {
		maps.Copy(out, o)
	}
	return out
}
