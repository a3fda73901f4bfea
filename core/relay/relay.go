// Package relay moves committed messages from the outbox to the bus: at least
// once, in the order in which they were written.
package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/id"
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
	for ctx.Err() == nil {
		rung := r.deps.Bell.C()
		moved, err := r.Once(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			r.deps.Log.ErrorContext(ctx, "messages not published; trying again", "err", err)
			bell.Wait(ctx, nil, afterError)
		case moved < batch:
			bell.Wait(ctx, rung, idle)
		}
	}
}

// Once publishes one batch and reports how many messages it moved. A crash
// between publish and remove publishes the batch again.
func (r *Relay) Once(ctx context.Context) (moved int, err error) {
	err = r.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		waiting, err := tx.Outbox().Claim(ctx, batch)
		if err != nil || len(waiting) == 0 {
			moved = 0
			return err
		}
		out := make([]bus.Message, len(waiting))
		ids := make([]id.Message, len(waiting))
		for i, m := range waiting {
			out[i] = bus.Message{ID: m.ID.String(), Type: m.Type, Key: m.Key, At: m.At, Body: m.Body}
			ids[i] = m.ID
		}
		if err := r.publish(ctx, out); err != nil {
			return fmt.Errorf("publish %d messages: %w", len(out), err)
		}
		moved = len(out)
		if err := r.markJobs(ctx, tx, waiting); err != nil {
			return err
		}
		return tx.Outbox().Remove(ctx, ids...)
	})
	return moved, err
}

func (r *Relay) publish(ctx context.Context, msgs []bus.Message) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return r.deps.Publisher.Publish(ctx, msgs...)
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
