package outbound

import (
	"net/netip"
	"net/url"
	"strconv"
	"syscall"

	"code.dny.dev/ssrf"
)

// guard knows which addresses are public.
type guard struct{ public *ssrf.Guardian }

func newGuard(admit []netip.Prefix) *guard {
	var v4, v6 []netip.Prefix
	for _, p := range admit {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	return &guard{ssrf.New(
		ssrf.WithAnyPort(), // checkPort has a rule of its own
		ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...),
	)}
}

// Control is asked for each connection with the address that it would be made
// to, as by [net.Dialer.Control], and refuses what is neither public nor in a
// network of admit: for those who speak something else than plain HTTP.
func Control(admit []netip.Prefix) func(network, address string, conn syscall.RawConn) error {
	return newGuard(admit).control
}

// control is asked for every connection, with the address that it would be
// made to, after the name was resolved.
func (g *guard) control(network, address string, conn syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return refusal("must be an IP address and a port")
	}
	if err := checkPort(to.Port()); err != nil {
		return err
	}
	if err := g.checkAddr(to.Addr()); err != nil {
		return err
	}
	if g.public.Safe(network, address, conn) != nil {
		return refusal("must be reached by TCP")
	}
	return nil
}

func (g *guard) checkAddr(a netip.Addr) error {
	if g.public.SafeAddr(a) == nil && !isMetadata(a.Unmap()) {
		return nil
	}
	return refusal("must be public, and " + what(a))
}

// what says why an address is not public. Addresses that hold another are
// named for how they hold it.
func what(a netip.Addr) string {
	if isMetadata(a) {
		return "is where a cloud keeps a machine's metadata"
	}
	for _, special := range []struct{ prefix, is string }{
		{"0.0.0.0/8", "is unspecified"},
		{"100.64.0.0/10", "is shared behind a carrier's NAT"},
		{"::ffff:0:0/96", "is an IPv4 address mapped to IPv6"},
		{"64:ff9b::/96", "is an IPv4 address behind NAT64"},
		{"64:ff9b:1::/48", "is an IPv4 address behind NAT64"},
		{"2002::/16", "is an IPv4 address behind 6to4"},
		{"2001::/32", "is an IPv4 address behind Teredo"},
	} {
		if netip.MustParsePrefix(special.prefix).Contains(a) {
			return special.is
		}
	}
	switch {
	case a.IsLoopback():
		return "is a loopback address"
	case a.IsPrivate():
		return "is private"
	case a.IsLinkLocalUnicast():
		return "is link-local"
	case a.IsUnspecified():
		return "is unspecified"
	case a.IsMulticast():
		return "is for multicast"
	}
	return "is reserved"
}

// isMetadata knows where clouds tell machines about themselves: nobody is let
// there, whatever the network around it is admitted for.
func isMetadata(a netip.Addr) bool {
	switch a.WithZone("").String() {
	case "169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254":
		return true
	}
	return false
}

// checkPort keeps requests away from what speaks something else: mail, names,
// remote shells. Above 1023 anything may be a web server.
func checkPort(port uint16) error {
	if port != 80 && port != 443 && port < 1024 {
		return refusal("must have port 80, 443, or one from 1024 to 65535")
	}
	return nil
}

func portOf(u *url.URL) (uint16, error) {
	switch {
	case u.Port() == "" && u.Scheme == "http":
		return 80, nil
	case u.Port() == "":
		return 443, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return 0, refusal("must have port 80, 443, or one from 1024 to 65535")
	}
	return uint16(port), nil
}
