// Package slacknotify sends messages to Slack: by a bot to a person or a
// channel, or to the one channel of an incoming webhook.
package slacknotify

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/notify"
)

// Client sends requests to public addresses only: the webhook's URL is
// somebody's choice.
type Client interface {
	// Do is like net/http's. Its errors are faults, and hold no URL.
	Do(req *http.Request) (*http.Response, error)
	// CheckURL says what is wrong with the form of a URL: "must be …".
	CheckURL(url string) error
}

// Config is what the process brings to the administrator's settings.
type Config struct {
	Client Client
	APIURL string           // Slack's own, but in tests; with a slash at its end
	Now    func() time.Time // default: time.Now
}

// Notifier is safe for concurrent use.
type Notifier struct {
	settings notify.Slack
	api      *slack.Client // nil without a bot
	cfg      Config
}

// maxText is what Slack advises; it cuts at ten times as much.
const maxText = 4000

var (
	botToken = regexp.MustCompile(`^xox[a-z]-[A-Za-z0-9.-]{10,500}$`)
	// target is the ID of a user, a channel or a conversation, or a channel's name.
	target = regexp.MustCompile(`^[#@]?[\p{L}\p{N}][\p{L}\p{N}._-]{0,79}$`)
)

// New checks the settings; it calls nobody.
func New(s notify.Slack, cfg Config) (*Notifier, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.APIURL == "" {
		cfg.APIURL = slack.APIURL
	}
	var c fault.Check
	c.That(!s.WebhookURL.IsZero() || !s.BotToken.IsZero(), "slack_webhook_url", "must be set where there is no bot token")
	if !s.WebhookURL.IsZero() {
		checkWebhook(&c, s.WebhookURL.Reveal(), cfg.Client)
	}
	c.That(s.BotToken.IsZero() || botToken.MatchString(s.BotToken.Reveal()), "slack_bot_token", "must be a bot token, which begins with xoxb-")
	c.That(s.Channel == "" || target.MatchString(s.Channel), "slack_channel", "must be the ID or the name of a channel")
	if err := c.Err(); err != nil {
		return nil, err
	}
	n := &Notifier{settings: s, cfg: cfg}
	if !s.BotToken.IsZero() {
		n.api = slack.New(s.BotToken.Reveal(), slack.OptionHTTPClient(cfg.Client), slack.OptionAPIURL(cfg.APIURL))
	}
	return n, nil
}

func checkWebhook(c *fault.Check, raw string, client Client) {
	if err := client.CheckURL(raw); err != nil {
		c.That(false, "slack_webhook_url", "%s", err)
		return
	}
	u, err := url.Parse(raw)
	c.That(err == nil && u.Scheme == "https", "slack_webhook_url", "must be an https address: whoever reads it on its way can use it")
}

// Deliver implements notify.Notifier.
func (n *Notifier) Deliver(ctx context.Context, m notify.Message) error {
	if err := m.Check(); err != nil {
		return err
	}
	if m.To != "" && !target.MatchString(m.To) {
		return fault.Invalid.New("message_refused", "The target is no ID of a Slack user or channel, nor a channel's name.")
	}
	to := m.To
	if to == "" && n.settings.WebhookURL.IsZero() {
		to = n.settings.Channel
	}
	switch {
	case to != "" && n.api != nil:
		return n.byBot(ctx, to, words(m))
	case to != "":
		return notify.Locked("Slack", "a message to somebody in particular needs a bot token, and none is set")
	case n.settings.WebhookURL.IsZero():
		return notify.Refused("Slack", "no channel is set")
	}
	return n.byWebhook(ctx, words(m))
}

func words(m notify.Message) string {
	text := notify.Line(m.Subject) + "\n\n" + strings.TrimSpace(m.Text)
	return notify.Shorten(strings.TrimSpace(text), maxText)
}

func (n *Notifier) byBot(ctx context.Context, to, text string) error {
	_, at, err := n.api.PostMessageContext(ctx, to,
		slack.MsgOptionText(text, true), slack.MsgOptionDisableMarkdown(), slack.MsgOptionParse(false),
		slack.MsgOptionDisableLinkUnfurl(), slack.MsgOptionDisableMediaUnfurl())
	if err == nil && at == "" {
		return notYet("its answer cannot be understood", 0) // the library takes {} for a success
	}
	return n.outcome(err)
}

// literal are the characters that begin mentions and links.
var literal = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// byWebhook posts by itself: the library keeps the status of a refusal and
// drops its reason.
func (n *Notifier) byWebhook(ctx context.Context, text string) error {
	payload, err := json.Marshal(map[string]any{"text": literal.Replace(text), "mrkdwn": false, "unfurl_links": false, "unfurl_media": false})
	if err != nil {
		return notify.Refused("Slack", "it is no text")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.settings.WebhookURL.Reveal(), bytes.NewReader(payload))
	if err != nil {
		return fault.Denied.New("address_refused", "The request was not sent: its address cannot be read.") // err holds the URL
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 256))
	return n.status(resp.StatusCode, string(said), notify.RetryAfter(resp.Header.Get("Retry-After"), n.cfg.Now()))
}
