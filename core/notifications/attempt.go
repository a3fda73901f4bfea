package notifications

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/text"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

// attempt tries to hand a delivery over. A panic is a failure like any other.
func (d *Deliverer) attempt(ctx context.Context, one store.Delivery) (err error) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		late := time.NewTimer(grace)
		defer late.Stop()
		select {
		case <-late.C:
			cancel()
		case <-limited.Done():
		}
	})
	defer stop()
	defer func() {
		if p := recover(); p != nil {
			d.log.ErrorContext(ctx, "a delivery panicked", "delivery", one.ID.String(), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	if isCode(one) && !d.deps.Now().Before(one.CreatedAt.Add(codeLife)) {
		return expired()
	}
	return d.deliver(limited, one)
}

var errPanic = errors.New("a delivery panicked") //nolint:gochecknoglobals // a constant

func (d *Deliverer) deliver(ctx context.Context, one store.Delivery) error {
	m, says, about, err := d.open(ctx, one)
	if err != nil {
		return err
	}
	if alert, ok := says.(notify.ClusterAlert); ok {
		if err := d.holds(ctx, about, alert.Status == string(clusters.Ready)); err != nil {
			return err
		}
	}
	if err := d.reaches(ctx, one, m.To); err != nil {
		return err
	}
	to, err := d.notifier(ctx, one.Channel, m.To)
	if err != nil {
		return err
	}
	err = to.Deliver(ctx, m)
	if f, ok := errors.AsType[*fault.Error](err); ok && m.To != "" {
		// What a server says may name whom it does not know.
		said := *f
		said.Msg = strings.ReplaceAll(said.Msg, m.To, one.Target)
		return &said
	}
	return err
}

// reaches fails with a moot when a target has ceased to be the person's since the
// message was written. A code proves a target that is not theirs yet.
func (d *Deliverer) reaches(ctx context.Context, one store.Delivery, to string) error {
	if one.UserID.IsZero() || isCode(one) {
		return nil
	}
	err := d.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error { return stillOwn(ctx, tx, one, to) })
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Code == "delivery_target_gone" {
		return moot(f.Msg)
	}
	return err
}

// open puts a delivery into words. It returns too what it says, and of which
// cluster, if it is of one.
func (d *Deliverer) open(ctx context.Context, one store.Delivery) (m notify.Message, says notify.Template, about id.Cluster, err error) {
	c, err := d.contents(ctx, one)
	if err != nil {
		return m, says, about, err
	}
	if c.Cluster != "" {
		if about, err = id.Parse[id.ClusterKind](c.Cluster); err != nil {
			return m, says, about, unreadable()
		}
	}
	if says, err = notify.Decode(one.Template, c.Data); err != nil {
		return m, says, about, err
	}
	words, err := d.deps.Composer.Compose(says)
	if err != nil {
		return m, says, about, err
	}
	m = notify.Message{
		ID: one.ID.String(), Event: one.Template, At: one.CreatedAt, To: c.To,
		Subject: words.Subject, Text: words.Text, HTML: words.HTML,
	}
	if one.Channel == Webhook {
		m.Data = c.Data
	}
	return m, says, about, nil
}

// contents opens what a delivery says. What cannot be opened at the moment may be
// later: a process learns of new keys, and a database comes back.
func (s *Service) contents(ctx context.Context, one store.Delivery) (c contents, err error) {
	plain, err := s.deps.Seal.Open(ctx, purpose(one.ID), one.Sealed)
	if err != nil && !isLost(err) {
		return c, err
	}
	if err != nil || json.Unmarshal(plain, &c) != nil {
		return contents{}, unreadable()
	}
	return c, nil
}

// isLost tells what will never open from what does not at the moment.
func isLost(err error) bool {
	code := fault.CodeOf(err)
	return code == "broken_seal" || code == "wrong_key"
}

func unreadable() error {
	return fault.Invalid.New("delivery_unreadable", "The message was stored damaged and cannot be read.")
}

// What becomes of deliveries that fail.
const (
	// Until a delivery is given up it is tried this often at least, and this long,
	// which is about as often: it takes about an hour. What somebody has sent again
	// is as old as it is, and has its tries anew.
	minAttempts = 8
	maxAge      = time.Hour
	// maxClaims is for one that takes its process down with it every time.
	maxClaims = 200

	firstDelay = 5 * time.Second
	lastDelay  = 15 * time.Minute
	// longestHeed is for how long a server is left alone that asks for longer: with
	// minAttempts it is the hour.
	longestHeed = 8 * time.Minute

	// codeLife is as long as identity.CodeLife: a code that comes later is of no use.
	codeLife = 10 * time.Minute
)

func isCode(one store.Delivery) bool {
	return one.Template == "verification-code" || one.Template == "password-reset"
}

func expired() error {
	return fault.Invalid.New("delivery_expired", "The code in it was good for %d minutes, which have passed.", int(codeLife/time.Minute))
}

// moot is why a message is not worth its delivery any more.
type moot string

func (m moot) Error() string { return string(m) }

// judge decides what an attempt's result means for the delivery.
func (d *Deliverer) judge(ctx context.Context, one store.Delivery, result error) (store.Delivery, Outcome) {
	now := d.deps.Now()
	if result == nil {
		one.Status, one.DeliveredAt, one.LastError = store.DeliveryDelivered, &now, ""
		return one, Delivered
	}
	if why, ok := errors.AsType[moot](result); ok {
		one.Status, one.LastError, one.Sealed = store.DeliveryDead, string(why), nil
		return one, Dropped
	}
	if ctx.Err() != nil && !isPermanent(result) {
		one.DueAt = now
		return one, Interrupted
	}
	one.LastError = explain(result, deadline)
	log := d.log.With("delivery", one.ID.String(), "template", one.Template, "channel", one.Channel, "attempt", one.Attempts, "code", fault.CodeOf(result))
	if _, known := errors.AsType[*fault.Error](result); !known {
		log = log.With("err", result)
	}
	one.DueAt = now.Add(d.delay(one.Attempts, result))
	if isPermanent(result) || d.hopeless(one) {
		one.Status = store.DeliveryDead
		log.WarnContext(ctx, "a message is given up")
		return one, Died
	}
	log.InfoContext(ctx, "a message could not be delivered; trying again", "again_at", one.DueAt)
	return one, Retried
}

// isPermanent leaves it to administrators to mend a password that is not taken,
// or a token that has run out: the message is as good as before.
func isPermanent(err error) bool {
	return errors.Is(err, fault.Invalid) || errors.Is(err, fault.Denied) && fault.CodeOf(err) != "sender_refused"
}

// hopeless reports whether a delivery that is not due before DueAt is to be
// given up instead.
func (d *Deliverer) hopeless(one store.Delivery) bool {
	age := one.DueAt.Sub(one.CreatedAt)
	if isCode(one) {
		return age >= codeLife
	}
	return age > maxAge && one.Attempts >= minAttempts || one.Attempts >= maxClaims
}

// delay is three times as long after every attempt, and heeds a server that says
// how long it wants to be left alone.
func (d *Deliverer) delay(attempts int, result error) time.Duration {
	wait := firstDelay
	for range attempts - 1 {
		wait = min(3*wait, lastDelay)
	}
	wait = d.spread(wait)
	if f, ok := errors.AsType[*fault.Error](result); ok {
		wait = max(wait, min(f.RetryAfter, longestHeed))
	}
	return wait
}

// spread is a time around d, so that what failed together does not come back
// together.
func (d *Deliverer) spread(wait time.Duration) time.Duration {
	r := d.deps.Random()
	return wait*3/4 + time.Duration(binary.BigEndian.Uint16(r[8:]))*(wait/2)>>16
}

const maxError = 500

// explain is an error for administrators. The text of one that nobody has a name
// for is for the log only. The limit is what it was to be done within.
func explain(err error, limit time.Duration) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return text.Clip(f.Msg, maxError)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("It took longer than %d seconds.", int(limit/time.Second))
	}
	return "Something went wrong on our side. The server's log has the details."
}
