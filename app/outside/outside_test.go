package outside_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"
	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/app/outside"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/captcha"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/sso"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type ports struct {
	fx.In

	SSO      sso.Connector
	Captcha  captcha.Connector
	Channels notify.Channels
}

func of(t *testing.T, c outside.Config) (p ports) {
	t.Helper()
	modules, err := outside.Modules(c)
	if err != nil {
		t.Fatal(err)
	}
	fxtest.New(t, fx.NopLogger, modules, fx.Invoke(func(got ports) { p = got }))
	return p
}

// TestProvidersOnThisMachineAreAskedWhereThatIsAllowed, and nowhere else; a
// cloud's metadata is closed to all.
func TestProvidersOnThisMachineAreAskedWhereThatIsAllowed(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		http.NotFound(w, r)
	}))
	defer s.Close()
	begin := func(c outside.Config, issuer string) error {
		provider, err := of(t, c).SSO.Connect(sso.Config{Name: "x", DisplayName: "X", Type: sso.OIDC, Issuer: issuer, ClientID: "x"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = provider.Begin(t.Context(), sso.Attempt{
			State: "s", Nonce: "n", Verifier: secret.New(strings.Repeat("v", 43)), RedirectURL: "https://kubebyon.example.com/back",
		})
		return err
	}
	if err := begin(outside.Config{}, s.URL); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "loopback") || len(asked) > 0 {
		t.Errorf("a server asked a provider on its own machine: %v", err)
	}
	everywhere := outside.Config{Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	for _, c := range []outside.Config{{OnThisMachine: true}, everywhere} {
		if err := begin(c, s.URL); err == nil || len(asked) == 0 {
			t.Errorf("a provider on this machine was not asked where that is allowed: %v", err)
		}
		for len(asked) > 0 {
			<-asked
		}
	}
	for _, c := range []outside.Config{{}, {OnThisMachine: true}, everywhere} {
		if err := begin(c, "https://169.254.169.254"); !errors.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "metadata") {
			t.Errorf("metadata: %v", err)
		}
	}
}

func TestEveryPortIsBacked(t *testing.T) {
	t.Parallel()
	p := of(t, outside.Config{})
	if _, err := p.Captcha.Connect(captcha.Config{SiteKey: "site", SecretKey: secret.New("secret")}); err != nil {
		t.Error(err)
	}
	mail, err := p.Channels.Email(notify.SMTP{Host: "mail.example.com", Port: 25, TLS: notify.TLSNone, From: "a@example.com"})
	if err != nil || mail == nil {
		t.Error(mail, err)
	}
}
