package settings_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/smtpnotify"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an installation whose administrator is asking.
type world struct {
	*settings.Service
	*coretest.Clock
	store *watched
	log   *coretest.Log
	deps  settings.Deps
	ctx   context.Context //nolint:containedctx // who asks, in every test
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		Clock: coretest.NewClock(), store: &watched{Store: memstore.New()}, log: new(coretest.Log),
		ctx: coretest.As(t.Context(), coretest.NewUser(), actor.Admin),
	}
	w.deps = settings.Deps{
		Store: w.store, Seal: keyseal.New([32]byte{1}), Log: w.log.Logger(), Now: w.Now, Random: coretest.Random(),
		CheckMail: func(s notify.SMTP) error { _, err := smtpnotify.New(s, smtpnotify.Config{}); return err },
	}
	w.Service = w.over(t, func(*settings.Deps) {})
	return w
}

// over is another process on the same store.
func (w *world) over(t testing.TB, change func(*settings.Deps)) *settings.Service {
	t.Helper()
	d := w.deps
	change(&d)
	s, err := settings.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) set(t testing.TB, c settings.Change) settings.Snapshot {
	t.Helper()
	now, err := w.Update(w.ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func (w *world) now(t testing.TB, of *settings.Service) settings.Snapshot {
	t.Helper()
	now, err := of.Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func (w *world) records(t testing.TB) (all []store.Setting) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) (err error) {
		all, err = tx.Settings().All(ctx)
		return err
	})
	return all
}

func (w *world) tx(t testing.TB, do func(context.Context, store.Tx) error) {
	t.Helper()
	if err := w.store.Store.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

// watched is a store that counts reads and can be made to hang or fail.
type watched struct {
	store.Store
	views atomic.Int64

	mu     sync.Mutex
	before func(ctx context.Context) error // of every read and write; nil: nothing
}

func (s *watched) meet(before func(ctx context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

func (s *watched) pass(ctx context.Context) error {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(ctx)
}

func (s *watched) View(ctx context.Context, do func(context.Context, store.Tx) error) error {
	s.views.Add(1)
	if err := s.pass(ctx); err != nil {
		return err
	}
	return s.Store.View(ctx, do)
}

func (s *watched) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	return s.Store.InTx(ctx, do)
}

func newSecret(text string) settings.SecretChange {
	return settings.SecretChange{Value: secret.New(text), Changed: true}
}

// everything sets every field to something that is valid.
func everything() settings.Change {
	return settings.Change{
		PublicBaseURL: new("https://kubebyon.example.com"), JoinBaseURL: new("http://203.0.113.7:8080"),
		RegistrationEnabled: new(true), IngressBaseDomain: new("apps.example.com"),
		IngressDNS: &settings.IngressDNSChange{
			Enabled: new(true), ActiveProvider: new("cloudflare"), RecordTargetHostname: new("ingress.example.com"),
			ZoneID: new("023e105f4ecef8ad9ca31a8372d0c353"), APIToken: newSecret("secret-token"),
		},
		OAuth: &settings.OAuthChange{Providers: []settings.ProviderChange{
			{
				Name: "company", DisplayName: new("The company"), Type: new("oidc"), Issuer: new("https://id.example.com"),
				ClientID: new("kubebyon"), ClientSecret: newSecret("secret-company"), Enabled: new(true),
			},
			{
				Name: "github", DisplayName: new("GitHub"), Type: new("github"), ClientID: new("kubebyon"),
				ClientSecret: newSecret("secret-github"), Enabled: new(true),
			},
		}},
		HCaptcha: &settings.HCaptchaChange{Enabled: new(true), SiteKey: new("site"), SecretKey: newSecret("secret-captcha")},
		Stripe:   &settings.StripeChange{Enabled: new(true), SecretKey: newSecret("secret-stripe"), WebhookSecret: newSecret("secret-webhook")},
		SMTP: &settings.SMTPChange{
			Enabled: new(true), Host: new("mail.example.com"), Port: new(465), Username: new("kubebyon"), Password: newSecret("secret mail ä"),
			From: new("KubeBYON <noreply@example.com>"), TLS: new("tls"),
		},
	}
}
