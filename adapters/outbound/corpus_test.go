package outbound

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

const (
	scheme    = "http or https"
	userinfo  = "name or a password"
	noHost    = "a host"
	badHost   = "DNS name or an IP address"
	badPort   = "port 80, 443"
	oddIPv4   = "four decimal numbers"
	notPublic = "name of the public DNS"
	loopback  = "loopback"
	private   = "private"
	linkLocal = "link-local"
	metadata  = "metadata"
	unspec    = "unspecified"
	multicast = "multicast"
	reserved  = "reserved"
	carrier   = "carrier's NAT"
	mapped    = "mapped to IPv6"
	nat64     = "NAT64"
	sixToFour = "6to4"
	teredo    = "Teredo"
	zone      = "zone"
	fragment  = "fragment"
)

// tricks are URLs that must not be saved, by the rule that they break.
var tricks = map[string][]string{
	scheme: {
		"", "example.com", "//example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com:70/_x", "unix:///run/docker.sock",
		"http:example.com", "http:\\\\example.com\\", "http://exa mple.com/", "http://example.com\\@127.0.0.1/", "http://127.0.0.1\\@example.com/",
		"http://example.com/\r\nHost: localhost", "ht\ttp://example.com", "http://[::1/", "http://::1/", "http://[example.com]:80:80/", "http://example.com:http/", "http://%zz/", "javascript:alert(1)", "data:text/html,x", "jar:http://example.com!/",
		"dict://127.0.0.1:11211/", "ldap://127.0.0.1/", "tftp://127.0.0.1/", "http://example.com:-80/",
		"http://example.com\u0000.local/", "http://127.0.0.1%2f.example.com/", "http://[v1.x]/", "http://[127.0.0.1]x/", "http://l%6fcalhost/", "http://%6c%6f%63%61%6c%68%6f%73%74/", " http://127.0.0.1/", "http://127.0.0.1%2f.example.com/", "http://[v1.x]/", "http://[127.0.0.1]x/", "http://l%6fcalhost/", "http://%6c%6f%63%61%6c%68%6f%73%74/", "http://127.0.0.1%00.example.com/", "http://127.0.0.1%0a.example.com/",
	},
	userinfo: {
		"http://user@example.com/", "http://user:password@example.com/", "http://example.com@127.0.0.1/", "http://127.0.0.1@example.com/",
		"http://example.com:80@127.0.0.1/", "http://:@example.com/", "http://@example.com/", "https://example.com%40@127.0.0.1/",
	},
	noHost:   {"http://", "http:/example.com", "http:///path", "http://:80/", "https://?x", "http://:/"},
	fragment: {"http://example.com#@127.0.0.1/", "http://127.0.0.1#.example.com/", "https://example.com/#"},
	badPort: {
		"http://example.com:0/", "http://example.com:22/", "http://example.com:25/", "http://example.com:53/", "https://example.com:465/", "http://example.com:1023/",
		"http://example.com:65536/", "http://example.com:99999999999999999999/", "http://93.184.216.34:23/", "http://[2606:4700::1111]:25/",
	},
	loopback: {
		"http://127.0.0.1/", "http://127.0.0.1:8080/", "https://127.1.2.3/", "http://127.255.255.254/", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::0001]:443/",
	},
	private: {
		"http://10.0.0.1/", "http://10.255.255.255/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.0.1/", "https://192.168.1.1:8443/",
		"http://[fc00::1]/", "http://[fd12:3456:789a::1]/", "http://10.96.0.1:443/",
	},
	linkLocal: {"http://169.254.0.1/", "http://169.254.169.253/", "http://[fe80::1]/", "http://[febf::1]/"},
	zone:      {"http://[fe80::1%25eth0]/", "http://[2606:4700::1111%25eth0]/"},
	metadata: {
		"http://169.254.169.254/latest/meta-data/", "http://100.100.100.200/latest/", "http://168.63.129.16/machine", "http://192.0.0.192/", "http://[fd00:ec2::254]/latest/", "http://[fd20:ce::254]/",
	},
	unspec:    {"http://0.0.0.0/", "http://0.0.0.0:8080/", "http://0.1.2.3/", "http://[::]/", "http://[0:0:0:0:0:0:0:0]/"},
	multicast: {"http://224.0.0.1/", "http://239.255.255.250/", "http://[ff02::1]/", "http://[ff0e::1]/"},
	carrier:   {"http://100.64.0.1/", "http://100.127.255.255/"},
	reserved: {
		"http://192.0.0.1/", "http://192.0.2.1/", "http://198.18.0.1/", "http://198.51.100.1/", "http://203.0.113.1/", "http://240.0.0.1/", "http://255.255.255.255/", "http://192.88.99.1/",
		"http://[2001:db8::1]/", "http://[3fff::1]/", "http://[100::1]/", "http://[fec0::1]/", "http://[::127.0.0.1]/", "http://[::7f00:1]/", "http://[2001:20::1]/", "http://[5f00::1]/", "http://[2620:4f:8000::1]/",
	},
	mapped:    {"http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:10.0.0.1]/", "http://[0:0:0:0:0:ffff:a9fe:a9fe]/", "http://[::FFFF:192.168.0.1]/"},
	nat64:     {"http://[64:ff9b::127.0.0.1]/", "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::10.0.0.1]/"},
	sixToFour: {"http://[2002:7f00:1::]/", "http://[2002:7f00:0001::1]/", "http://[2002:a9fe:a9fe::]/", "http://[2002:c0a8:101::1]/"},
	teredo:    {"http://[2001:0:7f00:1::]/", "http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/"},
	oddIPv4: {
		"http://2130706433/", "http://017700000001/", "http://0x7f000001/", "http://0x7F000001/", "http://127.1/", "http://127.0.1/", "http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://0x7f.1/",
		"http://127.0.0.01/", "http://127.000.000.001/", "http://00000177.0.0.1/", "http://0/", "http://0x/", "http://1/", "http://169.254.43518/", "http://3232235777/", "http://10.1/", "http://127.0.0.1./",
		"http://4294967295/", "http://256.256.256.256/", "http://1.2.3.4.5/", "http://425.510.425.510/", "http://0xA9FEA9FE/", "http://0251.0376.0251.0376/", "http://127.0.0.0x1/", "http://example.1/", "http://2130706433.:80/",
		"http://１２７.0.0.1/", "http://127。0。0。1/", "http://①②⑦.⓪.⓪.①/", "http://127．0．0．1/", "http://1２7.0.0.1/", "http://１６９。２５４。１６９。２５４/",
	},
	notPublic: {
		"http://localhost/", "http://LOCALHOST/", "http://localhost./", "http://localhost:8080/", "http://foo.localhost/", "http://localhost.localdomain/", "http://ip6-localhost/",
		"http://metadata/", "http://metadata.google.internal/", "http://METADATA.GOOGLE.INTERNAL./computeMetadata/v1/", "http://instance-data.ec2.internal/", "http://instance-data/",
		"http://kubernetes/", "http://kubernetes.default.svc/", "http://kubernetes.default.svc.cluster.local/", "http://db.svc.cluster.local.:443/", "http://router.lan/", "http://printer.local/", "http://nas.home.arpa/",
		"http://intranet/", "http://wiki.corp/", "http://x.onion/", "http://host.docker.internal/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "http://ｌｏｃａｌｈｏｓｔ/", "http://localhost。/", "http://loca\u00adlhost/", "http://metadata.google。internal/",
	},
	badHost: {
		"http://example..com/", "http://.example.com/", "http://-example.com/", "http://exa_mple.com/", "http://example.com../", "http://*.example.com/", "http://exam\u200dple.com\u202e/",
		"http://" + strings.Repeat("a", 64) + ".com/", "http://" + strings.Repeat("a.", 127) + "com/", "http://example.com,127.0.0.1/", "http://xn--/", "http://xn--a.com/",
	},
}

// honest are URLs that may be saved, and where their names lead.
var honest = []struct{ url, at string }{
	{"http://93.184.216.34/", "93.184.216.34:80"},
	{"https://hooks.example.com/a/b?c=d", "93.184.216.34:443"},
	{"https://hooks.example.com:8443/", "93.184.216.34:8443"},
	{"HTTPS://HOOKS.EXAMPLE.COM/", "93.184.216.34:443"},
	{"http://hooks.example.com.:1024/", "93.184.216.34:1024"},
	{"http://hooks.example.com:/", "93.184.216.34:80"},
	{"https://[2606:4700::1111]:65535/", "[2606:4700::1111]:65535"},
	{"https://six.example.com/", "[2606:4700::1111]:443"},
	{"https://bücher.example.com/", "93.184.216.34:443"},
	{"https://xn--bcher-kva.example.com/", "93.184.216.34:443"},
	{"https://127.0.0.1.example.com/", "93.184.216.34:443"},
	{"https://local.internal-tools.example.com/", "93.184.216.34:443"},
	{"https://172.15.255.255/", "172.15.255.255:443"},
	{"https://100.63.255.255/", "100.63.255.255:443"},
	{"https://168.63.129.17/", "168.63.129.17:443"},
}

func TestNoTrickIsSavedOrSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, Config{})
	count := 0
	for rule, urls := range tricks {
		for _, u := range urls {
			count++
			err := w.CheckURL(u)
			if err == nil || !strings.Contains(err.Error(), rule) || !strings.HasPrefix(err.Error(), "must ") {
				t.Errorf("saving %q: %v, want the rule about %s", u, err, rule)
			}
			w.expectRefused(t, u, "")
		}
	}
	if len(w.let()) > 0 || w.asked > 0 {
		t.Errorf("the guard let %v through, and %d names were asked for", w.let(), w.asked)
	}
	t.Logf("%d tricks refused", count)
}

// expectRefused sends a request, unless net/http cannot even be asked to.
func (w *world) expectRefused(t *testing.T, raw, rule string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, raw, strings.NewReader("{}"))
	if err != nil || req.URL.Fragment != "" || strings.Contains(raw, "#") {
		return // what comes after # is not sent
	}
	resp, err := w.Do(req)
	if err == nil {
		resp.Body.Close()
		t.Fatalf("%q was sent", raw)
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.Denied || f.Code != "address_refused" || !strings.Contains(f.Msg, rule) {
		if !strings.ContainsAny(raw, "\\ ") { // net/http sends these escaped, or not at all
			t.Errorf("sending %q: %v, want the rule about %s", raw, err, rule)
		}
	}
}

func TestHonestAddressesAreReached(t *testing.T) {
	t.Parallel()
	for _, c := range honest {
		w := newWorld(t, map[string][][]string{
			"hooks.example.com": {{"93.184.216.34"}}, "xn--bcher-kva.example.com": {{"93.184.216.34"}}, "127.0.0.1.example.com": {{"93.184.216.34"}},
			"local.internal-tools.example.com": {{"93.184.216.34"}}, "six.example.com": {{"2606:4700::1111"}},
		}, Config{})
		if err := w.CheckURL(c.url); err != nil {
			t.Errorf("saving %q: %v", c.url, err)
		}
		err := w.send(t, c.url)
		if got := w.let(); !errors.Is(err, errStopped) || len(got) == 0 || got[0] != netip.MustParseAddrPort(c.at) {
			t.Errorf("sending %q: %v to %v, want %s", c.url, err, got, c.at)
		}
	}
}

// TestNamesThatLeadInside: the form of these is in order; only where they lead
// is not, and only what is dialed counts.
func TestNamesThatLeadInside(t *testing.T) {
	t.Parallel()
	addresses := map[string][]string{}
	for rule, urls := range tricks {
		for _, raw := range urls {
			if u, err := url.Parse(raw); err == nil {
				if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.Zone() == "" && !slices.Contains([]string{badPort, userinfo, fragment, scheme}, rule) {
					addresses[rule] = append(addresses[rule], a.String())
				}
			}
		}
	}
	count := 0
	for rule, list := range addresses {
		for _, a := range list {
			if rule == mapped {
				rule = "must be public" // a mapped address is dialed as the one it holds
			}
			count++
			w := newWorld(t, map[string][][]string{"evil.example.com": {{a}}}, Config{})
			w.expectRefused(t, "http://evil.example.com/", rule)
			w.expectRefused(t, "https://evil.example.com:8443/", rule)
			if let := w.let(); len(let) > 0 {
				t.Errorf("the guard let %v through", let)
			}
		}
	}
	if count < 40 {
		t.Errorf("only %d addresses were tried", count)
	}
}

func TestRebinding(t *testing.T) {
	t.Parallel()
	var hits int
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	defer inside.Close()
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	for name, answers := range map[string][][]string{
		"public when it is looked at, inside when it is called": {{"93.184.216.34"}, {"127.0.0.1"}},
		"public and inside in one answer":                       {{"93.184.216.34", "127.0.0.1"}},
		"inside and public in one answer":                       {{"127.0.0.1", "93.184.216.34"}},
		"public by IPv4, inside by IPv6":                        {{"93.184.216.34", "::1"}},
		"inside by IPv4, public by IPv6":                        {{"127.0.0.1", "2606:4700::1111"}},
	} {
		w := newWorld(t, map[string][][]string{"rebind.example.com": answers}, Config{})
		for range 3 {
			if err := w.send(t, "http://rebind.example.com:"+port+"/"); err == nil {
				t.Errorf("%s: was sent", name)
			}
		}
		for _, a := range w.let() {
			if a.Addr().IsLoopback() || a.Addr().IsPrivate() {
				t.Errorf("%s: the guard let %s through", name, a)
			}
		}
	}
	if hits > 0 {
		t.Errorf("the server inside was called %d times", hits)
	}
}

// TestRedirectsAreNotFollowed, neither inside nor out: they are the answer.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var hits int
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits++ }))
	defer inside.Close()
	for _, code := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{inside.URL, "http://169.254.169.254/", "/again", "//127.0.0.1/", "file:///etc/passwd", "http://hooks.example.com/"} {
			first := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Location", to)
				rw.WriteHeader(code)
			}))
			w := newWorld(t, nil, Config{Admit: loopbacks})
			for _, do := range []func(*http.Request) (*http.Response, error){w.Do, w.HTTP().Do} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, first.URL, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := do(req)
				if err != nil || resp.StatusCode != code {
					t.Fatalf("%d to %s: %v", code, to, err)
				}
				resp.Body.Close()
			}
			if len(w.let()) != 2 {
				t.Errorf("%d to %s: connected to %v", code, to, w.let())
			}
			first.Close()
		}
	}
	if hits > 0 {
		t.Errorf("a redirect was followed %d times", hits)
	}
}

// TestNoProxyIsUsed: a proxy would resolve and connect in the guard's place.
func TestNoProxyIsUsed(t *testing.T) {
	for _, v := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(v, "http://127.0.0.1:3128")
	}
	w := newWorld(t, map[string][][]string{"hooks.example.com": {{"93.184.216.34"}}}, Config{})
	for _, scheme := range []string{"http", "https"} {
		if err := w.send(t, scheme+"://hooks.example.com/"); !errors.Is(err, errStopped) {
			t.Errorf("%s: %v", scheme, err)
		}
	}
	if got := w.let(); len(got) != 2 || got[0].Addr() != netip.MustParseAddr("93.184.216.34") {
		t.Errorf("connected to %v", got)
	}
}

var loopbacks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func TestAdmittedNetworksAreNotAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, Config{Admit: loopbacks})
	for u, want := range map[string]bool{
		"http://127.0.0.1:8080/": true, "http://[::1]:8080/": true, "http://10.0.0.1/": false, "http://localhost/": false, "http://169.254.169.254/": false, "http://[fe80::1]/": false,
	} {
		if err := w.CheckURL(u); (err == nil) != want {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// TestNoNetworkIsAdmittedWithMetadata: whoever admits the network around it has
// not thought of it.
func TestNoNetworkIsAdmittedWithMetadata(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, Config{Admit: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
	for _, u := range append(tricks[metadata], "http://[::ffff:169.254.169.254]/") {
		if w.CheckURL(u) == nil {
			t.Errorf("%s may be saved", u)
		}
		if w.send(t, u) == nil {
			t.Errorf("%s is sent to", u)
		}
	}
	if err := w.CheckURL("http://10.0.0.1/"); err != nil || len(w.let()) > 0 {
		t.Errorf("a private address: %v; connected to %v", err, w.let())
	}
}

func (w *world) send(t *testing.T, url string) error {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// FuzzCheckURL: what may be saved has one meaning, and that is a public one.
func FuzzCheckURL(f *testing.F) {
	for _, urls := range tricks {
		for _, u := range urls {
			f.Add(u)
		}
	}
	for _, h := range honest {
		f.Add(h.url)
	}
	c := New(Config{})
	f.Fuzz(func(t *testing.T, raw string) {
		err := c.CheckURL(raw)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "must ") || len(raw) > 12 && strings.Contains(err.Error(), raw) {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.User != nil || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(raw, "\\#\r\n\t ") {
			t.Fatalf("%q may be saved: %v", raw, err)
		}
		if a, ok := loosely(u.Hostname()); ok && (!a.IsGlobalUnicast() || a.IsPrivate()) {
			t.Errorf("%q may be saved, and C's resolver takes it for %s", raw, a)
		}
	})
}

// loosely reads an IPv4 address like C's inet_aton: of one to four parts, each
// decimal, octal or hexadecimal, the last filling the rest.
func loosely(host string) (netip.Addr, bool) {
	parts := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 0, 64)
		if err != nil {
			if n, err = strconv.ParseUint(p, 10, 64); err != nil {
				return netip.Addr{}, false
			}
		}
		if i == len(parts)-1 {
			v |= n & 0xffffffff
		} else {
			v |= (n & 0xff) << (24 - 8*i)
		}
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}
