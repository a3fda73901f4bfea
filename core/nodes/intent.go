package nodes

import (
	"context"
	"strings"
	"time"

	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// An intent says that somebody is about to delete a node. It is written before
// the tenant is asked, so that whoever finds the node gone writes it down in
// their name, and once: the call itself, or a watch, which may be faster, and
// is there when the process of the call is not any more.

// intentFor is how long a deletion may take to be seen.
const intentFor = 15 * time.Minute

func intents(c id.Cluster) string { return "node-deletion/" + c.String() + "/" }

func intentOf(c id.Cluster, n id.Node) string { return intents(c) + n.String() }

// announce writes an intent down. That somebody else has one too is fine: the
// node goes once.
func (s *Service) announce(ctx context.Context, n store.Node, who actor.Actor) error {
	now := s.deps.Now()
	return s.deps.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.Leases().Acquire(ctx, []string{intentOf(n.ClusterID, n.ID)}, spelled(who), now, now.Add(intentFor))
		return err
	})
}

// recall takes back an intent of which nothing came.
func (s *Service) recall(ctx context.Context, n store.Node, who actor.Actor) error {
	return s.keep(ctx, n.ClusterID, func(ctx context.Context, tx store.Tx) error {
		return tx.Leases().Release(ctx, []string{intentOf(n.ClusterID, n.ID)}, spelled(who))
	})
}

// settled ends the intents to delete nodes of a cluster that drop names, and
// returns whose they were.
func settled(ctx context.Context, tx store.Tx, c id.Cluster, drop []id.Node, now time.Time) (map[id.Node]actor.Actor, error) {
	out := map[id.Node]actor.Actor{}
	if len(drop) == 0 {
		return out, nil
	}
	living, err := tx.Leases().Living(ctx, intents(c), now)
	if err != nil || len(living) == 0 {
		return out, err
	}
	holders := make(map[string]string, len(living))
	for _, l := range living {
		holders[l.Name] = l.Holder
	}
	for _, n := range drop {
		name := intentOf(c, n)
		who, ok := actorOf(holders[name])
		if !ok {
			continue
		}
		out[n] = who
		if err := tx.Leases().Release(ctx, []string{name}, holders[name]); err != nil {
			return out, err
		}
	}
	return out, nil
}

func spelled(a actor.Actor) string {
	return strings.Join([]string{string(a.Type), string(a.Method), a.UserID.String()}, " ")
}

func actorOf(text string) (a actor.Actor, ok bool) {
	part := strings.Split(text, " ")
	if len(part) != 3 {
		return a, false
	}
	user, err := id.Parse[id.UserKind](part[2])
	return actor.Actor{Type: actor.Type(part[0]), Method: actor.Method(part[1]), UserID: user}, err == nil
}
