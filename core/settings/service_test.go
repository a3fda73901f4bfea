package settings_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestEveryDependencyIsNeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fields := reflect.TypeFor[settings.Deps]()
	for i := range fields.NumField() {
		d := w.deps
		reflect.ValueOf(&d).Elem().Field(i).SetZero()
		if _, err := settings.New(d); err == nil {
			t.Errorf("without %s there is a service", fields.Field(i).Name)
		}
	}
}

func TestOnlyAdministratorsReadAndWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for who, ctx := range map[string]context.Context{
		"nobody": t.Context(), "a user": coretest.As(t.Context(), coretest.NewUser(), actor.User),
		"an operator": coretest.As(t.Context(), coretest.NewUser(), actor.Operator),
	} {
		_, get := w.Get(ctx)
		_, update := w.Update(ctx, everything())
		for _, err := range []error{get, update} {
			if !errors.Is(err, fault.Denied) && !errors.Is(err, fault.Unauthenticated) {
				t.Errorf("%s: %v", who, err)
			}
		}
	}
	if n := len(w.records(t)); n != 0 {
		t.Errorf("%d sections were written", n)
	}
}

func TestNothingIsSetAtFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now, err := w.Get(w.ctx)
	if err != nil || !reflect.DeepEqual(now.Settings, settings.Defaults()) || now.UpdatedAt() != nil || len(now.Unreadable()) != 0 {
		t.Errorf("%+v %v", now, err)
	}
	if now.RegistrationEnabled || now.SMTP.TLS != "starttls" {
		t.Error("a new installation is open, or sends mail in clear")
	}
}

// TestWhatIsSetIsThere for another process, with its secrets, which are nowhere
// in the clear.
func TestWhatIsSetIsThere(t *testing.T) {
	t.Parallel()
	onEveryStore(t, whatIsSet)
}

func whatIsSet(t *testing.T, w *world) {
	t.Helper()
	told := w.set(t, everything())
	seen, err := w.over(t, func(*settings.Deps) {}).Get(w.ctx)
	if err != nil || !reflect.DeepEqual(told.Settings, seen.Settings) {
		t.Errorf("%v\ntold %+v\nseen %+v", err, told.Settings, seen.Settings)
	}
	if seen.PublicBaseURL != "https://kubebyon.example.com" || !seen.RegistrationEnabled || seen.SMTP.Port != 465 || seen.OAuth.Providers[1].Name != "github" {
		t.Errorf("%+v", seen.Settings)
	}
	for want, got := range map[string]secret.Text{
		"secret-token": seen.IngressDNS.Cloudflare.APIToken, "secret-company": seen.OAuth.Providers[0].ClientSecret, "secret-github": seen.OAuth.Providers[1].ClientSecret,
		"secret-captcha": seen.HCaptcha.SecretKey, "secret-stripe": seen.Stripe.SecretKey, "secret-webhook": seen.Stripe.WebhookSecret, "secret mail ä": seen.SMTP.Password,
	} {
		if got.Reveal() != want {
			t.Errorf("%q is not what was set", want)
		}
	}
	if at := seen.UpdatedAt(); at == nil || !at.Equal(w.Now()) {
		t.Errorf("updated at %v", at)
	}
	records := w.records(t)
	if len(records) != 6 {
		t.Errorf("%d sections", len(records))
	}
	for _, r := range records {
		if r.Version != 1 || bytes.Contains(append(r.Value, r.Sealed...), []byte("secret")) || (len(r.Sealed) == 0) != (r.Name == "general") {
			t.Errorf("%s, version %d, is kept as %q and %d sealed bytes", r.Name, r.Version, r.Value, len(r.Sealed))
		}
	}
	if s := fmt.Sprintf("%v %+v", seen, told); strings.Contains(s, "secret-") {
		t.Error("settings print their secrets")
	}
}

func TestAChangeIsAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set(t, everything())
	w.set(t, everything()) // is so already
	w.set(t, settings.Change{SMTP: &settings.SMTPChange{Password: newSecret("secret other")}, Stripe: &settings.StripeChange{}})
	var events []store.AuditEvent
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Audit().List(ctx, store.AuditFilter{SecurityOnly: true, ResourceType: "system_settings", Action: "update"}, page.Query{Limit: 10})
		events = all.Items
		return err
	})
	var said []string
	for _, e := range events {
		said = append(said, e.Message)
		if e.ActorUserID.IsZero() || strings.Contains(fmt.Sprintf("%+v", e), "secret") {
			t.Errorf("%+v", e)
		}
	}
	want := []string{
		"Changed the system settings: smtp.",
		"Changed the system settings: general, hcaptcha, managed_workload_ingress_dns, oauth, smtp, stripe.",
	}
	if !slices.Equal(said, want) {
		t.Errorf("%q", said)
	}
}

// TestAProvidersSecretFollowsItsName, through another order and other fields.
func TestAProvidersSecretFollowsItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set(t, everything())
	now := w.set(t, settings.Change{OAuth: &settings.OAuthChange{Providers: []settings.ProviderChange{
		{Name: "github"},
		{Name: "company", DisplayName: new("Us")},
		{Name: "new", DisplayName: new("New"), Type: new("oidc"), Issuer: new("https://new.example.com"), ClientID: new("x"), Enabled: new(true)},
	}}})
	p := now.OAuth.Providers
	if len(p) != 3 || p[0].ClientSecret.Reveal() != "secret-github" || p[1].ClientSecret.Reveal() != "secret-company" || !p[2].ClientSecret.IsZero() {
		t.Errorf("%+v", p)
	}
	if p[1].DisplayName != "Us" || p[1].Issuer != "https://id.example.com" || !p[0].Enabled {
		t.Errorf("%+v", p)
	}
	// Whoever comes back after having gone is somebody else.
	w.set(t, settings.Change{OAuth: &settings.OAuthChange{Providers: []settings.ProviderChange{{Name: "company"}}}})
	again := w.set(t, settings.Change{OAuth: &settings.OAuthChange{Providers: []settings.ProviderChange{
		{Name: "github", DisplayName: new("GitHub"), Type: new("github")}, {Name: "company", ClientSecret: newSecret("")},
	}}})
	if p := again.OAuth.Providers; !p[0].ClientSecret.IsZero() || p[0].Enabled || !p[1].ClientSecret.IsZero() {
		t.Errorf("%+v", p)
	}
	if none := w.set(t, settings.Change{OAuth: &settings.OAuthChange{Providers: []settings.ProviderChange{}}}); len(none.OAuth.Providers) != 0 {
		t.Errorf("%+v", none.OAuth)
	}
}

// TestASecretDoesNotFollowToAnotherPlace: who may change where a secret is sent
// does not get to know it by that.
func TestASecretDoesNotFollowToAnotherPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	provider := func(p settings.ProviderChange) settings.Change {
		p.Name = "company"
		return settings.Change{OAuth: &settings.OAuthChange{Providers: []settings.ProviderChange{p}}}
	}
	w.set(t, settings.Change{SMTP: &settings.SMTPChange{Host: new("mail.example.com"), Username: new("kubebyon"), Password: newSecret("secret")}})
	w.set(t, provider(settings.ProviderChange{DisplayName: new("Us"), Type: new("oidc"), Issuer: new("https://id.example.com"), ClientID: new("x"), ClientSecret: newSecret("secret")}))
	for at, c := range map[string]settings.Change{
		"body.settings.smtp.password host":               {SMTP: &settings.SMTPChange{Host: new("evil.example.com")}},
		"body.settings.smtp.password port":               {SMTP: &settings.SMTPChange{Port: new(2525)}},
		"body.settings.smtp.password tls":                {SMTP: &settings.SMTPChange{TLS: new("none")}},
		"body.settings.oauth.providers[0].client_secret": provider(settings.ProviderChange{Issuer: new("https://evil.example.com")}),
	} {
		field, _, _ := strings.Cut(at, " ")
		_, err := w.Update(w.ctx, c)
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Code != fault.ValidationFailed || len(f.Fields) == 0 || f.Fields[0].Location != field {
			t.Errorf("%s: %v", at, err)
		}
	}
	after := w.set(t, settings.Change{SMTP: &settings.SMTPChange{Host: new("mail2.example.com"), Password: newSecret("")}})
	if after.SMTP.Host != "mail2.example.com" || !after.SMTP.Password.IsZero() {
		t.Errorf("%+v", after.SMTP)
	}
	if same := w.set(t, provider(settings.ProviderChange{Issuer: new("https://id.example.com"), ClientID: new("y")})); same.OAuth.Providers[0].ClientSecret.IsZero() {
		t.Error("the same place wants the secret anew")
	}
}

// TestChangesAtOnceAreBothMade, also to the same section; and those that fail
// leave nothing.
func TestChangesAtOnceAreBothMade(t *testing.T) {
	t.Parallel()
	onEveryStore(t, changesAtOnce)
}

func changesAtOnce(t *testing.T, w *world) {
	t.Helper()
	services := []*settings.Service{w.Service, w.over(t, func(*settings.Deps) {}), w.over(t, func(*settings.Deps) {})}
	changes := []settings.Change{
		{SMTP: &settings.SMTPChange{From: new("kubebyon@example.com")}, RegistrationEnabled: new(true)},
		{SMTP: &settings.SMTPChange{Host: new("mail.example.com"), Port: new(25), Password: newSecret("secret")}, PublicBaseURL: new("https://a.example.com")},
		{SMTP: &settings.SMTPChange{Username: new("kubebyon")}, HCaptcha: &settings.HCaptchaChange{SiteKey: new("site")}},
	}
	var wg sync.WaitGroup
	for i, c := range changes {
		wg.Go(func() {
			if _, err := services[i].Update(w.ctx, c); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	now, err := w.Get(w.ctx)
	s := now.SMTP
	if err != nil || s.Host != "mail.example.com" || s.Username != "kubebyon" || s.Password.Reveal() != "secret" || s.Port != 25 ||
		!now.RegistrationEnabled || now.PublicBaseURL != "https://a.example.com" || now.HCaptcha.SiteKey != "site" {
		t.Errorf("%+v %v", now.Settings, err)
	}
}

func TestAChangeIsMadeWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set(t, everything())
	before := w.records(t)
	if _, err := w.Update(w.ctx, settings.Change{RegistrationEnabled: new(false), SMTP: &settings.SMTPChange{Host: new("a b")}}); fault.CodeOf(err) != fault.ValidationFailed {
		t.Error(err)
	}
	// Somebody always comes between: no section is written, the first neither.
	w.store.meet(func(ctx context.Context) error {
		return w.store.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Settings().All(ctx)
			for _, s := range all {
				if s.Name == "stripe" {
					return tx.Settings().Put(ctx, &s)
				}
			}
			return err
		})
	})
	_, err := w.Update(w.ctx, settings.Change{RegistrationEnabled: new(false), Stripe: &settings.StripeChange{Enabled: new(false)}})
	if fault.CodeOf(err) != "stale_version" {
		t.Error(err)
	}
	w.store.meet(nil)
	for i, r := range w.records(t) {
		if !bytes.Equal(r.Value, before[i].Value) || !bytes.Equal(r.Sealed, before[i].Sealed) {
			t.Errorf("%s was written", r.Name)
		}
	}
}
