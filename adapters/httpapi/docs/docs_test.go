package docs_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi/docs"
)

const spec = "/openapi/console.json"

var (
	reference = regexp.MustCompile(`(?:src|href)="([^"]+)"`)
	cssLoad   = regexp.MustCompile(`url\(\s*["']?([^"')]{0,80})`)
	elsewhere = regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]`)
)

func TestEveryReferenceIsServed(t *testing.T) {
	t.Parallel()
	page := body(t, get(t, "/docs"))
	refs := reference.FindAllStringSubmatch(page, -1)
	if len(refs) < 5 {
		t.Fatalf("the page references %d files, want at least 5:\n%s", len(refs), page)
	}
	kinds := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".png": "image/png"}
	for _, ref := range refs {
		if ref[1] == spec {
			continue
		}
		res := get(t, ref[1])
		if got, want := res.Header.Get("Content-Type"), kinds[path.Ext(ref[1])]; res.StatusCode != http.StatusOK || got != want {
			t.Errorf("%s: %d %s, want 200 %s", ref[1], res.StatusCode, got, want)
		}
		if body(t, res) == "" {
			t.Errorf("%s is empty", ref[1])
		}
	}
}

func TestNothingLoadsFromElsewhere(t *testing.T) {
	t.Parallel()
	for _, ours := range []string{"/docs", "/docs/assets/docs.js", "/docs/assets/docs.css"} {
		if found := elsewhere.FindString(body(t, get(t, ours))); found != "" {
			t.Errorf("%s names another host: %s", ours, found)
		}
	}
	sheet := body(t, get(t, "/docs/assets/swagger-ui.css"))
	if strings.Contains(sheet, "@import") {
		t.Error("the style sheet imports another")
	}
	for _, load := range cssLoad.FindAllStringSubmatch(sheet, -1) {
		if !strings.HasPrefix(load[1], "data:") {
			t.Errorf("the style sheet loads %s", load[1])
		}
	}
}

func TestThePolicyAdmitsOneOriginAndNothingInline(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"/docs", "/docs/assets/docs.js"} {
		header := get(t, url).Header
		policy := header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || elsewhere.MatchString(policy) {
			t.Errorf("%s: policy %q", url, policy)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be sniffed", url)
		}
	}
	page := body(t, get(t, "/docs"))
	if regexp.MustCompile(`<script>|<style|\sstyle=|\son[a-z]+=`).MatchString(page) {
		t.Errorf("the page holds what its policy forbids:\n%s", page)
	}
}

func TestASpecURLStaysAnAttribute(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	docs.Handler(`/x"><script src=/evil></script>`).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/docs", nil))
	if strings.Contains(rec.Body.String(), "<script src=/evil>") {
		t.Errorf("the URL broke out:\n%s", rec.Body)
	}
}

func TestPackedAndPlainAreTheSame(t *testing.T) {
	t.Parallel()
	const url = "/docs/assets/swagger-ui-bundle.js"
	packed := get(t, url, "Accept-Encoding", "br, gzip;q=0.8")
	if packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("Vary") != "Accept-Encoding" {
		t.Fatalf("not packed: %v", packed.Header)
	}
	unpacked, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	for _, refusal := range []string{"", "br", "gzip;q=0", "gzip;q=0.000"} {
		plain := get(t, url, "Accept-Encoding", refusal)
		if encoding := plain.Header.Get("Content-Encoding"); encoding != "" {
			t.Errorf("%q was answered with %s", refusal, encoding)
		}
		if body(t, plain) != string(got) {
			t.Errorf("%q: the two bodies differ", refusal)
		}
		if plain.Header.Get("ETag") == packed.Header.Get("ETag") {
			t.Errorf("%q: one ETag for two bodies", refusal)
		}
	}
}

func TestWhatIsKeptIsNotSentAgain(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"/docs", "/docs/assets/docs.js", "/docs/assets/swagger-ui.css"} {
		first := get(t, url, "Accept-Encoding", "gzip")
		again := get(t, url, "Accept-Encoding", "gzip", "If-None-Match", first.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
			t.Errorf("%s: %d, want 304 and no body", url, again.StatusCode)
		}
	}
}

func TestLicencesTravelAlong(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"swagger-ui.LICENSE.txt":           "Apache License",
		"swagger-ui.NOTICE.txt":            "SmartBear",
		"swagger-ui-bundle.js.LICENSE.txt": "Facebook",
	} {
		if !strings.Contains(body(t, get(t, "/docs/assets/"+name)), want) {
			t.Errorf("%s does not name %s", name, want)
		}
	}
}

func TestOnlyThePageIsServed(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]int{
		"/docs/":                         http.StatusMovedPermanently,
		"/docs/assets/":                  http.StatusNotFound,
		"/docs/assets/nothing.js":        http.StatusNotFound,
		"/docs/assets/..%2fpage.html":    http.StatusNotFound,
		"/docs/assets/swagger-ui.css.gz": http.StatusNotFound,
		"/other":                         http.StatusNotFound,
	} {
		if res := get(t, url); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", url, res.StatusCode, want)
		}
	}
}

func get(t *testing.T, url string, headers ...string) *http.Response {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, url, nil)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	docs.Handler(spec).ServeHTTP(rec, req)
	return rec.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}
