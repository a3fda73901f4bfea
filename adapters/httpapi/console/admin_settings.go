package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/notifications"
	"github.com/kubebyon/kubebyon/core/settings"
)

// SystemSettings are what administrators set about the installation. Secrets are
// never shown.
type SystemSettings struct {
	PublicBaseURL       *string            `json:"public_base_url" doc:"Where people reach the API. null: as the server was started." example:"https://kubebyon.example.com"`
	JoinBaseURL         *string            `json:"join_base_url" doc:"Where machines that join do. null: as the server was started." example:"https://join.example.com"`
	RegistrationEnabled bool               `json:"registration_enabled" doc:"Whether people may make accounts themselves." example:"false"`
	IngressBaseDomain   *string            `json:"managed_workload_ingress_base_domain" doc:"Under which clusters get names of their own." example:"apps.example.com"`
	IngressDNS          IngressDNSSettings `json:"managed_workload_ingress_dns"`
	OAuth               OAuthSettings      `json:"oauth"`
	HCaptcha            HCaptchaSettings   `json:"hcaptcha"`
	Stripe              StripeSettings     `json:"stripe"`
	SMTP                SMTPSettings       `json:"smtp"`
	UnreadableSections  []string           `json:"unreadable_sections" nullable:"false" doc:"Sections that are damaged or sealed with a key that is not there. They are not in use; set their secrets anew: those of notification_delivery among the messages' settings."`
	UpdatedAt           *operation.Time    `json:"updated_at" nullable:"true" doc:"null: nothing was ever set."`
}

// IngressDNSSettings are where the platform keeps DNS records.
type IngressDNSSettings struct {
	Enabled              bool               `json:"enabled" example:"true"`
	ActiveProvider       *string            `json:"active_provider" enum:"cloudflare" example:"cloudflare"`
	RecordTargetHostname *string            `json:"record_target_hostname" doc:"What the records point at." example:"ingress.example.com"`
	Cloudflare           CloudflareSettings `json:"cloudflare"`
}

// CloudflareSettings are a zone at Cloudflare.
type CloudflareSettings struct {
	ZoneID             *string `json:"zone_id" example:"023e105f4ecef8ad9ca31a8372d0c353"`
	APITokenConfigured bool    `json:"api_token_configured" example:"true"`
}

// OAuthSettings are the sign-in providers.
type OAuthSettings struct {
	Providers []OAuthProviderSettings `json:"providers" nullable:"false" maxItems:"20"`
}

// OAuthProviderSettings are one sign-in provider.
type OAuthProviderSettings struct {
	Name                   string  `json:"name" example:"company"`
	DisplayName            string  `json:"display_name" example:"Example Inc."`
	Type                   string  `json:"type" enum:"oidc,google,github" example:"oidc"`
	Issuer                 *string `json:"issuer" example:"https://id.example.com"`
	ClientID               *string `json:"client_id" example:"kubebyon"`
	ClientSecretConfigured bool    `json:"client_secret_configured" example:"true"`
	Enabled                bool    `json:"enabled" example:"true"`
}

// HCaptchaSettings tell people from programs.
type HCaptchaSettings struct {
	Enabled             bool    `json:"enabled" example:"false"`
	SiteKey             *string `json:"site_key" example:"10000000-ffff-ffff-ffff-000000000001"`
	SecretKeyConfigured bool    `json:"secret_key_configured" example:"false"`
}

// StripeSettings are how payments are taken.
type StripeSettings struct {
	Enabled                 bool `json:"enabled" example:"false"`
	SecretKeyConfigured     bool `json:"secret_key_configured" example:"false"`
	WebhookSecretConfigured bool `json:"webhook_secret_configured" example:"false"`
}

// SMTPSettings are the mail server.
type SMTPSettings struct {
	Enabled            bool    `json:"enabled" example:"true"`
	Host               *string `json:"host" example:"mail.example.com"`
	Port               int     `json:"port" example:"587"`
	Username           *string `json:"username" example:"kubebyon"`
	PasswordConfigured bool    `json:"password_configured" example:"true"`
	From               *string `json:"from" example:"KubeBYON <noreply@example.com>"`
	TLS                string  `json:"tls" enum:"none,starttls,tls" example:"starttls"`
}

// SystemSettingsAnswer holds the settings.
type SystemSettingsAnswer struct {
	Settings SystemSettings `json:"settings"`
}

// SystemSettingsChange changes the settings.
type SystemSettingsChange struct {
	Settings SystemSettingsUpdate `json:"settings"`
}

// SystemSettingsUpdate is what is to be different. What is left out or null
// stays. What was read may be sent back as it is: fields that only the server
// sets are passed by.
type SystemSettingsUpdate struct {
	PublicBaseURL       *string           `json:"public_base_url,omitempty" doc:"http or https, without a path. Empty: as the server was started." example:"https://kubebyon.example.com"`
	JoinBaseURL         *string           `json:"join_base_url,omitempty" doc:"The same." example:"https://join.example.com"`
	RegistrationEnabled *bool             `json:"registration_enabled,omitempty" example:"false"`
	IngressBaseDomain   *string           `json:"managed_workload_ingress_base_domain,omitempty" example:"apps.example.com"`
	IngressDNS          *IngressDNSUpdate `json:"managed_workload_ingress_dns,omitempty"`
	OAuth               *OAuthUpdate      `json:"oauth,omitempty"`
	HCaptcha            *HCaptchaUpdate   `json:"hcaptcha,omitempty"`
	Stripe              *StripeUpdate     `json:"stripe,omitempty"`
	SMTP                *SMTPUpdate       `json:"smtp,omitempty"`
	UnreadableSections  []string          `json:"unreadable_sections,omitempty" nullable:"false" doc:"Passed by."`
	UpdatedAt           *string           `json:"updated_at,omitempty" doc:"Passed by." example:"2026-04-23T07:50:00.000Z"`
}

// IngressDNSUpdate changes where the platform keeps DNS records.
type IngressDNSUpdate struct {
	Enabled              *bool             `json:"enabled,omitempty" doc:"true needs all the other fields." example:"false"`
	ActiveProvider       *string           `json:"active_provider,omitempty" doc:"cloudflare, or empty." example:"cloudflare"`
	RecordTargetHostname *string           `json:"record_target_hostname,omitempty" example:"ingress.example.com"`
	Cloudflare           *CloudflareUpdate `json:"cloudflare,omitempty"`
}

// CloudflareUpdate changes a zone at Cloudflare.
type CloudflareUpdate struct {
	ZoneID             *string `json:"zone_id,omitempty" example:"023e105f4ecef8ad9ca31a8372d0c353"`
	APIToken           string  `json:"api_token,omitempty" format:"password" doc:"Counts with api_token_changed, and is refused without; empty clears it." example:"v1-token"`
	APITokenChanged    bool    `json:"api_token_changed,omitempty" example:"true"`
	APITokenConfigured bool    `json:"api_token_configured,omitempty" doc:"Passed by." example:"true"`
}

// OAuthUpdate changes the sign-in providers.
type OAuthUpdate struct {
	Providers []OAuthProviderUpdate `json:"providers,omitempty" nullable:"false" maxItems:"20" doc:"All that there are to be, in the order in which they are offered. One that had its name before keeps what is left out, its secret too."`
}

// OAuthProviderUpdate changes the sign-in provider of that name, or makes it.
type OAuthProviderUpdate struct {
	Name                   string  `json:"name" doc:"In paths: 1 to 32 lower-case letters, digits or hyphens, unique." example:"company"`
	DisplayName            *string `json:"display_name,omitempty" doc:"1 to 64 printable characters. A new provider needs it." example:"Example Inc."`
	Type                   *string `json:"type,omitempty" enum:"oidc,google,github" doc:"A new provider needs it." example:"oidc"`
	Issuer                 *string `json:"issuer,omitempty" doc:"https, exactly as the provider spells it. Empty for google, and for github.com." example:"https://id.example.com"`
	ClientID               *string `json:"client_id,omitempty" example:"kubebyon"`
	ClientSecret           string  `json:"client_secret,omitempty" format:"password" doc:"Counts with client_secret_changed, and is refused without; empty clears it." example:"s3cr3t"`
	ClientSecretChanged    bool    `json:"client_secret_changed,omitempty" example:"true"`
	ClientSecretConfigured bool    `json:"client_secret_configured,omitempty" doc:"Passed by." example:"true"`
	Enabled                *bool   `json:"enabled,omitempty" doc:"true needs a client_id, for oidc an issuer, and for google and github a client_secret." example:"true"`
}

// HCaptchaUpdate changes what tells people from programs.
type HCaptchaUpdate struct {
	Enabled             *bool   `json:"enabled,omitempty" doc:"true needs both keys." example:"false"`
	SiteKey             *string `json:"site_key,omitempty" example:"10000000-ffff-ffff-ffff-000000000001"`
	SecretKey           string  `json:"secret_key,omitempty" format:"password" doc:"Counts with secret_key_changed, and is refused without; empty clears it." example:"0x0000000000000000000000000000000000000000"`
	SecretKeyChanged    bool    `json:"secret_key_changed,omitempty" example:"true"`
	SecretKeyConfigured bool    `json:"secret_key_configured,omitempty" doc:"Passed by." example:"true"`
}

// StripeUpdate changes how payments are taken.
type StripeUpdate struct {
	Enabled                 *bool  `json:"enabled,omitempty" doc:"true needs both secrets." example:"false"`
	SecretKey               string `json:"secret_key,omitempty" format:"password" doc:"Counts with secret_key_changed, and is refused without; empty clears it." example:"sk_test_0"`
	SecretKeyChanged        bool   `json:"secret_key_changed,omitempty" example:"true"`
	SecretKeyConfigured     bool   `json:"secret_key_configured,omitempty" doc:"Passed by." example:"true"`
	WebhookSecret           string `json:"webhook_secret,omitempty" format:"password" doc:"Counts with webhook_secret_changed, and is refused without; empty clears it." example:"whsec_0"`
	WebhookSecretChanged    bool   `json:"webhook_secret_changed,omitempty" example:"true"`
	WebhookSecretConfigured bool   `json:"webhook_secret_configured,omitempty" doc:"Passed by." example:"true"`
}

// SMTPUpdate changes the mail server.
type SMTPUpdate struct {
	Enabled            *bool   `json:"enabled,omitempty" doc:"true needs a host and a from." example:"true"`
	Host               *string `json:"host,omitempty" example:"mail.example.com"`
	Port               *int    `json:"port,omitempty" minimum:"1" maximum:"65535" example:"587"`
	Username           *string `json:"username,omitempty" doc:"With a password, or empty without." example:"kubebyon"`
	Password           string  `json:"password,omitempty" format:"password" doc:"Counts with password_changed, and is refused without; empty clears it." example:"hunter2"`
	PasswordChanged    bool    `json:"password_changed,omitempty" example:"true"`
	PasswordConfigured bool    `json:"password_configured,omitempty" doc:"Passed by." example:"true"`
	From               *string `json:"from,omitempty" doc:"An e-mail address, alone or behind a name." example:"KubeBYON <noreply@example.com>"`
	TLS                *string `json:"tls,omitempty" enum:"none,starttls,tls" doc:"none sends no password." example:"starttls"`
}

type settingsOut struct{ Body SystemSettingsAnswer }

func (h console) registerSettings() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getSystemSettings", Method: http.MethodGet, Path: "/api/console/admin/system-settings", Tags: []string{tagAdmin},
		Summary: "Read the system settings", Description: "For administrators. Of a secret the answer tells only whether there is one.",
	}, []string{"forbidden"}, func(ctx context.Context, _ *struct{}) (*settingsOut, error) {
		now, err := h.Settings.Get(ctx)
		if err != nil {
			return nil, err
		}
		messages, err := h.Notifications.Config(ctx)
		return &settingsOut{showSettings(now, messages)}, err
	})
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "updateSystemSettings", Method: http.MethodPut, Path: "/api/console/admin/system-settings", Tags: []string{tagAdmin},
		Summary: "Change the system settings",
		Description: "For administrators. What is left out stays; all of the change is made, or nothing. It is in use on every server within two seconds. " +
			"A secret `X` counts together with `X_changed`: true; without it, a secret that is not empty is refused.",
	}, []string{"forbidden", "stale_version"}, func(ctx context.Context, in *struct{ Body SystemSettingsChange }) (*settingsOut, error) {
		now, err := h.Settings.Update(ctx, in.Body.Settings.change())
		if err != nil {
			return nil, err
		}
		messages, _ := h.Notifications.Config(ctx) // the change is made
		return &settingsOut{showSettings(now, messages)}, nil
	})
}

func showSettings(s settings.Snapshot, messages notifications.Config) SystemSettingsAnswer {
	unreadable := each(s.Unreadable(), func(name settings.Section) string { return string(name) })
	if messages.Unreadable {
		unreadable = append(unreadable, "notification_delivery")
	}
	dns, captcha, smtp := s.IngressDNS, s.HCaptcha, s.SMTP
	return SystemSettingsAnswer{SystemSettings{
		PublicBaseURL: orNull(s.PublicBaseURL), JoinBaseURL: orNull(s.JoinBaseURL),
		RegistrationEnabled: s.RegistrationEnabled, IngressBaseDomain: orNull(s.IngressBaseDomain),
		IngressDNS: IngressDNSSettings{
			Enabled: dns.Enabled, ActiveProvider: orNull(dns.ActiveProvider), RecordTargetHostname: orNull(dns.RecordTargetHostname),
			Cloudflare: CloudflareSettings{ZoneID: orNull(dns.Cloudflare.ZoneID), APITokenConfigured: !dns.Cloudflare.APIToken.IsZero()},
		},
		OAuth:    OAuthSettings{each(s.OAuth.Providers, showProvider)},
		HCaptcha: HCaptchaSettings{Enabled: captcha.Enabled, SiteKey: orNull(captcha.SiteKey), SecretKeyConfigured: !captcha.SecretKey.IsZero()},
		Stripe: StripeSettings{
			Enabled: s.Stripe.Enabled, SecretKeyConfigured: !s.Stripe.SecretKey.IsZero(), WebhookSecretConfigured: !s.Stripe.WebhookSecret.IsZero(),
		},
		SMTP: SMTPSettings{
			Enabled: smtp.Enabled, Host: orNull(smtp.Host), Port: smtp.Port, Username: orNull(smtp.Username),
			PasswordConfigured: !smtp.Password.IsZero(), From: orNull(smtp.From), TLS: smtp.TLS,
		},
		UnreadableSections: unreadable,
		UpdatedAt:          operation.MaybeAt(s.UpdatedAt()),
	}}
}

func showProvider(p settings.Provider) OAuthProviderSettings {
	return OAuthProviderSettings{
		Name: p.Name, DisplayName: p.DisplayName, Type: p.Type, Issuer: orNull(p.Issuer), ClientID: orNull(p.ClientID),
		ClientSecretConfigured: !p.ClientSecret.IsZero(), Enabled: p.Enabled,
	}
}

func (u SystemSettingsUpdate) change() settings.Change {
	c := settings.Change{
		PublicBaseURL: u.PublicBaseURL, JoinBaseURL: u.JoinBaseURL, RegistrationEnabled: u.RegistrationEnabled, IngressBaseDomain: u.IngressBaseDomain,
	}
	if d := u.IngressDNS; d != nil {
		c.IngressDNS = d.change()
	}
	if u.OAuth != nil {
		c.OAuth = u.OAuth.change()
	}
	if h := u.HCaptcha; h != nil {
		c.HCaptcha = &settings.HCaptchaChange{Enabled: h.Enabled, SiteKey: h.SiteKey, SecretKey: newSecret(h.SecretKey, h.SecretKeyChanged)}
	}
	if s := u.Stripe; s != nil {
		c.Stripe = &settings.StripeChange{
			Enabled: s.Enabled, SecretKey: newSecret(s.SecretKey, s.SecretKeyChanged), WebhookSecret: newSecret(s.WebhookSecret, s.WebhookSecretChanged),
		}
	}
	if s := u.SMTP; s != nil {
		c.SMTP = &settings.SMTPChange{
			Enabled: s.Enabled, Host: s.Host, Port: s.Port, Username: s.Username, Password: newSecret(s.Password, s.PasswordChanged), From: s.From, TLS: s.TLS,
		}
	}
	return c
}

func (d IngressDNSUpdate) change() *settings.IngressDNSChange {
	c := &settings.IngressDNSChange{Enabled: d.Enabled, ActiveProvider: d.ActiveProvider, RecordTargetHostname: d.RecordTargetHostname}
	if d.Cloudflare != nil {
		c.ZoneID, c.APIToken = d.Cloudflare.ZoneID, newSecret(d.Cloudflare.APIToken, d.Cloudflare.APITokenChanged)
	}
	return c
}

func (o OAuthUpdate) change() *settings.OAuthChange {
	if o.Providers == nil {
		return &settings.OAuthChange{}
	}
	return &settings.OAuthChange{Providers: each(o.Providers, func(p OAuthProviderUpdate) settings.ProviderChange {
		return settings.ProviderChange{
			Name: p.Name, DisplayName: p.DisplayName, Type: p.Type, Issuer: p.Issuer, ClientID: p.ClientID,
			ClientSecret: newSecret(p.ClientSecret, p.ClientSecretChanged), Enabled: p.Enabled,
		}
	})}
}

func newSecret(value string, changed bool) settings.SecretChange {
	return settings.SecretChange{Value: secret.New(value), Changed: changed}
}
