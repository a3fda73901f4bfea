// Package settings owns what administrators set about the installation: where it
// is reached, who may come in and how, which mail server takes its mail. Secrets
// among it are sealed in the store and never read back by anybody but the parts
// that use them.
//
// What is set is in use everywhere within two seconds, without a restart: whoever
// needs it asks [Service.Current] each time, and what was made from a section is
// made anew when the section's version is another.
package settings

import (
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/captcha"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/sso"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Section is a part of the settings that is written, sealed and versioned as one.
type Section string

// The sections that there are.
const (
	InGeneral    Section = "general"
	InIngressDNS Section = "managed_workload_ingress_dns"
	InOAuth      Section = "oauth"
	InHCaptcha   Section = "hcaptcha"
	InStripe     Section = "stripe"
	InSMTP       Section = "smtp"
)

func sections() []Section {
	return []Section{InGeneral, InIngressDNS, InOAuth, InHCaptcha, InStripe, InSMTP}
}

// Settings are all that is set. What nobody has set is as [Defaults] says.
type Settings struct {
	General
	IngressDNS IngressDNS
	OAuth      OAuth
	HCaptcha   HCaptcha
	Stripe     Stripe
	SMTP       SMTP
}

// General is what needs no section of its own.
type General struct {
	PublicBaseURL       string `json:"public_base_url"` // empty: what the server was started with
	JoinBaseURL         string `json:"join_base_url"`   // the same
	RegistrationEnabled bool   `json:"registration_enabled"`
	IngressBaseDomain   string `json:"managed_workload_ingress_base_domain"`
}

// IngressDNS is where the platform keeps DNS records of its own.
type IngressDNS struct {
	Enabled              bool       `json:"enabled"`
	ActiveProvider       string     `json:"active_provider"` // Cloudflare, or empty
	RecordTargetHostname string     `json:"record_target_hostname"`
	Cloudflare           Cloudflare `json:"cloudflare"`
}

// CloudflareProvider is the one provider of DNS.
const CloudflareProvider = "cloudflare"

// Cloudflare is a zone there.
type Cloudflare struct {
	ZoneID   string      `json:"zone_id"`
	APIToken secret.Text `json:"-"`
}

// OAuth are those who let people in whom they know, in the order in which they
// are offered.
type OAuth struct {
	Providers []Provider `json:"providers"`
}

// Provider is one of them.
type Provider struct {
	Name         string      `json:"name"`
	DisplayName  string      `json:"display_name"`
	Type         string      `json:"type"`
	Issuer       string      `json:"issuer"`
	ClientID     string      `json:"client_id"`
	ClientSecret secret.Text `json:"-"`
	Enabled      bool        `json:"enabled"`
}

// Config is what its client is made from.
func (p Provider) Config() sso.Config {
	return sso.Config{
		Name: p.Name, DisplayName: p.DisplayName, Type: sso.Type(p.Type), Issuer: p.Issuer, ClientID: p.ClientID, ClientSecret: p.ClientSecret,
	}
}

// HCaptcha tells people from programs.
type HCaptcha struct {
	Enabled   bool        `json:"enabled"`
	SiteKey   string      `json:"site_key"`
	SecretKey secret.Text `json:"-"`
}

// Config is what its client is made from.
func (h HCaptcha) Config() captcha.Config {
	return captcha.Config{SiteKey: h.SiteKey, SecretKey: h.SecretKey}
}

// Stripe takes payments.
type Stripe struct {
	Enabled       bool        `json:"enabled"`
	SecretKey     secret.Text `json:"-"`
	WebhookSecret secret.Text `json:"-"`
}

// SMTP is the mail server.
type SMTP struct {
	Enabled  bool        `json:"enabled"`
	Host     string      `json:"host"`
	Port     int         `json:"port"`
	Username string      `json:"username"`
	Password secret.Text `json:"-"`
	From     string      `json:"from"`
	TLS      string      `json:"tls"`
}

// Server is what its client is made from.
func (s SMTP) Server() notify.SMTP {
	return notify.SMTP{Host: s.Host, Port: s.Port, TLS: s.TLS, Username: s.Username, Password: s.Password, From: s.From}
}

// Defaults are the settings of a new installation: everything is off, and
// accounts are made by administrators.
func Defaults() Settings {
	return Settings{OAuth: OAuth{Providers: []Provider{}}, SMTP: SMTP{Port: 587, TLS: notify.TLSStart}}
}

func (s Settings) clone() Settings {
	s.OAuth.Providers = slices.Clone(s.OAuth.Providers)
	return s
}

// Snapshot is the settings as they were at one moment. It is shared: nobody
// changes it.
type Snapshot struct {
	Settings
	records    map[Section]store.Setting
	unreadable map[Section]error
}

// UpdatedAt is when anything was last set, nil if nothing ever was.
func (s Snapshot) UpdatedAt() (at *time.Time) {
	for _, r := range s.records {
		if at == nil || r.UpdatedAt.After(*at) {
			at = &r.UpdatedAt
		}
	}
	return at
}

// Version is another whenever a section is another; 0: it was never set.
func (s Snapshot) Version(of Section) int64 { return s.records[of].Version }

// Check fails with the code settings_unreadable for a section that is damaged or
// sealed with a key that is not there. Its secrets are missing then, and no use
// may be made of it. The other sections are as good as ever.
func (s Snapshot) Check(of Section) error { return s.unreadable[of] }

// Unreadable are the sections that Check fails for.
func (s Snapshot) Unreadable() (out []Section) {
	for _, name := range sections() {
		if s.unreadable[name] != nil {
			out = append(out, name)
		}
	}
	return out
}
