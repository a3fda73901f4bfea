package oidcsso

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/sso"
)

// How long metadata, and with them keys, are believed. Keys that are new are
// fetched as soon as something is signed with them; the limit is for those that
// were taken back.
const (
	freshFor = time.Hour
	staleFor = 24 * time.Hour  // while the provider does not give out others
	restFor  = 5 * time.Second // after it did not: those who wait get the same answer
)

// metadata are what a provider says about itself (OpenID Connect Discovery 1.0).
type metadata struct {
	provider   *oidc.Provider
	endpoint   oauth2.Endpoint
	keys       *oidc.RemoteKeySet
	algorithms []string
	saysIssuer bool // in its answers: RFC 9207
	since      time.Time
}

// memory keeps one provider's metadata. One caller asks; the others wait for it.
type memory struct {
	turn     chan struct{} // of one
	known    *metadata
	failure  error
	failedAt time.Time
}

// metadata returns what is known, or asks.
func (p *openID) metadata(ctx context.Context) (*metadata, error) {
	select {
	case p.memory.turn <- struct{}{}:
		defer func() { <-p.memory.turn }()
	case <-ctx.Done():
		return nil, sso.Unavailable(fmt.Errorf("wait for the provider's metadata: %w", ctx.Err()))
	}
	m, now := &p.memory, p.now()
	if m.known != nil && now.Sub(m.known.since) < freshFor {
		return m.known, nil
	}
	if m.failure == nil || now.Sub(m.failedAt) >= restFor {
		known, err := p.discover(ctx, now)
		if err == nil {
			m.known, m.failure = known, nil
			return known, nil
		}
		if ctx.Err() != nil { // it is the caller who went away
			return nil, err
		}
		m.failure, m.failedAt = err, now
	}
	if m.known != nil && now.Sub(m.known.since) < staleFor && errors.Is(m.failure, fault.Unavailable) {
		return m.known, nil
	}
	return nil, m.failure
}

func (p *openID) discover(ctx context.Context, now time.Time) (*metadata, error) {
	const step = "read the provider's metadata"
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.config.Issuer)
	if _, ok := errors.AsType[*oidc.IssuerMismatchError](err); ok {
		return nil, sso.Failed(errors.New(step + ": they are another issuer's than the one that is set"))
	}
	if err != nil {
		return nil, failed(ctx, step, err)
	}
	var said struct {
		JWKS       string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
		Methods    []string `json:"token_endpoint_auth_methods_supported"`
		SaysIssuer bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := provider.Claims(&said); err != nil {
		return nil, failed(ctx, step, err)
	}
	e := provider.Endpoint()
	for _, address := range []string{e.AuthURL, e.TokenURL, said.JWKS} {
		if !p.isSafe(address) {
			return nil, sso.Failed(errors.New(step + ": they name an address that is missing, or not https"))
		}
	}
	if u := provider.UserInfoEndpoint(); u != "" && !p.isSafe(u) {
		return nil, sso.Failed(errors.New(step + ": they name an address that is not https"))
	}
	e.AuthStyle = p.authStyle(said.Methods)
	return &metadata{
		provider: provider, endpoint: e, saysIssuer: said.SaysIssuer, since: now,
		keys:       oidc.NewRemoteKeySet(oidc.ClientContext(ctx, p.client), said.JWKS),
		algorithms: allowed(said.Algorithms),
	}, nil
}

// isSafe holds a provider's addresses to what the issuer's own is held to: only
// one on this machine may name others on this machine.
func (p *openID) isSafe(address string) bool {
	u, err := url.Parse(address)
	return err == nil && sso.IsSafeURL(address) && (u.Scheme == "https" || p.isLocal)
}

// authStyle is how the client says who it is. Left open, x/oauth2 would try both
// ways with the same code, and a provider may take the second for a theft.
func (p *openID) authStyle(methods []string) oauth2.AuthStyle {
	basic := len(methods) == 0 || slices.Contains(methods, "client_secret_basic") // the default, says the standard
	if p.config.ClientSecret.IsZero() || !basic && slices.Contains(methods, "client_secret_post") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// allowed leaves out algorithms with which everybody who can check a token could
// make one, "none" among them. RS256 is what every provider has to know.
func allowed(algorithms []string) []string {
	asymmetric := []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
	}
	out := slices.DeleteFunc(asymmetric, func(a string) bool { return !slices.Contains(algorithms, a) })
	if len(out) == 0 {
		return []string{oidc.RS256}
	}
	return out
}
