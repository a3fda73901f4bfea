package settings

import (
	"net/url"
	"slices"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
)

// Change is what is to be different. A nil section or field stays as it is.
type Change struct {
	PublicBaseURL       *string
	JoinBaseURL         *string
	RegistrationEnabled *bool
	IngressBaseDomain   *string
	IngressDNS          *IngressDNSChange
	OAuth               *OAuthChange
	HCaptcha            *HCaptchaChange
	Stripe              *StripeChange
	SMTP                *SMTPChange
}

// SecretChange replaces a secret, or clears it when the Value is empty. Without
// Changed the secret stays, and a Value is refused: whoever sent it would believe
// that it counts.
type SecretChange struct {
	Value   secret.Text
	Changed bool
}

// IngressDNSChange changes IngressDNS.
type IngressDNSChange struct {
	Enabled              *bool
	ActiveProvider       *string
	RecordTargetHostname *string
	ZoneID               *string
	APIToken             SecretChange
}

// OAuthChange changes OAuth. Providers, when they are not nil, are all that there
// are to be, in order; each is a change to the one that had its name before.
type OAuthChange struct{ Providers []ProviderChange }

// ProviderChange changes the Provider of that Name, or makes it.
type ProviderChange struct {
	Name         string
	DisplayName  *string
	Type         *string
	Issuer       *string
	ClientID     *string
	ClientSecret SecretChange
	Enabled      *bool
}

// HCaptchaChange changes HCaptcha.
type HCaptchaChange struct {
	Enabled   *bool
	SiteKey   *string
	SecretKey SecretChange
}

// StripeChange changes Stripe.
type StripeChange struct {
	Enabled       *bool
	SecretKey     SecretChange
	WebhookSecret SecretChange
}

// SMTPChange changes SMTP.
type SMTPChange struct {
	Enabled  *bool
	Host     *string
	Port     *int
	Username *string
	Password SecretChange
	From     *string
	TLS      *string
}

// names are the sections that a Change is about.
func (c Change) names() (out []Section) {
	if c.PublicBaseURL != nil || c.JoinBaseURL != nil || c.RegistrationEnabled != nil || c.IngressBaseDomain != nil {
		out = append(out, InGeneral)
	}
	for name, named := range map[Section]bool{
		InIngressDNS: c.IngressDNS != nil, InOAuth: c.OAuth != nil, InHCaptcha: c.HCaptcha != nil, InStripe: c.Stripe != nil, InSMTP: c.SMTP != nil,
	} {
		if named {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// merge is a Change that is being made.
type merge struct {
	to      Settings
	check   fault.Check
	secrets map[Section]bool // in which a secret was set or cleared
}

// apply returns what the settings become. Nothing is checked yet but the form of
// the change itself.
func (c Change) apply(to Settings) *merge {
	m := &merge{to: to.clone(), secrets: map[Section]bool{}}
	setTo(&m.to.PublicBaseURL, c.PublicBaseURL, normalURL)
	setTo(&m.to.JoinBaseURL, c.JoinBaseURL, normalURL)
	set(&m.to.RegistrationEnabled, c.RegistrationEnabled)
	setTo(&m.to.IngressBaseDomain, c.IngressBaseDomain, normalDomain)
	if d := c.IngressDNS; d != nil {
		m.ingressDNS(d)
	}
	if c.OAuth != nil && c.OAuth.Providers != nil {
		m.providers(c.OAuth.Providers)
	}
	if h := c.HCaptcha; h != nil {
		set(&m.to.HCaptcha.Enabled, h.Enabled)
		set(&m.to.HCaptcha.SiteKey, h.SiteKey)
		m.secret(InHCaptcha, location(InHCaptcha, "secret_key"), &m.to.HCaptcha.SecretKey, h.SecretKey)
	}
	if s := c.Stripe; s != nil {
		set(&m.to.Stripe.Enabled, s.Enabled)
		m.secret(InStripe, location(InStripe, "secret_key"), &m.to.Stripe.SecretKey, s.SecretKey)
		m.secret(InStripe, location(InStripe, "webhook_secret"), &m.to.Stripe.WebhookSecret, s.WebhookSecret)
	}
	if s := c.SMTP; s != nil {
		m.smtp(s)
	}
	return m
}

func (m *merge) ingressDNS(c *IngressDNSChange) {
	d := &m.to.IngressDNS
	set(&d.Enabled, c.Enabled)
	set(&d.ActiveProvider, c.ActiveProvider)
	setTo(&d.RecordTargetHostname, c.RecordTargetHostname, normalDomain)
	set(&d.Cloudflare.ZoneID, c.ZoneID)
	m.secret(InIngressDNS, location(InIngressDNS, "cloudflare.api_token"), &d.Cloudflare.APIToken, c.APIToken)
}

func (m *merge) smtp(c *SMTPChange) {
	s := &m.to.SMTP
	was := *s
	set(&s.Enabled, c.Enabled)
	set(&s.Host, c.Host)
	set(&s.Port, c.Port)
	set(&s.Username, c.Username)
	m.secret(InSMTP, location(InSMTP, "password"), &s.Password, c.Password)
	set(&s.From, c.From)
	set(&s.TLS, c.TLS)
	m.follows(location(InSMTP, "password"), was.Password, c.Password, s.Host != was.Host || s.Port != was.Port || s.TLS != was.TLS)
}

func (m *merge) providers(changes []ProviderChange) {
	before := m.to.OAuth.Providers
	m.to.OAuth.Providers = make([]Provider, 0, len(changes))
	for i, c := range changes {
		p := Provider{Name: c.Name}
		was := p
		if j := slices.IndexFunc(before, func(p Provider) bool { return p.Name == c.Name }); j >= 0 {
			p, was = before[j], before[j]
		}
		set(&p.DisplayName, c.DisplayName)
		set(&p.Type, c.Type)
		set(&p.Issuer, c.Issuer)
		set(&p.ClientID, c.ClientID)
		m.secret(InOAuth, providerAt(i)+".client_secret", &p.ClientSecret, c.ClientSecret)
		set(&p.Enabled, c.Enabled)
		m.follows(providerAt(i)+".client_secret", was.ClientSecret, c.ClientSecret, p.Issuer != was.Issuer || p.Type != was.Type)
		m.to.OAuth.Providers = append(m.to.OAuth.Providers, p)
	}
}

// follows wants a secret anew with another place that it would be sent to:
// whoever may set where does not thereby get to know what.
func (m *merge) follows(at string, kept secret.Text, c SecretChange, moved bool) {
	m.check.That(kept.IsZero() || c.Changed || !moved, at, "must be sent anew, or cleared, with another place to send it to")
}

func set[T any](field, asked *T) {
	if asked != nil {
		*field = *asked
	}
}

func setTo(field, asked *string, normal func(string) string) {
	if asked != nil {
		*field = normal(*asked)
	}
}

func (m *merge) secret(in Section, at string, field *secret.Text, c SecretChange) {
	name := at[strings.LastIndexByte(at, '.')+1:]
	m.check.That(c.Changed || c.Value.IsZero(), at, "must come with %s_changed: true, or be left out", name)
	if c.Changed {
		*field = c.Value
		m.secrets[in] = true
	}
}

// normalURL is the one spelling of a base URL that is one.
func normalURL(s string) string {
	u, err := url.Parse(strings.TrimSuffix(s, "/"))
	if err != nil {
		return s
	}
	u.Host = strings.ToLower(u.Host)
	return u.String()
}

func normalDomain(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }
