// Package pki keeps a tenant's keys and certificates as files. An authority is made once and kept
// for ever: nodes pin it. What an authority signs is made anew whenever it no longer says what it
// should, or will soon run out. All keys are ECDSA P-256: one is made in a millisecond, and the
// first start waits for eight of them.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"path/filepath"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/refusal"
)

const (
	day = 24 * time.Hour

	// clockSkew is how far behind a node's clock may be and still accept a new certificate.
	clockSkew = 5 * time.Minute

	authorityLifetime = 20 * 365 * day
)

// Authority signs certificates. Its own files are NAME.crt and NAME.key.
type Authority struct {
	dir  string
	name string
	cert *x509.Certificate
	key  crypto.Signer
	now  func() time.Time
}

// KeepAuthority loads the authority NAME in dir, or makes it where there is none.
func KeepAuthority(dir, name, commonName string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: dir, name: name, now: now}
	certificate, err := filestore.Read(a.CertFile())
	if err != nil {
		return nil, fmt.Errorf("read authority %s: %w", name, err)
	}
	key, err := filestore.Read(a.KeyFile())
	if err != nil {
		return nil, fmt.Errorf("read the key of authority %s: %w", name, err)
	}
	switch {
	case certificate != nil && key != nil:
		return a, a.load(certificate, key)
	case certificate != nil:
		// A new authority would lock out every node that joined under this one.
		return nil, refusal.New("The key %s is missing beside its certificate; restore it from a backup.", a.KeyFile())
	default:
		return a, a.make(commonName, key)
	}
}

// CertFile is where the authority's certificate is.
func (a *Authority) CertFile() string { return filepath.Join(a.dir, a.name+".crt") }

// KeyFile is where its key is.
func (a *Authority) KeyFile() string { return filepath.Join(a.dir, a.name+".key") }

// PEM is the certificate as others are given it.
func (a *Authority) PEM() []byte {
	out, _ := cert.EncodeCertificates(a.cert)
	return out
}

// Hash is how kubeadm pins the authority: "sha256:" and the digest of its public key.
func (a *Authority) Hash() string {
	sum := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (a *Authority) load(certPEM, keyPEM []byte) error {
	certs, err := cert.ParseCertsPEM(certPEM)
	if err != nil {
		return refusal.New("The certificate %s is damaged.", a.CertFile()).Because(err)
	}
	key, err := parseSigner(keyPEM)
	if err != nil {
		return refusal.New("The key %s is damaged.", a.KeyFile()).Because(err)
	}
	if !samePublicKey(certs[0].PublicKey, key.Public()) {
		return refusal.New("The key %s does not belong to the certificate beside it.", a.KeyFile())
	}
	a.cert, a.key = certs[0], key
	return nil
}

// make may find a key: the process was killed between writing the key and the certificate, and
// nobody has seen the authority yet.
func (a *Authority) make(commonName string, keyPEM []byte) error {
	key, err := a.keepKey(keyPEM)
	if err != nil {
		return err
	}
	now := a.now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: commonName},
		// A SAN, or Go warns of a certificate that relies on its common name.
		DNSNames:  []string{commonName},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(authorityLifetime),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("sign authority %s: %w", a.name, err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return fmt.Errorf("parse authority %s: %w", a.name, err)
	}
	a.key = key
	return filestore.Write(a.CertFile(), a.PEM())
}

func (a *Authority) keepKey(keyPEM []byte) (crypto.Signer, error) {
	if keyPEM != nil {
		if key, err := parseSigner(keyPEM); err == nil {
			return key, nil
		}
	}
	return newKey(a.KeyFile())
}

// KeepSigningKey loads the private key in path, or makes it: service-account tokens are signed
// with it and stay valid across restarts.
func KeepSigningKey(path string) error {
	pem, err := filestore.Read(path)
	if err != nil {
		return fmt.Errorf("read signing key: %w", err)
	}
	if pem == nil {
		_, err = newKey(path)
		return err
	}
	if _, err := parseSigner(pem); err != nil {
		return refusal.New("The key %s is damaged.", path).Because(err)
	}
	return nil
}

func newKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	pem, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return key, filestore.Write(path, pem)
}

func parseSigner(pem []byte) (crypto.Signer, error) {
	key, err := keyutil.ParsePrivateKeyPEM(pem)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	return signer, nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	comparable, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && comparable.Equal(b)
}

func serial() *big.Int {
	const bits = 120
	var raw [bits / 8]byte
	_, _ = rand.Read(raw[:])
	return new(big.Int).SetBytes(raw[:])
}
