// Package outbound is the one way out to addresses that somebody chose: a
// webhook's URL, a chat's. It sends http and https requests to public addresses
// and nowhere else, so that nobody can make the server speak to itself, to its
// neighbours or to the metadata of its cloud.
//
// A URL is looked at twice. Its form is checked when it is saved and before
// every request ([Client.CheckURL]); the address that its host stands for is
// checked when the connection is made, after the name was resolved, so that a
// name which changes between two looks gains nothing. Redirects are handed to
// the caller and never followed, proxies of the environment are not used, and
// time and size have limits.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// Config says what a Client may do. The zero Config is the one to use.
type Config struct {
	// Timeout is for a whole exchange, until the body is read. Default: 10 s.
	Timeout time.Duration
	// MaxAnswer is how many bytes of a body may be read. Default: 256 KiB.
	MaxAnswer int64
	// Admit are networks that count as public although they are not. It is for
	// tests, whose servers listen on loopback addresses.
	Admit []netip.Prefix
	// Roots are trusted instead of the system's certificate authorities.
	Roots *x509.CertPool
	// Resolver is asked instead of the system's.
	Resolver *net.Resolver
}

const (
	defaultTimeout   = 10 * time.Second
	defaultMaxAnswer = 256 << 10
	maxHeader        = 64 << 10
)

// Client is safe for concurrent use. It keeps no connection open, so it needs
// no closing.
type Client struct {
	guard     *guard
	timeout   time.Duration
	maxAnswer int64
	base      http.RoundTripper
	http      *http.Client
}

// New returns a Client.
func New(cfg Config) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.MaxAnswer <= 0 {
		cfg.MaxAnswer = defaultMaxAnswer
	}
	c := &Client{guard: newGuard(cfg.Admit), timeout: cfg.Timeout, maxAnswer: cfg.MaxAnswer}
	c.base = transport(cfg, c.guard.control)
	c.http = &http.Client{
		Transport:     c,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c
}

func transport(cfg Config, control func(network, address string, conn syscall.RawConn) error) *http.Transport {
	dialer := &net.Dialer{Control: control, Resolver: cfg.Resolver, KeepAlive: -1}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.Roots},
		Protocols:              protocols,
		DisableKeepAlives:      true, // settings change, and with them who is spoken to
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// HTTP returns the Client for libraries that want one of net/http. Like any of
// its kind, its errors begin with the whole URL: take the fault.Error out of
// them with errors.AsType.
func (c *Client) HTTP() *http.Client { return c.http }

// Do sends a request. Redirects are answers like any other. Whoever reads the
// body closes it, as with net/http.
//
// A request that may not be sent fails with fault.Denied, code address_refused,
// and the rule; one that got no answer with fault.Unavailable, code
// address_unreachable. No error holds the URL, which may be a secret.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req) //nolint:gosec // guarding where it goes is what this package is for
	if err == nil {
		return resp, nil
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return nil, f
	}
	return nil, unreachable(bare(err))
}

// RoundTrip implements http.RoundTripper, for [Client.HTTP].
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := c.guard.checkURL(req.URL); err != nil {
		closeBody(req)
		return nil, refused(err)
	}
	ctx, cancel := context.WithTimeout(req.Context(), c.timeout)
	resp, err := c.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		if rule, ok := errors.AsType[refusal](err); ok {
			return nil, refused(rule)
		}
		return nil, unreachable(err)
	}
	resp.Body = &body{from: resp.Body, left: c.maxAnswer, done: cancel}
	return resp, nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
