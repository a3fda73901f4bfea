package settings

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
)

// all are the settings that both the server and kubebyon dev have.
type all struct {
	http HTTP
	jobs Jobs
	log  Log
}

// FuzzSettings: a setting is refused without its text, or taken, shown, and
// then taken again as it was shown; and what all of them together say is a
// configuration that the server starts with.
func FuzzSettings(f *testing.F) {
	for _, s := range []string{
		"", "1", "0", "-1", "1000000001", "0x10", " 1", "99999999999999999999", ":8080", "127.0.0.1:65536", "[::1]:80", "a:b:c", ":http", "https://x", "https://x/", "https://x?y", "https://$(id)", "http://a_b", "https://[::1]:1/p",
		"*", "https://a,https://b", ",", "null", "10.0.0.0/8", "10.0.0.1/8, ::/0", "10.0.0.0/33", "fe80::%eth0/64", "debug", "DEBUG+4", "\xff", "a\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range []string{
			"http-addr", "metrics-addr", "public-base-url", "join-base-url", "node-mirror", "cors-allowed-origins", "trusted-proxy-cidrs", "max-connections",
			"join-rate-limit-burst", "auth-rate-limit-window-seconds", "worker-concurrency", "log-level", "log-format",
		} {
			o := new(all)
			fs := pflag.NewFlagSet("", pflag.ContinueOnError)
			o.http.Register(fs, ":8080")
			o.jobs.Register(fs)
			o.log.Register(fs)
			flag := fs.Lookup(name)
			if err := flag.Value.Set(text); err != nil {
				continue
			}
			shown := flag.Value.String()
			if err := flag.Value.Set(shown); shown != "" && (err != nil || flag.Value.String() != shown) {
				t.Errorf("%s %q is shown as %q, which is taken as %q: %v", name, text, shown, flag.Value.String(), err)
			}
			checkSettings(t, o)
			if kind := flag.Value.Type(); text == "" || (kind != "url" && kind != "origins") {
				continue // to make a server takes long, and it looks at these
			}
			if _, err := httpapi.New(withoutLog(o.http.Config(httpapi.Version{})), httpapi.Services{}); err != nil {
				t.Errorf("%s %q was taken, and the server does not start with it: %v", name, text, err)
			}
		}
	})
}

func withoutLog(c httpapi.Config) httpapi.Config {
	c.Log = slog.New(slog.DiscardHandler)
	c.JoinLimit.MaxEntries, c.AuthLimit.MaxEntries = 10, 10 // a million would be made room for each time
	return c
}

func checkSettings(t *testing.T, o *all) {
	t.Helper()
	for _, n := range []int{o.http.connections, o.http.join.burst, o.http.auth.window, o.jobs.concurrency} {
		if n < 1 || n > 1_000_000_000 {
			t.Errorf("a number is %d", n)
		}
	}
	for _, addr := range []string{o.http.Addr, o.http.MetricsAddr} {
		if _, _, err := net.SplitHostPort(addr); addr != "" && err != nil {
			t.Errorf("the address is %q", addr)
		}
	}
	for _, url := range []string{o.http.publicURL, o.http.joinURL, o.http.mirror} {
		if strings.ContainsAny(url, " \r\n\t'\"`$;&|<>\\") {
			t.Errorf("the URL is %q", url)
		}
	}
	for _, n := range o.http.proxies {
		if !n.IsValid() || n == (netip.Prefix{}) {
			t.Errorf("the network is %v", n)
		}
	}
}
