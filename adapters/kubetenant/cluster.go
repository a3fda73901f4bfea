package kubetenant

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	certificatesclient "k8s.io/client-go/kubernetes/typed/certificates/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	rbacclient "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/rate"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// fieldManager signs what the platform writes into tenants.
const fieldManager = "kubebyon"

const protobuf = "application/vnd.kubernetes.protobuf"

// cluster is one tenant: the few typed clients that are needed of it, over
// connections of its own. (client-go's transport cache is for the whole
// process, never shrinks by itself, and takes its health checks from the
// environment.)
type cluster struct {
	config      Config
	log         *slog.Logger
	fingerprint [sha256.Size]byte

	core  coreclient.CoreV1Interface
	rbac  rbacclient.RbacV1Interface
	certs certificatesclient.CertificatesV1Interface
	// objects is for any kind, as JSON.
	objects *rest.RESTClient
	passage http.RoundTripper
	rights  rights

	server    string       // https://…
	anonymous *http.Client // trusts the same server, says nothing of who asks
	own       []*http.Transport
	flow      *flow

	mu    sync.Mutex
	calls int
	used  time.Time
}

var _ tenant.Tenant = (*cluster)(nil)

func (c Config) open(of id.Cluster, kubeconfig secret.Text) (*cluster, error) {
	to, err := parse(kubeconfig)
	if err != nil {
		return nil, err
	}
	to.UserAgent = fieldManager
	to.WarningHandler = rest.NoWarnings{}
	to.RateLimiter = patient{flowcontrol.NewTokenBucketRateLimiter(c.QPS, c.Burst)}
	to.ContentType = protobuf
	to.AcceptContentTypes = to.ContentType + ",application/json"
	t := &cluster{config: c, log: c.Log.With("cluster", of.String()), server: to.Host, rights: rights{turn: make(chan struct{}, 1)}}
	t.flow = &flow{bucket: rate.New(c.BytesAtOnce, c.BytesPerSecond), now: c.Now}
	if err := t.dial(to); err != nil {
		return nil, invalidKubeconfig("The kubeconfig cannot be used to connect.")
	}
	return t, nil
}

// patient waits until its caller's time is over, where the limiter would give up
// at once because it foresees that: what has run out of time then says so.
type patient struct{ flowcontrol.RateLimiter }

func (p patient) Wait(ctx context.Context) error {
	err := p.RateLimiter.Wait(ctx)
	if _, limited := ctx.Deadline(); err != nil && limited {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// dial makes the clients; nothing is sent yet.
func (t *cluster) dial(to *rest.Config) error {
	known, err := t.transport(to)
	if err != nil {
		return err
	}
	authenticated, err := rest.HTTPWrappersForConfig(to, acting{known, t.mayAct})
	if err != nil {
		return err
	}
	if err := t.dialPassage(to); err != nil {
		return err
	}
	unknown, err := t.transport(rest.AnonymousClientConfig(to))
	if err != nil {
		return err
	}
	t.anonymous = &http.Client{Transport: unknown, CheckRedirect: noRedirects}
	client := &http.Client{Transport: authenticated, CheckRedirect: noRedirects}
	if t.core, err = coreclient.NewForConfigAndClient(to, client); err != nil {
		return err
	}
	if t.rbac, err = rbacclient.NewForConfigAndClient(to, client); err != nil {
		return err
	}
	if t.certs, err = certificatesclient.NewForConfigAndClient(to, client); err != nil {
		return err
	}
	asJSON := rest.CopyConfig(to)
	asJSON.ContentType, asJSON.AcceptContentTypes = "application/json", "application/json"
	asJSON.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	asJSON.GroupVersion = &schema.GroupVersion{}
	t.objects, err = rest.UnversionedRESTClientForConfigAndClient(asJSON, client)
	return err
}

// maxPassing is how many requests pass to a tenant at a time, those that last
// among them.
const maxPassing = 1000

func (t *cluster) dialPassage(to *rest.Config) error {
	own, err := t.connections(to)
	if err != nil {
		return err
	}
	own.ForceAttemptHTTP2, own.HTTP2 = false, nil
	own.TLSClientConfig.NextProtos = []string{"http/1.1"}
	own.DisableCompression = true
	own.MaxIdleConnsPerHost, own.MaxConnsPerHost = 32, maxPassing
	own.ResponseHeaderTimeout = t.config.CallTimeout
	plain := rest.CopyConfig(to)
	plain.UserAgent = "" // the caller's own
	t.passage, err = rest.HTTPWrappersForConfig(plain, acting{own, t.mayAct})
	return err
}

// noRedirects: a tenant may not send the platform, and its credentials,
// elsewhere.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (t *cluster) transport(to *rest.Config) (http.RoundTripper, error) {
	own, err := t.connections(to)
	if err != nil {
		return nil, err
	}
	return bounds{own, t.config, t.flow}, nil
}

func (t *cluster) connections(to *rest.Config) (*http.Transport, error) {
	trust, err := rest.TLSConfigFor(to)
	if err != nil {
		return nil, err
	}
	if trust == nil { // the system's authorities
		trust = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	dialer := &net.Dialer{Timeout: t.config.DialTimeout, Control: t.config.Control, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: t.config.PingAfter, Interval: t.config.PingTimeout / 2, Count: 2,
	}}
	own := &http.Transport{
		Proxy:               http.ProxyFromEnvironment, // which leaves loopback alone
		DialContext:         dialer.DialContext,
		TLSClientConfig:     trust,
		TLSHandshakeTimeout: t.config.DialTimeout,
		IdleConnTimeout:     time.Minute,
		ForceAttemptHTTP2:   true,
		// Headers are kept whole.
		MaxResponseHeaderBytes: 64 << 10,
		// All requests share a connection, and a watch may be silent for hours:
		// without pings a dead one would look like a quiet one.
		HTTP2: &http.HTTP2Config{SendPingTimeout: t.config.PingAfter, PingTimeout: t.config.PingTimeout},
	}
	t.own = append(t.own, own)
	return own, nil
}

// release closes what is idle now; what is in use closes when it has been idle
// for a while.
func (t *cluster) release() {
	for _, own := range t.own {
		own.CloseIdleConnections()
	}
}

func (t *cluster) touch() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used = t.config.Now()
}

// hold marks the tenant as in use until the function that it returns is called.
func (t *cluster) hold() (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.calls--
		t.used = t.config.Now()
	}
}

func (t *cluster) lastUsed() (at time.Time, busy bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used, t.calls > 0
}

// call runs one request within its time and says in words why it failed.
func (t *cluster) call(ctx context.Context, step string, request func(context.Context) error) error {
	defer t.hold()()
	limited, cancel := context.WithTimeout(quiet(ctx), t.config.CallTimeout)
	defer cancel()
	return explain(ctx, step, request(limited))
}

// quiet keeps client-go from writing to standard error what it returns as well.
func quiet(ctx context.Context) context.Context { return klog.NewContext(ctx, logr.Discard()) }
