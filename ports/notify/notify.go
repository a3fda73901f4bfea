// Package notify hands messages to people and programs elsewhere: by e-mail,
// Slack, Telegram and webhook.
//
// Notifiers are checked by [notifytest.Run].
package notify

import (
	"context"
	"encoding/json"
	"time"
)

// Message is one message to one target.
type Message struct {
	// ID is the same each time the message is sent: at most 100 letters, digits,
	// dots, dashes and underscores.
	ID string
	// Event says what the message is about, for programs: "cluster-alert".
	Event string
	At    time.Time // when that was
	// To is an e-mail address, a Slack user or channel, a Telegram chat. Slack's
	// incoming webhooks and webhooks have one target, and leave it out.
	To      string
	Subject string // one line
	Text    string // may have many
	HTML    string // for e-mail only, and optional
	// Data is what a program wants to know: a JSON object, without secrets. It
	// goes to webhooks only, and is optional.
	Data json.RawMessage
}

// Notifier hands over messages through one channel. It is safe for concurrent
// use.
type Notifier interface {
	// Deliver returns nil once the receiving server has accepted the message. It
	// may block until ctx's deadline, and gives up by itself within a minute.
	//
	// It may be repeated, and must be after an error that leaves open whether
	// the message has arrived. The ID lets a receiver tell where the channel has
	// a place for it: in e-mail the Message-ID, in a webhook the webhook-id.
	//
	// What may pass is fault.Unavailable, with RetryAfter when the server says
	// so: no connection, no answer, a busy server, one that cannot be trusted to
	// be the right one. What will not is fault.Invalid, for a message or a
	// target that the server refuses, or fault.Denied, for a sender that it does
	// not let in and an address that may not be called. The message of an error
	// says what the server said. No error holds a secret: no password, token, or
	// webhook's URL.
	//
	// The text arrives as it is, whatever is in it: it cannot add headers,
	// formats or mentions. What is too long for the channel is cut short.
	Deliver(ctx context.Context, m Message) error
}

// NotifierFunc is a Notifier made of its only method.
type NotifierFunc func(ctx context.Context, m Message) error

// Deliver implements Notifier.
func (f NotifierFunc) Deliver(ctx context.Context, m Message) error { return f(ctx, m) }
