package captcha_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/captcha"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheckNamesTheField(t *testing.T) {
	t.Parallel()
	good := captcha.Config{SiteKey: "10000000-ffff-ffff-ffff-000000000001", SecretKey: secret.New("0x0000000000000000000000000000000000000000")}
	for name, c := range map[string]struct {
		change func(*captcha.Config)
		want   string
	}{
		"good":                 {func(*captcha.Config) {}, ""},
		"no site key":          {func(c *captcha.Config) { c.SiteKey = "" }, "x.site_key"},
		"a site key with more": {func(c *captcha.Config) { c.SiteKey = "a b" }, "x.site_key"},
		"a long site key":      {func(c *captcha.Config) { c.SiteKey = strings.Repeat("a", 256) }, "x.site_key"},
		"no secret key":        {func(c *captcha.Config) { c.SecretKey = secret.Text{} }, "x.secret_key"},
		"a secret with a line": {func(c *captcha.Config) { c.SecretKey = secret.New("hunter2\n") }, "x.secret_key"},
	} {
		config, check := good, fault.Check{}
		c.change(&config)
		config.Check(&check, "x")
		err := check.Err()
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want+" must be") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %s named, and no secret", name, err, c.want)
		}
	}
}
