package edge_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
)

// TestCheckWrite is the whole table of who may change something with what a
// browser adds by itself. The server's own origin is http://kubebyon.test.
func TestCheckWrite(t *testing.T) {
	t.Parallel()
	o, err := edge.NewOrigins([]string{"https://console.test", "http://other.test:8080/", "*"}, func(context.Context) string { return "https://public.test/base" })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, method, origin, site string
		ok                         bool
	}{
		{"Curl", "POST", "", "", true},
		{"Own", "POST", "http://kubebyon.test", "same-origin", true},
		{"OwnInAnOldBrowser", "POST", "http://kubebyon.test", "", true},
		{"OwnWithDefaultPort", "POST", "http://kubebyon.test:80", "", true},
		{"OwnInCapitals", "POST", "HTTP://KUBEBYON.TEST", "", true},
		{"OwnOverTheOtherScheme", "POST", "https://kubebyon.test", "same-site", false},
		{"OwnBehindATLSProxy", "POST", "https://kubebyon.test", "same-origin", true},
		{"OwnOnAnotherPortByTheBrowsersWord", "POST", "https://kubebyon.test:8443", "same-origin", false},
		{"StrangerByTheBrowsersWord", "POST", "https://evil.test", "same-origin", false},
		{"OwnOnAnotherPort", "POST", "http://kubebyon.test:8080", "same-site", false},
		{"Public", "POST", "https://public.test", "same-site", true},
		{"PublicOverTheOtherScheme", "POST", "http://public.test", "same-site", false},
		{"Listed", "POST", "https://console.test", "same-site", true},
		{"ListedWithPort", "PUT", "http://other.test:8080", "same-site", true},
		{"ListedButCrossSite", "POST", "https://console.test", "cross-site", false},
		{"OwnButCrossSite", "POST", "http://kubebyon.test", "cross-site", false},
		{"CrossSiteWithoutOrigin", "DELETE", "", "cross-site", false},
		{"Stranger", "POST", "https://evil.test", "cross-site", false},
		{"StrangerInAnOldBrowser", "POST", "https://evil.test", "", false},
		{"StrangerAlthoughAnybodyIsListed", "PATCH", "https://any.test", "same-site", false},
		{"NullOrigin", "POST", "null", "same-origin", false},
		{"StarOrigin", "POST", "*", "", false},
		{"SubdomainOfTheOwn", "POST", "http://evil.kubebyon.test", "same-site", false},
		{"SuffixOfTheOwn", "POST", "http://kubebyon.test.evil.test", "", false},
		{"UserInfo", "POST", "http://kubebyon.test@evil.test", "", false},
		{"SameOriginWithoutOrigin", "POST", "", "same-origin", true},
		{"TypedInByAPerson", "POST", "", "none", true},
		{"SameSiteWithoutOrigin", "POST", "", "same-site", false},
		{"OddSite", "POST", "", "sideways", false},
		{"Reading", "GET", "https://evil.test", "cross-site", true},
		{"Looking", "HEAD", "https://evil.test", "cross-site", true},
		{"MadeUpMethod", "FROB", "https://evil.test", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := check(o, c.method, c.origin, c.site); (got == nil) != c.ok {
				t.Errorf("got %v", got)
			}
		})
	}
}

func check(o edge.Origins, method, origin, site string) (err error) {
	r := httptest.NewRequest(method, "http://kubebyon.test/", nil)
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	if site != "" {
		r.Header.Set("Sec-Fetch-Site", site)
	}
	door := edge.Door{Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: func([]byte) error { return nil }}
	door.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { err = o.CheckWrite(r) })).ServeHTTP(httptest.NewRecorder(), r)
	return err
}

func TestTwoOriginsAreNone(t *testing.T) {
	t.Parallel()
	o, _ := edge.NewOrigins([]string{"https://console.test"}, nil)
	r := httptest.NewRequest("POST", "/", nil)
	r.Header["Origin"] = []string{"https://console.test", "https://evil.test"}
	if o.CheckWrite(r) == nil {
		t.Error("a request with two origins passed")
	}
}

func TestOriginsMustBeOrigins(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"console.test", "https://*.test", "https://console.test/path", "ftp://console.test", "https://", "https://a b", "null", "https://u@console.test", "https://console.test?x", ""} {
		if _, err := edge.NewOrigins([]string{bad}, nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// TestCORS: listed sites may send the cookie; anybody never may.
func TestCORS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, origin, allowed, credentials string
		listed                             []string
	}{
		{"Nobody", "https://console.test", "", "", nil},
		{"Listed", "https://console.test", "https://console.test", "true", []string{"https://console.test"}},
		{"NotListed", "https://evil.test", "", "", []string{"https://console.test"}},
		{"Anybody", "https://evil.test", "*", "", []string{"*"}},
		{"AnybodyAndListed", "https://console.test", "https://console.test", "true", []string{"*", "https://console.test"}},
		{"AnybodyBesideListed", "https://evil.test", "*", "", []string{"https://console.test", "*"}},
		{"NoOrigin", "", "", "", []string{"https://console.test"}},
		{"Null", "null", "", "", []string{"https://console.test"}},
	} {
		for _, preflight := range []bool{false, true} {
			name := c.name + "/Request"
			if preflight {
				name = c.name + "/Preflight"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				o, err := edge.NewOrigins(c.listed, nil)
				if err != nil {
					t.Fatal(err)
				}
				r := httptest.NewRequest("POST", "/", nil)
				if preflight {
					r.Method = "OPTIONS"
					r.Header.Set("Access-Control-Request-Method", "PUT")
					r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,idempotency-key")
				}
				if c.origin != "" {
					r.Header.Set("Origin", c.origin)
				}
				a := httptest.NewRecorder()
				o.CORS(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })).ServeHTTP(a, r)
				if got := a.Header().Get("Access-Control-Allow-Origin"); got != c.allowed {
					t.Errorf("allowed origin %q, want %q", got, c.allowed)
				}
				if got := a.Header().Get("Access-Control-Allow-Credentials"); got != c.credentials {
					t.Errorf("credentials %q, want %q", got, c.credentials)
				}
				if preflight && c.allowed != "" && a.Header().Get("Access-Control-Allow-Methods") != "PUT" {
					t.Errorf("headers %v", a.Header())
				}
				if a.Header().Get("Vary") == "" {
					t.Error("no Vary: a cache would give one site's answer to another")
				}
			})
		}
	}
}
