package helmprovision

import (
	"crypto/x509"
	"errors"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// key is a control plane's own kubeconfig, read.
type key struct {
	file *api.Config
	ca   []byte
}

// parseKubeconfig reads what vCluster wrote. Its errors are for people and quote
// nothing of it.
func parseKubeconfig(s *corev1.Secret) (key, error) {
	text := s.Data["config"]
	if len(text) == 0 {
		return key{}, errors.New(`it has no key "config"`)
	}
	file, err := clientcmd.Load(text)
	if err != nil {
		return key{}, errors.New("it is not one that kubectl would understand")
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*file, "", &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return key{}, errors.New("its current context does not name a cluster and a user that it holds")
	}
	if u, err := url.Parse(config.Host); err != nil || u.Scheme != "https" {
		return key{}, errors.New("its server is no https address")
	}
	if _, err := rest.TLSConfigFor(config); err != nil {
		return key{}, errors.New("its certificates or keys cannot be read")
	}
	if ok := x509.NewCertPool().AppendCertsFromPEM(config.CAData); !ok {
		return key{}, errors.New("it holds no certificate authority")
	}
	if len(config.CertData) == 0 && config.BearerToken == "" {
		return key{}, errors.New("it holds neither a client certificate nor a token")
	}
	return key{file, config.CAData}, nil
}

// leadingTo returns the kubeconfig with another server, and a name to check the
// server's certificate against when the address is not in it.
func (k key) leadingTo(server, certified string) ([]byte, error) {
	out := k.file.DeepCopy()
	for _, c := range out.Clusters {
		c.Server, c.TLSServerName, c.ProxyURL = server, certified, ""
	}
	return clientcmd.Write(*out)
}

func emptyKubeconfig() *api.Config { return api.NewConfig() }

func contextIn(namespace string) api.Context { return api.Context{Namespace: namespace} }
