package helmprovision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/flowcontrol"
)

// host is how this process speaks to the host cluster.
type host struct {
	config   *rest.Config         // for what ends by itself
	client   kubernetes.Interface // by config
	watching kubernetes.Interface // without a limit to how long a request may take
	discover discovery.CachedDiscoveryInterface
	mapper   meta.RESTMapper
	https    []*http.Client
}

// Requests to the host cluster that this process makes in a second.
const (
	requestsPerSecond = 100
	requestsAtOnce    = 200
)

func openHost(kubeconfig string, timeout time.Duration) (*host, error) {
	config, err := loadKubeconfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "kubebyon"
	config.WarningHandler = rest.NoWarnings{}
	config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(requestsPerSecond, requestsAtOnce)
	h := &host{}
	watching := rest.CopyConfig(config)
	watching.Wrap(func(next http.RoundTripper) http.RoundTripper { return patient{next} })
	if h.watching, err = h.clientFor(watching); err != nil {
		return nil, err
	}
	config.Timeout = timeout
	h.config = config
	if h.client, err = h.clientFor(config); err != nil {
		return nil, err
	}
	h.discover = memory.NewMemCacheClient(h.client.Discovery())
	h.mapper = restmapper.NewDeferredDiscoveryRESTMapper(h.discover)
	return h, nil
}

// checkKubeconfig refuses one that no host can be reached with, and asks none.
func checkKubeconfig(path string) error {
	config, err := loadKubeconfig(path)
	if err != nil {
		return err
	}
	if _, err := rest.TLSConfigFor(config); err != nil {
		return fmt.Errorf("%s: read the host cluster's kubeconfig: %w", kubeconfigVariable, err)
	}
	return nil
}

func (h *host) clientFor(config *rest.Config) (kubernetes.Interface, error) {
	https, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("%s: read the host cluster's kubeconfig: %w", kubeconfigVariable, err)
	}
	h.https = append(h.https, https)
	return kubernetes.NewForConfigAndClient(config, https)
}

// patient takes from a refused connection what client-go would know it by: its
// reflectors sleep up to half a minute after one, and see no context meanwhile,
// so that a process without its host would take as long to stop.
type patient struct{ next http.RoundTripper }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := p.next.RoundTrip(r)
	if utilnet.IsConnectionRefused(err) {
		err = errors.New(err.Error())
	}
	return answer, err
}

// WrappedRoundTripper is how idle connections are found.
func (p patient) WrappedRoundTripper() http.RoundTripper { return p.next }

// close gives up the connections that are idle.
func (h *host) close() {
	for _, c := range h.https {
		utilnet.CloseIdleConnectionsFor(c.Transport)
	}
}

func loadKubeconfig(path string) (*rest.Config, error) {
	if path == "" {
		config, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("this process runs in no Kubernetes cluster, and no kubeconfig of a host cluster is configured (KUBEBYON_KUBECONFIG_PATH)")
		}
		return config, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: read the host cluster's kubeconfig: %w", kubeconfigVariable, err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil { // the library's error may quote what it did not understand
		return nil, fmt.Errorf("%s: %s is no kubeconfig that kubectl would understand", kubeconfigVariable, path)
	}
	if _, _, err := rest.DefaultServerUrlFor(config); err != nil { // it quotes the address, in which there may be a password
		return nil, fmt.Errorf("%s: %s is no kubeconfig that kubectl would understand: its server must be like https://host:6443", kubeconfigVariable, path)
	}
	return config, nil
}

// lender lends Helm the host's clients, so that it does not discover what the
// cluster can do again for each operation.
type lender struct {
	host      *host
	namespace string
	grip      *grip // nil: for reading only
}

func (g lender) ToRESTConfig() (*rest.Config, error) {
	config := rest.CopyConfig(g.host.config)
	if g.grip != nil {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return guard{g.grip, next} })
	}
	return config, nil
}

func (g lender) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.host.discover, nil
}

func (g lender) ToRESTMapper() (meta.RESTMapper, error) { return g.host.mapper, nil }

func (g lender) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return clientcmd.NewDefaultClientConfig(*api.NewConfig(), &clientcmd.ConfigOverrides{Context: api.Context{Namespace: g.namespace}})
}

// answers asks the host cluster for a sign of life.
func (h *host) answers(ctx context.Context) error {
	return h.client.CoreV1().RESTClient().Get().AbsPath("/version").Do(ctx).Error()
}
