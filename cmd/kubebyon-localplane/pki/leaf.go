package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/kubebyon/kubebyon/cmd/kubebyon-localplane/filestore"
)

const (
	// serverLifetime is short enough for every TLS client, and renewed while the plane runs.
	serverLifetime = 365 * day
	// clientLifetime is long: these certificates sit in files that people have downloaded.
	clientLifetime = 10 * 365 * day

	// renewWithin is how long before its end a certificate is made anew.
	renewWithin = 60 * day
)

// Client is the certificate of a user with groups, for TLS clients.
type Client struct {
	User   string
	Groups []string
}

// Pair is a certificate with its key, as files and as their content.
type Pair struct {
	CertFile, KeyFile string
	Cert, Key         []byte
}

// KeepServer keeps the certificate NAME for a server that is reached under hosts, names and
// addresses alike.
func (a *Authority) KeepServer(name, commonName string, hosts []string) (Pair, error) {
	template := a.template(commonName, nil, serverLifetime, x509.ExtKeyUsageServerAuth)
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.keep(name, template)
}

// KeepClient keeps the certificate NAME of a client.
func (a *Authority) KeepClient(name string, c Client) (Pair, error) {
	return a.keep(name, a.template(c.User, c.Groups, clientLifetime, x509.ExtKeyUsageClientAuth))
}

func (a *Authority) template(user string, groups []string, lifetime time.Duration, use x509.ExtKeyUsage) *x509.Certificate {
	now := a.now()
	return &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: user, Organization: groups},
		NotBefore:    now.Add(-clockSkew), NotAfter: now.Add(lifetime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{use},
	}
}

// keep reuses the pair on disk when it says what the template says. The two are written one
// after the other: a crash between them leaves a pair that does not match, which is made anew.
func (a *Authority) keep(name string, want *x509.Certificate) (Pair, error) {
	pair := Pair{CertFile: filepath.Join(a.dir, name+".crt"), KeyFile: filepath.Join(a.dir, name+".key")}
	if a.stillGood(&pair, want) {
		return pair, nil
	}
	if err := a.issue(&pair, want); err != nil {
		return Pair{}, fmt.Errorf("issue certificate %s: %w", name, err)
	}
	return pair, nil
}

func (a *Authority) stillGood(pair *Pair, want *x509.Certificate) bool {
	var errCert, errKey error
	pair.Cert, errCert = os.ReadFile(pair.CertFile)
	pair.Key, errKey = os.ReadFile(pair.KeyFile)
	if errors.Join(errCert, errKey) != nil {
		return false
	}
	have, err := cert.ParseCertsPEM(pair.Cert)
	if err != nil {
		return false
	}
	key, err := parseSigner(pair.Key)
	return err == nil && samePublicKey(have[0].PublicKey, key.Public()) &&
		have[0].CheckSignatureFrom(a.cert) == nil && saysTheSame(have[0], want) &&
		a.now().Add(renewWithin).Before(have[0].NotAfter)
}

func saysTheSame(have, want *x509.Certificate) bool {
	return have.Subject.CommonName == want.Subject.CommonName &&
		sameSet(have.Subject.Organization, want.Subject.Organization) &&
		sameSet(have.DNSNames, want.DNSNames) &&
		sameSet(addresses(have.IPAddresses), addresses(want.IPAddresses)) &&
		slices.Equal(have.ExtKeyUsage, want.ExtKeyUsage)
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func addresses(ips []net.IP) []string {
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = ip.String()
	}
	return out
}

func (a *Authority) issue(pair *Pair, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if pair.Cert, err = cert.EncodeCertificates(parsed); err != nil {
		return err
	}
	if pair.Key, err = keyutil.MarshalPrivateKeyToPEM(key); err != nil {
		return err
	}
	return errors.Join(filestore.Write(pair.KeyFile, pair.Key), filestore.Write(pair.CertFile, pair.Cert))
}
