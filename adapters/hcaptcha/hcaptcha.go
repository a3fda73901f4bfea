// Package hcaptcha implements the captcha port with hCaptcha's verification
// call: a form with secret, response, remoteip and sitekey, answered with JSON
// (https://docs.hcaptcha.com/#verify-the-user-response-server-side).
package hcaptcha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/captcha"
)

// Endpoint is where hCaptcha is asked.
const Endpoint = "https://api.hcaptcha.com/siteverify"

const (
	patience     = 5 * time.Second
	longestToken = 16 << 10 // theirs have 1 to 4 KiB
	largestReply = 64 << 10
)

// Options are what a Connector needs.
type Options struct {
	Client   *http.Client  // makes the requests; redirects are never followed
	Endpoint string        // empty is [Endpoint]
	Patience time.Duration // for one answer; zero is 5 s
}

// Connector implements captcha.Connector.
type Connector struct{ Options }

// New returns a Connector. A Client must be given.
func New(o Options) (*Connector, error) {
	if o.Client == nil {
		return nil, errors.New("hcaptcha: a client must be given")
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	o.Client = &client
	if o.Endpoint == "" {
		o.Endpoint = Endpoint
	}
	if o.Patience <= 0 {
		o.Patience = patience
	}
	return &Connector{o}, nil
}

// Connect implements captcha.Connector.
func (c *Connector) Connect(config captcha.Config) (captcha.Verifier, error) {
	var check fault.Check
	config.Check(&check, "body")
	if err := check.Err(); err != nil {
		return nil, err
	}
	return &verifier{c.Options, config}, nil
}

type verifier struct {
	Options
	config captcha.Config
}

// Verify implements captcha.Verifier.
func (v *verifier) Verify(ctx context.Context, token secret.Text, clientIP string) error {
	if !isToken(token.Reveal()) {
		return failed()
	}
	ctx, cancel := context.WithTimeout(ctx, v.Patience)
	defer cancel()
	a, err := v.ask(ctx, v.form(token, clientIP))
	if err != nil {
		return unavailable(err)
	}
	return v.judge(a)
}

// isToken spares the provider what it never gave out.
func isToken(s string) bool {
	return s != "" && len(s) <= longestToken && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (v *verifier) form(token secret.Text, clientIP string) url.Values {
	form := url.Values{
		"secret":   {v.config.SecretKey.Reveal()},
		"response": {token.Reveal()},
		"sitekey":  {v.config.SiteKey},
	}
	if ip, err := netip.ParseAddr(clientIP); err == nil && ip.Unmap().IsGlobalUnicast() && !ip.Unmap().IsPrivate() {
		form.Set("remoteip", ip.Unmap().String())
	}
	return form
}

// answer is the part of a reply that counts. The name of the host does not: people
// may reach the console by several, and the keys tell whose puzzle it was.
type answer struct {
	Success bool     `json:"success"`
	Errors  []string `json:"error-codes"`
}

// ask sends the form. Its errors hold nothing that the provider sent: a reply
// may repeat the form.
func (v *verifier) ask(ctx context.Context, form url.Values) (a answer, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, v.Endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return a, errors.New("the endpoint is not a URL")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	reply, err := v.Client.Do(r)
	if err != nil {
		return a, outage(ctx, err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return a, fmt.Errorf("the provider answered with status %d", reply.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(reply.Body, largestReply+1))
	if err != nil {
		return a, outage(ctx, err)
	}
	if len(body) > largestReply {
		return a, fmt.Errorf("the provider's answer has more than %d bytes", largestReply)
	}
	if json.Unmarshal(body, &a) != nil {
		return a, errors.New("the provider's answer is not the JSON that it should be")
	}
	return a, nil
}

// ours are the error codes that are about the installation's keys and not
// about the person: they would fail everybody alike.
var ours = []string{ //nolint:gochecknoglobals // a constant table
	"missing-input-secret", "invalid-input-secret", "sitekey-secret-mismatch", "missing-remoteip", "invalid-remoteip",
}

func (v *verifier) judge(a answer) error {
	if !a.Success {
		for _, code := range ours {
			if slices.Contains(a.Errors, code) {
				return unavailable(errors.New("the provider does not take the installation's request: " + code))
			}
		}
		return failed()
	}
	return nil
}

// outage says in words of its own why there was no answer.
func outage(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return op // from before anything was said
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return errors.New("the way out is closed: " + f.Code + ": " + f.Msg) // our own, and before the request too
	}
	return errors.New("the connection broke, or what came is not HTTP")
}

func failed() error {
	return fault.Invalid.New("captcha_failed", "The captcha was not solved, or its solution is too old. Solve it again.")
}

func unavailable(cause error) error {
	return fault.Unavailable.New("captcha_unavailable", "The captcha cannot be checked at the moment. Try again in a while.").Because(cause)
}
