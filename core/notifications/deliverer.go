package notifications

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
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
	bell    *bell.Bell
	observe Observer
}

// NewDeliverer returns the Deliverer of a process that no other living one has
// the name of. The bell is rung when messages were written here: see [Ringing].
func NewDeliverer(s *Service, log *slog.Logger, name string, rung *bell.Bell, o Observer) (*Deliverer, error) {
	if s == nil || log == nil || name == "" || rung == nil {
		return nil, errors.New("notifications: a service, a log, a name and a bell must be given")
	}
	return &Deliverer{s, log, name, rung, o}, nil
}

const (
	// A channel has this many deliveries on their way at once, and this many more
	// wait for them: one that hangs takes nothing from the others.
	hands   = 4
	waiting = 16

	// deadline is for one delivery; lease is longer than all in a lane may take.
	deadline = 25 * time.Second
	lease    = (waiting/hands + 2) * deadline
	// grace is how long what is on its way may take when the process ends.
	grace = 5 * time.Second

	// idle is how long a message that another process wrote may wait.
	idle       = 5 * time.Second
	afterError = 2 * time.Second
	// taken is when to look again for what others were just claiming.
	taken = time.Second
	// late is how long a delivery waits that has waited too long for its turn here.
	late = 20 * time.Second
)

// lane is a channel's deliveries that this process has claimed.
type lane struct {
	channel string
	queue   chan store.Delivery // filled by look alone: its room only grows meanwhile
	behind  atomic.Bool         // there may be more than there was room for
}

func (l *lane) room() int { return cap(l.queue) - len(l.queue) }

// wants reports whether it is worth a look for more, of which the bell is rung
// otherwise: half a lane is claimed at once rather than one by one.
func (l *lane) wants() bool {
	l.behind.Store(true) // before the room is looked at, so that one of both sees the other
	return l.room() >= waiting/2
}

// Run delivers until ctx ends. What it has not begun by then it gives back.
func (d *Deliverer) Run(ctx context.Context) {
	ctx = actor.With(ctx, actor.Process())
	var lanes []*lane
	var working sync.WaitGroup
	defer working.Wait()
	for _, channel := range Channels() {
		l := &lane{channel: channel, queue: make(chan store.Delivery, waiting)}
		defer close(l.queue)
		lanes = append(lanes, l)
		for range hands {
			working.Go(func() { d.work(ctx, l) })
		}
	}
	trouble := outage.New(d.log, d.deps.Now)
	for ctx.Err() == nil {
		rung := d.bell.C()
		pause, err := d.look(ctx, lanes)
		switch {
		case err == nil:
			trouble.Works(ctx, "messages are delivered again")
		case ctx.Err() == nil:
			trouble.Failed(ctx, slog.LevelError, "messages are not delivered; trying again", err)
			pause, rung = afterError, nil
		}
		bell.Wait(ctx, rung, pause)
	}
}

func (d *Deliverer) work(ctx context.Context, l *lane) {
	for one := range l.queue {
		if l.behind.Load() && l.room() >= waiting/2 {
			d.bell.Ring()
		}
		d.handle(ctx, one)
	}
}

// look gives the lanes what is due, and returns when to look again.
func (d *Deliverer) look(ctx context.Context, lanes []*lane) (time.Duration, error) {
	var open []*lane
	var channels []string
	for _, l := range lanes {
		if l.wants() {
			open, channels = append(open, l), append(channels, l.channel)
		}
	}
	if len(open) == 0 {
		return idle, nil
	}
	var next map[string]time.Time
	err := d.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		next, err = tx.Deliveries().Next(ctx, channels...)
		return err
	})
	if err != nil {
		return 0, err
	}
	now, pause := d.deps.Now(), idle
	var due []*lane
	for _, l := range open {
		switch at, has := next[l.channel]; {
		case has && !at.After(now):
			due = append(due, l)
		case has:
			pause = min(pause, at.Sub(now))
			fallthrough
		default:
			l.behind.Store(false)
		}
	}
	if len(due) == 0 {
		return pause, nil
	}
	if got, err := d.claim(ctx, now, due); err != nil || got {
		return 0, err
	}
	return min(taken, pause), nil
}

// claim fills lanes, and reports whether it got anything.
func (d *Deliverer) claim(ctx context.Context, now time.Time, lanes []*lane) (got bool, err error) {
	claimed := make([][]store.Delivery, len(lanes))
	err = d.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		for i, l := range lanes {
			if claimed[i], err = tx.Deliveries().Claim(ctx, d.name, l.channel, now, now.Add(lease), l.room()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	for i, l := range lanes {
		for _, one := range claimed[i] {
			l.queue <- one
			got = true
		}
	}
	return got, nil
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
		_, _ = d.settle(ctx, d.later(one, d.spread(late)))
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
			if isCode(one) && one.Status != store.DeliveryPending {
				one.Sealed = nil // what else was given up can be sent again for a while
			}
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
