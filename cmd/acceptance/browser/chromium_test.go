package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
)

// chromium is the one browser of all tests. Each has pages and cookies of its own
// in it.
type chromium struct {
	ctx   context.Context //nolint:containedctx // chromedp keeps the browser in it
	end   []context.CancelFunc
	ready chan error
}

func findChromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if at, err := exec.LookPath(name); err == nil {
			return at
		}
	}
	return ""
}

// start runs the browser. It resolves the names of the tests' hosts only, so that
// it can ask nobody else, and takes the tests' certificate only.
func (c *chromium) start(path, dir, key string) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(filepath.Join(dir, "profile")),
		chromedp.Flag("host-resolver-rules", "MAP *.kubebyon.test 127.0.0.1, MAP *.other.test 127.0.0.1, MAP * ~NOTFOUND"),
		chromedp.Flag("ignore-certificate-errors-spki-list", key),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("no-proxy-server", true), chromedp.DisableGPU, chromedp.CombinedOutput(io.Discard),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox is not for root
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, endBrowser := chromedp.NewContext(allocator)
	c.ctx, c.end, c.ready = ctx, []context.CancelFunc{endBrowser, end}, make(chan error, 1)
	go func() { c.ready <- chromedp.Do(ctx) }()
}

func (c *chromium) stop() {
	for _, end := range c.end {
		end()
	}
}

// visit opens a page for somebody who has never been anywhere.
func visit(t *testing.T, url string) *page {
	t.Helper()
	require(t)
	c := &shared.chromium
	err := <-c.ready
	c.ready <- err
	if err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	ctx, cancel := chromedp.NewContext(c.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	ctx, cancelTimeout := context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancelTimeout)
	p := &page{t: t, ctx: ctx}
	p.goTo(url)
	return p
}

// page is one tab.
type page struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp keeps the tab in it
}

// goTo opens an address as a person does who types it.
func (p *page) goTo(url string) {
	p.t.Helper()
	p.must(chromedp.Do(p.ctx, chromedp.Navigate(url)))
}

func (p *page) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%v\nclosed: %s\nopen: %s", err, last(shared.closed.log.String()), last(shared.open.log.String()))
	}
}

func last(text string) string { return text[max(0, len(text)-3000):] }

// arguments are those of a call in JavaScript.
func arguments(p *page, args ...any) string {
	p.t.Helper()
	text, err := json.Marshal(args)
	p.must(err)
	return strings.TrimSuffix(strings.TrimPrefix(string(text), "["), "]")
}

// evaluate runs an async function's body in the page.
func evaluate[T any](p *page, body string, args ...any) T {
	p.t.Helper()
	await := func(e *runtime.EvaluateParams) { yes := true; e.AwaitPromise, e.UserGesture = &yes, &yes }
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](fmt.Sprintf("(async (...args) => {%s})(%s)", body, arguments(p, args...)), await))
	p.must(err)
	return v
}

// reply is what a page's script sees of an answer.
type reply struct {
	Blocked bool // by the browser
	Status  int  // 0: the browser does not tell
	Text    string
	Headers map[string]string
}

func (r reply) String() string {
	if r.Blocked {
		return "blocked"
	}
	var problem struct{ Code string }
	if json.Unmarshal([]byte(r.Text), &problem) == nil && problem.Code != "" {
		return fmt.Sprintf("%d %s", r.Status, problem.Code)
	}
	return fmt.Sprint(r.Status)
}

type options map[string]any

// fetch has the page's script ask.
func (p *page) fetch(url string, o options) reply {
	p.t.Helper()
	return evaluate[reply](p, `
		try {
			const r = await fetch(args[0], args[1]);
			return {status: r.status, text: await r.text(), headers: Object.fromEntries(r.headers)};
		} catch (e) {
			return {blocked: true};
		}`, url, o)
}

// send is a request with the cookie and, if it has one, a JSON body.
func (p *page) send(method, url string, body any) reply {
	p.t.Helper()
	o := options{"method": method, "credentials": "include"}
	if body != nil {
		text, err := json.Marshal(body)
		p.must(err)
		o["body"], o["headers"] = string(text), options{"Content-Type": "application/json"}
	}
	return p.fetch(url, o)
}

func (p *page) signIn(api string) reply {
	p.t.Helper()
	return p.send("POST", api+"/api/auth/login", options{"email": adminEmail, "password": adminPassword})
}

func (p *page) want(what string, got fmt.Stringer, want string) {
	p.t.Helper()
	if got.String() != want {
		p.t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// cookies are all that the browser has of the person.
func (p *page) cookies() []*network.Cookie {
	p.t.Helper()
	mine := chromedp.FromContext(p.ctx).BrowserContextID
	all, err := chromedp.CallBrowser(p.ctx, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: mine})
	p.must(err)
	return all.Cookies
}
