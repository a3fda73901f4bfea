package edge

import (
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Proxies are the networks of the proxies whose headers are believed. A header
// from anybody else is what the client wants to be thought.
type Proxies []netip.Prefix

func (p Proxies) trusts(a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// peer is the other end of the connection.
func peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return plain(a.Addr())
}

// plain is the one spelling of an address: IPv4 as such, no zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// ClientIP is the address of whoever asked. Behind trusted proxies it is the
// rightmost address that no trusted proxy has: what stands left of it was
// written by the client. X-Forwarded-For and Forwarded may both be there; when
// they disagree one was not written by the proxy, and none is believed.
func (p Proxies) ClientIP(r *http.Request) netip.Addr {
	from := peer(r)
	if !p.trusts(from) {
		return from
	}
	var found []netip.Addr
	if hops := list(r.Header.Values("X-Forwarded-For")); len(hops) > 0 {
		found = append(found, p.rightmostUntrusted(from, hops))
	}
	if hops := forwardedFor(r.Header.Values("Forwarded")); len(hops) > 0 {
		found = append(found, p.rightmostUntrusted(from, hops))
	}
	if len(found) == 0 || found[0] != found[len(found)-1] {
		return from
	}
	return found[0]
}

// rightmostUntrusted walks from the server towards the client. Where a hop
// cannot be read, the last one that could be is as much as is known.
func (p Proxies) rightmostUntrusted(from netip.Addr, hops []string) netip.Addr {
	for _, hop := range slices.Backward(hops) {
		a, ok := hopAddr(hop)
		if !ok {
			return from
		}
		from = a
		if !p.trusts(a) {
			return a
		}
	}
	return from
}

// list joins the values of a header that is a list.
func list(values []string) (out []string) {
	for _, v := range values {
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// hopAddr reads "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]" and
// "[2001:db8::1]:80".
func hopAddr(hop string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]")); err == nil {
		return plain(a), true
	}
	a, err := netip.ParseAddrPort(hop)
	return plain(a.Addr()), err == nil
}

// forwardedFor returns the for= of each element of RFC 7239 Forwarded headers;
// "" for an element that has none or cannot be read. A quotation that a client
// opened and the proxy's own element closed makes the whole line unreadable: it
// would hide that element.
func forwardedFor(values []string) (out []string) {
	for _, v := range values {
		elements, ok := splitQuoted(v, ',')
		if !ok {
			out = append(out, "")
			continue
		}
		for _, element := range elements {
			if strings.TrimSpace(element) != "" {
				out = append(out, parameter(element, "for"))
			}
		}
	}
	return out
}

// parameter returns the only parameter of a name, unquoted. Two of one name are
// a trick: none.
func parameter(element, name string) (value string) {
	seen := false
	pairs, _ := splitQuoted(element, ';')
	for _, pair := range pairs {
		k, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(k), name) {
			continue
		}
		if seen {
			return ""
		}
		seen, value = true, unquote(strings.TrimSpace(v))
	}
	return value
}

// splitQuoted splits at sep outside quoted strings. It reports whether every
// quoted string ends.
func splitQuoted(s string, sep byte) (out []string, ok bool) {
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case !quoted && s[i] == sep:
			out, start = append(out, s[start:i]), i+1
		}
	}
	return append(out, s[start:]), !quoted
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i+1 < len(s)-1 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

var hostRE = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`) //nolint:gochecknoglobals // a constant

// Origin is "scheme://host[:port]" as the client sees this server, or empty
// where the Host is nothing that could stand in a URL. A trusted proxy may say
// which scheme and host the client used.
func (p Proxies) Origin(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if p.trusts(peer(r)) {
		if s := strings.ToLower(last(r.Header.Values("X-Forwarded-Proto"))); s == "http" || s == "https" {
			scheme = s
		}
		if h := last(r.Header.Values("X-Forwarded-Host")); h != "" {
			host = h
		}
	}
	return originOf(scheme, host)
}

func last(values []string) string {
	all := list(values)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// originOf spells an origin as browsers do: lower case, no default port.
func originOf(scheme, hostport string) string {
	hostport = strings.ToLower(hostport)
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]"), ""
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		if a.Is6() {
			host = "[" + host + "]"
		}
	} else if !hostRE.MatchString(host) || len(host) > 253 {
		return ""
	}
	if port == "" || (scheme == "http" && port == "80") || (scheme == "https" && port == "443") {
		return scheme + "://" + host
	}
	if strings.Trim(port, "0123456789") != "" || len(port) > 5 {
		return ""
	}
	return scheme + "://" + host + ":" + port
}
