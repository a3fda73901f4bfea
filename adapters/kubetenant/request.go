package kubetenant

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"regexp"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

const (
	bootstrapUser = "system:bootstrap:"
	nodeUser      = "system:node:"
	nodesGroup    = "system:nodes"

	maxRequestBytes = 16 << 10 // a kubelet's is 400 bytes
	maxRSABits      = 8192     // checking a signature takes time that grows with its square
)

var (
	bootstrapID = regexp.MustCompile(`^[a-z0-9]{6}$`)
	dnsName     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
)

// errForeign: the request was not made with a join token.
var errForeign = errors.New("not made with a bootstrap token")

// isNodeName: what the API takes as a node's name (a DNS-1123 subdomain).
func isNodeName(name string) bool { return len(name) <= 253 && dnsName.MatchString(name) }

// isPending: nobody has decided, and there is nothing to decide any more once
// there is a certificate.
func isPending(r *certificatesv1.CertificateSigningRequest) bool {
	return len(r.Status.Certificate) == 0 && !isDecided(r)
}

func isDecided(r *certificatesv1.CertificateSigningRequest) bool {
	return slices.ContainsFunc(r.Status.Conditions, func(c certificatesv1.CertificateSigningRequestCondition) bool {
		return c.Type == certificatesv1.CertificateApproved || c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed
	})
}

// joinRequest reads a certificate request. Username is the API server's word;
// all else is the machine's own, and has to be exactly what a kubelet asks for.
func joinRequest(r *certificatesv1.CertificateSigningRequest) (out tenant.JoinRequest, err error) {
	id, ok := strings.CutPrefix(r.Spec.Username, bootstrapUser)
	if !ok || !bootstrapID.MatchString(id) || r.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return out, errForeign
	}
	if !asksForClientOnly(r.Spec.Usages) {
		return out, errors.New("asks for usages other than a kubelet's")
	}
	name, key, err := parseKubeletRequest(r.Spec.Request)
	if err != nil {
		return out, err
	}
	return tenant.JoinRequest{Name: r.Name, UID: string(r.UID), Bootstrap: id, NodeName: name, KeyHash: key}, nil
}

func asksForClientOnly(usages []certificatesv1.KeyUsage) bool {
	for _, u := range usages {
		if u != certificatesv1.UsageClientAuth && u != certificatesv1.UsageDigitalSignature && u != certificatesv1.UsageKeyEncipherment {
			return false
		}
	}
	return slices.Contains(usages, certificatesv1.UsageClientAuth)
}

// parseKubeletRequest takes apart a PKCS #10 request in PEM that asks to be
// system:node:NAME of the group system:nodes, and nothing else. Whoever sent it
// holds the key: the hash of another machine's public key is not theirs to use.
func parseKubeletRequest(text []byte) (nodeName, keyHash string, err error) {
	if len(text) > maxRequestBytes {
		return "", "", errors.New("is too long")
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return "", "", errors.New("is not one PEM block of a certificate request")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return "", "", errors.New("cannot be parsed")
	}
	if len(request.DNSNames)+len(request.IPAddresses)+len(request.EmailAddresses)+len(request.URIs) > 0 {
		return "", "", errors.New("asks for alternative names")
	}
	if nodeName, err = parseSubject(request); err != nil {
		return "", "", err
	}
	if key, ok := request.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSABits {
		return "", "", errors.New("has too long a key")
	}
	if err := request.CheckSignature(); err != nil {
		return "", "", errors.New("is not signed with its own key")
	}
	sum := sha256.Sum256(request.RawSubjectPublicKeyInfo)
	return nodeName, hex.EncodeToString(sum[:]), nil
}

// parseSubject counts the attributes itself: pkix.Name keeps the last of
// several common names, and others may keep the first.
func parseSubject(request *x509.CertificateRequest) (nodeName string, err error) {
	s := request.Subject
	if len(s.Names) != 2 || len(s.Organization) != 1 || s.Organization[0] != nodesGroup {
		return "", errors.New("asks for a subject other than a node's")
	}
	name, ok := strings.CutPrefix(s.CommonName, nodeUser)
	if !ok || !isNodeName(name) {
		return "", errors.New("asks for a common name other than a node's")
	}
	return name, nil
}

// DecideJoin approves or denies a pending join request, and nothing else: a
// name that belongs to another kind of request by now is refused, and one that
// belongs to another join request is left to be decided by itself.
func (t *cluster) DecideJoin(ctx context.Context, seen tenant.JoinRequest, approve bool, reason string) error {
	if seen.Name == "" || len(content.IsPathSegmentName(seen.Name)) > 0 { // the only rule for their names
		return nil
	}
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		return t.decideOnce(ctx, seen, approve, reason)
	})
	return explain(ctx, "decide certificate request", err)
}

func (t *cluster) decideOnce(ctx context.Context, seen tenant.JoinRequest, approve bool, reason string) error {
	defer t.hold()()
	within, cancel := context.WithTimeout(quiet(ctx), t.config.CallTimeout)
	defer cancel()
	api := t.certs.CertificateSigningRequests()
	r, err := api.Get(within, seen.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && !isPending(r) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := joinRequest(r)
	if err != nil {
		return fault.Conflict.New("not_a_join_request", "The certificate request is not one that a machine makes to join.").Because(err)
	}
	if now != seen {
		return nil
	}
	// The update names the request's UID and version: it fails if the request is
	// replaced or changed between the look and the update.
	r.Status.Conditions = append(r.Status.Conditions, verdict(approve, reason))
	_, err = api.UpdateApproval(within, seen.Name, r, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func verdict(approve bool, reason string) certificatesv1.CertificateSigningRequestCondition {
	c := certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue, Reason: "KubeBYONDenied", Message: reason,
	}
	if approve {
		c.Type, c.Reason = certificatesv1.CertificateApproved, "KubeBYONApproved"
	}
	return c
}
