package sso_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/sso"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheckNamesTheField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*sso.Config)
		want   string
	}{
		"OIDC":                      {func(*sso.Config) {}, ""},
		"a public client":           {func(c *sso.Config) { c.ClientSecret = secret.Text{} }, ""},
		"an issuer with a path":     {func(c *sso.Config) { c.Issuer = "https://id.example.com:8443/realms/a/" }, ""},
		"a private issuer":          {func(c *sso.Config) { c.Issuer = "https://10.1.2.3/dex" }, ""},
		"http here":                 {func(c *sso.Config) { c.Issuer = "http://127.0.0.1:5556/dex" }, ""},
		"http here, by name":        {func(c *sso.Config) { c.Issuer = "http://localhost:5556" }, ""},
		"http here, IPv6":           {func(c *sso.Config) { c.Issuer = "http://[::1]:5556" }, ""},
		"Google":                    {func(c *sso.Config) { c.Type, c.Issuer = sso.Google, "" }, ""},
		"Google by name":            {func(c *sso.Config) { c.Type, c.Issuer = sso.Google, sso.GoogleIssuer }, ""},
		"GitHub":                    {func(c *sso.Config) { c.Type, c.Issuer = sso.GitHub, "" }, ""},
		"GitHub Enterprise":         {func(c *sso.Config) { c.Type = sso.GitHub }, ""},
		"no name":                   {func(c *sso.Config) { c.Name = "" }, "x.name must be 1 to 32"},
		"a name with a path":        {func(c *sso.Config) { c.Name = "a/b" }, "x.name must be 1 to 32"},
		"a name above":              {func(c *sso.Config) { c.Name = ".." }, "x.name must be 1 to 32"},
		"a long name":               {func(c *sso.Config) { c.Name = strings.Repeat("a", 33) }, "x.name must be 1 to 32"},
		"a name in capitals":        {func(c *sso.Config) { c.Name = "Keycloak" }, "x.name must be 1 to 32"},
		"a name that ends with -":   {func(c *sso.Config) { c.Name = "a-" }, "x.name must be 1 to 32"},
		"nothing to show":           {func(c *sso.Config) { c.DisplayName = " " }, "x.display_name must be"},
		"a name that turns around":  {func(c *sso.Config) { c.DisplayName = "a\u202eb" }, "x.display_name must be"},
		"an unknown type":           {func(c *sso.Config) { c.Type = "saml" }, "x.type must be oidc, google or github"},
		"no type":                   {func(c *sso.Config) { c.Type = "" }, "x.type must be oidc, google or github"},
		"no issuer":                 {func(c *sso.Config) { c.Issuer = "" }, "x.issuer must be an https"},
		"http elsewhere":            {func(c *sso.Config) { c.Issuer = "http://id.example.com" }, "x.issuer must be an https"},
		"http nearly here":          {func(c *sso.Config) { c.Issuer = "http://127.0.0.1.example.com" }, "x.issuer must be an https"},
		"another scheme":            {func(c *sso.Config) { c.Issuer = "ftp://id.example.com" }, "x.issuer must be an https"},
		"no host":                   {func(c *sso.Config) { c.Issuer = "https:///dex" }, "x.issuer must be an https"},
		"a user name":               {func(c *sso.Config) { c.Issuer = "https://hunter2@id.example.com" }, "x.issuer must be an https"},
		"a query":                   {func(c *sso.Config) { c.Issuer = "https://id.example.com?a" }, "x.issuer must be an https"},
		"a fragment":                {func(c *sso.Config) { c.Issuer = "https://id.example.com/#" }, "x.issuer must be an https"},
		"a space":                   {func(c *sso.Config) { c.Issuer = "https://id.example.com/ " }, "x.issuer must be an https"},
		"Google elsewhere":          {func(c *sso.Config) { c.Type = sso.Google }, "x.issuer must be empty for Google"},
		"GitHub in clear":           {func(c *sso.Config) { c.Type, c.Issuer = sso.GitHub, "http://github.example.com" }, "x.issuer must be an https"},
		"no client":                 {func(c *sso.Config) { c.ClientID = "" }, "x.client_id must be"},
		"a client with a line":      {func(c *sso.Config) { c.ClientID = "a\nb" }, "x.client_id must be"},
		"a secret with a space":     {func(c *sso.Config) { c.ClientSecret = secret.New("hunter2 ") }, "x.client_secret must be"},
		"a long secret":             {func(c *sso.Config) { c.ClientSecret = secret.New(strings.Repeat("hunter2", 99)) }, "x.client_secret must be"},
		"GitHub without its secret": {func(c *sso.Config) { c.Type, c.ClientSecret = sso.GitHub, secret.Text{} }, "x.client_secret must be"},
		"Google without its secret": {func(c *sso.Config) { c.Type, c.Issuer, c.ClientSecret = sso.Google, "", secret.Text{} }, "x.client_secret must be"},
	} {
		config := sso.Config{
			Name: "company-1", DisplayName: "The company", Type: sso.OIDC, Issuer: "https://id.example.com",
			ClientID: "kubebyon", ClientSecret: secret.New("secret"),
		}
		c.change(&config)
		var check fault.Check
		config.Check(&check, "x")
		err := check.Err()
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %q, and no secret", name, err, c.want)
		}
	}
}

// FuzzIsSafeURL: nothing passes that goes elsewhere in clear.
func FuzzIsSafeURL(f *testing.F) {
	for _, s := range []string{"https://a", "http://127.0.0.1:1/a", "http://[::ffff:127.0.0.1]", "http://localhost", "http://2130706433", "javascript://a", "https://a@b", "http:localhost", "//a", "HTTP://localhost"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !sso.IsSafeURL(s) {
			return
		}
		lower := strings.ToLower(s)
		ok := strings.HasPrefix(lower, "https://")
		for _, host := range []string{"localhost", "127.", "[::1", "[::ffff:", "[0:", "[::7f"} {
			ok = ok || strings.HasPrefix(lower, "http://"+host)
		}
		if !ok && !strings.HasPrefix(lower, "http://[0") || strings.ContainsAny(s, "\n\r\t") {
			t.Errorf("%q passes", s)
		}
	})
}

func TestAnAttemptThatProtectsNobodyIsRefused(t *testing.T) {
	t.Parallel()
	good := sso.Attempt{State: "s", Nonce: "n", Verifier: secret.New(strings.Repeat("v", 43)), RedirectURL: "https://a/b"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*sso.Attempt){
		"no state":         func(a *sso.Attempt) { a.State = "" },
		"no nonce":         func(a *sso.Attempt) { a.Nonce = "" },
		"no redirect":      func(a *sso.Attempt) { a.RedirectURL = "" },
		"no verifier":      func(a *sso.Attempt) { a.Verifier = secret.Text{} },
		"a short verifier": func(a *sso.Attempt) { a.Verifier = secret.New(strings.Repeat("v", 42)) },
		"a long verifier":  func(a *sso.Attempt) { a.Verifier = secret.New(strings.Repeat("v", 129)) },
		"an odd verifier":  func(a *sso.Attempt) { a.Verifier = secret.New(strings.Repeat("é", 43)) },
	} {
		a := good
		change(&a)
		if a.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
