package main

import (
	"runtime"
	"time"

	"github.com/spf13/pflag"

	"github.com/kubebyon/kubebyon/adapters/httpapi"
	"github.com/kubebyon/kubebyon/app"
)

// httpFlags say how the API behaves at the edge.
type httpFlags struct {
	addr        string
	metricsAddr string
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
	count(fs, &l.window, name+"-rate-limit-window-seconds", window, "seconds after which one more "+what+" is allowed")
	count(fs, &l.burst, name+"-rate-limit-burst", burst, "how many "+what+"s at once are allowed")
	count(fs, &l.entries, name+"-rate-limit-max-entries", entries, "how many addresses the limit remembers")
}

func (l *limitFlags) limit() httpapi.Limit {
	return httpapi.Limit{Window: time.Duration(l.window) * time.Second, Burst: l.burst, MaxEntries: l.entries}
}

func (f *httpFlags) register(fs *pflag.FlagSet, addr string) {
	address(fs, &f.addr, "http-addr", addr, "where the API listens")
	address(fs, &f.metricsAddr, "metrics-addr", "", "where Prometheus metrics are served; empty: nowhere")
	baseURL(fs, &f.publicURL, "public-base-url", "the URL under which people reach the API; empty: that of each request")
	baseURL(fs, &f.joinURL, "join-base-url", "the URL in join commands; empty: the public one")
	fs.Var((*origins)(&f.origins), "cors-allowed-origins", "comma-separated origins of consoles elsewhere that may use the API with a cookie")
	fs.Var(&f.proxies, "trusted-proxy-cidrs", "networks of the proxies whose X-Forwarded-For is believed")
	count(fs, &f.connections, "max-connections", 4096, "how many connections may be open at once; one client may have a quarter of them")
	f.join.register(fs, "join", "join script", 3, 5, 10000)
	f.auth.register(fs, "auth", "sign-in", 30, 5, 5000)
	baseURL(fs, &f.mirror, "node-mirror", "where joining machines get Kubernetes from; empty: https://dl.k8s.io/release")
}

func (f *httpFlags) limits() httpapi.Limits {
	return httpapi.Limits{Connections: f.connections, Proxies: f.proxies}
}

func (f *httpFlags) config(backend string, m *metricsServer) httpapi.Config {
	return httpapi.Config{
		PublicBaseURL: f.publicURL, JoinBaseURL: f.joinURL, CORSAllowedOrigins: f.origins, TrustedProxyCIDRs: f.proxies,
		JoinLimit: f.join.limit(), AuthLimit: f.auth.limit(), NodeMirror: f.mirror, Observe: m.observe(),
		Version: httpapi.Version{Version: version, Commit: commit, GoVersion: runtime.Version(), Backend: backend},
	}
}

// jobFlags say how work on clusters is done.
type jobFlags struct{ concurrency, lease, attempts, deadline, perUser int }

func (j *jobFlags) register(fs *pflag.FlagSet) {
	count(fs, &j.concurrency, "worker-concurrency", 4, "how many clusters are worked on at once")
	count(fs, &j.lease, "job-lease-seconds", 60, "after how long without news a job is taken from its worker")
	count(fs, &j.attempts, "job-max-attempts", 8, "how often a job is tried after passing errors")
	count(fs, &j.deadline, "job-deadline-seconds", 300, "how long one try may take; a control plane that is not ready by then is in error")
	count(fs, &j.perUser, "max-clusters-per-user", 50, "how many clusters a user may have; admins have no limit")
}

func (j *jobFlags) apply(c *app.Config) {
	c.WorkerConcurrency, c.JobMaxAttempts, c.MaxClustersPerUser = j.concurrency, j.attempts, j.perUser
	c.JobLease, c.JobDeadline = time.Duration(j.lease)*time.Second, time.Duration(j.deadline)*time.Second
}
