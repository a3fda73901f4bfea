package memtenant

import (
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Reader takes a kubeconfig for a list of contexts, a line each: its name, its
// server and anything else. The first is the current one.
type Reader struct {
	// Inside is the kubeconfig of the cluster that the process runs in; empty: it
	// runs in none.
	Inside secret.Text
}

var _ tenant.Reader = Reader{}

// Guests are tenants in memory that others run.
type Guests struct {
	*Connector
	Reader
}

// Contexts refuses a context whose line has no server.
func (r Reader) Contexts(kubeconfig secret.Text) (out []tenant.Context, err error) {
	for line := range strings.Lines(kubeconfig.Reveal()) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		c := tenant.Context{Name: fields[0], Current: len(out) == 0}
		if len(fields) == 1 {
			c.Refused = invalid()
		} else {
			c.Server, c.Kubeconfig = fields[1], secret.New(strings.TrimSpace(line))
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, invalid()
	}
	return out, nil
}

func invalid() error {
	return fault.Invalid.New("kubeconfig_invalid", "This is no kubeconfig.")
}

// WithToken refuses a server without a scheme.
func (r Reader) WithToken(server, ca string, token secret.Text) (tenant.Context, error) {
	if !strings.HasPrefix(server, "https://") || token.IsZero() {
		return tenant.Context{}, invalid()
	}
	return tenant.Context{Current: true, Server: server, Kubeconfig: secret.New("token " + server + " " + token.Reveal() + " " + ca)}, nil
}

// InCluster returns Inside.
func (r Reader) InCluster() (tenant.Context, error) {
	if r.Inside.IsZero() {
		return tenant.Context{}, fault.Conflict.New("not_in_cluster", "This server does not run in a Kubernetes cluster.")
	}
	return tenant.Context{Current: true, Server: "https://inside", Kubeconfig: r.Inside}, nil
}
