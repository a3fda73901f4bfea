// Package telegramnotify sends messages as a Telegram bot. The bot can write
// only to those who have written to it first, and to groups that it is in.
package telegramnotify

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/go-telegram/bot"
	"github.com/go-telegram/bot/models"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/notify"
)

// Client sends requests with a limit on time and size.
type Client interface {
	// Do is like net/http's. Its errors are faults, and hold no URL: the bot's
	// token is a part of it.
	Do(req *http.Request) (*http.Response, error)
}

// Config is what the process brings to the administrator's settings.
type Config struct {
	Client Client
	APIURL string // Telegram's own, but in tests; without a slash at its end
}

// Notifier is safe for concurrent use.
type Notifier struct {
	settings notify.Telegram
	bot      *bot.Bot
}

// maxText is Telegram's limit, in units of UTF-16.
const maxText = 4096

var (
	botToken = regexp.MustCompile(`^[0-9]{1,20}:[A-Za-z0-9_-]{20,100}$`)
	chat     = regexp.MustCompile(`^(-?[0-9]{1,20}|@[A-Za-z][A-Za-z0-9_]{3,31})$`)
)

// New checks the settings; it calls nobody.
func New(s notify.Telegram, cfg Config) (*Notifier, error) {
	var c fault.Check
	c.That(botToken.MatchString(s.BotToken.Reveal()), "telegram_bot_token", "must be a bot's token, a number and a word with a colon between them")
	c.That(s.ChatID == "" || chat.MatchString(s.ChatID), "telegram_chat_id", "must be the number of a chat, or the name of a public one after @")
	if err := c.Err(); err != nil {
		return nil, err
	}
	options := []bot.Option{
		bot.WithSkipGetMe(), bot.WithHTTPClient(time.Minute, cfg.Client), bot.WithUpdatesChannelCap(0),
		bot.WithErrorsHandler(func(error) {}), // it would print them
	}
	if cfg.APIURL != "" {
		options = append(options, bot.WithServerURL(cfg.APIURL))
	}
	b, err := bot.New(s.BotToken.Reveal(), options...)
	if err != nil {
		return nil, fault.Invalid.New("telegram_bot_token", "The Telegram bot cannot be used.")
	}
	return &Notifier{settings: s, bot: b}, nil
}

// Deliver implements notify.Notifier.
func (n *Notifier) Deliver(ctx context.Context, m notify.Message) error {
	if err := m.Check(); err != nil {
		return err
	}
	to := m.To
	if to == "" {
		to = n.settings.ChatID
	}
	if !chat.MatchString(to) {
		return fault.Invalid.New("message_refused", "The target is no number of a Telegram chat, nor the name of a public one.")
	}
	_, err := n.bot.SendMessage(ctx, &bot.SendMessageParams{
		ChatID: to, Text: words(m), LinkPreviewOptions: &models.LinkPreviewOptions{IsDisabled: bot.True()},
	})
	return n.outcome(err)
}

func words(m notify.Message) string {
	text := strings.TrimSpace(notify.Line(m.Subject) + "\n\n" + strings.TrimSpace(m.Text))
	for most := maxText; ; most -= 16 {
		if text = notify.Shorten(text, most); len(utf16.Encode([]rune(text))) <= maxText {
			return text
		}
	}
}

// outcome knows Telegram's errors by their numbers.
func (n *Notifier) outcome(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f // the client's own, which holds no URL
	}
	if e, ok := errors.AsType[*bot.TooManyRequestsError](err); ok {
		return notify.Passing("Telegram", "too many messages", notify.RetryAfter(strconv.Itoa(e.RetryAfter), time.Time{}))
	}
	if _, ok := errors.AsType[*bot.MigrateError](err); ok {
		return notify.Refused("Telegram", "the group has become a supergroup, which has another number")
	}
	switch {
	case errors.Is(err, bot.ErrorUnauthorized), errors.Is(err, bot.ErrorNotFound): // both say that there is no such bot
		return notify.Locked("Telegram", n.reason(err))
	case errors.Is(err, bot.ErrorBadRequest), errors.Is(err, bot.ErrorForbidden): // of the target: blocked, left, unknown
		return notify.Refused("Telegram", n.reason(err))
	case strings.HasPrefix(err.Error(), "error response from telegram"):
		return notify.Passing("Telegram", "it has an error of its own", 0)
	}
	return notify.Passing("Telegram", "its answer cannot be understood", 0)
}

// reason takes Telegram's words out of an error that repeats them: "bad
// request, Bad Request: chat not found".
func (n *Notifier) reason(err error) string {
	said := err.Error()
	if _, after, ok := strings.Cut(said, ": "); ok {
		said = after
	} else if _, after, ok := strings.Cut(said, ", "); ok {
		said = after
	}
	return notify.Reason(said, n.settings.BotToken)
}
