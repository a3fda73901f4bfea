package plane

import (
	"context"
	"fmt"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/pki"
)

// masters is the group that may do everything, whatever RBAC says.
const masters = "system:masters"

// credentials are the keys and certificates of a tenant, as files in its directory.
type credentials struct {
	authority  *pki.Authority // signs servers, users and nodes
	frontProxy *pki.Authority // signs who may speak for others to extension API servers

	server, admin, kubelet, proxy pki.Pair

	signingKey        string
	controllerManager string // kubeconfig files
	scheduler         string
}

// keepCredentials makes what is missing, outdated or about to run out.
func keepCredentials(c Config) (*credentials, error) {
	dir := c.Dir.Path("pki")
	k := &credentials{signingKey: c.Dir.Path("pki", "sa.key")}
	var err error
	if k.authority, err = pki.KeepAuthority(dir, "ca", "kubernetes", c.Now); err != nil {
		return nil, err
	}
	// One authority for both would let every client certificate speak for any user.
	if k.frontProxy, err = pki.KeepAuthority(dir, "front-proxy-ca", "front-proxy-ca", c.Now); err != nil {
		return nil, err
	}
	if err = pki.KeepSigningKey(k.signingKey); err != nil {
		return nil, err
	}
	if err = k.keepServer(c); err != nil {
		return nil, err
	}
	if k.kubelet, err = k.authority.KeepClient("apiserver-kubelet-client", pki.Client{User: "kube-apiserver-kubelet-client", Groups: []string{masters}}); err != nil {
		return nil, err
	}
	if k.proxy, err = k.frontProxy.KeepClient("front-proxy-client", pki.Client{User: "front-proxy-client"}); err != nil {
		return nil, err
	}
	return k, k.keepKubeconfigs(c)
}

func (k *credentials) keepServer(c Config) error {
	hosts, err := c.hosts()
	if err != nil {
		return fmt.Errorf("list the API server's names: %w", err)
	}
	k.server, err = k.authority.KeepServer("apiserver", "kube-apiserver", hosts)
	return err
}

// keepKubeconfigs gives the controller-manager the masters group: it would otherwise need a
// service account for each controller, and making those takes seconds of the first start. All of
// them run in the process that holds the authority's key, so nothing is lost by it.
func (k *credentials) keepKubeconfigs(c Config) error {
	var err error
	if k.admin, err = k.authority.KeepClient("admin", pki.Client{User: "kubernetes-admin", Groups: []string{masters}}); err != nil {
		return err
	}
	if err = k.authority.KeepKubeconfig(c.Dir.Path("admin.kubeconfig"), c.Endpoint(), c.Name, "kubernetes-admin", k.admin); err != nil {
		return err
	}
	k.controllerManager = c.Dir.Path("components", "controller-manager.kubeconfig")
	if err = k.keepComponent(c, k.controllerManager, "controller-manager", pki.Client{User: "system:kube-controller-manager", Groups: []string{masters}}); err != nil {
		return err
	}
	k.scheduler = c.Dir.Path("components", "scheduler.kubeconfig")
	return k.keepComponent(c, k.scheduler, "scheduler", pki.Client{User: "system:kube-scheduler"})
}

func (k *credentials) keepComponent(c Config, path, name string, client pki.Client) error {
	pair, err := k.authority.KeepClient(name, client)
	if err != nil {
		return err
	}
	return k.authority.KeepKubeconfig(path, c.local(), c.Name, client.User, pair)
}

// client is how this process speaks to its own API server.
func (k *credentials) client(c Config) *rest.Config {
	return &rest.Config{
		Host:            c.local(),
		TLSClientConfig: rest.TLSClientConfig{CAData: k.authority.PEM(), CertData: k.admin.Cert, KeyData: k.admin.Key},
		UserAgent:       "kubebyon-localplane",
		QPS:             -1, // the API server's own fairness is limit enough
	}
}

// renew keeps a plane that runs for longer than its server's certificate lasts; the API server
// sees the new files by itself.
func (k *credentials) renew(ctx context.Context, c Config) {
	tick := time.NewTicker(24 * time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := k.keepServer(c); err != nil {
				klog.ErrorS(err, "Renew the API server's certificate")
			}
		}
	}
}
