package notifications

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/identity"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/notify"
	"github.com/kubebyon/kubebyon/ports/store"
)

// span is what silence of a cluster is counted in: it is told at the end of the
// span after that in which it began, if it lasts until then. So somebody hears
// of an outage after two to four minutes, of a short one never, and of a cluster
// that comes and goes all the time once a span at most.
const span = 2 * time.Minute

// told is when an outage that began at t is.
func told(t time.Time) time.Time { return t.Truncate(span).Add(2 * span) }

// ClusterChanged writes down who is to hear of what has become of a cluster, in
// the transaction that changes it. It asks nothing of tx unless that is news.
func (s *Service) ClusterChanged(ctx context.Context, tx store.Tx, before, after store.Cluster) error {
	now := s.deps.Now()
	var due time.Time
	var key string
	switch {
	case isLive(after) && isDown(after) && !isDown(before):
		if due, key = now, fmt.Sprintf("failed/%d", after.UpdatedAt.UnixMilli()); isSilent(after) {
			due = told(now)
			key = silence(due)
		}
	case isLive(after) && isDown(before) && !isDown(after) && after.Status == string(clusters.Ready):
		return s.recovered(ctx, tx, before, after)
	default:
		return nil
	}
	all, err := s.alert(ctx, tx, after, due)
	if err != nil {
		return err
	}
	return s.post(ctx, tx, keyed(all, after.ID, key)...)
}

// recovered tells of the end of an outage those who have heard of it. What
// failed was told at once, and so is that it has come back, every time; of
// silence that is over, somebody hears once a span at most.
func (s *Service) recovered(ctx context.Context, tx store.Tx, before, after store.Cluster) error {
	now := s.deps.Now()
	all, err := s.alert(ctx, tx, after, now)
	if err != nil {
		return err
	}
	key := fmt.Sprintf("ready/%d", after.UpdatedAt.UnixMilli())
	if isSilent(before) {
		if all, err = heard(ctx, tx, all, after.ID, silences(lastSeen(before), now)); err != nil {
			return err
		}
		if before.Status != string(clusters.Error) {
			key = fmt.Sprintf("ready/%d", now.Truncate(span).UnixMilli())
		}
	}
	return s.post(ctx, tx, keyed(all, after.ID, key)...)
}

func silence(due time.Time) string { return fmt.Sprintf("silent/%d", due.UnixMilli()) }

// silences are the keys that the last message of a cluster's silence may have,
// if it was seen last at seen and is there again now. Between seen and when it
// was missed some time has passed.
func silences(seen, now time.Time) (keys []string) {
	for _, first := range []time.Time{told(seen), now.Truncate(span)} {
		for n := range 3 {
			keys = append(keys, silence(first.Add(time.Duration(n)*span)))
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// heard are those of all whose target has been told of the silence, or is being
// told, or was never to be. For the others its message still waits: it finds the
// cluster well when it is due, and is dropped.
func heard(ctx context.Context, tx store.Tx, all []message, c id.Cluster, silences []string) (out []message, err error) {
	var keys []string
	for _, key := range silences {
		for _, m := range keyed(all, c, key) {
			keys = append(keys, m.key)
		}
	}
	known, err := tx.Deliveries().Hold(ctx, keys...)
	if err != nil {
		return nil, err
	}
	type target struct{ channel, user string }
	was, waits := map[target]bool{}, map[target]bool{}
	for _, d := range known {
		to := target{d.Channel, d.UserID.String()}
		switch {
		case d.Status == store.DeliveryPending && d.LeasedUntil == nil:
			waits[to] = true
		case d.Status != store.DeliveryDead:
			was[to] = true
		}
	}
	for _, m := range all {
		if to := (target{m.channel, m.user.String()}); was[to] || !waits[to] {
			out = append(out, m)
		}
	}
	return out, nil
}

// keyed are messages about a cluster with their keys: one for each target.
func keyed(all []message, c id.Cluster, key string) []message {
	out := slices.Clone(all)
	for i, m := range out {
		out[i].key = "alert/" + c.String() + "/" + key + "/" + m.channel + "/" + m.user.String()
	}
	return out
}

func isLive(c store.Cluster) bool {
	return c.DeletedAt == nil && c.Status != string(clusters.Deleting) && c.Status != string(clusters.Deleted)
}

// isDown reports whether a cluster needs a look.
func isDown(c store.Cluster) bool { return c.Status == string(clusters.Error) || isSilent(c) }

func isSilent(c store.Cluster) bool { return c.ConnectionStatus == string(clusters.Unreachable) }

func lastSeen(c store.Cluster) time.Time {
	if c.LastObservedAt != nil {
		return *c.LastObservedAt
	}
	return c.CreatedAt
}

// alert is one message for each target, without its key.
func (s *Service) alert(ctx context.Context, tx store.Tx, c store.Cluster, due time.Time) ([]message, error) {
	says := notify.ClusterAlert{Cluster: c.Name, Status: statusOf(c), Reason: c.LastErrorMessage, At: c.UpdatedAt, URL: s.console(ctx, tx, "/clusters/"+c.ID.String())}
	if !isDown(c) {
		says.Reason = ""
	}
	to, err := s.targets(ctx, tx, c.OwnerUserID)
	if err != nil {
		return nil, fmt.Errorf("tell of a cluster: %w", err)
	}
	own, err := s.ownTargets(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("tell of a cluster: %w", err)
	}
	all := append(to, own...)
	for i := range all {
		all[i].says, all[i].due, all[i].cluster = says, due, c.ID
	}
	return all, nil
}

func statusOf(c store.Cluster) string {
	switch {
	case c.Status == string(clusters.Error):
		return string(clusters.Error)
	case isSilent(c):
		return string(clusters.Unreachable)
	}
	return string(clusters.Ready)
}

// targets are the person's own, by what they prefer and what the installation
// has.
func (s *Service) targets(ctx context.Context, tx store.Tx, u id.User) (out []message, err error) {
	who, err := tx.Users().Get(ctx, u)
	if errors.Is(err, fault.NotFound) || err == nil && who.Status != string(identity.Active) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	wants, err := preferences(ctx, tx, u)
	if err != nil {
		return nil, err
	}
	_, p, err := stored(ctx, tx)
	if err != nil {
		return nil, err
	}
	c := p.config(keys{})
	if wants.Email && c.uses(Email) {
		// What has become of a cluster is written down, whatever is wrong with the
		// mail: the deliverer asks again.
		if _, ok, err := s.deps.SMTP(ctx, tx); err != nil || ok {
			out = append(out, message{channel: Email, to: who.Email, user: u})
		}
	}
	if wants.Slack && c.uses(Slack) && p.SlackBot {
		out = append(out, message{channel: Slack, to: wants.SlackTarget, user: u})
	}
	if wants.Telegram && c.uses(Telegram) {
		out = append(out, message{channel: Telegram, to: wants.TelegramChatID, user: u})
	}
	return out, nil
}

// ownTargets are the installation's.
func (s *Service) ownTargets(ctx context.Context, tx store.Tx) (out []message, err error) {
	_, p, err := stored(ctx, tx)
	if err != nil {
		return nil, err
	}
	c := p.config(keys{})
	if c.uses(Slack) && (p.SlackHook || p.SlackBot && p.SlackChannel != "") {
		out = append(out, message{channel: Slack})
	}
	if c.uses(Telegram) && p.TelegramChatID != "" {
		out = append(out, message{channel: Telegram})
	}
	if c.uses(Webhook) {
		out = append(out, message{channel: Webhook})
	}
	return out, nil
}

// OrderPaid writes a receipt down, in the transaction that settles the order. It
// goes to the person's own targets only.
func (s *Service) OrderPaid(ctx context.Context, tx store.Tx, u id.User, says notify.OrderPaid) error {
	to, err := s.targets(ctx, tx, u)
	if err != nil {
		return fmt.Errorf("write a receipt: %w", err)
	}
	for i := range to {
		to[i].key, to[i].says = "order/"+says.Order+"/"+to[i].channel, says
	}
	return s.post(ctx, tx, to...)
}

// holds fails with a moot when what a message tells of a cluster is not so any
// more.
func (d *Deliverer) holds(ctx context.Context, about id.Cluster, isGood bool) error {
	if about.IsZero() {
		return nil
	}
	var c store.Cluster
	err := d.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		c, err = tx.Clusters().Get(ctx, store.Everyone(), about)
		return err
	})
	switch {
	case errors.Is(err, fault.NotFound), err == nil && !isLive(c):
		return moot("The cluster is being deleted, or is gone.")
	case err != nil:
		return err
	case isGood == isDown(c):
		return moot("The cluster had changed again before the message was due.")
	}
	return nil
}
