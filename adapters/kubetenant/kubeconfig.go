package kubetenant

import (
	"net/url"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// parse reads a kubeconfig. No error of the library is passed on: some quote
// the text that they did not understand, which holds private keys.
func parse(kubeconfig secret.Text) (*rest.Config, error) {
	if kubeconfig.IsZero() {
		return nil, invalidKubeconfig("There is no kubeconfig.")
	}
	file, err := clientcmd.Load([]byte(kubeconfig.Reveal()))
	if err != nil {
		return nil, invalidKubeconfig("The kubeconfig is not one that kubectl would understand.")
	}
	if err := refuse(file); err != nil {
		return nil, err
	}
	config, err := clientcmd.NewNonInteractiveClientConfig(*file, "", &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, invalidKubeconfig("The kubeconfig's current context does not name a cluster and a user that it holds.")
	}
	// Both parse keys and certificates, so that Connect fails and not the first call.
	if _, err := rest.TLSConfigFor(config); err != nil {
		return nil, invalidKubeconfig("The kubeconfig's certificates or keys cannot be read.")
	}
	return config, nil
}

// refuse turns away what would run programs, read files or trust anybody on the
// machine that the platform runs on.
func refuse(file *api.Config) error {
	for _, user := range file.AuthInfos {
		switch {
		case user.Exec != nil:
			return invalidKubeconfig("The kubeconfig runs a program to sign in, which is not allowed here.")
		case user.AuthProvider != nil:
			return invalidKubeconfig("The kubeconfig signs in through a plugin, which is not allowed here.")
		case user.ClientCertificate != "" || user.ClientKey != "" || user.TokenFile != "":
			return invalidKubeconfig("The kubeconfig points to files; put their contents into it.")
		}
	}
	for _, to := range file.Clusters {
		switch {
		case to.CertificateAuthority != "":
			return invalidKubeconfig("The kubeconfig points to files; put their contents into it.")
		case to.ProxyURL != "":
			return invalidKubeconfig("The kubeconfig goes through a proxy, which is not allowed here.")
		case to.InsecureSkipTLSVerify:
			return invalidKubeconfig("The kubeconfig does not check the server's certificate.")
		case !isHTTPS(to.Server):
			return invalidKubeconfig("The kubeconfig's server must be an https address.")
		}
	}
	return nil
}

func isHTTPS(server string) bool {
	u, err := url.Parse(server)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil
}
