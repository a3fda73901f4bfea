package slacknotify

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/notify"
)

// What Slack says of senders and of itself. Everything else is about the
// message or its target.
// https://docs.slack.dev/reference/methods/chat.postMessage#errors
var (
	senders = []string{
		"access_denied", "account_inactive", "ekm_access_denied", "enterprise_is_restricted", "invalid_auth", "invalid_token", "missing_scope", "no_permission",
		"not_allowed_token_type", "not_authed", "org_login_required", "team_access_not_granted", "token_expired", "token_revoked", "two_factor_setup_required",
		"user_is_inactive", "no_service", "no_service_id", "no_team", "team_disabled", "action_prohibited",
	}
	troubles = []string{
		"accesslimited", "fatal_error", "internal_error", "message_limit_exceeded", "rate_limited", "ratelimited", "request_timeout", "rollup_error", "service_unavailable", "team_added_to_org",
	}
)

func notYet(reason string, after time.Duration) error { return notify.Passing("Slack", reason, after) }

// outcome is that of a call of the API.
func (n *Notifier) outcome(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f // the client's own, which holds no URL
	}
	if e, ok := errors.AsType[*slack.RateLimitedError](err); ok {
		return notYet("too many messages", min(max(e.RetryAfter, 0), 24*time.Hour))
	}
	if e, ok := errors.AsType[slack.StatusCodeError](err); ok {
		return n.status(e.Code, "", 0)
	}
	if e, ok := errors.AsType[slack.SlackErrorResponse](err); ok {
		return n.verdict(e.Err)
	}
	return notYet("its answer cannot be understood", 0)
}

// word is the form of all of Slack's reasons.
var word = regexp.MustCompile(`^[a-z][a-z0-9_]{2,63}$`)

// verdict knows what a reason is about. Only Slack's words are shown: another's
// server may say anything.
func (n *Notifier) verdict(said string) error {
	said = notify.Reason(strings.TrimSpace(said), n.settings.WebhookURL, n.settings.BotToken)
	switch {
	case slices.Contains(troubles, said):
		return notYet(said, 0)
	case slices.Contains(senders, said):
		return notify.Locked("Slack", said)
	case !word.MatchString(said):
		return notYet("its answer cannot be understood", 0)
	}
	return notify.Refused("Slack", said)
}

// status is for answers that have no other form.
func (n *Notifier) status(code int, said string, after time.Duration) error {
	said = strings.TrimSpace(said)
	reason := "it answered " + strings.TrimSpace(strconv.Itoa(code)+" "+http.StatusText(code))
	switch {
	case code == http.StatusTooManyRequests || code >= 500 || code == http.StatusRequestTimeout:
		if slices.Contains(troubles, said) {
			reason = said
		}
		return notYet(reason, after)
	case word.MatchString(said):
		return n.verdict(said)
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return notify.Locked("Slack", reason)
	}
	return notify.Refused("Slack", reason)
}
