// Package console speaks the console API: what people, the web console and
// scripts do with their clusters, tokens and nodes, and what a machine asks for
// to join. Handlers translate between HTTP and the core; they decide nothing.
package console

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/metering"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/core/overview"
	"github.com/kubebyon/kubebyon/core/tokens"
)

// Services are what the console API exposes.
type Services struct {
	Identity *identity.Service
	Clusters *clusters.Service
	Tokens   *tokens.Service
	Nodes    *nodes.Service
	Overview *overview.Service
	Metering *metering.Service
}

// Config is how the console API behaves.
type Config struct {
	PublicBaseURL string // where people reach the API; empty: where the request reached it
	JoinBaseURL   string // where machines do; empty: the public one
	NodeMirror    string // where machines get Kubernetes from; empty: the default
	JoinLimit     *edge.Limiter
	AuthLimit     *edge.Limiter
	Now           func() time.Time
}

// console holds what the handlers need.
type console struct {
	Config
	Services
	api     operation.API
	keeper  session.Keeper
	guesses *guesses // of passwords
}

// Register adds the console API's operations to api.
func Register(api operation.API, c Config, s Services, keeper session.Keeper) {
	h := console{Config: c, Services: s, api: api, keeper: keeper, guesses: newGuesses()}
	h.registerAuth()
	h.registerMe()
	h.registerClusters()
	h.registerKubeconfig()
	h.registerOperations()
	h.registerJobs()
	h.registerMetrics()
	h.registerTokens()
	h.registerJoin()
	h.registerNodes()
	h.registerNodeEvents()
	h.registerOverview()
}

// joinBase is what join commands begin with.
func (h console) joinBase(ctx context.Context) (string, error) {
	for _, base := range []string{h.JoinBaseURL, h.PublicBaseURL, edge.Of(ctx).Origin} {
		if base != "" && joinscript.IsURL(base) {
			return base, nil
		}
	}
	return "", problem.Invalid("header.Host", "must be a host name or an address, with or without a port")
}

// limited refuses an operation that one client asks for too often.
func (h console) limited(l *edge.Limiter) operation.Middleware {
	return func(ctx huma.Context, next func(huma.Context)) {
		if err := l.Take(ctx.Context(), scope(ctx)+edge.ClientKey(ctx.Context())); err != nil {
			h.api.Refuse(ctx, err)
			return
		}
		next(ctx)
	}
}

// scope tells the calls apart that are counted apart. Asking for a join script
// is one thing, whichever path and method it is asked by.
func scope(ctx huma.Context) string {
	if ctx.Operation().Tags[0] == tagJoin {
		return "join "
	}
	return ctx.Operation().OperationID + " "
}

const (
	tagAuth     = "Auth"
	tagAccount  = "Account"
	tagClusters = "Clusters"
	tagTokens   = "Join tokens"
	tagJoin     = "Joining"
	tagNodes    = "Nodes"
	tagOverview = "Overview"
)

// Tags are the groups of operations, in the order in which they are read.
func Tags() []*huma.Tag {
	return []*huma.Tag{
		{Name: tagAuth, Description: "Sign in and out."},
		{Name: tagAccount, Description: "One's own account."},
		{Name: tagClusters, Description: "Hosted control planes: each is a Kubernetes cluster of its own."},
		{Name: tagTokens, Description: "One-time tokens with which a machine joins a cluster."},
		{Name: tagJoin, Description: "What a machine asks for to join. These calls need no account, only a join token."},
		{Name: tagNodes, Description: "The machines in the clusters."},
		{Name: tagOverview, Description: "How everything is, and what happened."},
	}
}

// orNull is text for clients, null where there is none.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// each turns every item of a list into what clients see. The result is never nil.
func each[A, B any](items []A, show func(A) B) []B {
	out := make([]B, 0, len(items))
	for _, item := range items {
		out = append(out, show(item))
	}
	return out
}

const noContent = http.StatusNoContent
