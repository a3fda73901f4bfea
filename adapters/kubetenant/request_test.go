package kubetenant

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
)

func TestOnlyAKubeletsRequestIsAJoinRequest(t *testing.T) {
	t.Parallel()
	good := x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:worker-1.example", Organization: []string{"system:nodes"}}}
	if name, hash, err := parseKubeletRequest(pemOf(t, good)); err != nil || name != "worker-1.example" || len(hash) != 64 {
		t.Fatalf("a kubelet's request: %q, %q, %v", name, hash, err)
	}
	for what, spoil := range map[string]func(*x509.CertificateRequest){
		"no name":             func(r *x509.CertificateRequest) { r.Subject.CommonName = "system:node:" },
		"another prefix":      func(r *x509.CertificateRequest) { r.Subject.CommonName = "system:nodes:a" },
		"upper case":          func(r *x509.CertificateRequest) { r.Subject.CommonName = "system:node:A" },
		"a path":              func(r *x509.CertificateRequest) { r.Subject.CommonName = "system:node:../a" },
		"a line more":         func(r *x509.CertificateRequest) { r.Subject.CommonName = "system:node:a\n" },
		"a NUL":               func(r *x509.CertificateRequest) { r.Subject.CommonName = "system:node:a\x00b" },
		"too long":            func(r *x509.CertificateRequest) { r.Subject.CommonName = "system:node:" + strings.Repeat("a", 254) },
		"an odd dot":          func(r *x509.CertificateRequest) { r.Subject.CommonName = "system:node:a..b" },
		"no group":            func(r *x509.CertificateRequest) { r.Subject.Organization = nil },
		"another group":       func(r *x509.CertificateRequest) { r.Subject.Organization = []string{"system:masters"} },
		"a group more":        func(r *x509.CertificateRequest) { r.Subject.Organization = []string{"system:nodes", "system:masters"} },
		"the group twice":     func(r *x509.CertificateRequest) { r.Subject.Organization = []string{"system:nodes", "system:nodes"} },
		"another attribute":   func(r *x509.CertificateRequest) { r.Subject.Country = []string{"XX"} },
		"two common names":    func(r *x509.CertificateRequest) { r.Subject.ExtraNames = twoNames() },
		"a DNS name":          func(r *x509.CertificateRequest) { r.DNSNames = []string{"a"} },
		"an address":          func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} },
		"an e-mail address":   func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"a@example.com"} },
		"a URI":               func(r *x509.CertificateRequest) { r.URIs = []*url.URL{{Scheme: "spiffe", Host: "a"}} },
		"common name, spaced": func(r *x509.CertificateRequest) { r.Subject.CommonName = " system:node:a" },
	} {
		r := good
		spoil(&r)
		if name, _, err := parseKubeletRequest(pemOf(t, r)); err == nil {
			t.Errorf("%s: accepted as %q", what, name)
		}
	}
}

func twoNames() []pkix.AttributeTypeAndValue {
	cn := asn1.ObjectIdentifier{2, 5, 4, 3}
	return []pkix.AttributeTypeAndValue{{Type: cn, Value: "system:node:a"}, {Type: cn, Value: "system:node:b"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "system:nodes"}}
}

func TestOnlyOnePEMBlockIsARequest(t *testing.T) {
	t.Parallel()
	good := kubeletPEM(t)
	block, _ := pem.Decode(good)
	tampered := bytes.Clone(block.Bytes)
	tampered[len(tampered)-3] ^= 1
	for what, text := range map[string][]byte{
		"nothing":             nil,
		"two blocks":          append(bytes.Clone(good), good...),
		"something after it":  append(bytes.Clone(good), "more"...),
		"another type":        pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}),
		"headers":             pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes, Headers: map[string]string{"a": "b"}}),
		"something inside":    pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: append(bytes.Clone(block.Bytes), 0)}),
		"a signature broken":  pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: tampered}),
		"too much before it":  append(bytes.Repeat([]byte("\n"), maxRequestBytes), good...),
		"no certificate at a": []byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"),
	} {
		if name, _, err := parseKubeletRequest(text); err == nil {
			t.Errorf("%s: accepted as %q", what, name)
		}
	}
	if _, _, err := parseKubeletRequest(append([]byte("\n"), append(good, '\n')...)); err != nil {
		t.Errorf("white space around it: %v", err)
	}
}

func TestOnlyABootstrapUserIsAMachine(t *testing.T) {
	t.Parallel()
	text := kubeletPEM(t)
	request := func(user, signer string, usages ...certificatesv1.KeyUsage) error {
		r := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{Username: user, SignerName: signer, Usages: usages, Request: text}}
		_, err := joinRequest(r)
		return err
	}
	const signer, client = certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.UsageClientAuth
	if err := request("system:bootstrap:abc123", signer, client, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment); err != nil {
		t.Errorf("a machine's request: %v", err)
	}
	for _, user := range []string{"", "admin", "system:bootstrap:", "system:bootstrap:abc12", "system:bootstrap:ABC123", "system:bootstrap:abc123x", "xsystem:bootstrap:abc123", "system:bootstrap:abc12\n"} {
		if request(user, signer, client) == nil {
			t.Errorf("accepted from %q", user)
		}
	}
	if request("system:bootstrap:abc123", certificatesv1.KubeletServingSignerName, client) == nil {
		t.Error("accepted for another signer")
	}
	for _, usages := range [][]certificatesv1.KeyUsage{nil, {certificatesv1.UsageDigitalSignature}, {client, certificatesv1.UsageServerAuth}, {client, certificatesv1.UsageCertSign}} {
		if request("system:bootstrap:abc123", signer, usages...) == nil {
			t.Errorf("accepted with the usages %v", usages)
		}
	}
}

func TestAnRSAKeyIsFineAndAHugeOneIsNotTried(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	subject := pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := parseKubeletRequest(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})); err != nil {
		t.Errorf("an RSA key: %v", err)
	}
	began := time.Now()
	if _, _, err := parseKubeletRequest(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: hugeRequest(t, subject)})); err == nil {
		t.Error("a request with a key of 64 Ki bits was accepted")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("refusing it took %v", took)
	}
}

// hugeRequest has a key that nobody made and a signature that fits nothing.
func hugeRequest(t *testing.T, subject pkix.Name) []byte {
	t.Helper()
	modulus := new(big.Int).SetBit(big.NewInt(1), 65535, 1)
	public, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: modulus, E: 1<<31 - 1})
	if err != nil {
		t.Fatal(err)
	}
	names, err := asn1.Marshal(subject.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	type info struct {
		Version    int
		Subject    asn1.RawValue
		PublicKey  asn1.RawValue
		Attributes []asn1.RawValue `asn1:"tag:0"`
	}
	type request struct {
		Info      info
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	sha256WithRSA := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue}
	der, err := asn1.Marshal(request{
		info{Subject: asn1.RawValue{FullBytes: names}, PublicKey: asn1.RawValue{FullBytes: public}},
		sha256WithRSA,
		asn1.BitString{Bytes: make([]byte, 8192), BitLength: 65536},
	})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemOf(tb testing.TB, r x509.CertificateRequest) []byte {
	tb.Helper()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: derOf(tb, r)})
}

func derOf(tb testing.TB, r x509.CertificateRequest) []byte {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &r, key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func kubeletPEM(tb testing.TB) []byte {
	tb.Helper()
	return pemOf(tb, x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}})
}

// FuzzJoinRequest holds hostile requests to what the decision relies on. The
// subject is tried apart from the signature, which nearly every mutation breaks.
func FuzzJoinRequest(f *testing.F) {
	names := pkix.Name{CommonName: "system:node:a", Organization: []string{"system:nodes"}}
	f.Add("system:bootstrap:abc123", derOf(f, x509.CertificateRequest{Subject: names}))
	f.Add("system:bootstrap:abc123", derOf(f, x509.CertificateRequest{Subject: pkix.Name{ExtraNames: twoNames()}}))
	f.Add("system:bootstrap:abc123", derOf(f, x509.CertificateRequest{Subject: names, DNSNames: []string{"b"}}))
	f.Add("admin", kubeletPEM(f))
	f.Add("system:bootstrap:", []byte("-----BEGIN CERTIFICATE REQUEST-----\n\n-----END CERTIFICATE REQUEST-----"))
	f.Fuzz(func(t *testing.T, user string, data []byte) {
		for _, text := range [][]byte{data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: data})} {
			r, err := joinRequest(&certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{
				Username: user, Request: text, SignerName: certificatesv1.KubeAPIServerClientKubeletSignerName,
				Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
			}})
			if err == nil && (!isNodeName(r.NodeName) || len(r.KeyHash) != 64 || user != bootstrapUser+r.Bootstrap || len(r.Bootstrap) != 6) {
				t.Errorf("accepted %+v from %q", r, user)
			}
		}
		request, err := x509.ParseCertificateRequest(data)
		if err != nil {
			return
		}
		name, err := parseSubject(request)
		if err != nil {
			return
		}
		// Whoever reads the raw subject, by whatever rule, must find this name and
		// this group only.
		for _, value := range rawValues(t, request.RawSubject) {
			if value != nodeUser+name && value != nodesGroup {
				t.Errorf("accepted %q, but the subject also says %q", name, value)
			}
		}
	})
}

func rawValues(t *testing.T, subject []byte) (out []string) {
	t.Helper()
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(subject, &sequence); err != nil || len(rest) > 0 {
		t.Fatalf("the subject of an accepted request cannot be read: %v", err)
	}
	for _, set := range sequence {
		for _, attribute := range set {
			text, ok := attribute.Value.(string)
			if !ok {
				t.Errorf("the subject holds a %T", attribute.Value)
			}
			out = append(out, text)
		}
	}
	return out
}
