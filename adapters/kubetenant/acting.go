package kubetenant

import (
	"context"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/transport"

	"github.com/kubebyon/kubebyon/ports/tenant"
)

// rememberRights is how long the cluster's word on what the credential may do
// is taken for.
const rememberRights = 10 * time.Minute

const masters = "system:masters"

// acting sends requests in the name of the person that their context tells,
// where the credential may do that.
type acting struct {
	next http.RoundTripper
	may  func(context.Context) (bool, error)
}

// RoundTrip leaves the request itself as it is.
func (a acting) RoundTrip(r *http.Request) (*http.Response, error) {
	user := tenant.Acting(r.Context())
	if user == "" {
		return a.next.RoundTrip(r)
	}
	may, err := a.may(r.Context())
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	if may {
		r = r.Clone(r.Context())
		for name := range r.Header {
			if strings.HasPrefix(name, "Impersonate-") { // or one would be two people
				r.Header.Del(name)
			}
		}
		r.Header.Set(transport.ImpersonateUserHeader, user)
		r.Header.Set(transport.ImpersonateGroupHeader, masters)
	}
	return a.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client reach what it would without acting.
func (a acting) CloseIdleConnections() {
	if c, ok := a.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// rights are what the credential may do, as far as it is known.
type rights struct {
	turn  chan struct{} // whoever asks; the others wait
	may   bool
	until time.Time
}

// mayAct asks whether the credential may act for others. A cluster that does
// not say so has said no.
func (t *cluster) mayAct(ctx context.Context) (bool, error) {
	select {
	case t.rights.turn <- struct{}{}:
		defer func() { <-t.rights.turn }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if t.config.Now().Before(t.rights.until) {
		return t.rights.may, nil
	}
	ctx = tenant.ActingFor(ctx, "") // this is the platform's own question
	may := true
	for _, about := range []map[string]any{
		{"verb": "impersonate", "resource": "users"},
		{"verb": "impersonate", "resource": "groups", "name": masters},
	} {
		allowed, err := t.allowed(ctx, about)
		if err != nil {
			return false, err
		}
		may = may && allowed
	}
	t.rights.may, t.rights.until = may, t.config.Now().Add(rememberRights)
	return may, nil
}
