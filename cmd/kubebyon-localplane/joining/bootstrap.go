package joining

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/certificate/csr"
	"k8s.io/client-go/util/keyutil"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

const (
	userAgent = "kubebyon-hollow-node"

	// approvalPatience is for the controllers that approve and sign; they need a tenth of a second.
	approvalPatience = 60 * time.Second

	kubeconfigFile  = "kubelet.conf"
	certificateFile = "kubelet-client.pem"
	pendingKeyFile  = "kubelet-client.key.tmp" // as the kubelet calls its own
)

// bootstrap buys a certificate for the node with the token and keeps it as kubelet.conf.
func bootstrap(ctx context.Context, dir *filestore.Dir, p *plane, t *discoveryToken, name string) error {
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: p.server, BearerToken: t.Token, UserAgent: userAgent,
		TLSClientConfig: rest.TLSClientConfig{CAData: p.authority},
	})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	if err := refuseTakenName(ctx, client, t, name); err != nil {
		return err
	}
	certificate, err := buy(ctx, dir, client, t, name)
	if err != nil {
		return err
	}
	if err := keepKubeconfig(dir, p, certificate); err != nil {
		return err
	}
	return forgetKey(dir)
}

// buy asks for a certificate with a key that is kept until there is an answer.
func buy(ctx context.Context, dir *filestore.Dir, client kubernetes.Interface, t *discoveryToken, name string) ([]byte, error) {
	key, err := pendingKey(dir)
	if err != nil {
		return nil, err
	}
	certificate, err := requestCertificate(ctx, client, t, name, key)
	if errors.Is(err, errDenied) {
		_ = forgetKey(dir) // why it was denied is what matters
	}
	return certificate, err
}

// pendingKey is the key of an attempt that never heard the answer, or a new one. A join token may
// serve only the key that asked first, so whoever tries again must be the same machine.
func pendingKey(dir *filestore.Dir) (*ecdsa.PrivateKey, error) {
	path := dir.Path("pki", pendingKeyFile)
	content, err := filestore.Read(path)
	if err != nil {
		return nil, err
	}
	if found, err := keyutil.ParsePrivateKeyPEM(content); err == nil {
		if key, ok := found.(*ecdsa.PrivateKey); ok {
			return key, nil
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	content, err = keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	return key, filestore.Write(path, content)
}

// forgetKey is for a key that has bought something, or never will.
func forgetKey(dir *filestore.Dir) error {
	if err := os.Remove(dir.Path("pki", pendingKeyFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the key of the request: %w", err)
	}
	return nil
}

// refuseTakenName keeps two machines from being one node in turns.
func refuseTakenName(ctx context.Context, client kubernetes.Interface, t *discoveryToken, name string) error {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case apierrors.IsUnauthorized(err):
		return refusal.New("The token %s was refused by the control plane at %s: it is not known there, or has expired.", t.tokenID(), t.Endpoint).Because(err)
	case err != nil:
		return refusal.New("The control plane at %s did not say whether the node name %s is free: %s.", t.Endpoint, name, oneLine(err)).Because(err)
	case isReady(node):
		return refusal.New("A node with the name %s has joined already and is ready; choose another name, or stop and delete that node first.", name)
	}
	return nil
}

func isReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// requestCertificate returns the certificate and its key in one PEM. Asking again with the same key
// is the same request.
func requestCertificate(ctx context.Context, client kubernetes.Interface, t *discoveryToken, name string, key *ecdsa.PrivateKey) ([]byte, error) {
	subject := &pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}}
	request, err := cert.MakeCSR(key, subject, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, approvalPatience, errNotApproved)
	defer cancel()
	usages := []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}
	requestName, uid, err := csr.RequestCertificateWithContext(ctx, client, request, requestName(key), certificatesv1.KubeAPIServerClientKubeletSignerName, nil, usages, key)
	if err != nil {
		return nil, refusal.New("The control plane at %s did not take the certificate request: %s.", t.Endpoint, oneLine(err)).Because(err)
	}
	certificate, err := csr.WaitForCertificate(ctx, client, requestName, uid)
	if errors.Is(context.Cause(ctx), errNotApproved) {
		return nil, refusal.New("The certificate request %s was not approved within %s.", requestName, approvalPatience).Because(err)
	}
	if err != nil {
		return nil, refusal.New("The certificate request %s was not granted: %s.", requestName, oneLine(err)).Because(errors.Join(err, denial(ctx, client, requestName)))
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	return append(certificate, keyPEM...), nil
}

var (
	errNotApproved = errors.New("the certificate request was not approved in time")
	errDenied      = errors.New("the certificate request is denied for good")
)

// denial tells a request that was decided upon from one whose answer was lost.
func denial(ctx context.Context, client kubernetes.Interface, name string) error {
	request, err := client.CertificatesV1().CertificateSigningRequests().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil //nolint:nilerr // nobody says that it is denied
	}
	for _, c := range request.Status.Conditions {
		if c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed {
			return errDenied
		}
	}
	return nil
}

// requestName is derived from the key, as the kubelet does it.
func requestName(key *ecdsa.PrivateKey) string {
	der, _ := x509.MarshalPKIXPublicKey(key.Public())
	sum := sha256.Sum256(der)
	return "node-csr-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// keepKubeconfig writes the certificate first: kubelet.conf is there only if it works.
func keepKubeconfig(dir *filestore.Dir, p *plane, certificate []byte) error {
	if err := filestore.Write(dir.Path("pki", certificateFile), certificate); err != nil {
		return err
	}
	const name = "default"
	// Paths are relative to the file, so that the directory may be moved.
	pem := "pki/" + certificateFile
	content, err := clientcmd.Write(api.Config{
		Clusters:       map[string]*api.Cluster{name: {Server: p.server, CertificateAuthorityData: p.authority}},
		AuthInfos:      map[string]*api.AuthInfo{name: {ClientCertificate: pem, ClientKey: pem}},
		Contexts:       map[string]*api.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	})
	if err != nil {
		return fmt.Errorf("write kubelet.conf: %w", err)
	}
	return filestore.Write(dir.Path(kubeconfigFile), content)
}

// credentials reads kubelet.conf; nil if there is none, or its certificate has run out.
func credentials(dir *filestore.Dir, now time.Time) (*rest.Config, error) {
	pem, err := filestore.Read(dir.Path("pki", certificateFile))
	if pem == nil || err != nil {
		return nil, err
	}
	certs, err := cert.ParseCertsPEM(pem)
	if err != nil || now.After(certs[0].NotAfter) {
		return nil, nil //nolint:nilerr,nilnil // a certificate that cannot be used is as good as none
	}
	content, err := filestore.Read(dir.Path(kubeconfigFile))
	if content == nil || err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", dir.Path(kubeconfigFile))
	if err != nil {
		return nil, fmt.Errorf("read kubelet.conf: %w", err)
	}
	config.UserAgent = userAgent
	return config, nil
}
