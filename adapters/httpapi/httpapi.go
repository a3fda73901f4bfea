// Package httpapi serves the domain over HTTP and describes itself as OpenAPI.
// It puts the parts together: edge (what every request passes), session (who
// asks), operation and problem (how operations behave and fail), and console
// (the operations). Handlers translate; they decide nothing.
package httpapi

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/kubebyon/kubebyon/adapters/httpapi/console"
	"github.com/kubebyon/kubebyon/adapters/httpapi/docs"
	"github.com/kubebyon/kubebyon/adapters/httpapi/edge"
	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
)

// Services are what the API exposes.
type Services = console.Services

// Observer is told of requests and their answers.
type Observer = edge.Observer

// Limit is how often something may be done by one client.
type Limit = edge.Limit

// Version says what is running.
type Version struct {
	Version   string `json:"version" example:"v1.0.0"`
	Commit    string `json:"commit" example:"5eef906"`
	GoVersion string `json:"go_version" example:"go1.26.8"`
	Backend   string `json:"backend" doc:"What runs the control planes." example:"dev"`
}

// Config is how the API behaves at the edge. The zero value is that of a server
// without a proxy in front of it.
type Config struct {
	PublicBaseURL      string         // where people reach the API; empty: where each request reached it
	JoinBaseURL        string         // where machines do; empty: the public one
	BaseURLs           BaseURLs       // the two above as they are now; nil: they stay
	CORSAllowedOrigins []string       // web sites that may use the API with a cookie; "*": any may without one
	TrustedProxyCIDRs  []netip.Prefix // proxies whose word on the client's address is taken
	JoinLimit          Limit          // for one client; default: 5 at once, then one every 3 s
	AuthLimit          Limit          // for one client and call; default: 5 at once, then one every 30 s
	NodeMirror         string         // where joining machines get Kubernetes from; empty: https://dl.k8s.io/release
	Version            Version

	Log    *slog.Logger         // nil: nowhere
	Now    func() time.Time     // nil: the system's clock
	Random func(b []byte) error // unpredictable bytes; nil: the system's
	Begin  Observer             // is told of every request and its answer; nil: nobody is
	// Ready says of each thing that the server needs whether it is there.
	Ready func(ctx context.Context) map[string]error
}

// BaseURLs says where people and machines reach the API, each empty as in Config.
// It is asked with every request that needs one, so it must be quick.
type BaseURLs = console.BaseURLs

// Server serves the API. It is an http.Handler.
type Server struct {
	router   chi.Router
	api      huma.API
	dialects map[string]huma.API
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// API describes what is served.
func (s *Server) API() huma.API { return s.api }

// New refuses a configuration that cannot be meant.
func New(c Config, s Services) (*Server, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	origins, err := edge.NewOrigins(c.CORSAllowedOrigins, c.BaseURLs.Public)
	if err != nil {
		return nil, err
	}
	join, err := edge.NewLimiter(c.JoinLimit, c.Now)
	if err != nil {
		return nil, err
	}
	auth, err := edge.NewLimiter(c.AuthLimit, c.Now)
	if err != nil {
		return nil, err
	}
	mail, err := edge.NewLimiter(mailLimit(c.AuthLimit), c.Now)
	if err != nil {
		return nil, err
	}
	door := edge.Door{Log: c.Log, Now: c.Now, Random: c.Random, Proxies: c.TrustedProxyCIDRs, Begin: c.Begin}
	router := chi.NewRouter()
	router.Use(door.Middleware, origins.CORS, middleware.GetHead)
	router.NotFound(notFound)
	router.MethodNotAllowed(methodNotAllowed(router))

	api := operation.New(router, c.Log, describe())
	keeper := session.Keeper{Identity: s.Identity, Origins: origins, AlwaysSecure: c.BaseURLs.Secure}
	api.Authenticate = keeper.Authenticate(api)
	registerSystem(api, c)
	console.Register(api, console.Config{
		BaseURLs: c.BaseURLs, NodeMirror: c.NodeMirror, JoinLimit: join, AuthLimit: auth, MailLimit: mail, Now: c.Now,
	}, s, keeper)
	dialects := registerDialects(router, c.Log, keeper, s)
	openAnswers(api.OpenAPI())
	serveDocument(router, api)
	router.Get(console.AvatarRoute, console.Avatars(s.Identity, c.Log))
	router.Mount("/docs", withProblems(docs.Handler("/openapi.json")))
	return &Server{router, api, dialects}, nil
}

// mailLimit is how many codes go to one address, whoever asks for them: a
// mailbox is not to be flooded, and each code is good for some tries.
func mailLimit(auth Limit) Limit {
	return Limit{Window: 10 * time.Minute, Burst: 5, MaxEntries: auth.MaxEntries}
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = func(b []byte) error { _, err := rand.Read(b); return err }
	}
	if c.Ready == nil {
		c.Ready = func(context.Context) map[string]error { return nil }
	}
	c.JoinLimit = c.JoinLimit.Or(Limit{Window: 3 * time.Second, Burst: 5, MaxEntries: 10000})
	c.AuthLimit = c.AuthLimit.Or(Limit{Window: 30 * time.Second, Burst: 5, MaxEntries: 5000})
	c.PublicBaseURL = strings.TrimRight(c.PublicBaseURL, "/")
	c.JoinBaseURL = strings.TrimRight(c.JoinBaseURL, "/")
	if c.BaseURLs == nil {
		public, join := c.PublicBaseURL, c.JoinBaseURL
		c.BaseURLs = func(context.Context) (string, string) { return public, join }
	}
	return c
}

// check looks at what ends up in commands that people paste into a root shell.
func (c Config) check() error {
	for name, base := range map[string]string{"public base URL": c.PublicBaseURL, "join base URL": c.JoinBaseURL, "node mirror": c.NodeMirror} {
		if base != "" && !joinscript.IsURL(base) {
			return fmt.Errorf("%s: must be like https://kubebyon.example.com", name)
		}
	}
	return nil
}
