package tokens_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/once"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/store"
)

func TestAServiceIsNotMadeWithoutWhatItNeeds(t *testing.T) {
	t.Parallel()
	full := newWorld(t).deps
	for name, drop := range map[string]func(*tokens.Deps){
		"Store": func(d *tokens.Deps) { d.Store = nil }, "Seal": func(d *tokens.Deps) { d.Seal = nil },
		"Provisioner": func(d *tokens.Deps) { d.Door.Provisioner = nil }, "Connector": func(d *tokens.Deps) { d.Door.Connector = nil },
		"Log": func(d *tokens.Deps) { d.Log = nil }, "Now": func(d *tokens.Deps) { d.Now = nil },
		"Random": func(d *tokens.Deps) { d.Random = nil }, "Secret": func(d *tokens.Deps) { d.Secret = nil },
	} {
		d := full
		drop(&d)
		if _, err := tokens.New(d); err == nil {
			t.Errorf("made without %s", name)
		}
	}
}

func TestAMintedTokenIsWellFormedAndItsValueNowhereElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	if !tokens.WellFormed(m.Value) || m.Token.Status != "active" || m.Token.ClusterID != w.cluster || m.Token.CreatedByUserID != w.me ||
		!m.Token.ExpiresAt.Equal(w.Now().Add(time.Hour)) || m.Token.DisplayPrefix != m.Value[:10] || m.Token.SecretInTenant {
		t.Errorf("got %+v", m)
	}
	if !regexp.MustCompile(`^[a-z0-9]{6}$`).MatchString(m.Token.BootstrapID) || m.Token.BootstrapSecretName != "bootstrap-token-"+m.Token.BootstrapID {
		t.Errorf("bootstrap %q in %q", m.Token.BootstrapID, m.Token.BootstrapSecretName)
	}
	j := w.prepare(t, m)
	dump := coretest.Dump(w.store) + w.log.String()
	for what, text := range map[string]string{"the value": m.Value, "most of the value": m.Value[12:], "the bootstrap secret": j.Bootstrap.Secret.Reveal()} {
		if strings.Contains(dump, text) {
			t.Errorf("%s is kept", what)
		}
	}
	e := w.event(t)
	if e.ResourceType+"/"+e.Action != "token/create" || e.ResourceID != m.Token.ID.String() || e.ClusterID != w.cluster || e.ActorUserID != w.me {
		t.Errorf("event %+v", e)
	}
}

func TestARefusedMintChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mint := func(ctx context.Context, ttl time.Duration) func() error {
		return func() error {
			m, err := w.Mint(ctx, w.cluster, ttl)
			if err != nil && m.Value != "" {
				t.Error("refused, and given all the same")
			}
			return err
		}
	}
	other := coretest.NewUser()
	for ttl, fine := range map[time.Duration]bool{
		0: false, -time.Hour: false, time.Minute - 1: false, time.Minute: true, 7 * 24 * time.Hour: true, 7*24*time.Hour + 1: false, 1 << 62: false,
	} {
		if fine {
			if err := mint(w.ctx, ttl)(); err != nil {
				t.Errorf("%v: %v", ttl, err)
			}
			continue
		}
		w.refuses(t, ttl.String(), "validation_failed", mint(w.ctx, ttl))
	}
	w.refuses(t, "nobody", "unauthenticated", mint(t.Context(), time.Hour))
	w.refuses(t, "another user", "cluster_not_found", mint(coretest.As(t.Context(), other, actor.User), time.Hour))
	w.refuses(t, "an operator", "forbidden", mint(coretest.As(t.Context(), other, actor.Operator), time.Hour))
	if err := mint(coretest.As(t.Context(), other, actor.Admin), time.Hour)(); err != nil {
		t.Errorf("an admin: %v", err)
	}
	for _, state := range [][2]string{{"provisioning", "pending"}, {"ready", "unreachable"}, {"error", "reachable"}, {"ready", "kubeconfig_pending"}, {"deleting", "reachable"}} {
		w.edit(t, func(c *store.Cluster) { c.Status, c.ConnectionStatus = state[0], state[1] })
		w.refuses(t, strings.Join(state[:], " and "), "cluster_not_ready", mint(w.ctx, time.Hour))
	}
	w.edit(t, func(c *store.Cluster) { c.DeletedAt = new(w.Now()) })
	w.refuses(t, "a deleted cluster", "cluster_not_found", mint(w.ctx, time.Hour))
}

func TestARepeatedMintGivesTheSameValueAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := once.With(w.ctx, once.Request{Operation: "mint", Key: "k", Body: []byte("{}")})
	var first tokens.Minted
	for range 3 {
		m, err := w.Mint(ctx, w.cluster, time.Hour)
		if err != nil || first.Value != "" && (m.Value != first.Value || m.Token.ID != first.Token.ID) {
			t.Fatalf("got %+v, %v", m.Token, err)
		}
		first = m
	}
	if strings.Contains(coretest.Dump(w.store), first.Value) {
		t.Error("the remembered answer is readable")
	}
	if _, err := w.Prepare(t.Context(), first.Value, w.cluster); err != nil {
		t.Errorf("the repeated value does not work: %v", err)
	}
}

func TestDerivationRepeatsAndNeedsBothTheValueAndTheKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, other := w.mint(t), w.mint(t)
	a, b, c := w.prepare(t, m), w.prepare(t, m), w.prepare(t, other)
	if a.Bootstrap.ID != b.Bootstrap.ID || !a.Bootstrap.Secret.Equal(b.Bootstrap.Secret) || a.Bootstrap.ID != m.Token.BootstrapID {
		t.Error("a second download differs from the first")
	}
	if a.Bootstrap.ID == c.Bootstrap.ID || a.Bootstrap.Secret.Equal(c.Bootstrap.Secret) {
		t.Error("two tokens have one secret")
	}
	stolen := w.over(t, func(d *tokens.Deps) { d.Seal = keyseal.New([32]byte{1}) })
	d, err := stolen.Prepare(t.Context(), m.Value, w.cluster)
	if err != nil || d.Bootstrap.Secret.Equal(a.Bootstrap.Secret) {
		t.Errorf("the secret does not depend on the server's key: %v", err)
	}
	if !regexp.MustCompile(`^[a-z0-9]{16}$`).MatchString(a.Bootstrap.Secret.Reveal()) {
		t.Error("the secret is not one that Kubernetes takes")
	}
}

func TestRevokingIsIdempotentAndAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	w.prepare(t, m)
	got, err := w.Revoke(w.ctx, m.Token.ID)
	if err != nil || got.Status != "revoked" || got.RevokedByUserID != w.me || got.RevokedAt == nil || len(w.inside.Tokens()) != 0 {
		t.Fatalf("got %+v, %v, %d secrets", got, err, len(w.inside.Tokens()))
	}
	if e := w.event(t); e.ResourceType+"/"+e.Action != "token/revoke" || e.ActorUserID != w.me {
		t.Errorf("event %+v", e)
	}
	before := coretest.Dump(w.store)
	if again, err := w.Revoke(w.ctx, m.Token.ID); err != nil || again.Status != "revoked" || coretest.Dump(w.store) != before {
		t.Errorf("again: %+v, %v", again, err)
	}
	used := w.mint(t)
	w.decide(t, request(used, "w1", "k1"))
	w.joined(t, "w1")
	if got, err := w.Revoke(w.ctx, used.Token.ID); err != nil || got.Status != "used" {
		t.Errorf("a used one: %+v, %v", got, err)
	}
}

func TestWhoMayRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	other := coretest.NewUser()
	w.refuses(t, "another user", "token_not_found", func() error { _, err := w.Revoke(coretest.As(t.Context(), other, actor.User), m.Token.ID); return err })
	w.refuses(t, "an operator", "forbidden", func() error {
		_, err := w.Revoke(coretest.As(t.Context(), other, actor.Operator), m.Token.ID)
		return err
	})
	w.refuses(t, "nobody", "unauthenticated", func() error { _, err := w.Revoke(t.Context(), m.Token.ID); return err })
	w.refuses(t, "an unknown token", "token_not_found", func() error { _, err := w.Revoke(w.ctx, id.Token{}); return err })
	if got, err := w.Revoke(coretest.As(t.Context(), other, actor.Admin), m.Token.ID); err != nil || got.Status != "revoked" {
		t.Errorf("an admin: %+v, %v", got, err)
	}
}

func TestRevokingWorksWhileTheTenantDoesNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	w.prepare(t, m)
	w.inside.SetReachable(false)
	got, err := w.Revoke(w.ctx, m.Token.ID)
	if err != nil || got.Status != "revoked" || !w.token(t, m.Token.ID).SecretInTenant || !strings.Contains(w.log.String(), "not removed yet") {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := w.tidy(t); !errors.Is(err, fault.Unavailable) || !w.token(t, m.Token.ID).SecretInTenant {
		t.Errorf("during the outage: %v", err)
	}
	w.inside.SetReachable(true)
	if err := w.tidy(t); err != nil || len(w.inside.Tokens()) != 0 || w.token(t, m.Token.ID).SecretInTenant {
		t.Errorf("after the outage: %v", err)
	}
}

// stale makes the first updates of tokens collide with another's.
type stale struct {
	store.Store
	left *int
}

type staleTx struct {
	store.Tx
	left *int
}

type staleTokens struct {
	store.Tokens
	left *int
}

func (s stale) InTx(ctx context.Context, do func(context.Context, store.Tx) error) error {
	return s.Store.InTx(ctx, func(ctx context.Context, tx store.Tx) error { return do(ctx, staleTx{tx, s.left}) })
}

func (t staleTx) Tokens() store.Tokens { return staleTokens{t.Tx.Tokens(), t.left} }

func (t staleTokens) Update(ctx context.Context, rec *store.Token) error {
	if *t.left > 0 {
		*t.left--
		return fault.Conflict.New("stale_version", "Somebody was first.")
	}
	return t.Tokens.Update(ctx, rec)
}

func TestCollisionsAreTriedAgain(t *testing.T) {
	t.Parallel()
	for collisions, fine := range map[int]bool{1: true, 4: true, 5: false} {
		w := newWorld(t)
		m, n := w.mint(t), w.mint(t)
		left := collisions
		s := w.over(t, func(d *tokens.Deps) { d.Store = stale{w.store, &left} })
		v, err := s.Decide(t.Context(), w.cluster, request(m, "w1", "k1"))
		if v.Approve != fine || (err == nil) != fine {
			t.Errorf("%d collisions: %+v, %v", collisions, v, err)
		}
		left = collisions
		got, err := s.Revoke(w.ctx, n.Token.ID)
		if (got.Status == "revoked") != fine || (err == nil) != fine {
			t.Errorf("%d collisions: %+v, %v", collisions, got, err)
		}
	}
}

func TestTidyTakesOnlyWhatIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	active, expired := w.mint(t), w.mint(t)
	w.prepare(t, active)
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		rec, err := tx.Tokens().Get(ctx, store.Everyone(), expired.Token.ID)
		rec.ExpiresAt = w.Now().Add(time.Minute)
		return errors.Join(err, tx.Tokens().Update(ctx, &rec))
	})
	w.prepare(t, expired)
	w.Move(2 * time.Minute)
	if err := w.tidy(t); err != nil {
		t.Fatal(err)
	}
	if _, there := w.inside.Token(active.Token.BootstrapID); !there || !w.token(t, active.Token.ID).SecretInTenant {
		t.Error("the secret of an active token was removed")
	}
	if _, there := w.inside.Token(expired.Token.BootstrapID); there || w.token(t, expired.Token.ID).SecretInTenant {
		t.Error("the secret of an expired token was not")
	}
}

func TestOnlyWholeValuesAreWellFormed(t *testing.T) {
	t.Parallel()
	good := "kbt_" + strings.Repeat("aZ0_-", 9)[:43]
	for text, want := range map[string]bool{
		good: true, good + "\n": false, " " + good: false, good[:46]: false, good + "a": false, "kbs" + good[3:]: false, "": false, "kbt_" + strings.Repeat("é", 43): false,
	} {
		if tokens.WellFormed(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func TestStatusNeedsNoWriteToExpire(t *testing.T) {
	t.Parallel()
	end := coretest.Start.Add(time.Hour)
	for _, c := range []struct {
		status string
		at     time.Time
		want   tokens.Status
	}{
		{"active", end.Add(-1), tokens.Active}, {"active", end, tokens.Expired}, {"used", end.Add(time.Hour), tokens.Used}, {"revoked", end, tokens.Revoked},
	} {
		tok := tokens.Of(store.Token{Status: c.status, ExpiresAt: end})
		if got := tok.StatusAt(c.at); got != c.want || tok.Record().Status != c.status {
			t.Errorf("%s at %v: %s", c.status, c.at, got)
		}
	}
}

func TestAClusterHasNoMoreUsableTokensThanItMay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var one tokens.Minted
	for range tokens.MaxActive {
		m, err := w.Mint(w.ctx, w.cluster, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		one = m
	}
	if _, err := w.Mint(w.ctx, w.cluster, time.Hour); fault.CodeOf(err) != "too_many_tokens" || !errors.Is(err, fault.Conflict) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := w.Revoke(w.ctx, one.Token.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Mint(w.ctx, w.cluster, time.Hour); err != nil {
		t.Errorf("after one was revoked: %v", err)
	}
	w.Move(time.Hour)
	if _, err := w.Mint(w.ctx, w.cluster, time.Hour); err != nil {
		t.Errorf("after all have expired: %v", err)
	}
}
