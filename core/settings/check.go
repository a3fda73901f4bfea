package settings

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// MaxProviders is how many sign-in providers there may be.
const MaxProviders = 20

const (
	maxURL    = 255
	maxSecret = 512
	maxUser   = 254
)

var (
	domainRE = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)    //nolint:gochecknoglobals // a constant: two labels at least, and no IPv4 address
	hostRE   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`) //nolint:gochecknoglobals // a constant: RFC 1123
	zoneRE   = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)                                                         //nolint:gochecknoglobals // a constant
	baseRE   = regexp.MustCompile(`^https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$`)                      //nolint:gochecknoglobals // a constant
)

// location is where a field of a section is in the request.
func location(in Section, field string) string {
	if in == InGeneral {
		return "body.settings." + field
	}
	return "body.settings." + string(in) + "." + field
}

func providerAt(i int) string { return location(InOAuth, "providers["+strconv.Itoa(i)+"]") }

// checkSections finds what is wrong with the named sections.
func (s *Service) checkSections(c *fault.Check, of Settings, names []Section) {
	for _, name := range names {
		switch name {
		case InGeneral:
			of.General.check(c)
		case InIngressDNS:
			of.IngressDNS.check(c)
		case InOAuth:
			of.OAuth.check(c)
		case InHCaptcha:
			of.HCaptcha.check(c)
		case InStripe:
			of.Stripe.check(c)
		case InSMTP:
			s.checkMail(c, of.SMTP)
		}
	}
}

func (g General) check(c *fault.Check) {
	c.That(g.PublicBaseURL == "" || isBaseURL(g.PublicBaseURL), location(InGeneral, "public_base_url"), "%s", baseURLRule)
	c.That(g.JoinBaseURL == "" || isBaseURL(g.JoinBaseURL), location(InGeneral, "join_base_url"), "%s", baseURLRule)
	c.That(g.IngressBaseDomain == "" || isDomain(g.IngressBaseDomain), location(InGeneral, "managed_workload_ingress_base_domain"), "%s", domainRule)
}

const (
	baseURLRule = "must be like https://kubebyon.example.com, without a path, or empty"
	domainRule  = "must be a DNS name like apps.example.com, or empty"
	visibleRule = "must be 1 to %d characters without spaces"
)

// isBaseURL keeps out whatever a shell or a browser may take for something else:
// commands that people paste begin with it.
func isBaseURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL || !baseRE.MatchString(s) {
		return false
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	return isHost(u.Hostname())
}

func isHost(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Zone() == "" && !a.IsUnspecified() && !a.IsMulticast()
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	return len(s) <= 253 && hostRE.MatchString(s) && strings.ContainsFunc(last, func(r rune) bool { return r < '0' || r > '9' })
}

func isDomain(s string) bool { return len(s) <= 253 && domainRE.MatchString(s) }

func isSecret(s secret.Text) bool {
	text := s.Reveal()
	return text != "" && len(text) <= maxSecret && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// needed refuses a section that is on without what it needs.
func needed(c *fault.Check, enabled, there bool, at string) {
	c.That(!enabled || there, at, "must be set to enable it")
}

func (d IngressDNS) check(c *fault.Check) {
	at := func(field string) string { return location(InIngressDNS, field) }
	c.That(d.ActiveProvider == "" || d.ActiveProvider == CloudflareProvider, at("active_provider"), "must be %s, or empty", CloudflareProvider)
	c.That(d.RecordTargetHostname == "" || isDomain(d.RecordTargetHostname), at("record_target_hostname"), "%s", domainRule)
	zone, token := d.Cloudflare.ZoneID, d.Cloudflare.APIToken
	c.That(zone == "" || zoneRE.MatchString(zone), at("cloudflare.zone_id"), "must be 1 to 64 letters and digits, or empty")
	c.That(token.IsZero() || isSecret(token), at("cloudflare.api_token"), visibleRule, maxSecret)
	needed(c, d.Enabled, d.ActiveProvider != "", at("active_provider"))
	needed(c, d.Enabled, d.RecordTargetHostname != "", at("record_target_hostname"))
	needed(c, d.Enabled, zone != "", at("cloudflare.zone_id"))
	needed(c, d.Enabled, !token.IsZero(), at("cloudflare.api_token"))
}

func (o OAuth) check(c *fault.Check) {
	c.That(len(o.Providers) <= MaxProviders, location(InOAuth, "providers"), "must be at most %d", MaxProviders)
	seen := map[string]bool{}
	for i, p := range o.Providers[:min(len(o.Providers), MaxProviders)] {
		at := providerAt(i)
		c.That(!seen[p.Name], at+".name", "must be another than those before it")
		seen[p.Name] = true
		var found fault.Check
		p.Config().Check(&found, at)
		adopt(c, found.Err(), "", func(field string) bool {
			return !p.Enabled && (field == at+".issuer" && p.Issuer == "" || field == at+".client_id" && p.ClientID == "" ||
				field == at+".client_secret" && p.ClientSecret.IsZero())
		})
	}
}

func (h HCaptcha) check(c *fault.Check) {
	at := location(InHCaptcha, "")
	var found fault.Check
	h.Config().Check(&found, strings.TrimSuffix(at, "."))
	adopt(c, found.Err(), "", func(field string) bool {
		return !h.Enabled && (field == at+"site_key" && h.SiteKey == "" || field == at+"secret_key" && h.SecretKey.IsZero())
	})
}

func (s Stripe) check(c *fault.Check) {
	for _, one := range []struct {
		value secret.Text
		field string
	}{{s.SecretKey, "secret_key"}, {s.WebhookSecret, "webhook_secret"}} {
		c.That(one.value.IsZero() || isSecret(one.value), location(InStripe, one.field), visibleRule, maxSecret)
		needed(c, s.Enabled, !one.value.IsZero(), location(InStripe, one.field))
	}
}

// checkMail has the channel's own rules, and limits for what it sends as it is.
func (s *Service) checkMail(c *fault.Check, m SMTP) {
	at := location(InSMTP, "")
	c.That(isLine(m.Username, maxUser), at+"username", "must be at most %d printable characters", maxUser)
	c.That(isLine(m.Password.Reveal(), maxSecret), at+"password", "must be at most %d printable characters", maxSecret)
	empty := map[string]bool{at + "host": m.Host == "", at + "from": m.From == "", at + "username": m.Username == "", at + "password": m.Password.IsZero()}
	adopt(c, s.deps.CheckMail(m.Server()), at, func(field string) bool { return !m.Enabled && empty[field] })
}

func isLine(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// adopt takes over what rules of a port have found, but for what may be missing.
func adopt(c *fault.Check, err error, prefix string, mayLack func(field string) bool) {
	if err == nil {
		return
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || len(f.Fields) == 0 {
		c.That(false, strings.TrimSuffix(prefix, "."), "must be such that a client can be made from it")
		return
	}
	fields := slices.CompactFunc(slices.Clone(f.Fields), func(a, b fault.Field) bool { return a == b })
	for _, field := range fields {
		at := prefix + field.Location
		c.That(mayLack(at), at, "%s", field.Message)
	}
}
