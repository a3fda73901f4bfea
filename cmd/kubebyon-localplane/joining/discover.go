package joining

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/cert"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	"k8s.io/cluster-bootstrap/token/jws"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/pubkeypin"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

const (
	retryPause = 250 * time.Millisecond

	// signaturePatience is for a token that was made a moment ago: the bootstrap-signer needs
	// some 20 ms. After that the token is taken for one that does not exist.
	signaturePatience = 5 * time.Second
)

// plane is a control plane that has been found and can be trusted.
type plane struct {
	server    string
	authority []byte // PEM
}

// discover trusts nothing but the token and the pinned hashes.
func discover(ctx context.Context, t *discoveryToken, patience time.Duration) (*plane, error) {
	server := "https://" + t.Endpoint
	open := rest.TLSClientConfig{Insecure: true} // what comes back is checked with the token and the pins
	found, err := awaitSigned(ctx, server, open, t, patience)
	if err != nil {
		return nil, err
	}
	if !jws.DetachedTokenIsValid(found.signature, found.kubeconfig, t.tokenID(), t.secret()) {
		return nil, refusal.New("The token %s was refused: its secret does not match the one the control plane at %s knows.", t.tokenID(), t.Endpoint)
	}
	p, err := found.plane(t)
	if err != nil {
		return nil, err
	}
	again, err := awaitSigned(ctx, server, rest.TLSClientConfig{CAData: p.authority}, t, patience)
	if err != nil {
		return nil, err
	}
	if again.kubeconfig != found.kubeconfig {
		return nil, refusal.New("The control plane at %s gave two different answers about itself; somebody may be in between.", t.Endpoint)
	}
	return p, nil
}

// info is what the ConfigMap cluster-info says about a control plane to the holder of a token.
type info struct {
	kubeconfig, signature string
}

// awaitSigned asks until the answer carries a signature made with the token.
func awaitSigned(ctx context.Context, server string, trust rest.TLSClientConfig, t *discoveryToken, patience time.Duration) (*info, error) {
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server, TLSClientConfig: trust, Timeout: 5 * time.Second, UserAgent: userAgent})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	began := time.Now()
	var answered time.Time
	for {
		got, err := readInfo(ctx, client, t.tokenID())
		if err == nil && got.signature != "" {
			return got, nil
		}
		if err == nil && answered.IsZero() {
			answered = time.Now()
		}
		klog.V(1).InfoS("Not discovered yet", "err", err)
		if refused := giveUp(err, t, began, answered, patience); refused != nil {
			return nil, refused
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(retryPause):
		}
	}
}

// giveUp turns the last outcome into a reason once waiting longer is of no use.
func giveUp(err error, t *discoveryToken, began, answered time.Time, patience time.Duration) error {
	if unverified, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return refusal.New("The server at %s is not vouched for by the pinned certificate authority: %s.", t.Endpoint, oneLine(unverified.Err)).Because(err)
	}
	if err == nil {
		if time.Since(answered) < min(signaturePatience, patience) {
			return nil
		}
		return refusal.New("The token %s is not known to the control plane at %s, or has expired.", t.tokenID(), t.Endpoint)
	}
	if time.Since(began) < patience {
		return nil
	}
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && status.Status().Code != 0 {
		return refusal.New("The server at %s does not say how to join it: %s.", t.Endpoint, oneLine(err)).Because(err)
	}
	return refusal.New("The control plane at %s cannot be reached: %s.", t.Endpoint, oneLine(rootOf(err))).Because(err)
}

func readInfo(ctx context.Context, client kubernetes.Interface, tokenID string) (*info, error) {
	answer, err := client.CoreV1().ConfigMaps(metav1.NamespacePublic).Get(ctx, bootstrapapi.ConfigMapClusterInfo, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return &info{
		kubeconfig: answer.Data[bootstrapapi.KubeConfigKey],
		signature:  answer.Data[bootstrapapi.JWSSignatureKeyPrefix+tokenID],
	}, nil
}

// plane takes the authority out of the signed kubeconfig, if one of the hashes pins it.
func (i *info) plane(t *discoveryToken) (*plane, error) {
	config, err := clientcmd.Load([]byte(i.kubeconfig))
	if err != nil {
		return nil, fmt.Errorf("parse cluster-info: %w", err)
	}
	for _, cluster := range config.Clusters {
		authorities, err := cert.ParseCertsPEM(cluster.CertificateAuthorityData)
		if err != nil {
			return nil, fmt.Errorf("parse the authority in cluster-info: %w", err)
		}
		pins := pubkeypin.NewSet()
		if err := pins.Allow(t.CAHashes...); err != nil {
			return nil, fmt.Errorf("read the pins: %w", err)
		}
		if err := pins.CheckAny(authorities); !pins.Empty() && err != nil {
			return nil, refusal.New("The certificate authority of the control plane at %s is not the pinned one: it has the hash %s.", t.Endpoint, pubkeypin.Hash(authorities[0])).Because(err)
		}
		return &plane{server: cluster.Server, authority: cluster.CertificateAuthorityData}, nil
	}
	return nil, refusal.New("The control plane at %s does not say where it is.", t.Endpoint)
}

// rootOf strips the method and URL that an HTTP client puts before an error.
func rootOf(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		if _, ok := err.(interface{ Timeout() bool }); ok {
			if _, innermost := inner.(interface{ Timeout() bool }); !innermost {
				return err
			}
		}
		err = inner
	}
}

// pinned says whether a PEM holds a certificate that one of the hashes pins.
func pinned(authority []byte, hashes []string) bool {
	certs, err := cert.ParseCertsPEM(authority)
	pins := pubkeypin.NewSet()
	if err != nil || pins.Allow(hashes...) != nil {
		return false
	}
	return pins.Empty() || pins.CheckAny(certs) == nil
}

// unwrapAll finds the innermost cause.
func unwrapAll(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
