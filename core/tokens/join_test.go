package tokens_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestATokenServesTheFirstOfManyMachines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	var wg sync.WaitGroup
	verdicts := make([]tokens.Verdict, 20)
	for i := range verdicts {
		wg.Go(func() {
			var err error
			if verdicts[i], err = w.Decide(t.Context(), w.cluster, request(m, "w1", fmt.Sprint("key", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	approved := -1
	for i, v := range verdicts {
		if !v.Ours || v.Reason == "" {
			t.Errorf("%d: %+v", i, v)
		}
		if v.Approve && approved >= 0 {
			t.Errorf("both %d and %d were approved", approved, i)
		}
		if v.Approve {
			approved = i
		}
	}
	if approved < 0 {
		t.Fatal("nobody was approved")
	}
	if got := w.token(t, m.Token.ID); got.ClaimedNodeName != "w1" || got.ClaimedKeyHash != fmt.Sprint("key", approved) {
		t.Errorf("claimed by %q %q", got.ClaimedNodeName, got.ClaimedKeyHash)
	}
}

func TestWhoIsApproved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	if v := w.decide(t, request(m, "w1", "k1")); !v.Approve {
		t.Fatalf("the first: %+v", v)
	}
	for name, c := range map[string]struct {
		r    tenant.JoinRequest
		want tokens.Verdict
	}{
		"the same machine again":        {request(m, "w1", "k1"), tokens.Verdict{Ours: true, Approve: true}},
		"the same key, other name":      {request(m, "w2", "k1"), tokens.Verdict{Ours: true}},
		"another key, the same name":    {request(m, "w1", "k2"), tokens.Verdict{Ours: true}},
		"another machine":               {request(m, "w2", "k2"), tokens.Verdict{Ours: true}},
		"a bootstrap id not of a token": {tenant.JoinRequest{Bootstrap: "abcdef", NodeName: "w1", KeyHash: "k1"}, tokens.Verdict{}},
		"no bootstrap id":               {tenant.JoinRequest{NodeName: "w1", KeyHash: "k1"}, tokens.Verdict{}},
	} {
		got := w.decide(t, c.r)
		if got.Ours != c.want.Ours || got.Approve != c.want.Approve || (got.Reason == "") == got.Ours {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if v, err := w.Decide(t.Context(), w.addCluster(t, "other"), request(m, "w1", "k1")); err != nil || v.Ours {
		t.Errorf("the token of another cluster: %+v, %v", v, err)
	}
}

func TestARequestWithoutOneNameAndKeyClaimsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	for name, r := range map[string]tenant.JoinRequest{
		"no key": request(m, "w1", ""), "no name": request(m, "", "k1"), "upper case": request(m, "W1", "k1"), "NUL": request(m, "w1\x00", "k1"),
		"broken UTF-8": request(m, "w\xff", "k1"), "long name": request(m, strings.Repeat("a", 254), "k1"), "long key": request(m, "w1", strings.Repeat("a", 129)),
		"key with NUL": request(m, "w1", "k\x00"), "newline": request(m, "w1\n", "k1"),
	} {
		w.refuses(t, name, "internal", func() error {
			if v := w.decide(t, r); !v.Ours || v.Approve {
				t.Errorf("%s: %+v", name, v)
			}
			return errors.New("denied")
		})
	}
	if v := w.decide(t, request(m, "w1", "k1")); !v.Approve {
		t.Errorf("afterwards, a proper one: %+v", v)
	}
}

func TestAReadyNodeKeepsItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, _ := w.joined(t, "w1")
	m := w.mint(t)
	if v := w.decide(t, request(m, "w1", "k1")); !v.Ours || v.Approve || w.token(t, m.Token.ID).ClaimedKeyHash != "" {
		t.Errorf("the name of a ready node: %+v", v)
	}
	n.Status = "not_ready"
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Update(ctx, n) })
	if v := w.decide(t, request(m, "w1", "k1")); !v.Approve {
		t.Errorf("the name of a node that is not ready: %+v", v)
	}
}

func TestATokenThatIsOverApprovesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	expired, revoked, used := w.mint(t), w.mint(t), w.mint(t)
	w.decide(t, request(used, "w1", "k1"))
	n, _ := w.joined(t, "w1")
	n.Status = "not_ready"
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Nodes().Update(ctx, n) })
	if _, err := w.Revoke(w.ctx, revoked.Token.ID); err != nil {
		t.Fatal(err)
	}
	if v := w.decide(t, request(used, "w1", "k1")); !v.Ours || v.Approve {
		t.Errorf("used: %+v", v)
	}
	if v := w.decide(t, request(revoked, "w2", "k2")); !v.Ours || v.Approve {
		t.Errorf("revoked: %+v", v)
	}
	w.Move(time.Hour)
	if v := w.decide(t, request(expired, "w2", "k2")); !v.Ours || v.Approve {
		t.Errorf("expired: %+v", v)
	}
}

func TestRegisteringUsesTheTokenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, bystander := w.mint(t), w.mint(t)
	w.prepare(t, m)
	w.decide(t, request(m, "w1", "k1"))
	w.Move(time.Minute)
	n, used := w.joined(t, "w1")
	got := w.token(t, m.Token.ID)
	if !used || got.Status != "used" || got.UsedByNodeID != n.ID || got.UsedAt == nil || !got.UsedAt.Equal(w.Now()) {
		t.Errorf("got %+v, %v", got, used)
	}
	e := w.event(t)
	if e.ResourceType+"/"+e.Action != "token/used" || e.ActorType != "node" || e.ActorMethod != "join_token" || e.NodeName != "w1" || e.ResourceID != m.Token.ID.String() {
		t.Errorf("event %+v", e)
	}
	if w.token(t, bystander.Token.ID).Status != "active" {
		t.Error("another token was used up too")
	}
	if _, used := w.joined(t, "w9"); used {
		t.Error("a machine without a claim used a token up")
	}
	if err := w.tidy(t); err != nil || len(w.inside.Tokens()) != 0 || w.token(t, m.Token.ID).SecretInTenant {
		t.Errorf("the secret of a used token: %v, %v", w.inside.Tokens(), err)
	}
}

func TestAMachineThatWasSlowToJoinUsesItsExpiredTokenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	w.decide(t, request(m, "w1", "k1"))
	w.Move(2 * time.Hour)
	if _, used := w.joined(t, "w1"); !used || w.token(t, m.Token.ID).Status != "used" {
		t.Error("the token is not used")
	}
}
