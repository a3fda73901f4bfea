package settings

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
)

// HTTP says how the API behaves at the edge.
type HTTP struct {
	Addr        string
	MetricsAddr string
	publicURL   string
	joinURL     string
	origins     []string
	proxies     prefixes
	join, auth  limitFlags
	mirror      string
	connections int
}

// limitFlags are one rate limit.
type limitFlags struct{ window, burst, entries int }

func (l *limitFlags) register(fs *pflag.FlagSet, name, what string, window, burst, entries int) {
	Count(fs, &l.window, name+"-rate-limit-window-seconds", window, "seconds after which one more "+what+" is allowed")
	Count(fs, &l.burst, name+"-rate-limit-burst", burst, "how many "+what+"s at once are allowed")
	Count(fs, &l.entries, name+"-rate-limit-max-entries", entries, "how many addresses the limit remembers")
}

func (l *limitFlags) limit() httpapi.Limit {
	return httpapi.Limit{Window: time.Duration(l.window) * time.Second, Burst: l.burst, MaxEntries: l.entries}
}

// Register adds the flags; addr is where to listen by default.
func (f *HTTP) Register(fs *pflag.FlagSet, addr string) {
	Address(fs, &f.Addr, "http-addr", addr, "where the API listens")
	Address(fs, &f.MetricsAddr, "metrics-addr", "", "where Prometheus metrics are served; empty: nowhere")
	BaseURL(fs, &f.publicURL, "public-base-url", "the URL under which people reach the API; empty: that of each request")
	BaseURL(fs, &f.joinURL, "join-base-url", "the URL in join commands; empty: the public one")
	fs.Var((*origins)(&f.origins), "cors-allowed-origins", "comma-separated origins of consoles elsewhere that may use the API with a cookie")
	fs.Var(&f.proxies, "trusted-proxy-cidrs", "networks of the proxies whose X-Forwarded-For is believed")
	Count(fs, &f.connections, "max-connections", 4096, "how many connections may be open at once; one client may have a quarter of them")
	f.join.register(fs, "join", "join script", 3, 5, 10000)
	f.auth.register(fs, "auth", "sign-in", 30, 5, 5000)
	BaseURL(fs, &f.mirror, "node-mirror", "where joining machines get Kubernetes from; empty: https://dl.k8s.io/release")
}

// Limits are those of a listener.
func (f *HTTP) Limits() httpapi.Limits {
	return httpapi.Limits{Connections: f.connections, Proxies: f.proxies}
}

// Config is that of the API.
func (f *HTTP) Config(v httpapi.Version) httpapi.Config {
	return httpapi.Config{
		PublicBaseURL: f.publicURL, JoinBaseURL: f.joinURL, CORSAllowedOrigins: f.origins, TrustedProxyCIDRs: f.proxies,
		JoinLimit: f.join.limit(), AuthLimit: f.auth.limit(), NodeMirror: f.mirror,
		Version: v,
	}
}
