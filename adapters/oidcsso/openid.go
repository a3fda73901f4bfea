package oidcsso

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/kubebyon/kubebyon/ports/sso"
)

// openID is a provider that speaks OpenID Connect.
type openID struct {
	*Connector
	config  sso.Config
	isLocal bool // the issuer is on this machine, and speaks http
	memory  memory
}

func newOpenID(c *Connector, config sso.Config) *openID {
	u, err := url.Parse(config.Issuer)
	return &openID{
		Connector: c, config: config, isLocal: err == nil && u.Scheme == "http",
		memory: memory{turn: make(chan struct{}, 1)},
	}
}

// Begin implements sso.Provider.
func (p *openID) Begin(ctx context.Context, a sso.Attempt) (string, error) {
	if err := a.Check(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	m, err := p.metadata(ctx)
	if err != nil {
		return "", err
	}
	return p.oauth(m, a).AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier.Reveal())), nil
}

// Complete implements sso.Provider.
func (p *openID) Complete(ctx context.Context, a sso.Attempt, answer sso.Answer) (sso.Identity, error) {
	if err := a.Check(); err != nil {
		return sso.Identity{}, err
	}
	if err := refused(answer); err != nil {
		return sso.Identity{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	m, err := p.metadata(ctx)
	if err != nil {
		return sso.Identity{}, err
	}
	if answer.Issuer != p.config.Issuer && (answer.Issuer != "" || m.saysIssuer) {
		return sso.Identity{}, sso.Failed(errors.New("the browser came back from another issuer"))
	}
	token, err := exchange(ctx, p.client, p.oauth(m, a), a, answer.Code)
	if err != nil {
		return sso.Identity{}, err
	}
	c, err := p.verify(ctx, m, a, token)
	if err != nil {
		return sso.Identity{}, err
	}
	return p.identify(ctx, m, token, c)
}

func (p *openID) oauth(m *metadata, a sso.Attempt) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.config.ClientID, ClientSecret: p.config.ClientSecret.Reveal(),
		Endpoint: m.endpoint, RedirectURL: a.RedirectURL,
		Scopes: []string{oidc.ScopeOpenID, oidc.ScopeEmail, oidc.ScopeProfile},
	}
}

// verify returns the claims of the ID token.
func (p *openID) verify(ctx context.Context, m *metadata, a sso.Attempt, token *oauth2.Token) (claims, error) {
	const step = "verify the ID token"
	raw, _ := token.Extra("id_token").(string)
	keys := &keySet{known: m.keys}
	config := &oidc.Config{ClientID: p.config.ClientID, SupportedSigningAlgs: m.algorithms, Now: p.now}
	id, err := oidc.NewVerifier(p.config.Issuer, keys, config).Verify(ctx, raw)
	if isTransport(keys.failure) || err != nil && ctx.Err() != nil {
		return nil, failed(ctx, step, keys.failure)
	}
	if err != nil {
		return nil, sso.Failed(errors.New(step + ": " + p.complaint(raw, err)))
	}
	var c claims
	if err := id.Claims(&c); err != nil {
		return nil, failed(ctx, step, err)
	}
	if reason := p.doubt(id, c, a, token); reason != "" {
		return nil, sso.Failed(errors.New(step + ": " + reason))
	}
	return c, nil
}

// keySet notes what go-oidc's verifier turns into text: whether keys could be
// fetched at all.
type keySet struct {
	known   *oidc.RemoteKeySet
	failure error
}

// VerifySignature implements oidc.KeySet.
func (k *keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.known.VerifySignature(ctx, jwt)
	k.failure = err
	return payload, err
}

// doubt says what is wrong with a token that is signed, for this client and in
// force (OpenID Connect Core, section 3.1.3.7 and 3.1.3.8).
func (p *openID) doubt(id *oidc.IDToken, c claims, a sso.Attempt, token *oauth2.Token) string {
	party := c.text("azp")
	switch {
	case c.isAmbiguous():
		return "two claims differ in case only"
	case party != "" && party != p.config.ClientID, party == "" && len(id.Audience) > 1:
		return "it was issued to another client"
	case subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1:
		return "it is for another attempt: the nonce differs"
	case id.AccessTokenHash != "" && id.VerifyAccessToken(token.AccessToken) != nil:
		return "it belongs to another access token"
	}
	return ""
}

// complaint says why a token did not verify. What the token says of itself is
// believed for that only.
func (p *openID) complaint(raw string, err error) string {
	if _, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
		return "it has expired, or this server's clock is wrong"
	}
	var c claims
	_, payload, _ := strings.Cut(raw, ".")
	payload, _, _ = strings.Cut(payload, ".")
	if text, err := base64.RawURLEncoding.DecodeString(payload); err != nil || json.Unmarshal(text, &c) != nil {
		return "there is none"
	}
	switch {
	case c.text("iss") != p.config.Issuer:
		return "it is another issuer's"
	case !strings.Contains(string(c["aud"]), `"`+p.config.ClientID+`"`):
		return "it is for another audience"
	}
	return "its signature, its algorithm or its time is wrong"
}

// identify asks the provider for what the ID token does not say: many keep the
// address for this call.
func (p *openID) identify(ctx context.Context, m *metadata, token *oauth2.Token, c claims) (sso.Identity, error) {
	const step = "ask for the person's claims"
	subject := c.text("sub")
	if c.text("email") == "" && m.provider.UserInfoEndpoint() != "" {
		info, err := m.provider.UserInfo(oidc.ClientContext(ctx, p.client), oauth2.StaticTokenSource(token))
		if err != nil {
			return sso.Identity{}, failed(ctx, step, err)
		}
		c = nil
		if err := info.Claims(&c); err != nil {
			return sso.Identity{}, failed(ctx, step, err)
		}
		if c.text("sub") != subject || c.isAmbiguous() { // OpenID Connect Core, section 5.3.2
			return sso.Identity{}, sso.Failed(errors.New(step + ": they are about somebody else"))
		}
	}
	return identity(p.config.Issuer, subject, c.text("email"), c.isTrue("email_verified"), c.text("name"), c.text("preferred_username"))
}
