package notifications

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/bell"
	"github.com/kubebyon/kubebyon/core/kernel/outage"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Observer is told what becomes of deliveries, in words of a fixed few. What is
// nil is not called.
type Observer struct {
	// Begun is told that a delivery is on its way; what it returns is told how
	// that ended.
	Begun func(channel string) func(Outcome)
}

// Outcome is how an attempt at a delivery ended, in a word.
type Outcome string

const (
	Delivered   Outcome = "delivered"
	Retried     Outcome = "retried"     // failed, and will be tried again
	Died        Outcome = "dead"        // failed for good
	Dropped     Outcome = "dropped"     // there was no reason for it any more
	Interrupted Outcome = "interrupted" // by the end of the process
	Lost        Outcome = "lost"        // another process has it
	Unsettled   Outcome = "unsettled"   // how it ended could not be written down: it is repeated
)

// Deliverer hands over what has been written down. It may run in several
// processes.
type Deliverer struct {
	*Service
	log     *slog.Logger
	name    string
	observe Observer
}

// NewDeliverer returns the Deliverer of a process that no other living one has
// the name of.
func NewDeliverer(s *Service, log *slog.Logger, name string, o Observer) (*Deliverer, error) {
	if s == nil || log == nil || name == "" {
		return nil, errors.New("notifications: a service, a log and a name must be given")
	}
	return &Deliverer{s, log, name, o}, nil
}

const (
	// A lane has this many deliveries on their way at once, and this many more
	// wait for them: a channel that hangs takes nothing from the others.
	hands   = 4
	waiting = 16
	batch   = waiting

	// deadline is for one delivery; lease is longer than all in a lane may take.
	deadline = 25 * time.Second
	lease    = (waiting/hands + 2) * deadline
	// grace is how long what is on its way may take when the process ends.
	grace = 5 * time.Second

	// idle is how long a message that has just been written may wait.
	idle       = time.Second
	afterError = 2 * time.Second
	// busy is how long a delivery waits for which its channel has no room.
	busy = 20 * time.Second
)

// Run delivers until ctx ends. What it has not begun by then it gives back.
func (d *Deliverer) Run(ctx context.Context) {
	ctx = actor.With(ctx, actor.Process())
	lanes := map[string]chan store.Delivery{}
	var working sync.WaitGroup
	defer working.Wait()
	for _, channel := range Channels() {
		lane := make(chan store.Delivery, waiting)
		defer close(lane)
		lanes[channel] = lane
		for range hands {
			working.Go(func() {
				for one := range lane {
					d.handle(ctx, one)
				}
			})
		}
	}
	trouble := outage.New(d.log, d.deps.Now)
	for ctx.Err() == nil {
		pause, err := d.look(ctx, lanes)
		switch {
		case err == nil:
			trouble.Works(ctx, "messages are delivered again")
		case ctx.Err() == nil:
			trouble.Failed(ctx, slog.LevelError, "messages are not delivered; trying again", err)
			pause = afterError
		}
		bell.Wait(ctx, nil, pause)
	}
}

// look gives the lanes what is due, and returns when to look again.
func (d *Deliverer) look(ctx context.Context, lanes map[string]chan store.Delivery) (time.Duration, error) {
	var next *time.Time
	err := d.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		next, err = tx.Deliveries().Next(ctx)
		return err
	})
	now := d.deps.Now()
	if err != nil || next == nil {
		return idle, err
	}
	if wait := next.Sub(now); wait > 0 {
		return min(idle, wait), nil
	}
	var claimed []store.Delivery
	err = d.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		claimed, err = tx.Deliveries().Claim(ctx, d.name, now, now.Add(lease), batch)
		return err
	})
	var many []store.Delivery
	for _, one := range claimed {
		select {
		case lanes[one.Channel] <- one: // of no such channel: never
		default:
			many = append(many, d.later(one, d.spread(busy)))
		}
	}
	_, _ = d.settle(ctx, many...)
	if len(claimed) == batch {
		return 0, err
	}
	return idle, err
}

// later leaves a delivery to be claimed again, by anybody.
func (d *Deliverer) later(one store.Delivery, after time.Duration) store.Delivery {
	one.DueAt = d.deps.Now().Add(after)
	if d.hopeless(one) {
		one.Status, one.LastError = store.DeliveryDead, "It could not be handed over in time."
	}
	return one
}

// handle delivers one, unless it has waited so long for its turn that somebody
// else could get it meanwhile.
func (d *Deliverer) handle(ctx context.Context, one store.Delivery) {
	if ctx.Err() != nil {
		_, _ = d.settle(ctx, d.later(one, 0))
		return
	}
	if one.LeasedUntil == nil || one.LeasedUntil.Sub(d.deps.Now()) < deadline+afterError {
		_, _ = d.settle(ctx, d.later(one, d.spread(busy)))
		return
	}
	ended := func(Outcome) {}
	if d.observe.Begun != nil {
		ended = d.observe.Begun(one.Channel)
	}
	one, outcome := d.judge(ctx, one, d.attempt(ctx, one))
	mine, err := d.settle(ctx, one)
	switch {
	case err != nil:
		outcome = Unsettled
	case !mine:
		outcome = Lost
	}
	ended(outcome)
}

// settle writes down how it stands with deliveries, and reports whether all were
// still this process's. What cannot be written is repeated when its lease has
// run out.
func (d *Deliverer) settle(ctx context.Context, all ...store.Delivery) (mine bool, err error) {
	if len(all) == 0 {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = d.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		mine = true
		for _, one := range all {
			one.UpdatedAt = d.deps.Now()
			held, err := tx.Deliveries().Settle(ctx, one, d.name)
			if err != nil {
				return err
			}
			mine = mine && held
		}
		return nil
	})
	if err != nil {
		d.log.ErrorContext(ctx, "how deliveries ended is not written down; they are repeated", "first", all[0].ID.String(), "status", all[0].Status, "err", err)
	}
	return mine && err == nil, err
}
