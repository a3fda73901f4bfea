package pki

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
)

// KeepKubeconfig keeps a kubeconfig that carries all it needs. The same pair, authority, server
// and names give the same bytes.
func (a *Authority) KeepKubeconfig(path, server, cluster, user string, pair Pair) error {
	name := user + "@" + cluster
	content, err := clientcmd.Write(api.Config{
		Clusters:       map[string]*api.Cluster{cluster: {Server: server, CertificateAuthorityData: a.PEM()}},
		AuthInfos:      map[string]*api.AuthInfo{user: {ClientCertificateData: pair.Cert, ClientKeyData: pair.Key}},
		Contexts:       map[string]*api.Context{name: {Cluster: cluster, AuthInfo: user}},
		CurrentContext: name,
	})
	if err != nil {
		return fmt.Errorf("write kubeconfig of %s: %w", user, err)
	}
	return filestore.Write(path, content)
}
