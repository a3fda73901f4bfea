package edge_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
)

func proxies(texts ...string) (out edge.Proxies) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func request(peer string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "http://kubebyon.test/", nil)
	r.RemoteAddr = peer
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// TestClientIP: nobody but a trusted proxy can say where a request comes from,
// and what stands left of the first untrusted address is the client's own word.
func TestClientIP(t *testing.T) {
	t.Parallel()
	const proxy, client, stranger = "10.0.0.9:80", "203.0.113.7", "198.51.100.66"
	trusted := proxies("10.0.0.0/8", "fd00::/8")
	for _, c := range []struct {
		name    string
		peer    string
		headers []string
		want    string
	}{
		{"NoProxy", client + ":5", nil, client},
		{"AStrangerIsNotBelieved", stranger + ":5", []string{"X-Forwarded-For", client}, stranger},
		{"AStrangerIsNotBelievedEither", stranger + ":5", []string{"Forwarded", "for=" + client}, stranger},
		{"NoHeader", proxy, nil, "10.0.0.9"},
		{"OneHop", proxy, []string{"X-Forwarded-For", client}, client},
		{"TwoTrustedHops", proxy, []string{"X-Forwarded-For", client + ", 10.1.1.1"}, client},
		{"WhatTheClientWrote", proxy, []string{"X-Forwarded-For", "127.0.0.1, " + client}, client},
		{"WhatTheClientWroteAsTrusted", proxy, []string{"X-Forwarded-For", "10.9.9.9, " + client + ", 10.1.1.1"}, client},
		{"SeveralLines", proxy, []string{"X-Forwarded-For", "1.1.1.1", "X-Forwarded-For", client}, client},
		{"OnlyTrusted", proxy, []string{"X-Forwarded-For", "10.2.2.2, 10.1.1.1"}, "10.2.2.2"},
		{"Garbage", proxy, []string{"X-Forwarded-For", "pwned"}, "10.0.0.9"},
		{"GarbageLeftOfAHop", proxy, []string{"X-Forwarded-For", client + ", pwned, 10.1.1.1"}, "10.1.1.1"},
		{"WithPort", proxy, []string{"X-Forwarded-For", client + ":4711"}, client},
		{"IPv6", proxy, []string{"X-Forwarded-For", "2001:db8::7"}, "2001:db8::7"},
		{"IPv6WithPort", proxy, []string{"X-Forwarded-For", "[2001:db8::7]:4711"}, "2001:db8::7"},
		{"IPv6ZoneIsDropped", proxy, []string{"X-Forwarded-For", "fe80::1%eth0"}, "fe80::1"},
		{"MappedIPv4", proxy, []string{"X-Forwarded-For", "::ffff:203.0.113.7"}, client},
		{"MappedPeerIsTrustedAsIPv4", "[::ffff:10.0.0.9]:80", []string{"X-Forwarded-For", client}, client},
		{"IPv6Proxy", "[fd00::1]:80", []string{"X-Forwarded-For", client}, client},
		{"EmptyHeader", proxy, []string{"X-Forwarded-For", ""}, "10.0.0.9"},
		{"EmptyElements", proxy, []string{"X-Forwarded-For", ", ," + client + ", ,"}, client},
		{"Forwarded", proxy, []string{"Forwarded", "for=" + client + ";proto=https;by=10.0.0.9"}, client},
		{"ForwardedIPv6", proxy, []string{"Forwarded", `for="[2001:db8::7]:4711"`}, "2001:db8::7"},
		{"ForwardedChain", proxy, []string{"Forwarded", "for=1.1.1.1, for=" + client + ", For=10.1.1.1"}, client},
		{"ForwardedObfuscated", proxy, []string{"Forwarded", "for=" + client + ", for=_hidden, for=10.1.1.1"}, "10.1.1.1"},
		{"ForwardedUnknown", proxy, []string{"Forwarded", "for=unknown"}, "10.0.0.9"},
		{"ForwardedCommaInQuotes", proxy, []string{"Forwarded", `host="a, for=1.1.1.1";for=` + client}, client},
		{"ForwardedOpenQuotation", proxy, []string{"Forwarded", `for=1.1.1.1;x=", for=` + client}, "10.0.0.9"},
		{"ForwardedQuotationIntoTheNext", proxy, []string{"Forwarded", `for=1.1.1.1;x=", for="[2001:db8::7]";by="[fd00::1]"`}, "10.0.0.9"},
		{"ForwardedOpenQuotationInItsOwnLine", proxy, []string{"Forwarded", `for=1.1.1.1;x="`, "Forwarded", "for=" + client}, client},
		{"ForwardedTwice", proxy, []string{"Forwarded", "for=1.1.1.1;for=" + client}, "10.0.0.9"},
		{"ForwardedWithoutFor", proxy, []string{"Forwarded", "proto=https"}, "10.0.0.9"},
		{"BothAgree", proxy, []string{"Forwarded", "for=" + client, "X-Forwarded-For", client}, client},
		{"BothDisagree", proxy, []string{"Forwarded", "for=1.1.1.1", "X-Forwarded-For", client}, "10.0.0.9"},
		{"NoAddress", "@", []string{"X-Forwarded-For", client}, "invalid IP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := trusted.ClientIP(request(c.peer, c.headers...)).String(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	trusted := proxies("10.0.0.0/8")
	for _, c := range []struct {
		name, host, peer string
		tls              bool
		headers          []string
		want             string
	}{
		{"Plain", "kubebyon.test", "203.0.113.7:5", false, nil, "http://kubebyon.test"},
		{"TLS", "kubebyon.test", "203.0.113.7:5", true, nil, "https://kubebyon.test"},
		{"Port", "kubebyon.test:8080", "203.0.113.7:5", false, nil, "http://kubebyon.test:8080"},
		{"DefaultPort", "Kubebyon.TEST:80", "203.0.113.7:5", false, nil, "http://kubebyon.test"},
		{"DefaultPortOfTLS", "kubebyon.test:443", "203.0.113.7:5", true, nil, "https://kubebyon.test"},
		{"IPv6", "[2001:db8::7]:8080", "203.0.113.7:5", false, nil, "http://[2001:db8::7]:8080"},
		{"IPv6WithoutPort", "[2001:db8::7]", "203.0.113.7:5", false, nil, "http://[2001:db8::7]"},
		{"AStrangersProto", "kubebyon.test", "203.0.113.7:5", false, []string{"X-Forwarded-Proto", "https"}, "http://kubebyon.test"},
		{"AStrangersHost", "kubebyon.test", "203.0.113.7:5", false, []string{"X-Forwarded-Host", "evil.test"}, "http://kubebyon.test"},
		{"AProxysProto", "kubebyon.test", "10.0.0.9:80", false, []string{"X-Forwarded-Proto", "https"}, "https://kubebyon.test"},
		{"AProxysHost", "internal:8080", "10.0.0.9:80", false, []string{"X-Forwarded-Host", "kubebyon.test"}, "http://kubebyon.test"},
		{"TheNearestProxysHost", "internal:8080", "10.0.0.9:80", false, []string{"X-Forwarded-Host", "evil.test, kubebyon.test"}, "http://kubebyon.test"},
		{"OddProto", "kubebyon.test", "10.0.0.9:80", false, []string{"X-Forwarded-Proto", "javascript"}, "http://kubebyon.test"},
		{"Shell", "$(reboot)", "203.0.113.7:5", false, nil, ""},
		{"Quote", `a"b`, "203.0.113.7:5", false, nil, ""},
		{"Path", "a/b", "203.0.113.7:5", false, nil, ""},
		{"User", "a@b", "203.0.113.7:5", false, nil, ""},
		{"OddPort", "a:80x", "203.0.113.7:5", false, nil, ""},
		{"Empty", "", "203.0.113.7:5", false, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := request(c.peer, c.headers...)
			r.Host = c.host
			if c.tls {
				r.TLS = new(tls.ConnectionState)
			}
			if got := trusted.Origin(r); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzForwarded: whatever a client writes to the left, the proxy's own word on
// the right decides.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"", "for=1.1.1.1", `for="[::1]:80"`, `for="a\"b",`, "for=_x;for=y", `"`, `\`, "for=1.1.1.1;host=\"a,b;c\""} {
		f.Add(s)
	}
	trusted := proxies("10.0.0.0/8")
	f.Fuzz(func(t *testing.T, text string) {
		r := request("10.0.0.9:80", "Forwarded", text+", for=203.0.113.7")
		got := trusted.ClientIP(r).String()
		if unreadable := strings.Contains(text, `"`); got != "203.0.113.7" && (!unreadable || got != "10.0.0.9") {
			t.Errorf("with %q in front the client is %s", text, got)
		}
	})
}

// FuzzForwardedFor is FuzzForwarded for the other header.
func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"", "1.1.1.1", "[::1]:80", "10.0.0.1,", ",,", "a b", `"`} {
		f.Add(s)
	}
	trusted := proxies("10.0.0.0/8")
	f.Fuzz(func(t *testing.T, text string) {
		r := request("10.0.0.9:80", "X-Forwarded-For", text+", 203.0.113.7")
		if got := trusted.ClientIP(r).String(); got != "203.0.113.7" {
			t.Errorf("with %q in front the client is %s", text, got)
		}
	})
}
