package helmprovision

import (
	"crypto/x509"
	"errors"
	"net/url"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
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
// nothing of it. It is handed on to people and used here: a control plane that
// somebody has broken into must not get any further with it.
func parseKubeconfig(s *corev1.Secret) (key, error) {
	text := s.Data["config"]
	if len(text) == 0 {
		return key{}, errors.New(`it has no key "config"`)
	}
	file, err := clientcmd.Load(text)
	if err != nil {
		return key{}, errors.New("it is not one that kubectl would understand")
	}
	for _, user := range file.AuthInfos {
		if user.Exec != nil || user.AuthProvider != nil || user.ClientCertificate != "" || user.ClientKey != "" || user.TokenFile != "" {
			return key{}, errors.New("it would run a program, or read a file, where it is used")
		}
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

// keyring keeps what was read of Secrets, so that each is read once, and for no
// longer than it is seen.
type keyring struct {
	mu   sync.Mutex
	kept map[string]reading // by the Secret's namespace and name
}

type reading struct {
	uid     types.UID
	version string
	key     key
	err     error
}

func newKeyring() *keyring { return &keyring{kept: map[string]reading{}} }

func keyName(s *corev1.Secret) string { return s.Namespace + "/" + s.Name }

// read is parseKubeconfig. Nothing is kept of a Secret that is seen no more when
// it is read. The key may not be changed.
func (k *keyring) read(s *corev1.Secret, isSeen func() bool) (key, error) {
	k.mu.Lock()
	r, ok := k.kept[keyName(s)]
	k.mu.Unlock()
	if ok && r.uid == s.UID && r.version == s.ResourceVersion {
		return r.key, r.err
	}
	r = reading{uid: s.UID, version: s.ResourceVersion}
	r.key, r.err = parseKubeconfig(s)
	k.mu.Lock()
	defer k.mu.Unlock()
	if isSeen() { // drop comes after that has changed
		k.kept[keyName(s)] = r
	}
	return r.key, r.err
}

// drop forgets a Secret that has gone.
func (k *keyring) drop(s *corev1.Secret) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.kept, keyName(s))
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
