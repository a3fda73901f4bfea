// Package console speaks the console API: what people, the web console and
// scripts do with their clusters, tokens and nodes, and what a machine asks for
// to join. Handlers translate between HTTP and the core; they decide nothing.
package console

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/picture"
	"github.com/kubebyon/kubebyon/adapters/httpapi/problem"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/fleet"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/metering"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/core/overview"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/core/tokens"
)

// Services are what the console API exposes.
type Services struct {
	Identity      *identity.Service
	Clusters      *clusters.Service
	Fleet         *fleet.Service
	Tokens        *tokens.Service
	Nodes         *nodes.Service
	Overview      *overview.Service
	Metering      *metering.Service
	Settings      *settings.Service
	Notifications *notifications.Service
}

// Config is how the console API behaves.
type Config struct {
	BaseURLs   BaseURLs
	NodeMirror string // where machines get Kubernetes from; empty: the default
	JoinLimit  *edge.Limiter
	AuthLimit  *edge.Limiter
	MailLimit  *edge.Limiter // for each address that codes are mailed to
	Now        func() time.Time
}

// console holds what the handlers need.
type console struct {
	Config
	Services
	api     operation.API
	keeper  session.Keeper
	guesses *guesses // of passwords
	studio  *picture.Studio
}

// Register adds the console API's operations to api.
func Register(api operation.API, c Config, s Services, keeper session.Keeper) {
	h := console{Config: c, Services: s, api: api, keeper: keeper, guesses: newGuesses(), studio: picture.NewStudio()}
	h.registerAuth()
	h.registerCodes()
	h.registerSSO()
	h.registerMe()
	h.registerAvatar()
	h.registerAPIKeys()
	h.registerClusters()
	h.registerKubeconfig()
	h.registerFleet()
	h.registerOperations()
	h.registerJobs()
	h.registerMetrics()
	h.registerTokens()
	h.registerJoin()
	h.registerNodes()
	h.registerNodeEvents()
	h.registerOverview()
	h.registerSettings()
	h.registerPreferences()
	h.registerAdminNotifications()
	h.registerAdminUsers()
}

// joinBase is what join commands begin with.
func (h console) joinBase(ctx context.Context) (string, error) {
	public, join := h.BaseURLs(ctx)
	for _, base := range []string{join, public, edge.Of(ctx).Origin} {
		if base = strings.TrimRight(base, "/"); base != "" && joinscript.IsURL(base) {
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
	tagFleet    = "Fleet"
	tagTokens   = "Join tokens"
	tagJoin     = "Joining"
	tagNodes    = "Nodes"
	tagOverview = "Overview"
	tagAdmin    = "Administration"
	tagUsers    = "Users"
)

// Tags are the groups of operations, in the order in which they are read.
func Tags() []*huma.Tag {
	return []*huma.Tag{
		{Name: tagAuth, Description: "Sign in and out."},
		{Name: tagAccount, Description: "One's own account."},
		{Name: tagClusters, Description: "Hosted control planes: each is a Kubernetes cluster of its own."},
		{Name: tagFleet, Description: "Every cluster that can be reached: hosted ones, and those that others run and somebody registered."},
		{Name: tagTokens, Description: "One-time tokens with which a machine joins a cluster."},
		{Name: tagJoin, Description: "What a machine asks for to join. These calls need no account, only a join token."},
		{Name: tagNodes, Description: "The machines in the clusters."},
		{Name: tagOverview, Description: "How everything is, and what happened."},
		{Name: tagAdmin, Description: "The installation itself, for administrators."},
		{Name: tagUsers, Description: "All accounts, for administrators."},
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
