package app_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubebyon/kubebyon/app"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/settings"
	"github.com/kubebyon/kubebyon/ports/store"
)

// TestACaptchaThatCannotBeReadLetsNobodyIn, until an administrator sets it anew.
func TestACaptchaThatCannotBeReadLetsNobodyIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var inside store.Store
		p, err := app.New(app.Config{}, inMemory(t), app.Wrap(func(s store.Store) store.Store { inside = s; return s }))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer stop(t, p)
		signIn := func(want string) {
			t.Helper()
			if _, _, err := p.Identity.SignIn(t.Context(), "nobody@example.com", secret.New("a password of nobody"), identity.Client{}); fault.CodeOf(err) != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
		update := func(h settings.HCaptchaChange) {
			t.Helper()
			if _, err := p.Settings.Update(admin(t.Context()), settings.Change{HCaptcha: &h}); err != nil {
				t.Fatal(err)
			}
		}
		signIn("invalid_credentials")
		update(settings.HCaptchaChange{Enabled: new(true), SiteKey: new("site"), SecretKey: settings.SecretChange{Value: secret.New("x"), Changed: true}})
		signIn("captcha_required")
		err = inside.InTx(t.Context(), func(ctx context.Context, tx store.Tx) error {
			all, err := tx.Settings().All(ctx)
			if err != nil {
				return err
			}
			all[0].Sealed = []byte("damaged")
			return tx.Settings().Put(ctx, &all[0])
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		signIn("captcha_unavailable")
		update(settings.HCaptchaChange{SecretKey: settings.SecretChange{Value: secret.New("y"), Changed: true}})
		signIn("captcha_required")
		update(settings.HCaptchaChange{Enabled: new(false)})
		signIn("invalid_credentials")
	})
}
