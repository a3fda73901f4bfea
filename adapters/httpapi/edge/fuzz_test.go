package edge_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
)

// FuzzHost: whatever stands in Host, the origin made of it has one spelling, is
// a URL of that host and nothing else, and means nothing to a shell.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"", "Example.COM:80", "[::1]:443", "::1", "[::1", "a:b:c", "x y", "$(id)", "a\"b", "a/b", "a@b", "1.2.3.4:00080", "é", strings.Repeat("a", 300), "a:65536", "a:", ":80", "%41", "[fe80::1%25eth0]"} {
		f.Add(s, "", false)
		f.Add("x", s, true)
	}
	trusted := proxies("10.0.0.0/8")
	f.Fuzz(func(t *testing.T, host, forwarded string, throughProxy bool) {
		r := request("203.0.113.7:80", "X-Forwarded-Host", forwarded, "X-Forwarded-Proto", host)
		if throughProxy {
			r.RemoteAddr = "10.0.0.9:80"
		}
		r.Host = host
		origin := trusted.Origin(r)
		if origin == "" {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme+"://"+u.Host != origin || u.Hostname() == "" || strings.ToLower(origin) != origin || strings.ContainsAny(origin, " \t\r\n\"'`$\\;|&<>(){}*!@%#?") {
			t.Errorf("the origin of %q is %q: %v", host, origin, err)
			return
		}
		again := request("203.0.113.7:80")
		again.Host = u.Host
		if got := trusted.Origin(again); got != "http://"+u.Host && got != "http://"+strings.TrimSuffix(u.Host, ":80") {
			t.Errorf("%q becomes %q, which becomes %q", host, origin, got)
		}
	})
}

// FuzzOrigin: only the listed site itself, however its name is spelled, is
// trusted to write.
func FuzzOrigin(f *testing.F) {
	for _, s := range []string{
		"", "null", "*", "https://console.example.com", "HTTPS://Console.Example.com:443", "https://console.example.com.evil", "https://console.example.com@evil", "https://evil/https://console.example.com",
		"https://console.example.com:4430", "http://console.example.com", "https://console.example.com\x00", "https://xconsole.example.com", "https://console.example.com%2eevil", "https://[::1]",
	} {
		f.Add(s, "")
		f.Add(s, "same-site")
	}
	origins, err := edge.NewOrigins([]string{"https://console.example.com", "*"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, origin, site string) {
		if site == "same-origin" || site == "none" {
			t.Skip("a browser says that the page is ours")
		}
		r := request("203.0.113.7:80", "Origin", origin)
		r.Method = http.MethodPost
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		if origins.CheckWrite(r) != nil {
			return
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" || !strings.EqualFold(u.Hostname(), "console.example.com") || (u.Port() != "" && u.Port() != "443") || u.User != nil {
			t.Errorf("%q was trusted", origin)
		}
	})
}

// FuzzClientIP: who is no trusted proxy is believed in nothing.
func FuzzClientIP(f *testing.F) {
	f.Add("203.0.113.7:80", "1.1.1.1", "for=1.1.1.1")
	f.Add("[2001:db8::1%eth0]:80", "", "for=\"[::1]\"")
	f.Add("[::ffff:10.0.0.1]:80", "1.1.1.1", "")
	f.Add("", "", "")
	trusted := proxies("10.0.0.0/8")
	f.Fuzz(func(t *testing.T, peer, forwardedFor, forwarded string) {
		r := request(peer, "X-Forwarded-For", forwardedFor, "Forwarded", forwarded)
		got := trusted.ClientIP(r)
		at, err := netip.ParseAddrPort(peer)
		if err != nil {
			if got.IsValid() {
				t.Errorf("nobody's request came from %s", got)
			}
			return
		}
		own := at.Addr().Unmap().WithZone("")
		if !netip.MustParsePrefix("10.0.0.0/8").Contains(own) && got != own {
			t.Errorf("%s was taken for %s", peer, got)
		}
		if got.Zone() != "" || got.Is4In6() {
			t.Errorf("%s has another spelling", got)
		}
	})
}
