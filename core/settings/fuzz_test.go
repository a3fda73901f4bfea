package settings_test

import (
	"reflect"
	"testing"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/settings"
)

// draw takes choices from the fuzzer's bytes.
type draw struct{ from []byte }

func (d *draw) next(n int) int {
	if len(d.from) == 0 {
		return 0
	}
	b := d.from[0]
	d.from = d.from[1:]
	return int(b) % n
}

// maybe leaves a field out half of the time.
func maybe[T any](d *draw, values ...T) *T {
	if d.next(2) == 0 {
		return nil
	}
	return &values[d.next(len(values))]
}

func (d *draw) secret() settings.SecretChange {
	switch d.next(4) {
	case 0:
		return newSecret([]string{"", "a", "b b", "\x00"}[d.next(4)])
	case 1:
		return settings.SecretChange{Value: newSecret("c").Value}
	}
	return settings.SecretChange{}
}

func (d *draw) change() (c settings.Change) {
	c.PublicBaseURL = maybe(d, "", "https://A.example.com/", "x")
	c.JoinBaseURL = maybe(d, "", "http://192.0.2.1:8080")
	c.RegistrationEnabled = maybe(d, true, false)
	c.IngressBaseDomain = maybe(d, "", "Apps.example.com.", "-")
	if d.next(2) == 0 {
		c.IngressDNS = &settings.IngressDNSChange{
			Enabled: maybe(d, true, false), ActiveProvider: maybe(d, "cloudflare", ""), RecordTargetHostname: maybe(d, "a.example.com", ""), ZoneID: maybe(d, "abc", "", "/"), APIToken: d.secret(),
		}
	}
	if d.next(2) == 0 {
		c.OAuth = new(settings.OAuthChange)
		if d.next(4) == 0 {
			c.OAuth.Providers = []settings.ProviderChange{}
		}
		for range d.next(4) {
			c.OAuth.Providers = append(c.OAuth.Providers, settings.ProviderChange{
				Name: []string{"a", "b", "c", "-"}[d.next(4)], DisplayName: maybe(d, "A", ""), Type: maybe(d, "oidc", "github", "x"),
				Issuer: maybe(d, "https://a.example.com", ""), ClientID: maybe(d, "id", ""), ClientSecret: d.secret(), Enabled: maybe(d, true, false),
			})
		}
	}
	if d.next(2) == 0 {
		c.HCaptcha = &settings.HCaptchaChange{Enabled: maybe(d, true, false), SiteKey: maybe(d, "site", ""), SecretKey: d.secret()}
	}
	if d.next(2) == 0 {
		c.Stripe = &settings.StripeChange{Enabled: maybe(d, true, false), SecretKey: d.secret(), WebhookSecret: d.secret()}
	}
	if d.next(2) == 0 {
		c.SMTP = &settings.SMTPChange{
			Enabled: maybe(d, true, false), Host: maybe(d, "mail", "", "a b"), Port: maybe(d, 25, 0), Username: maybe(d, "u", ""), Password: d.secret(), From: maybe(d, "a@b.c", ""), TLS: maybe(d, "none", "tls", "x"),
		}
	}
	return c
}

// FuzzMerge: a change that is taken changes what it names and nothing else, the
// same again changes nothing, and one that is refused changes nothing at all.
func FuzzMerge(f *testing.F) {
	f.Add([]byte{}, []byte{1, 1, 1, 1})
	f.Add([]byte("0123456789012345678901234567890123456789"), []byte("9876543210987654321098765432109876543210"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		w := newWorld(t)
		w.set(t, everything())
		for _, from := range [][]byte{first, second} {
			before, err := w.Get(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			c := (&draw{from}).change()
			after, err := w.Update(w.ctx, c)
			stored, getErr := w.Get(w.ctx)
			if getErr != nil || len(stored.Unreadable()) > 0 {
				t.Fatal(getErr, stored.Unreadable())
			}
			if err != nil {
				if fault.CodeOf(err) != fault.ValidationFailed || !reflect.DeepEqual(before.Settings, stored.Settings) {
					t.Fatalf("%v; and before\n%+v\nafter\n%+v", err, before.Settings, stored.Settings)
				}
				continue
			}
			if !reflect.DeepEqual(after.Settings, stored.Settings) {
				t.Fatalf("told\n%+v\nstored\n%+v", after.Settings, stored.Settings)
			}
			unnamed(t, c, before, stored)
			again, err := w.Update(w.ctx, c)
			if err != nil || again.Version(settings.InSMTP) != stored.Version(settings.InSMTP) || again.Version(settings.InOAuth) != stored.Version(settings.InOAuth) {
				t.Fatalf("the same again: %v", err)
			}
		}
	})
}

// unnamed compares all that a change left out.
func unnamed(t *testing.T, c settings.Change, before, after settings.Snapshot) {
	t.Helper()
	kept := func(isNamed bool, what string, a, b any) {
		if !isNamed && !reflect.DeepEqual(a, b) {
			t.Errorf("%s was not named, and went from %+v to %+v", what, a, b)
		}
	}
	a, b := before.Settings, after.Settings
	kept(c.PublicBaseURL != nil, "public_base_url", a.PublicBaseURL, b.PublicBaseURL)
	kept(c.JoinBaseURL != nil, "join_base_url", a.JoinBaseURL, b.JoinBaseURL)
	kept(c.RegistrationEnabled != nil, "registration_enabled", a.RegistrationEnabled, b.RegistrationEnabled)
	kept(c.IngressBaseDomain != nil, "base domain", a.IngressBaseDomain, b.IngressBaseDomain)
	kept(c.IngressDNS != nil, "DNS", a.IngressDNS, b.IngressDNS)
	kept(c.OAuth != nil && c.OAuth.Providers != nil, "OAuth", a.OAuth, b.OAuth)
	kept(c.HCaptcha != nil, "hCaptcha", a.HCaptcha, b.HCaptcha)
	kept(c.Stripe != nil, "Stripe", a.Stripe, b.Stripe)
	kept(c.SMTP != nil, "SMTP", a.SMTP, b.SMTP)
	if s := c.SMTP; s != nil {
		kept(s.Enabled != nil, "smtp.enabled", a.SMTP.Enabled, b.SMTP.Enabled)
		kept(s.Host != nil, "smtp.host", a.SMTP.Host, b.SMTP.Host)
		kept(s.Port != nil, "smtp.port", a.SMTP.Port, b.SMTP.Port)
		kept(s.Username != nil, "smtp.username", a.SMTP.Username, b.SMTP.Username)
		kept(s.Password.Changed, "smtp.password", a.SMTP.Password, b.SMTP.Password)
		kept(s.From != nil, "smtp.from", a.SMTP.From, b.SMTP.From)
		kept(s.TLS != nil, "smtp.tls", a.SMTP.TLS, b.SMTP.TLS)
	}
	if s := c.Stripe; s != nil {
		kept(s.Enabled != nil, "stripe.enabled", a.Stripe.Enabled, b.Stripe.Enabled)
		kept(s.SecretKey.Changed, "stripe.secret_key", a.Stripe.SecretKey, b.Stripe.SecretKey)
		kept(s.WebhookSecret.Changed, "stripe.webhook_secret", a.Stripe.WebhookSecret, b.Stripe.WebhookSecret)
	}
	if c.OAuth == nil {
		return
	}
	was := map[string]settings.Provider{}
	for _, p := range a.OAuth.Providers {
		was[p.Name] = p
	}
	for i, p := range c.OAuth.Providers {
		is := b.OAuth.Providers[i]
		kept(p.Issuer != nil, "issuer of "+p.Name, was[p.Name].Issuer, is.Issuer)
		kept(p.ClientSecret.Changed, "client_secret of "+p.Name, was[p.Name].ClientSecret, is.ClientSecret)
		kept(p.Enabled != nil, "enabled of "+p.Name, was[p.Name].Enabled, is.Enabled)
	}
}
