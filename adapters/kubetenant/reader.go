package kubetenant

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Reader makes kubeconfigs of what people have.
type Reader struct {
	// InsideOf returns how to reach the cluster that the process runs in; nil:
	// Kubernetes tells it by the environment and a mounted service account.
	InsideOf func() (*rest.Config, error)
}

var _ tenant.Reader = Reader{}

// maxContexts is how many contexts a kubeconfig may have.
const maxContexts = 200

// Contexts splits a kubeconfig. A context that is refused says so itself: the
// others may be good.
func (r Reader) Contexts(kubeconfig secret.Text) ([]tenant.Context, error) {
	if kubeconfig.IsZero() {
		return nil, invalidKubeconfig("There is no kubeconfig.")
	}
	file, err := clientcmd.Load([]byte(kubeconfig.Reveal()))
	if err != nil {
		return nil, invalidKubeconfig("The kubeconfig is not one that kubectl would understand.")
	}
	if len(file.Contexts) == 0 || len(file.Contexts) > maxContexts {
		return nil, invalidKubeconfig("The kubeconfig must have between 1 and 200 contexts.")
	}
	var out []tenant.Context
	for _, name := range slices.Sorted(maps.Keys(file.Contexts)) {
		c := tenant.Context{Name: name, Current: name == file.CurrentContext || file.CurrentContext == "" && len(file.Contexts) == 1}
		alone := file.DeepCopy()
		alone.CurrentContext = name
		if err := api.MinifyConfig(alone); err != nil {
			c.Refused = invalidKubeconfig("The kubeconfig's context does not name a cluster and a user that it holds.")
		} else if c, err = read(c, alone); err != nil {
			c.Refused = err
		}
		out = append(out, c)
	}
	return out, nil
}

// read fills in what a kubeconfig of one context tells.
func read(c tenant.Context, file *api.Config) (tenant.Context, error) {
	text, err := clientcmd.Write(*file)
	if err != nil {
		return c, invalidKubeconfig("The kubeconfig cannot be read.")
	}
	c.Kubeconfig = secret.New(string(text))
	to, err := parse(c.Kubeconfig)
	if err != nil {
		return c, err
	}
	c.Server = to.Host
	c.ExpiresAt = expiry(to)
	return c, nil
}

// WithToken is a kubeconfig with nothing else in it.
func (r Reader) WithToken(server, ca string, token secret.Text) (tenant.Context, error) {
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	if u, err := url.Parse(server); err != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return tenant.Context{}, invalidKubeconfig("The API server must be an address like https://k8s.example.com:6443.")
	}
	if token.IsZero() || strings.ContainsFunc(token.Reveal(), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return tenant.Context{}, invalidKubeconfig("The token must be printable and without spaces.")
	}
	file := api.NewConfig()
	file.CurrentContext = "cluster"
	file.Contexts["cluster"] = &api.Context{Cluster: "cluster", AuthInfo: "user"}
	file.Clusters["cluster"] = &api.Cluster{Server: strings.TrimSuffix(server, "/"), CertificateAuthorityData: []byte(ca)}
	file.AuthInfos["user"] = &api.AuthInfo{Token: token.Reveal()}
	return read(tenant.Context{Current: true}, file)
}

// InCluster asks for the service account anew each time: its token is replaced
// every hour.
func (r Reader) InCluster() (tenant.Context, error) {
	inside := rest.InClusterConfig
	if r.InsideOf != nil {
		inside = r.InsideOf
	}
	to, err := inside()
	if errors.Is(err, rest.ErrNotInCluster) {
		return tenant.Context{}, fault.Conflict.New("not_in_cluster", "This server does not run in a Kubernetes cluster.")
	}
	if err != nil {
		return tenant.Context{}, fault.Unavailable.New("not_in_cluster", "The service account of this server cannot be read.").Because(err)
	}
	if err := rest.LoadTLSFiles(to); err != nil {
		return tenant.Context{}, fault.Unavailable.New("not_in_cluster", "The service account of this server cannot be read.").Because(err)
	}
	return r.WithToken(to.Host, string(to.CAData), secret.New(to.BearerToken))
}

// expiry is when a credential ends, if it says so.
func expiry(to *rest.Config) *time.Time {
	if block, _ := pem.Decode(to.CertData); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			end := cert.NotAfter.UTC()
			return &end
		}
	}
	parts := strings.Split(to.BearerToken, ".")
	if len(parts) != 3 {
		return nil
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var said struct {
		Exp json.Number `json:"exp"`
	}
	d := json.NewDecoder(bytes.NewReader(claims))
	if err := d.Decode(&said); err != nil {
		return nil
	}
	seconds, err := said.Exp.Float64()
	if err != nil || seconds <= 0 || seconds > 1<<40 {
		return nil
	}
	end := time.Unix(int64(seconds), 0).UTC()
	return &end
}
