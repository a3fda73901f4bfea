package oidcsso

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
)

// largestAnswer is many times what metadata, keys and tokens have.
const largestAnswer = 512 << 10

// wary returns a client for talking to somebody who may be slow, broken or
// lying. An answer that it returns is whole. Its errors are an *outage or a
// *refusal, also behind what the libraries put around them.
func wary(c *http.Client, patience time.Duration) *http.Client {
	t := &waryTransport{next: c.Transport, patience: patience}
	if t.next == nil {
		t.next = http.DefaultTransport
	}
	if c.Timeout > 0 {
		t.patience = min(patience, c.Timeout)
	}
	return &http.Client{Transport: t}
}

type waryTransport struct {
	next     http.RoundTripper
	patience time.Duration
}

// outage is why a provider cannot be asked at the moment.
type outage struct{ cause error }

func (o *outage) Error() string { return o.cause.Error() }
func (o *outage) Unwrap() error { return o.cause }

// refusal is what is wrong with what a provider answered.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// isTransport tells whether err is about how something was asked, and not about
// what the answer says.
func isTransport(err error) bool {
	_, isOutage := errors.AsType[*outage](err)
	_, isRefusal := errors.AsType[*refusal](err)
	return isOutage || isRefusal
}

// RoundTrip has a deadline of its own: go-oidc fetches keys without its caller's.
func (t *waryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), t.patience)
	defer cancel()
	r = r.Clone(ctx)
	r.Header.Set("User-Agent", "KubeBYON")
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "application/json")
	}
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, &outage{why(ctx, err)}
	}
	defer resp.Body.Close()
	if err := judgeStatus(resp); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer+1))
	if err != nil {
		return nil, &outage{why(ctx, err)}
	}
	if len(body) > largestAnswer {
		return nil, &refusal{fmt.Sprintf("the answer has more than %d bytes", largestAnswer)}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func judgeStatus(resp *http.Response) error {
	switch code := resp.StatusCode; {
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, isRateLimited(resp):
		return &outage{fmt.Errorf("it answered with status %d", code)}
	case code >= 300 && code < 400:
		return &refusal{fmt.Sprintf("it redirects (status %d), which is not followed", code)}
	}
	return nil
}

// isRateLimited knows how GitHub says that somebody asked too often.
func isRateLimited(resp *http.Response) bool {
	return resp.StatusCode == http.StatusForbidden &&
		(resp.Header.Get("X-Ratelimit-Remaining") == "0" || resp.Header.Get("Retry-After") != "")
}

// why says in words of its own what broke, but for what was said before the
// request was: what came after may repeat the request.
func why(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("no answer in time: %w", ctx.Err())
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return op
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return bad
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return errors.New("the way out is closed: " + f.Code + ": " + f.Msg) // our own, and before the request too
	}
	return errors.New("the connection broke, or what came is not HTTP")
}
