package joinscript

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Every value has its own alphabet, none with a character that means something
// to a shell, to YAML inside quotes, or to a terminal.
var (
	idRE      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$`)                                                              //nolint:gochecknoglobals // a constant
	hostRE    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`) //nolint:gochecknoglobals // a constant
	hashRE    = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)                                                                         //nolint:gochecknoglobals // a constant
	sumRE     = regexp.MustCompile(`^[0-9a-f]{64}$`)                                                                                //nolint:gochecknoglobals // a constant
	tokenRE   = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)                                                                   //nolint:gochecknoglobals // a constant
	kubeRE    = regexp.MustCompile(`^v1\.[1-9][0-9]{1,2}\.[0-9]{1,3}(-(alpha|beta|rc)\.[0-9]{1,3})?$`)                              //nolint:gochecknoglobals // a constant
	versionRE = regexp.MustCompile(`^v[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(-[a-z0-9.]{1,20})?$`)                                      //nolint:gochecknoglobals // a constant
	pathRE    = regexp.MustCompile(`^[A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*$`)                                                        //nolint:gochecknoglobals // a constant
	urlTextRE = regexp.MustCompile(`^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~%+@/-]*)?$`)                                        //nolint:gochecknoglobals // a constant
	codeRE    = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)                                                                            //nolint:gochecknoglobals // a constant

)

const maxCACerts = 64 << 10

// check tells every field that is unfit, and no value: one is secret.
func (p Params) check() error {
	var faults []error
	must := func(ok bool, field, rule string) {
		if !ok {
			faults = append(faults, fmt.Errorf("%s %s", field, rule))
		}
	}
	must(idRE.MatchString(p.ClusterID), "ClusterID", "must be letters, digits, dashes and underscores")
	must(validServer(p.Server), "Server", "must be host:port")
	must(hashRE.MatchString(p.CACertHash), "CACertHash", "must be sha256: and 64 hexadecimal digits")
	must(tokenRE.MatchString(p.BootstrapToken.value), "BootstrapToken", "must be a bootstrap token")
	must(kubeRE.MatchString(p.KubernetesVersion), "KubernetesVersion", "must be like v1.36.3")
	must(validURL(p.PlatformURL), "PlatformURL", "must be an http or https URL without query")
	for _, f := range [...]struct{ name, value string }{
		{"Mirror", p.Mirror},
		{"Sources.ContainerdMirror", p.Sources.ContainerdMirror},
		{"Sources.RuncMirror", p.Sources.RuncMirror},
		{"Sources.CNIMirror", p.Sources.CNIMirror},
		{"Sources.CrictlMirror", p.Sources.CrictlMirror},
	} {
		must(validURL(f.value), f.name, "must be an http or https URL without query")
	}
	for _, f := range [...]struct{ name, value string }{
		{"Sources.ContainerdVersion", p.Sources.ContainerdVersion},
		{"Sources.RuncVersion", p.Sources.RuncVersion},
		{"Sources.CNIVersion", p.Sources.CNIVersion},
		{"Sources.CrictlVersion", p.Sources.CrictlVersion},
	} {
		must(versionRE.MatchString(f.value), f.name, "must be like v1.2.3")
	}
	for path, sum := range p.Checksums {
		must(pathRE.MatchString(path) && sumRE.MatchString(sum), "Checksums", "must map paths to SHA-256 sums in lower-case hexadecimal")
	}
	if err := p.checkAuthority(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// checkAuthority compares the certificates with the hash: kubeadm trusts the
// one and curl the other, and they must not differ.
func (p Params) checkAuthority() error {
	certs, err := certificates(p.CACert)
	if err != nil {
		return fmt.Errorf("CACert %w", err)
	}
	for _, c := range certs {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		if p.CACertHash == "sha256:"+hex.EncodeToString(sum[:]) {
			return nil
		}
	}
	return errors.New("CACertHash must be of a certificate in CACert")
}

func certificates(text []byte) ([]*x509.Certificate, error) {
	if len(text) > maxCACerts {
		return nil, errors.New("is too long")
	}
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("must hold nothing but certificates")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("must hold certificates that can be read")
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("must hold a certificate")
	}
	return certs, nil
}

// plainPEM encodes the certificates anew: headers and text around them stay out
// of the script.
func plainPEM(text []byte) []byte {
	var b bytes.Buffer
	certs, _ := certificates(text) // checked before
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes all
	}
	return b.Bytes()
}

func validServer(server string) bool {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
		return false
	}
	return validHost(host)
}

func validHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err == nil {
		return ip.Zone() == ""
	}
	return len(host) <= 253 && hostRE.MatchString(host)
}

// IsURL reports whether a script can hold text as the address of a server.
func IsURL(text string) bool { return validURL(text) }

func validURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && urlTextRE.MatchString(text) && u.User == nil && validHost(u.Hostname())
}

// displayable is text for a terminal: one line, nothing invisible.
func displayable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	const most = 500
	if r := []rune(text); len(r) > most {
		return string(r[:most])
	}
	return text
}
