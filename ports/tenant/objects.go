package tenant

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Objects is what people do to the objects of a cluster. A name, a namespace
// or a kind that the cluster does not have fails with fault.NotFound, code
// object_not_found or kind_not_found; what the cluster does not allow with
// fault.Denied, code object_forbidden.
type Objects interface {
	// List returns a part of the objects of a kind, and how many there are. What
	// it holds in memory depends on the query, not on the cluster. A selector
	// that is none fails with fault.Invalid, code selector_invalid.
	List(ctx context.Context, k Kind, q Query) (Page, error)
	Get(ctx context.Context, k Kind, namespace, name string) (Object, error)
	// Create fails with fault.Conflict, code object_exists, or fault.Invalid, code
	// object_invalid, which says what the cluster says.
	Create(ctx context.Context, k Kind, namespace string, o Object) (Object, error)
	// Replace fails with fault.Conflict, code object_stale, when o has the
	// resourceVersion of an object that has changed since.
	Replace(ctx context.Context, k Kind, namespace, name string, o Object) (Object, error)
	// Patch applies a JSON merge patch (RFC 7396); stale as for Replace.
	Patch(ctx context.Context, k Kind, namespace, name string, patch Object) (Object, error)
	Delete(ctx context.Context, k Kind, namespace, name string, o DeleteOptions) error
	Streams
}

// Streams are what lasts longer than a call.
type Streams interface {
	// Logs reads what a container has written. Whoever gets it closes it. The end
	// of ctx ends it; without Follow it has a bounded length.
	Logs(ctx context.Context, q LogQuery) (io.ReadCloser, error)
	// Passage is for handing requests on as they are: where the cluster's API is,
	// and what signs in there. It takes nothing away from a request, and heeds
	// ActingFor of its context.
	Passage(ctx context.Context) (base *url.URL, rt http.RoundTripper, err error)
}

// Kind names a kind of object as the API's paths do.
type Kind struct {
	Group, Version, Resource string // "apps", "v1", "deployments"
	Namespaced               bool
}

// Object is a Kubernetes object as its API's JSON shows it, numbers as int64 or
// float64. Objects are shared: whoever reads one does not change it.
type Object map[string]any

// Name returns metadata.name.
func (o Object) Name() string { return o.metadata("name") }

// Namespace returns metadata.namespace, empty for what is in none.
func (o Object) Namespace() string { return o.metadata("namespace") }

func (o Object) metadata(key string) string {
	s, _ := o.Metadata()[key].(string)
	return s
}

// Metadata returns the object's metadata, nil when it has none.
func (o Object) Metadata() map[string]any {
	m, _ := o["metadata"].(map[string]any)
	return m
}

// Query says which objects to list.
type Query struct {
	Namespace      string // empty: of all
	Labels, Fields string // Kubernetes' selectors
	Keep           func(Object) bool
	// Order; nil: as "namespace/name" sorts, which is how API servers list, and
	// much cheaper with Keep nil as well.
	Order         func(a, b Object) int
	Offset, Limit int // of what is kept; no Limit: they are only counted
}

// MaxReach is how far into a list a query may reach: what Offset and Limit may
// add up to. More fails with fault.Invalid, code list_too_long.
const MaxReach = 50_000

// Page is a part of a list.
type Page struct {
	Items []Object
	Total int
}

// DeleteOptions say how an object goes. What depends on it goes as well:
// afterwards, or, with Foreground, before.
type DeleteOptions struct {
	GracePeriod *time.Duration // nil: the object's own
	Foreground  bool
}

// LogQuery says what to read of a container's log.
type LogQuery struct {
	Namespace, Pod string
	Container      string // may be empty where a pod has one
	TailLines      int64  // zero: all
	Since          time.Duration
	Previous       bool // of the container that ran before
	Timestamps     bool
	Follow         bool
}

type actingKey struct{}

// ActingFor says for whom calls with the context are made. Where the credential
// allows it, they are sent in that person's name, so that the cluster's own
// audit tells it, with the rights of an administrator: what people may do is
// for the core to say.
func ActingFor(ctx context.Context, user string) context.Context {
	user = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1 // it would end a header
		}
		return r
	}, user)
	return context.WithValue(ctx, actingKey{}, user)
}

// Acting returns for whom a call is made; empty: for the platform itself.
func Acting(ctx context.Context) string {
	user, _ := ctx.Value(actingKey{}).(string)
	return user
}
