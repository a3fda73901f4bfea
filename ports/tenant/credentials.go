package tenant

import (
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Reader makes of the credentials that people have the kubeconfigs that Connect
// takes. It sends nothing. What would run programs, read files or send the
// platform's own credentials somewhere is refused; every refusal is
// fault.Invalid, code kubeconfig_invalid, and holds none of what it was given.
type Reader interface {
	// Contexts returns a kubeconfig of its own for each context of one, by name.
	// Those that are refused say so in Refused, so that the others can be used.
	Contexts(kubeconfig secret.Text) ([]Context, error)
	// WithToken is about an API server, its authority in PEM, or empty for one
	// that the system trusts, and a bearer token.
	WithToken(server string, ca string, token secret.Text) (Context, error)
	// InCluster is about the cluster that the process itself runs in; fault.Conflict,
	// code not_in_cluster, where it runs in none.
	InCluster() (Context, error)
}

// Guests lead into clusters that others run. Their addresses were chosen by
// somebody: Connect refuses to dial those that nobody may choose.
type Guests interface {
	Connector
	Reader
}

// Context is a way into one cluster.
type Context struct {
	Name       string // of the kubeconfig's context; empty where there is none
	Current    bool   // it is the kubeconfig's current one
	Server     string // "https://host:port"
	Kubeconfig secret.Text
	Refused    error      // why it cannot be used; then it has no more than a Name
	ExpiresAt  *time.Time // of the client certificate or the token, where it says so
}
