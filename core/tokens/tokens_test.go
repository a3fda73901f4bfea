package tokens_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubebyon/kubebyon/adapters/keyseal"
	"github.com/kubebyon/kubebyon/adapters/memstore"
	"github.com/kubebyon/kubebyon/adapters/memtenant"
	"github.com/kubebyon/kubebyon/core/coretest"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/kernel/page"
	"github.com/kubebyon/kubebyon/core/kernel/secret"
	"github.com/kubebyon/kubebyon/core/once"
	"github.com/kubebyon/kubebyon/core/tenants"
	"github.com/kubebyon/kubebyon/core/tokens"
	"github.com/kubebyon/kubebyon/ports/store"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a user's cluster that machines can join.
type world struct {
	*tokens.Service
	*coretest.Clock
	store     *memstore.Store
	planes    *coretest.Planes
	connector *memtenant.Connector
	inside    *memtenant.Cluster // the hands in the tenant
	log       *coretest.Log
	deps      tokens.Deps
	random    id.Random
	me        id.User
	ctx       context.Context //nolint:containedctx // who asks, in every test
	cluster   id.Cluster
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		Clock: coretest.NewClock(), store: memstore.New(), planes: &coretest.Planes{}, connector: memtenant.New(),
		log: &coretest.Log{}, random: coretest.Random(), me: coretest.NewUser(),
	}
	w.ctx = coretest.As(t.Context(), w.me, actor.User)
	w.connector.Now = w.Now
	w.deps = tokens.Deps{
		Store: w.store, Seal: keyseal.New([32]byte{}), Door: tenants.Door{Provisioner: w.planes, Connector: w.connector},
		Log: w.log.Logger(), Now: w.Now, Random: w.random, Secret: coretest.Secret(),
	}
	w.Service = w.over(t, func(*tokens.Deps) {})
	w.cluster = w.addCluster(t, "demo")
	w.inside = w.connector.Cluster(w.cluster)
	return w
}

func (w *world) over(t *testing.T, change func(*tokens.Deps)) *tokens.Service {
	t.Helper()
	d := w.deps
	change(&d)
	s, err := tokens.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) addCluster(t *testing.T, name string) id.Cluster {
	t.Helper()
	now := w.Now()
	c := store.Cluster{
		ID: id.New[id.ClusterKind](now, w.random()), OwnerUserID: w.me, Name: name, VclusterName: name, Status: "ready",
		ConnectionStatus: "reachable", KubeconfigAvailableAt: &now, CreatedAt: now, UpdatedAt: now,
	}
	w.tx(t, func(ctx context.Context, tx store.Tx) error { return tx.Clusters().Insert(ctx, &c) })
	w.planes.Put(c.ID, coretest.Up())
	return c.ID
}

func (w *world) edit(t *testing.T, change func(*store.Cluster)) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		c, err := tx.Clusters().GetForUpdate(ctx, store.Everyone(), w.cluster)
		if err != nil {
			return err
		}
		change(&c)
		return tx.Clusters().Update(ctx, &c)
	})
}

func (w *world) tx(t *testing.T, do func(context.Context, store.Tx) error) {
	t.Helper()
	if err := w.store.InTx(t.Context(), do); err != nil {
		t.Fatal(err)
	}
}

func (w *world) mint(t *testing.T) tokens.Minted {
	t.Helper()
	m, err := w.Mint(w.ctx, w.cluster, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (w *world) token(t *testing.T, i id.Token) (out store.Token) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) (err error) {
		out, err = tx.Tokens().Get(ctx, store.Everyone(), i)
		return err
	})
	return out
}

func (w *world) prepare(t *testing.T, m tokens.Minted) tokens.Join {
	t.Helper()
	j, err := w.Prepare(t.Context(), m.Value, w.cluster)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (w *world) tidy(t *testing.T) error {
	t.Helper()
	in, err := w.connector.Connect(t.Context(), w.cluster, secret.New("any"))
	if err != nil {
		t.Fatal(err)
	}
	return w.Tidy(t.Context(), w.cluster, in)
}

// joined makes the machine that claimed a token a node.
func (w *world) joined(t *testing.T, node string) (n store.Node, used bool) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		n = store.Node{ID: id.New[id.NodeKind](w.Now(), w.random()), ClusterID: w.cluster, Name: node, Status: "ready"}
		if err := tx.Nodes().Insert(ctx, n); err != nil {
			return err
		}
		c, err := tx.Clusters().Get(ctx, store.Everyone(), w.cluster)
		if err != nil {
			return err
		}
		used, err = w.Registered(ctx, tx, c, n)
		return err
	})
	return n, used
}

// event returns the newest event.
func (w *world) event(t *testing.T) (e store.AuditEvent) {
	t.Helper()
	w.tx(t, func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Audit().List(ctx, store.AuditFilter{}, page.Query{Limit: 1})
		if len(all.Items) > 0 {
			e = all.Items[0]
		}
		return err
	})
	return e
}

// refuses complains unless do fails with code and changes nothing, here and in the tenant.
func (w *world) refuses(t *testing.T, what, code string, do func() error) {
	t.Helper()
	before, inside := coretest.Dump(w.store), len(w.inside.Tokens())
	err := do()
	if fault.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
	if coretest.Dump(w.store) != before || len(w.inside.Tokens()) != inside {
		t.Errorf("%s was refused and changed something", what)
	}
}

func request(m tokens.Minted, node, key string) tenant.JoinRequest {
	return tenant.JoinRequest{Name: "csr-" + node + key, Bootstrap: m.Token.BootstrapID, NodeName: node, KeyHash: key}
}

func (w *world) decide(t *testing.T, r tenant.JoinRequest) tokens.Verdict {
	t.Helper()
	v, err := w.Decide(t.Context(), w.cluster, r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

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

func TestPreparingMakesTheSecretUsableForAQuarterOfAnHourAtMost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	j := w.prepare(t, m)
	got, ok := w.inside.Token(m.Token.BootstrapID)
	if !ok || !got.Expires.Equal(w.Now().Add(15*time.Minute)) || !got.Secret.Equal(j.Bootstrap.Secret) || !strings.Contains(got.Description, m.Token.ID.String()) {
		t.Errorf("in the tenant: %+v, %v", got, ok)
	}
	if j.Cluster.ID != w.cluster || j.Endpoint.Server == "" || !w.token(t, m.Token.ID).SecretInTenant {
		t.Errorf("got %+v", j)
	}
	w.Move(50 * time.Minute)
	w.prepare(t, m)
	if got, _ := w.inside.Token(m.Token.BootstrapID); !got.Expires.Equal(m.Token.ExpiresAt) {
		t.Errorf("near its end the secret lives until %v, the token until %v", got.Expires, m.Token.ExpiresAt)
	}
}

func TestATokenThatCannotBeUsedIsRefusedAndLeavesNoSecret(t *testing.T) {
	t.Parallel()
	type setup func(t *testing.T, w *world, m tokens.Minted) (value string, cluster id.Cluster)
	same := func(w *world, m tokens.Minted) (string, id.Cluster) { return m.Value, w.cluster }
	for name, c := range map[string]struct {
		code string
		kind fault.Kind
		setup
	}{
		"malformed": {"token_unknown", fault.Denied, func(_ *testing.T, w *world, m tokens.Minted) (string, id.Cluster) { return m.Value + "x", w.cluster }},
		"empty":     {"token_unknown", fault.Denied, func(_ *testing.T, w *world, _ tokens.Minted) (string, id.Cluster) { return "", w.cluster }},
		"unknown": {"token_unknown", fault.Denied, func(_ *testing.T, w *world, _ tokens.Minted) (string, id.Cluster) {
			return "kbt_" + strings.Repeat("A", 43), w.cluster
		}},
		"expired": {"token_expired", fault.Denied, func(_ *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			w.Move(time.Hour)
			return same(w, m)
		}},
		"revoked": {"token_revoked", fault.Denied, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			if _, err := w.Revoke(w.ctx, m.Token.ID); err != nil {
				t.Fatal(err)
			}
			return same(w, m)
		}},
		"used": {"token_used", fault.Denied, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			w.decide(t, request(m, "w1", "k1"))
			w.joined(t, "w1")
			return same(w, m)
		}},
		"of another cluster": {"cluster_not_found", fault.NotFound, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			return m.Value, w.addCluster(t, "other")
		}},
		"of a cluster out of reach": {"cluster_not_ready", fault.Unavailable, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			w.edit(t, func(c *store.Cluster) { c.ConnectionStatus = "unreachable" })
			return same(w, m)
		}},
		"of a deleted cluster": {"token_unknown", fault.Denied, func(t *testing.T, w *world, m tokens.Minted) (string, id.Cluster) {
			w.edit(t, func(c *store.Cluster) { c.DeletedAt = new(w.Now()) })
			return same(w, m)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.mint(t)
			value, cluster := c.setup(t, w, m)
			w.refuses(t, "Check", c.code, func() error { return w.Check(t.Context(), value, cluster) })
			w.refuses(t, "Prepare", c.code, func() error {
				j, err := w.Prepare(t.Context(), value, cluster)
				if !errors.Is(err, c.kind) || !j.Bootstrap.Secret.IsZero() {
					t.Errorf("got %v", err)
				}
				if err != nil && value != "" && strings.Contains(err.Error(), value) {
					t.Error("the error repeats the token")
				}
				return err
			})
		})
	}
}

func TestAnUsedTokenIsUsedWhicheverClusterIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	if err := w.Check(t.Context(), m.Value, id.Cluster{}); err != nil {
		t.Errorf("any cluster: %v", err)
	}
	if err := w.Check(t.Context(), m.Value, w.cluster); err != nil {
		t.Errorf("its cluster: %v", err)
	}
}

func TestATenantThatDoesNotAnswerIsNotReadyAndTheSecretIsNotForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	w.inside.SetReachable(false)
	_, err := w.Prepare(t.Context(), m.Value, w.cluster)
	if !errors.Is(err, fault.Unavailable) || fault.CodeOf(err) != "cluster_not_ready" || !w.token(t, m.Token.ID).SecretInTenant {
		t.Errorf("got %v", err)
	}
	w.planes.OnKubeconfig = func(context.Context, id.Cluster) error { return fault.NotFound.New("gone", "Gone.") }
	if _, err := w.Prepare(t.Context(), m.Value, w.cluster); fault.CodeOf(err) != "cluster_not_ready" || errors.Is(err, fault.NotFound) {
		t.Errorf("without a kubeconfig: %v", err)
	}
}

// between runs do around the making of the bootstrap secret.
type between struct {
	tenant.Connector
	before, after func()
}

type betweenTenant struct {
	tenant.Tenant
	b *between
}

func (b *between) Connect(ctx context.Context, c id.Cluster, k secret.Text) (tenant.Tenant, error) {
	in, err := b.Connector.Connect(ctx, c, k)
	return betweenTenant{in, b}, err
}

func (t betweenTenant) PutBootstrapToken(ctx context.Context, b tenant.BootstrapToken) error {
	if before := t.b.before; before != nil {
		t.b.before = nil
		before()
	}
	err := t.Tenant.PutBootstrapToken(ctx, b)
	if after := t.b.after; after != nil {
		t.b.after = nil
		after()
	}
	return err
}

func TestRevokingDuringPrepareLeavesNoSecret(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"before the secret", "after the secret"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.mint(t)
			revoke := func() {
				if _, err := w.Revoke(w.ctx, m.Token.ID); err != nil {
					t.Error(err)
				}
			}
			b := &between{Connector: w.connector}
			if when == "before the secret" {
				b.before = revoke
			} else {
				b.after = revoke
			}
			s := w.over(t, func(d *tokens.Deps) { d.Door.Connector = b })
			j, err := s.Prepare(t.Context(), m.Value, w.cluster)
			if fault.CodeOf(err) != "token_revoked" || !j.Bootstrap.Secret.IsZero() {
				t.Errorf("got %v", err)
			}
			if left := w.inside.Tokens(); len(left) != 0 || w.token(t, m.Token.ID).SecretInTenant {
				t.Errorf("left in the tenant: %d, noted: %v", len(left), w.token(t, m.Token.ID).SecretInTenant)
			}
		})
	}
}

func TestASecretThatCouldNotBeTakenBackIsRemovedLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	b := &between{Connector: w.connector}
	b.before = func() { _, _ = w.Revoke(w.ctx, m.Token.ID) } // notes that there is no secret
	b.after = func() { w.inside.SetReachable(false) }
	s := w.over(t, func(d *tokens.Deps) { d.Door.Connector = b })
	if _, err := s.Prepare(t.Context(), m.Value, w.cluster); err == nil {
		t.Fatal("a revoked token was prepared")
	}
	w.inside.SetReachable(true)
	if len(w.inside.Tokens()) != 1 {
		t.Fatal("the test does not do what it says")
	}
	if err := w.tidy(t); err != nil || len(w.inside.Tokens()) != 0 {
		t.Errorf("after the outage: %d secrets, %v", len(w.inside.Tokens()), err)
	}
}

func TestAClientThatLeavesDuringPrepareLeavesNoSecretOfARevokedToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mint(t)
	ctx, cancel := context.WithCancel(t.Context())
	b := &between{Connector: w.connector, after: func() {
		_, _ = w.Revoke(w.ctx, m.Token.ID)
		cancel()
	}}
	s := w.over(t, func(d *tokens.Deps) { d.Door.Connector = b })
	if _, err := s.Prepare(ctx, m.Value, w.cluster); err == nil {
		t.Error("prepared")
	}
	if n := len(w.inside.Tokens()); n != 0 {
		t.Errorf("%d secrets left", n)
	}
}

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
