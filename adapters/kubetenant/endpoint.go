package kubetenant

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

const (
	publicNamespace = "kube-public"
	clusterInfo     = "cluster-info"
	kubeconfigKey   = "kubeconfig"
)

// release is a version that kubelets are published for. What distributions add
// ("-eks-1", "+k3s2") is dropped.
var release = regexp.MustCompile(`^v\d{1,3}\.\d{1,3}\.\d{1,3}(-(alpha|beta|rc)\.\d{1,3})?`)

// Endpoint reads what kubeadm itself reads to find the cluster. It goes into a
// script that root runs, and whoever owns the tenant can write it: so only what
// has the exact form of an address, a certificate, a version passes.
func (t *cluster) Endpoint(ctx context.Context) (out tenant.Endpoint, err error) {
	text, err := t.configMap(ctx, publicNamespace, clusterInfo, kubeconfigKey)
	if err != nil {
		return out, err
	}
	if out, err = parseClusterInfo(text); err != nil {
		return tenant.Endpoint{}, fault.Unavailable.New("cluster_info_invalid",
			"The cluster describes itself (ConfigMap kube-public/cluster-info) in a way that a machine cannot use to join.").Because(err)
	}
	out.KubernetesVersion, err = t.kubeletVersion(ctx)
	return out, err
}

func (t *cluster) configMap(ctx context.Context, namespace, name, key string) (text string, err error) {
	err = t.call(ctx, "read "+namespace+"/"+name, func(ctx context.Context) error {
		m, err := t.core.ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil && m.Data[key] != "" {
			text = m.Data[key]
			return nil
		}
		if err == nil || apierrors.IsNotFound(err) {
			return fault.Unavailable.New("cluster_not_ready", "The cluster is not ready for machines to join yet: it has no %s/%s.", namespace, name)
		}
		return err
	})
	return text, err
}

func parseClusterInfo(text string) (out tenant.Endpoint, err error) {
	file, err := clientcmd.Load([]byte(text))
	if err != nil {
		return out, errors.New("not a kubeconfig")
	}
	if len(file.Clusters) != 1 {
		return out, errors.New("not exactly one cluster")
	}
	for _, c := range file.Clusters {
		if out.Server, err = parseServer(c.Server); err != nil {
			return out, err
		}
		out.CACert, out.CACertHash, err = parseAuthorities(c.CertificateAuthorityData)
	}
	return out, err
}

// parseServer returns the host and port of https://host[:port][/].
func parseServer(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return "", errors.New("the server is not an https address without a path")
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = "443"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("the server's port is not a port")
	}
	if net.ParseIP(host) == nil && !isHostName(host) {
		return "", errors.New("the server's name is neither a DNS name nor an address")
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil // "0443" has one spelling
}

// isHostName: a name that DNS can hold. The API takes longer labels for nodes.
func isHostName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > 63 {
			return false
		}
	}
	return isNodeName(name)
}

// maxAuthorities is far more than a cluster has: a few certificates.
const maxAuthorities = 64 << 10

// parseAuthorities returns certificates as this package writes them, so that
// nothing between or around them gets through, and the pin of the first.
func parseAuthorities(data []byte) (text []byte, pin string, err error) {
	if len(data) > maxAuthorities {
		return nil, "", errors.New("the authority is too long")
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, "", errors.New("the authority is not a certificate")
		}
		if pin == "" {
			sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
			pin = "sha256:" + hex.EncodeToString(sum[:])
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: cert.Raw})...)
	}
	if pin == "" {
		return nil, "", errors.New("there is no authority")
	}
	return text, pin, nil
}

// kubeletVersion prefers what kubeadm wrote down: an API server that emulates
// an older minor version still tells its own.
func (t *cluster) kubeletVersion(ctx context.Context) (string, error) {
	text, err := t.configMap(ctx, systemNamespace, "kubeadm-config", "ClusterConfiguration")
	if err != nil && fault.CodeOf(err) != "cluster_not_ready" {
		return "", err
	}
	var config struct {
		KubernetesVersion string `json:"kubernetesVersion"`
	}
	if err == nil && yaml.Unmarshal([]byte(text), &config) == nil {
		if v := release.FindString(config.KubernetesVersion); v != "" {
			return v, nil
		}
	}
	server, err := t.version(ctx)
	if err != nil {
		return "", err
	}
	if v := release.FindString(server); v != "" {
		return v, nil
	}
	return "", unreachable("The cluster's API server does not tell its version.", "ask for the version", errNoVersion)
}
