package outbound

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

const maxURL = 2048

// CheckURL reports what is wrong with the form of a URL that somebody wants
// requests sent to, as a rule to follow the name of its field: "must be an http
// or https address". Nothing is resolved: where the host leads is checked when
// a connection is made. The error never holds a part of the URL.
func (c *Client) CheckURL(raw string) error {
	if len(raw) > maxURL {
		return refusal("must be no longer than 2048 characters")
	}
	u, err := url.Parse(raw)
	if err != nil || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return refusal("must be an http or https address") // the parser's words quote the address
	}
	if u.Fragment != "" || strings.Contains(raw, "#") {
		return refusal("must not have a fragment")
	}
	return c.guard.checkURL(u)
}

func (g *guard) checkURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" {
		return refusal("must be an http or https address")
	}
	if u.User != nil {
		return refusal("must not hold a name or a password before its host")
	}
	if u.Hostname() == "" {
		return refusal("must have a host")
	}
	port, err := portOf(u)
	if err != nil {
		return err
	}
	if err := checkPort(port); err != nil {
		return err
	}
	return g.checkHost(u.Hostname())
}

func (g *guard) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return refusal("must not have an IPv6 zone")
		}
		return g.checkAddr(addr)
	}
	// net/http does the same to a name before it resolves it, so that letters
	// in circles and wide digits become what they look like.
	name, err := idna.Lookup.ToASCII(host)
	name = strings.TrimSuffix(name, ".")
	if err != nil || !dnsName.MatchString(name) || len(name) > 253 {
		return refusal("must have a DNS name or an IP address as its host")
	}
	return checkName(name)
}

var (
	dnsName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	// numeric is a last label that makes C's resolver, and browsers, take the
	// whole for an IPv4 address in one of its odd forms.
	numeric = regexp.MustCompile(`^([0-9]+|0x[0-9a-f]*)$`)
)

// inward are the ends of names that no public DNS serves: RFC 6761, RFC 6762,
// RFC 8375, ICANN's reservation of "internal", and what Kubernetes and home
// routers use.
var inward = []string{
	"localhost", "localdomain", "local", "internal", "home.arpa", "intranet", "lan", "corp", "home", "private",
	"svc", "test", "invalid", "onion", "alt",
}

func checkName(name string) error {
	labels := strings.Split(name, ".")
	if numeric.MatchString(labels[len(labels)-1]) {
		return refusal("must write an IPv4 address as four decimal numbers")
	}
	if len(labels) == 1 || slices.ContainsFunc(inward, func(end string) bool { return strings.HasSuffix(name, "."+end) }) {
		return refusal("must have a name of the public DNS as its host")
	}
	return nil
}
