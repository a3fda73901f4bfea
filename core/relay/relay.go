// Package relay moves committed messages from the outbox to the bus: at least
// once, in the order in which they were written.
package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/outage"
	"github.com/kubebyon/kubebyon/ports/bus"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Deps are what a Relay cannot work without.
type Deps struct {
	Store     store.Store
	Publisher bus.Publisher
	Log       *slog.Logger
	Now       func() time.Time
	Bell      *bell.Bell // rung when something was written to the outbox here
}

// Relay may run in several processes; they take turns.
type Relay struct{ deps Deps }

// New refuses missing dependencies, so that wiring mistakes fail at start.
func New(d Deps) (*Relay, error) {
	if d.Store == nil || d.Publisher == nil || d.Log == nil || d.Now == nil || d.Bell == nil {
		return nil, errors.New("relay: every field of Deps must be set")
	}
	return &Relay{d}, nil
}

const (
	batch = 100
	// idle is how long a message that another process wrote may wait.
	idle       = time.Second
	afterError = 2 * time.Second
	// patience is how long the broker may take: the transaction stays open, and other relays
	// wait, while it accepts a batch.
	patience = 10 * time.Second
)

// Run publishes until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	trouble := outage.New(r.deps.Log, r.deps.Now)
	for ctx.Err() == nil {
		rung := r.deps.Bell.C()
		moved, err := r.Once(ctx)
		if err != nil {
			if ctx.Err() == nil {
				trouble.Failed(ctx, slog.LevelError, "messages not published; trying again", err)
			}
			bell.Wait(ctx, nil, afterError)
			continue
		}
		if moved > 0 { // else another relay may have its turn, which is no sign that they go out
			trouble.Works(ctx, "messages are published again")
		}
		if moved < batch {
			bell.Wait(ctx, rung, idle)
		}
	}
}

// Once publishes one batch and reports how many messages left the outbox. A crash
// between publish and remove publishes the batch again. A message that no broker
// will ever take is dropped with a line in the log: it would keep all others back,
// and the database decides anyway.
func (r *Relay) Once(ctx context.Context) (moved int, err error) {
	var hopeless []refusal
	err = r.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		waiting, err := tx.Outbox().Claim(ctx, batch)
		moved, hopeless = len(waiting), nil
		if err != nil || len(waiting) == 0 {
			return err
		}
		late, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if hopeless, err = r.publish(late, waiting); err != nil {
			return fmt.Errorf("publish %d messages: %w", len(waiting), err)
		}
		if err := r.markJobs(ctx, tx, without(waiting, hopeless)); err != nil {
			return err
		}
		ids := make([]id.Message, len(waiting))
		for i, m := range waiting {
			ids[i] = m.ID
		}
		return tx.Outbox().Remove(ctx, ids...)
	})
	if err != nil {
		return 0, err
	}
	for _, h := range hopeless {
		r.deps.Log.ErrorContext(ctx, "message dropped: it cannot be published", "type", h.message.Type, "message", h.message.ID.String(), "err", h.why)
	}
	return moved, nil
}

// refusal is a message that the broker will never take.
type refusal struct {
	message store.OutboxMessage
	why     error
}

// publish hands everything to the broker, in order, but for what that refuses for
// good: halves of halves, until that stands alone.
func (r *Relay) publish(ctx context.Context, msgs []store.OutboxMessage) ([]refusal, error) {
	out := make([]bus.Message, len(msgs))
	for i, m := range msgs {
		out[i] = bus.Message{ID: m.ID.String(), Type: m.Type, Key: m.Key, At: m.At, Body: m.Body}
	}
	err := r.deps.Publisher.Publish(ctx, out...)
	switch {
	case !errors.Is(err, fault.Invalid) && !errors.Is(err, fault.TooLarge):
		return nil, err
	case len(msgs) == 1:
		return []refusal{{msgs[0], err}}, nil
	}
	first, err := r.publish(ctx, msgs[:len(msgs)/2])
	if err != nil {
		return nil, err
	}
	second, err := r.publish(ctx, msgs[len(msgs)/2:])
	return append(first, second...), err
}

// without returns what was not refused.
func without(msgs []store.OutboxMessage, hopeless []refusal) (out []store.OutboxMessage) {
	for _, m := range msgs {
		if !slices.ContainsFunc(hopeless, func(h refusal) bool { return h.message.ID == m.ID }) {
			out = append(out, m)
		}
	}
	return out
}

// markJobs writes on each job when its message went out.
func (r *Relay) markJobs(ctx context.Context, tx store.Tx, msgs []store.OutboxMessage) error {
	var jobs []id.Job
	for _, m := range msgs {
		var notice clusters.JobNotice
		if m.Type == clusters.JobMessage && json.Unmarshal(m.Body, &notice) == nil {
			jobs = append(jobs, notice.JobID)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	return tx.Jobs().MarkPublished(ctx, r.deps.Now(), jobs...)
}
