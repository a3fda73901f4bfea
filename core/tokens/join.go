package tokens

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/kubebyon/kubebyon/core/clusters"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/nodes"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// Join is what a machine needs to join a cluster.
type Join struct {
	Cluster   store.Cluster
	Endpoint  tenant.Endpoint
	Bootstrap tenant.BootstrapToken
}

// Check says whether a token can be used, without using anything up: nil, or a
// refusal with one of the codes token_unknown, token_expired, token_used,
// token_revoked and cluster_not_ready. A cluster other than the token's is
// fault.NotFound; the zero cluster is any.
func (s *Service) Check(ctx context.Context, value string, cluster id.Cluster) error {
	_, _, err := s.find(ctx, value, cluster)
	return err
}

// Prepare makes a token's bootstrap secret in its cluster and returns what the
// join script carries. It refuses like [Service.Check]. It may be repeated
// until a machine has registered.
func (s *Service) Prepare(ctx context.Context, value string, cluster id.Cluster) (Join, error) {
	t, c, err := s.find(ctx, value, cluster)
	if err != nil {
		return Join{}, err
	}
	in, err := s.deps.Door.Open(ctx, c.ID)
	if err != nil {
		return Join{}, notAnswering(err)
	}
	boot, err := s.bootstrap(ctx, secret.New(value))
	if err != nil {
		return Join{}, err
	}
	boot.Expires = earlier(t.ExpiresAt, s.deps.Now().Add(bootstrapTTL))
	boot.Description = "KubeBYON join token " + t.ID.String()
	// Written before the secret is, so that whatever happens next, somebody knows
	// that it must be removed one day.
	err = s.update(ctx, t.ID, func(t *Token) error { t.rec.SecretInTenant = true; return t.refusal(s.deps.Now()) })
	if err != nil {
		return Join{}, err
	}
	end, err := place(ctx, in, boot)
	if err == nil {
		err = s.Check(ctx, value, cluster) // it may have been taken back meanwhile
	}
	if err != nil {
		s.takeBack(ctx, t)
		return Join{}, err
	}
	return Join{Cluster: c, Endpoint: end, Bootstrap: boot}, nil
}

func place(ctx context.Context, in tenant.Tenant, boot tenant.BootstrapToken) (tenant.Endpoint, error) {
	if err := in.PutBootstrapToken(ctx, boot); err != nil {
		return tenant.Endpoint{}, notAnswering(err)
	}
	end, err := in.Endpoint(ctx)
	if err != nil {
		return tenant.Endpoint{}, notAnswering(err)
	}
	return end, nil
}

// takeBack removes the bootstrap secret that may have been made, if the token
// is over. Whoever ended it may have looked for the secret before it was there,
// and have noted that there is none.
func (s *Service) takeBack(ctx context.Context, t store.Token) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := s.update(ctx, t.ID, func(t *Token) error { t.rec.SecretInTenant = true; return nil })
	if err != nil {
		s.deps.Log.WarnContext(ctx, "bootstrap secret not noted for removal", "token", t.ID.String(), "err", err)
	}
	s.tidyNow(ctx, t.ClusterID)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// notAnswering turns a tenant's silence into the refusal that scripts know.
func notAnswering(err error) error {
	if errors.Is(err, fault.Unavailable) {
		return fault.Unavailable.New("cluster_not_ready", "The cluster does not answer at the moment. Try again in a minute.").Because(err)
	}
	return err
}

func (s *Service) find(ctx context.Context, value string, cluster id.Cluster) (t store.Token, c store.Cluster, err error) {
	if !WellFormed(value) {
		return t, c, unknown()
	}
	err = s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) error {
		if t, err = tx.Tokens().ByValueHash(ctx, hashOf(secret.New(value))); err != nil {
			return err
		}
		c, err = tx.Clusters().Get(ctx, store.Everyone(), t.ClusterID)
		return err
	})
	if errors.Is(err, fault.NotFound) {
		return t, c, unknown()
	}
	if err != nil {
		return t, c, fmt.Errorf("look up token: %w", err)
	}
	if !cluster.IsZero() && c.ID != cluster {
		return t, c, fault.NotFound.New("cluster_not_found", "This join token is not for this cluster.")
	}
	if err := (Token{t}).refusal(s.deps.Now()); err != nil {
		return t, c, err
	}
	if !clusters.Of(c).Usable() {
		return t, c, fault.Unavailable.New("cluster_not_ready", "The cluster is not ready for machines to join yet. Try again in a minute.")
	}
	return t, c, nil
}

// Verdict is what to answer to a machine's certificate request.
type Verdict struct {
	Ours    bool // a token of the platform made it; else leave it to the cluster
	Approve bool
	Reason  string
}

// Decide settles which one machine a token serves: the first whose request is
// seen. It is asked again after a crash and answers alike.
func (s *Service) Decide(ctx context.Context, cluster id.Cluster, r tenant.JoinRequest) (Verdict, error) {
	var t store.Token
	var taken bool
	err := s.deps.Store.View(ctx, func(ctx context.Context, tx store.Tx) (err error) {
		if t, err = tx.Tokens().ByBootstrapID(ctx, cluster, r.Bootstrap); err != nil {
			return err
		}
		if !wellFormed(r) {
			return nil
		}
		taken, err = nameIsTaken(ctx, tx, cluster, r.NodeName)
		return err
	})
	if errors.Is(err, fault.NotFound) {
		return Verdict{}, nil
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("look up token of join request: %w", err)
	}
	if !wellFormed(r) {
		return Verdict{Ours: true, Reason: "The request does not name one machine and its key."}, nil
	}
	if taken {
		return Verdict{Ours: true, Reason: "A ready node of this name is in the cluster. Give the machine another name, or delete that node."}, nil
	}
	err = s.update(ctx, t.ID, func(t *Token) error { return t.claim(r.NodeName, r.KeyHash, s.deps.Now()) })
	if f, ok := errors.AsType[*fault.Error](err); ok && errors.Is(err, fault.Denied) {
		return Verdict{Ours: true, Reason: f.Msg}, nil
	}
	if err != nil {
		return Verdict{}, fmt.Errorf("claim token: %w", err)
	}
	return Verdict{Ours: true, Approve: true, Reason: "This machine has claimed the join token " + t.ID.String() + "."}, nil
}

var keyHashRE = regexp.MustCompile(`^[0-9A-Za-z+/=:_-]{1,128}$`) //nolint:gochecknoglobals // a hash, however it is written

// wellFormed reports whether a claim can be made of r: without a key's hash
// every machine would be the one that claimed.
func wellFormed(r tenant.JoinRequest) bool {
	return nodes.IsName(r.NodeName) && keyHashRE.MatchString(r.KeyHash)
}

// nameIsTaken protects the identity of a living node: a certificate for its
// name would let another machine speak for it.
func nameIsTaken(ctx context.Context, tx store.Tx, cluster id.Cluster, name string) (bool, error) {
	n, err := tx.Nodes().ByName(ctx, cluster, name)
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil && n.Status == string(nodes.Ready), err
}

// Registered records, in the transaction that records the node, that a machine
// has become a node with the token that it claimed, if it did.
func (s *Service) Registered(ctx context.Context, tx store.Tx, c store.Cluster, n store.Node) (used bool, err error) {
	rec, err := tx.Tokens().ByClaim(ctx, c.ID, n.Name)
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up token of node: %w", err)
	}
	t := Token{rec}
	if Status(rec.Status) != Active { // one that expired while its machine joined was used all the same
		return false, nil
	}
	t.use(n.ID, s.deps.Now())
	if err := tx.Tokens().Update(ctx, &t.rec); err != nil {
		return false, err
	}
	e := about(t.rec, c, "used", "The machine "+n.Name+" joined with a join token.")
	e.NodeName = n.Name
	return true, s.journal.WriteAs(ctx, tx, actor.Actor{Type: actor.Machine, Method: actor.ByJoinToken}, e)
}
