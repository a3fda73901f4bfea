package settings_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/settings"
)

func many(n int) (out []settings.ProviderChange) {
	for i := range n {
		out = append(out, settings.ProviderChange{Name: "p" + strconv.Itoa(i), DisplayName: new("P"), Type: new("oidc")})
	}
	return out
}

func providers(p ...settings.ProviderChange) settings.Change {
	return settings.Change{OAuth: &settings.OAuthChange{Providers: p}}
}

func smtp(s settings.SMTPChange) settings.Change { return settings.Change{SMTP: &s} }

func dns(d settings.IngressDNSChange) settings.Change { return settings.Change{IngressDNS: &d} }

// TestRefusalsNameTheField, and never the value. Each change is made to new
// settings.
func TestRefusalsNameTheField(t *testing.T) {
	t.Parallel()
	oidc := settings.ProviderChange{Name: "x", DisplayName: new("X"), Type: new("oidc")}
	on := oidc
	on.Enabled = new(true)
	for name, c := range map[string]struct {
		change settings.Change
		want   string // locations, without body.settings.; empty: taken
	}{
		"nothing":                   {settings.Change{}, ""},
		"everything":                {everything(), ""},
		"URLs":                      {settings.Change{PublicBaseURL: new("HTTPS://Example.COM/"), JoinBaseURL: new("http://[2001:db8::1]:8080")}, ""},
		"URLs that are empty":       {settings.Change{PublicBaseURL: new(""), JoinBaseURL: new("")}, ""},
		"a URL with a path":         {settings.Change{PublicBaseURL: new("https://hunter2.example.com/a")}, "public_base_url"},
		"a URL with a query":        {settings.Change{PublicBaseURL: new("https://hunter2.example.com?a")}, "public_base_url"},
		"a URL with a fragment":     {settings.Change{PublicBaseURL: new("https://hunter2.example.com#a")}, "public_base_url"},
		"a URL with a user":         {settings.Change{PublicBaseURL: new("https://hunter2@example.com")}, "public_base_url"},
		"a URL for another scheme":  {settings.Change{JoinBaseURL: new("ftp://hunter2.example.com")}, "join_base_url"},
		"a URL for a shell":         {settings.Change{JoinBaseURL: new("https://$(hunter2)")}, "join_base_url"},
		"a URL without a host":      {settings.Change{JoinBaseURL: new("https://:8080")}, "join_base_url"},
		"a URL without a port":      {settings.Change{JoinBaseURL: new("https://a.example.com:")}, "join_base_url"},
		"a URL with a wrong port":   {settings.Change{JoinBaseURL: new("https://a.example.com:65536")}, "join_base_url"},
		"a URL with port 0":         {settings.Change{JoinBaseURL: new("https://a.example.com:0")}, "join_base_url"},
		"a URL with an odd address": {settings.Change{JoinBaseURL: new("https://127.1")}, "join_base_url"},
		"a URL for nobody":          {settings.Change{JoinBaseURL: new("https://0.0.0.0")}, "join_base_url"},
		"a long URL":                {settings.Change{JoinBaseURL: new("https://" + strings.Repeat("hunter2.", 33) + "com")}, "join_base_url"},
		"a domain":                  {settings.Change{IngressBaseDomain: new("Apps.Example.com.")}, ""},
		"a domain of one label":     {settings.Change{IngressBaseDomain: new("hunter2")}, "managed_workload_ingress_base_domain"},
		"a wildcard":                {settings.Change{IngressBaseDomain: new("*.hunter2.com")}, "managed_workload_ingress_base_domain"},
		"an address for a domain":   {settings.Change{IngressBaseDomain: new("192.0.2.1")}, "managed_workload_ingress_base_domain"},
		"two faults":                {settings.Change{PublicBaseURL: new("x"), IngressBaseDomain: new("x")}, "public_base_url managed_workload_ingress_base_domain"},

		"DNS on alone":           {dns(settings.IngressDNSChange{Enabled: new(true)}), "managed_workload_ingress_dns.active_provider managed_workload_ingress_dns.record_target_hostname managed_workload_ingress_dns.cloudflare.zone_id managed_workload_ingress_dns.cloudflare.api_token"},
		"another DNS provider":   {dns(settings.IngressDNSChange{ActiveProvider: new("hunter2")}), "managed_workload_ingress_dns.active_provider"},
		"an odd target":          {dns(settings.IngressDNSChange{RecordTargetHostname: new("https://hunter2.example.com")}), "managed_workload_ingress_dns.record_target_hostname"},
		"an odd zone":            {dns(settings.IngressDNSChange{ZoneID: new("../hunter2")}), "managed_workload_ingress_dns.cloudflare.zone_id"},
		"a token with a line":    {dns(settings.IngressDNSChange{APIToken: newSecret("hunter2\n")}), "managed_workload_ingress_dns.cloudflare.api_token"},
		"a secret by accident":   {dns(settings.IngressDNSChange{APIToken: settings.SecretChange{Value: secret.New("hunter2")}}), "managed_workload_ingress_dns.cloudflare.api_token"},
		"a secret left as it is": {dns(settings.IngressDNSChange{ZoneID: new("abc"), APIToken: settings.SecretChange{}}), ""},

		"20 providers":                 {providers(many(20)...), ""},
		"21 providers":                 {providers(many(21)...), "oauth.providers"},
		"two of a name":                {providers(append(many(1), many(1)...)...), "oauth.providers[1].name"},
		"a path for a name":            {providers(settings.ProviderChange{Name: "../hunter2", DisplayName: new("x"), Type: new("oidc")}), "oauth.providers[0].name"},
		"a long name":                  {providers(settings.ProviderChange{Name: strings.Repeat("a", 33), DisplayName: new("x"), Type: new("oidc")}), "oauth.providers[0].name"},
		"a provider of nothing":        {providers(settings.ProviderChange{Name: "x"}), "oauth.providers[0].display_name oauth.providers[0].type"},
		"a provider that is off":       {providers(oidc), ""},
		"a provider on alone":          {providers(on), "oauth.providers[0].client_id oauth.providers[0].issuer"},
		"GitHub on alone":              {providers(settings.ProviderChange{Name: "x", DisplayName: new("X"), Type: new("github"), Enabled: new(true)}), "oauth.providers[0].client_id oauth.providers[0].client_secret"},
		"an issuer in clear, also off": {providers(settings.ProviderChange{Name: "x", DisplayName: new("X"), Type: new("oidc"), Issuer: new("http://hunter2.example.com")}), "oauth.providers[0].issuer"},
		"a client's secret by accident": {providers(oidc, settings.ProviderChange{
			Name: "y", DisplayName: new("Y"), Type: new("oidc"), ClientSecret: settings.SecretChange{Value: secret.New("hunter2")},
		}), "oauth.providers[1].client_secret"},

		"a captcha on alone":   {settings.Change{HCaptcha: &settings.HCaptchaChange{Enabled: new(true)}}, "hcaptcha.site_key hcaptcha.secret_key"},
		"a captcha by half":    {settings.Change{HCaptcha: &settings.HCaptchaChange{SiteKey: new("site")}}, ""},
		"an odd site key":      {settings.Change{HCaptcha: &settings.HCaptchaChange{SiteKey: new("hunter2 ")}}, "hcaptcha.site_key"},
		"payments on alone":    {settings.Change{Stripe: &settings.StripeChange{Enabled: new(true)}}, "stripe.secret_key stripe.webhook_secret"},
		"payments by half":     {settings.Change{Stripe: &settings.StripeChange{Enabled: new(true), SecretKey: newSecret("x")}}, "stripe.webhook_secret"},
		"an odd Stripe key":    {settings.Change{Stripe: &settings.StripeChange{SecretKey: newSecret("hunter2\t")}}, "stripe.secret_key"},
		"mail on alone":        {smtp(settings.SMTPChange{Enabled: new(true)}), "smtp.host smtp.from"},
		"mail by half":         {smtp(settings.SMTPChange{Username: new("kubebyon")}), ""},
		"mail without a word":  {smtp(settings.SMTPChange{Enabled: new(true), Host: new("m"), From: new("a@b.c"), Username: new("x")}), "smtp.password"},
		"mail in any way":      {smtp(settings.SMTPChange{TLS: new("hunter2")}), "smtp.tls"},
		"an odd mail server":   {smtp(settings.SMTPChange{Host: new("http://hunter2")}), "smtp.host"},
		"mail by port 0":       {smtp(settings.SMTPChange{Port: new(0)}), "smtp.port"},
		"mail by a high port":  {smtp(settings.SMTPChange{Port: new(65536)}), "smtp.port"},
		"mail from nobody":     {smtp(settings.SMTPChange{From: new("hunter2")}), "smtp.from"},
		"mail with a header":   {smtp(settings.SMTPChange{From: new("a@b.c\r\nBcc: hunter2")}), "smtp.from"},
		"a user with a line":   {smtp(settings.SMTPChange{Username: new("hunter2\n")}), "smtp.username"},
		"a password with NUL":  {smtp(settings.SMTPChange{Username: new("x"), Password: newSecret("hunter2\x00")}), "smtp.password"},
		"a password that long": {smtp(settings.SMTPChange{Username: new("x"), Password: newSecret(strings.Repeat("hunter2", 100))}), "smtp.password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, err := w.Update(w.ctx, c.change)
			var at []string
			if f, ok := errors.AsType[*fault.Error](err); ok {
				for _, field := range f.Fields {
					at = append(at, strings.TrimPrefix(field.Location, "body.settings."))
				}
			}
			if got := strings.Join(at, " "); got != c.want || (err != nil) != (c.want != "") {
				t.Errorf("refused at %q, want %q: %v", got, c.want, err)
			}
			if err != nil && (fault.CodeOf(err) != fault.ValidationFailed || strings.Contains(err.Error(), "hunter2") || len(w.records(t)) > 0) {
				t.Errorf("%v, and %d sections were written", err, len(w.records(t)))
			}
		})
	}
}

func TestOneSpellingIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := w.set(t, settings.Change{
		PublicBaseURL: new("HTTPS://Example.COM/"), IngressBaseDomain: new("Apps.Example.com."),
		IngressDNS: &settings.IngressDNSChange{RecordTargetHostname: new("Ingress.Example.com.")},
	})
	if now.PublicBaseURL != "https://example.com" || now.IngressBaseDomain != "apps.example.com" || now.IngressDNS.RecordTargetHostname != "ingress.example.com" {
		t.Errorf("%+v", now.Settings)
	}
}
