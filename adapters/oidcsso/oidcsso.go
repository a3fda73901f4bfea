// Package oidcsso implements the sso port: OpenID Connect with discovery, Google
// as one such provider, and GitHub, which speaks OAuth 2.0 and tells about the
// person over its own API.
//
// # Who may be asked
//
// Issuers are set by administrators and may have private addresses: a company's
// own provider is the rule. They are asked over https; plain http is for
// loopback addresses. What a provider names in its metadata has to be https too,
// so that it cannot point at services here that speak http. Redirects are never
// followed: they would take codes and secrets along. Addresses that nobody may
// reach, such as a cloud's metadata service, are for [Options.Client] to refuse.
//
// # What is believed
//
// ID tokens are verified with the provider's keys by go-oidc: an asymmetric
// algorithm that the provider named, issuer, audience, expiry. Beside that the
// authorized party, the nonce, the hash of the access token, and that no claim
// is there twice in spellings that one JSON decoder takes for the same and
// another does not. An address counts as verified when the provider says so.
//
// What a provider sent never gets into an error: it may repeat what it was sent.
package oidcsso

import (
	"errors"
	"net/http"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/sso"
)

// Options are what a Connector needs.
type Options struct {
	Client   *http.Client     // makes the requests; its cookies and redirects are left out
	Now      func() time.Time // what tokens and metadata are dated by
	Patience time.Duration    // for a call of the port; zero is 15 s
}

const patience = 15 * time.Second

// Connector implements sso.Connector.
type Connector struct {
	client   *http.Client
	now      func() time.Time
	patience time.Duration
}

// New returns a Connector. A Client and a clock must be given.
func New(o Options) (*Connector, error) {
	if o.Client == nil || o.Now == nil {
		return nil, errors.New("oidcsso: a client and a clock must be given")
	}
	if o.Patience <= 0 {
		o.Patience = patience
	}
	return &Connector{client: wary(o.Client, o.Patience*2/3), now: o.Now, patience: o.Patience}, nil
}

// Connect implements sso.Connector.
func (c *Connector) Connect(config sso.Config) (sso.Provider, error) {
	var check fault.Check
	config.Check(&check, "body")
	if err := check.Err(); err != nil {
		return nil, err
	}
	switch config.Type {
	case sso.GitHub:
		return newGitHub(c, config), nil
	case sso.Google:
		config.Issuer = sso.GoogleIssuer
	case sso.OIDC:
	}
	return newOpenID(c, config), nil
}
