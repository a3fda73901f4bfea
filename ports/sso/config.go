package sso

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/kernel/text"
)

// Type is what a provider speaks.
type Type string

// Types of providers.
const (
	OIDC   Type = "oidc"   // OpenID Connect, with discovery
	Google Type = "google" // the same, at Google
	GitHub Type = "github" // OAuth 2.0 and GitHub's API
)

// GoogleIssuer is who Google is.
const GoogleIssuer = "https://accounts.google.com"

// Config is a provider as an administrator sets it up.
type Config struct {
	Name        string // in paths: 1 to 32 of a-z, 0-9 and -
	DisplayName string // on the button
	Type        Type
	// Issuer is the OpenID Connect issuer, exactly as the provider spells it. For
	// GitHub it is the address of a GitHub Enterprise; empty is github.com. For
	// Google it is empty.
	Issuer       string
	ClientID     string
	ClientSecret secret.Text // may be empty for OIDC only: a public client, which PKCE protects
}

var nameRE = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$`) //nolint:gochecknoglobals // a constant

// longestSetting is more than any provider's identifiers and secrets have.
const longestSetting = 512

// Check finds what cannot be. Location is where c is in the request, such as
// "body.settings.oauth.providers[0]".
func (c Config) Check(check *fault.Check, location string) {
	check.That(nameRE.MatchString(c.Name), location+".name", "must be 1 to 32 lower-case letters, digits or hyphens")
	check.That(text.IsName(c.DisplayName, 64), location+".display_name", "must be 1 to 64 printable characters")
	check.That(isSetting(c.ClientID), location+".client_id", "must be 1 to %d characters without spaces", longestSetting)
	s := c.ClientSecret.Reveal()
	check.That(s == "" && c.Type == OIDC || isSetting(s), location+".client_secret", "must be 1 to %d characters without spaces", longestSetting)
	switch c.Type {
	case OIDC:
		check.That(isIssuer(c.Issuer), location+".issuer", "%s", issuerRule)
	case GitHub:
		check.That(c.Issuer == "" || isIssuer(c.Issuer), location+".issuer", "%s, or empty for github.com", issuerRule)
	case Google:
		check.That(c.Issuer == "" || c.Issuer == GoogleIssuer, location+".issuer", "must be empty for Google")
	default:
		check.That(false, location+".type", "must be oidc, google or github")
	}
}

const issuerRule = "must be an https:// address without query, fragment and user name"

func isSetting(s string) bool {
	return s != "" && len(s) <= longestSetting && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func isIssuer(s string) bool {
	return isSetting(s) && IsSafeURL(s) && !strings.ContainsAny(s, "?#")
}

// IsSafeURL tells whether secrets may be sent to an address, and a browser to
// sign in there: it is https. Plain http is for this very machine, where nobody
// can listen in. Which hosts may be spoken to is not decided here: a company's
// own provider has a private address, and an administrator has set it.
func IsSafeURL(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Opaque != "" {
		return false
	}
	return u.Scheme == "https" || u.Scheme == "http" && IsLoopback(u.Hostname())
}

// IsLoopback tells whether a host is this machine.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
