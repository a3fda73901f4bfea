// Package webhooknotify sends messages as signed JSON to a program.
//
//	POST /path HTTP/1.1
//	Content-Type: application/json
//	Webhook-Id: ntf_06f2q…
//	Webhook-Timestamp: 1776930600
//	Webhook-Signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=
//	X-KubeBYON-Signature: sha256=6a1c…
//	X-Hub-Signature-256: sha256=6a1c…
//
//	{"id":"ntf_06f2q…","type":"cluster-alert","timestamp":"2026-04-23T07:50:00.000Z",
//	 "subject":"…","text":"…","data":{…}}
//
// The last two headers are the HMAC-SHA256 of the body under the secret, in
// hexadecimal. The first three are those of Standard Webhooks
// (https://www.standardwebhooks.com), which also protect against messages that
// are sent again later; their key is the secret, or what it says in base64
// after "whsec_". Without a secret there is no signature.
package webhooknotify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"golang.org/x/net/http/httpguts"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/ports/notify"
)

// Client sends requests to public addresses only.
type Client interface {
	// Do is like net/http's. Its errors are faults, and hold no URL.
	Do(req *http.Request) (*http.Response, error)
	// CheckURL says what is wrong with the form of a URL: "must be …".
	CheckURL(url string) error
}

// Config is what the process brings to the administrator's settings.
type Config struct {
	Client Client
	Now    func() time.Time // default: time.Now
}

// Notifier is safe for concurrent use.
type Notifier struct {
	settings notify.Webhook
	standard *standardwebhooks.Webhook // nil: unsigned
	cfg      Config
}

const (
	maxHeaders = 20
	maxHeader  = 4096
)

// New checks the settings; it calls nobody.
func New(s notify.Webhook, cfg Config) (*Notifier, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	n := &Notifier{settings: s, cfg: cfg}
	var c fault.Check
	if err := cfg.Client.CheckURL(s.URL); err != nil {
		c.That(false, "webhook_url", "%s", err)
	}
	c.That(len(s.Headers) <= maxHeaders, "webhook_headers", "must be at most %d", maxHeaders)
	for name, value := range s.Headers {
		c.That(httpguts.ValidHeaderFieldName(name) && !isOurs(name), "webhook_headers",
			"must have names of HTTP headers, and none of those that KubeBYON or the connection sets")
		c.That(httpguts.ValidHeaderFieldValue(value.Reveal()) && len(value.Reveal()) <= maxHeader, "webhook_headers",
			"must have values on one line, of at most %d bytes", maxHeader)
	}
	var err error
	n.standard, err = signer(s.Secret)
	c.That(err == nil, "webhook_secret", "must be base64 where it begins with whsec_")
	if err := c.Err(); err != nil {
		return nil, err
	}
	return n, nil
}

func signer(s secret.Text) (*standardwebhooks.Webhook, error) {
	switch plain := s.Reveal(); {
	case s.IsZero():
		return nil, nil
	case strings.HasPrefix(plain, "whsec_"):
		return standardwebhooks.NewWebhook(plain)
	default:
		return standardwebhooks.NewWebhookRaw([]byte(plain))
	}
}

// isOurs tells which headers an administrator cannot set: those that say what
// the message is, and those that belong to the connection.
func isOurs(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect", "x-hub-signature", "x-hub-signature-256":
		return true
	}
	return strings.HasPrefix(name, "webhook-") || strings.HasPrefix(name, "x-kubebyon-") || strings.HasPrefix(name, "proxy-")
}

// body is what is sent. Fields are only ever added.
type body struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	Timestamp string          `json:"timestamp"`
	Subject   string          `json:"subject"`
	Text      string          `json:"text"`
	Data      json.RawMessage `json:"data"`
}

const milliseconds = "2006-01-02T15:04:05.000Z"

// Deliver implements notify.Notifier.
func (n *Notifier) Deliver(ctx context.Context, m notify.Message) error {
	if err := m.Check(); err != nil {
		return err
	}
	if m.To != "" {
		return notify.Refused(receiver, "a webhook takes messages for nobody in particular")
	}
	data := m.Data
	if len(data) == 0 {
		data = json.RawMessage("{}")
	}
	payload, err := json.Marshal(body{
		ID: m.ID, Type: m.Event, Timestamp: m.At.UTC().Format(milliseconds), Subject: notify.Line(m.Subject), Text: m.Text, Data: data,
	})
	if err != nil {
		return notify.Refused(receiver, "its data is not JSON")
	}
	req, err := n.request(ctx, m.ID, payload)
	if err != nil {
		return err
	}
	resp, err := n.cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return n.outcome(resp)
}

func (n *Notifier) request(ctx context.Context, id string, payload []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.settings.URL, bytes.NewReader(payload))
	if err != nil {
		return nil, fault.Denied.New("address_refused", "The request was not sent: its address cannot be read.") // err holds the URL
	}
	for name, value := range n.settings.Headers {
		req.Header.Set(name, value.Reveal())
	}
	req.Header.Set("Content-Type", "application/json")
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "KubeBYON")
	}
	now := n.cfg.Now()
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if n.standard == nil {
		return req, nil
	}
	signature, err := n.standard.Sign(id, now, payload)
	if err != nil {
		return nil, fmt.Errorf("sign a message: %w", err)
	}
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	mac := hmac.New(sha256.New, []byte(n.settings.Secret.Reveal()))
	mac.Write(payload)
	sum := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	req.Header["X-KubeBYON-Signature"] = []string{sum} // in the letters that its documentation uses
	req.Header.Set("X-Hub-Signature-256", sum)
	return req, nil
}

const receiver = "The webhook's receiver"

// outcome looks at the status only: what a stranger's server writes into its
// answer is shown to nobody.
func (n *Notifier) outcome(resp *http.Response) error {
	said := "it answered " + strings.TrimSpace(strconv.Itoa(resp.StatusCode)+" "+http.StatusText(resp.StatusCode))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code >= 300 && code < 400:
		return notify.Refused(receiver, said+", a redirect, and none is followed")
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusProxyAuthRequired:
		return notify.Locked(receiver, said)
	case code == http.StatusNotFound, code == http.StatusRequestTimeout, code == http.StatusConflict, code == http.StatusTooEarly,
		code == http.StatusTooManyRequests, code >= 500: // 404 is what a load balancer says while a program is exchanged
		return notify.Passing(receiver, said, notify.RetryAfter(resp.Header.Get("Retry-After"), n.cfg.Now()))
	}
	return notify.Refused(receiver, said)
}
